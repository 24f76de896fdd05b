"""The suspicion timer that shrinks as others confirm (Lifeguard, arXiv 1707.00788, section IV-B).

A suspicion starts with the long time, because whoever raised it may itself be ill. Each independent confirmation makes
it shorter, logarithmically, down to the short time at K of them.
"""

from __future__ import annotations

import math

from covey.core.ids import Site
from covey.protocols.detector.config import DetectorConfig


def suspicion_us_min(config: DetectorConfig, nodes: int) -> int:
    """The shortest time from suspicion to down, in a cluster of `nodes`."""
    scaled = config.suspicion_multiplier * max(1.0, math.log10(max(nodes, 1))) * config.probe_interval_us
    return max(config.suspicion_us_min, int(scaled))


class Suspicion:
    """One suspicion of one life at one refutation.

    Law: `short_us <= timeout_us() <= long_us`, and it never grows by a confirmation.
    Invariants: accusers are distinct, the suspect is none of them, and at most `1 + confirmations_max` are kept.
    """

    __slots__ = ("_accusers", "_suspect", "expected", "long_us", "short_us", "started_us")

    def __init__(self, suspect: Site, accuser: bytes, short_us: int, long_us: int, expected: int, now_us: int) -> None:
        self._suspect = suspect
        self._accusers: dict[bytes, None] = {accuser: None}  # the first of them raised it
        self.short_us = short_us
        self.long_us = long_us
        self.expected = expected  # K: so many confirmations bring the short time
        self.started_us = now_us

    @property
    def first(self) -> bytes:
        """Who raised it."""
        return next(iter(self._accusers))

    @property
    def confirmations(self) -> int:
        """How many others have said the same since."""
        return len(self._accusers) - 1

    def accused_by(self, site: bytes) -> bool:
        """Whether `site` raised or confirmed it."""
        return site in self._accusers

    def confirm(self, accuser: bytes) -> bool:
        """Count an independent confirmation; False if it is none, or not needed any more."""
        if accuser in self._accusers or accuser in (self._suspect, b"") or self.confirmations >= self.expected:
            return False
        self._accusers[accuser] = None
        return True

    def restart(self, now_us: int) -> None:
        """Begin again, unconfirmed."""
        self._accusers = {self.first: None}
        self.started_us = now_us

    def timeout_us(self) -> int:
        """From the start to down, with the confirmations of now."""
        if self.confirmations >= self.expected:
            return self.short_us
        share = math.log(self.confirmations + 1) / math.log(self.expected + 1)
        return max(self.short_us, int(self.long_us - share * (self.long_us - self.short_us)))

    def due_us(self) -> int:
        """When the suspect is down unless it refutes."""
        return self.started_us + self.timeout_us()
