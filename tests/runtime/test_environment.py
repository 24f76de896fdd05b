"""The real world's clock: it counts the time that the computer was suspended, and grows."""

from __future__ import annotations

import time

import pytest

from covey.runtime.environment import RealEnvironment, boottime_us


def test_the_clock_grows_and_is_the_same_for_all_who_ask():
    environment = RealEnvironment()
    read = [environment.monotonic_us(), boottime_us(), RealEnvironment().monotonic_us()]
    assert read == sorted(read)
    assert read[-1] - read[0] < 5_000_000


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system has no such clock")
def test_it_is_the_one_that_goes_on_in_suspend_where_there_is_one():
    before_us = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    assert before_us <= RealEnvironment().monotonic_us() <= time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def test_wall_time_is_that_of_the_system():
    assert abs(RealEnvironment().wall_us() - time.time_ns() // 1000) < 5_000_000
