"""The overlay's laws are really asked: each of them, broken by hand, is an invariant error."""

from __future__ import annotations

from random import Random

import pytest

from covey.core.errors import InvariantError
from covey.protocols.overlay.config import OverlayConfig
from covey.wire.messages.overlay import Disconnect
from tests.protocols.overlay.overlay_harness import Bare, contact, site


def busy() -> Bare:
    """A node with neighbours, a contact, a question under way and a leaver."""
    bare = Bare(5, OverlayConfig(active_max=3, passive_max=2, departed_max=1)).befriend(1, 2, 3).remember(9)
    bare.lose(3)
    bare.hear(7, Disconnect(False, ()))
    bare.overlay.check()
    return bare


def neighbour_in_passive_view(overlay):
    overlay.passive.add(contact(1), Random(0))


def neighbour_asked(overlay):
    overlay._links.requests[site(1)] = overlay._links.requests[site(9)]


def question_without_deadline(overlay):
    overlay._timers.cancel(("request", site(9)))


def question_to_ourselves(overlay):
    overlay._links.requests[site(5)] = overlay._links.requests[site(9)]
    overlay._timers.set(("request", site(5)), 1)


def too_many_questions(overlay):
    for number in (10, 11):
        overlay._links.requests[site(number)] = overlay._links.requests[site(9)]
        overlay._timers.set(("request", site(number)), 1)


def leaver_in_a_view(overlay):
    overlay.passive.add(contact(7), Random(0))


def too_many_leavers(overlay):
    overlay.leavers._left[site(8)] = overlay._links.leavers._left[site(7)]


def too_many_probes(overlay):
    overlay._probes._asked.update({site(number): contact(number) for number in range(300)})


def lowest_above_us(overlay):
    overlay.lowest.site = site(6)


def active_view(overlay):
    overlay.active.add(contact(5))


def passive_view(overlay):
    overlay.passive._contacts[site(5)] = contact(5)


def book(overlay):
    overlay.book.add("n1:1", 0)
    overlay.book._entries["n1:1"].backoff_us = 0


@pytest.mark.parametrize(
    "broken, law",
    [
        (neighbour_in_passive_view, "a neighbour is not in the passive view"),
        (neighbour_asked, "a neighbour is not being asked"),
        (question_without_deadline, "every request has a deadline"),
        (question_to_ourselves, "nobody asks themselves"),
        (too_many_questions, "requests are bounded"),
        (leaver_in_a_view, "leavers are in no view"),
        (too_many_leavers, "leavers remembered are bounded"),
        (too_many_probes, "probes under way are bounded"),
        (lowest_above_us, "the lowest site is not above us"),
        (active_view, "nobody is their own neighbour"),
        (passive_view, "nobody is in their own passive view"),
        (book, "every address has its pause"),
    ],
)
def test_a_broken_law_is_an_invariant_error(broken, law):
    overlay = busy().overlay
    broken(overlay)
    with pytest.raises(InvariantError, match=law):
        overlay.check()
