"""Durable instances in the rows profile: processes that hold them again after a restart, whole clusters that go dark,
and what must hold of the disks.

Safety: whoever says that what it has is on its disk, has it there; whoever holds an instance again has what it said it
had, and shows exactly what the operations that it has leave behind. Nothing of that is lost while it holds it. The rest
is as for all shared rows: in the end all holders have the same, and show nothing that was removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.core.rows import HoldInstance, ReleaseInstance
from covey.core.vocabulary import MessagesReceived, Send
from covey.engine.gate import Store
from covey.rows.dots import DotSet
from covey.rows.keeping import Keeping
from covey.rows.shared import SharedTable
from covey.rows.stored import StoredRows, read
from covey.sim.disk import Disk
from covey.sim.faults import FaultInjector
from covey.sim.node import SimNode
from covey.sim.shared_rows import Done, finish_table
from covey.sim.world import World
from covey.wire.messages.rows import RowSum, SharedHave, SharedSums

SECOND_US = 1_000_000
SHELF = "shelf"


def kept_on(disk: Disk) -> dict[bytes, StoredRows]:
    """What a disk keeps of instances that were not let go of."""
    return {instance: rows for instance, rows in read(disk.durable(SHELF)).items() if not rows.void}


def all_received(table: SharedTable) -> DotSet:
    """What was received, retired or not."""
    dots = DotSet(table.received.told())
    dots.update(table.retired)
    return dots


class KeptLaws:
    """What looks on. `durable`: the instances that are held durably, by who has a disk."""

    def __init__(self, durable: tuple[bytes, ...], done: Done) -> None:
        self._durable = durable
        self._done = done
        self._promised: dict[Disk, dict[bytes, DotSet]] = {}  # what was said to be on this disk
        self._found: dict[SimNode, dict[bytes, DotSet]] = {}  # what a process found when it held the instance
        self._read: dict[Disk, dict[bytes, SharedTable]] = {}  # since it took something the last time
        self.counts = dict.fromkeys(("saved", "found"), 0)

    # --- looking on -------------------------------------------------------------------------------------------------

    def started(self, node: SimNode) -> None:
        """A disk may have taken more than it said when its process crashed."""
        self._read.pop(node.disk, None)

    def emitted(self, node: SimNode, event: Any) -> None:
        """Events say nothing of disks."""

    def stored(self, node: SimNode, store: Store) -> None:
        """It is another disk now."""
        if store.log == SHELF:
            self._read.pop(node.disk, None)

    def observed(self, node: SimNode, machine: str, incoming: Any, effects: Sequence[Any]) -> None:
        """What a node holds, lets go of, and says of what it has."""
        if machine != "replication" or not node.durable:
            return
        if type(incoming) is HoldInstance and incoming.durable:
            self._held(node, incoming.instance)
        elif type(incoming) is ReleaseInstance:
            for known in (self._promised.get(node.disk, {}), self._found.get(node, {})):
                known.pop(incoming.instance, None)
        for effect in effects:
            if type(effect) is Send and type(effect.message) in (RowSum, SharedHave, SharedSums):
                self._said(node, incoming, effect.to, effect.message)

    # --- laws -------------------------------------------------------------------------------------------------------

    def _on_disk(self, node: SimNode, instance: bytes) -> SharedTable:
        tables = self._read.setdefault(node.disk, {})
        if instance not in tables:
            tables[instance] = Keeping(instance, kept_on(node.disk).get(instance)).table
        return tables[instance]

    def _said(self, node: SimNode, incoming: Any, to: Site, message: RowSum | SharedHave | SharedSums) -> None:
        if not message.saved:
            return
        replication = node.engine.replication
        held = replication.shared.tables
        match message:
            case SharedHave(instance, received, retired):
                if instance in self._durable:
                    said = DotSet(received)
                    said.update(DotSet(retired))
                    on_disk = all_received(self._on_disk(node, instance))
                    invariant(not on_disk.lacks(said.told()), f"n{node.index} has on its disk what it says it has")
                    self._promise(node, instance, said)
            case SharedSums(sums):
                for instance, digest in sums:
                    if instance in self._durable:
                        on_disk_digest = self._on_disk(node, instance).digest.to_bytes(8, "big")
                        invariant(on_disk_digest == digest, f"the digest of n{node.index} is that of its disk")
            case RowSum() if type(incoming) is not MessagesReceived:  # which may change what it has once more
                for instance in self._durable:
                    if instance in held and to in replication.holders(instance):
                        same = self._on_disk(node, instance).digest == held[instance].digest
                        invariant(same, f"n{node.index} says that all it has is on its disk, and it is")
                        self._promise(node, instance, all_received(held[instance]))

    def _promise(self, node: SimNode, instance: bytes, dots: DotSet) -> None:
        self.counts["saved"] += 1
        self._promised.setdefault(node.disk, {}).setdefault(instance, DotSet()).update(dots)

    def _held(self, node: SimNode, instance: bytes) -> None:
        found = self._found.setdefault(node, {})
        if instance in found:
            return  # it was held before
        table = node.engine.replication.shared.tables[instance]
        promised = self._promised.get(node.disk, {}).get(instance, DotSet())
        found[instance] = all_received(table)
        self.counts["found"] += bool(found[instance].lives())
        invariant(not found[instance].lacks(promised.told()), f"n{node.index} finds what it said its disk has")
        finish_table(node, instance, self._done)

    def check(self, nodes: Sequence[SimNode]) -> None:
        """Nothing of what was found is lost while the instance is held."""
        for node in nodes:
            for instance, found in self._found.get(node, {}).items():
                has = all_received(node.engine.replication.shared.tables[instance])
                invariant(not has.lacks(found.told()), f"n{node.index} keeps what it found")


class Keepers:
    """People who hold durable instances when their process starts: nearly always those that its disk has."""

    def __init__(self, world: World, rng: Random, durable: tuple[bytes, ...]) -> None:
        self._world = world
        self._rng = rng
        self._durable = durable

    def started(self, node: SimNode) -> None:
        """Some do so at once, some a little later, and some not at all."""
        if not (self._durable and node.durable):
            return
        kept = kept_on(node.disk)
        for instance in self._durable:
            if self._rng.random() < (0.95 if instance in kept else 0.7):
                after_us = self._rng.choice((0, 0, SECOND_US, 5 * SECOND_US))
                self._world.schedule(self._world.now_us + after_us, node.index, partial(self._hold, node, instance))

    @staticmethod
    def _hold(node: SimNode, instance: bytes) -> None:
        node.feed(HoldInstance(instance, True))


class Blackouts:
    """The lights go out for all at once, now and then, and each starts again with its disk or, seldom, without.

    They like to go out while a disk is writing rows, if one does within the next seconds.
    """

    def __init__(self, world: World, injector: FaultInjector, rng: Random, every_us: int) -> None:
        self._world = world
        self._injector = injector
        self._rng = rng
        self._every_us = every_us
        self._stopped = False
        self._patience = 0
        self.count = 0
        self._next()

    def _next(self) -> None:
        self._patience = self._rng.choice((0, 300))
        self._world.schedule(self._world.now_us + self._rng.randint(1, 2 * self._every_us), -1, self._strike)

    def _strike(self) -> None:
        if self._stopped:
            return
        world, rng = self._world, self._rng
        if self._patience and not any(node.disk.is_writing(SHELF) for node in world.alive()):
            self._patience -= 1
            world.schedule(world.now_us + SECOND_US // 100, -1, self._strike)
            return
        self.count += 1
        lit = world.alive()
        for node in lit:
            world.crash(node, loudly=rng.random() < 0.5)
        sites: dict[Site, None] = {}
        for node in [*lit, *(node for node in world.nodes if node not in lit)]:
            if node.site in sites:  # two copies of one disk that start in the dark do not know of each other's life
                node.retired = True
                continue
            sites[node.site] = None
            keep, after_us = rng.random() < 0.9, rng.randint(0, 5 * SECOND_US)
            world.schedule(world.now_us + after_us, -1, partial(self._injector.restart, node.index, keep))
        self._next()

    def stop(self) -> None:
        """It stays light."""
        self._stopped = True
