"""An owner's rows told in parts, because its log does not go back to where the other one is."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TypeAlias

from covey.rows.owner import Change, OwnerRows, Row, change_bytes, put

Part: TypeAlias = tuple[list[Row], bool]
"""Some rows, and whether they are the last."""


class Telling:
    """An owner's rows on their way to one other, in parts.

    Law: what was there when it began, and is there still, is told once. What the owner does meanwhile is for the log.
    """

    __slots__ = ("_at", "_keys", "base", "cursor", "rows")

    def __init__(self, rows: OwnerRows) -> None:
        self.rows = rows
        self.base = rows.seq  # when it began
        self.cursor: bytes | None = None  # the last key that was told
        self._keys = list(rows.rows)
        self._at = 0

    def part(self, bytes_max: int) -> Part:
        """The next rows, as many as fit."""
        rows = self.rows.rows
        part: list[Row] = []
        size = 0
        for key in islice(self._keys, self._at, None):
            value = rows.get(key)
            if value is not None:
                size += change_bytes((key, value))
                if part and size > bytes_max:
                    return part, False
                part.append((key, value))
                self.cursor = key
            self._at += 1
        return part, True


class Staging:
    """An owner's rows that arrive in parts; nothing of them is shown before they are whole."""

    __slots__ = ("base", "bytes", "cursor", "incarnation", "rows", "told", "until")

    def __init__(self, incarnation: int, base: int) -> None:
        self.incarnation = incarnation
        self.base = base  # the owner's number when the first part was told; later parts may be newer
        self.until = base  # the highest of their numbers: before it, what was told is of no single moment
        self.cursor: bytes | None = None  # the last key; the next part begins behind it
        self.rows: dict[bytes, bytes] = {}
        self.bytes = 0  # of the rows
        self.told = 0  # bytes so far, whatever they replaced

    def take(self, changes: Iterable[Change]) -> None:
        """Rows, or operations on them."""
        for change in changes:
            self.told += change_bytes(change)
            self.bytes += put(self.rows, change)
