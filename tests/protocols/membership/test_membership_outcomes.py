"""Commands that carry a request have one outcome, and it is true."""

from __future__ import annotations

import msgspec

from covey.core.errors import ClusterMismatch, JoinFailed, ValueTooLarge
from covey.core.vocabulary import AddressFailed, Cause, Channel, Dial, MessagesReceived, PeerConnected
from covey.protocols.membership.record import HOST, MEM
from covey.protocols.membership.vocabulary import Flush, Join, SetMeta
from covey.wire.messages.membership import Sync
from tests.protocols.membership.membership_net import DURABLE, SECOND, Net, record_of, site, three


def test_leave_says_who_has_acknowledged_it() -> None:
    net, _a, _b, c = three()
    request = c.leave()
    net.wait(3 * SECOND)
    outcome = c.outcomes[request]
    assert outcome.acknowledged, "both were linked and took it at once"
    assert set(outcome.acknowledged) | set(outcome.missing) == {site(1), site(2)}


def test_leave_says_who_has_acknowledged_it_also_without_a_flood() -> None:
    net, a, _b, c = three(msgspec.structs.replace(DURABLE, flood=False))
    net.unlink(c, _b)
    request = c.leave()
    net.wait(3 * SECOND)
    assert site(1) in c.outcomes[request].acknowledged
    assert a.members == [1, 2]


def test_joining_where_one_belongs_already_succeeds() -> None:
    net, a, b, _c = three()
    request = a.join(b)
    net.wait(10 * SECOND)
    assert a.outcomes[request] == b.machine.me
    assert a.members == [1, 2, 3]


def test_joining_at_the_own_address_has_an_outcome_and_changes_nothing() -> None:
    net, a, b, c = three()
    before = record_of(a)
    request = a.join(a)
    net.wait(10 * SECOND)
    assert request in a.outcomes
    assert record_of(a) == before
    assert b.members == c.members == [1, 2, 3]


def test_who_is_alone_begins_the_cluster_again_at_its_own_address() -> None:
    net, a, b, c = three()
    c.kick(a)
    net.wait(3 * SECOND)
    assert a.solo
    life = a.machine.me.incarnation
    request = a.join(a)
    net.wait(SECOND)
    assert a.outcomes[request] == a.machine.me
    assert not a.solo
    assert a.machine.me.incarnation > life
    net.mesh()
    net.wait(10 * SECOND)
    assert a.members == b.members == c.members == [1, 2, 3]


def test_a_join_that_another_join_overtakes_has_an_outcome() -> None:
    net, a, b, c = three()
    c.leave()
    net.wait(3 * SECOND)
    net.dial = lambda node, address: None  # type: ignore[method-assign]  # both are slow to answer
    first, second = c.join(a), c.join(b)
    del net.dial
    net.dial(c, b.address)
    net.wait(10 * SECOND)
    assert first in c.outcomes
    assert second in c.outcomes


def test_a_join_whose_contact_answers_and_then_is_silent_ends() -> None:
    net, a, _b, c = three()
    c.leave()
    net.wait(3 * SECOND)
    request = c.join(a)
    net.cut = {(1, 3), (2, 3)}
    net.wait(120 * SECOND)
    assert isinstance(c.outcomes.get(request), JoinFailed)


def test_joining_another_cluster_is_refused_as_such() -> None:
    net, _a, _b, c = three()
    c.leave()
    net.wait(3 * SECOND)
    before = c.machine.cluster
    net.dial = lambda node, address: None  # type: ignore[method-assign]
    request = c.join("elsewhere:1")
    c.feed(AddressFailed("elsewhere:1", Cause.CLUSTER))
    assert isinstance(c.outcomes[request], ClusterMismatch)
    assert c.machine.cluster == before


def test_a_join_that_fails_leaves_the_same_solo_cluster_with_the_same_facts_in_it() -> None:
    net, _a, _b, c = three()
    c.leave()
    net.wait(3 * SECOND)
    before = {key: op.value for key, op in record_of(c).items()}
    assert sorted(before) == [(MEM, c.site), (HOST, c.site)]
    request = c.join("nowhere:1")
    assert isinstance(c.outcomes[request], JoinFailed)
    assert {key: op.value for key, op in record_of(c).items()} == before


def test_a_member_that_took_it_after_a_gap_counts_as_having_acknowledged() -> None:
    net, a, b, _c = three()
    floor = a.machine.exchange.floors.get(b.site)
    assert floor is not None
    floor.acked_out = 1_000  # what b acknowledged was lost on b: a sync will meet a gap
    request = a.command(Flush)
    net.wait(5 * SECOND)
    assert a.outcomes[request].missing == ()
    assert sorted(a.outcomes[request].acknowledged) == [site(2), site(3)]


def test_an_acknowledgement_meant_for_an_earlier_life_does_not_count() -> None:
    """b holds the link's queue for a that restarted; what b took from the old life is not what the new one says."""
    net, a, b, c = three()
    net.wait(30 * SECOND)
    for _ in range(20):
        a.set_member(3)
        a.command(Flush)
        net.run()
    a.crash()
    (stale,) = b.machine.exchange.sync(a.site, False, net.now_us)  # waits for a link: b does not know yet
    a.restart()
    a.dirty = []  # nothing that a says now gets out
    kick = a.kick(c)
    a.machine.handle(PeerConnected(b.machine.me, Channel.CONTROL), net.now_us)
    effects = a.machine.handle(MessagesReceived(b.site, [stale.message]), net.now_us)
    assert isinstance(stale.message, Sync)
    assert not any(getattr(effect, "request", None) == kick for effect in effects), "b has never heard of the kick"


def test_metadata_that_no_message_can_carry_is_refused() -> None:
    net, a, b, _c = three()
    request = a.command(lambda number: SetMeta(number, b"x" * 5_000))
    net.run()
    assert isinstance(a.outcomes[request], ValueTooLarge)
    assert a.machine.record.meta(a.site) == b.machine.record.meta(a.site) == b""


def test_a_join_dials_and_nothing_else_where_we_are_inside() -> None:
    net = Net()
    a = net.add(1)
    assert list(a.machine.handle(Join(1, "x:1"), net.now_us)) == [Dial("x:1")]
