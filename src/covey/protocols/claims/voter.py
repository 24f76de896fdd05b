"""A voter: it answers claims, and nobody hears an answer before what it says is on disk.

The machine changes at once; the gate holds what it says behind its `Persist`, to others and to the host in this process
alike. A renewal changes nothing that is stored, so it costs no write.

Whoever does not vote for a list says nothing: to hosts it is an absent voter, whom they ask again. That is a node that
is not named in it, or not yet SEATED (see `seats`), or one that does not use the instance so far: it may hear of a
claim before its own users have opened the hub, and cannot know whether its list would be another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import msgspec

from covey.core.claims import Elect
from covey.core.clock import HybridClock, pack
from covey.core.errors import invariant
from covey.core.ids import Contact, Site
from covey.core.timers import Timers
from covey.core.vocabulary import (
    Channel,
    ClusterChanged,
    Emit,
    MemberAdded,
    MemberRemoved,
    MessagesReceived,
    PeerConnected,
    Persist,
    Record,
    Send,
    Tick,
    WallOffset,
)
from covey.protocols.claims.config import ClaimsConfig
from covey.protocols.claims.electorate import Electorate, electorate_of
from covey.protocols.claims.seats import Bench
from covey.protocols.claims.stored import LOG, floor_record, read, vote_record
from covey.protocols.claims.vocabulary import ForVoter, FromVoter, VotersDiffer
from covey.protocols.claims.votes import Votes
from covey.wire.messages.claims import Claim, Grant, Refusal, Release, Released, Seats

Effect = Any


class VoterStatistics(msgspec.Struct, frozen=True):
    """What is remembered, and counts since the start. `full`: refused because nothing could be forgotten."""

    votes: int
    granted: int
    refused: int
    differing: int
    ahead: int
    full: int


class Voter:
    """One voter's door.

    Law: what it grants is what `Votes` lets it, in the one seat that `Bench` gives it; and a grant is said only behind
    what makes it durable. Invariants: those of the two.
    """

    def __init__(
        self,
        config: ClaimsConfig,
        rng: Random,
        now_us: int,
        *,
        me: Contact,
        durable: bool = True,
        stored: Mapping[bytes, bytes] | None = None,
    ) -> None:
        """`durable`: this node has a storage; others never vote."""
        self._me = me
        kept = read(stored or {})
        wait_us = max(config.wait_us, *(vote.wait_us for vote in kept.votes.values()), 0)
        self._quiet_us = now_us + wait_us
        self.votes = Votes(config.votes_max, self._quiet_us, kept.votes, kept.floor)
        self._timers: Timers[tuple[Any, ...]] = Timers()
        self._bench = Bench(config, self._timers, me.site, durable, kept.seatings)
        self._electorates: dict[bytes, Electorate] = {}
        self._clock = HybridClock(config.lead_ms_max)
        self._counts = dict.fromkeys(("granted", "refused", "differing", "ahead", "full"), 0)
        self._told: dict[tuple[bytes, Site], None] = {}  # whose list differs, and was told
        self._handlers: dict[type, Callable[[Any, int], list[Effect]]] = {
            MessagesReceived: self._on_messages,
            ForVoter: self._on_own,
            Tick: self._on_tick,
            Elect: self._on_elect,
            MemberAdded: self._bench.member_added,
            MemberRemoved: lambda fact, now_us: self._bench.member_removed(fact.site, now_us),
            PeerConnected: self._on_connected,
            ClusterChanged: self._on_cluster_changed,
            WallOffset: self._on_offset,
        }

    # --- the machine's door -----------------------------------------------------------------------------------------

    def handle(self, incoming: Any, now_us: int) -> Sequence[Effect]:
        return self._handlers[type(incoming)](incoming, now_us)

    def deadline(self) -> int | None:
        return self._timers.deadline()

    def check(self) -> None:
        self.votes.check()
        self._bench.check()
        invariant(
            all(instance in self._electorates for instance, _ in self._told), "whose list differs from one of ours"
        )

    def statistics(self) -> VoterStatistics:
        return VoterStatistics(len(self.votes), **self._counts)

    def votes_for(self, instance: bytes) -> bool:
        """Whether this node votes there now."""
        electorate = self._electorates.get(instance)
        return electorate is not None and self._bench.seat(electorate) is not None

    # --- what is said to it -----------------------------------------------------------------------------------------

    def _on_elect(self, command: Elect, now_us: int) -> list[Effect]:
        electorate = self._electorates[command.instance] = electorate_of(command.voters)
        for told in [told for told in self._told if told[0] == command.instance]:
            del self._told[told]
        return self._bench.open(electorate, command.name, now_us)

    def _on_connected(self, fact: PeerConnected, now_us: int) -> list[Effect]:
        """It may be another process by now, with another list."""
        for told in [told for told in self._told if told[1] == fact.contact.site]:
            del self._told[told]
        self._bench.connected(fact.contact.site)
        return []

    def _on_cluster_changed(self, fact: ClusterChanged, now_us: int) -> list[Effect]:
        self._me = Contact(self._me.site, fact.incarnation, self._me.address)
        self._bench.cluster_changed()
        return []

    def _on_offset(self, fact: WallOffset, now_us: int) -> list[Effect]:
        """What our clock showed then, as we know it now: whoever began with a wrong date is not bound to that."""
        self._clock.set_offset(fact.offset_us)
        self.votes.start_epoch = pack(self._clock.wall_ms(self._quiet_us), 0)
        return []

    def _on_tick(self, _: Tick, now_us: int) -> list[Effect]:
        return [effect for _, digest in self._timers.pop_due(now_us) for effect in self._bench.due(digest, now_us)]

    def _on_own(self, fact: ForVoter, now_us: int) -> list[Effect]:
        return self._answer(self._me.site, fact.said, now_us)

    def _on_messages(self, received: MessagesReceived, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        for message in received.messages:
            effects += self._answer(received.peer, message, now_us)
        return effects

    def _answer(self, peer: Site, message: Claim | Release | Seats, now_us: int) -> list[Effect]:
        if isinstance(message, Claim):
            return self._on_claim(peer, message, now_us)
        if isinstance(message, Release):
            return self._on_release(peer, message)
        return self._bench.heard(peer, message, now_us)

    # --- claims -----------------------------------------------------------------------------------------------------

    def _on_claim(self, host: Site, claim: Claim, now_us: int) -> list[Effect]:
        electorate = self._electorates.get(claim.id[0])
        if electorate is None:
            return []
        if electorate.digest != claim.electorate:
            return self._on_differing(host, claim)
        seat = self._bench.seat(electorate)
        if seat is None:
            return []
        if not self._clock.accept(claim.epoch, now_us):
            self._counts["ahead"] += 1
            return [self._refuse(host, claim, ahead=True)]
        return self._vote(host, claim, seat, now_us)

    def _vote(self, host: Site, claim: Claim, seat: int, now_us: int) -> list[Effect]:
        id, votes = claim.id, self.votes
        before = votes.get(id)
        records: list[Record] = []
        if before is None:
            records += self._make_room(now_us)
        if claim.freed is not None:
            votes.release(id, claim.freed)
        granted = votes.claim(id, claim.epoch, (host, claim.incarnation), claim.wait_us, now_us)
        self._counts["granted" if granted else "refused"] += 1
        after = votes.get(id)
        if after is not None and after != before:
            records.append(vote_record(id, after))
        if granted:
            answer = self._say(host, Grant(id, claim.epoch, claim.incarnation, claim.sent, seat))
        else:
            no_room = after is None and votes.full
            self._counts["full"] += no_room
            left_us = votes.room_us(now_us) if no_room else votes.left_us(id, now_us)
            answer = self._refuse(host, claim, 0 if after is None else after.epoch, votes.least(id), left_us)
        return [Persist(LOG, tuple(records)), answer] if records else [answer]

    def _make_room(self, now_us: int) -> list[Record]:
        id = self.votes.forget(now_us)
        return [] if id is None else [vote_record(id, None), floor_record(self.votes.floor)]

    def _on_differing(self, host: Site, claim: Claim) -> list[Effect]:
        self._counts["differing"] += 1
        effects = [self._refuse(host, claim, differs=True)]
        told = claim.id[0], host
        if told not in self._told:
            self._told[told] = None
            effects.append(Emit(VotersDiffer(*told)))
        return effects

    def _on_release(self, host: Site, release: Release) -> list[Effect]:
        """Whoever it is for, and in whatever seat: what has ended protects nobody."""
        effects: list[Effect] = []
        if self.votes.release(release.id, release.freed):
            effects.append(Persist(LOG, (vote_record(release.id, self.votes.get(release.id)),)))
        return [*effects, self._say(host, Released(release.id, release.freed))]

    def _refuse(
        self, host: Site, claim: Claim, accepted: int = 0, floor: int = 0, left_us: int = 0, *,
        differs: bool = False, ahead: bool = False,
    ) -> Effect:  # fmt: skip
        refusal = Refusal(claim.id, claim.epoch, claim.incarnation, accepted, floor, left_us, differs, ahead)
        return self._say(host, refusal)

    def _say(self, host: Site, message: Grant | Refusal | Released) -> Effect:
        return FromVoter(message) if host == self._me.site else Send(host, message, channel=Channel.CONTROL)
