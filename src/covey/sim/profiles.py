"""Profiles: what one seed's run consists of. Phase 1 is faulty and asks for safety, phase 2 calm, for liveness."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from covey.core.ids import Site
from covey.core.rng import derive
from covey.engine.engine import EngineConfig
from covey.protocols.detector.config import DetectorConfig
from covey.protocols.groups.config import GroupsConfig
from covey.protocols.membership.config import MembershipConfig
from covey.protocols.overlay.config import OverlayConfig
from covey.protocols.registry.config import RegistryConfig
from covey.protocols.replication.config import ReplicationConfig
from covey.sim.checkers import check_events, check_links, overlay_pending
from covey.sim.commands import Commander
from covey.sim.faults import KINDS, FaultInjector, draw_plan
from covey.sim.gatherings import People
from covey.sim.groups import GroupsWorld, check_groups, check_mail, groups_pending
from covey.sim.hub import HubWorld, check_hubs, draw_strategy, finish_hubs, hubs_pending, user_of
from covey.sim.kept_rows import Blackouts
from covey.sim.life_laws import LifeLaws, LifeProgress, lives_pending
from covey.sim.pace import Pace
from covey.sim.record_laws import RecordLaws
from covey.sim.record_progress import RecordProgress, record_pending
from covey.sim.rows import RowsWorld, Writers, check_rows, finish_rows, rows_pending
from covey.sim.shared_rows import SharedWriters
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


class Scene(msgspec.Struct, frozen=True):
    """A built run: its world, what ends its faults, and what must hold of just this one."""

    world: World
    stop: Callable[[], None]
    pending: Callable[[], tuple[str, list[Site]] | None]
    safety: Callable[[], None]  # asked every 100 steps
    look: Callable[[], None]  # asked every tenth of a second once nothing is faulty any more
    finish: Callable[[], None]  # asked once at the end


class Profile(msgspec.Struct, frozen=True):
    """One kind of run."""

    name: str
    build: Callable[[int, bool], Scene]
    faulty_us: int
    budget_us: int
    quiet_us: int  # it must still be settled after this much more time


def nothing() -> None:
    """There is nothing to look at."""


def build_overlay(seed: int, telling: bool) -> Scene:
    """2-12 nodes that know one to three seed addresses, started together, apart, or all through one contact."""
    rng = derive(seed, "overlay profile")
    plan = draw_plan(rng)
    count = rng.randint(2, 12)
    small = rng.random() < 0.25
    overlay = (
        OverlayConfig(active_max=rng.choice((2, 3)), passive_max=rng.choice((6, 12))) if small else OverlayConfig()
    )
    config = EngineConfig(overlay=overlay, membership=MembershipConfig(ephemeral=rng.random() < 0.5))
    world = World(seed, config=config, faults=plan.network(rng), telling=telling)
    seeds = tuple(f"n{index}:1" for index in range(min(count, rng.choice((1, 1, 2, 3)))))
    spread_us = rng.choice((0, SECOND_US, 20 * SECOND_US))
    world.start_node(seeds)
    injector = FaultInjector(world, plan, derive(seed, "faults"), seeds)  # starting is not spared
    for _ in range(count - 1):
        if spread_us:
            world.run(rng.randint(0, spread_us // count))
        world.start_node(seeds)
    return overlay_scene(world, injector.stop)


def overlay_scene(world: World, stop: Callable[[], None]) -> Scene:
    """What must hold of any overlay."""

    def finish() -> None:
        for node in world.alive():
            check_events(node)

    return Scene(world, stop, lambda: overlay_pending(world), lambda: check_links(world), nothing, finish)


# Short windows, so that forgetting happens within a run.
SIM_MEMBERSHIP = MembershipConfig(
    ephemeral=False, cleanup_period_us=5 * SECOND_US, forget_after_us=20 * SECOND_US, forget_ephemeral_us=20 * SECOND_US
)
RECORD_KINDS = tuple(kind for kind in KINDS if kind not in ("crash", "stop"))  # there are commands for these


def build_membership(seed: int, telling: bool) -> Scene:
    """2-9 nodes that are kicked, leave, rejoin, crash, and come back with their disk, without it, or twice."""
    rng = derive(seed, "membership profile")
    plan = draw_plan(rng, RECORD_KINDS)
    count = rng.choice((2, 3, 3, 3, 4, 4, 5, 6, 7, 9))
    some_ephemeral = rng.random() < 0.3
    detector = DetectorConfig(boot_grace_us=5 * SECOND_US)
    config = EngineConfig(membership=SIM_MEMBERSHIP, detector=detector)
    ephemeral = msgspec.structs.replace(config, membership=msgspec.structs.replace(SIM_MEMBERSHIP, ephemeral=True))
    world = World(seed, config=config, faults=plan.network(rng), telling=telling)
    laws, lives = RecordLaws(world), LifeLaws(world)
    progress = RecordProgress(world, laws)
    seeds = tuple(f"n{index}:1" for index in range(min(count, rng.choice((1, 2, 3)))))
    for index in range(count):
        vanishing = some_ephemeral and index and rng.random() < 0.4
        world.start_node(seeds, config=ephemeral if vanishing else config)
    injector = FaultInjector(world, plan, derive(seed, "faults"), seeds, keep_disk=0.85, timed=False)
    commander = Commander(world, injector, derive(seed, "commands"), seeds)

    def stop() -> None:
        injector.stop()
        commander.stop()

    def safety() -> None:
        laws.check(world)
        lives.check(world)

    def finish() -> None:
        safety()
        laws.finish(world, derive(seed, "triples"))
        for node in world.alive():
            check_events(node)

    return Scene(world, stop, lambda: record_pending(world), safety, progress.look, finish)


LIFE_KINDS = ("loss", "partition", "one_way", "ill_link", "crash", "crash", "stop", "pause")


def build_detector(seed: int, telling: bool) -> Scene:
    """2-7 nodes that crash, stop, pause, restart and lose each other; nobody is thrown out."""
    rng = derive(seed, "detector profile")
    plan = draw_plan(rng, LIFE_KINDS)
    count = rng.choice((2, 3, 3, 4, 5, 7))
    membership = msgspec.structs.replace(SIM_MEMBERSHIP, ephemeral=rng.random() < 0.3)
    config = EngineConfig(membership=membership, detector=DetectorConfig(boot_grace_us=10 * SECOND_US))
    world = World(seed, config=config, faults=plan.network(rng), telling=telling)
    laws, progress = LifeLaws(world), LifeProgress(world)
    seeds = tuple(f"n{index}:1" for index in range(min(count, rng.choice((1, 2, 3)))))
    for _ in range(count):
        world.start_node(seeds)
    injector = FaultInjector(world, plan, derive(seed, "faults"), seeds, keep_disk=0.8)

    def pending() -> tuple[str, list[Site]] | None:
        return record_pending(world) or lives_pending(world, laws)

    def safety() -> None:
        laws.check(world)

    return Scene(world, lambda: injector.stop(everybody=False), pending, safety, progress.look, safety)


def build_rows(seed: int, telling: bool) -> Scene:
    """2-8 nodes with few or many holders, short or long logs; in some runs they also kick each other, leave, rejoin, in
    some they keep shared rows on disks, and in some the lights go out for all."""
    rng = derive(seed, "rows profile")
    plan = draw_plan(rng)
    count = rng.randint(2, 8)
    rows = ReplicationConfig(
        direct_max=rng.choice((1, 3, 8)),
        bytes_aim=rng.choice((150, 1_000, 65_536)),
        log_bytes_min=rng.choice((150, 1_000, 65_536)),
        positions_max=rng.choice((3, 2_048)),
        shared_log_bytes_max=rng.choice((500, 8 << 20)),
        pull_ops_max=rng.choice((3, 4_096)),
        changes_max=rng.choice((1, 3, 500)),
    )
    turns = derive(seed, "turns")
    rows = msgspec.structs.replace(
        rows,
        trimmed_max=turns.choice((1, 10, 5_000)),
        waiting_max=turns.choice((3, 100_000)),
        telling_us_max=turns.choice((SECOND_US // 10, 4 * SECOND_US)),
    )
    keeping = derive(seed, "rows that are kept")
    durable = keeping.choice(((), (b"hub",), (b"hub",), (b"hub", b"docs")))
    rows = msgspec.structs.replace(rows, stored_max=keeping.choice((1, 2, 3, 1_000)))
    membership = MembershipConfig(ephemeral=rng.random() < 0.3)
    config = EngineConfig(membership=membership, replication=rows)
    world = RowsWorld(seed, config=config, faults=plan.network(rng), telling=telling, durable=durable)
    seeds = tuple(f"n{index}:1" for index in range(min(count, rng.choice((1, 2, 3)))))
    world.start_node(seeds)
    injector = FaultInjector(world, plan, derive(seed, "faults"), seeds, keep_disk=0.7)
    writers = Writers(world, derive(seed, "writers"))
    shared = SharedWriters(world, derive(seed, "shared writers"), world.done)
    commander = Commander(world, injector, derive(seed, "commands"), seeds) if rng.random() < 0.3 else None
    dark_us = keeping.choice((0, 8 * SECOND_US, 20 * SECOND_US)) if durable else 0
    blackouts = Blackouts(world, injector, derive(seed, "blackouts"), dark_us) if dark_us else None
    for _ in range(count - 1):
        world.start_node(seeds)

    def stop() -> None:
        writers.pace.stop()
        shared.pace.stop()
        if blackouts is not None:
            blackouts.stop()
        injector.stop()
        if commander is not None:
            commander.stop()

    def safety() -> None:
        check_rows(world)

    return Scene(world, stop, lambda: rows_pending(world), safety, nothing, lambda: finish_rows(world))


def build_groups(seed: int, telling: bool) -> Scene:
    """2-8 nodes whose users join, leave and write to each other; in some runs they also kick each other and rejoin."""
    rng = derive(seed, "groups profile")
    plan = draw_plan(rng)
    count = rng.randint(2, 8)
    streams_max = rng.choice((6, 1_000_000, 1_000_000, 1_000_000))
    rows = ReplicationConfig(
        direct_max=rng.choice((1, 3, 8)),
        bytes_aim=rng.choice((150, 65_536)),
        log_bytes_min=rng.choice((150, 65_536)),
    )
    membership = MembershipConfig(ephemeral=rng.random() < 0.3)
    turns = derive(seed, "turns")
    rows = msgspec.structs.replace(rows, changes_max=turns.choice((1, 3, 500)))
    leaves_max = turns.choice((1, 500))
    groups = GroupsConfig(streams_max=streams_max, leaves_max=leaves_max)
    config = EngineConfig(membership=membership, replication=rows, groups=groups)
    faults = plan.network(rng)
    world = GroupsWorld(seed, config=config, faults=faults, telling=telling, exact=streams_max > 6)
    seeds = tuple(f"n{index}:1" for index in range(min(count, rng.choice((1, 2, 3)))))
    world.start_node(seeds)
    injector = FaultInjector(world, plan, derive(seed, "faults"), seeds, keep_disk=0.7)
    people = People(world, derive(seed, "people"))
    commander = Commander(world, injector, derive(seed, "commands"), seeds) if rng.random() < 0.4 else None
    for _ in range(count - 1):
        world.start_node(seeds)

    def stop() -> None:
        people.stop()
        injector.stop()
        if commander is not None:
            commander.stop()

    def safety() -> None:
        check_groups(world)

    def finish() -> None:
        check_mail(world)
        check_groups(world)

    return Scene(world, stop, lambda: groups_pending(world), safety, nothing, finish)


def build_hub(seed: int, telling: bool) -> Scene:
    """2-8 nodes that start, stop and call children, which fail, hang and move; nodes come and go."""
    rng = derive(seed, "hub profile")
    plan = draw_plan(rng)
    count = rng.randint(2, 8)
    rows = ReplicationConfig(
        direct_max=rng.choice((1, 3, 8)), bytes_aim=rng.choice((150, 65_536)), changes_max=rng.choice((1, 3, 500))
    )
    registry = RegistryConfig(
        looks_max=rng.choice((1, 3, 500)),
        births_max=rng.choice((1, 500)),
        moves_max=rng.choice((1, 32)),
        restarts_max=rng.choice((3, 10)),
        mailbox_max=rng.choice((2, 10_000)),
        answers_max=rng.choice((20, 10_000)),
        remember_us=10 * SECOND_US,
        stable_us=rng.choice((SECOND_US // 5, 2 * SECOND_US)),
    )
    fenced = count >= 3 and rng.random() < 0.5
    membership = MembershipConfig(ephemeral=not fenced and rng.random() < 0.4)
    config = EngineConfig(membership=membership, replication=rows, registry=registry)
    voters = tuple(f"n{index}" for index in range(5 if count >= 5 and rng.random() < 0.3 else 3)) if fenced else ()
    faults, strategy = plan.network(rng), draw_strategy(derive(seed, "strategy"))
    world = HubWorld(seed, config=config, faults=faults, telling=telling, voters=voters, strategy=strategy)
    seeds = tuple(f"n{index}:1" for index in range(min(count, rng.choice((1, 2, 3)))))
    world.start_node(seeds)
    keep_disk = 1.0 if fenced else 0.7  # a voter that loses its disk votes no more
    injector = FaultInjector(world, plan, derive(seed, "faults"), seeds, keep_disk=keep_disk)
    doings = derive(seed, "doings")
    every_us = rng.choice((SECOND_US // 50, SECOND_US // 10, SECOND_US // 2))
    pace = Pace(world, derive(seed, "users"), every_us, lambda node: user_of(node).act(doings))
    for _ in range(count - 1):
        world.start_node(seeds)

    def stop() -> None:
        pace.stop()
        injector.stop()
        for node in world.alive():
            user_of(node).stay()

    return Scene(
        world, stop, lambda: hubs_pending(world), lambda: check_hubs(world), nothing, lambda: finish_hubs(world)
    )


PROFILES = {
    "overlay": Profile(
        "overlay", build_overlay, faulty_us=60 * SECOND_US, budget_us=180 * SECOND_US, quiet_us=20 * SECOND_US
    ),
    "membership": Profile(
        "membership", build_membership, faulty_us=32 * SECOND_US, budget_us=180 * SECOND_US, quiet_us=8 * SECOND_US
    ),
    "detector": Profile(
        "detector", build_detector, faulty_us=45 * SECOND_US, budget_us=120 * SECOND_US, quiet_us=10 * SECOND_US
    ),
    "rows": Profile("rows", build_rows, faulty_us=60 * SECOND_US, budget_us=180 * SECOND_US, quiet_us=20 * SECOND_US),
    "hub": Profile("hub", build_hub, faulty_us=60 * SECOND_US, budget_us=180 * SECOND_US, quiet_us=20 * SECOND_US),
    "groups": Profile(
        "groups", build_groups, faulty_us=60 * SECOND_US, budget_us=180 * SECOND_US, quiet_us=20 * SECOND_US
    ),
}


def run_profile(profile: Profile, seed: int, telling: bool = False) -> RunResult:
    """Run one seed through both phases."""
    scene = profile.build(seed, telling)
    world = scene.world
    about: list[Site] = []

    def result(failure: str, settled_us: int) -> RunResult:
        story = [line for site in about[:2] for node in world.nodes for line in _story_of(node, site)]
        return RunResult(
            profile.name, seed, len(world.nodes), world.steps, world.now_us / 1e6, settled_us / 1e6, world.digest(),
            failure, tuple(story[-60:]),
        )  # fmt: skip

    def check_now_and_then() -> None:
        if world.steps % 100 == 0:
            scene.safety()

    def settled() -> bool:
        scene.look()
        return scene.pending() is None

    def look() -> bool:
        scene.look()
        return False

    try:
        world.run(profile.faulty_us, check_now_and_then)
        scene.stop()
        start_us = world.now_us
        reason: tuple[str, list[Site]] | None = None
        while True:
            left_us = start_us + profile.budget_us - world.now_us
            in_time = world.run_until(settled, left_us, after_step=check_now_and_then)
            reason = scene.pending()
            if not in_time or reason is not None:
                break
            settled_us = world.now_us - start_us
            world.run_until(look, profile.quiet_us, after_step=check_now_and_then)
            if (reason := scene.pending()) is None:
                scene.finish()
                return result("", settled_us)
        about.extend(reason[1] if reason else [])
        return result(f"not settled: {reason[0] if reason else 'unknown'}", world.now_us - start_us)
    except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        return result(f"{type(error).__name__}: {error}", -1)


def _story_of(node: object, site: Site) -> list[str]:
    stories = getattr(node, "stories", None)
    index = getattr(node, "index", -1)
    return [f"n{index} {line}" for line in stories.tell(site)[-40:]] if stories is not None else []
