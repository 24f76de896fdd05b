"""What can go wrong, and when: the seed chooses which faults exist in a run, then when each strikes."""

from __future__ import annotations

from random import Random

import msgspec

from covey.core.vocabulary import WallOffset
from covey.sim.network import NetworkFaults
from covey.sim.world import START_WALL_MS, World

SECOND_US = 1_000_000

KINDS = ("loss", "duplicate", "reorder", "slow_link", "partition", "one_way", "crash", "pause", "clock_jump", "disk")


class FaultPlan(msgspec.Struct, frozen=True):
    """Which kinds of fault a run has, and how often something strikes."""

    kinds: tuple[str, ...]
    every_us: int

    def network(self, rng: Random) -> NetworkFaults:
        """The faults that lie in the network all the time."""
        return NetworkFaults(
            latency_us_min=100,
            latency_us_max=rng.choice((500, 2_000, 20_000)),
            loss=rng.choice((0.001, 0.01, 0.05)) if "loss" in self.kinds else 0.0,
            duplicate=rng.choice((0.001, 0.02)) if "duplicate" in self.kinds else 0.0,
            reorder=rng.choice((0.001, 0.02)) if "reorder" in self.kinds else 0.0,
            slow_link=0.15 if "slow_link" in self.kinds else 0.0,
        )


def draw_plan(rng: Random) -> FaultPlan:
    """Some kinds of fault, from none to all."""
    share = rng.choice((0.0, 0.3, 0.6, 0.9))
    kinds = tuple(kind for kind in KINDS if rng.random() < share)
    return FaultPlan(kinds, rng.choice((1, 3, 10)) * SECOND_US)


class FaultInjector:
    """Strikes now and then until it is stopped, then puts everything right again."""

    def __init__(
        self, world: World, plan: FaultPlan, rng: Random, seeds: tuple[str, ...], keep_disk: float = 0.5
    ) -> None:
        self._world = world
        self._plan = plan
        self._rng = rng
        self._seeds = seeds
        self._keep_disk = keep_disk
        self._stopped = False
        self._strikes = [
            kind for kind in plan.kinds if kind in ("partition", "one_way", "crash", "pause", "clock_jump")
        ]
        self._next()

    def _next(self) -> None:
        world = self._world
        wait_us = self._rng.randint(1, 2 * self._plan.every_us)
        world.schedule(world.now_us + wait_us, -1, self._strike)

    def _strike(self) -> None:
        if self._stopped:
            return
        if self._strikes:
            getattr(self, f"_{self._rng.choice(self._strikes)}")()
        if "disk" in self._plan.kinds:
            self._world.disk_fails = self._rng.random() < 0.3
        self._next()

    def _partition(self) -> None:
        """Two or three islands, for a while."""
        world, rng = self._world, self._rng
        world.mend()
        islands = rng.choice((2, 2, 3))
        side = [rng.randrange(islands) for _ in world.nodes]
        for source in range(len(side)):
            for target in range(len(side)):
                if side[source] != side[target]:
                    world.network.cut(source, target)
        self._mend_later()

    def _one_way(self) -> None:
        """What one node says no longer arrives at another."""
        source, target = self._rng.randrange(len(self._world.nodes)), self._rng.randrange(len(self._world.nodes))
        if source != target:
            self._world.network.cut(source, target)
            self._mend_later()

    def _mend_later(self) -> None:
        world = self._world
        world.schedule(world.now_us + self._rng.randint(SECOND_US // 10, 60 * SECOND_US), -1, world.mend)

    def _crash(self) -> None:
        """Kill a process, loudly or without a word, and perhaps start it again."""
        world, rng = self._world, self._rng
        alive = world.alive()
        if len(alive) < 2:
            return
        node = rng.choice(alive)
        world.crash(node, loudly=rng.random() < 0.7)
        if rng.random() < 0.8:
            keep_site = rng.random() < self._keep_disk
            after_us = rng.randint(0, 20 * SECOND_US)
            world.schedule(world.now_us + after_us, -1, lambda: self._restart(node.index, keep_site))

    def _restart(self, index: int, keep_site: bool) -> None:
        if not self._world.nodes[index].alive:
            self._world.start_node(self._seeds, index, keep_site)

    def _pause(self) -> None:
        alive = self._world.alive()
        self._world.pause(self._rng.choice(alive), self._rng.randint(SECOND_US // 100, 20 * SECOND_US))

    def _clock_jump(self) -> None:
        node = self._rng.choice(self._world.alive())
        node.feed(WallOffset(START_WALL_MS * 1000 + self._rng.randint(-3600, 3600) * SECOND_US))

    def stop(self) -> None:
        """Phase 2: no more faults, and every process runs."""
        self._stopped = True
        world = self._world
        world.disk_fails = False
        world.network.calm()
        world.mend()
        for node in list(world.nodes):
            if not node.alive:
                self._restart(node.index, keep_site=self._rng.random() < self._keep_disk)
