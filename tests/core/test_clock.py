"""The hybrid clock: stamps grow for ever, and nobody drags it beyond wall time and the bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.clock import COUNTER_MASK, MS_MAX, STAMP_MAX, HybridClock, pack, unpack
from covey.core.errors import UsageError

DRIFT_MS = 10
NEAR = st.builds(pack, st.integers(0, 60), st.integers(0, COUNTER_MASK))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("stamp"), st.integers(0, 30_000)),
        st.tuples(st.just("accept"), NEAR | st.integers(-5, 2**64)),
        st.tuples(st.just("wall"), st.integers(-20_000, 20_000)),
    ),
    max_size=40,
)


@given(st.integers(0, MS_MAX), st.integers(0, COUNTER_MASK))
def test_a_stamp_packs_to_a_signed_64_bit_int_and_back(ms, counter):
    assert unpack(pack(ms, counter)) == (ms, counter)
    assert 0 <= pack(ms, counter) <= STAMP_MAX < 2**63


@given(st.tuples(st.integers(0, 9), st.integers(0, 9)), st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_stamps_compare_first_by_time_then_by_counter(one, other):
    assert (pack(*one) < pack(*other)) == (one < other)


@given(STEPS)
def test_every_stamp_is_greater_than_all_that_were_given_out_or_accepted(steps):
    clock = HybridClock(DRIFT_MS)
    now_us = 0
    greatest = 0
    for step, value in steps:
        if step == "wall":
            clock.set_offset(value)
        elif step == "stamp":
            now_us += value
            stamp = clock.stamp(now_us)
            assert stamp > greatest
            assert stamp >= pack(clock.wall_ms(now_us), 0)
            greatest = stamp
        elif clock.accept(value, now_us):
            greatest = max(greatest, value)
        assert clock.last == greatest


@given(STEPS)
def test_what_a_peer_says_moves_the_clock_at_most_to_the_bound_and_otherwise_not_at_all(steps):
    clock = HybridClock(DRIFT_MS)
    now_us = 0
    for step, value in steps:
        before = clock.last
        if step == "wall":
            clock.set_offset(value)
            assert clock.last == before
        elif step == "stamp":
            now_us += value
            clock.stamp(now_us)
        else:
            bound = pack(clock.wall_ms(now_us) + DRIFT_MS, COUNTER_MASK)
            accepted = clock.accept(value, now_us)
            assert accepted == (0 <= value <= bound)
            assert clock.last == (max(before, value) if accepted else before)
            assert clock.last <= max(before, bound)


def test_the_bound_itself_is_accepted_and_one_millisecond_more_is_not():
    clock = HybridClock(DRIFT_MS)
    clock.set_offset(1_000_000)
    assert not clock.accept(pack(1_000 + DRIFT_MS + 1, 0), 0)
    assert clock.last == 0
    assert clock.accept(pack(1_000 + DRIFT_MS, COUNTER_MASK), 0)
    assert clock.last == pack(1_000 + DRIFT_MS, COUNTER_MASK)
    assert clock.stamp(0) == pack(1_000 + DRIFT_MS + 1, 0)


def test_within_one_millisecond_the_counter_tells_stamps_apart():
    clock = HybridClock()
    assert [unpack(clock.stamp(5_000)) for _ in range(3)] == [(5, 0), (5, 1), (5, 2)]
    assert unpack(clock.stamp(6_000)) == (6, 0)


def test_a_wall_clock_that_goes_back_does_not_take_stamps_back():
    clock = HybridClock()
    clock.set_offset(60_000_000)
    before = clock.stamp(0)
    clock.set_offset(0)
    assert unpack(before) == (60_000, 0)
    assert unpack(clock.stamp(1_000)) == (60_000, 1)


def test_a_clock_goes_on_from_the_stamp_it_is_given():
    clock = HybridClock(last=pack(99, 7))
    assert clock.last == pack(99, 7)
    assert unpack(clock.stamp(0)) == (99, 8)


@pytest.mark.parametrize(
    "offset_us, now_us, ms", [(0, 999, 0), (0, 1_000, 1), (-5_000, 1_000, 0), (2**70, 0, MS_MAX), (-(2**70), 0, 0)]
)
def test_wall_time_is_never_negative_and_never_beyond_what_a_stamp_holds(offset_us, now_us, ms):
    clock = HybridClock()
    clock.set_offset(offset_us)
    assert clock.wall_ms(now_us) == ms


def test_a_clock_that_has_run_out_says_so_and_stays_as_it_was():
    clock = HybridClock(last=STAMP_MAX)
    for _ in range(2):
        with pytest.raises(UsageError, match="run out of stamps; no stamp was given"):
            clock.stamp(0)
        assert clock.last == STAMP_MAX


def test_no_stamp_is_accepted_that_does_not_fit_in_a_signed_64_bit_int():
    clock = HybridClock(DRIFT_MS)
    clock.set_offset(2**70)
    assert clock.wall_ms(0) == MS_MAX
    assert not clock.accept(STAMP_MAX + 1, 0)
    assert clock.last == 0
