"""Clusters that lose nodes and links: nobody is held dead who is well, and all agree soon after the faults end."""

from __future__ import annotations

import pytest

from covey.core.vocabulary import Liveness, LivenessChanged
from covey.sim.life_laws import LifeLaws, lives_pending
from covey.sim.profiles import PROFILES, run_profile
from covey.sim.world import World

DETECTOR = PROFILES["detector"]
QUICK = (1, 3)
SEEDS = range(1, 21)


@pytest.mark.parametrize("seed", QUICK)  # `make test` runs the first fifty apart
def test_all_agree_who_lives_after_whatever_went_wrong(seed):
    result = run_profile(DETECTOR, seed)
    assert result.failure == "", f"python -m covey.sim --profile detector --seed {seed}"
    assert 0 <= result.settled_s <= DETECTOR.budget_us / 1e6


@pytest.mark.slow
def test_a_run_is_the_same_each_time():
    assert run_profile(DETECTOR, 2) == run_profile(DETECTOR, 2)


def watched(count: int) -> tuple[World, LifeLaws]:
    world = World(1)
    laws = LifeLaws(world)
    for _ in range(count):
        world.start_node(("n0:1",))
    return world, laws


def test_who_is_held_dead_although_all_was_well_is_found():
    world, laws = watched(3)
    world.run(laws.false_deaths_us + 5_000_000)
    laws.check(world)
    one, other = world.nodes[:2]
    with pytest.raises(AssertionError, match="n0 holds n1 for down, which is well"):
        one.engine.detector.opinions.declare_down(other.site, other.incarnation, "a whim", "refused", world.now_us)
        fact = LivenessChanged(other.engine.membership.me, Liveness.DOWN, "a whim", "refused")
        laws.observed(one, "detector", None, [fact])


def test_a_death_that_a_cut_explains_is_no_false_one():
    world, laws = watched(3)
    world.run(laws.false_deaths_us + 5_000_000)
    for target in (1, 2):
        world.network.cut(0, target)
        world.network.cut(target, 0)
    world.run(60_000_000, lambda: laws.check(world))
    assert world.nodes[1].engine.detector.state(world.nodes[0].site) is Liveness.DOWN
    assert lives_pending(world, laws) is not None
    world.calm()
    assert world.run_until(lambda: lives_pending(world, laws) is None, 90_000_000)


def test_a_table_that_differs_from_what_was_told_is_found():
    world, laws = watched(2)
    world.run(10_000_000)
    laws.check(world)
    world.nodes[0].engine.roster.entries.clear()
    with pytest.raises(AssertionError, match="15: "):
        laws.check(world)
