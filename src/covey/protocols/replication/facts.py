"""What is shown otherwise, told in pieces: where thousands of rows come or go at once, no turn is long."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.core.rows import RowsChanged
from covey.core.vocabulary import WantTurn
from covey.rows.owner import Change

Effect = Any


class Facts:
    """What was not told yet. Law: of one owner in one instance everything is told in order.

    Of what others did, `changes_max` are told in one turn, and the rest at the ends of the next ones; what this node
    wrote itself is told at once, unless something of that waits. Invariants: what waits is counted, and something.
    """

    def __init__(self, changes_max: int, waiting_max: int) -> None:
        self._changes_max = changes_max
        self._waiting_max = waiting_max
        self._left = changes_max  # of this turn
        self._waiting: dict[tuple[bytes, Site], deque[RowsChanged]] = {}
        self._count = 0

    @property
    def full(self) -> bool:
        """Whether so much waits that no more should be taken from others: they tell it again."""
        return self._count >= self._waiting_max

    def add(
        self, instance: bytes, owner: Site, incarnation: int, changes: list[Change], at_once: bool = False
    ) -> list[Effect]:
        """These rows are shown otherwise from now on."""
        if not changes:
            return []
        key, most = (instance, owner), self._changes_max
        if key not in self._waiting and (at_once or len(changes) <= self._left):
            self._left -= len(changes)
            return [RowsChanged(instance, owner, incarnation, tuple(changes))]
        effects: list[Effect] = [] if self._waiting else [WantTurn()]
        queue = self._waiting.setdefault(key, deque())
        for at in range(0, len(changes), most):
            queue.append(RowsChanged(instance, owner, incarnation, tuple(changes[at : at + most])))
        self._count += len(changes)
        return effects

    def on_turn_ended(self) -> list[Effect]:
        """Some more."""
        self._left = self._changes_max
        effects: list[Effect] = []
        while self._waiting:
            key, queue = next(iter(self._waiting.items()))
            if effects and len(queue[0].changes) > self._left:
                return [*effects, WantTurn()]
            effects.append(fact := queue.popleft())
            self._left -= len(fact.changes)
            self._count -= len(fact.changes)
            if not queue:
                del self._waiting[key]
        return effects

    def waits(self, instance: bytes) -> bool:
        """Whether something of an instance is still to be told."""
        return any(waiting == instance for waiting, _ in self._waiting)

    def waiting(self) -> Iterator[RowsChanged]:
        """All that is still to be told, in order for each owner."""
        for queue in self._waiting.values():
            yield from queue

    def check(self) -> None:
        """Every invariant."""
        invariant(all(self._waiting.values()), "what waits is something")
        invariant(self._count == sum(len(fact.changes) for fact in self.waiting()), "what waits is counted")
