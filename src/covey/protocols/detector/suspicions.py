"""All suspicions of this node, and their timers."""

from __future__ import annotations

from typing import Any

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.core.timers import Timers
from covey.protocols.detector.config import DetectorConfig
from covey.protocols.detector.suspicion import Suspicion, suspicion_us_min


class Suspicions:
    """Who is suspect here, since when and by whose word.

    Invariants: every suspicion has its timer, not before its short time is over, and waits for `expected`
    confirmations: K, and fewer where fewer live who could confirm.
    """

    def __init__(self, config: DetectorConfig, timers: Timers[tuple[Any, ...]]) -> None:
        self._config = config
        self._timers = timers
        self._suspicions: dict[Site, Suspicion] = {}
        self._expected = 0

    def get(self, site: Site) -> Suspicion | None:
        """The suspicion of `site`; None if there is none."""
        return self._suspicions.get(site)

    def begin(self, site: Site, accuser: bytes, nodes: int, now_us: int) -> None:
        """Suspect `site`, in a cluster of `nodes`; it has that long to refute."""
        short_us = suspicion_us_min(self._config, nodes)
        long_us = short_us * self._config.suspicion_max_factor
        suspicion = self._suspicions[site] = Suspicion(site, accuser, short_us, long_us, self._expected, now_us)
        self._timers.set(("suspicion", site), suspicion.due_us())

    def confirm(self, site: Site, accuser: bytes, now_us: int) -> Suspicion | None:
        """Count an independent confirmation; returns the suspicion if it was one."""
        suspicion = self._suspicions[site]
        if not suspicion.confirm(accuser):
            return None
        self._timers.set(("suspicion", site), max(suspicion.due_us(), now_us))
        return suspicion

    def end(self, site: Site) -> Suspicion | None:
        """Take the suspicion of `site` out, with its timer; None if there is none."""
        self._timers.cancel(("suspicion", site))
        return self._suspicions.pop(site, None)

    def expect(self, alive: int) -> None:
        """So many members live: the first accuser among them, but not we ourselves, so just as many could confirm."""
        expected = min(self._config.confirmations_max, alive)
        if expected == self._expected:
            return
        self._expected = expected
        for site, suspicion in self._suspicions.items():
            suspicion.expected = expected
            self._timers.set(("suspicion", site), suspicion.due_us())

    def forgive(self, gap_us: int, long: bool, now_us: int) -> None:
        """We did not run for `gap_us`: the suspects get that time back, and all of it after a long sleep."""
        for site, suspicion in self._suspicions.items():
            if long:
                suspicion.restart(now_us)
            else:
                suspicion.started_us = min(suspicion.started_us + gap_us, now_us)
            self._timers.set(("suspicion", site), suspicion.due_us())

    def __contains__(self, site: object) -> bool:
        return site in self._suspicions

    def __len__(self) -> int:
        return len(self._suspicions)

    def check(self) -> None:
        for site, suspicion in self._suspicions.items():
            bounded = suspicion.short_us <= suspicion.timeout_us() <= suspicion.long_us
            invariant(bounded, "a suspicion lasts between its bounds")
            invariant(suspicion.expected == self._expected, "all suspicions wait for as many")
            due_us = self._timers.due_at(("suspicion", site))
            invariant(due_us is not None, "a suspicion has its timer")
            assert due_us is not None
            invariant(due_us >= suspicion.started_us + suspicion.short_us, "nobody is down before the short time")
