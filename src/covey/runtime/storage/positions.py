"""Which stores may go into a transaction, and what to report of it: the same for every storage.

A transaction fails while later stores of the same log are already queued, because nobody has heard of the failure yet.
Were they taken, `Persisted` would vouch for the hole before them. And a store that is repeated, because its failure
was reported, must not undo what a later one of the same log has written since.
"""

from __future__ import annotations

from collections.abc import Sequence

from covey.engine.gate import Persisted, PersistFailed, Store

Fact = Persisted | PersistFailed


class Positions:
    """The durable position of each log, and the holes.

    Law: of one log, what is taken has grown since it was last taken, and nothing is taken beyond a hole.
    Invariant: a log with a hole has no durable position behind it.

    Each `take` is answered by one `committed` or `failed`, which give the facts to report.
    """

    def __init__(self) -> None:
        self._durable: dict[str, int] = {}
        self._holes: dict[str, PersistFailed] = {}
        self._taken: dict[str, tuple[int, int]] = {}  # by log: the first and the last position of the transaction
        self._others: dict[str, Fact] = {}  # about logs of which nothing was taken

    def begin_life(self) -> None:
        """Positions may count from 1 again. Holes stay: whoever counts anew begins below them, which closes them."""
        self._durable.clear()

    def take(self, queued: Sequence[Store]) -> list[Store]:
        """Those of the queued stores that the next transaction is to apply, in order."""
        self._taken, self._others = {}, {}
        stores = []
        for store in queued:
            log, position = store.log, store.position
            first, last = self._taken.get(log, (position, self._durable.get(log, 0)))
            hole = self._holes.get(log)
            if position <= last:
                if log not in self._taken:
                    self._others[log] = Persisted(log, last)
            elif hole is not None and position > hole.position:
                self._others.setdefault(log, PersistFailed(log, position, hole.reason))
            else:
                self._holes.pop(log, None)
                self._others.pop(log, None)
                self._taken[log] = (first, position)
                stores.append(store)
        return stores

    def committed(self) -> list[Fact]:
        """What was taken is durable."""
        facts: list[Fact] = [*self._others.values()]
        for log, (_, last) in self._taken.items():
            self._durable[log] = last
            facts.append(Persisted(log, last))
        return facts

    def failed(self, reason: str) -> list[Fact]:
        """Nothing of what was taken is durable."""
        facts: list[Fact] = [*self._others.values()]
        for log, (first, _) in self._taken.items():
            self._holes[log] = hole = PersistFailed(log, first, reason)
            facts.append(hole)
        return facts
