"""What a voter grants: the table of its rule, sentence by sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.ids import Site
from covey.protocols.claims.votes import Vote, Votes

ID, OTHER = (b"hub", b"id"), (b"hub", b"other")
A, B = (Site(b"a" * 16), 1), (Site(b"b" * 16), 1)
WAIT = 100
BEGAN = 1_000


def votes(**options) -> Votes:
    return Votes(**{"votes_max": 100, "quiet_us": BEGAN, "votes": {}, "floor": 0, **options})


def granted(*claims, **options) -> Votes:
    made = votes(**options)
    for epoch, life in claims:
        assert made.claim(ID, epoch, life, WAIT, BEGAN)
    return made


def test_the_epoch_that_was_granted_is_granted_again_to_the_same_life_only():
    made = granted((5, A))
    assert made.claim(ID, 5, A, WAIT, BEGAN + 50)
    assert not made.claim(ID, 5, B, WAIT, BEGAN + 1_000)
    assert made.left_us(ID, BEGAN + 50) == WAIT


def test_a_higher_epoch_is_granted_to_the_same_life_at_once_and_a_lower_one_never():
    made = granted((5, A), (6, A))
    assert not made.claim(ID, 5, A, WAIT, BEGAN)
    assert not made.claim(ID, 5, A, WAIT, BEGAN + 1_000)


@pytest.mark.parametrize("later, expected", [(WAIT - 1, False), (WAIT, True)])
def test_another_life_waits_from_the_last_grant_on(later, expected):
    made = granted((5, A))
    assert made.claim(ID, 5, A, WAIT, BEGAN + 500)
    assert made.claim(ID, 6, B, WAIT, BEGAN + 500 + later) is expected


@pytest.mark.parametrize("later, expected", [(WAIT - 1, False), (WAIT, True)])
@pytest.mark.parametrize(
    "stored, life",
    [({}, A), ({ID: Vote(5, A, False, 50)}, B), ({ID: Vote(5, A, True, 50)}, B), ({ID: Vote(5, A, False, 50)}, A)],
)
def test_after_a_start_nothing_new_is_granted_before_the_longest_wait_has_passed(stored, life, later, expected):
    """An id that is unknown, another's, released, or the same life's under a higher epoch: the disk may be a copy."""
    made = votes(votes=stored, quiet_us=BEGAN + WAIT)
    assert made.left_us(ID, BEGAN + later) == WAIT - later
    assert made.claim(ID, 6, life, WAIT, BEGAN + later) is expected


def test_after_a_start_what_is_held_is_renewed_and_then_as_any_other():
    made = votes(votes={ID: Vote(5, A, False, WAIT)}, quiet_us=BEGAN + WAIT)
    assert not made.claim(ID, 5, B, WAIT, BEGAN)
    assert made.claim(ID, 5, A, WAIT, BEGAN)
    assert made.claim(ID, 6, A, WAIT, BEGAN)
    assert made.release(ID, (*A, 6))
    assert made.claim(ID, 7, B, WAIT, BEGAN)


def test_after_a_start_epochs_lie_above_a_clock_but_for_what_is_renewed():
    made = votes(votes={ID: Vote(5, A, False, WAIT)})
    made.start_epoch = 1_000
    assert (made.least(ID), made.least(OTHER)) == (1_000, 1_000)
    assert not made.claim(ID, 6, B, WAIT, BEGAN + WAIT)
    assert not made.claim(ID, 6, A, WAIT, BEGAN + WAIT)
    assert not made.claim(OTHER, 1_000, A, WAIT, BEGAN + WAIT)
    assert made.claim(OTHER, 1_001, A, WAIT, BEGAN + WAIT)
    assert made.claim(ID, 5, A, WAIT, BEGAN + WAIT)
    assert (made.least(ID), made.least(OTHER)) == (5, 1_001)
    assert made.claim(ID, 6, A, WAIT, BEGAN + WAIT)


def test_the_wait_is_that_of_the_claim_which_was_granted():
    made = granted((5, A))
    assert made.claim(ID, 6, A, 10 * WAIT, BEGAN)
    assert not made.claim(ID, 7, B, WAIT, BEGAN + WAIT)
    assert made.claim(ID, 7, B, WAIT, BEGAN + 10 * WAIT)


@pytest.mark.parametrize("freed, expected", [((*A, 5), True), ((*A, 6), True), ((*A, 4), False), ((*B, 9), False)])
def test_a_release_frees_that_life_up_to_that_epoch(freed, expected):
    made = granted((5, A))
    assert made.release(ID, freed) is expected
    assert made.claim(ID, 6, B, WAIT, BEGAN) is expected


def test_what_is_released_is_not_renewed_and_not_released_twice():
    made = granted((5, A))
    assert made.release(ID, (*A, 5))
    assert not made.release(ID, (*A, 5))
    assert not made.claim(ID, 5, A, WAIT, BEGAN)
    assert made.claim(ID, 6, A, WAIT, BEGAN)
    assert not made.release(OTHER, (*A, 9))


def test_what_does_not_bind_any_more_is_forgotten_into_the_floor_and_makes_room():
    made = granted((9, A), votes_max=1)
    assert made.forget(BEGAN) is None  # it binds
    assert made.room_us(BEGAN + 40) == WAIT - 40
    assert not made.claim(OTHER, 10, A, WAIT, BEGAN)
    assert made.release(ID, (*A, 9))
    assert made.room_us(BEGAN) == 0
    assert made.forget(BEGAN) == ID
    assert made.forget(BEGAN) is None  # there is room
    assert (made.floor, made.get(ID), made.full) == (9, None, False)
    assert not made.claim(ID, 9, B, WAIT, BEGAN)
    assert made.claim(ID, 10, B, WAIT, BEGAN)
    made.check()


def test_what_a_larger_configuration_left_is_all_remembered():
    made = votes(votes={ID: Vote(5, A, True, WAIT), OTHER: Vote(6, A, True, WAIT)}, votes_max=1)
    made.check()
    assert made.full
    assert made.claim(ID, 7, B, WAIT, BEGAN)


STEPS = st.lists(
    st.tuples(st.sampled_from("crfwx"), st.integers(1, 6), st.sampled_from([A, B]), st.integers(1, 60)), max_size=30
)


@given(STEPS)
def test_whatever_is_said_epochs_grow_and_two_lives_are_a_wait_or_a_release_apart(steps):
    made, now, last = votes(votes_max=1), BEGAN, 0
    bound_us, owner = 0, None
    for kind, epoch, life, step in steps:
        now += step
        if kind == "w":
            now += WAIT
        elif kind == "r":
            if made.release(ID, (*life, epoch)) and life == owner:
                bound_us = 0
        elif kind == "f":
            made.forget(now)
        elif kind == "x":
            made.claim(OTHER, epoch, life, WAIT, now)
        elif made.claim(ID, epoch, life, WAIT, now):
            assert epoch >= last
            assert life == owner or now >= bound_us
            last, owner, bound_us = epoch, life, now + WAIT
        made.check()
