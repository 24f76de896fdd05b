"""Which site sits for each name of a list of voters: agreed by all of them, once.

Two majorities share a *name*; that protects nobody if two sites vote in that name. It needs no malice: a disk is lost
and its node begins anew as another site, or two machines get the same configuration. And looking at the members does
not help: with three names, {a, b} here and {another b, c} beyond a cut are each two out of three, and no one of either
half has ever heard of the other. So nobody votes for a list before *every* site that is to sit for one of its names
has promised, on its disk, never to sit beside others:

    SEEN ── all others see the same ──▶ PROMISED ── all others promised the same ──▶ SEATED
      ▲                                                                                ▲
      └── each name has one durable bearer            another is SEATED, and beside me ┘

One promise for a list and for ever; so two sets of sites that sit for one list are equal, or have no site in common.
From then on half of the seats may be empty. The price: the voters of a new list have to be there together once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.core.timers import Timers
from covey.core.vocabulary import Channel, Emit, MemberAdded, Persist, Send
from covey.protocols.claims.config import ClaimsConfig
from covey.protocols.claims.electorate import Bearers, Electorate
from covey.protocols.claims.stored import LOG, Seating, seating_record
from covey.protocols.claims.vocabulary import SeatEmpty
from covey.wire.messages.claims import PROMISED, SEATED, SEEN, Seats

Effect = Any

HEARD_MAX = 32  # who sits beside us, and who thinks so. Guess
TOLD_MAX = 64  # reports about one list; whoever has not read these reads no more

TAKEN = (
    "another site sits for this name for ever: name this node anew, and change the list on all nodes while its hubs "
    "are stopped"
)
SEVERAL = (
    "several durable nodes bear this name, so none of them votes: kick those that are gone for good, give the others "
    "names of their own"
)
NO_STORAGE = "this node has no storage, so it cannot vote: give it one"
MISSING = "no durable node of this name has been seen: start it, with storage"
OTHERS = (
    "that voter promised to sit beside other sites than we: change the list on all nodes while its hubs are stopped"
)


class _Table:
    """One list, and how far its voters agree."""

    __slots__ = ("electorate", "heard", "patience_us", "period_us", "sites", "stage", "told")

    def __init__(self, electorate: Electorate, seating: Seating | None) -> None:
        self.electorate = electorate
        self.sites: tuple[Site, ...] = () if seating is None else seating.sites
        self.stage = SEEN if seating is None else SEATED if seating.seated else PROMISED
        self.heard: dict[Site, Seats] = {}  # what the others said last
        self.period_us = 0
        self.patience_us = 0
        self.told: dict[SeatEmpty, None] = {}


class Bench:
    """The seats of all lists that are used here.

    Law: for one list this site promises one set of sites, ever, and votes only while it bears its name in it and all
    of that set have promised the same. Invariants: who promised sits in that set; whoever is named and does not sit
    yet speaks again at some time.
    """

    def __init__(
        self, config: ClaimsConfig, timers: Timers[tuple[Any, ...]], me: Site, durable: bool,
        seatings: Mapping[bytes, Seating],
    ) -> None:  # fmt: skip
        self._config = config
        self._timers = timers
        self._me = me
        self._durable = durable
        self._seatings = dict(seatings)
        self._name = ""
        self._tables: dict[bytes, _Table] = {}
        self._bearers = Bearers()

    def check(self) -> None:
        """The invariants."""
        self._bearers.check()
        for digest, table in self._tables.items():
            invariant(table.stage == SEEN or self._me in table.sites, "who promised sits beside those he promised to")
            waits = table.stage != SEATED and self._listed(table)
            invariant(not waits or ("seats", digest) in self._timers, "who does not sit yet speaks again")

    # --- what is asked of it ----------------------------------------------------------------------------------------

    def seat(self, electorate: Electorate) -> int | None:
        """For which name of the list this site votes; None: it does not."""
        table = self._tables.get(electorate.digest)
        if table is None or table.stage != SEATED or not self._listed(table):
            return None
        seat = electorate.names.index(self._name)
        return seat if table.sites[seat] == self._me else None

    # --- what happens -----------------------------------------------------------------------------------------------

    def open(self, electorate: Electorate, name: str, now_us: int) -> list[Effect]:
        """This list is used here, by a node of this name."""
        self._name = name
        digest = electorate.digest
        if digest not in self._tables:
            table = self._tables[digest] = _Table(electorate, self._seatings.get(digest))
            table.patience_us = now_us + self._config.seats_patience_us
            table.period_us = self._config.seats_period_us
            if table.stage != SEATED:
                self._timers.set(("seats", digest), now_us + table.period_us)
        return self._look(self._tables[digest], now_us)

    def member_added(self, fact: MemberAdded, now_us: int) -> list[Effect]:
        """Somebody may bear a name."""
        return self._look_at_all(now_us) if self._bearers.add(fact) else []

    def member_removed(self, site: Site, now_us: int) -> list[Effect]:
        """Somebody bears none any more."""
        return self._look_at_all(now_us) if self._bearers.forget(site) else []

    def cluster_changed(self) -> None:
        """What was known of others is of another cluster, or is said again."""
        self._bearers.clear()
        for table in self._tables.values():
            table.heard.clear()

    def connected(self, site: Site) -> None:
        """It may have begun anew: whatever it says next is answered."""
        for table in self._tables.values():
            table.heard.pop(site, None)

    def heard(self, peer: Site, seats: Seats, now_us: int) -> list[Effect]:
        """One who bears a name of a list says who sits there."""
        table = self._tables.get(seats.electorate)
        if table is None or not self._listed(table) or len(seats.sites) != len(table.electorate.names):
            return []
        if peer not in seats.sites or len(dict.fromkeys(seats.sites)) != len(seats.sites):
            return []
        if peer not in table.heard and len(table.heard) >= HEARD_MAX:
            return []
        new = table.heard.get(peer) != seats
        table.heard[peer] = seats
        effects = self._look(table, now_us)
        unanswered = not any(isinstance(effect, Send) and effect.to == peer for effect in effects)
        if unanswered and table.sites and seats.stage != SEATED and (new or table.stage == SEATED):
            effects.append(self._said(table, peer))
        return effects

    def due(self, digest: bytes, now_us: int) -> list[Effect]:
        """Say it again, less and less often; and report a seat that stays empty."""
        table = self._tables[digest]
        if table.stage == SEATED:
            return []
        table.period_us = min(2 * table.period_us, self._config.seats_period_us_max)
        self._timers.set(("seats", digest), now_us + table.period_us)
        effects = self._speak(table)
        if now_us >= table.patience_us:
            effects += self._report(table)
        return effects

    # --- agreeing ---------------------------------------------------------------------------------------------------

    def _listed(self, table: _Table) -> bool:
        return self._durable and self._name in table.electorate.names

    def _look_at_all(self, now_us: int) -> list[Effect]:
        return [effect for table in self._tables.values() for effect in self._look(table, now_us)]

    def _look(self, table: _Table, now_us: int) -> list[Effect]:
        """Whether they agree by now."""
        if table.stage == SEATED or not self._listed(table):
            return self._report(table) if table.stage == SEATED else []
        before = table.sites, table.stage
        if table.stage == SEEN:
            table.sites = self._seen(table)
            if self._agree(table, SEEN):
                table.stage = PROMISED
        if table.stage == PROMISED and self._agree(table, PROMISED):
            table.stage = SEATED
            self._timers.cancel(("seats", table.electorate.digest))
        if before == (table.sites, table.stage):
            return []
        effects: list[Effect] = []
        if table.stage != before[1]:
            names, digest = table.electorate.names, table.electorate.digest
            seating = self._seatings[digest] = Seating(names, table.sites, table.stage == SEATED)
            effects.append(Persist(LOG, (seating_record(digest, seating),)))
        if table.stage != SEATED:
            table.period_us = self._config.seats_period_us
            self._timers.set(("seats", table.electorate.digest), now_us + table.period_us)
        return effects + self._speak(table)

    def _seen(self, table: _Table) -> tuple[Site, ...]:
        """Who sits there as far as we know: what another promised us, or the one bearer of each name; or nothing."""
        at = table.electorate.names.index(self._name)
        for seats in sorted(table.heard.values(), key=lambda seats: -seats.stage):
            if seats.stage != SEEN and seats.sites[at] == self._me:
                return seats.sites
        bearers = [self._bearing(name) for name in table.electorate.names]
        return tuple(sites[0] for sites in bearers) if all(len(sites) == 1 for sites in bearers) else ()

    def _bearing(self, name: str) -> tuple[Site, ...]:
        mine = (self._me,) if name == self._name and self._durable else ()
        return (*mine, *self._bearers.of(name))

    def _agree(self, table: _Table, stage: int) -> bool:
        """Whether all others said the same, at this stage; or one of them knows that all, we too, have promised it."""
        if not table.sites:
            return False
        same = {site: seats.stage for site, seats in table.heard.items() if seats.sites == table.sites}
        others = [site for site in table.sites if site != self._me]
        return SEATED in same.values() or all(same.get(site, -1) >= stage for site in others)

    def _speak(self, table: _Table) -> list[Effect]:
        if not table.sites or not self._listed(table):
            return []
        return [self._said(table, site) for site in table.sites if site != self._me]

    def _said(self, table: _Table, to: Site) -> Effect:
        seats = Seats(table.electorate.digest, table.sites, table.stage)
        return Send(to, seats, self._bearers.address(to), Channel.CONTROL)

    # --- telling people ---------------------------------------------------------------------------------------------

    def _report(self, table: _Table) -> list[Effect]:
        """Each seat for which nobody can vote, once."""
        effects: list[Effect] = []
        for event in self._empty(table):
            if event not in table.told and len(table.told) < TOLD_MAX:
                table.told[event] = None
                effects.append(Emit(event))
        return effects

    def _empty(self, table: _Table) -> Iterable[SeatEmpty]:
        for at, name in enumerate(table.electorate.names):
            bearers = self._bearing(name)
            if table.stage != SEEN:
                strangers = tuple(site for site in bearers if site != table.sites[at])
                if strangers:
                    yield SeatEmpty(name, strangers, TAKEN)
            elif len(bearers) > 1 and self._listed(table):
                yield SeatEmpty(name, bearers, SEVERAL)
            elif not bearers:
                yield SeatEmpty(name, (), NO_STORAGE if name == self._name else MISSING)
        for peer, seats in table.heard.items():
            if seats.stage != SEEN and seats.sites != table.sites and self._listed(table):
                yield SeatEmpty(self._name, (peer,), OTHERS)
