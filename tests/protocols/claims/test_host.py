"""A host of claims by itself: what it says, what it takes for an answer, and what ends it."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from covey.api.members import encode_meta
from covey.core.claims import ClaimWon, Elect, LeaseEnded, Relinquish, Seek
from covey.core.clock import EPOCH_MAX, STAMP_MAX, pack
from covey.core.errors import ConfigError, UsageError
from covey.core.ids import ClusterId, Contact, Site
from covey.core.vocabulary import (
    ClusterChanged,
    Emit,
    MemberAdded,
    MemberRemoved,
    MessagesReceived,
    Send,
    Tick,
    WallOffset,
)
from covey.protocols.claims.config import SECOND_US, ClaimsConfig
from covey.protocols.claims.host import Host
from covey.protocols.claims.vocabulary import EpochsAhead, ForVoter, FromVoter, VotersDiffer
from covey.wire.messages.claims import Claim, Grant, Refusal, Release, Released

HUB = b"hub"
ID = (HUB, b"id")
ME, ANN, BOB, EVE = (Site(bytes([number]) * 16) for number in range(4))
VOTERS = (ANN, BOB, ME)  # in the order of their names
NAMES = ("ann", "bob", "me")
OTHERS = ("ann", "bob", "eve")
CONFIG = ClaimsConfig()


def member(site: Site, name: str, ephemeral: bool = False) -> MemberAdded:
    """A member of that name."""
    return MemberAdded(Contact(site, 1, f"{name}:1"), ephemeral, True, encode_meta(name, {}))


class Box:
    """One host, its clock, and what it said."""

    def __init__(self, config: ClaimsConfig = CONFIG) -> None:
        self.now_us = 1_000 * SECOND_US
        self.host = Host(config, Random(0), self.now_us, me=Contact(ME, 5, "me:1"))
        self.said: list[Any] = []
        for site, name in ((ANN, "ann"), (BOB, "bob"), (EVE, "eve")):
            self.feed(member(site, name))
        self.feed(Elect(HUB, NAMES, "me"))

    def feed(self, incoming: Any) -> list[Any]:
        effects = list(self.host.handle(incoming, self.now_us))
        self.host.check()
        self.host.statistics()
        self.said += effects
        return effects

    def wait(self, duration_us: int) -> list[Any]:
        """Let time pass, with an alarm whenever one is due."""
        effects: list[Any] = []
        end_us = self.now_us + duration_us
        while (due_us := self.host.deadline()) is not None and due_us <= end_us:
            self.now_us = due_us
            effects += self.feed(Tick())
        self.now_us = end_us
        return effects

    def claims(self, effects: list[Any]) -> list[tuple[Site, Claim]]:
        """The claims among effects, and to whom they go."""
        found: list[tuple[Site, Claim]] = []
        for effect in effects:
            if type(effect) is ForVoter and type(effect.said) is Claim:
                found.append((ME, effect.said))
            elif type(effect) is Send and type(effect.message) is Claim:
                found.append((effect.to, effect.message))
        return found

    def grants(self, claim: Claim, *voters: Site) -> list[Any]:
        """These voters grant a claim."""
        effects: list[Any] = []
        for voter in voters:
            seat = VOTERS.index(voter) if voter in VOTERS else 0
            grant = Grant(claim.id, claim.epoch, claim.incarnation, claim.sent, seat)
            effects += self.feed(FromVoter(grant) if voter == ME else MessagesReceived(voter, (grant,)))
        return effects

    def refuses(self, claim: Claim, voter: Site, accepted: int, left_us: int = 0, differs: bool = False) -> list[Any]:
        refusal = Refusal(claim.id, claim.epoch, claim.incarnation, accepted, 0, left_us, differs, False)
        return self.feed(MessagesReceived(voter, (refusal,)))


def sought(epoch: int = 100) -> tuple[Box, Claim]:
    box = Box()
    claims = box.claims(box.feed(Seek(ID, epoch)))
    assert [voter for voter, _ in claims] == list(VOTERS)
    return box, claims[0][1]


def held() -> tuple[Box, Claim]:
    box, claim = sought()
    assert box.grants(claim, ME, ANN) == [ClaimWon(ID, 100)]
    return box, claim


def test_two_of_three_are_enough_and_each_counts_once():
    box, claim = sought()
    assert (claim.epoch, claim.incarnation, claim.sent, claim.wait_us) == (100, 5, box.now_us, CONFIG.wait_us)
    assert box.grants(claim, ANN, ANN, EVE) == []
    assert (box.host.token(ID), box.host.lease_us(ID)) == (0, 0)
    assert box.grants(claim, BOB) == [ClaimWon(ID, 100)]
    assert box.host.token(ID) == 100
    assert box.host.lease_us(ID) == claim.sent + CONFIG.fence_after_us
    assert box.grants(claim, ME) == []


def test_a_lease_counts_from_when_the_claim_was_sent_not_from_the_answer():
    box, claim = sought()
    box.wait(300_000)
    box.grants(claim, ME, ANN)
    assert box.host.lease_us(ID) == claim.sent + CONFIG.fence_after_us


def test_it_is_renewed_by_the_same_claim_and_ends_without_a_majority():
    box, _ = held()
    renewals = box.claims(box.wait(CONFIG.fence_after_us // CONFIG.renewals))
    assert [(claim.epoch, claim.sent) for _, claim in renewals] == [(100, box.now_us)] * 3
    box.grants(renewals[0][1], ANN, BOB)
    until_us = box.now_us + CONFIG.fence_after_us
    assert box.host.lease_us(ID) == until_us
    effects = box.wait(2 * CONFIG.fence_after_us)
    assert [effect for effect in effects if type(effect) is LeaseEnded] == [LeaseEnded(ID, 100, until_us)]
    assert box.host.token(ID) == 0


def test_nothing_brings_a_lease_back_and_nothing_is_sought_before_the_child_has_ended():
    box, claim = held()
    box.now_us += CONFIG.fence_after_us  # it was away; what waited is heard now
    late = Grant(claim.id, claim.epoch, claim.incarnation, box.now_us - 1, 1)
    effects = box.feed(MessagesReceived(BOB, (late, late)))
    assert [type(effect) for effect in effects] == [LeaseEnded]
    released = [e.message for e in box.feed(Relinquish(ID)) if type(e) is Send]
    assert released == [Release(ID, (ME, 5, 100))] * 2
    assert box.claims(box.feed(Seek(ID, 500)))


def test_a_refusal_stops_nobody_who_runs_and_raises_the_next_claim():
    box, claim = held()
    assert box.refuses(claim, BOB, accepted=120) == []
    renewals = box.claims(box.wait(CONFIG.fence_after_us // CONFIG.renewals))
    assert {claim.epoch for _, claim in renewals} == {121}
    assert box.host.token(ID) == 100
    assert box.grants(claim, BOB) == []  # of an older epoch


def test_a_duel_that_is_lost_is_given_back_and_fought_again_above_and_after_what_was_told():
    box, claim = sought()
    box.grants(claim, ME)
    box.refuses(claim, ANN, accepted=300, left_us=2 * SECOND_US)
    effects = box.wait(CONFIG.duel_us_max)
    assert [effect.message for effect in effects if type(effect) is Send] == [Release(ID, (ME, 5, 100))] * 2
    assert box.grants(claim, ANN, BOB) == []  # too late
    effects = []
    while not (claims := box.claims(effects)):
        effects = box.wait(10_000)
    assert {claim.epoch for _, claim in claims} == {301}
    assert box.now_us - claim.sent >= 2 * SECOND_US


def test_what_is_given_back_is_said_until_all_know_or_free_it_themselves():
    box, _ = held()
    assert len([e for e in box.feed(Relinquish(ID)) if type(e) in (Send, ForVoter)]) == 3
    box.feed(MessagesReceived(ANN, (Released(ID, (ME, 5, 100)), Released(ID, (ME, 5, 99)))))
    box.feed(FromVoter(Released(ID, (ME, 5, 100))))
    again = box.wait(CONFIG.fence_after_us // CONFIG.renewals)
    assert [effect.to for effect in again if type(effect) is Send] == [BOB]
    assert len(box.wait(60 * SECOND_US)) < 10
    assert box.host.deadline() is None
    assert box.feed(Relinquish(ID)) == []


def test_all_knowing_ends_it_too():
    box, _ = held()
    box.feed(Relinquish(ID))
    for voter in (ANN, BOB):
        box.feed(MessagesReceived(voter, (Released(ID, (ME, 5, 100)),)))
    box.feed(FromVoter(Released(ID, (ME, 5, 100))))
    assert box.host.deadline() is None


def test_a_claim_lies_above_every_one_that_this_life_ever_made():
    box, claim = held()
    box.refuses(claim, BOB, accepted=700)
    box.wait(CONFIG.fence_after_us // CONFIG.renewals)
    box.feed(Relinquish(ID))
    claims = box.claims(box.feed(Seek(ID, 200)))
    assert {claim.epoch for _, claim in claims} == {702}


def test_of_too_many_ids_only_the_highest_epoch_is_remembered():
    box = Box(ClaimsConfig(votes_max=1))
    for number, epoch in enumerate((900, 10, 20)):
        box.feed(Seek((HUB, b"%d" % number), epoch))
        box.feed(Relinquish((HUB, b"%d" % number)))
    claims = box.claims(box.feed(Seek((HUB, b"new"), 1)))
    assert {claim.epoch for _, claim in claims} == {901}


def test_answers_that_are_nobodys_change_nothing():
    box, claim = sought()
    grant = Grant(ID, claim.epoch, claim.incarnation, claim.sent, 0)
    for wrong in (
        Grant(ID, 99, 5, claim.sent, 0), Grant(ID, 100, 4, claim.sent, 0), Grant(ID, 100, 5, box.now_us + 1, 0),
        Grant((HUB, b"other"), 100, 5, claim.sent, 0), Grant(ID, 100, 5, claim.sent, 3),
        Refusal(ID, 99, 5, 900, 0, 0, False, False), Released(ID, (ANN, 5, 100)),
    ):  # fmt: skip
        assert box.feed(MessagesReceived(ANN, (wrong,))) == []
    assert box.feed(MessagesReceived(EVE, (grant, grant))) == []
    assert box.grants(claim, ME, BOB) == [ClaimWon(ID, 100)]


def test_voters_that_differ_are_told_once():
    box, claim = sought()
    assert box.refuses(claim, ANN, 0, differs=True) == [Emit(VotersDiffer(HUB, ANN))]
    assert box.refuses(claim, ANN, 0, differs=True) == []


def test_nothing_is_claimed_where_nobody_votes_and_voters_stay_while_anything_is():
    box = Box()
    with pytest.raises(UsageError, match="nobody votes"):
        box.feed(Seek((b"other hub", b"id"), 1))
    box.feed(Elect(HUB, OTHERS, "me"))
    box.feed(Seek(ID, 1))
    assert box.feed(Elect(HUB, OTHERS[::-1], "me")) == []  # the same again
    assert box.feed(Seek(ID, 2)) == []
    with pytest.raises(UsageError, match="cannot be changed while something is claimed"):
        box.feed(Elect(HUB, NAMES, "me"))
    with pytest.raises(ConfigError, match="stands there twice"):
        box.feed(Elect(b"third hub", ("ann", "ann", "me"), "me"))


def test_a_new_life_holds_nothing_and_goes_on_seeking():
    box, _ = held()
    other = (HUB, b"other")
    box.feed(Seek(other, 50))
    third = (HUB, b"third")
    box.feed(Seek(third, 1))
    box.feed(Relinquish(third))
    assert box.feed(ClusterChanged(ClusterId(bytes(16)), 5, True)) == []
    box.feed(member(ANN, "ann"))
    effects = box.feed(ClusterChanged(ClusterId(bytes(16)), 6, False))
    assert effects[0] == LeaseEnded(ID, 100, box.now_us)
    assert {e.message.freed for e in effects if type(e) is Send} == {(ME, 5, 50)}
    for site, name in ((ANN, "ann"), (BOB, "bob")):
        box.feed(member(site, name))
    claims = box.claims(box.wait(CONFIG.pause_us_min))
    assert {(claim.id, claim.incarnation) for _, claim in claims} == {(other, 6)}
    assert {e.message.freed for e in box.feed(Relinquish(ID)) if type(e) is Send} == {(ME, 5, 100)}


def test_a_wrong_command_takes_nothing_with_it_that_time_brought():
    box, _ = held()
    box.now_us += CONFIG.fence_after_us
    with pytest.raises(UsageError, match="nobody votes"):
        box.feed(Seek((b"other hub", b"id"), 1))
    assert [type(effect) for effect in box.wait(0)] == [LeaseEnded]


def test_no_voter_can_make_an_epoch_that_cannot_be_said():
    box = Box()
    box.feed(Seek(ID, STAMP_MAX))
    box.wait(CONFIG.duel_us_max)
    epochs = [claim.epoch for _, claim in box.claims(box.wait(10 * SECOND_US))]
    assert EPOCH_MAX < min(epochs) < max(epochs) < STAMP_MAX


def test_a_voter_with_a_wrong_date_leads_nobody_where_the_others_do_not_follow_and_is_named_once():
    box, claim = held()
    box.feed(WallOffset(0))
    far = pack(box.now_us // 1_000 + CONFIG.lead_ms_max + 1, 0)
    assert box.refuses(claim, BOB, accepted=far) == [Emit(EpochsAhead(HUB, BOB))]
    assert box.refuses(claim, BOB, accepted=far) == []
    ahead = Refusal(ID, claim.epoch, 5, 0, 0, 0, False, True)
    assert box.feed(MessagesReceived(ANN, (ahead,))) == [Emit(EpochsAhead(HUB, ANN))]
    renewals = box.claims(box.wait(CONFIG.fence_after_us // CONFIG.renewals))
    assert {claim.epoch for _, claim in renewals} == {100}


def test_what_is_handed_over_while_it_is_sought_is_shown_from_then_on():
    box, claim = sought()
    box.feed(Seek(ID, 1, (EVE, 1, 4)))
    box.refuses(claim, ANN, accepted=200)
    effects: list[Any] = []
    while not (claims := box.claims(effects)):
        effects = box.wait(100_000)
    assert {claim.freed for _, claim in claims} == {(EVE, 1, 4)}


def test_who_takes_over_is_told_the_epoch_that_was_claimed_last_not_the_token():
    box, claim = held()
    box.refuses(claim, BOB, accepted=700)
    box.wait(CONFIG.fence_after_us // CONFIG.renewals)
    assert (box.host.token(ID), box.host.freed(ID)) == (100, (ME, 5, 701))
    box.feed(Relinquish(ID))
    assert box.host.freed(ID) is None


def test_a_handover_is_carried_by_the_claim_and_voters_are_dialled_where_they_are():
    box = Box()
    effects = box.feed(Seek(ID, 5, (EVE, 1, 4)))
    assert {claim.freed for _, claim in box.claims(effects)} == {(EVE, 1, 4)}
    assert [effect.address for effect in effects if type(effect) is Send] == ["ann:1", "bob:1"]


def test_everybody_durable_who_bears_a_voters_name_is_asked_and_seats_are_counted():
    box = Box()
    box.feed(member(EVE, "bob"))
    box.feed(member(BOB, "bob", ephemeral=True))
    box.feed(member(Site(bytes([9]) * 16), "bob"))
    box.feed(MemberRemoved(Site(bytes([9]) * 16), EVE))
    claims = box.claims(box.feed(Seek(ID, 100)))
    assert [site for site, _ in claims] == [ANN, EVE, ME]
    _, claim = claims[0]
    grant = Grant(ID, 100, 5, claim.sent, 1)
    assert box.feed(MessagesReceived(EVE, (grant, grant))) == []
    assert box.feed(MessagesReceived(ANN, (grant,))) == []  # one seat, whoever says so
    assert box.grants(claim, ANN) == [ClaimWon(ID, 100)]


def test_where_nobody_bears_a_voters_name_it_is_sought_on():
    box = Box()
    box.feed(ClusterChanged(ClusterId(bytes(16)), 5, True))
    assert [site for site, _ in box.claims(box.feed(Seek(ID, 100)))] == [ME]
    box.feed(member(ANN, "ann"))
    assert {site for site, _ in box.claims(box.wait(2 * SECOND_US))} == {ME, ANN}


def test_a_told_wait_counts_from_when_it_was_told():
    box, claim = sought()
    box.refuses(claim, ANN, accepted=0, left_us=2 * SECOND_US)
    told_us = box.now_us
    box.wait(CONFIG.duel_us_max)
    while not box.claims(box.wait(1_000)):
        pass
    assert CONFIG.pause_us_min <= box.now_us - told_us - 2 * SECOND_US <= CONFIG.pause_us_max + 1_000


def test_what_is_sought_while_its_child_ends_is_claimed_when_it_has_ended():
    box, _ = held()
    box.wait(CONFIG.fence_after_us)
    assert box.feed(Seek(ID, 500, (EVE, 1, 4))) == []
    effects = box.feed(Relinquish(ID))
    assert {e.message.freed for e in effects if type(e) is Send and type(e.message) is Release} == {(ME, 5, 100)}
    assert {(claim.epoch, claim.freed) for _, claim in box.claims(effects)} == {(500, (EVE, 1, 4))}
    assert not box.claims(box.feed(Relinquish(ID)))
    assert not box.claims(box.wait(10 * SECOND_US))
