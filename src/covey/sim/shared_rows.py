"""Shared rows in the rows profile: people start, change and remove rows everywhere, and what must hold of these.

Safety, at every node after every fact that changed what it shows: the fold of `SharedChanged` is what is shown. At any
moment: what a node shows was done by somebody, and no operation that it has received took it away. Liveness: all
holders have received the same and show the same; and that is what these operations leave behind, by a rule that knows
nothing of tables, contexts or comparing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

from covey.core.errors import invariant
from covey.core.ids import Dot, Site, rank
from covey.core.rows import Put, Remove, SharedChanged, SharedRow, SharedWrite, Start, WriteShared
from covey.protocols.replication.vocabulary import SharedStatistics
from covey.rows.op_log import Op
from covey.rows.shared import SharedTable
from covey.sim.node import SimNode
from covey.sim.pace import Pace
from covey.sim.world import World

KEYS = tuple(b"row %d" % number for number in range(9))
FIELDS = (b"spec", b"metadata")
Done = dict[bytes, dict[Dot, Op]]  # instance: everything that was ever done to its shared rows


class SharedWatcher:
    """One node's user. Asked as a machine of the engine, after every fact that it hears.

    Law: snapshot plus facts is what is shown.
    """

    def __init__(self, node: SimNode) -> None:
        self._node = node
        self._shown: dict[tuple[bytes, bytes], SharedRow] = {}

    def handle(self, incoming: SharedChanged, now_us: int) -> Sequence[Any]:
        invariant(bool(incoming.rows), "a change changes something")
        for key, row in incoming.rows:
            before = self._shown.pop((incoming.instance, key), None)
            invariant(before != row, "a row that stays is not told")
            if row is not None:
                self._shown[incoming.instance, key] = row
        return ()

    def deadline(self) -> int | None:
        return None

    def check(self) -> None:
        tables = self._node.engine.replication.shared.tables
        shown = {(instance, key): row for instance, table in tables.items() for key, row in table.view().items()}
        invariant(shown == self._shown, "snapshot plus facts is what is shown")

    def statistics(self) -> SharedStatistics:
        return self._node.engine.replication.shared.statistics()


class SharedWriters:
    """People at every node who start, change and remove rows at random."""

    def __init__(self, world: World, rng: Random, done: Done) -> None:
        self._rng = rng
        self._done = done
        self._count = 0
        every_us = rng.choice((100_000, 1_000_000, 3_000_000))
        self._keys = KEYS[: rng.choice((1, 3, len(KEYS)))]
        self.pace = Pace(world, rng, every_us, self._write)

    def _write(self, node: SimNode) -> None:
        """Some changes at once, of one instance that is held there."""
        rng, shared = self._rng, node.engine.replication.shared
        if not shared.tables:
            return
        instance = rng.choice(list(shared.tables))
        table = shared.tables[instance]
        changes: list[SharedWrite] = []
        here = dict.fromkeys(table.view())
        for _ in range(rng.choice((1, 1, 1, 3, 20))):
            self._count += 1
            key, value = rng.choice(self._keys), b"%d" % self._count + bytes(rng.choice((0, 0, 100)))
            if key not in here or rng.random() < 0.1:
                changes.append(Start(key, value))
                here[key] = None
            elif rng.random() < 0.3:
                changes.append(Remove(key))
                del here[key]
            else:
                changes.append(Put(key, rng.choice(FIELDS), value))
        life = node.site, node.engine.replication.me.incarnation  # membership may be in the next one already
        before = table.received.top(life)
        node.feed(WriteShared(instance, tuple(changes)))
        done = self._done.setdefault(instance, {})
        for dot in table.log.dots():
            if dot[:2] == life and dot[2] > before:
                done[dot] = table.log.run(life, dot[2], dot[2], 0)[0]


def left_behind(ops: Iterable[tuple[Dot, Op]], taken: Iterable[Dot] = ()) -> dict[bytes, SharedRow]:
    """What operations leave behind, whatever their order, without what is taken away beside them."""
    known = list(ops)
    gone: dict[Dot, None] = dict.fromkeys(taken)
    for _, (_, _, value, births, replaced) in known:
        gone.update(dict.fromkeys(births if value is None else replaced))
    births_of: dict[bytes, list[tuple[Dot, bytes]]] = {}
    for dot, (key, field, value, _, _) in known:
        if field is None and value is not None and dot not in gone:
            births_of.setdefault(key, []).append((dot, value))
    fields_of: dict[bytes, dict[bytes, list[tuple[Dot, bytes]]]] = {}
    for dot, (key, field, value, births, _) in known:
        here = [birth for birth, _ in births_of.get(key, ())]
        if field is not None and value is not None and dot not in gone and any(birth in here for birth in births):
            fields_of.setdefault(key, {}).setdefault(field, []).append((dot, value))
    return {
        key: SharedRow(
            _ranked(births),
            tuple((field, _ranked(values)) for field, values in sorted(fields_of.get(key, {}).items())),
        )
        for key, births in births_of.items()
    }


def _ranked(values: list[tuple[Dot, bytes]]) -> tuple[tuple[Dot, bytes], ...]:
    return tuple(sorted(values, key=lambda value: rank(value[0])))


def received(table: SharedTable, done: dict[Dot, Op]) -> list[tuple[Dot, Op]]:
    """The operations that a node has received of all that were done."""
    return [(dot, op) for dot, op in done.items() if dot in table.received or dot in table.retired]


def check_shared(node: SimNode, done: Done) -> None:
    """Whatever a node shows was done by somebody, and no operation that it has received took it away."""
    for instance, table in node.engine.replication.shared.tables.items():
        ops = done.get(instance, {})
        gone: dict[Dot, None] = {}
        for _, (_, _, value, births, replaced) in received(table, ops):
            gone.update(dict.fromkeys(births if value is None else replaced))
        for key, row in table.view().items():
            shown: list[tuple[bytes | None, Dot, bytes]] = [(None, dot, value) for dot, value in row.births]
            shown += [(field, dot, value) for field, values in row.fields for dot, value in values]
            for field, dot, value in shown:
                invariant(dot in ops and ops[dot][:3] == (key, field, value), f"somebody did what is shown of {key!r}")
                invariant(dot not in gone, f"n{node.index} shows of {key!r} what an operation that it has took away")


def finish_shared(node: SimNode, done: Done) -> None:
    """In the end a node shows exactly what the operations that it has received leave behind."""
    for instance in node.engine.replication.shared.tables:
        finish_table(node, instance, done)


def finish_table(node: SimNode, instance: bytes, done: Done) -> None:
    """The same of one instance, at any moment when it is compared with nobody.

    Comparing with somebody shows what that one has, before its operations come here too; who had them may have died
    before that. So what is alive counts, if somebody did it; and what is not does not, if somebody took it away.
    """
    table, ops = node.engine.replication.shared.tables[instance], done.get(instance, {})
    alive = dict.fromkeys(entry[2] for key in table.view() for entry in table.entries(key))
    gone = [dot for _, op in ops.items() for dot in (op[3] if op[2] is None else op[4]) if dot not in alive]
    shown = {dot: (*ops[dot][:4], ()) for dot in alive}
    known = left_behind({**shown, **dict(received(table, ops))}.items(), gone)
    invariant(table.view() == known, f"n{node.index} shows what is left of {instance!r}")


def shared_pending(node: SimNode, owner: SimNode) -> tuple[str, list[Site]] | None:
    """Why two holders do not yet have the same."""
    about = [node.site, owner.site]
    theirs = owner.engine.replication.shared.tables
    for instance, table in node.engine.replication.shared.tables.items():
        if instance not in theirs:
            continue
        if table.view() != theirs[instance].view():
            return f"n{node.index} and n{owner.index} do not show the same shared rows of {instance!r}", about
        if table.digest != theirs[instance].digest:
            return f"n{node.index} and n{owner.index} have not received the same of {instance!r}", about
    return None
