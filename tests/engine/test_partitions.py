"""When so many members are silent that the network may be cut: said once, and of the silent ones only."""

from __future__ import annotations

import pytest

from covey.core.vocabulary import MemberRemoved
from covey.engine.roster import MemberChanged, PartitionSuspected
from tests.engine.roster_words import (
    ALIVE,
    DOWN,
    STOPPED,
    SUSPECT,
    added,
    becomes,
    cuts,
    entry,
    of_members,
    silent,
    site,
    tell,
)


def test_several_that_fall_silent_are_a_cut_perhaps_and_it_is_said_once():
    roster = of_members(1, 2, 3, 4, 5)
    assert cuts(tell(roster, silent(1))) == []
    assert tell(roster, silent(2))[1:] == [PartitionSuspected((site(1), site(2)), 3)]
    assert cuts(tell(roster, silent(3), silent(4), silent(5))) == []


def test_the_suspicion_comes_behind_the_change_that_led_to_it():
    roster = of_members(1, 2)
    tell(roster, silent(1))
    change, cut = tell(roster, silent(2))
    assert change == MemberChanged(entry(2, ALIVE, "spoke"), entry(2, DOWN, "silent"))
    assert cut == PartitionSuspected((site(1), site(2)), 0)


@pytest.mark.parametrize("others, first_at", [(2, 2), (5, 2), (6, 3), (8, 3), (9, 4)])
def test_at_least_two_of_them_and_a_third_of_all_that_run_have_to_be_silent(others, first_at):
    roster = of_members(*range(1, others + 1))
    at = [number for number in range(1, others + 1) if cuts(tell(roster, silent(number)))]
    assert at == [first_at]


def test_those_that_stopped_do_not_count_among_those_that_run():
    roster = of_members(1, 2, 3, 4, 5, 6, 7, 8)
    tell(roster, *(becomes(number, STOPPED, "stopped") for number in (6, 7, 8)))
    assert cuts(tell(roster, silent(1), silent(2))) == [PartitionSuspected((site(1), site(2)), 3)]


def test_a_host_that_refuses_us_is_not_cut_off():
    roster = of_members(1, 2, 3)
    events = tell(roster, *(becomes(number, DOWN, "refused") for number in (1, 2, 3)))
    assert cuts(events) == []
    assert cuts(tell(of_members(1, 2, 3), silent(1), becomes(2, DOWN, "refused"))) == []


def test_what_others_tell_us_of_the_silent_counts_too():
    roster = of_members(1, 2)
    assert cuts(tell(roster, silent(1), becomes(2, DOWN, "told"))) == [PartitionSuspected((site(1), site(2)), 0)]


def test_members_that_are_only_suspect_are_not_silent_yet():
    roster = of_members(1, 2, 3)
    assert cuts(tell(roster, *(becomes(number, SUSPECT, "unreached") for number in (1, 2, 3)))) == []


@pytest.mark.parametrize(
    "end", [lambda number: becomes(number, ALIVE), lambda number: MemberRemoved(site(number))], ids=["back", "out"]
)
def test_it_is_said_again_only_after_all_of_them_were_back_or_out(end):
    roster = of_members(1, 2, 3)
    assert len(cuts(tell(roster, silent(1), silent(2)))) == 1
    assert cuts(tell(roster, end(1), added(1), becomes(1, ALIVE), silent(1))) == []
    assert cuts(tell(roster, end(1), end(2))) == []
    again = tell(roster, *(fact for number in (1, 2) for fact in (added(number), becomes(number, ALIVE))))
    assert cuts(again) == []
    assert len(cuts(tell(roster, silent(1), silent(2)))) == 1
