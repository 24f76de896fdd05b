"""Timers inside a machine: a heap of named deadlines, without callbacks.

A machine sets a timer under a key, tells the world the earliest deadline, and on a `Tick` takes out the keys that are
due. Nothing is ever called back; a stale heap entry is recognised by its number and skipped.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Timers(Generic[K]):
    """Named one-shot deadlines.

    Law: a key is due at most once per `set`, never before its time, and never after a `cancel`.
    Invariants: one live entry per key; `deadline()` is the least live time; the heap holds at most twice the live
    entries (plus a constant).
    """

    __slots__ = ("_heap", "_live", "_number")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, K]] = []
        self._live: dict[K, tuple[int, int]] = {}
        self._number = 0

    def set(self, key: K, at_us: int) -> None:
        """Make `key` due at `at_us`, instead of whenever it was due before."""
        self._number += 1
        self._live[key] = (at_us, self._number)
        heapq.heappush(self._heap, (at_us, self._number, key))
        self._compact()

    def set_earlier(self, key: K, at_us: int) -> None:
        """Make `key` due at `at_us` unless it is due sooner already."""
        live = self._live.get(key)
        if live is None or at_us < live[0]:
            self.set(key, at_us)

    def cancel(self, key: K) -> bool:
        """Forget `key`; False if it was not set."""
        was_set = self._live.pop(key, None) is not None
        self._compact()
        return was_set

    def _compact(self) -> None:
        if len(self._heap) > 2 * len(self._live) + 64:
            self._heap = [(at, number, live) for live, (at, number) in self._live.items()]
            heapq.heapify(self._heap)

    def due_at(self, key: K) -> int | None:
        """When `key` is due, or None."""
        live = self._live.get(key)
        return None if live is None else live[0]

    def deadline(self) -> int | None:
        """The earliest time at which anything is due."""
        heap = self._heap
        while heap:
            at_us, number, key = heap[0]
            live = self._live.get(key)
            if live is not None and live[1] == number:
                return at_us
            heapq.heappop(heap)
        return None

    def pop_due(self, now_us: int) -> list[K]:
        """Take out the keys that are due by `now_us`, earliest first; ties in the order they were set."""
        due: list[K] = []
        heap = self._heap
        while heap and heap[0][0] <= now_us:
            _at, number, key = heapq.heappop(heap)
            live = self._live.get(key)
            if live is not None and live[1] == number:
                del self._live[key]
                due.append(key)
        self._compact()
        return due

    def everything(self) -> list[K]:
        """All that is set."""
        return list(self._live)

    def __contains__(self, key: object) -> bool:
        return key in self._live

    def __len__(self) -> int:
        return len(self._live)


def earliest(*deadlines: int | None) -> int | None:
    """The least of the deadlines that are set."""
    return min([deadline for deadline in deadlines if deadline is not None], default=None)
