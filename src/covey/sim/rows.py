"""The rows profile: people hold instances and write rows at random, and what must hold of these whatever happens.

Safety, at every node after every fact that changed what it shows: the fold of `RowsChanged` is what is shown; nobody
shows a row that its owner did not write in that life, or a row of a life that is not held for current; what is had of a
life never goes back. Liveness: every node shows, of every other and in every instance that both hold, what that one
has, and nothing of anybody else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from covey.core.errors import invariant
from covey.core.ids import Site, short
from covey.core.rng import derive
from covey.core.rows import HoldInstance, ReleaseInstance, RowsChanged, SharedChanged, WriteRows
from covey.core.vocabulary import ClusterChanged, Liveness, MemberRemoved
from covey.protocols.replication.vocabulary import SYSTEM, ReplicationStatistics
from covey.rows.owned import OwnedTable, Position
from covey.sim.accusing import accuse
from covey.sim.checkers import check_links
from covey.sim.kept_rows import Keepers, KeptLaws
from covey.sim.node import SimNode
from covey.sim.pace import Pace
from covey.sim.record_progress import record_pending
from covey.sim.shared_rows import Done, SharedWatcher, check_shared, finish_shared, shared_pending
from covey.sim.world import World

SECOND_US = 1_000_000

Row = tuple[bytes, Site, bytes]  # instance, owner, key
Written = dict[tuple[Site, int, bytes, bytes], dict[bytes, None]]  # (owner, life, instance, key): values so far

INSTANCES = (b"docs", b"hub", b"scope")
KEYS = tuple(b"key %d" % number for number in range(12))
DOINGS = ("write", "hold", "release", "accuse")
WEIGHTS = (20, 6, 2, 2)
UNSEEN = (Liveness.DOWN, Liveness.STOPPED)


class Watcher:
    """One node's user: hears what its rows do, and knows what it ought to be.

    Law: snapshot plus facts is what is shown. It is asked as a machine of the engine, after every fact that it hears.
    """

    def __init__(self, node: SimNode, written: Written) -> None:
        self._node = node
        self._written = written
        self._shown: dict[Row, tuple[int, bytes]] = {}
        self._positions: dict[tuple[bytes, Site], tuple[bytes | None, Position]] = {}
        self.heard = 0

    def handle(self, incoming: Any, now_us: int) -> Sequence[Any]:
        match incoming:
            case RowsChanged():
                self._fold(incoming)
            case MemberRemoved(site):
                self._forget(lambda owner: owner == site)
            case ClusterChanged():
                self._forget(lambda owner: True)
        return ()

    def _fold(self, fact: RowsChanged) -> None:
        self.heard += 1
        invariant(bool(fact.changes), "a change changes something")
        for key, value in fact.changes:
            row = (fact.instance, fact.owner, key)
            before = self._shown.get(row)
            if value is None:
                invariant(before is not None and before[0] == fact.incarnation, "what goes was there, of that life")
                del self._shown[row]
            else:
                invariant(before is None or before[0] == fact.incarnation, "two lives of one owner are not mixed")
                invariant(before is None or before[1] != value, "a row that stays is not told")
                self._shown[row] = (fact.incarnation, value)
                if fact.owner == self._node.site:
                    note(self._written, fact.owner, fact.incarnation, fact.instance, key, value)

    def _forget(self, goes: Callable[[Site], bool]) -> None:
        """A life that does not belong any more may come back with nothing."""
        for instance, owner in [at for at in self._positions if goes(at[1])]:
            del self._positions[instance, owner]

    def deadline(self) -> int | None:
        return None

    def check(self) -> None:
        tables = self._node.engine.replication.tables
        shown = {
            (instance, owner, key): (incarnation, value)
            for instance, table in tables.items()
            for owner, incarnation, key, value in table.view()
        }
        told = dict(self._shown)
        for fact in self._node.engine.replication.facts.waiting():
            for key, value in fact.changes:
                row = (fact.instance, fact.owner, key)
                told.pop(row, None)
                if value is not None:
                    told[row] = fact.incarnation, value
                    if fact.owner == self._node.site:
                        note(self._written, fact.owner, fact.incarnation, fact.instance, key, value)
        invariant(shown == told, "snapshot plus facts is what is shown")
        for (instance, owner, key), (incarnation, value) in shown.items():
            values = self._written.get((owner, incarnation, instance, key), {})
            invariant(value in values, f"{short(owner)} wrote {key!r} of {instance!r} in that life")
        self._check_lives(tables)
        self._check_positions(tables)

    def _check_lives(self, tables: dict[bytes, OwnedTable]) -> None:
        """Rows are shown of members in the life, and in no state, that users see of them."""
        entries = self._node.engine.roster.entries
        for table in tables.values():
            for owner in table.owners():
                if owner == self._node.site or not table.is_shown(owner):
                    continue
                entry = entries.get(owner)
                invariant(entry is not None, f"{short(owner)} is shown and belongs")
                assert entry is not None
                at = table.position(owner)
                invariant(at.incarnation == entry.contact.incarnation, f"{short(owner)} is shown in its current life")
                invariant(entry.state not in UNSEEN, f"{short(owner)} is shown and not held for down")

    def _check_positions(self, tables: dict[bytes, OwnedTable]) -> None:
        """Hidden or not: whatever came of a life stays until that life, or its holding of the instance, is over."""
        now = {
            (instance, owner): (tables[SYSTEM].kept(owner, instance), table.position(owner))
            for instance, table in tables.items()
            for owner in table.owners()
        }
        for at, (holding, before) in self._positions.items():
            held, after = now.get(at, (None, before))
            stays = held == holding and (held is not None or at[0] == SYSTEM)
            invariant(after >= before or not stays, f"what is had of {short(at[1])} does not go back")
        self._positions = now

    def statistics(self) -> ReplicationStatistics:  # a machine has them; these are of the one it watches
        return self._node.engine.replication.statistics()


def note(written: Written, owner: Site, incarnation: int, instance: bytes, key: bytes, value: bytes) -> None:
    """An owner wrote a row in this life."""
    written.setdefault((owner, incarnation, instance, key), {})[value] = None


class RowsWorld(World):
    """A world in which every process is watched from its start."""

    def __init__(self, *arguments: Any, durable: tuple[bytes, ...] = (), **options: Any) -> None:
        """`durable`: the instances that whoever has a disk keeps there."""
        super().__init__(*arguments, **options)
        self.durable = durable
        self.written: Written = {}
        self.done: Done = {}
        self.kept = KeptLaws(durable, self.done)
        self.keepers = Keepers(self, derive(self.seed, "keepers"), durable)
        if durable:
            self.watches.append(self.kept)
        self.watchers: list[Watcher] = []

    def start_node(self, seeds: tuple[str, ...] = (), *arguments: Any, **options: Any) -> SimNode:
        """Start a process, and watch it."""
        node = super().start_node(seeds, *arguments, **options)
        watcher, shared = Watcher(node, self.written), SharedWatcher(node)
        self.watchers.append(watcher)
        engine = node.engine
        engine.machines["watcher"] = watcher
        for kind in (RowsChanged, MemberRemoved, ClusterChanged):
            engine.routes[kind] = (*engine.routes[kind], ("watcher", watcher))
        engine.machines["shared watcher"] = shared
        engine.routes[SharedChanged] = (*engine.routes[SharedChanged], ("shared watcher", shared))
        self.keepers.started(node)
        return node


class Writers:
    """People at every node, who hold, let go and write at random, and now and then accuse somebody falsely."""

    def __init__(self, world: RowsWorld, rng: Random) -> None:
        self._world = world
        self._rng = rng
        self._count = 0
        every_us = rng.choice((SECOND_US // 20, SECOND_US // 4, SECOND_US))
        self._keys = KEYS[: rng.choice((2, len(KEYS)))]
        self.pace = Pace(world, rng, every_us, self._do)

    def _do(self, node: SimNode) -> None:
        getattr(self, f"_{self._rng.choices(DOINGS, WEIGHTS)[0]}")(node)

    def _hold(self, node: SimNode) -> None:
        instance = self._rng.choice(INSTANCES)
        node.feed(HoldInstance(instance, instance in self._world.durable))

    def _release(self, node: SimNode) -> None:
        node.feed(ReleaseInstance(self._rng.choice(INSTANCES)))

    def _write(self, node: SimNode) -> None:
        """Some rows at once, of one instance that is held there."""
        rng = self._rng
        held = [instance for instance in node.engine.replication.tables if instance != SYSTEM]
        if not held:
            self._hold(node)
            return
        instance = rng.choice(held)
        incarnation = node.engine.replication.tables[instance].position(node.site).incarnation
        changes: list[tuple[bytes, bytes | None]] = []
        for _ in range(rng.choice((1, 1, 2, 5, 20))):
            self._count += 1
            key = rng.choice(self._keys)
            value = None if rng.random() < 0.25 else b"%d" % self._count + bytes(rng.choice((0, 0, 100)))
            changes.append((key, value))
            if value is not None:
                note(self._world.written, node.site, incarnation, instance, key, value)
        node.feed(WriteRows(instance, tuple(changes)))

    def _accuse(self, node: SimNode) -> None:
        accuse(self._world, self._rng, node)


def check_rows(world: World) -> None:
    """Safety at any moment."""
    assert isinstance(world, RowsWorld)
    nodes = world.alive()
    for node in nodes:
        node.engine.machines["watcher"].check()
    if nodes:  # one after the other: there is much to see
        check_shared(nodes[world.steps // 100 % len(nodes)], world.done)
    check_links(world)


def finish_rows(world: World) -> None:
    """The same, and what shared rows there are is what was done to them."""
    check_rows(world)
    assert isinstance(world, RowsWorld)
    world.kept.check(world.alive())
    for node in world.alive():
        finish_shared(node, world.done)


def rows_pending(world: World) -> tuple[str, list[Site]] | None:
    """Why the living nodes do not yet show each other's rows, and only these."""
    nodes = [node for node in world.alive() if not node.engine.membership.solo]
    if not nodes:
        return None
    if (reason := record_pending(world)) is not None:
        return reason
    for node in nodes:
        for owner in nodes:
            if owner is node:
                continue
            if (reason := _pending_pair(node, owner) or shared_pending(node, owner)) is not None:
                return reason
        others = {other.site for other in nodes}
        for instance, table in node.engine.replication.tables.items():
            for site, _, key, _ in table.view():
                if site not in others:
                    return f"n{node.index} still shows {key!r} of {instance!r} of {short(site)}", [node.site, site]
            holders = {other.site for other in nodes if instance in other.engine.replication.tables}
            if instance != SYSTEM and set(node.engine.replication.holders(instance)) != holders:
                return f"n{node.index} does not know who holds {instance!r}", [node.site]
    return None


def _pending_pair(node: SimNode, owner: SimNode) -> tuple[str, list[Site]] | None:
    about = [node.site, owner.site]
    entry = node.engine.roster.entries.get(owner.site)
    if entry is None or entry.state is not Liveness.ALIVE:
        return f"n{node.index} does not hold n{owner.index} for alive", about
    theirs = owner.engine.replication.tables
    for instance, table in node.engine.replication.tables.items():
        shown = {key: value for site, _, key, value in table.view() if site == owner.site}
        has = theirs[instance].rows_of(owner.site) if instance in theirs else {}
        if shown != has:
            said = f"n{node.index} shows {len(shown)} rows of n{owner.index} in {instance!r}, not its {len(has)}"
            return said, about
        if instance in theirs and table.position(owner.site) != theirs[instance].position(owner.site):
            return f"n{node.index} counts n{owner.index} otherwise in {instance!r}", about
    return None
