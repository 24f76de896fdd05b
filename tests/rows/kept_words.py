"""Replicas that keep their tables on disks, crash between any two pieces, and go on as another life."""

from __future__ import annotations

from random import Random

from covey.core.ids import Dot
from covey.core.vocabulary import Record
from covey.rows.keeping import Keeping
from covey.rows.op_log import Op
from covey.rows.shared import SharedTable
from covey.rows.stored import read
from tests.rows.shared_words import Play, Replica, alive, oracle, reconcile, shape

INSTANCE = b"instance"
Log = dict[bytes, bytes]


def write(log: Log, records: list[Record]) -> None:
    """What a disk does with a piece."""
    for record in records:
        if record.value is None:
            del log[record.key]  # nothing is taken away that is not there
        else:
            log[record.key] = record.value


def write_all(keeping: Keeping, log: Log, records_max: int = 1_000) -> int:
    """Every piece there is; returns how many."""
    pieces = 0
    while not keeping.clean:
        write(log, keeping.take(records_max, 1 << 20))
        pieces += 1
    return pieces


def found(log: Log) -> Keeping:
    """What the next life finds."""
    return Keeping(INSTANCE, read(log).get(INSTANCE))


def told_nothing_false(table: SharedTable, ops: dict[Dot, Op]) -> None:
    """What is known and not alive was removed, or never was anything; and what received operations took is known."""
    table.check()
    here = alive(table)
    gone = {dot for _, _, value, births, replaced in ops.values() for dot in (births if value is None else replaced)}
    for dot, (_, field, value, births, _) in ops.items():
        if dot in table.context and dot not in here and value is not None and dot not in gone:
            assert field is not None, f"{dot} is known, was not removed, and is not here"
            assert all(birth in table.context and birth not in here for birth in births)
        if dot in table.received or dot in table.retired:
            _, _, value, births, replaced = ops[dot]
            taken = births if value is None else replaced
            assert all(birth in table.context and birth not in here for birth in taken), f"what {dot} took is known"


class KeptPlay(Play):
    """The same as `Play`, and some of them crash."""

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self.kept: dict[Replica, tuple[Keeping, Log]] = {}
        self.crashes = 0
        self.torn = 0  # crashes amid a pass
        for replica in self.replicas:
            self._begin(replica, {})

    def _begin(self, replica: Replica, log: Log) -> None:
        keeping = found(log)
        self.kept[replica] = keeping, log
        replica.table, replica.session, replica.number = keeping.table, None, 0
        replica.folded.clear()
        told_nothing_false(keeping.table, self.ops)
        replica.fold()

    def step(self) -> None:
        super().step()
        replica = self.rng.choice(self.replicas)
        keeping, log = self.kept[replica]
        keeping.check()
        what = self.rng.random()
        if what < 0.5:
            write(log, keeping.take(self.rng.choice((1, 1, 2, 5, 1_000)), 1 << 20))
            if keeping.clean:
                self._is_whole(replica, log)
        elif what < 0.6:
            self._crash(replica, keeping, log)

    def _is_whole(self, replica: Replica, log: Log) -> None:
        table, again = replica.table, found(log).table
        assert again.view() == table.view()
        assert alive(again) == alive(table)
        assert (again.received, again.context, again.retired) == (table.received, table.context, table.retired)
        assert again.digest == table.digest

    def _crash(self, replica: Replica, keeping: Keeping, log: Log) -> None:
        self.crashes += 1
        self.torn += bool(keeping._context or keeping._received)
        replica.life = replica.life[0], replica.life[1] + 1
        for asking in self.replicas:  # who was being told its rows hears no more of them
            if asking.session is not None and asking.session[1] is replica:
                asking.session[0].abandon()
                asking.session = None
        self._begin(replica, log)

    def end_of_survivors(self) -> None:
        """All compare with all, and have what is left of what any of them knows: some operations are lost."""
        for replica in self.replicas:
            if replica.session is not None:
                replica.session[0].abandon()
        tables = [replica.table for replica in self.replicas]
        for table, other in [(table, other) for table in tables for other in tables if table is not other] * 2:
            reconcile(table, other, self.rng.choice((1, 400)))
        for table in tables:
            table.check()
            told_nothing_false(table, self.ops)
            assert table.digest == tables[0].digest
            assert table.view() == tables[0].view()
            here = alive(table)
            known = {dot: op for dot, op in self.ops.items() if dot in table.received or dot in here}
            gone = {dot for op in self.ops.values() for dot in (op[3] if op[2] is None else op[4]) if dot not in here}
            known[self.replicas[0].life[0], 9_999, 1] = (b"", None, None, tuple(sorted(gone)), ())
            assert shape(table) == oracle(known)


def kept_play(rng: Random, steps: int, by_operations: bool) -> KeptPlay:
    """One whole play: all laws hold, or an assertion fails."""
    made = KeptPlay(rng)
    for _ in range(steps):
        made.step()
    if by_operations:
        made.end(True)
    else:
        made.end_of_survivors()
    return made
