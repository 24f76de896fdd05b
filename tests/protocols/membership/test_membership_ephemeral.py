"""Ephemeral members: forgotten without a vote, without a tombstone, and not brought back by an echo."""

from __future__ import annotations

import msgspec

from covey.core.vocabulary import Liveness, LivenessChanged, MemberRemoved, MessagesReceived
from covey.protocols.membership.config import MembershipConfig
from covey.protocols.membership.record import MEM
from covey.protocols.membership.vocabulary import Cleanup, MemberLeft
from covey.wire.messages.membership import News
from tests.protocols.membership.membership_net import DURABLE, SECOND, Net, Node, agree, record_of, site, three

PASSING = MembershipConfig(ephemeral=True)


def two_and_a_passer() -> tuple[Net, Node, Node, Node]:
    """Two durable members and an ephemeral one that started an hour later than they did."""
    net = Net()
    a, b = net.add(1), net.add(2)
    net.mesh()
    net.now_us += 3600 * SECOND
    net.wait(SECOND)
    e = net.add(5, PASSING)
    net.mesh()
    net.wait(3 * SECOND)
    assert a.members == b.members == e.members == [1, 2, 5]
    return net, a, b, e


def test_one_that_is_down_for_long_is_forgotten_entirely() -> None:
    net, a, b, e = two_and_a_passer()
    e.crash()
    a.feed(LivenessChanged(e.machine.me, Liveness.DOWN, "silent"))
    net.wait(PASSING.forget_ephemeral_us - SECOND)
    assert a.members == [1, 2, 5]
    net.wait(2 * SECOND)
    assert a.members == [1, 2]
    assert a.events[-1] == MemberLeft(e.site, e.site)
    assert a.said[-2] == MemberRemoved(e.site, e.site)
    assert not [key for key in record_of(a) if key[1] == e.site]
    b.feed(LivenessChanged(e.machine.me, Liveness.DOWN, "silent"))
    net.wait(PASSING.forget_ephemeral_us + SECOND)
    assert agree(a, b)


def test_one_that_comes_back_in_time_is_kept() -> None:
    net, a, _b, e = two_and_a_passer()
    a.feed(LivenessChanged(e.machine.me, Liveness.DOWN, "silent"))
    net.wait(PASSING.forget_ephemeral_us // 2)
    a.feed(LivenessChanged(e.machine.me, Liveness.ALIVE, "it answered"))
    net.wait(2 * PASSING.forget_ephemeral_us)
    assert a.members == [1, 2, 5]


def test_a_durable_member_that_is_down_stays_a_member() -> None:
    net, a, b, _e = two_and_a_passer()
    b.crash()
    a.feed(LivenessChanged(b.machine.me, Liveness.DOWN, "silent"))
    net.wait(3 * PASSING.forget_ephemeral_us)
    assert 2 in a.members


def test_one_that_was_kicked_leaves_no_tombstone_after_a_minute() -> None:
    net, a, b, e = two_and_a_passer()
    a.kick(e)
    net.wait(3 * SECOND)
    assert e.solo
    assert a.members == b.members == [1, 2]
    assert (MEM, e.site) in record_of(a)
    net.wait(3 * PASSING.forget_ephemeral_us)
    assert not [key for key in (*record_of(a), *record_of(b)) if key[1] == e.site]
    assert agree(a, b)


def test_a_late_echo_does_not_bring_a_forgotten_one_back() -> None:
    """The member that kicked it is older than it, so its incarnation is lower."""
    net, a, _b, e = two_and_a_passer()
    echo = News((record_of(e)[MEM, e.site],))
    a.kick(e)
    net.wait(3 * SECOND)
    request = a.command(lambda number: Cleanup(number, 0))
    assert a.outcomes[request] == (e.site,)
    a.feed(MessagesReceived(site(2), [echo]))
    assert a.members == [1, 2]
    assert a.machine.statistics().operations_refused == 1


def test_one_that_was_forgotten_and_is_alive_after_all_is_a_member_again_or_knows_that_it_is_not() -> None:
    """Reference, invariant 8: "A lists A" and "no one else lists A" lasts 2 syncs at most."""
    net, a, b, e = two_and_a_passer()
    net.unlink_all(e)
    for node in (a, b):
        node.feed(LivenessChanged(e.machine.me, Liveness.DOWN, "silent"))
    net.wait(PASSING.forget_ephemeral_us + SECOND)
    assert a.members == b.members == [1, 2]
    net.mesh()
    net.wait(5 * SECOND)
    assert e.solo or a.members == b.members == [1, 2, 5]


def test_the_echoes_remembered_are_bounded_and_fade() -> None:
    net = Net(msgspec.structs.replace(DURABLE, members_max=3))
    a = net.add(1)
    for number in range(2, 8):
        e = net.add(number, PASSING)
        net.link(a, e)
        net.run()
        e.leave()
        net.wait(3 * SECOND)
        a.command(lambda number: Cleanup(number, 0))
        a.machine.check()
    assert len(a.machine.ledger._gone) == 3
    net.wait(4 * PASSING.forget_ephemeral_us)
    assert len(a.machine.ledger._gone) == 0


def test_an_ephemeral_member_that_says_it_stopped_leaves_at_once() -> None:
    net, a, b, _c = three()
    e = net.add(5, PASSING)
    net.mesh()
    net.wait(3 * SECOND)
    e.crash()
    a.feed(LivenessChanged(e.machine.me, Liveness.STOPPED, "it said so", "stopped"))
    assert a.members == [1, 2, 3]
    assert a.events[-1] == MemberLeft(e.site, e.site)
    assert a.said[-2] == MemberRemoved(e.site, e.site)
    net.wait(3 * SECOND)
    assert a.members == [1, 2, 3], "those that have not heard it do not bring it back"
    assert b.members == [1, 2, 3, 5]


def test_a_durable_member_that_says_it_stopped_stays_a_member() -> None:
    _net, a, b, _c = three()
    assert a.feed(LivenessChanged(b.machine.me, Liveness.STOPPED, "it said so", "stopped")) == []
    assert a.members == [1, 2, 3]


def test_a_member_that_is_down_is_missed_no_longer_when_we_are_in_another_cluster() -> None:
    net, a, _b, _c = three()
    e = net.add(5, PASSING)
    net.mesh()
    net.wait(3 * SECOND)
    a.feed(LivenessChanged(e.machine.me, Liveness.DOWN, "silent", "silent"))
    a.leave()
    net.wait(SECOND)
    assert a.solo
    assert not a.machine._forgetting._vanished
    net.wait(2 * PASSING.forget_ephemeral_us)
    assert MemberLeft(e.site, e.site) not in a.events


def test_one_that_left_and_then_stops_leaves_once() -> None:
    net, a, _b, e = two_and_a_passer()
    e.leave()
    net.wait(SECOND)
    assert a.members == [1, 2]
    assert a.feed(LivenessChanged(e.machine.me, Liveness.STOPPED, "it said so", "stopped")) == []
    assert a.kinds(MemberLeft) == [MemberLeft(e.site, e.site)]
