"""Effect lists, compared whole: what is said in one step, and that the disk comes first."""

from __future__ import annotations

from random import Random

from covey.core.ids import Contact
from covey.core.vocabulary import (
    AddressLearned,
    Cause,
    Channel,
    DigestsChanged,
    DigestsHeard,
    Emit,
    Flood,
    MemberAdded,
    MessagesReceived,
    PeerConnected,
    PeerLost,
    Persist,
    Record,
    Send,
    Tick,
    WallOffset,
)
from covey.protocols.membership.ledger import HOME
from covey.protocols.membership.machine import Membership
from covey.protocols.membership.record import HOST, encode_key, encode_op, key_of
from covey.protocols.membership.vocabulary import (
    MemberJoined,
    SelfChanged,
    SetMember,
)
from covey.wire.messages.membership import Digests, News, Sync
from tests.protocols.membership.membership_bench import (
    BOOTED,
    CLOCK_NOW,
    CONFIG,
    DEFAULT,
    HELLO,
    ME,
    NOBODY,
    PEER,
    PEER_LIFE,
    joined,
    machine,
    own,
    stored,
    told,
)
from tests.protocols.membership.membership_net import SECOND, SHARED, START_WALL_US, mem, site


def test_a_first_start_writes_that_we_belong_and_where_we_are():
    made = Membership(CONFIG, Random(1), 0, me=Contact(ME, 5, "n1:1"), shared=SHARED)
    assert made.deadline() == 0
    home = Persist("membership", (Record(HOME, bytes(SHARED)),))
    assert made.handle(WallOffset(START_WALL_US), 0) == [home, DigestsChanged(bytes(16))]
    host = own(HOST, 1, BOOTED, b"n1:1")
    assert made.handle(Tick(), 0) == [stored(DEFAULT, host), Flood(News((host,))), told(made)]
    assert made.handle(Tick(), 1) == []
    made.check()


def test_a_start_from_the_disk_tells_who_is_there_without_having_seen_them():
    disk = {encode_key(key_of(each)): encode_op(each) for each in (DEFAULT, own(HOST, 1, 3, b"n1:1"), *HELLO)}
    made = Membership(CONFIG, Random(1), 0, me=Contact(ME, 6, "n1:1"), shared=SHARED, stored=disk)
    made.handle(WallOffset(START_WALL_US), 0)
    host = own(HOST, 1, BOOTED, b"n1:1", magic=6)
    assert made.handle(Tick(), 0) == [
        stored(host),
        MemberAdded(PEER_LIFE, False, False),
        Flood(News((host,))),
        told(made),
    ]


def test_without_an_address_nothing_is_said_of_one_until_it_is_learnt():
    made = Membership(CONFIG, Random(1), 0, me=Contact(ME, 5, ""), shared=SHARED)
    made.handle(WallOffset(START_WALL_US), 0)
    assert made.handle(Tick(), 0) == [stored(DEFAULT), told(made)]
    host = own(HOST, 1, BOOTED, b"seen:1")
    changed = Emit(SelfChanged(Contact(ME, 5, "seen:1"), b""))
    assert made.handle(AddressLearned("seen:1"), 0) == [stored(host), Flood(News((host,))), told(made), changed]
    assert made.handle(AddressLearned("seen:1"), 0) == []
    assert made.me.address == "seen:1"


def test_on_a_link_the_digests_go_first():
    made = machine()
    assert made.handle(PeerConnected(PEER_LIFE, Channel.CONTROL), 0) == [Send(PEER, made.exchange.digests())]
    assert made.handle(PeerConnected(PEER_LIFE, Channel.DATA), 0) == []
    made.handle(PeerLost(PEER_LIFE, Channel.DATA, Cause.CLOSED), 0)
    assert PEER in made.exchange.links
    assert made.handle(PeerLost(PEER_LIFE, Channel.CONTROL, Cause.CLOSED), 0) == []
    assert PEER not in made.exchange.links


def test_a_sync_is_stored_then_told_flooded_on_and_answered_if_it_did_not_make_us_equal():
    made = machine()
    made.handle(PeerConnected(PEER_LIFE, Channel.CONTROL), 0)
    effects = made.handle(MessagesReceived(PEER, [Sync(0, 0, 1, HELLO, NOBODY, False)]), 0)
    everything = (DEFAULT, own(HOST, 1, BOOTED, b"n1:1"), *HELLO)
    assert effects == [
        stored(*HELLO),
        Emit(MemberJoined(PEER, PEER)),
        MemberAdded(Contact(PEER, 4, "n2:1"), False, True),
        MemberAdded(Contact(PEER, 4, "n2:1"), False, True),
        Flood(News(HELLO), PEER),
        Send(PEER, Sync(0, 1, 2, everything, made.record.digest, False, 4), "n2:1"),
        told(made),
    ]


def test_equal_digests_are_no_reason_to_speak_and_different_ones_are_after_the_pause():
    made = joined()
    equal = made.exchange.digests()
    assert made.handle(MessagesReceived(PEER, [equal]), SECOND) == []
    assert made.handle(DigestsHeard(PEER, equal.record + equal.kicked), SECOND) == []
    assert made.handle(DigestsHeard(PEER, b"too short"), SECOND) == []
    (send,) = made.handle(MessagesReceived(PEER, [Digests(NOBODY, NOBODY)]), SECOND)
    assert isinstance(send.message, Sync)
    assert made.handle(DigestsHeard(PEER, bytes(16)), SECOND + 1) == []
    assert made.deadline() == SECOND + CONFIG.sync_pause_us
    (send,) = made.handle(Tick(), SECOND + CONFIG.sync_pause_us)
    assert isinstance(send.message, Sync)
    made.handle(DigestsHeard(site(9), bytes(16)), SECOND)
    made.handle(DigestsHeard(site(9), bytes(16)), SECOND)  # no link to it: nothing is due
    made.check()


def test_news_flood_on_to_all_but_who_told_and_only_once():
    made = joined()
    news = mem(3, CLOCK_NOW, 1, origin=2, magic=4)
    assert made.handle(MessagesReceived(PEER, [News((news,))]), 0) == [
        stored(news),
        Emit(MemberJoined(site(3), PEER)),
        MemberAdded(Contact(site(3), 0, ""), False, False),
        Flood(News((news,)), PEER),
        told(made),
    ]
    assert made.handle(MessagesReceived(PEER, [News((news,))]), 0) == []


def test_without_a_flood_nothing_floods():
    made = joined(flood=False)
    news = mem(3, CLOCK_NOW, 1, origin=2, magic=4)
    effects = made.handle(MessagesReceived(PEER, [News((news,))]), 0)
    effects = [*effects, *made.handle(SetMember(1, site(4), True), 0)]
    assert not any(isinstance(effect, Flood) for effect in effects)


def test_digests_that_came_with_pings_need_not_be_said_besides():
    """Idle cost (reference M46): the detector's pings compare with every member in turn."""
    made = joined(digest_period_us=2 * SECOND)
    same = made.record.digest + made.record.kicked_digest + bytes(8)
    for second in range(1, 60):
        assert made.handle(Tick(), second * SECOND) == []
        assert made.handle(DigestsHeard(PEER, same), second * SECOND) == []
    made.check()


def test_where_no_pings_bring_digests_they_are_said():
    made = joined(digest_period_us=2 * SECOND)
    said = [effect for second in range(1, 61) for effect in made.handle(Tick(), second * SECOND)]
    assert set(said) == {Send(PEER, Digests(made.record.digest, made.record.kicked_digest))}
    assert 20 <= len(said) <= 30
