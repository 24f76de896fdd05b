"""HyParView's parameters and our periods."""

from __future__ import annotations

import msgspec

SECOND_US = 1_000_000


class OverlayConfig(msgspec.Struct, frozen=True):
    """Sizes in contacts, times in microseconds."""

    active_max: int = 5  # DSN 2007 section 5.1: active view 5 for 10,000 nodes
    passive_max: int = 30  # the same
    active_walk: int = 6  # ARWL; 6 in the paper's experiments
    passive_walk: int = 3  # PRWL, the same
    shuffle_active: int = 3  # ka, the same
    shuffle_passive: int = 4  # kp, the same: with the sender itself a shuffle carries 8 contacts
    shuffle_period_us: int = 30 * SECOND_US  # thrice partisan's: members feed the view too (benchmarks.detector: idle)
    settle_period_us: int = 1 * SECOND_US  # shuffles while the view has changed lately. Guess
    settle_us: int = 5 * SECOND_US  # how long "lately" is. Guess
    request_us_max: int = 500_000  # broadcast.md scenario 33
    promote_period_us: int = 2 * SECOND_US  # pause after everybody known has refused. Guess (partisan 5 s)
    promote_period_us_max: int = 30 * SECOND_US  # the same where the view has not changed for two minutes. Guess
    affirm_period_us: int = 30 * SECOND_US  # how long a one-sided link may live. Guess: benchmarks.detector's idle cost
    alarm_after: int = 3  # an alarm once so many are found to be gone within `settle_us`. Guess
    alarm_pause_us: int = 1 * SECOND_US  # between alarms, and between those that are heeded. Guess
    beacon_period_us: int = 10 * SECOND_US  # DESIGN 3.4
    beacons_missed_max: int = 3  # DESIGN 3.4: the lowest site heard in the last 30 s
    probe_period_us: int = 1 * SECOND_US  # DESIGN 3.4: one unreached address a second
    probes_at_once: int = 4  # when one is reached that was not for a while: a split has healed. Guess
    probe_backoff_us_min: int = 1 * SECOND_US  # DESIGN 3.4
    probe_backoff_us_max: int = 30 * SECOND_US  # DESIGN 3.4
    addresses_max: int = 256  # the book of addresses to probe. Guess
    departed_us: int = 60 * SECOND_US  # how long a leaver is kept out of the views: two shuffle periods
    departed_max: int = 256  # guess

    def promote_pause_us(self, unchanged_us: int) -> int:
        """How long to wait after everybody known has refused: a quarter of the time for which nothing has changed.

        With an odd place left over some node is refused by all others for ever; whoever loses a neighbour asks at once.
        """
        return min(max(self.promote_period_us, unchanged_us // 4), self.promote_period_us_max)
