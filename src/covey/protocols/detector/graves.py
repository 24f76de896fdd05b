"""The ends of sites that were forgotten, so that an old rumour does not bring them back (DESIGN 3.6)."""

from __future__ import annotations

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.protocols.detector.config import DetectorConfig
from covey.protocols.detector.record import Evidence


class Graves:
    """How removed members ended, for `remember_us`.

    Invariant: at most `graves_max`; on overflow the oldest goes.
    """

    def __init__(self, config: DetectorConfig) -> None:
        self._config = config
        self._ends: dict[Site, tuple[Evidence, int]] = {}

    def bury(self, site: Site, end: Evidence, now_us: int) -> None:
        """Remember how `site` ended, instead of any earlier end of it."""
        self._ends.pop(site, None)
        self._ends[site] = (end, now_us + self._config.remember_us)
        if len(self._ends) > self._config.graves_max:
            del self._ends[next(iter(self._ends))]

    def open(self, site: Site, now_us: int) -> Evidence | None:
        """How it ended, if that was lately; it is taken out."""
        end, until_us = self._ends.pop(site, (None, 0))
        return end if until_us > now_us else None

    def clear(self) -> None:
        """Forget all ends."""
        self._ends.clear()

    def __len__(self) -> int:
        return len(self._ends)

    def check(self) -> None:
        invariant(len(self._ends) <= self._config.graves_max, "ends remembered are bounded")
