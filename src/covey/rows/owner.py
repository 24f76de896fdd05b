"""The rows of one owner in one life, and the log of its last operations."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import TypeAlias

ROW_BYTES = 40  # what a row or an operation costs besides its key and value, about

Change: TypeAlias = tuple[bytes, bytes | None]
"""A key and its value from now on; None: it has none any more. Also an operation of the log."""

Row: TypeAlias = tuple[bytes, bytes]
"""A key and its value."""


def change_bytes(change: Change) -> int:
    """What an operation or a row takes in a message and in memory, about."""
    return ROW_BYTES + len(change[0]) + len(change[1] or b"")


def put(rows: dict[bytes, bytes], change: Change) -> int:
    """Do to rows what one operation says; returns by how many bytes they grew."""
    key, value = change
    if value is None:
        old = rows.pop(key, None)
        grown = 0
    else:
        old = rows.get(key)
        rows[key] = value
        grown = change_bytes(change)
    return grown if old is None else grown - change_bytes((key, old))


class OwnerRows:
    """The rows of one owner in one life.

    Law: `rows` is what the operations 1 … `seq` leave behind. Invariant: the log holds the last operations, gapless.
    """

    __slots__ = ("bytes", "incarnation", "log", "log_bytes", "rows", "seq", "shown")

    def __init__(self, incarnation: int, shown: bool) -> None:
        self.incarnation = incarnation
        self.seq = 0
        self.rows: dict[bytes, bytes] = {}
        self.bytes = 0  # of the rows
        self.log: deque[tuple[Change, int]] = deque()  # (operation, the table's version when it came)
        self.log_bytes = 0
        self.shown = shown

    def apply(self, ops: Iterable[Change], version: int) -> list[Change]:
        """Apply the next operations; returns what they changed, the last word on each key only."""
        changed: dict[bytes, bytes | None] = {}
        before: dict[bytes, bytes | None] = {}
        rows = self.rows
        for op in ops:
            key, value = op
            before.setdefault(key, rows.get(key))
            self.bytes += put(rows, op)
            changed[key] = value
            self.seq += 1
            self.log.append((op, version))
            self.log_bytes += change_bytes(op)
        return [(key, value) for key, value in changed.items() if before[key] != value]

    def trim(self, bytes_max: int, version_min: int, ops_max: int) -> int:
        """Forget the operations that everybody has, and the oldest ones above a bound of bytes; returns how many."""
        log, before = self.log, len(self.log)
        least = max(before - ops_max, 0)
        while len(log) > least and (log[0][1] <= version_min or self.log_bytes > bytes_max):
            self.log_bytes -= change_bytes(log.popleft()[0])
        return before - len(log)

    def after(self, seq: int, bytes_max: int) -> list[Change] | None:
        """The operations behind `seq`, as many as fit; None if the log does not go back so far."""
        skipped = seq - (self.seq - len(self.log))
        if skipped < 0:
            return None
        ops: list[Change] = []
        size = 0
        for op, _ in islice(self.log, skipped, None):
            size += change_bytes(op)
            if ops and size > bytes_max:
                break
            ops.append(op)
        return ops
