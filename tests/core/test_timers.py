"""Timers against a naive dictionary: what is due, when, in which order, and how much they hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from covey.core.timers import Timers, earliest

KEYS = st.integers(0, 6)
TIMES = st.integers(0, 40)


class Naive:
    """`key -> (time, number of the set)`, looked through from end to end."""

    def __init__(self) -> None:
        self.live: dict[int, tuple[int, int]] = {}
        self.number = 0

    def set(self, key: int, at_us: int) -> None:
        self.number += 1
        self.live[key] = (at_us, self.number)

    def pop_due(self, now_us: int) -> list[int]:
        due = sorted((at_us, number, key) for key, (at_us, number) in self.live.items() if at_us <= now_us)
        for _, _, key in due:
            del self.live[key]
        return [key for _, _, key in due]


class AgainstADictionary(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.timers: Timers[int] = Timers()
        self.naive = Naive()

    @rule(key=KEYS, at_us=TIMES)
    def set(self, key, at_us):
        self.timers.set(key, at_us)
        self.naive.set(key, at_us)

    @rule(key=KEYS, at_us=TIMES)
    def set_earlier(self, key, at_us):
        self.timers.set_earlier(key, at_us)
        if key not in self.naive.live or at_us < self.naive.live[key][0]:
            self.naive.set(key, at_us)

    @rule(key=KEYS)
    def cancel(self, key):
        assert self.timers.cancel(key) is (self.naive.live.pop(key, None) is not None)

    @rule(now_us=TIMES)
    def pop_due(self, now_us):
        assert self.timers.pop_due(now_us) == self.naive.pop_due(now_us)

    @rule(key=KEYS, now_us=TIMES, step_us=st.integers(1, 10))
    def pop_one_and_set_it_again(self, key, now_us, step_us):
        for due in self.timers.pop_due(now_us):
            self.timers.set(due, now_us + step_us)
        for due in self.naive.pop_due(now_us):
            self.naive.set(due, now_us + step_us)

    @invariant()
    def agrees(self):
        assert len(self.timers) == len(self.naive.live)
        for key in range(7):
            assert (key in self.timers) == (key in self.naive.live)
            assert self.timers.due_at(key) == self.naive.live.get(key, (None,))[0]
        assert self.timers.deadline() == min((at_us for at_us, _ in self.naive.live.values()), default=None)


TestAgainstADictionary = AgainstADictionary.TestCase


def test_ties_are_due_in_the_order_in_which_they_were_set():
    timers: Timers[str] = Timers()
    for key in "cab":
        timers.set(key, 10)
    timers.set("c", 10)
    assert timers.pop_due(9) == []
    assert timers.pop_due(10) == ["a", "b", "c"]


def test_keys_that_cannot_be_compared_may_be_due_at_the_same_time():
    timers: Timers[object] = Timers()
    keys = [("probe",), 7, None, "x", 2j]
    for key in keys:
        timers.set(key, 5)
    assert timers.deadline() == 5
    assert timers.pop_due(5) == keys


def test_set_earlier_never_postpones_and_keeps_its_place_in_a_tie():
    timers: Timers[str] = Timers()
    timers.set_earlier("a", 10)
    timers.set("b", 10)
    timers.set_earlier("a", 10)
    timers.set_earlier("a", 20)
    assert timers.pop_due(10) == ["a", "b"]
    timers.set("a", 10)
    timers.set_earlier("a", 3)
    assert timers.deadline() == 3


def test_a_key_that_was_cancelled_or_postponed_is_not_due_at_its_old_time():
    timers: Timers[str] = Timers()
    timers.set("gone", 1)
    timers.set("later", 1)
    timers.cancel("gone")
    timers.set("later", 9)
    assert timers.pop_due(8) == []
    assert timers.pop_due(9) == ["later"]
    assert timers.deadline() is None


def test_setting_one_key_again_and_again_holds_no_more_than_a_few_entries():
    timers: Timers[str] = Timers()
    for at_us in range(10_000):
        timers.set("only", at_us)
        assert len(timers._heap) <= 2 * len(timers) + 64
    assert timers.pop_due(10_000) == ["only"]


@given(st.integers(65, 300))
def test_the_heap_holds_at_most_twice_the_live_entries_after_cancels_too(count):
    timers: Timers[int] = Timers()
    for key in range(count):
        timers.set(key, 1_000 + key)
    for key in range(count):
        timers.cancel(key)
        assert len(timers._heap) <= 2 * len(timers) + 64


def test_the_heap_holds_at_most_twice_the_live_entries_after_they_were_due():
    timers: Timers[int] = Timers()
    for key in range(100):
        timers.set(key, 1_000)
    for key in range(100):
        timers.set(key, 1)
    timers.pop_due(1)
    assert len(timers) == 0
    assert len(timers._heap) <= 64


@pytest.mark.parametrize("deadlines, first", [((), None), ((None, None), None), ((None, 5, 3, None), 3), ((0,), 0)])
def test_the_earliest_of_several_deadlines_is_the_least_that_is_set(deadlines, first):
    assert earliest(*deadlines) == first
