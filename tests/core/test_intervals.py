"""Sets of numbers as intervals, beside Python's own sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core import intervals
from covey.core.errors import InvariantError

RUNS = st.tuples(st.integers(1, 40), st.integers(0, 9)).map(lambda run: (run[0], run[0] + run[1]))


def made(runs: list[tuple[int, int]]) -> tuple[list[int], set[int]]:
    bounds: list[int] = []
    numbers: set[int] = set()
    for first, last in runs:
        intervals.put(bounds, first, last)
        numbers |= set(range(first, last + 1))
        intervals.check(bounds)
    return bounds, numbers


@given(st.lists(RUNS, max_size=12), RUNS)
def test_they_hold_what_was_put_in_and_miss_the_rest(runs, asked):
    bounds, numbers = made(runs)
    first, last = asked
    wanted = set(range(first, last + 1))
    assert {number for number in range(1, 60) if intervals.has(bounds, number)} == numbers
    gaps = list(intervals.missing(bounds, first, last))
    assert {number for low, high in gaps for number in range(low, high + 1)} == wanted - numbers
    assert all(low <= high for low, high in gaps)
    assert intervals.covers(bounds, first, last) == (wanted <= numbers)


@given(st.lists(RUNS, max_size=12))
def test_there_are_as_few_as_can_be_whatever_the_order(runs):
    bounds, numbers = made(runs)
    assert bounds == made(sorted(runs))[0]
    edges = [number for number in numbers if number - 1 not in numbers]
    assert len(bounds) == 2 * len(edges)


@pytest.mark.parametrize("bounds", [[1], [3, 3], [5, 2], [1, 3, 3, 4]])
def test_what_is_no_set_of_intervals_breaks_the_law(bounds):
    with pytest.raises(InvariantError, match="intervals"):
        intervals.check(bounds)
