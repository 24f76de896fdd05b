"""Sets of dots against plain sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import InvariantError
from covey.core.ids import Dot, Origin
from covey.rows.dots import DotSet, Intervals
from tests.rows.shared_words import A, B, life

TOP = 14
LIVES = st.sampled_from([A, B, life(1, 2)])
RUNS = st.tuples(LIVES, st.integers(1, TOP), st.integers(0, 4)).map(lambda run: (run[0], run[1], run[1] + run[2]))
DROPS = LIVES.map(lambda one: (one, 0, 0))
STEPS = st.lists(RUNS | DROPS, max_size=25)


def dots_of(origin: Origin, first: int, last: int) -> set[Dot]:
    return {(*origin, number) for number in range(first, last + 1)}


def build(steps: list[tuple[Origin, int, int]]) -> tuple[DotSet, set[Dot]]:
    """The same as a set of dots and as a plain set; a run of number 0 drops its life."""
    made, plain = DotSet(), set[Dot]()
    for origin, first, last in steps:
        if not first:
            made.drop(origin)
            plain = {dot for dot in plain if dot[:2] != origin}
        elif first == last:
            made.add((*origin, first))
            plain.add((*origin, first))
        else:
            made.add_run(origin, first, last)
            plain |= dots_of(origin, first, last)
        made.check()
    return made, plain


def intervals_of(numbers: list[int]) -> Intervals:
    """Runs of sorted numbers."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = runs[-1][0], number
        else:
            runs.append((number, number))
    return tuple(runs)


@given(STEPS)
def test_it_has_exactly_what_was_added_and_not_dropped(steps):
    made, plain = build(steps)
    for origin in (A, B, life(1, 2)):
        numbers = sorted(dot[2] for dot in plain if dot[:2] == origin)
        assert [n for n in range(1, 3 * TOP) if (*origin, n) in made] == numbers
        assert made.top(origin) == max(numbers, default=0)
        assert made.intervals(origin) == intervals_of(numbers)
        assert made.covers(origin, intervals_of(numbers))
        assert not made.covers(origin, ((1, 3 * TOP),))
    assert sorted(made.lives()) == sorted({dot[:2] for dot in plain})
    assert made.told() == tuple((*origin, made.intervals(origin)) for origin in sorted(made.lives()))
    assert DotSet(made.told()) == made
    assert made != plain


@given(STEPS, LIVES, st.integers(1, 2 * TOP), st.integers(0, TOP))
def test_what_is_missing_of_a_run_is_the_rest_of_it_in_order(steps, origin, first, length):
    made, plain = build(steps)
    gaps = list(made.missing(origin, first, first + length))
    rest = sorted(dot[2] for dot in dots_of(origin, first, first + length) - plain)
    assert tuple(gaps) == intervals_of(rest)
    assert list(made.missing(origin, first, first - 1)) == []


@given(STEPS, STEPS)
def test_it_lacks_what_the_other_has_more_and_has_all_of_it_afterwards(steps, others):
    (made, plain), (other, more) = build(steps), build(others)
    lacks = made.lacks(other.told())
    assert {dot for origin, first, last in lacks for dot in dots_of(origin, first, last)} == more - plain
    assert sum(last - first + 1 for _, first, last in lacks) == len(more - plain)
    made.update(other)
    made.check()
    assert made == build([(dot[:2], dot[2], dot[2]) for dot in sorted(plain | more)])[0]
    assert made.lacks(other.told()) == []


@given(STEPS, STEPS)
def test_two_have_one_digest_exactly_if_they_have_the_same_whatever_happened_before(steps, others):
    (made, plain), (other, more) = build(steps), build(others)
    assert (made.digest == other.digest) == (made == other) == (plain == more)


def test_it_cannot_be_hashed_for_it_changes():
    with pytest.raises(TypeError):
        hash(DotSet())


@pytest.mark.parametrize(
    "bounds", [[], [1], [0, 2], [3, 3], [5, 2], [1, 3, 3, 4]], ids=lambda bounds: "-".join(map(str, bounds))
)
def test_check_finds_intervals_that_are_none(bounds):
    made = DotSet([(*A, ((1, 3),))])
    made._lives[A] = bounds
    with pytest.raises(InvariantError, match="intervals"):
        made.check()


def test_check_finds_a_digest_that_is_not_the_sum():
    made = DotSet([(*A, ((1, 3),))])
    made.check()
    made._lives[A] = [1, 5]
    with pytest.raises(InvariantError, match="digest"):
        made.check()
