"""The passage between two clusters: each join ends once, and one that fails leaves everything as it was."""

from __future__ import annotations

import msgspec

from covey.core.errors import JoinFailed
from covey.core.vocabulary import (
    AddressAnswered,
    AddressFailed,
    AddressLearned,
    Cause,
    ClusterChanged,
    ClusterEntered,
    Dial,
    Emit,
    Flood,
    MemberAdded,
    MessagesReceived,
    Refuse,
    Resolve,
    Tick,
)
from covey.protocols.membership.machine import Membership
from covey.protocols.membership.record import HOST, MEM
from covey.protocols.membership.vocabulary import ClockSkew, Join, Leave, MemberJoined, SelfChanged
from covey.wire.messages.membership import News
from tests.protocols.membership.membership_bench import CLOCK_NOW, CONFIG, ME, PEER, joined, machine
from tests.protocols.membership.membership_net import SECOND, SHARED, mem, site, three


def alone() -> Membership:
    """Kicked by the peer, and in a cluster of our own."""
    made = joined()
    made.handle(MessagesReceived(PEER, [News((mem(1, CLOCK_NOW, 0, origin=2, magic=4),))]), 0)
    made.handle(ClusterEntered(made.cluster), 0)
    assert made.solo
    return made


def refused(effects) -> list[int]:
    found = [effect for effect in effects if isinstance(effect, Refuse)]
    assert all(isinstance(effect.error, JoinFailed) for effect in found)
    return [effect.request for effect in found]


def test_an_address_that_turns_out_to_be_our_own_is_resolved_with_ourselves():
    made = machine()
    assert made.handle(Join(9, "alias:1"), 0) == [Dial("alias:1")]
    assert made.handle(AddressAnswered("alias:1", made.me), 0) == [Resolve(9, made.me)]
    made.check()


def test_who_is_alone_and_finds_itself_is_alone_again_where_it_was():
    made = alone()
    cluster = made.cluster
    made.handle(Join(9, "alias:1"), 0)
    assert made.cluster == SHARED
    made.handle(ClusterEntered(SHARED), 0)
    effects = made.handle(AddressAnswered("alias:1", made.me), 0)
    assert [effect for effect in effects if isinstance(effect, Resolve)] == [Resolve(9, made.me)]
    assert (made.cluster, made.members()) == (cluster, [ME])
    made.check()


def test_a_dial_that_ended_because_of_the_cluster_before_says_nothing_of_the_join():
    for cause in (Cause.CLUSTER, Cause.GOODBYE):
        made = alone()
        made.handle(Join(9, "n2:1"), 0)
        assert made.handle(AddressFailed("n2:1", cause), 0) == []
        made.handle(ClusterEntered(SHARED), 0)
        assert refused(made.handle(AddressFailed("n2:1", cause), 0)) == [9]
        assert made.solo


def test_a_dial_that_nobody_answered_ends_the_join_also_while_the_cluster_changes():
    made = alone()
    made.handle(Join(9, "n2:1"), 0)
    assert refused(made.handle(AddressFailed("n2:1", Cause.REFUSED), 0)) == [9]
    assert made.handle(AddressFailed("n2:1", Cause.REFUSED), 0) == []


def test_a_failed_join_brings_the_members_of_the_own_cluster_back():
    net, a, _b, c = three()
    c.kick(a)
    net.wait(SECOND)
    a.set_member(77)
    assert a.members == [1, 77]
    a.said.clear()
    request = a.join("nowhere:1")
    assert isinstance(a.outcomes[request], JoinFailed)
    assert a.members == [1, 77]
    assert [event for event in a.events if isinstance(event, MemberJoined)][-1] == MemberJoined(site(77), a.site)
    assert [fact.contact.site for fact in a.said if isinstance(fact, MemberAdded)] == [site(77)]


def test_a_join_whose_time_is_up_in_the_moment_we_go_alone_ends_once():
    made = joined()
    alone_us = CONFIG.answer_us_max
    made.handle(Join(9, "n7:1"), alone_us + 1 - CONFIG.join_us_max)
    made.handle(Leave(8), 0)
    assert [effect.request for effect in made.handle(Tick(), alone_us) if isinstance(effect, Resolve)] == [8]
    assert refused(made.handle(Tick(), alone_us + 1)) == [9]
    assert made.solo
    assert refused(made.handle(Tick(), alone_us + 2)) == []


def test_a_join_while_leaving_goes_alone_first_and_comes_in_again_in_a_new_life():
    """It was given later, so it counts: a link that is still there is none of those that let us in."""
    made = joined()
    made.handle(Leave(8), 0)
    effects = made.handle(Join(9, "n2:1"), 1)
    assert [effect.request for effect in effects if isinstance(effect, Resolve)] == [8]
    changes = [effect for effect in effects if isinstance(effect, ClusterChanged)]
    assert [change.solo for change in changes] == [True, False]
    assert changes[1].incarnation == made.me.incarnation > changes[0].incarnation == 5
    assert [effect.address for effect in effects if isinstance(effect, Dial)] == ["n2:1"]
    assert not made.solo
    made.check()
    for change in changes:
        made.handle(ClusterEntered(change.cluster), 1)
    made.handle(Tick(), CONFIG.answer_us_max)
    assert not made.solo
    assert refused(made.handle(AddressFailed("n2:1", Cause.REFUSED), CONFIG.answer_us_max)) == [9]
    assert (made.solo, made.members()) == (True, [ME])


# --- what else has a bound ------------------------------------------------------------------------------------------


def test_many_news_at_once_are_flooded_in_messages_of_bounded_size_and_in_order():
    made = joined(sync_ops_max=2)
    ops = tuple(mem(number, CLOCK_NOW, 1, origin=2, magic=4) for number in range(10, 15))
    floods = [effect.message.ops for effect in made.handle(MessagesReceived(PEER, [News(ops)]), 0)
              if isinstance(effect, Flood)]  # fmt: skip
    assert floods == [ops[:2], ops[2:4], ops[4:]]


def test_the_sites_whose_clocks_were_reported_are_bounded_and_the_oldest_may_be_reported_again():
    made = joined(members_max=3)

    def reported(origin: int, minutes: int) -> list[int]:
        op = mem(2, CLOCK_NOW + (60_000 * minutes << 16), 1, origin=origin)
        effects = made.handle(MessagesReceived(PEER, [News((op,))]), 0)
        made.check()
        events = [effect.event for effect in effects if isinstance(effect, Emit)]
        return [event.site[0] for event in events if isinstance(event, ClockSkew)]

    assert [reported(origin, origin) for origin in (10, 11, 12)] == [[10], [11], [12]]
    assert reported(10, 20) == []
    assert reported(13, 21) == [13]
    assert reported(10, 22) == [10]


def test_an_address_that_no_message_can_carry_is_not_written():
    made = machine()
    before = made.record.get(HOST, ME)
    assert made.handle(AddressLearned("\udc80:1"), 0) == [Emit(SelfChanged(made.me, b""))]
    assert made.record.get(HOST, ME) == before
    assert made.record.get(MEM, ME) is not None


def test_the_flood_may_be_switched_off_and_all_is_learned_by_comparing():
    quiet = msgspec.structs.replace(CONFIG, flood=False)
    made = joined(flood=quiet.flood)
    ops = (mem(10, CLOCK_NOW, 1, origin=2, magic=4),)
    assert not [effect for effect in made.handle(MessagesReceived(PEER, [News(ops)]), 0) if isinstance(effect, Flood)]
