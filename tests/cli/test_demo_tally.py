"""What the demo counts: gaps, rates, copies; which shelf holds what, and in which order it is asked."""

from __future__ import annotations

import random
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.cli.demo import tally
from covey.cli.demo.reports import Missed, Progress
from covey.cli.demo.shelves import package, questions, shelves

# --- gaps -----------------------------------------------------------------------------------------------------------


def missed(began_s: float, ended_s: float) -> Missed:
    return Missed("a", began_s, ended_s, "why")


def test_an_attempt_is_excused_by_a_gap_that_it_was_under_way_in():
    gaps = tally.Gaps()
    gaps.begin(10.0)
    gaps.begin(11.0)  # it is one already
    gaps.end(12.0)
    gaps.end(20.0)
    before, into, inside, out_of, over, after = (
        missed(8, 9.9), missed(9, 10.5), missed(10.5, 11), missed(11.9, 14), missed(9, 13), missed(12.1, 13),
    )  # fmt: skip
    gaps.missed = [before, into, inside, out_of, over, after]
    assert gaps.unanswered() == [before, after]
    gaps.begin(12.5)  # not over yet
    assert gaps.unanswered() == [before]


def test_a_rate_is_that_of_the_last_seconds():
    rate = tally.Rate()
    assert rate.per_second == 0.0
    for tenth in range(100):
        rate.put(tenth / 10, 100 * tenth if tenth < 50 else 5000)
    assert rate.per_second == 0.0
    for tenth in range(100, 120):
        rate.put(tenth / 10, 5000 + 10 * (tenth - 99))
    assert rate.per_second == pytest.approx(100, rel=0.01)
    rate.put(12.0, 3)  # another sum: somebody is gone
    assert rate.per_second == 0.0


# --- copies ---------------------------------------------------------------------------------------------------------


def worker(*names: str, members: int = 1, running: int = 2, doubles: int = 0) -> Progress:
    return Progress(members, members + 1, [(name, 1) for name in names], running, doubles)


def test_copies_are_what_really_runs():
    both = [worker("a"), worker("a", "b")]
    assert tally.copies(both, ["a", "b", "c"]) == {"a": 2, "b": 1, "c": 0}
    assert tally.in_words({}) == "-"
    assert tally.in_words({"a": 1, "b": 1}) == "1"
    assert tally.in_words({"a": 1, "b": 2, "c": 1}) == "1 (1 with 2)"


@pytest.mark.parametrize(
    "workers, everywhere, once",
    [
        ([worker("a"), worker("b")], True, True),
        ([worker("a"), worker("a", "b")], True, False),
        ([worker("a"), worker("b", doubles=1)], True, False),
        ([worker("a"), worker()], False, False),
        ([worker("a"), worker("b", running=1)], False, False),
        ([worker("a"), worker("b", members=2)], False, False),
    ],
)
def test_all_is_well_when_every_shelf_runs_and_everybody_sees_it(workers, everywhere, once):
    assert tally.runs_everywhere(workers, ["a", "b"], 2) is everywhere
    assert tally.runs_once(workers, ["a", "b"], 2) is once


# --- shelves --------------------------------------------------------------------------------------------------------

names = st.text("abc", min_size=1, max_size=3)
paths = st.lists(st.builds(lambda folder, name: f"{folder}/{name}.py", names, names) | names.map("{}.py".format))


@given(paths.map(dict.fromkeys).map(list), st.integers(1, 6))
def test_every_file_stands_on_one_shelf_and_a_package_on_one(files, aim):
    found = shelves(files, aim)
    assert sorted(file for some in found.values() for file in some) == sorted(files)
    homes = {(package(file), name) for name, some in found.items() for file in some}
    assert len(homes) == len({package(file) for file in files})
    assert found == shelves(reversed(files), aim)


def test_small_packages_share_a_shelf_and_a_large_one_has_its_own():
    files = ["a.py", "b.py", *(f"big/{number}.py" for number in range(5)), "c.py"]
    assert list(shelves(files, 3)) == ["a+", "big", "c"]


def test_each_shelf_is_asked_once_in_a_round():
    asked = [shelf for shelf, _ in islice(questions("abc", random.Random(1)), 9)]
    assert [set(asked[at : at + 3]) for at in (0, 3, 6)] == [set("abc")] * 3
    assert list(questions([], random.Random(1))) == []
