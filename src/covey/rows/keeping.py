"""A table of shared rows that is kept on disk: what of it is not there yet, and in which order it goes there.

What changed goes in *passes*, and a pass in pieces, each of which is on the disk whole or not at all. Whatever piece is
the last one, what is found must be a table that tells nothing false. So a pass writes

1. the rows that changed before it began, as they are when their piece is made;
2. what was known (`context`) when it began: all of that is now alive in the rows or was really removed;
3. what was received when it began: of all that these operations did or took away, the context knows.

Rows may be newer than what is known of them. What is alive counts for known then, as what a comparison brings does; and
what is not alive any more was removed by somebody, or went with its births: of these births it is written first that
they are known. The other way round would be the disaster: what is known and not alive counts for removed everywhere,
and what was received is never asked for again.
"""

from __future__ import annotations

from typing import TypeVar

from covey.core.errors import invariant
from covey.core.ids import Origin
from covey.core.vocabulary import Record
from covey.rows.dots import DotSet, Intervals
from covey.rows.shared import SharedTable
from covey.rows.stored import (
    CONTEXT,
    RECEIVED,
    ROW,
    StoredRows,
    Value,
    context_record,
    life_bytes,
    received_record,
    record_key,
    row_record,
    values,
)

What = TypeVar("What", bytes, Origin)

UNWRITTEN_MIN = 1_000  # keys that changed are looked through only above so many. Guess


class Keeping:
    """One table, and what of it is on disk or on its way there.

    Law: after any number of its pieces, `Keeping` of what they leave behind is a table that knows of no dot that is not
    alive in it and was not removed, and that has received nothing of which it does not know all that it did. When
    `clean`, that table is equal to this one. Where `prune` is called now and then, what waits is bounded by what is
    here and what is on the disk.
    """

    def __init__(self, instance: bytes, stored: StoredRows | None = None) -> None:
        self.instance = instance
        self.table = SharedTable()
        self._rows: dict[bytes, None] = {}  # that changed since the pass began
        self._lives: dict[Origin, None] = {}  # of which what is known or received did
        self._buried: dict[Origin, None] = {}  # of which births took fields with them: written before any row
        self._left: list[bytes] = []  # rows of this pass that are not written, last first
        self._context: list[tuple[Origin, Intervals]] = []  # the same of what was known when it began
        self._received: list[tuple[Origin, Intervals, Intervals]] = []  # and of what was received and retired
        self._keys: dict[bytes, None] = dict.fromkeys(stored.rows if stored is not None else ())
        self._known = DotSet()  # what is known on the disk
        self._had: dict[Origin, None] = dict.fromkeys(stored.received if stored is not None else ())
        if stored is not None:
            self._restore_lives(stored)
        for dots in (self.table.received, self.table.context, self.table.retired):
            dots.changed = self._lives  # from here on: what is known only because it is alive is written, too
        if stored is not None:
            self._restore_rows(stored)
        self.table.changed = self._rows
        self.table.buried = DotSet()

    def _restore_lives(self, stored: StoredRows) -> None:
        for life, known in stored.context.items():
            for first, last in known:
                self.table.context.add_run(life, first, last)
        self._known.update(self.table.context)
        for life, (received, retired) in stored.received.items():
            for dots, intervals in ((self.table.received, received), (self.table.retired, retired)):
                for first, last in intervals:
                    dots.add_run(life, first, last)
                    self.table.context.add_run(life, first, last)  # its record is gone if it was being forgotten

    def _restore_rows(self, stored: StoredRows) -> None:
        table = self.table
        for key, raw in stored.rows.items():
            alive = values(raw)
            for field, dot, births, value in sorted(alive, key=_births_first) if len(alive) > 1 else alive:
                if dot not in table.context:
                    table.context.add(dot)
                table.revive(key, field, dot, births, value)
                table.heard((dot,))
        table.version = 1  # at which nobody was seen to have any of it
        table.touched.update(dict.fromkeys(table.received.lives(), table.version))

    # --- queries ----------------------------------------------------------------------------------------------------

    @property
    def clean(self) -> bool:
        """Whether every record was given out that there is to write."""
        return not (self._rows or self._lives or self._buried or self._left or self._context or self._received)

    def record_keys(self) -> list[bytes]:
        """The keys of all records that were ever given out and not taken back."""
        instance = self.instance
        return [
            *(record_key(ROW, instance, key) for key in self._keys),
            *(record_key(CONTEXT, instance, life_bytes(life)) for life in self._known.lives()),
            *(record_key(RECEIVED, instance, life_bytes(life)) for life in self._had),
        ]

    # --- pieces -----------------------------------------------------------------------------------------------------

    def take(self, records_max: int, bytes_max: int) -> list[Record]:
        """The next records: so many and (but for the last of them) so many bytes at most. They must reach the disk
        all or none, and before those that are taken later."""
        records: list[Record] = []
        if not (self._left or self._context or self._received):
            self._begin()
        if self.table.buried is not None:
            self._known.update(self.table.buried)
            self._buried.update(dict.fromkeys(self.table.buried.lives()))
            self.table.buried = DotSet()
        while len(records) < records_max and bytes_max > 0:
            record = self._next()
            if record is None:
                break
            records.append(record)
            bytes_max -= len(record.key) + len(record.value or b"")
        return records

    def _begin(self) -> None:
        table = self.table
        self._left, lives = list(reversed(self._rows)), list(reversed(self._lives))
        self._context = [(life, table.context.intervals(life)) for life in lives]
        self._received = [(life, table.received.intervals(life), table.retired.intervals(life)) for life in lives]
        self._rows.clear()
        self._lives.clear()

    def _next(self) -> Record | None:
        """The next record, in the order that keeps what is found true."""
        if self._buried:
            life, _ = self._buried.popitem()
            return context_record(self.instance, life, self._known.intervals(life))
        while self._left:
            key = self._left.pop()
            record = row_record(self.instance, key, [entry[1:] for entry in self.table.entries(key)])
            if _note(self._keys, key, record):
                return record
        while self._context:
            if (known := self._learn(*self._context.pop())) is not None:
                return known
        while self._received:
            life, received, retired = self._received.pop()
            record = received_record(self.instance, life, received, retired)
            if _note(self._had, life, record):
                return record
        return None

    def _learn(self, life: Origin, known: Intervals) -> Record | None:
        before = self._known.intervals(life)
        if not (known and self.table.context.covers(life, before)):
            self._known.drop(life)  # it was forgotten
        for first, last in known:
            self._known.add_run(life, first, last)
        after = self._known.intervals(life)
        return context_record(self.instance, life, after) if before or after else None

    def prune(self) -> None:
        """Where a disk takes nothing for long: rows that came and went meanwhile need not be written."""
        if len(self._rows) > UNWRITTEN_MIN + 2 * (len(self.table) + len(self._keys)):
            for key in [key for key in self._rows if key not in self._keys and key not in self.table]:
                del self._rows[key]

    def check(self) -> None:
        """That nothing can change without its being written."""
        invariant(self.table.changed is self._rows, "the table says what changes")
        for dots in (self.table.received, self.table.context, self.table.retired):
            invariant(dots.changed is self._lives, "its sets say what changes")


def _births_first(value: Value) -> bool:
    return value[0] is not None


def _note(on_disk: dict[What, None], what: What, record: Record) -> bool:
    """Remember what will be on the disk; False where nothing is there and nothing is to be."""
    there = what in on_disk
    if record.value is not None:
        on_disk[what] = None
    elif there:
        del on_disk[what]
    return there or record.value is not None
