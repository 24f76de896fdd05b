"""What hosts want and what breaks, at random; and a world played to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from covey.core.claims import Relinquish, Seek
from covey.wire.messages.claims import Freed, Id
from tests.protocols.claims.claims_process import Copy, Process
from tests.protocols.claims.claims_world import SECOND, World


class Users:
    """They want ids at random, stop them, move them, and break what may break."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._step()

    def _step(self) -> None:
        world, rng = self.world, self.world.rng
        if world.calm:
            return
        world.at(rng.randint(1_000, world.faults.step_us), self._step)
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
        freed: Freed = (*bid.life, bid.epoch)
        world.ends(process, id, copy)
        if rng.random() < 0.5:
            target = rng.choice(world.processes)
            world.at(rng.randint(0, SECOND), lambda: self.seek(target, id, freed))

    def _break(self, process: Process) -> None:
        world, rng, faults = self.world, self.world.rng, self.world.faults
        possible: dict[str, bool] = {
            "cut": faults.cuts, "partition": faults.cuts, "heal": True, "crash": faults.crashes, "pause": faults.pauses,
            "suspend": faults.suspends, "refuse": faults.refusals, "live": faults.lives, "list": faults.lists,
            "lose": faults.lost and world.lost < (len(world.names) - 1) // 2, "restore": faults.restored,
        }  # fmt: skip
        kind = rng.choice([kind for kind, may in possible.items() if may])
        numbers = range(len(world.processes))
        if kind == "cut":
            one, other = rng.sample(numbers, 2)
            world.cut.add((one, other))
        elif kind == "partition":
            world.cut_off({number for number in numbers if rng.random() < 0.5})
        elif kind == "heal":
            world.cut.clear()
        elif process.runs:
            self._break_process(process, kind)

    def _break_process(self, process: Process, kind: str) -> None:
        world, rng = self.world, self.world.rng
        match kind:
            case "crash":
                world.crash(process)
            case "pause":
                world.sleep(process, rng.randint(SECOND // 10, 20 * SECOND))
            case "suspend":
                world.suspend(process, rng.randint(SECOND, 30 * SECOND))
            case "refuse":
                world.failing_until_us[process.number] = world.now_us + rng.randint(SECOND // 10, 15 * SECOND)
            case "live":
                world.new_life(process)
            case "list":
                process.elect((*world.names[1:], "another"))
                world.at(rng.randint(SECOND, 20 * SECOND), process.elect_again)
            case "lose" if process.number < len(world.names):
                world.lose_disk(process)
            case "restore" if process.disk is not None:
                if process.number not in world.copies or rng.random() < 0.4:
                    world.copies[process.number] = dict(process.disk)
                else:
                    world.restore_disk(process)


def play(seed: int, seconds: int = 120, plant: Callable[[World], None] | None = None, **options: Any) -> World:
    """One world under faults, and then at peace: at the end each id that somebody wants runs, once.

    And when whoever runs it dies, another does who wants it.
    """
    world = World(seed, **options)
    if plant is not None:
        plant(world)
    users = Users(world)
    world.run(seconds * SECOND)
    world.calm = True
    world.cut.clear()
    world.run(45 * SECOND)  # what was stopped goes on, and whoever is not heard of says it again
    for process in world.processes:
        process.elect_again()
    if world.settled:
        _run_all(world, users)
    return world


def _run_all(world: World, users: Users) -> None:
    """One after the other: where half of the voters are dead for a moment, everything else ends too."""
    for id in world.ids:
        _stop(world, id, world.processes)
    world.run(12 * SECOND)
    for id in world.ids:
        users.seek(world.rng.choice(world.processes), id)
        world.run(20 * SECOND)
        holders = [process for process in world.processes if id in process.copies]
        assert len(holders) == 1, f"{id[1]!r} does not run: it is only claimed"
        heir = world.rng.choice([process for process in world.processes if process is not holders[0]])
        users.seek(heir, id)
        world.run(world.rng.randint(0, 3 * SECOND))
        world.crash(holders[0])
        world.run(20 * SECOND)
        assert id in heir.copies, f"nobody took over {id[1]!r}"
        world.taken_over += 1
        _stop(world, id, world.processes)
        world.run(SECOND)


def _stop(world: World, id: Id, processes: list[Process]) -> None:
    for process in processes:
        process.copies.pop(id, None)
        process.feed(process.host, Relinquish(id))
