"""Waiting until members have taken an operation of ours: what makes kick and leave answer who knows of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.core.timers import Timers
from covey.core.vocabulary import Resolve
from covey.protocols.membership.config import MembershipConfig
from covey.protocols.membership.exchange import Exchange
from covey.protocols.membership.ledger import Ledger
from covey.protocols.membership.vocabulary import Outcome

Effect = Any


class Wait:
    """Somebody waits until members have taken our import `imported`."""

    __slots__ = ("acknowledged", "answer", "imported", "leaving", "missing", "request")

    def __init__(
        self, request: int, imported: int, missing: Iterable[Site], leaving: bool, answer: int | None = None
    ) -> None:
        self.request = request
        self.imported = imported
        self.missing: dict[Site, None] = dict.fromkeys(missing)
        self.acknowledged: dict[Site, None] = {}
        self.leaving = leaving
        self.answer = answer  # instead of the outcome

    @property
    def over(self) -> bool:
        """Whether nobody is missing; to leave, one is enough."""
        return not self.missing or (self.leaving and bool(self.acknowledged))

    def acknowledge(self, site: Site) -> None:
        """`site` has taken what we wait for."""
        del self.missing[site]
        self.acknowledged[site] = None

    def outcome(self) -> Outcome | int:
        """Who has acknowledged so far, and who has not; or what is answered instead."""
        return self.answer if self.answer is not None else Outcome(tuple(self.acknowledged), tuple(self.missing))


class Waits:
    """All that wait.

    Law: each ends once, with those who answered that they have taken, in this life of ours, all there was when the
    wait began. Invariant: every wait has a deadline.
    """

    def __init__(
        self, config: MembershipConfig, ledger: Ledger, exchange: Exchange, timers: Timers[tuple[Any, ...]]
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._exchange = exchange
        self._timers = timers
        self._waits: dict[int, Wait] = {}

    def ask(
        self,
        request: int,
        told: Iterable[Site],
        awaited: Iterable[Site],
        leaving: bool,
        now_us: int,
        answer: int | None = None,
    ) -> list[Effect]:
        """Sync with all of them at once, and wait until those that matter have acknowledged."""
        wait = self._waits[request] = Wait(request, self._ledger.changed, awaited, leaving, answer)
        self._timers.set(("wait", request), now_us + self._config.answer_us_max)
        effects: list[Effect] = []
        for site in told:
            effects += self._exchange.sync(site, True, now_us)
        return effects + self.end(request, now_us) if wait.over else effects

    def acknowledged(self, peer: Site, now_us: int) -> list[Effect]:
        """The peer has answered: who waited for just that?"""
        floor = self._exchange.floors.get(peer)
        effects: list[Effect] = []
        for wait in list(self._waits.values()):
            if floor is not None and peer in wait.missing and floor.acked_out >= wait.imported:
                wait.acknowledge(peer)
                if wait.over:
                    effects += self.end(wait.request, now_us)
        return effects

    def awaits(self, peer: Site) -> bool:
        """Whether anybody waits for `peer`."""
        return any(peer in wait.missing for wait in self._waits.values())

    def overdue(self, request: int, now_us: int) -> list[Effect]:
        """Its time is up, unless another timer of the same moment has ended it."""
        return self.end(request, now_us) if request in self._waits else []

    def end(self, request: int, now_us: int) -> list[Effect]:
        """It is over, or its time is up. Who has said that it leaves goes now."""
        wait = self._waits.pop(request)
        self._timers.cancel(("wait", request))
        if wait.leaving:
            self._timers.set(("alone",), now_us)
        return [Resolve(request, wait.outcome())]

    def end_all(self, now_us: int) -> list[Effect]:
        """End every wait with what it has: another cluster."""
        return [effect for request in list(self._waits) for effect in self.end(request, now_us)]

    def check(self) -> None:
        for request in self._waits:
            invariant(("wait", request) in self._timers, "every wait has a deadline")
