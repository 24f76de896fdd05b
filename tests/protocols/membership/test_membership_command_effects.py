"""What a command causes, compared whole: the disk comes first, and each request has its outcome."""

from __future__ import annotations

import pytest

from covey.core.errors import InvariantError, JoinFailed
from covey.core.ids import Contact
from covey.core.vocabulary import (
    AddressAnswered,
    AddressFailed,
    Cause,
    Channel,
    ClusterChanged,
    Dial,
    Emit,
    Flood,
    MemberAdded,
    MemberRemoved,
    MessagesReceived,
    PeerConnected,
    Persist,
    Record,
    Refuse,
    Resolve,
    Send,
    Tick,
)
from covey.protocols.membership.ledger import CLOCK, CLUSTER, REJOIN, VERDICT
from covey.protocols.membership.machine import LOG
from covey.protocols.membership.record import HOST, MEM, META, encode_key, encode_op
from covey.protocols.membership.vocabulary import (
    Flush,
    Join,
    Kick,
    Kicked,
    Leave,
    MemberJoined,
    MemberLeft,
    Outcome,
    SelfChanged,
    SetMember,
    SetMeta,
)
from covey.wire.messages.membership import News, Sync
from tests.protocols.membership.membership_bench import (
    BOOTED,
    CLOCK_NOW,
    CONFIG,
    DEFAULT,
    HELLO,
    ME,
    NOBODY,
    NOW_MS,
    PEER,
    PEER_LIFE,
    joined,
    machine,
    own,
    stored,
    told,
)
from tests.protocols.membership.membership_net import SECOND, SHARED, mem, site


def test_setting_a_member_is_stored_told_flooded_and_resolved_with_its_clock():
    made = joined()
    written = own(MEM, 3, made.ledger.clock.last + 1, 1)
    assert made.handle(SetMember(9, site(3), True), 0) == [
        stored(written),
        Emit(MemberJoined(site(3), ME)),
        MemberAdded(Contact(site(3), 0, ""), False, False),
        Flood(News((written,))),
        Resolve(9, written.clock),
        told(made),
    ]


def test_own_metadata_is_stored_flooded_and_resolved():
    made = joined()
    written = own(META, 1, made.ledger.clock.last + 1, b"\x80")
    effects = [stored(written), Flood(News((written,))), Resolve(9)]
    changed = Emit(SelfChanged(made.me, b"\x80"))
    assert made.handle(SetMeta(9, b"\x80"), 0) == [*effects, told(made), changed]
    again = own(META, 1, written.clock + 1, b"\x80")
    assert made.handle(SetMeta(9, b"\x80"), 0) == [stored(again), Flood(News((again,))), Resolve(9), told(made)]


def test_a_kick_is_told_to_all_and_resolved_when_all_but_the_kicked_have_it_or_the_time_is_up():
    made = joined()
    made.handle(MessagesReceived(PEER, [News((mem(3, CLOCK_NOW, 1, origin=2, magic=4),))]), 0)
    written = own(MEM, 3, made.ledger.clock.last + 1, 0)
    effects = made.handle(Kick(9, site(3)), 0)
    imports = made.ledger.imports
    assert [effect for effect in effects if not isinstance(effect, Send)] == [
        stored(written),
        Emit(MemberLeft(site(3), ME)),
        MemberRemoved(site(3), ME),
        Flood(News((written,))),
        told(made),
    ]
    sends = [effect for effect in effects if isinstance(effect, Send)]
    assert [(send.to, send.message.answer, written in send.message.ops) for send in sends] == [
        (PEER, True, True),
        (site(3), True, True),
    ]
    made.check()
    acked = Sync(2, imports, 3, (), made.record.digest, False)
    assert made.handle(MessagesReceived(PEER, [acked]), 0) == [Resolve(9, Outcome((PEER,), ()))]
    made.handle(Kick(10, site(3)), SECOND)
    assert made.handle(Tick(), SECOND + CONFIG.answer_us_max - 1) == []
    assert made.handle(Tick(), SECOND + CONFIG.answer_us_max) == [Resolve(10, Outcome((), (PEER,)))]


def test_a_sync_that_asks_for_an_answer_gets_one_though_both_are_equal():
    made = joined()
    (send,) = made.handle(MessagesReceived(PEER, [Sync(2, 2, 3, (), made.record.digest, True)]), 0)
    assert (send.message.acked, send.message.answer) == (3, False)


def test_a_flush_with_nobody_else_is_resolved_at_once():
    made = machine()
    assert made.handle(Flush(9), 0) == [Resolve(9, Outcome((), ()))]


def test_a_verdict_makes_us_go_on_alone_and_all_of_it_stands_behind_the_disk():
    made = joined()
    kick = mem(1, CLOCK_NOW + 99, 0, origin=2, magic=4)
    effects = made.handle(MessagesReceived(PEER, [News((kick,))]), 0)
    host = own(HOST, 1, CLOCK_NOW + 100, b"n1:1")
    keys = (encode_key((MEM, ME)), encode_key((HOST, ME)))
    assert effects[0] == Persist(
        LOG,
        (
            Record(keys[0], encode_op(DEFAULT)),
            Record(keys[1], encode_op(host)),
            Record(encode_key((MEM, PEER)), None),
            Record(encode_key((HOST, PEER)), None),
            Record(CLUSTER, bytes(made.cluster)),
            Record(CLOCK, (CLOCK_NOW + 99).to_bytes(8, "big")),
            Record(REJOIN, (CLOCK_NOW + 99).to_bytes(8, "big")),
            Record(VERDICT, encode_op(kick)),
        ),
    )
    assert effects[1:] == [
        Emit(MemberLeft(ME, PEER)),
        MemberRemoved(ME, PEER),
        Emit(Kicked(PEER, 0)),
        ClusterChanged(made.cluster, 5, True),
        Flood(News((host,))),
        MemberRemoved(PEER),
        told(made),
    ]
    assert (made.solo, made.members()) == (True, [ME])
    assert made.handle(MessagesReceived(PEER, [News((kick,))]), 0) == []
    assert made.statistics().strays == 1


def test_setting_oneself_to_no_member_is_leaving_when_a_member_has_taken_it():
    """Else nobody would ever hear of it: the links end with the change, and what is queued on them."""
    made = joined()
    effects = made.handle(SetMember(9, ME, False), 0)
    assert type(effects[0]) is Persist
    assert not any(isinstance(effect, (Resolve, ClusterChanged)) for effect in effects)
    (sync,) = [effect.message for effect in effects if isinstance(effect, Send)]
    assert (sync.answer, sync.ops[-1].value) == (True, 0)
    taken = Sync(0, made.ledger.imports, 3, (), made.record.digest, False, 5)
    effects = made.handle(MessagesReceived(PEER, [taken]), 0)
    assert Resolve(9, CLOCK_NOW + 1) in effects
    assert not made.solo
    effects = made.handle(Tick(), 0)
    assert made.solo
    assert Kicked not in [type(effect.event) for effect in effects if isinstance(effect, Emit)]
    assert made.handle(SetMember(10, ME, False), 0)[-2] == Resolve(10, made.ledger.clock.last)


def test_setting_oneself_to_no_member_ends_after_its_time_where_nobody_answers():
    made = joined()
    made.handle(SetMember(9, ME, False), 0)
    made.handle(Tick(), CONFIG.answer_us_max - 1)
    assert not made.solo
    effects = made.handle(Tick(), CONFIG.answer_us_max)
    assert Resolve(9, CLOCK_NOW + 1) in effects
    made.handle(Tick(), CONFIG.answer_us_max)
    assert made.solo


def test_kicking_oneself_is_leaving():
    made = machine()
    effects = made.handle(Kick(9, ME), 0)
    assert Resolve(9, Outcome((), ())) in effects
    assert made.deadline() == 0
    made.handle(Tick(), 0)
    assert made.solo


def test_leaving_twice_or_while_alone_changes_nothing_more():
    made = machine()
    made.handle(Leave(1), 0)
    made.handle(Tick(), 0)
    cluster = made.cluster
    assert made.handle(Leave(2), 0) == [Resolve(2, Outcome((), ()))]
    made.handle(Tick(), 0)
    assert made.cluster == cluster


def test_a_join_from_alone_enters_in_a_new_life_and_a_failed_one_goes_back():
    made = machine()
    made.handle(Leave(1), 0)
    made.handle(Tick(), 0)
    alone = made.cluster
    effects = made.handle(Join(2, "n2:1"), 0)
    assert type(effects[0]) is Persist
    assert [effect for effect in effects if isinstance(effect, (ClusterChanged, Dial))] == [
        ClusterChanged(SHARED, NOW_MS, False),
        Dial("n2:1"),
    ]
    assert made.handle(AddressAnswered("elsewhere:1", PEER_LIFE), 0) == []
    assert made.handle(AddressFailed("elsewhere:1", Cause.REFUSED), 0) == []
    effects = made.handle(AddressFailed("n2:1", Cause.REFUSED), 0)
    assert type(effects[0]) is Persist
    assert ClusterChanged(alone, NOW_MS, True) in effects
    (refuse,) = [effect for effect in effects if isinstance(effect, Refuse)]
    assert refuse.request == 2
    assert isinstance(refuse.error, JoinFailed)
    assert str(refuse.error) == "nobody of this cluster answers at n2:1 (refused); nothing was joined"
    assert made.handle(AddressFailed("n2:1", Cause.REFUSED), 0) == []


def test_a_join_is_resolved_with_its_contact_by_the_first_exchange():
    made = machine()
    assert made.handle(Join(2, "n2:1"), 0) == [Dial("n2:1")]
    made.handle(PeerConnected(PEER_LIFE, Channel.CONTROL), 0)
    effects = made.handle(MessagesReceived(PEER, [Sync(0, 0, 1, HELLO, NOBODY, False)]), 0)
    assert Resolve(2, PEER_LIFE) in effects


def test_who_waits_hears_what_is_known_when_we_are_thrown_out():
    made = joined()
    made.handle(Flush(9), 0)
    effects = made.handle(MessagesReceived(PEER, [News((mem(1, CLOCK_NOW + 99, 0, origin=2, magic=4),))]), 0)
    assert Resolve(9, Outcome((), (PEER,))) in effects
    made.check()


def test_queries_say_what_is_recorded():
    made = joined()
    assert made.contact(site(9)) is None
    assert made.contact(PEER) == PEER_LIFE
    assert [entry.op for entry in made.dump()] == [DEFAULT, own(HOST, 1, BOOTED, b"n1:1"), *HELLO]
    statistics = made.statistics()
    assert (statistics.members, statistics.operations, statistics.floors) == (2, 4, 1)


@pytest.mark.parametrize("breakage", ["wait", "self"])
def test_a_law_that_does_not_hold_is_noticed(breakage):
    made = joined()
    if breakage == "wait":
        made.handle(Flush(9), 0)
        made._timers.cancel(("wait", 9))
    else:
        made.record.forget((MEM, ME))
    with pytest.raises(InvariantError):
        made.check()
