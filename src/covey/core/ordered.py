"""A set whose order is explicit, so that a run is the same under every hash seed."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from random import Random
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class OrderedSet(Generic[T]):
    """A set that can draw a random element in constant time and repeats itself.

    Law: the order is a function of the operations alone, never of hashes. It is the order of insertion until
    something is removed: a removal moves the last element into the gap.
    Invariant: `items[places[x]] == x` for every `x`.
    """

    __slots__ = ("_items", "_places")

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._items: list[T] = []
        self._places: dict[T, int] = {}
        for item in items:
            self.add(item)

    def add(self, item: T) -> bool:
        """Add `item`; False if it was there."""
        if item in self._places:
            return False
        self._places[item] = len(self._items)
        self._items.append(item)
        return True

    def discard(self, item: T) -> bool:
        """Remove `item`; False if it was not there."""
        place = self._places.pop(item, None)
        if place is None:
            return False
        last = self._items.pop()
        if place < len(self._items):
            self._items[place] = last
            self._places[last] = place
        return True

    def choose(self, rng: Random) -> T:
        """A random element. Raises `IndexError` when empty."""
        if not self._items:
            raise IndexError("choose from an empty OrderedSet")
        return self._items[rng.randrange(len(self._items))]

    def sample(self, rng: Random, count: int) -> list[T]:
        """Up to `count` distinct random elements."""
        return rng.sample(self._items, min(count, len(self._items)))

    def __contains__(self, item: object) -> bool:
        return item in self._places

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        """Equal as sets: order does not matter."""
        if isinstance(other, OrderedSet):
            return self._places.keys() == other._places.keys()
        if isinstance(other, (set, frozenset)):
            return self._places.keys() == other
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"OrderedSet({self._items!r})"
