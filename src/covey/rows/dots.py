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
from covey.core.intervals import check, covers, has, missing, put

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
    """A set of dots. Invariants: `digest` is the sum of the fingerprints of its lives; no life is empty."""

    __slots__ = ("_digest", "_lives", "_prints", "_unhashed", "changed")

    def __init__(self, told: Iterable[Told] = ()) -> None:
        self._lives: dict[Origin, list[int]] = {}  # first, last + 1, first, last + 1, … strictly ascending
        self._prints: dict[Origin, int] = {}
        self._digest = 0
        self._unhashed: dict[Origin, None] = {}  # lives that changed since: many dots are hashed once
        self.changed: dict[Origin, None] | None = None  # whoever stores it puts a dict here: lives that changed
        for site, incarnation, intervals in told:
            life = site, incarnation
            for first, last in intervals:
                self.add_run(life, first, last)

    # --- queries ----------------------------------------------------------------------------------------------------

    @property
    def digest(self) -> int:
        """64 bits of the whole set."""
        for life in self._unhashed:
            fresh = _fingerprint(life, self._lives[life])
            self._digest += fresh - self._prints.get(life, 0)
            self._prints[life] = fresh
        self._unhashed.clear()
        self._digest %= MODULUS
        return self._digest

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
        life, number = dot[:2], dot[2]
        bounds = self._lives.get(life)
        if bounds is not None and bounds[-1] == number:  # nearly always
            bounds[-1] = number + 1
            self._changed(life)
        else:
            self.add_run(life, number, number)

    def add_run(self, life: Origin, first: int, last: int) -> None:
        """The dots `first … last` of one life."""
        bounds = self._lives.get(life)
        if bounds is None:
            self._lives[life] = [first, last + 1]
        elif covers(bounds, first, last):
            return
        else:
            put(bounds, first, last)
        self._changed(life)

    def add_many(self, dots: Iterable[Dot]) -> None:
        """Many dots, in whatever order."""
        for dot in sorted(dots):
            self.add(dot)

    def update(self, other: DotSet) -> None:
        """All that another set has."""
        for life, bounds in other._lives.items():
            for at in range(0, len(bounds), 2):
                self.add_run(life, bounds[at], bounds[at + 1] - 1)

    def drop(self, life: Origin) -> None:
        """Nothing of this life is had any more."""
        if self._lives.pop(life, None) is not None:
            self._unhashed.pop(life, None)
            self._digest -= self._prints.pop(life, 0)
            if self.changed is not None:
                self.changed[life] = None

    def _changed(self, life: Origin) -> None:
        self._unhashed[life] = None
        if self.changed is not None:
            self.changed[life] = None

    def check(self) -> None:
        """Every invariant."""
        total = 0
        for life, bounds in self._lives.items():
            invariant(bool(bounds) and bounds[0] > 0, "a life has intervals, from 1 on")
            check(bounds)
            total += _fingerprint(life, bounds)
        invariant(total % MODULUS == self.digest, "the digest is the sum of the lives")
