"""Make a table know all that another one knows, row by row: one pass over what differs, from one holder.

What the other one has and we have never heard of, comes to life at once. What we have and it has not, though it knows
of it, was removed there: that goes at the end, all in one step, together with the other's knowledge. If it ends before,
what came stays, nothing has gone, and nothing is claimed to be known.

What the other one knew when the pass began (`received`, `context`) is told first. It may learn more while its rows are
told; what it does then comes as any operation does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from covey.core.ids import Dot
from covey.rows.dots import DotSet, Told
from covey.rows.shared import Entry, Place, SharedTable, bucket_of, differing


def _nobody(dot: Dot | None) -> None:
    """Nobody need know."""


class Reconciliation:
    """One pass. Use: give the other one's buckets and knowledge to `begin`; then, for each bucket that differs, its
    entries, in order, to `take`; then `finish`, or `abandon`.

    Law: afterwards the table has received all that the other one had when the pass began, and what is alive is what
    both of them leave alive. A dot that comes from a third one meanwhile is judged as if it had been here all the time.
    """

    def __init__(self, table: SharedTable) -> None:
        self._table = table
        self._received: tuple[Told, ...] = ()
        self._context: tuple[Told, ...] = ()
        self._known = DotSet()
        self._left: list[int] = []
        self._cursor: Place | None = None
        self._listed: Dot | None = None  # the dot that is being taken
        self._doomed: dict[Dot, tuple[bytes, bytes | None]] = {}
        self.begun = False
        table.witness = self

    def begin(self, sums: bytes, received: tuple[Told, ...], context: tuple[Told, ...]) -> None:
        """The other one's knowledge, and its buckets at the same moment."""
        self._received, self._context = received, context
        self._known = DotSet(received)
        self._known.update(DotSet(context))
        self._left = differing(self._table.sums, sums)
        self.begun = True

    @property
    def wanted(self) -> tuple[int, Place | None] | None:
        """The bucket that is next, and the place behind which to go on; None: everything was told."""
        return (self._left[0], self._cursor) if self._left else None

    def take(self, bucket: int, cursor: Place | None, entries: Sequence[Entry], last: bool) -> bool:
        """What is alive there in a bucket behind `cursor`; False if that is not what is wanted next."""
        if self.wanted != (bucket, cursor) or not (entries or last):
            return False
        places = [(entry[0], entry[2]) for entry in entries]
        behind = [place for place in (cursor,) if place is not None] + places
        if not all(low < high for low, high in pairwise(behind)):
            return False
        if any(bucket_of(key) != bucket for key, _ in places):
            return False
        self._compare(bucket, cursor, None if last else places[-1], dict.fromkeys(places))
        bring_to_life(self._table, entries, self._lists)
        if last:
            self._left.pop(0)
        self._cursor = None if last else places[-1]
        return True

    def _lists(self, dot: Dot | None) -> None:
        self._listed = dot

    def _compare(self, bucket: int, after: Place | None, until: Place | None, told: dict[Place, None]) -> None:
        """What is alive here between two places, and not there though it is known there, was removed there."""
        for key in self._table.keys(bucket):
            if (after is not None and key < after[0]) or (until is not None and key > until[0]):
                continue
            for _, field, dot, _, _ in self._table.entries(key):
                place = key, dot
                between = (after is None or place > after) and (until is None or place <= until)
                if between and place not in told and dot in self._known:
                    self._doomed[dot] = key, field

    def added(self, key: bytes, field: bytes | None, bucket: int, dot: Dot) -> None:
        """A dot comes to life here. Where the other one's rows were compared already it has no such dot; if it knows
        of it all the same, it has removed it."""
        if not self.begun or dot == self._listed or dot not in self._known:
            return
        compared = bucket not in self._left
        if not compared and bucket == self._left[0] and self._cursor is not None:
            compared = (key, dot) <= self._cursor
        if compared:
            self._doomed[dot] = key, field

    def finish(self) -> None:
        """Everything was told: what the other one removed goes, and what it knows is known here."""
        table = self._table
        table.witness = None
        table.join(self._received, self._context)  # first, so that what goes now goes at a version of its own
        for dot, (key, field) in self._doomed.items():
            table.kill(key, field, dot)
        for key, _ in self._doomed.values():
            table.sweep(key)

    def abandon(self) -> None:
        """The other one does not go on: what came stays, nothing goes."""
        self._table.witness = None


def bring_to_life(table: SharedTable, entries: Iterable[Entry], about: Callable[[Dot | None], None] = _nobody) -> None:
    """What is alive elsewhere, and was never heard of here, is alive here, too. `about` is told which dot is next.

    All of it is known before any of it lives, for to make it known one by one costs as much as is known, each time. So
    births come first, all of them, and only then is anything judged by them: a birth that is known and is not alive is
    dead, and what was written to dead ones goes.
    """
    fresh = [entry for entry in entries if entry[2] not in table.context]
    table.context.add_many([dot for _, _, dot, _, _ in fresh])
    for key, field, dot, _, value in fresh:
        if field is None:
            about(dot)
            table.revive(key, None, dot, (), value)
    table.heard([dot for _, _, dot, _, _ in fresh])
    for key, field, dot, births, value in fresh:
        if field is not None:
            about(dot)
            table.revive(key, field, dot, births, value)
    about(None)
