"""Profiles: what one seed's run consists of. Phase 1 is faulty and asks for safety, phase 2 calm, for liveness."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from covey.core.ids import Site
from covey.core.rng import derive
from covey.engine.engine import EngineConfig
from covey.protocols.membership.config import MembershipConfig
from covey.protocols.overlay.config import OverlayConfig
from covey.sim.checkers import check_events, check_links, overlay_pending
from covey.sim.faults import FaultInjector, draw_plan
from covey.sim.membership import Commander, check_membership, membership_pending
from covey.sim.rows import build_rows, check_rows, rows_pending
from covey.sim.world import World

SECOND_US = 1_000_000


class RunResult(msgspec.Struct, frozen=True):
    """How one seed ended. `failure` is empty when all is well."""

    profile: str
    seed: int
    nodes: int
    steps: int
    virtual_s: float
    settled_s: float  # virtual seconds of phase 2 until it was settled for good
    digest: str
    failure: str
    story: tuple[str, ...]


class Profile(msgspec.Struct, frozen=True):
    """One kind of run."""

    name: str
    build: Callable[[int, bool], tuple[World, Callable[[], None]]]  # the world, and what ends its faults
    pending: Callable[[World], tuple[str, list[Site]] | None]
    safety: Callable[[World], None]  # asked every 100 steps
    finish: Callable[[World], None]  # asked once at the end
    faulty_us: int
    budget_us: int
    quiet_us: int  # it must still be settled after this much more time


def build_overlay(seed: int, telling: bool) -> tuple[World, Callable[[], None]]:
    """2-12 nodes that know one to three seed addresses, started together, apart, or all through one contact."""
    rng = derive(seed, "overlay profile")
    plan = draw_plan(rng)
    count = rng.randint(2, 12)
    small = rng.random() < 0.25
    overlay = (
        OverlayConfig(active_max=rng.choice((2, 3)), passive_max=rng.choice((6, 12))) if small else OverlayConfig()
    )
    world = World(seed, config=EngineConfig(overlay=overlay), faults=plan.network(rng), telling=telling)
    seeds = tuple(f"n{index}:1" for index in range(min(count, rng.choice((1, 1, 2, 3)))))
    spread_us = rng.choice((0, SECOND_US, 20 * SECOND_US))
    world.start_node(seeds)
    injector = FaultInjector(world, plan, derive(seed, "faults"), seeds)  # starting is not spared
    for _ in range(count - 1):
        if spread_us:
            world.run(rng.randint(0, spread_us // count))
        world.start_node(seeds)
    return world, injector.stop


def build_membership(seed: int, telling: bool) -> tuple[World, Callable[[], None]]:
    """2-9 durable nodes that are kicked, leave, rejoin, crash, and come back with their disk or without it."""
    rng = derive(seed, "membership profile")
    plan = draw_plan(rng)
    count = rng.randint(2, 9)
    membership = MembershipConfig(ephemeral=False, cleanup_period_us=5 * SECOND_US, forget_after_us=20 * SECOND_US)
    config = EngineConfig(membership=membership)
    world = World(seed, config=config, faults=plan.network(rng), telling=telling)
    seeds = tuple(f"n{index}:1" for index in range(min(count, rng.choice((1, 2, 3)))))
    world.start_node(seeds)
    injector = FaultInjector(world, plan, derive(seed, "faults"), seeds, keep_disk=0.85)
    commander = Commander(world, derive(seed, "commands"))
    for _ in range(count - 1):
        world.start_node(seeds)

    def stop() -> None:
        commander.stop()
        injector.stop()

    return world, stop


def check_all_events(world: World) -> None:
    """Every living node's neighbour events tell its view."""
    for node in world.alive():
        check_events(node)


PROFILES = {
    "overlay": Profile(
        name="overlay",
        build=build_overlay,
        pending=overlay_pending,
        safety=check_links,
        finish=check_all_events,
        faulty_us=60 * SECOND_US,
        budget_us=180 * SECOND_US,
        quiet_us=20 * SECOND_US,
    ),
    "membership": Profile(
        name="membership",
        build=build_membership,
        pending=membership_pending,
        safety=check_membership,
        finish=check_all_events,
        faulty_us=60 * SECOND_US,
        budget_us=180 * SECOND_US,
        quiet_us=20 * SECOND_US,
    ),
    "rows": Profile(
        name="rows",
        build=build_rows,
        pending=rows_pending,
        safety=check_rows,
        finish=check_rows,
        faulty_us=60 * SECOND_US,
        budget_us=180 * SECOND_US,
        quiet_us=20 * SECOND_US,
    ),
}


def run_profile(profile: Profile, seed: int, telling: bool = False) -> RunResult:
    """Run one seed through both phases."""
    world, stop = profile.build(seed, telling)
    about: list[Site] = []

    def result(failure: str, settled_us: int) -> RunResult:
        story = [line for site in about[:2] for node in world.nodes for line in _story_of(node, site)]
        return RunResult(
            profile.name, seed, len(world.nodes), world.steps, world.now_us / 1e6, settled_us / 1e6, world.digest(),
            failure, tuple(story[-60:]),
        )  # fmt: skip

    def check_now_and_then() -> None:
        if world.steps % 100 == 0:
            profile.safety(world)

    try:
        world.run(profile.faulty_us, check_now_and_then)
        stop()
        start_us = world.now_us
        reason: tuple[str, list[Site]] | None = None
        while True:
            settled = world.run_until(
                lambda: profile.pending(world) is None, start_us + profile.budget_us - world.now_us
            )
            reason = profile.pending(world)
            if not settled or reason is not None:
                break
            settled_us = world.now_us - start_us
            world.run(profile.quiet_us, check_now_and_then)
            if (reason := profile.pending(world)) is None:
                profile.finish(world)
                return result("", settled_us)
        about.extend(reason[1] if reason else [])
        return result(f"not settled: {reason[0] if reason else 'unknown'}", world.now_us - start_us)
    except (AssertionError, LookupError, TypeError, ValueError) as error:
        return result(f"{type(error).__name__}: {error}", -1)


def _story_of(node: object, site: Site) -> list[str]:
    stories = getattr(node, "stories", None)
    index = getattr(node, "index", -1)
    return [f"n{index} {line}" for line in stories.tell(site)[-40:]] if stories is not None else []
