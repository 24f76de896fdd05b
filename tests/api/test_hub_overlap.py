"""How long two copies run beside each other after a split with `on_split="both"`: within the bound of docs/hub.md."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from covey.api.config import Config
from covey.testing import Cluster, run
from tests.api.hub_children import waits
from tests.api.hubs_open import flock, now, specs
from tests.testing.virtual import until

PAGE = Path(__file__).parents[2] / "docs" / "hub.md"
CHILDREN = 12
SHUTDOWN_S = 1.0
PROFILES = {"laptop": Config.laptop(), "lan": Config.lan(), "kubernetes": Config.kubernetes()}


def bound_us(config: Config) -> int:
    """From the heal on, without the time that a child takes to end: the formula of docs/hub.md."""
    links, overlay, hub = config.engine.links, config.engine.overlay, config.engine.registry
    found = max(links.silence_us_max, links.connect_us_max + overlay.probe_backoff_us_max)
    found += 2 * overlay.probe_period_us
    told = links.silence_us_max + links.connect_us_max
    return found + hub.duplicate_us + told + 2 * hub.retry_us


@pytest.mark.parametrize("profile", PROFILES)
def test_the_page_has_the_numbers_of_each_profile(profile):
    (line,) = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{profile}` |")]
    assert f"| {bound_us(PROFILES[profile]) / 1e6:g} s |" in line


LATER = ("laptop", 9.0), ("lan", 10.0), ("lan", 45.0), ("kubernetes", 27.0), ("kubernetes", 100.0)


@pytest.mark.parametrize(
    "profile, split_s", [("laptop", 3.0), *[pytest.param(*split, marks=pytest.mark.slow) for split in LATER]]
)
def test_two_copies_end_within_the_bound_after_a_heal(profile, split_s):
    """Splits of which the links hear nothing, and longer ones; each child takes all of its time to end."""

    async def test(cluster: Cluster) -> None:
        config = PROFILES[profile]
        async with flock(cluster, 3, config=config) as f:
            batch = specs(CHILDREN, waits, SHUTDOWN_S, shutdown_timeout=SHUTDOWN_S)
            (await f.hubs[0].start_children(batch)).raise_for_errors()
            await f.settled()
            began = now()
            cluster.partition(f.nodes[:2], f.nodes[2:])
            await until(lambda: f.copies.running() > CHILDREN)
            assert now() - began >= config.engine.detector.suspicion_us_min / 1e6, (
                "none before somebody is held for down"
            )
            await asyncio.sleep(began + split_s - now())
            assert f.copies.running() > CHILDREN
            cluster.heal()
            healed = now()
            await until(lambda: all(len(hub.nodes()) == 3 for hub in f.hubs) and f.copies.running() == CHILDREN, 100)
            assert now() - healed <= bound_us(config) / 1e6 + SHUTDOWN_S
            await f.settled()
            assert f.copies.running() == CHILDREN

    run(test)
