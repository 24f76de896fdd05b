"""Worlds that are played by a script, for rules that chance tries too rarely: who is cut off, and what a disk says.

Each is harmless as it is, and breaks a law where one sentence of the rule is left out.
"""

from __future__ import annotations

from collections.abc import Callable

from covey.core.claims import Seek
from tests.protocols.claims.claims_process import Process
from tests.protocols.claims.claims_world import SECOND, Faults, World

Plant = Callable[[World], None]
ONE, OTHER = 3, 4  # two hosts; 0 to 2 are the voters


class Stage(World):
    """Three voters and two hosts at peace; what goes wrong is in the script."""

    transaction_us = 0  # of every disk, where the script says so

    def __init__(self, **options: int) -> None:
        super().__init__(1, ids=1, faults=Faults(rates=False, skew_us=0, disk_us=20_000), **options)  # type: ignore[arg-type]
        self.calm = True
        self.run(10 * SECOND)  # they sit, and their start is long ago

    def disk_us(self) -> int:
        return self.transaction_us or super().disk_us()

    def apart(self, *pairs: tuple[int, int]) -> None:
        """From now on these hear nothing of each other, and all others do."""
        self.cut = {pair for one, other in pairs for pair in ((one, other), (other, one))}

    def seek(self, number: int) -> None:
        """This host wants the id, under the time its clock shows."""
        process = self.processes[number]
        process.feed(process.host, Seek(self.ids[0], self.clock_us(number) // 1000 << 16))

    def runs(self, number: int) -> bool:
        """Whether the id runs there."""
        return self.ids[0] in self.processes[number].copies

    def begin_again(self, number: int, disk: dict[bytes, bytes]) -> Process:
        """A process begins at once with this disk."""
        process = self.processes[number]
        process.alive = False
        process.disk = disk
        self.restart(number)
        return self.processes[number]


def a_copy_of_a_disk_is_back_within_a_lease() -> None:
    """Voter 1 has granted, and its disk forgets that; the holder cannot reach it any more, another host can."""
    world = Stage()
    before = dict(world.processes[1].disk or {})
    world.apart((ONE, 2), (OTHER, 0))
    world.seek(ONE)
    world.run(SECOND)
    assert world.runs(ONE)
    world.apart((ONE, 2), (OTHER, 0), (ONE, 1))
    world.begin_again(1, before)
    world.seek(OTHER)
    world.run(30 * SECOND)
    assert world.runs(OTHER)


def a_copy_of_a_disk_meets_who_has_sought_for_long() -> None:
    """The epoch of a host that nobody could grant anything is old, and the voter that knew a higher one forgot it."""
    world = Stage()
    before = dict(world.processes[1].disk or {})
    world.apart((OTHER, 0), (OTHER, 1), (ONE, 2))
    world.seek(OTHER)
    world.run(20 * SECOND)
    world.seek(ONE)
    world.run(15 * SECOND)
    assert world.runs(ONE)
    world.processes[ONE].alive = False
    world.processes[ONE].copies.clear()
    world.begin_again(1, before)
    world.apart((OTHER, 0))
    world.run(30 * SECOND)
    assert world.runs(OTHER)


def a_voter_dies_before_its_disk_has_taken_what_it_said() -> None:
    """One host's clock is half a minute ahead. Who follows it must have a token above, so its grant must be durable."""
    world = Stage()
    world._began[ONE] += 30 * SECOND
    world.transaction_us = SECOND // 4
    world.apart((ONE, 2), (OTHER, 0))
    world.seek(ONE)
    while not world.runs(ONE):
        world.run(100)
    world.processes[ONE].alive = False
    world.processes[ONE].copies.clear()
    world.begin_again(1, world.processes[1].disk or {})
    world.seek(OTHER)
    world.run(40 * SECOND)
    assert world.runs(OTHER)


def two_nodes_have_one_voters_name_in_halves_that_never_met() -> None:
    """Each half has two of the three names, and a host."""
    world = World(1, ids=1, hosts=2, double=True, faults=Faults(rates=False, skew_us=0, disk_us=20_000))
    world.calm = True
    world.cut.clear()
    world.cut_off({0, 1, ONE})
    world.run(10 * SECOND)
    for number in (ONE, OTHER):
        process = world.processes[number]
        process.feed(process.host, Seek(world.ids[0], 5))
    world.run(30 * SECOND)
    assert not world.begun


STORIES = [
    a_copy_of_a_disk_is_back_within_a_lease,
    a_copy_of_a_disk_meets_who_has_sought_for_long,
    a_voter_dies_before_its_disk_has_taken_what_it_said,
    two_nodes_have_one_voters_name_in_halves_that_never_met,
]
