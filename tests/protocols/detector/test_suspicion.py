"""The shrinking timer (reference M27), and the suspicions of one node."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.ids import Site
from covey.core.timers import Timers
from covey.protocols.detector.config import DetectorConfig
from covey.protocols.detector.suspicion import Suspicion, suspicion_us_min
from covey.protocols.detector.suspicions import Suspicions

SECOND = 1_000_000
SUSPECT = Site(b"S" * 16)


def accuser(number: int) -> bytes:
    return bytes((number,)) * 16


def suspicion(confirmations: int, short: float, long: float, expected: int = 3) -> Suspicion:
    made = Suspicion(SUSPECT, accuser(0), int(short * SECOND), int(long * SECOND), expected, 0)
    for number in range(confirmations):
        assert made.confirm(accuser(number + 1))
    return made


@pytest.mark.parametrize(
    "confirmations, elapsed, remaining",
    [(0, 0, 30.0), (1, 2, 14.0), (2, 3, 4.81), (3, 4, -2.0)],
)
def test_m27_what_remains_of_a_suspicion_of_2_to_30_s(confirmations: int, elapsed: int, remaining: float) -> None:
    left_us = suspicion(confirmations, 2, 30).due_us() - elapsed * SECOND
    assert left_us / SECOND == pytest.approx(remaining, abs=0.005)


def test_m27_timeouts_between_half_a_second_and_two() -> None:
    timeouts = [suspicion(n, 0.5, 2).timeout_us() / SECOND for n in range(4)]
    assert timeouts == pytest.approx([2.0, 1.25, 0.81, 0.5], abs=0.005)


def test_the_same_accuser_twice_and_the_suspect_itself_do_not_count() -> None:
    made = suspicion(1, 2, 30)
    assert not made.confirm(accuser(0))  # who raised it
    assert not made.confirm(accuser(1))
    assert not made.confirm(SUSPECT)
    assert not made.confirm(b"")  # nobody
    assert made.confirmations == 1


def test_confirmations_beyond_those_expected_are_not_kept() -> None:
    made = suspicion(3, 2, 30)
    assert not made.confirm(accuser(9))
    assert made.timeout_us() == 2 * SECOND


def test_with_nobody_to_confirm_the_short_time_counts() -> None:
    assert suspicion(0, 2, 30, expected=0).timeout_us() == 2 * SECOND


@given(st.integers(0, 3), st.lists(st.integers(0, 6), max_size=12))
def test_a_confirmation_never_makes_it_longer_nor_shorter_than_short(expected: int, numbers: list[int]) -> None:
    made = suspicion(0, 2, 30, expected)
    last = made.timeout_us()
    for number in numbers:
        made.confirm(accuser(number))
        assert 2 * SECOND <= made.timeout_us() <= last <= 30 * SECOND
        last = made.timeout_us()


@pytest.mark.parametrize("nodes, seconds", [(0, 4.0), (1, 4.0), (10, 4.0), (20, 5.204), (100, 8.0), (1000, 12.0)])
def test_the_short_time_grows_with_the_logarithm_of_the_cluster(nodes: int, seconds: float) -> None:
    assert suspicion_us_min(DetectorConfig(), nodes) / SECOND == pytest.approx(seconds, abs=0.001)


@pytest.mark.parametrize("nodes", [1, 10, 100, 1000])
def test_a_fast_profile_still_gives_two_seconds(nodes: int) -> None:
    assert suspicion_us_min(DetectorConfig.laptop(), nodes) >= 2 * SECOND


def test_when_fewer_live_who_could_confirm_fewer_are_waited_for() -> None:
    timers: Timers[tuple[object, ...]] = Timers()
    suspicions = Suspicions(DetectorConfig(), timers)
    suspicions.expect(2)
    suspicions.begin(SUSPECT, accuser(0), 4, 0)
    assert timers.due_at(("suspicion", SUSPECT)) == 24 * SECOND
    assert suspicions.confirm(SUSPECT, accuser(1), SECOND) is not None
    suspicions.expect(1)
    assert timers.due_at(("suspicion", SUSPECT)) == 4 * SECOND
    suspicions.expect(5)  # never more than K
    made = suspicions.get(SUSPECT)
    assert made is not None
    assert made.expected == 3
    suspicions.check()
    assert suspicions.end(SUSPECT) is made
    assert len(suspicions) == 0
    assert timers.deadline() is None


def test_a_confirmation_that_comes_late_ends_it_now_and_not_in_the_past() -> None:
    timers: Timers[tuple[object, ...]] = Timers()
    suspicions = Suspicions(DetectorConfig(), timers)
    suspicions.expect(1)
    suspicions.begin(SUSPECT, accuser(0), 3, 0)
    suspicions.confirm(SUSPECT, accuser(1), 10 * SECOND)
    assert timers.due_at(("suspicion", SUSPECT)) == 10 * SECOND


def test_time_we_did_not_live_is_given_back_and_all_of_it_after_a_sleep() -> None:
    timers: Timers[tuple[object, ...]] = Timers()
    suspicions = Suspicions(DetectorConfig(), timers)
    suspicions.begin(SUSPECT, accuser(0), 2, 0)
    suspicions.forgive(SECOND, False, 3 * SECOND)
    assert timers.due_at(("suspicion", SUSPECT)) == 5 * SECOND
    suspicions.forgive(60 * SECOND, True, 64 * SECOND)
    assert timers.due_at(("suspicion", SUSPECT)) == 68 * SECOND
    suspicions.check()
