"""A voter's door: what is stored before it is said, and what it says to whom."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec

from covey.core.claims import Elect
from covey.core.clock import pack
from covey.core.ids import ClusterId, Contact, Site
from covey.core.vocabulary import (
    Channel,
    ClusterChanged,
    Emit,
    MessagesReceived,
    PeerConnected,
    Persist,
    Send,
    WallOffset,
)
from covey.protocols.claims.config import ClaimsConfig
from covey.protocols.claims.electorate import electorate_of
from covey.protocols.claims.stored import LOG, Seating, seating_record
from covey.protocols.claims.vocabulary import ForVoter, FromVoter, VotersDiffer
from covey.protocols.claims.voter import Voter
from covey.wire.messages.claims import Claim, Grant, Refusal, Release

HUB = b"hub"
ID = (HUB, b"id")
ME, ANN, BOB = (Site(bytes([number]) * 16) for number in range(3))
NAMES = ("ann", "bob", "me")
ELECTORATE = electorate_of(NAMES)
DIGEST = ELECTORATE.digest
SEATED = seating_record(DIGEST, Seating(NAMES, (ANN, BOB, ME), True))
SECOND = 1_000_000
WAIT = ClaimsConfig().wait_us


class Box:
    """A voter that sits, whose start was long ago unless `now_us` says otherwise."""

    def __init__(
        self, stored: dict[bytes, bytes] | None = None, now_us: int = 3_600 * SECOND, name: str = "me", **config: Any
    ) -> None:
        assert SEATED.value is not None
        self.disk = {SEATED.key: SEATED.value, **(stored or {})}
        self.now_us = now_us
        self.voter = Voter(ClaimsConfig(**config), Random(0), 0, me=Contact(ME, 1, "me:1"), stored=self.disk)
        self.voter.handle(Elect(HUB, NAMES, name), 0)

    def feed(self, incoming: Any) -> list[Any]:
        effects = list(self.voter.handle(incoming, self.now_us))
        self.voter.check()
        for effect in effects:
            if type(effect) is Persist:
                assert effect.log == LOG
                for record in effect.records:
                    if record.value is None:
                        del self.disk[record.key]
                    else:
                        self.disk[record.key] = record.value
        return effects

    def hears(self, host: Site, message: Claim | Release) -> list[Any]:
        return self.feed(MessagesReceived(host, (message,)))


def claim(epoch: int = 5, id: tuple[bytes, bytes] = ID, **changed: Any) -> Claim:
    return msgspec.structs.replace(Claim(id, epoch, 1, 77, 4 * SECOND, DIGEST), **changed)


def kinds(effects: list[Any]) -> list[str]:
    """What is persisted, and what is said."""
    return [type(getattr(effect, "message", getattr(effect, "said", effect))).__name__ for effect in effects]


def test_a_first_grant_is_stored_before_it_is_said_and_a_renewal_is_only_said():
    box = Box()
    effects = box.hears(ANN, claim())
    assert kinds(effects) == ["Persist", "Grant"]
    assert effects[1] == Send(ANN, Grant(ID, 5, 1, 77, 2), channel=Channel.CONTROL)
    assert kinds(box.hears(ANN, claim(sent=99))) == ["Grant"]
    assert (box.voter.statistics().granted, box.voter.statistics().votes) == (2, 1)


def test_a_refusal_says_what_was_accepted_and_how_long_that_is_protected():
    box = Box()
    box.hears(ANN, claim())
    box.now_us += SECOND
    (refusal,) = box.hears(BOB, claim(6))
    assert refusal.message == Refusal(ID, 6, 1, 5, 5, 3 * SECOND, False, False)
    assert box.voter.statistics().refused == 1


def test_the_host_in_the_same_process_is_answered_there():
    box = Box()
    effects = box.feed(ForVoter(claim()))
    assert kinds(effects) == ["Persist", "Grant"]
    assert type(effects[1]) is FromVoter
    assert kinds(box.feed(ForVoter(Release(ID, (ME, 1, 5))))) == ["Persist", "Released"]


def test_a_release_is_stored_before_it_is_said_and_answered_however_often_it_comes():
    box = Box()
    box.hears(ANN, claim())
    release = Release(ID, (ANN, 1, 5))
    assert kinds(box.hears(ANN, release)) == ["Persist", "Released"]
    assert kinds(box.hears(ANN, release)) == ["Released"]
    assert kinds(box.hears(BOB, claim(6))) == ["Persist", "Grant"]


def test_a_claim_that_carries_the_release_of_another_is_granted_at_once():
    box = Box()
    box.hears(ANN, claim())
    assert kinds(box.hears(BOB, claim(6))) == ["Refusal"]
    assert kinds(box.hears(BOB, claim(6, freed=(ANN, 1, 5)))) == ["Persist", "Grant"]


def test_a_refused_claim_that_carries_a_release_still_frees():
    box = Box()
    box.hears(ANN, claim())
    assert kinds(box.hears(BOB, claim(4, freed=(ANN, 1, 5)))) == ["Persist", "Refusal"]
    assert kinds(box.hears(BOB, claim(6))) == ["Persist", "Grant"]


def test_what_was_granted_binds_after_a_restart():
    box = Box()
    box.hears(ANN, claim())
    again = Box(box.disk, now_us=1)
    assert kinds(again.hears(BOB, claim(6))) == ["Refusal"]
    assert kinds(again.hears(ANN, claim(5))) == ["Grant"]
    again = Box(box.disk, now_us=WAIT)
    assert kinds(again.hears(BOB, claim(6))) == ["Persist", "Grant"]


def test_after_a_start_it_refuses_what_it_does_not_know_and_says_how_long():
    box = Box(now_us=SECOND)
    (refusal,) = box.hears(ANN, claim())
    assert refusal.message == Refusal(ID, 5, 1, 0, 0, WAIT - SECOND, False, False)
    box.now_us = WAIT
    assert kinds(box.hears(ANN, claim())) == ["Persist", "Grant"]


def test_after_a_start_it_waits_as_long_as_the_longest_claim_on_its_disk_says():
    box = Box()
    box.hears(ANN, claim(wait_us=60 * SECOND))
    again = Box(box.disk, now_us=59 * SECOND)
    assert kinds(again.hears(ANN, claim(id=(HUB, b"other")))) == ["Refusal"]
    again.now_us = 60 * SECOND
    assert kinds(again.hears(ANN, claim(id=(HUB, b"other")))) == ["Persist", "Grant"]


def test_what_is_new_lies_above_the_clock_that_it_had_when_nobody_relied_on_older_grants():
    box = Box(now_us=WAIT)
    box.feed(WallOffset(99 * SECOND))
    box.feed(WallOffset(10 * SECOND))  # its date was wrong
    floor = pack(10_000 + WAIT // 1_000, 0)
    (refusal,) = box.hears(ANN, claim(floor))
    assert (refusal.message.accepted, refusal.message.floor) == (0, floor)
    assert kinds(box.hears(ANN, claim(floor + 1))) == ["Persist", "Grant"]


def test_an_epoch_far_above_its_clock_is_refused_and_binds_nobody():
    box = Box(lead_ms_max=1_000)
    highest = pack(box.now_us // 1_000 + 1_000, 0)
    (refusal,) = box.hears(ANN, claim(highest + (1 << 16)))
    assert refusal.message == Refusal(ID, highest + (1 << 16), 1, 0, 0, 0, False, True)
    assert box.voter.statistics().ahead == 1
    assert kinds(box.hears(BOB, claim(highest))) == ["Persist", "Grant"]


def test_what_is_forgotten_leaves_the_floor_on_disk():
    box = Box(votes_max=1)
    box.hears(ANN, claim(50))
    box.hears(ANN, Release(ID, (ANN, 1, 50)))
    assert kinds(box.hears(ANN, claim(60, (HUB, b"other")))) == ["Persist", "Grant"]
    assert len(box.voter.votes) == 1
    again = Box(box.disk)
    (refusal,) = again.hears(BOB, claim(50))
    assert (refusal.message.accepted, refusal.message.floor) == (0, 50)
    assert kinds(again.hears(BOB, claim(51))) == ["Persist", "Grant"]


def test_where_everything_binds_a_new_id_is_refused_until_there_may_be_room():
    box = Box(votes_max=1)
    box.hears(ANN, claim(50))
    box.now_us += SECOND
    (refusal,) = box.hears(BOB, claim(60, (HUB, b"other")))
    assert refusal.message.left_us == 3 * SECOND
    assert (box.voter.statistics().full, len(box.voter.votes)) == (1, 1)
    box.now_us += 3 * SECOND
    assert kinds(box.hears(BOB, claim(60, (HUB, b"other")))) == ["Persist", "Grant"]


def test_who_has_another_list_of_voters_is_refused_and_both_say_so_once():
    box = Box()
    refused = Refusal(ID, 5, 1, 0, 0, 0, True, False)
    effects = box.hears(ANN, claim(electorate=b"others!!"))
    assert [effect.message for effect in effects if type(effect) is Send] == [refused]
    assert Emit(VotersDiffer(HUB, ANN)) in effects
    assert kinds(box.hears(ANN, claim(electorate=b"others!!"))) == ["Refusal"]
    box.feed(PeerConnected(Contact(ANN, 2, ""), Channel.CONTROL))
    assert len(box.hears(ANN, claim(electorate=b"others!!"))) == 2
    others = ("ann", "carl", "me")
    box.feed(Elect(HUB, others, "me"))
    assert kinds(box.hears(ANN, claim())) == ["Refusal", "Emit"]
    assert box.hears(ANN, claim(electorate=electorate_of(others).digest)) == []  # for these nobody sits so far


def test_of_an_instance_that_it_does_not_use_or_in_a_seat_that_is_not_its_own_it_says_nothing():
    box = Box()
    assert box.hears(ANN, claim(id=(b"unknown", b"id"))) == []
    assert kinds(box.hears(ANN, Release(ID, (ANN, 1, 5)))) == ["Released"]
    assert box.voter.votes_for(HUB)
    for name in ("carl", "", "ann"):
        other = Box(name=name)
        assert not other.voter.votes_for(HUB)
        assert other.hears(ANN, claim()) == []


def test_a_new_life_of_the_voter_is_still_that_voter():
    box = Box()
    box.hears(ANN, claim())
    box.feed(ClusterChanged(ClusterId(bytes(16)), 2, False))
    assert kinds(box.hears(BOB, claim(6))) == ["Refusal"]
    assert type(box.feed(ForVoter(claim(7)))[-1]) is FromVoter
