"""A host that is gone without a word: reference M26, and the same in small clusters."""

from __future__ import annotations

import statistics

import pytest

from covey.core.vocabulary import Liveness
from covey.protocols.detector.config import DetectorConfig
from tests.protocols.detector.detector_world import SECOND, DetectorWorld

DOWN, SUSPECT = Liveness.DOWN, Liveness.SUSPECT


@pytest.mark.slow
def test_m26_100_nodes_with_loss_find_a_silent_death_and_kill_nobody_else() -> None:
    first: list[float] = []
    spread: list[float] = []
    for seed in range(30):
        world = DetectorWorld(seed, 100, loss=0.01, check_every=997)
        world.run(3)
        world.die_silently(7)
        died_us = world.now_us
        world.run(60, until=lambda world=world: world.nodes[0].state(7) is DOWN)  # type: ignore[misc]
        world.run(1)
        times = world.times(7, DOWN)
        assert len(times) == 99
        first.append((times[0] - died_us) / SECOND)
        spread.append((times[-1] - times[0]) / SECOND)
        assert {about for _, about, _ in world.ever(DOWN)} == {7}
    p99 = statistics.quantiles(first, n=100, method="inclusive")[98]
    print(f"first: p50 {statistics.median(first):.2f} s, p99 {p99:.2f} s, max {max(first):.2f} s; all: {max(spread)} s")
    assert statistics.median(first) <= 9.5
    assert max(first) <= 13
    assert max(spread) <= 0.5


@pytest.mark.parametrize(
    "nodes, seconds", [(2, 6.0), (3, 8.0), (5, 8.0), (10, 8.0), pytest.param(20, 10.0, marks=pytest.mark.slow)]
)
def test_small_clusters_find_a_silent_death_after_the_short_time(nodes: int, seconds: float) -> None:
    for seed in range(5):
        world = DetectorWorld(seed, nodes)
        world.run(2)
        world.die_silently(0)
        died_us = world.now_us
        world.run(60, until=lambda world=world: world.all_hold(0, DOWN))  # type: ignore[misc]
        assert 4 * SECOND < world.now_us - died_us < seconds * SECOND
        assert {about for _, about, _ in world.ever(DOWN)} == {0}


def test_on_a_laptop_it_takes_less_than_three_seconds_and_never_less_than_two() -> None:
    world = DetectorWorld(1, 5, DetectorConfig.laptop(), latency_us=(100, 300))
    world.run(1)
    world.die_silently(0)
    died_us = world.now_us
    world.run(60, until=lambda: world.all_hold(0, DOWN))
    assert 2 * SECOND < world.now_us - died_us < 3 * SECOND


@pytest.mark.parametrize("dead, seconds", [(5, 20), (8, 80)])
def test_the_death_of_most_is_found_by_those_that_are_left(dead: int, seconds: float) -> None:
    """Survivors of a great loss hear few nacks and doubt themselves first: that is Lifeguard's price."""
    world = DetectorWorld(2, 10)
    world.run(2)
    for index in range(dead):
        world.die_silently(index)
    world.run(seconds)
    assert all(world.all_hold(index, DOWN) for index in range(dead))
    assert {about for _, about, _ in world.ever(DOWN)} == set(range(dead))


def test_loss_alone_kills_nobody() -> None:
    world = DetectorWorld(3, 30, loss=0.1, check_every=53)
    world.run(120)
    assert world.ever(DOWN) == []
