"""A host: it claims the ids that it is to run, renews what it has, and stops in time where it cannot.

Seek ─▶ Claim to every voter ─▶ Grant by over half of them ─▶ ClaimWon ─▶ the child runs
                 │ not within the time of a duel                │ every fifth of `fence_after`: the same Claim again
                 ▼                                              ▼ over half granted nothing *sent* that lately
         Release, a pause, a higher epoch                   LeaseEnded ─▶ the child ends ─▶ Relinquish ─▶ Release

The lease counts from when a claim was sent, on this host's clock, which has to count suspend. It is looked at before
anything that is heard is acted upon: a process that was stopped for a minute learns first that it has lost its lease.

A host asks everybody durable who bears a voter's name, and counts seats: who sits for a name is the voters' matter, and
whoever does not sit keeps silent. So a host needs no memory of who voted before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, assert_never

import msgspec

from covey.core.claims import ClaimWon, Elect, LeaseEnded, Relinquish, Seek
from covey.core.clock import STAMP_MAX, HybridClock
from covey.core.errors import UsageError, invariant
from covey.core.ids import Contact, Site
from covey.core.timers import Timers
from covey.core.vocabulary import (
    Channel,
    ClusterChanged,
    Emit,
    MemberAdded,
    MemberRemoved,
    MessagesReceived,
    Send,
    Tick,
    WallOffset,
)
from covey.protocols.claims.bids import Bid
from covey.protocols.claims.config import ClaimsConfig
from covey.protocols.claims.electorate import Bearers, Electorate, electorate_of
from covey.protocols.claims.releases import Releases
from covey.protocols.claims.vocabulary import EpochsAhead, ForVoter, FromVoter, VotersDiffer
from covey.wire.messages.claims import Claim, Freed, Grant, Id, Refusal, Release, Released

Effect = Any


class HostStatistics(msgspec.Struct, frozen=True):
    """What is sought and held now, and counts since the start."""

    sought: int
    held: int
    won: int
    duels: int
    lapsed: int


class Host:
    """The claims of one host.

    Law: between `ClaimWon` and `LeaseEnded` or `Relinquish` this host may run the id, and of all hosts only it may.
    Invariants: who holds has a token and a lease; every bid has a time at which it goes on; what is given back lies
    below what is claimed now.
    """

    def __init__(self, config: ClaimsConfig, rng: Random, now_us: int, *, me: Contact) -> None:
        self._config = config
        self._rng = rng
        self._me = me
        self._timers: Timers[tuple[Any, ...]] = Timers()
        self._clock = HybridClock(config.lead_ms_max)
        self._name = ""  # of this node, where voters' names matter
        self._electorates: dict[bytes, Electorate] = {}
        self._bearers = Bearers()
        self._bids: dict[Id, Bid] = {}
        self._ending: dict[Id, Bid] = {}  # without a lease; their children are told to end
        self._again: dict[Id, Seek] = {}  # what is sought as soon as its child has ended
        self._unsaid: list[Effect] = []  # what time brought when a command was refused
        self._tops: dict[Id, int] = {}  # the highest epoch that this life ever claimed: a late Release says as much
        self._top = 0  # the same of ids that are forgotten
        self._releases = Releases(self._renew_us, self._timers)
        self._told: dict[VotersDiffer | EpochsAhead, None] = {}
        self._counts = dict.fromkeys(("won", "duels", "lapsed"), 0)
        self._handlers: dict[type, Callable[[Any, int], list[Effect]]] = {
            MessagesReceived: self._on_messages,
            FromVoter: self._on_own,
            Elect: self._on_elect,
            Seek: self._on_seek,
            Relinquish: self._on_relinquish,
            MemberAdded: self._on_member_added,
            MemberRemoved: self._on_member_removed,
            WallOffset: self._on_offset,
            ClusterChanged: self._on_cluster_changed,
            Tick: lambda _, now_us: [],
        }

    # --- the machine's door -----------------------------------------------------------------------------------------

    def handle(self, incoming: Any, now_us: int) -> Sequence[Effect]:
        effects = [*self._unsaid, *self._on_time(now_us)]  # whatever is heard, what is over is over
        self._unsaid = []
        try:
            return effects + self._handlers[type(incoming)](incoming, now_us)
        except UsageError:  # a wrong command takes nothing else with it
            self._unsaid = effects
            self._timers.set(("unsaid",), now_us)
            raise

    def deadline(self) -> int | None:
        return self._timers.deadline()

    def check(self) -> None:
        for id, bid in self._bids.items():
            keys = [("lease", id), ("renew", id)] if bid.token else [("duel", id)] if bid.epoch else [("retry", id)]
            invariant(all(key in self._timers for key in keys), "a bid goes on at some time")
            invariant(not bid.token or bool(bid.epoch), "who holds claims")
            invariant(bid.epoch <= bid.heard + 1, "a claim is just above what was heard")
            invariant(all(seat < len(bid.electorate.names) for seat in bid.granted), "only voters grant")
            below = not bid.epoch or self._releases.below(id, bid.epoch)
            invariant(below, "what is given back lies below what is claimed")
        invariant(self._again.keys() <= self._ending.keys(), "what is sought again has not ended yet")
        self._releases.check()
        self._bearers.check()

    def statistics(self) -> HostStatistics:
        held = sum(bool(bid.token) for bid in self._bids.values())
        return HostStatistics(len(self._bids) - held, held, **self._counts)

    # --- queries ----------------------------------------------------------------------------------------------------

    def token(self, id: Id) -> int:
        """Under which token this node may run an id; 0: it may not. Ask `lease_us` as well before every use."""
        bid = self._bids.get(id)
        return 0 if bid is None else bid.token

    def lease_us(self, id: Id) -> int:
        """Until when, on our clock, an id may be run here; 0: not at all."""
        bid = self._bids.get(id)
        return 0 if bid is None or not bid.token else bid.lease_us(self._config.fence_after_us)

    def freed(self, id: Id) -> Freed | None:
        """What whoever takes over from us shows the voters, once the child has ended; None where nothing is claimed."""
        bid = self._bids.get(id) or self._ending.get(id)
        return None if bid is None or not bid.epoch else (*bid.life, bid.epoch)

    # --- commands ---------------------------------------------------------------------------------------------------

    def _on_elect(self, command: Elect, now_us: int) -> list[Effect]:
        electorate = electorate_of(command.voters)
        known = self._electorates.get(command.instance)
        if known != electorate and any(id[0] == command.instance for id in (*self._bids, *self._ending)):
            raise UsageError(
                f"the voters of {command.instance!r} cannot be changed while something is claimed there; stop it first"
            )
        self._name = command.name
        self._electorates[command.instance] = electorate
        if known != electorate:
            for told in [told for told in self._told if told.instance == command.instance]:
                del self._told[told]
        return []

    def _on_seek(self, command: Seek, now_us: int) -> list[Effect]:
        id = command.id
        electorate = self._electorates.get(id[0])
        if electorate is None:
            raise UsageError(f"nobody votes for {id[0]!r}; nothing was claimed")
        if id in self._ending:
            self._again[id] = command
            return []
        if id in self._bids:
            if command.freed is not None:  # it is handed over to us while we seek it
                self._bids[id].freed = command.freed
            return []
        life = self._me.site, self._me.incarnation
        bid = self._bids[id] = Bid(id, electorate, life, command.epoch, command.freed)
        bid.hears(self._tops.get(id, self._top))
        return self._claim(bid, now_us)

    def _on_relinquish(self, command: Relinquish, now_us: int) -> list[Effect]:
        again = self._again.pop(command.id, None)
        bid = self._bids.pop(command.id, None) or self._ending.pop(command.id, None)
        if bid is None:
            return []
        self._quiet(bid.id)
        effects = self._give_back(bid, now_us)
        return effects if again is None else effects + self._on_seek(again, now_us)

    def _quiet(self, id: Id) -> None:
        for what in ("lease", "renew", "duel", "retry"):
            self._timers.cancel((what, id))

    # --- claiming ---------------------------------------------------------------------------------------------------

    def _claim(self, bid: Bid, now_us: int) -> list[Effect]:
        """A new duel, above everything heard."""
        bid.epoch = min(bid.heard + 1, STAMP_MAX)
        bid.granted.clear()
        bid.told_us = 0
        duel_us = self._rng.randint(self._config.duel_us_min, self._config.duel_us_max)
        self._timers.set(("duel", bid.id), now_us + duel_us)
        return self._say_claim(bid, now_us)

    def _say_claim(self, bid: Bid, now_us: int) -> list[Effect]:
        bid.sent_us = now_us
        bid.life = self._me.site, self._me.incarnation
        self._remember(bid)
        config, incarnation = self._config, self._me.incarnation
        claim = Claim(bid.id, bid.epoch, incarnation, now_us, config.wait_us, bid.electorate.digest, bid.freed)
        return [self._say(site, claim) for site in self._asked(bid.electorate)]

    def _asked(self, electorate: Electorate) -> tuple[Site, ...]:
        """Who bears a voter's name, in the order of the names."""
        sites: list[Site] = []
        for name in electorate.names:
            if name == self._name:
                sites.append(self._me.site)
            sites += self._bearers.of(name)
        return tuple(sites)

    def _remember(self, bid: Bid) -> None:
        self._tops.pop(bid.id, None)
        self._tops[bid.id] = bid.epoch
        if len(self._tops) > self._config.votes_max:
            self._top = max(self._top, self._tops.pop(next(iter(self._tops))))

    def _say(self, voter: Site, message: Claim | Release) -> Effect:
        if voter == self._me.site:
            return ForVoter(message)
        return Send(voter, message, self._bearers.address(voter), Channel.CONTROL)

    def _on_own(self, fact: FromVoter, now_us: int) -> list[Effect]:
        return self._hear(self._me.site, fact.said, now_us)

    def _on_messages(self, received: MessagesReceived, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        for message in received.messages:
            effects += self._hear(received.peer, message, now_us)
        return effects

    def _hear(self, voter: Site, message: Grant | Refusal | Released, now_us: int) -> list[Effect]:
        if isinstance(message, Released):
            self._releases.heard(voter, message)
            return []
        bid = self._bids.get(message.id)
        if bid is None or message.incarnation != self._me.incarnation:
            return []
        if voter not in self._asked(bid.electorate):
            return []
        if isinstance(message, Grant):
            return self._on_grant(bid, message, now_us)
        return self._on_refusal(bid, voter, message, now_us)

    def _on_grant(self, bid: Bid, grant: Grant, now_us: int) -> list[Effect]:
        if grant.epoch != bid.epoch or grant.sent > now_us:  # of a duel that was given up, or of nobody's clock
            return []
        if grant.seat >= len(bid.electorate.names):
            return []
        bid.granted[grant.seat] = max(bid.granted.get(grant.seat, 0), grant.sent)
        until_us = bid.lease_us(self._config.fence_after_us)
        if bid.token:
            self._timers.set(("lease", bid.id), until_us)
            return []
        if until_us <= now_us:
            return []
        bid.token, bid.losses = bid.epoch, 0
        self._counts["won"] += 1
        self._timers.cancel(("duel", bid.id))
        self._timers.set(("lease", bid.id), until_us)
        self._timers.set(("renew", bid.id), bid.sent_us + self._renew_us)
        return [ClaimWon(bid.id, bid.token)]

    def _on_refusal(self, bid: Bid, voter: Site, refusal: Refusal, now_us: int) -> list[Effect]:
        """One refusal stops nobody; what is claimed next lies above what this one knows of.

        Not where that lies far above our clock: one voter with a wrong date must not lead us where no other follows.
        """
        if refusal.differs:
            return self._tell(VotersDiffer(bid.id[0], voter))
        if refusal.epoch != bid.epoch:
            return []
        known = max(refusal.accepted, refusal.floor)
        if refusal.ahead or not self._clock.accept(known, now_us):
            return self._tell(EpochsAhead(bid.id[0], voter))
        bid.hears(known)
        bid.told_us = max(bid.told_us, now_us + min(refusal.left_us, self._config.wait_us))
        return []

    def _tell(self, event: VotersDiffer | EpochsAhead) -> list[Effect]:
        if event in self._told:
            return []
        self._told[event] = None
        return [Emit(event)]

    # --- time -------------------------------------------------------------------------------------------------------

    @property
    def _renew_us(self) -> int:
        return self._config.fence_after_us // self._config.renewals

    def _on_time(self, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        due = sorted(self._timers.pop_due(now_us), key=lambda what: what[0] != "lease")  # who was away renews nothing
        for what, *which in due:
            match what:
                case "lease":
                    effects += self._on_lapse(self._bids[which[0]], now_us)
                case "renew":
                    effects += self._on_renewal(which[0], now_us)
                case "duel":
                    effects += self._on_lost_duel(self._bids[which[0]], now_us)
                case "retry":
                    effects += self._claim(self._bids[which[0]], now_us)
                case "unsaid":
                    pass
                case "give":
                    effects += self._say_all(self._releases.say(which[0], which[1], now_us))
                case _:
                    assert_never(what)
        return effects

    def _on_lapse(self, bid: Bid, now_us: int) -> list[Effect]:
        """Nothing that comes from now on brings it back: the child is told to end."""
        ended_us = bid.lease_us(self._config.fence_after_us)
        self._counts["lapsed"] += 1
        self._quiet(bid.id)
        del self._bids[bid.id]
        self._ending[bid.id] = bid
        return [LeaseEnded(bid.id, bid.token, ended_us)]

    def _on_renewal(self, id: Id, now_us: int) -> list[Effect]:
        """The same claim, or where a voter knows of a higher epoch, one above it; the child keeps its token."""
        bid = self._bids.get(id)
        if bid is None:
            return []
        bid.epoch = min(max(bid.epoch, bid.heard + 1), STAMP_MAX)
        self._timers.set(("renew", id), now_us + self._renew_us)
        return self._say_claim(bid, now_us)

    def _on_lost_duel(self, bid: Bid, now_us: int) -> list[Effect]:
        self._counts["duels"] += 1
        effects = self._give_back(bid, now_us)
        bid.hears(bid.epoch)
        bid.epoch = 0
        config = self._config
        pause_us = self._rng.randint(config.pause_us_min, config.pause_us_max) << min(bid.losses, config.doublings_max)
        bid.losses += 1
        self._timers.set(("retry", bid.id), max(bid.told_us, now_us) + pause_us)
        return effects

    # --- giving back ------------------------------------------------------------------------------------------------

    def _give_back(self, bid: Bid, now_us: int) -> list[Effect]:
        if not bid.epoch:
            return []
        freed = (*bid.life, bid.epoch)
        until_us = bid.sent_us + self._config.wait_us
        return self._say_all(self._releases.begin(bid.id, freed, self._asked(bid.electorate), until_us, now_us))

    def _say_all(self, said: list[tuple[Site, Release]]) -> list[Effect]:
        return [self._say(voter, release) for voter, release in said]

    # --- members and lives ------------------------------------------------------------------------------------------

    def _on_member_added(self, fact: MemberAdded, now_us: int) -> list[Effect]:
        self._bearers.add(fact)
        return []

    def _on_member_removed(self, fact: MemberRemoved, now_us: int) -> list[Effect]:
        self._bearers.forget(fact.site)
        return []

    def _on_offset(self, fact: WallOffset, now_us: int) -> list[Effect]:
        self._clock.set_offset(fact.offset_us)
        return []

    def _on_cluster_changed(self, fact: ClusterChanged, now_us: int) -> list[Effect]:
        """In a new life nothing of the old one is held; that is given back as its own. What was sought is sought."""
        if fact.incarnation == self._me.incarnation:
            self._bearers.clear()
            return []
        self._me = Contact(self._me.site, fact.incarnation, self._me.address)
        effects: list[Effect] = []
        for bid in list(self._bids.values()):
            self._quiet(bid.id)
            if bid.token:
                del self._bids[bid.id]
                self._ending[bid.id] = bid
                effects.append(LeaseEnded(bid.id, bid.token, now_us))
            else:
                effects += self._give_back(bid, now_us)
                bid.hears(bid.epoch)
                bid.epoch = 0
                self._timers.set(("retry", bid.id), now_us + self._config.pause_us_min)
        self._bearers.clear()  # membership says next who is there now
        return effects
