"""The times of claims and leases, what follows from them, and bounds."""

from __future__ import annotations

import msgspec

from covey.core.errors import ConfigError
from covey.wire.messages.claims import WAIT_US_MAX

SECOND_US = 1_000_000
_RATES_PERMILLE = 11  # majority.md: 1.1 %; clocks that run from 0.5 % slow to 0.5 % fast differ by 1.01 %
_MARGIN_STEP_US = 10_000  # the margin is rounded up to this


class ClaimsConfig(msgspec.Struct, frozen=True):
    """Times in microseconds."""

    fence_after_us: int = 4 * SECOND_US  # majority.md: the F of the model
    stop_grace_us: int = 800_000  # the same: S
    watchdog_late_us: int = 50_000  # it looks every 20 ms near a deadline; the rest is for a busy machine. Guess
    kill_us: int = 50_000  # from SIGKILL to the last instruction of any thread; a few ms where memory is small. Guess
    renewals: int = 5  # in `fence_after_us` (majority.md)
    duel_us_min: int = 400_000  # majority.md: a claim without a majority is given up after 0.4-1.2 s
    duel_us_max: int = 1_200_000
    pause_us_min: int = 50_000  # majority.md: random 50-150 ms, doubled with each duel that was lost in a row
    pause_us_max: int = 150_000
    doublings_max: int = 5
    lead_ms_max: int = 24 * 3600 * 1000  # how far above our clock an epoch may lie: a wrong time zone. Guess
    seats_period_us: int = SECOND_US  # voters who do not sit yet tell each other whom they see. Guess
    seats_period_us_max: int = 32 * SECOND_US  # the same, doubled while nothing changes
    seats_patience_us: int = 10 * SECOND_US  # after which a seat that is empty is reported. Guess
    votes_max: int = 100_000  # ids that a voter remembers one by one. Guess: about 30 MB

    @property
    def margin_us(self) -> int:
        """What two clocks may differ by, how late the watchdog may look, and how long killing takes; rounded up."""
        rates_us = (self.fence_after_us + self.stop_grace_us) * _RATES_PERMILLE // 1000
        least_us = rates_us + self.watchdog_late_us + self.kill_us
        return -(-least_us // _MARGIN_STEP_US) * _MARGIN_STEP_US

    @property
    def wait_us(self) -> int:
        """How long a voter lets nobody else after a grant."""
        return self.fence_after_us + self.stop_grace_us + self.margin_us


def check_claims(config: ClaimsConfig) -> None:
    """Refuse times with which nothing could be held. Raises `ConfigError`; every field is a positive int already."""
    if config.wait_us > WAIT_US_MAX:
        raise ConfigError(
            f"fence_after_us and stop_grace_us: with their margin they make {config.wait_us} µs, for which an id would "
            f"be blocked after a crash, and voters wait {WAIT_US_MAX} at most; nothing was opened: shorten them"
        )
    _check_order(config, "duel_us_min", "duel_us_max")
    _check_order(config, "pause_us_min", "pause_us_max")
    _check_order(config, "seats_period_us", "seats_period_us_max")
    if config.renewals < 2:
        raise ConfigError(
            "renewals: one in fence_after_us comes when the lease has ended, so every child would stop; nothing was "
            "opened: take 2 at least, 5 as a rule"
        )
    if config.duel_us_max >= config.fence_after_us:
        raise ConfigError(
            f"duel_us_max: {config.duel_us_max} is not below fence_after_us ({config.fence_after_us}), so a lease "
            "could have ended when it is won; nothing was opened: shorten the duel or lengthen the lease"
        )
    if config.doublings_max > 16:
        raise ConfigError(
            f"doublings_max: with {config.doublings_max} the pauses of a host that lost would grow to hours; nothing "
            "was opened: take 16 at most, 5 as a rule"
        )


def _check_order(config: ClaimsConfig, least: str, most: str) -> None:
    low, high = getattr(config, least), getattr(config, most)
    if low > high:
        raise ConfigError(f"{least}: {low} is above {most} ({high}); nothing was opened: exchange them")
