"""What hosts want and what breaks, at random; and a world played to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from covey.protocols.claims.vocabulary import Relinquish, Seek
from covey.wire.messages.claims import Freed, Id
from tests.protocols.claims.claims_world import SECOND, Copy, Process, World


class Users:
    """They want ids at random, stop them, move them, and break what may break."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._step()

    def _step(self) -> None:
        world, rng = self.world, self.world.rng
        if world.calm:
            return
        world.at(rng.randint(1_000, 2 * SECOND), self._step)
        process = rng.choice(world.processes)
        if rng.random() < 0.7:
            self._use(process, rng.choice(world.ids))
        else:
            self._break(process)

    def _use(self, process: Process, id: Id) -> None:
        world, rng = self.world, self.world.rng
        if not process.runs:
            return
        copy = process.copies.get(id)
        if copy is None and rng.random() < 0.85:
            self.seek(process, id)
        elif copy is None:
            process.feed(process.host, Relinquish(id))
        elif not copy.ending and rng.random() < 0.5:
            copy.ending = True
            world.at(rng.randint(0, SECOND), lambda: self._stop(process, id, copy))

    def seek(self, process: Process, id: Id, freed: Freed | None = None) -> None:
        """As the registry would: under the starter's clock, whatever that shows."""
        if not process.runs:
            return
        epoch = self.world.clock_us(process.number) // 1000 << 16
        process.feed(process.host, Seek(id, epoch, freed))

    def _stop(self, process: Process, id: Id, copy: Copy) -> None:
        """A planned end; sometimes another host goes on with the claim that ended."""
        world, rng = self.world, self.world.rng
        if process.copies.get(id) is not copy or not process.runs:
            return
        bid = process.host._bids.get(id) or process.host._ending.get(id)
        assert bid is not None
        freed: Freed = (process.site, process.incarnation, bid.epoch)
        world.ends(process, id, copy)
        if rng.random() < 0.5:
            target = rng.choice(world.processes)
            world.at(rng.randint(0, SECOND), lambda: self.seek(target, id, freed))

    def _break(self, process: Process) -> None:
        world, rng, faults = self.world, self.world.rng, self.world.faults
        numbers = range(len(world.processes))
        roll = rng.random()
        if roll < 0.3 and faults.cuts:
            one, other = rng.sample(numbers, 2)
            world.cut.add((one, other))
        elif roll < 0.4 and faults.cuts:
            island = {number for number in numbers if rng.random() < 0.5}
            world.cut |= {(a, b) for a in numbers for b in numbers if (a in island) != (b in island)}
        elif roll < 0.6:
            world.cut.clear()
        elif roll < 0.75 and faults.crashes:
            world.crash(process)
        elif roll < 0.9 and faults.pauses and process.runs:
            world.sleep(process, rng.randint(SECOND // 10, 20 * SECOND))
        elif faults.suspends and process.runs:
            world.suspend(process, rng.randint(SECOND, 30 * SECOND))


def play(seed: int, seconds: int = 120, plant: Callable[[World], None] | None = None, **options: Any) -> World:
    """One world under faults, and then at peace: at the end each id that somebody wants runs, once."""
    world = World(seed, **options)
    if plant is not None:
        plant(world)
    users = Users(world)
    world.run(seconds * SECOND)
    world.calm = True
    world.cut.clear()
    world.run(12 * SECOND)
    hosts = [world.rng.choice(world.processes) for _ in world.ids]
    for id, process in zip(world.ids, hosts, strict=True):
        if process.runs:
            users.seek(process, id)
    world.run(60 * SECOND)
    for id, process in zip(world.ids, hosts, strict=True):
        if process.runs and any(id in p.host._bids for p in world.processes):
            assert sum(id in p.copies for p in world.processes) == 1, f"{id[1]!r} does not run: it is only claimed"
    return world
