"""The times of claims and leases, and bounds."""

from __future__ import annotations

import msgspec

SECOND_US = 1_000_000


class ClaimsConfig(msgspec.Struct, frozen=True):
    """Times in microseconds."""

    fence_after_us: int = 4 * SECOND_US  # majority.md: the F of the model
    stop_grace_us: int = 800_000  # the same: S
    margin_us: int = (
        70_000  # the same: W = F + S + this; at least 1.1 % of both, lateness of the watchdog, time to kill
    )
    renewals: int = 5  # in `fence_after_us` (majority.md)
    duel_us_min: int = 400_000  # majority.md: a claim without a majority is given up after 0.4-1.2 s
    duel_us_max: int = 1_200_000
    pause_us_min: int = 50_000  # majority.md: random 50-150 ms, doubled with each duel that was lost in a row
    pause_us_max: int = 150_000
    doublings_max: int = 5
    votes_max: int = 100_000  # ids that a voter remembers one by one. Guess: about 30 MB

    @property
    def wait_us(self) -> int:
        """How long a voter lets nobody else after a grant."""
        return self.fence_after_us + self.stop_grace_us + self.margin_us
