"""Sets of dots: which operations of which lives, exactly, as intervals of their numbers.

A dot names one operation: the life it comes from and its number in that life. What somebody has is mostly everything
up to a number, so a life takes one interval; where a message is missing there are two. Such a set is never rounded up
to its highest number: it would claim operations that were not seen, and who joins with it would take them for removed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from covey.core.errors import invariant
from covey.core.ids import Dot, Origin, Site
from covey.core.intervals import check, has, missing, put

MODULUS = 1 << 64

Intervals: TypeAlias = tuple[tuple[int, int], ...]
"""First and last numbers, both included, in order and apart from each other."""

Told: TypeAlias = tuple[Site, int, Intervals]
"""What is had of one life, as messages say it."""


def hash64(data: bytes) -> int:
    """64 bits of anything; what is summed up in digests."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8, person=b"covey.dots").digest(), "big")


def _fingerprint(life: Origin, bounds: list[int]) -> int:
    return hash64(life[0] + b"".join(number.to_bytes(8, "big") for number in (life[1], *bounds)))


class DotSet:
    """A set of dots. Invariant: `digest` is the sum of the fingerprints of its lives; no life is empty."""

    __slots__ = ("_lives", "_prints", "changed", "digest")

    def __init__(self, told: Iterable[Told] = ()) -> None:
        self._lives: dict[Origin, list[int]] = {}  # first, last + 1, first, last + 1, … strictly ascending
        self._prints: dict[Origin, int] = {}
        self.digest = 0
        self.changed: dict[Origin, None] | None = None  # whoever stores it puts a dict here: lives that changed
        for site, incarnation, intervals in told:
            life = site, incarnation
            for first, last in intervals:
                self._put(life, first, last)
            if life in self._lives:
                self._count(life, self._lives[life])

    # --- queries ----------------------------------------------------------------------------------------------------

    def __contains__(self, dot: Dot) -> bool:
        bounds = self._lives.get(dot[:2])
        return bounds is not None and has(bounds, dot[2])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DotSet) and self._lives == other._lives

    __hash__ = None  # type: ignore[assignment]  # it changes

    def lives(self) -> list[Origin]:
        """The lives of which anything is had."""
        return list(self._lives)

    def top(self, life: Origin) -> int:
        """The highest number had of a life; 0 for none."""
        bounds = self._lives.get(life)
        return bounds[-1] - 1 if bounds else 0

    def intervals(self, life: Origin) -> Intervals:
        """What is had of one life."""
        bounds = self._lives.get(life, [])
        return tuple((bounds[at], bounds[at + 1] - 1) for at in range(0, len(bounds), 2))

    def told(self) -> tuple[Told, ...]:
        """All of it, for a message, in the order of lives."""
        return tuple((*life, self.intervals(life)) for life in sorted(self._lives))

    def missing(self, life: Origin, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The intervals of `first … last` that are not here."""
        return missing(self._lives.get(life, []), first, last)

    def lacks(self, told: Iterable[Told]) -> list[tuple[Origin, int, int]]:
        """What somebody who told this has and we don't, interval by interval."""
        return [
            ((site, incarnation), *gap)
            for site, incarnation, intervals in told
            for first, last in intervals
            for gap in self.missing((site, incarnation), first, last)
        ]

    def covers(self, life: Origin, intervals: Intervals) -> bool:
        """Whether all of this is here."""
        return not self.lacks([(*life, intervals)])

    # --- changes ----------------------------------------------------------------------------------------------------

    def add(self, dot: Dot) -> None:
        """One more dot."""
        self.add_run(dot[:2], dot[2], dot[2])

    def add_run(self, life: Origin, first: int, last: int) -> None:
        """The dots `first … last` of one life."""
        self._count(life, self._put(life, first, last))

    def add_many(self, dots: Iterable[Dot]) -> None:
        """Many dots: what a life has is hashed once, not once for each."""
        numbers: dict[Origin, list[int]] = {}
        for site, incarnation, number in dots:
            numbers.setdefault((site, incarnation), []).append(number)
        for life, some in numbers.items():
            for number in sorted(some):
                self._put(life, number, number)
            self._count(life, self._lives[life])

    def _put(self, life: Origin, first: int, last: int) -> list[int]:
        bounds = self._lives.get(life)
        if bounds is None:
            bounds = self._lives[life] = [first, last + 1]
        else:
            put(bounds, first, last)
        return bounds

    def update(self, other: DotSet) -> None:
        """All that another set has."""
        for life, bounds in other._lives.items():
            for at in range(0, len(bounds), 2):
                self._put(life, bounds[at], bounds[at + 1] - 1)
            self._count(life, self._lives[life])

    def drop(self, life: Origin) -> None:
        """Nothing of this life is had any more."""
        if self._lives.pop(life, None) is not None:
            self.digest = (self.digest - self._prints.pop(life)) % MODULUS
            if self.changed is not None:
                self.changed[life] = None

    def _count(self, life: Origin, bounds: list[int]) -> None:
        fresh, before = _fingerprint(life, bounds), self._prints.get(life, 0)
        self.digest = (self.digest + fresh - before) % MODULUS
        self._prints[life] = fresh
        if self.changed is not None and fresh != before:
            self.changed[life] = None

    def check(self) -> None:
        """Every invariant."""
        total = 0
        for life, bounds in self._lives.items():
            invariant(bool(bounds) and bounds[0] > 0, "a life has intervals, from 1 on")
            check(bounds)
            total += _fingerprint(life, bounds)
        invariant(total % MODULUS == self.digest, "the digest is the sum of the lives")
