"""The times of claims: what follows from them, and which are refused."""

from __future__ import annotations

import pytest

from covey.api.config import Config
from covey.core.errors import ConfigError
from covey.engine.engine import EngineConfig
from covey.protocols.claims.config import SECOND_US, ClaimsConfig, check_claims


@pytest.mark.parametrize(
    "config",
    [
        ClaimsConfig(),
        ClaimsConfig(fence_after_us=60 * SECOND_US, stop_grace_us=30 * SECOND_US),
        ClaimsConfig(watchdog_late_us=1, kill_us=1),
    ],
    ids=["default", "long", "prompt"],
)
def test_the_margin_covers_two_clocks_the_watchdog_and_killing_and_is_not_much_more(config):
    held_us = config.fence_after_us + config.stop_grace_us
    needed_us = held_us * 11 / 1000 + config.watchdog_late_us + config.kill_us
    assert needed_us <= config.margin_us < needed_us + 10_000
    fast, slow = 1.005, 0.995  # the voter's clock runs fast, the host's slow
    assert config.wait_us / fast >= held_us / slow + config.watchdog_late_us + config.kill_us - 1_000
    assert config.wait_us == held_us + config.margin_us


def test_the_default_times_are_those_that_the_documents_name():
    assert (ClaimsConfig().margin_us, ClaimsConfig().wait_us) == (160_000, 4_960_000)
    check_claims(ClaimsConfig())


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"fence_after_us": 3_600 * SECOND_US}, "^fence_after_us and stop_grace_us: .* blocked .*: shorten them$"),
        ({"stop_grace_us": 3_600 * SECOND_US}, "shorten them"),
        ({"duel_us_min": 2 * SECOND_US}, r"^duel_us_min: 2000000 is above duel_us_max \(1200000\)"),
        ({"pause_us_min": SECOND_US}, "^pause_us_min: .* exchange them"),
        ({"seats_period_us": 60 * SECOND_US}, "^seats_period_us: .* exchange them"),
        ({"renewals": 1}, "^renewals: one .* every child would stop; .*: take 2"),
        ({"fence_after_us": SECOND_US}, "^duel_us_max: .* not below fence_after_us .* lengthen the lease"),
        ({"doublings_max": 17}, "^doublings_max: .* hours"),
    ],
    ids=str,
)
def test_times_with_which_nothing_could_be_held_are_refused(changes, match):
    with pytest.raises(ConfigError, match=match):
        check_claims(ClaimsConfig(**changes))
    with pytest.raises(ConfigError, match=r"^engine: claims\..*nothing was opened"):
        Config.lan(engine=EngineConfig(claims=ClaimsConfig(**changes)))
