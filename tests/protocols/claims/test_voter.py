"""A voter's door: what is stored before it is said, and what it says to whom."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec

from covey.core.ids import ClusterId, Contact, Site
from covey.core.vocabulary import Channel, ClusterChanged, Emit, MessagesReceived, PeerConnected, Persist, Send
from covey.protocols.claims.config import ClaimsConfig
from covey.protocols.claims.vocabulary import Elect, ForVoter, FromVoter, VotersDiffer
from covey.protocols.claims.voter import LOG, Voter
from covey.wire.messages.claims import Claim, Grant, Refusal, Release

HUB = b"hub"
ID = (HUB, b"id")
ME, ANN, BOB = (Site(bytes([number]) * 16) for number in range(3))
DIGEST = b"electors"
SECOND = 1_000_000


class Box:
    def __init__(self, stored: dict[bytes, bytes] | None = None, **config: Any) -> None:
        self.disk = dict(stored or {})
        self.now_us = 0
        self.voter = Voter(ClaimsConfig(**config), Random(0), 0, me=Contact(ME, 1, "me:1"), stored=self.disk)
        self.voter.handle(Elect(HUB, (ME, ANN, BOB), DIGEST), 0)

    def feed(self, incoming: Any) -> list[Any]:
        effects = list(self.voter.handle(incoming, self.now_us))
        self.voter.check()
        assert self.voter.deadline() is None
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
    assert effects[1] == Send(ANN, Grant(ID, 5, 1, 77), channel=Channel.CONTROL)
    assert kinds(box.hears(ANN, claim(sent=99))) == ["Grant"]
    assert (box.voter.statistics().granted, box.voter.statistics().votes) == (2, 1)


def test_a_refusal_says_what_was_accepted_and_how_long_that_is_protected():
    box = Box()
    box.hears(ANN, claim())
    box.now_us = SECOND
    (refusal,) = box.hears(BOB, claim(6))
    assert refusal.message == Refusal(ID, 6, 1, 5, 0, 3 * SECOND, False)
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
    again = Box(box.disk)
    assert kinds(again.hears(BOB, claim(6))) == ["Refusal"]
    again.now_us = 4 * SECOND
    assert kinds(again.hears(BOB, claim(6))) == ["Persist", "Grant"]


def test_what_is_forgotten_leaves_the_floor_on_disk():
    box = Box(votes_max=1)
    box.hears(ANN, claim(50))
    box.hears(ANN, Release(ID, (ANN, 1, 50)))
    box.hears(ANN, claim(60, (HUB, b"other")))
    assert len(box.voter.votes) == 1
    again = Box(box.disk)
    (refusal,) = again.hears(BOB, claim(50))
    assert (refusal.message.accepted, refusal.message.floor) == (0, 50)
    assert kinds(again.hears(BOB, claim(51))) == ["Persist", "Grant"]


def test_who_has_another_list_of_voters_is_refused_and_both_say_so_once():
    box = Box()
    refused = Refusal(ID, 5, 1, 0, 0, 0, True)
    effects = box.hears(ANN, claim(electorate=b"others!!"))
    assert [effect.message for effect in effects if type(effect) is Send] == [refused]
    assert Emit(VotersDiffer(HUB, ANN)) in effects
    assert kinds(box.hears(ANN, claim(electorate=b"others!!"))) == ["Refusal"]
    box.feed(PeerConnected(Contact(ANN, 2, ""), Channel.CONTROL))
    assert len(box.hears(ANN, claim(electorate=b"others!!"))) == 2
    box.feed(Elect(HUB, (ME, ANN, BOB), b"others!!"))
    assert kinds(box.hears(ANN, claim(electorate=b"others!!"))) == ["Persist", "Grant"]


def test_of_an_instance_that_it_does_not_know_or_does_not_vote_for_it_grants_nothing():
    box = Box()
    assert kinds(box.hears(ANN, claim(id=(b"unknown", b"id")))) == ["Refusal"]
    box.feed(Elect(HUB, (ANN, BOB), DIGEST))
    assert "Grant" not in kinds(box.hears(ANN, claim()))


def test_a_new_life_of_the_voter_is_still_that_voter():
    box = Box()
    box.hears(ANN, claim())
    box.feed(ClusterChanged(ClusterId(bytes(16)), 2, False))
    assert kinds(box.hears(BOB, claim(6))) == ["Refusal"]
    assert type(box.feed(ForVoter(claim(7)))[-1]) is FromVoter
