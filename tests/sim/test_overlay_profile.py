"""Thirty clusters under faults: safe all the time, and one settled overlay soon after the faults end."""

from __future__ import annotations

import msgspec
import pytest

from covey.core.rng import derive
from covey.sim.checkers import overlay_pending
from covey.sim.faults import KINDS, draw_plan
from covey.sim.profiles import PROFILES, Scene, build_overlay, run_profile
from covey.sim.world import World

OVERLAY = PROFILES["overlay"]
QUICK = (1, 3)
SEEDS = range(1, 31)


@pytest.mark.parametrize("seed", QUICK)  # `make test` runs the first fifty apart
def test_the_overlay_settles_after_whatever_went_wrong(seed):
    result = run_profile(OVERLAY, seed)
    assert result.failure == "", f"python -m covey.sim --profile overlay --seed {seed}"
    assert 0 <= result.settled_s <= OVERLAY.budget_us / 1e6
    assert 2 <= result.nodes <= 12
    assert result.virtual_s >= (OVERLAY.faulty_us + OVERLAY.quiet_us) / 1e6


def test_these_seeds_know_every_kind_of_fault_and_also_peace():
    plans = [draw_plan(derive(seed, "overlay profile")).kinds for seed in SEEDS]
    assert sorted({kind for kinds in plans for kind in kinds}) == sorted(KINDS)
    assert () in plans


def test_a_run_that_never_settles_fails_with_the_reason_and_the_story_of_the_sites_it_is_about():
    def build(seed: int, telling: bool) -> Scene:
        scene = build_overlay(seed, telling)
        return msgspec.structs.replace(scene, pending=lambda: ("it never does", [scene.world.nodes[0].site]))

    stubborn = msgspec.structs.replace(OVERLAY, build=build, faulty_us=1_000_000, budget_us=2_000_000)
    result = run_profile(stubborn, 2, telling=True)
    assert result.failure == "not settled: it never does"
    assert result.settled_s == 2.0
    assert result.story
    assert all(line.startswith("n") for line in result.story)


def test_a_law_that_breaks_ends_the_run_and_is_the_failure(monkeypatch):
    def broken_build(seed, telling):
        scene = build_overlay(seed, telling)
        scene.world.nodes[0].engine.overlay.active.size_max = -1
        return scene

    result = run_profile(msgspec.structs.replace(OVERLAY, build=broken_build), 2)
    assert result.failure.startswith("InvariantError: the active view is bounded")


def test_nodes_that_know_nobody_are_two_components_and_the_checker_says_so():
    world = World(1)
    world.start_node()
    world.start_node()
    world.run(1_000_000)
    reason = overlay_pending(world)
    assert reason is not None
    assert reason[0].startswith("1 of 2 nodes are connected; ")
