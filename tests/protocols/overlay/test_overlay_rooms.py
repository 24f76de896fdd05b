"""The overlay's smaller rooms by themselves: leavers, requests and probes keep their laws and bounds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import InvariantError
from covey.core.timers import Timers
from covey.protocols.overlay.healing import Probes
from covey.protocols.overlay.leavers import Leavers
from covey.protocols.overlay.requests import Requests
from tests.protocols.overlay.overlay_harness import CONFIG, contact, site

SMALL = msgspec.structs.replace(CONFIG, departed_max=3, departed_us=100, addresses_max=2, passive_max=2)
NUMBERS, LIVES = st.integers(1, 5), st.integers(1, 3)

# --- leavers --------------------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), NUMBERS, LIVES),
            st.tuples(st.just("back"), NUMBERS, st.just(0)),
            st.tuples(st.just("wait"), st.integers(1, 60), st.just(0)),
        ),
        max_size=30,
    )
)
def test_a_life_that_left_stays_out_until_its_time_is_over_or_others_need_the_room(steps):
    leavers = Leavers(SMALL)
    out: dict[int, tuple[int, int]] = {}  # (the life, until)
    now_us = 0
    for step, number, life in steps:
        if step == "add":
            room = number in out or len(out) < SMALL.departed_max
            out[number] = (life, now_us + SMALL.departed_us)
            assert leavers.add(site(number), life, now_us) is room
            if len(out) > SMALL.departed_max:
                del out[min(out, key=lambda one: out[one][1])]
        elif step == "back":
            out.pop(number, None)
            leavers.back(site(number))
        else:
            now_us += number
            out = {one: left for one, left in out.items() if left[1] > now_us}
            leavers.expire(now_us)
        leavers.check()
        assert sorted(leavers.sites()) == sorted(site(one) for one in out)
        for one, (left, _) in out.items():
            assert [leavers.knows(site(one), life) for life in (left - 1, left, left + 1)] == [True, True, False]
            assert leavers.has(contact(one, left))
            assert not leavers.has(contact(one, left + 1))


def test_the_leaver_whose_time_is_over_first_makes_room():
    leavers = Leavers(SMALL)
    for number, now_us in ((1, 0), (2, 10), (3, 20), (1, 30), (4, 40)):  # the first one left once more
        leavers.add(site(number), 1, now_us)
    assert leavers.sites() == [site(1), site(3), site(4)]


def test_in_another_cluster_nobody_has_left_yet():
    leavers = Leavers(SMALL)
    leavers.add(site(1), 1, 0)
    leavers.clear()
    assert (leavers.sites(), leavers.has(contact(1))) == ([], False)


# --- requests -------------------------------------------------------------------------------------------------------


def requests() -> tuple[Requests, Timers[Any]]:
    timers: Timers[Any] = Timers()
    return Requests(SMALL, timers), timers


def test_every_request_has_a_number_of_its_own_and_a_deadline_until_it_ends():
    asked, timers = requests()
    assert [asked.begin(contact(number), False, 10) for number in (1, 2)] == [1, 2]
    asked.check(site(5))
    assert asked.full
    assert timers.deadline() == 10 + SMALL.request_us_max
    for number in (1, 2, 2):
        asked.end(site(number))
    assert (len(asked), asked.full, timers.deadline()) == (0, False, None)
    assert asked.begin(contact(1), True, 20) == 3, "an answer to an earlier question is none to this one"
    assert asked[site(1)].keep


def test_requests_that_break_their_laws_are_invariant_errors():
    asked, timers = requests()
    asked.begin(contact(1), False, 0)
    timers.cancel(("request", site(1)))
    with pytest.raises(InvariantError, match="deadline"):
        asked.check(site(5))
    asked, _ = requests()
    asked.begin(contact(5), False, 0)
    with pytest.raises(InvariantError, match="nobody asks themselves"):
        asked.check(site(5))
    asked, _ = requests()
    for number in (1, 2, 3):
        asked.begin(contact(number), False, 0)
    with pytest.raises(InvariantError, match="requests are bounded"):
        asked.check(site(5))


# --- probes ---------------------------------------------------------------------------------------------------------


def test_the_outcome_of_a_dial_is_ours_once_and_only_if_we_dialled():
    probes = Probes(SMALL)
    probes.dial("n1:1")
    assert [probes.ended(address) for address in ("n2:1", "n1:1", "n1:1")] == [False, True, False]


def test_an_answer_counts_once_and_the_oldest_question_gives_way():
    probes = Probes(SMALL)
    for number in (1, 2, 3):
        probes.ask(contact(number))
        probes.check()
    assert [probes.answered(site(number)) for number in (1, 2, 2, 3)] == [None, contact(2), None, contact(3)]


def test_in_another_cluster_nothing_was_dialled_and_nobody_was_asked():
    probes = Probes(SMALL)
    probes.dial("n1:1")
    probes.ask(contact(1))
    probes.clear()
    assert (probes.ended("n1:1"), probes.answered(site(1))) == (False, None)
