"""Sets of numbers as a few intervals: what is mostly everything up to a number takes one.

A set is a list of bounds, `first, last + 1, first, last + 1, …`, strictly ascending. Such a set is never rounded up to
its highest number: it would claim what was not seen.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from typing import TypeAlias

from covey.core.errors import invariant

Bounds: TypeAlias = list[int]


def put(bounds: Bounds, first: int, last: int) -> None:
    """Take in `first … last`."""
    if bounds and bounds[-1] == first:
        bounds[-1] = last + 1
        return
    low, high = bisect_right(bounds, first - 1), bisect_right(bounds, last + 1)
    # An odd place is inside an interval (or touches its end): that interval is part of the new one.
    bounds[low:high] = ([] if low % 2 else [first]) + ([] if high % 2 else [last + 1])


def has(bounds: Bounds, number: int) -> bool:
    """Whether a number is there."""
    return bisect_right(bounds, number) % 2 == 1


def missing(bounds: Bounds, first: int, last: int) -> Iterator[tuple[int, int]]:
    """The intervals of `first … last` that are not there."""
    at = bisect_right(bounds, first)
    if at % 2:
        first = bounds[at]
        at += 1
    while first <= last:
        end = bounds[at] if at < len(bounds) else last + 1
        yield first, min(end - 1, last)
        if at >= len(bounds):
            return
        first = bounds[at + 1]
        at += 2


def covers(bounds: Bounds, first: int, last: int) -> bool:
    """Whether all of `first … last` is there."""
    at = bisect_right(bounds, first)
    return at % 2 == 1 and bounds[at] > last


def check(bounds: Bounds) -> None:
    """The shape of a set."""
    invariant(len(bounds) % 2 == 0, "intervals have two bounds")
    invariant(all(low < high for low, high in pairwise(bounds)), "intervals are apart")
