"""The operations on shared rows that can still be told one by one: by lives, and in the order in which they came."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TypeAlias

from covey.core.errors import invariant
from covey.core.ids import Dot, Origin

OP_BYTES = 64  # what an operation costs besides its key, value and dots, about
DOT_BYTES = 28  # in a message, about

Op: TypeAlias = tuple[bytes, bytes | None, bytes | None, tuple[Dot, ...], tuple[Dot, ...]]
"""(key, field, value, births, replaced). No field: a birth, or without a value a removal of these births."""


def op_bytes(op: Op) -> int:
    """What an operation takes in a message and in memory, about."""
    key, field, value, births, replaced = op
    return OP_BYTES + len(key) + len(field or b"") + len(value or b"") + DOT_BYTES * (len(births) + len(replaced))


class OpLog:
    """Invariant: `bytes` is what its operations take."""

    def __init__(self) -> None:
        self.bytes = 0
        self._ops: dict[Origin, dict[int, Op]] = {}
        self._order: deque[tuple[int, Origin, int]] = deque()  # (version, life, number), of lives forgotten too

    def add(self, version: int, dot: Dot, op: Op) -> None:
        """One more; `version` orders them by when they came."""
        self._ops.setdefault(dot[:2], {})[dot[2]] = op
        self._order.append((version, dot[:2], dot[2]))
        self.bytes += op_bytes(op)

    def trim(self, bytes_max: int, version_min: int) -> None:
        """Forget operations that everybody has, and the oldest above a bound of bytes."""
        order = self._order
        while order and (order[0][0] <= version_min or self.bytes > bytes_max):
            _, life, number = order.popleft()
            ops = self._ops.get(life, {})
            op = ops.pop(number, None)
            if op is not None:
                self.bytes -= op_bytes(op)
                if not ops:
                    del self._ops[life]

    def run(self, life: Origin, first: int, last: int, bytes_max: int) -> list[Op]:
        """The operations from `first` on, to `last` at most, without a gap and as many as fit."""
        ops: list[Op] = []
        log = self._ops.get(life, {})
        size = 0
        for number in range(first, last + 1):
            op = log.get(number)
            if op is None:
                break
            size += op_bytes(op)
            if ops and size > bytes_max:
                break
            ops.append(op)
        return ops

    def has(self, dot: Dot) -> bool:
        """Whether this operation can be told."""
        return dot[2] in self._ops.get(dot[:2], ())

    def forget(self, life: Origin) -> None:
        """Nothing of this life is told any more."""
        for op in self._ops.pop(life, {}).values():
            self.bytes -= op_bytes(op)

    def dots(self) -> Iterator[Dot]:
        """What is here."""
        for life, ops in self._ops.items():
            for number in ops:
                yield (*life, number)

    def check(self) -> None:
        """The invariant."""
        size = sum(op_bytes(op) for ops in self._ops.values() for op in ops.values())
        invariant(size == self.bytes, "the log's bytes are counted")
