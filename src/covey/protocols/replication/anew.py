"""Our own rows in a new life of ours: it writes them again, of many some each turn."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from covey.core.errors import invariant
from covey.rows.owner import Change, change_bytes


class Anew:
    """What is not written again yet. Invariants: there is something of each instance named; its bytes are counted."""

    def __init__(self) -> None:
        self._rows: dict[bytes, dict[bytes, bytes]] = {}
        self._bytes: dict[bytes, int] = {}

    def add(self, instance: bytes, rows: dict[bytes, bytes], size: int) -> None:
        """These rows of an instance, of so many bytes, are to be written, behind others that wait already."""
        if not rows:
            return
        self._rows.setdefault(instance, {}).update(rows)
        self._bytes[instance] = self.bytes_of(instance) + size

    def bytes_of(self, instance: bytes) -> int:
        """What waits of an instance, in bytes, about."""
        return self._bytes.get(instance, 0)

    def overtaken(self, instance: bytes, changes: Iterable[Change]) -> None:
        """These rows were written otherwise meanwhile."""
        waiting = self._rows.get(instance)
        if waiting is None:
            return
        for key, _ in changes:
            value = waiting.pop(key, None)
            if value is not None:
                self._bytes[instance] -= change_bytes((key, value))
        if not waiting:
            self.close(instance)

    def next(self, rows_max: int) -> list[tuple[bytes, list[Change]]]:
        """Some rows, by their instances, which do not wait any more."""
        some: list[tuple[bytes, list[Change]]] = []
        while self._rows and rows_max > 0:
            instance, waiting = next(iter(self._rows.items()))
            rows: list[Change] = list(islice(waiting.items(), rows_max))
            rows_max -= len(rows)
            some.append((instance, rows))
            self.overtaken(instance, rows)
        return some

    def close(self, instance: bytes) -> None:
        """It is not held any more."""
        self._rows.pop(instance, None)
        self._bytes.pop(instance, None)

    def __bool__(self) -> bool:
        return bool(self._rows)

    def check(self) -> None:
        """The invariants."""
        invariant(self._rows.keys() == self._bytes.keys() and all(self._rows.values()), "something waits")
        for instance, rows in self._rows.items():
            invariant(self._bytes[instance] == sum(map(change_bytes, rows.items())), "the bytes are counted")
