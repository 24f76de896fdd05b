"""What is kept for who asks: found whole or in part, for some time, within bounds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import InvariantError
from covey.core.ids import Site
from covey.protocols.broadcast.bodies import Bodies, Run, count_of

NEWS = (Site(b"a" * 16), 1, b"news")
TALK = (Site(b"a" * 16), 1, b"talk")


def run(first: int, *values: Any, stream: Any = NEWS, round: int = 1) -> Run:
    return Run(stream, first, first + len(values) - 1, round, msgspec.msgpack.encode(list(values)))


def values(bodies: Bodies, first: int, last: int, stream: Any = NEWS) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for one in bodies.get(stream, first, last):
        found |= {one.first + at: msgspec.msgpack.decode(value) for at, value in enumerate(one.each())}
    return found


def kept(**bounds: int) -> Bodies:
    return Bodies(**{"keep_us": 100, "bytes_max": 1_000, "runs_max": 10} | bounds)


def test_what_is_asked_for_is_found_in_part_and_in_order():
    bodies = kept()
    bodies.add(run(10, "ten", "eleven"), 0)
    bodies.add(run(1, "one", "two", "three"), 0)
    bodies.add(run(1, "other", stream=TALK), 0)
    assert values(bodies, 2, 10) == {2: "two", 3: "three", 10: "ten"}
    assert list(values(bodies, 1, 99)) == [1, 2, 3, 10, 11]
    assert values(bodies, 4, 9) == {}
    assert values(bodies, 1, 1, TALK) == {1: "other"}
    bodies.check()


def test_it_is_let_go_of_after_its_time():
    bodies = kept()
    bodies.add(run(1, "one"), 0)
    bodies.add(run(2, "two"), 50)
    bodies.expire(99)
    assert len(bodies) == 2
    bodies.expire(100)
    assert values(bodies, 1, 2) == {2: "two"}
    bodies.expire(150)
    assert (len(bodies), bodies.bytes) == (0, 0)
    bodies.check()


def test_by_number_and_by_bytes_the_oldest_goes_first():
    bodies = kept(runs_max=2)
    for first in (1, 2, 3):
        bodies.add(run(first, "x"), first)
    assert values(bodies, 1, 3) == {2: "x", 3: "x"}
    bodies = kept(bytes_max=250)
    for first in (1, 2, 3):
        bodies.add(run(first, "x" * 100), 0)
    assert sorted(values(bodies, 1, 3)) == [2, 3]
    bodies.check()


def test_all_of_it_in_few_words_and_with_the_most_hops():
    bodies = kept()
    for first, hops in ((1, 2), (2, 5), (3, 1), (7, 1), (8, 1)):
        bodies.add(run(first, "x", round=hops), 0)
    bodies.add(run(4, "x", stream=TALK, round=3), 0)
    assert list(bodies.summary()) == [(NEWS, 1, 3, 5), (NEWS, 7, 8, 1), (TALK, 4, 4, 3)]


@given(st.lists(st.binary(max_size=3), max_size=70_000 // 1000) | st.integers(0, 70_000).map(lambda n: [b""] * n))
def test_the_head_of_an_array_says_how_many_there_are(some):
    assert count_of(msgspec.msgpack.encode(some)) == len(some)


@pytest.mark.parametrize("value", [None, 7, "text", {"a": 1}, b"bytes"])
def test_what_is_no_array_holds_nothing(value):
    assert count_of(msgspec.msgpack.encode(value)) == -1


def test_a_broken_law_is_an_invariant_error():
    bodies = kept()
    bodies.add(run(1, "one"), 0)
    bodies.bytes += 1
    with pytest.raises(InvariantError, match="bytes counts"):
        bodies.check()
