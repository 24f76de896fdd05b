"""Acceptance scenarios of the reference on joining, leaving and order: M05 to M08, M14 to M18, M20, M25."""

from __future__ import annotations

from itertools import permutations

import pytest

from covey.core.errors import JoinFailed, UnknownName
from covey.core.vocabulary import Channel, MessagesReceived, PeerConnected
from covey.protocols.membership.record import HOST, MEM
from covey.protocols.membership.vocabulary import Kick, Kicked, MemberJoined, MemberLeft
from covey.wire.messages.membership import News
from tests.protocols.membership.membership_net import (
    SECOND,
    SHARED,
    START_WALL_US,
    Net,
    agree,
    mem,
    record_of,
    site,
    three,
)

SYNC = SECOND  # one period of comparing digests: what the reference calls a sync
NOW_CLOCK = (START_WALL_US // 1000) << 16


@pytest.mark.parametrize("sites", [2, 3])
def test_m05_one_clock_from_several_sites_has_one_winner_in_every_order_of_arrival(sites):
    ops = [mem(7, NOW_CLOCK, value=number % 2, origin=number) for number in range(4, 4 + sites)]
    for order in permutations(ops):
        net, a, b, c = three()
        for each in order:
            a.feed(MessagesReceived(b.site, [News((each,))]))
        net.wait(3 * SYNC)
        assert {record_of(node)[MEM, site(7)] for node in (a, b, c)} == {ops[-1]}


@pytest.mark.parametrize("skew_ms", [0, 250, -250])
def test_m06_the_later_command_wins_also_from_the_side_that_was_cut_off(skew_ms):
    net = Net()
    a, b = net.add(1, skew_us=1_000 * skew_ms), net.add(2)
    c = net.add(3, skew_us=-1_000 * skew_ms)
    x = net.add(4)
    net.mesh()
    net.wait(3 * SYNC)
    x.crash()
    net.isolate(c)
    for _ in range(20):  # a and b chat, which made their clocks run ahead in a Lamport order
        a.set_member(2)
        b.set_member(1)
        net.wait(SECOND)
    a.kick(x)
    net.wait(100 * SECOND)
    assert (a.members, b.members, c.members) == ([1, 2, 3], [1, 2, 3], [1, 2, 3, 4])
    c.set_member(4)
    net.wait(20 * SECOND)
    net.cut.clear()
    net.mesh()
    net.wait(3 * SYNC)
    assert a.members == b.members == c.members == [1, 2, 3, 4]
    assert agree(a, b, c)


def test_m08_a_site_nobody_ever_saw_spreads_when_forced_and_a_kick_removes_it():
    net, a, b, c = three()
    request = a.set_member(77)
    assert a.outcomes[request] == record_of(a)[MEM, site(77)].clock
    net.wait(2 * SYNC)
    assert a.members == b.members == c.members == [1, 2, 3, 77]
    assert a.machine.record.address(site(77)) == ""
    b.command(lambda number: Kick(number, site(77)))
    net.wait(2 * SYNC)
    assert a.members == b.members == c.members == [1, 2, 3]


def test_m08_kicking_a_site_nobody_ever_saw_is_refused_and_changes_nothing():
    net, a, _b, _c = three()
    before = record_of(a), dict(a.disk)
    request = a.command(lambda number: Kick(number, site(88)))
    assert isinstance(a.outcomes[request], UnknownName)
    assert (record_of(a), a.disk) == before
    assert not net.deliver()


def test_m14_who_left_and_returns_by_a_peer_that_lags_has_a_later_stamp_and_an_old_kick_does_not_throw_it_out():
    net, a, b, c = three()
    net.isolate(c)  # c lags: it hears nothing of what follows
    stale = mem(1, a.machine.ledger.clock.stamp(net.now_us), 0, origin=2, magic=b.machine.me.incarnation)
    a.leave()
    net.wait(3 * SYNC)
    left = record_of(b)[MEM, a.site]
    assert left.value == 0
    assert c.members == [1, 2, 3]
    incarnation = a.machine.me.incarnation
    net.cut.clear()
    a.join(c)
    net.wait(2 * SYNC)
    returned = record_of(c)[MEM, a.site]
    assert returned.clock > left.clock > stale.clock
    assert a.machine.me.incarnation == returned.magic > incarnation
    a.feed(MessagesReceived(c.site, [News((stale, left))]))
    assert not a.solo
    net.mesh()
    net.wait(3 * SYNC)
    assert agree(a, b, c)
    assert b.members == [1, 2, 3]


def test_m14_the_clock_outlives_the_change_of_cluster_though_the_wall_clock_steps_back():
    net, a, b, _c = three()
    a.set_member(9)
    net.wait(SYNC)
    before = a.machine.ledger.clock.last
    a.leave()
    net.wait(3 * SYNC)
    a.skew_us = -40 * SECOND
    a.restart()
    assert a.machine.ledger.clock.last >= before
    net.mesh()
    net.wait(2 * SYNC)
    assert not a.solo, "who left comes back when it starts again"
    assert record_of(b)[MEM, a.site].clock > before
    assert b.members == [1, 2, 3, 9]


def test_m15_messages_of_the_cluster_that_was_left_change_nothing_and_are_counted():
    net, a, b, c = three()
    (late,) = c.machine.exchange.sync(a.site, False, net.now_us)
    a.leave()
    net.wait(3 * SYNC)
    assert a.solo
    before = record_of(a), a.machine.statistics().imports
    a.feed(MessagesReceived(c.site, [late.message, News((mem(9, NOW_CLOCK, 1),))]))
    assert (record_of(a), a.machine.statistics().imports) == before
    assert a.machine.statistics().strays == 2
    assert b.members == [2, 3]


def test_m16_three_joins_take_three_syncs_and_each_is_seen_once_by_each():
    net = Net()
    a, b, c = net.add(1), net.add(2), net.add(3)
    for node in (b, c):  # each alone, under a solo id of its own
        node.leave()
        net.wait(SECOND)
    old = {b.machine.cluster, c.machine.cluster}
    assert len(old | {SHARED}) == 3
    requests = b.join(a), c.join(a)
    net.wait(SYNC)
    net.mesh()
    net.wait(2 * SYNC)
    assert [node.members for node in net.nodes] == [[1, 2, 3]] * 3
    assert {node.machine.cluster for node in net.nodes} == {SHARED}
    assert b.outcomes[requests[0]] == c.outcomes[requests[1]] == a.machine.me
    for observer in net.nodes:
        subjects = [event.site for event in observer.kinds(MemberJoined)]
        assert sorted(subjects) == [other.site for other in net.nodes if other is not observer]
    assert agree(*net.nodes)


def test_m17_who_leaves_is_alone_in_a_new_cluster_and_nobody_was_kicked():
    net, a, b, c = three()
    for node in (a, b, c):
        node.leave()
        net.wait(3 * SYNC)
        assert node.solo
        assert node.members == [node.number]
        assert (HOST, node.site) in record_of(node)
    assert len({SHARED, a.machine.cluster, b.machine.cluster, c.machine.cluster}) == 4
    assert not [event for node in net.nodes for event in node.kinds(Kicked)]
    assert c.kinds(MemberLeft) == [MemberLeft(node.site, node.site) for node in (a, b, c)]
    assert not net.links


def test_m18_who_was_kicked_while_it_was_down_hears_it_once_and_comes_back_with_one_call():
    net, a, b, c = three()
    a.crash()
    b.kick(a)
    net.wait(SYNC)
    a.restart()
    assert a.members == [1, 2, 3]
    net.link(a, c)
    net.wait(2 * SYNC)
    verdict = record_of(b)[MEM, a.site]
    assert a.kinds(Kicked) == [Kicked(b.site, verdict.wall_ms)]
    assert (a.solo, a.members) == (True, [1])
    assert b.members == c.members == [2, 3]
    request = a.join(c)
    net.mesh()
    net.wait(2 * SYNC)
    assert a.outcomes[request] == c.machine.me
    assert [node.members for node in (a, b, c)] == [[1, 2, 3]] * 3


def test_who_finds_its_own_kick_on_its_disk_starts_alone():
    """The kick was durable, and the process died before it could act on it."""
    _net, a, b, _c = three()
    a.crash()
    b.kick(a)
    (kick,) = [value for key, value in b.disk.items() if key == bytes([MEM]) + a.site]
    a.disk[bytes([MEM]) + a.site] = kick
    a.restart()
    assert (a.solo, a.members) == (True, [1])
    assert [event.by for event in a.kinds(Kicked)] == [b.site]
    a.restart()
    assert (a.solo, a.members) == (True, [1])
    assert [event.by for event in a.kinds(Kicked)] == [b.site], "each start says why it is alone"


@pytest.mark.parametrize("address", ["nowhere:1", "n2:1"], ids=["nobody there", "of another cluster"])
def test_m20_a_join_that_fails_leaves_everything_as_it_was(address):
    net, a, b, c = three()
    for node in (a, b):
        c.kick(node)
        net.wait(3 * SYNC)
    before, incarnation, others = a.machine.cluster, a.machine.me.incarnation, record_of(b)
    request = a.join(address)
    net.wait(SYNC)
    assert isinstance(a.outcomes[request], JoinFailed)
    assert a.machine.cluster == before
    assert a.members == [1]
    assert a.machine.me.incarnation > incarnation
    assert record_of(b) == others
    a.restart()
    assert (a.machine.cluster, a.members) == (before, [1])


def test_m20_a_member_whose_join_fails_stays_a_member():
    net, a, b, c = three()
    request = a.join("nowhere:1")
    assert isinstance(a.outcomes[request], JoinFailed)
    net.wait(3 * SYNC)
    assert a.members == b.members == c.members == [1, 2, 3]
    assert agree(a, b, c)


def test_m25_six_that_start_at_once_are_one_cluster():
    net = Net()
    nodes = [net.add(number) for number in range(1, 7)]
    net.mesh()
    net.wait(3 * SYNC)
    assert agree(*nodes)
    assert nodes[0].members == [1, 2, 3, 4, 5, 6]
    assert {node.machine.cluster for node in nodes} == {SHARED}
    for node in nodes:
        assert len(node.kinds(MemberJoined)) == 5


def test_a_life_that_is_linked_again_as_a_new_one_starts_at_zero():
    net, a, b, c = three()
    b.set_member(9)
    net.run()
    b.restart()
    a.feed(PeerConnected(b.machine.me, Channel.DATA))
    assert b.site not in a.machine.exchange.links
    net.mesh()
    net.wait(3 * SYNC)
    assert agree(a, b, c)
