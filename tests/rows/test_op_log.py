"""The log of shared operations against a plain list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import InvariantError
from covey.core.ids import Dot
from covey.rows.op_log import Op, OpLog, op_bytes
from tests.rows.shared_words import MANY, A, B, life

LIVES = [A, B, life(1, 2)]
DOTS = st.builds(lambda origin, number: (*origin, number), st.sampled_from(LIVES), st.integers(1, 9))
OPS = st.builds(
    lambda key, field, value, births, replaced: (key, field, value, tuple(births), tuple(replaced)),
    st.binary(max_size=5), st.none() | st.binary(max_size=5), st.none() | st.binary(max_size=90),
    st.lists(DOTS, max_size=2), st.lists(DOTS, max_size=2),
)  # fmt: skip
LOGS = st.lists(st.tuples(DOTS, OPS), max_size=25, unique_by=lambda entry: entry[0])


def filled(entries: list[tuple[Dot, Op]]) -> OpLog:
    made = OpLog()
    for version, (dot, op) in enumerate(entries, 1):
        made.add(version, dot, op)
    made.check()
    return made


@given(LOGS, st.integers(0, 9), st.integers(0, 9), st.integers(1, 500))
def test_a_run_is_told_from_its_first_on_to_a_gap_or_as_much_as_fits_and_one_at_least(entries, first, last, size):
    made, plain = filled(entries), dict(entries)
    for origin in LIVES:
        wanted: list[Op] = []
        for number in range(first, last + 1):
            if (*origin, number) not in plain:
                break
            wanted.append(plain[*origin, number])
        assert made.run(origin, first, last, MANY) == wanted
        told = made.run(origin, first, last, size)
        assert told == wanted[: len(told)]
        assert len(told) == min(1, len(wanted)) or sum(map(op_bytes, told)) <= size
        assert told == wanted or sum(map(op_bytes, wanted[: len(told) + 1])) > size


@given(LOGS, st.integers(0, 3_000), st.integers(0, 25), st.sampled_from(LIVES))
def test_trim_forgets_what_all_have_and_the_oldest_above_the_bound(entries, size, version, gone):
    made = filled(entries)
    made.forget(gone)
    made.check()
    rest = [(at, dot, op) for at, (dot, op) in enumerate(entries, 1) if dot[:2] != gone]
    assert sorted(made.dots()) == sorted(dot for _, dot, _ in rest)
    made.trim(size, version)
    made.check()
    while rest and (rest[0][0] <= version or sum(op_bytes(op) for _, _, op in rest) > size):
        rest.pop(0)
    assert sorted(made.dots()) == sorted(dot for _, dot, _ in rest)
    assert made.bytes == sum(op_bytes(op) for _, _, op in rest) <= size
    assert [made.has(dot) for dot, _ in entries] == [dot in [kept for _, kept, _ in rest] for dot, _ in entries]


def test_a_run_stops_before_what_does_not_fit():
    op: Op = (b"key", None, b"value", (), ())
    made = filled([((*A, number), op) for number in range(1, 6)])
    assert [len(made.run(A, 1, 5, size)) for size in (1, 2 * op_bytes(op), 3 * op_bytes(op) - 1, MANY)] == [1, 2, 2, 5]


def test_a_life_that_was_forgotten_can_come_back():
    """Its old places in the order stay; they must not take away what came after."""
    op: Op = (b"key", None, b"value", (), ())
    made = filled([((*A, 1), op)])
    made.forget(A)
    made.forget(A)
    made.add(2, (*A, 2), op)
    made.trim(MANY, 1)
    made.check()
    assert list(made.dots()) == [(*A, 2)]


def test_check_finds_bytes_that_are_not_counted():
    made = filled([((*A, 1), (b"key", None, b"value", (), ()))])
    made.bytes += 1
    with pytest.raises(InvariantError, match="bytes"):
        made.check()
