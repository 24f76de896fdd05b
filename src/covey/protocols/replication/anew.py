"""Our own rows in a new life of ours: it writes them again, of many some each turn."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from covey.rows.owner import Change, change_bytes


class Anew:
    """What is not written again yet. Invariant: something of each instance named; `bytes_of` is what it takes."""

    def __init__(self) -> None:
        self._rows: dict[bytes, dict[bytes, bytes]] = {}
        self._bytes: dict[bytes, int] = {}

    def add(self, instance: bytes, rows: dict[bytes, bytes]) -> None:
        """These rows of an instance are to be written, behind those that wait already."""
        waiting = self._rows.setdefault(instance, {})
        waiting.update(rows)
        self._bytes[instance] = sum(map(change_bytes, waiting.items()))
        self._end(instance)

    def bytes_of(self, instance: bytes) -> int:
        """What waits of an instance, in bytes, about."""
        return self._bytes.get(instance, 0)

    def overtaken(self, instance: bytes, changes: Iterable[Change]) -> None:
        """These rows were written otherwise meanwhile."""
        waiting = self._rows.get(instance)
        if waiting is None:
            return
        for key, _ in changes:
            self._take(instance, waiting, key)
        self._end(instance)

    def next(self, rows_max: int) -> tuple[bytes, list[Change]] | None:
        """Some rows of one instance, which do not wait any more; None: nothing waits."""
        for instance, waiting in self._rows.items():
            some: list[Change] = list(islice(waiting.items(), rows_max))
            self.overtaken(instance, some)
            return instance, some
        return None

    def close(self, instance: bytes) -> None:
        """It is not held any more."""
        self._rows.pop(instance, None)
        self._bytes.pop(instance, None)

    def _take(self, instance: bytes, waiting: dict[bytes, bytes], key: bytes) -> None:
        value = waiting.pop(key, None)
        if value is not None:
            self._bytes[instance] -= change_bytes((key, value))

    def _end(self, instance: bytes) -> None:
        if not self._rows[instance]:
            self.close(instance)

    def __bool__(self) -> bool:
        return bool(self._rows)
