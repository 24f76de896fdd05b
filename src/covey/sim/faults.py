"""What can go wrong, and when: the seed chooses which faults exist in a run, then when each strikes."""

from __future__ import annotations

from functools import partial
from random import Random

import msgspec

from covey.sim.network import LinkFaults, NetworkFaults
from covey.sim.world import World

SECOND_US = 1_000_000

KINDS = (
    "loss", "duplicate", "reorder", "slow_link", "partition", "one_way", "crash", "stop", "pause", "clock_jump",
    "disk", "ill_link",
)  # fmt: skip
ALWAYS = frozenset({"loss", "duplicate", "reorder", "slow_link"})  # these lie in the network all the time


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


def draw_plan(rng: Random, kinds: tuple[str, ...] = KINDS) -> FaultPlan:
    """Some kinds of fault, from none to all."""
    share = rng.choice((0.0, 0.3, 0.6, 0.9))
    drawn = tuple(kind for kind in kinds if rng.random() < share)
    return FaultPlan(drawn, rng.choice((1, 3, 10)) * SECOND_US)


class FaultInjector:
    """Strikes now and then until it is stopped, then puts everything right again.

    Who has its own times for that (a profile with commands) calls `strike` instead: `timed` is False then.
    """

    def __init__(
        self,
        world: World,
        plan: FaultPlan,
        rng: Random,
        seeds: tuple[str, ...],
        keep_disk: float = 0.5,
        timed: bool = True,
    ) -> None:
        self._world = world
        self._plan = plan
        self._rng = rng
        self._seeds = seeds
        self._keep_disk = keep_disk
        self._stopped = False
        self._strikes = [kind for kind in plan.kinds if kind not in ALWAYS]
        if timed:
            self._next()

    def _next(self) -> None:
        world = self._world
        wait_us = self._rng.randint(1, 2 * self._plan.every_us)
        world.schedule(world.now_us + wait_us, -1, self._in_its_time)

    def _in_its_time(self) -> None:
        if not self._stopped:
            self.strike()
            self._next()

    def strike(self) -> None:
        """One fault of those that the run has."""
        if self._strikes:
            getattr(self, f"_{self._rng.choice(self._strikes)}")()

    def _later(self, seconds_max: int) -> int:
        return self._world.now_us + self._rng.randint(SECOND_US // 10, seconds_max * SECOND_US)

    # --- the network ------------------------------------------------------------------------------------------------

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

    def _two(self) -> tuple[int, int] | None:
        """A direction between two nodes."""
        nodes = len(self._world.nodes)
        source, target = self._rng.randrange(nodes), self._rng.randrange(nodes)
        return (source, target) if source != target else None

    def _one_way(self) -> None:
        """What one node says no longer arrives at another."""
        if (pair := self._two()) is not None:
            self._world.network.cut(*pair)
            self._mend_later()

    def _ill_link(self) -> None:
        """One direction between two nodes loses, doubles, delays and shuffles what is said, for a while."""
        pair, rng, ill = self._two(), self._rng, self._world.network.ill
        if pair is None:
            return
        ill[pair] = LinkFaults(
            loss=rng.choice((0.0, 0.05, 0.5)),
            duplicate=rng.choice((0.0, 0.05)),
            reorder=rng.choice((0.0, 0.05)),
            delay_us_max=rng.choice((0, SECOND_US // 2, 5 * SECOND_US)),
        )

        def heal() -> None:
            ill.pop(pair, None)

        self._world.schedule(self._later(30), -1, heal)

    def _mend_later(self) -> None:
        self._world.schedule(self._later(60), -1, self._world.mend)

    # --- processes and machines -------------------------------------------------------------------------------------

    def _crash(self) -> None:
        """Kill a process, loudly or without a word, and perhaps start it again."""
        world, rng = self._world, self._rng
        alive = world.alive()
        if len(alive) >= 2:
            node = rng.choice(alive)
            world.crash(node, loudly=rng.random() < 0.7)
            self._restart_later(node.index)

    def _stop(self) -> None:
        """End a process cleanly, and perhaps start it again."""
        running = self._world.running()
        if len(running) >= 2:
            node = self._rng.choice(running)
            self._world.stop(node)
            self._restart_later(node.index)

    def _restart_later(self, index: int) -> None:
        world, rng = self._world, self._rng
        if rng.random() < 0.8:
            keep_site = rng.random() < self._keep_disk
            after_us = rng.randint(0, 20 * SECOND_US)
            world.schedule(world.now_us + after_us, -1, lambda: self.restart(index, keep_site))

    def restart(self, index: int, keep_site: bool, move: bool = False) -> None:
        """Start the process at `index` again, unless it runs or has ended for good. Who keeps no disk is new."""
        old = self._world.nodes[index]
        if not old.alive and not old.retired:
            self._world.start_node(self._seeds, index, keep_site and old.durable, move=move)

    def _pause(self) -> None:
        alive = self._world.alive()
        if alive:
            self._world.pause(self._rng.choice(alive), self._rng.randint(SECOND_US // 100, 30 * SECOND_US))

    def _clock_jump(self) -> None:
        alive = self._world.alive()
        if alive:
            self._world.turn_clock(self._rng.choice(alive).index, self._rng.randint(-600, 600) * SECOND_US)

    def _disk(self) -> None:
        """A disk is full, for a while."""
        world, index = self._world, self._rng.randrange(len(self._world.nodes))
        world.full_disks.add(index)

        def make_room() -> None:
            world.full_disks.discard(index)

        world.schedule(self._later(10), -1, make_room)

    def stop(self, everybody: bool = True) -> None:
        """Phase 2: no more faults, and every process runs; or the seeds and most others, if not `everybody`."""
        self._stopped = True
        world = self._world
        world.calm()
        for node in list(world.nodes):
            if not node.alive and (everybody or node.address in self._seeds or self._rng.random() < 0.6):
                keep_site = self._rng.random() < self._keep_disk
                # One after the other: two copies of one disk that start in one millisecond are one life.
                at_us = world.now_us + 5_000 * node.index
                world.schedule(at_us, -1, partial(self.restart, node.index, keep_site))
