"""What is shown otherwise, told in pieces: where thousands of rows come or go at once, no turn is long."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from covey.core.ids import Site
from covey.core.rows import RowsChanged
from covey.core.vocabulary import WantTurn
from covey.rows.owner import Change

Effect = Any


class Facts:
    """What was not told yet. Law: of one owner in one instance everything is told in order.

    Few changes are told at once; of many, and of all behind them, some at the end of each turn.
    """

    def __init__(self, changes_max: int) -> None:
        self._changes_max = changes_max
        self._waiting: dict[tuple[bytes, Site], deque[RowsChanged]] = {}

    def add(self, instance: bytes, owner: Site, incarnation: int, changes: list[Change]) -> list[Effect]:
        """These rows are shown otherwise from now on."""
        if not changes:
            return []
        key, most = (instance, owner), self._changes_max
        if key not in self._waiting and len(changes) <= most:
            return [RowsChanged(instance, owner, incarnation, tuple(changes))]
        wanted = not self._waiting
        queue = self._waiting.setdefault(key, deque())
        for at in range(0, len(changes), most):
            queue.append(RowsChanged(instance, owner, incarnation, tuple(changes[at : at + most])))
        return [WantTurn()] if wanted else []

    def on_turn_ended(self) -> list[Effect]:
        """The next piece."""
        for key, queue in self._waiting.items():
            fact = queue.popleft()
            if not queue:
                del self._waiting[key]
            return [fact, WantTurn()] if self._waiting else [fact]
        return []

    def waiting(self) -> Iterator[RowsChanged]:
        """All that is still to be told, in order for each owner."""
        for queue in self._waiting.values():
            yield from queue
