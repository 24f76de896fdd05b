"""All that a table of shared rows knows, told to somebody of whom nothing need be known.

Two things are told, in pieces of which each stands for itself: what is alive, and which dots are known and are dead.
So nothing follows from what is not mentioned: an empty table says nothing, a piece that is lost leaves things as they
were, and one that comes late says what was true and still is, for a dot that is dead stays so.

What was *received* follows at the end, once all pieces came: of that only what is known here by then counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from covey.core.ids import Origin
from covey.rows.dots import DotSet, Told
from covey.rows.shared import SharedTable


def alive_of(table: SharedTable) -> DotSet:
    """What is alive."""
    alive = DotSet()
    alive.add_many(dot for _, _, dot in table.dots())
    return alive


def dead_of(table: SharedTable, alive: DotSet, intervals_max: int) -> Iterator[tuple[Told, ...]]:
    """What is known and not alive, in pieces of so many intervals."""
    dead = iter(alive.lacks(table.context.told()))
    while some := list(islice(dead, intervals_max)):
        yield tuple(told(some))


def told(intervals: Iterable[tuple[Origin, int, int]]) -> list[Told]:
    """Intervals, those of one life together."""
    by_life: dict[Origin, list[tuple[int, int]]] = {}
    for life, first, last in intervals:
        by_life.setdefault(life, []).append((first, last))
    return [(*life, tuple(some)) for life, some in by_life.items()]


def bury(table: SharedTable, dead: tuple[Told, ...], alive: DotSet) -> bool:
    """These are dead elsewhere, and so they are here. `alive` is what was alive here; returns whether that changed."""
    table.join((), dead)
    doomed = DotSet(told(common(alive, dead)))
    if not doomed.lives():
        return False
    gone = [(key, field, dot) for key, field, dot in table.dots() if dot in doomed]
    for key, field, dot in gone:
        table.kill(key, field, dot)
    for key in dict.fromkeys(key for key, _, _ in gone):
        table.sweep(key)
    return True


def common(some: DotSet, others: Iterable[Told]) -> list[tuple[Origin, int, int]]:
    """What is in both."""
    others = tuple(others)
    missing = DotSet(told(some.lacks(others)))
    return missing.lacks(others)


def receive(table: SharedTable, received: tuple[Told, ...]) -> None:
    """Somebody told all that it knows and has received this: what is known of it here, is received here."""
    lacks = told(table.lacks(received))
    if lacks:
        table.join(told(common(table.context, lacks)), ())
