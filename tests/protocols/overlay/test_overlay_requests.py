"""Asking for links: the active view is filled from the passive one (HyParView, section 4.3)."""

from __future__ import annotations

import pytest

from covey.core.ids import Contact
from covey.core.vocabulary import AddressAnswered, Cause, Dial, Send
from covey.protocols.overlay.config import OverlayConfig
from covey.protocols.overlay.vocabulary import SeedsResolved
from covey.wire.messages.overlay import Beacon, Disconnect, Join, NeighborReply, NeighborRequest
from tests.protocols.overlay.overlay_harness import (
    CONFIG,
    SECOND_US,
    Bare,
    contact,
    down,
    pinned,
    sent,
    site,
    unpinned,
    up,
)


def asked(effects) -> list[tuple[int, int, bool]]:
    """Whom we asked, by which number, and whether urgently."""
    return [(to, request.number, request.urgent) for to, request in sent(effects, NeighborRequest)]


def alone(*passive: int, config: OverlayConfig = CONFIG) -> tuple[Bare, list]:
    """A node that has just lost its only neighbour and knows others."""
    bare = Bare(5, config).befriend(1).remember(*passive)
    return bare, bare.lose(1)


# --- being asked ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("urgent", [False, True])
def test_who_has_room_says_yes(urgent):
    bare = Bare(5)
    assert bare.hear(2, NeighborRequest(contact(2), 4, urgent)) == [
        Send(site(2), NeighborReply(4, True), "n2:1"),
        pinned(2),
        up(2),
    ]


def test_who_is_full_says_no_and_remembers_who_asked():
    bare = Bare(5, OverlayConfig(active_max=2)).befriend(1, 2)
    assert bare.hear(9, NeighborRequest(contact(9), 4, False)) == [Send(site(9), NeighborReply(4, False), "n9:1")]
    assert (bare.active, bare.passive) == ([1, 2], [9])


def test_who_is_full_may_not_refuse_who_has_nobody():
    bare = Bare(5, OverlayConfig(active_max=2)).befriend(1, 2)
    effects = bare.hear(9, NeighborRequest(contact(9), 4, True))
    assert sent(effects, NeighborReply) == [(9, NeighborReply(4, True))]
    assert len(bare.active) == 2 and 9 in bare.active and len(bare.passive) == 1


def test_a_full_node_agrees_again_with_whom_it_is_linked_to():
    bare = Bare(5, OverlayConfig(active_max=2)).befriend(1, 2)
    assert bare.hear(2, NeighborRequest(contact(2), 4, False)) == [Send(site(2), NeighborReply(4, True), "n2:1")]


def test_a_refused_asker_without_an_address_is_not_remembered():
    bare = Bare(5, OverlayConfig(active_max=1)).befriend(1)
    bare.hear(9, NeighborRequest(Contact(site(9), 1, ""), 4, False))
    assert bare.passive == []


# --- asking ---------------------------------------------------------------------------------------------------------


def test_as_many_are_asked_as_there_are_free_places():
    bare = Bare(5).befriend(1, 2, 3).remember(*range(10, 30))
    effects = bare.lose(3)
    assert len(asked(effects)) == 3 == bare.overlay.statistics().requests
    assert len({to for to, _, _ in asked(effects)}) == 3


def test_who_has_neighbours_left_asks_politely_and_who_has_none_urgently():
    bare = Bare(5).befriend(1, 2).remember(9)
    assert asked(bare.lose(1)) == [(9, 1, False)]
    bare, effects = alone(9)
    assert asked(effects) == [(9, 1, True)]


def test_who_said_yes_becomes_a_neighbour():
    bare, _ = alone(9)
    effects = bare.hear(9, NeighborReply(1, True))
    assert effects[:2] == [pinned(9), up(9)]
    assert (bare.active, bare.passive, bare.overlay.statistics().requests) == ([9], [], 0)


def test_who_said_no_stays_known_and_the_next_is_asked_at_once():
    bare = Bare(5, OverlayConfig(active_max=2)).befriend(1, 2).remember(8, 9)
    ((first, number, _),) = asked(bare.lose(1))
    ((second, _, _),) = asked(bare.hear(first, NeighborReply(number, False)))
    assert {first, second} == {8, 9} and bare.passive == [8, 9]


def test_who_said_no_is_asked_again_only_after_a_pause():
    bare = Bare(5, OverlayConfig(active_max=2)).befriend(1, 2).remember(9)
    ((_, number, _),) = asked(bare.lose(1))
    assert asked(bare.hear(9, NeighborReply(number, False))) == []
    assert asked(bare.until(CONFIG.promote_period_us - 1)) == []
    assert asked(bare.until(2 * CONFIG.promote_period_us)) == [(9, number + 1, False)]


def test_no_answer_costs_a_place_in_the_passive_view_and_the_next_is_asked_in_the_same_step():
    bare, effects = alone(8, 9, config=OverlayConfig(active_max=1))
    ((first, _, _),) = asked(effects)
    bare.now_us = CONFIG.request_us_max
    effects = bare.at(CONFIG.request_us_max)
    ((second, _, urgent),) = asked(effects)
    assert {first, second} == {8, 9} and urgent and bare.passive == [second]


@pytest.mark.parametrize("cause", [Cause.REFUSED, Cause.TIMEOUT, Cause.OTHER_SITE, Cause.RESET, Cause.SITE_CONFLICT])
def test_who_cannot_be_reached_is_forgotten_and_the_next_is_asked_in_the_same_step(cause):
    bare, effects = alone(8, 9, config=OverlayConfig(active_max=1))
    ((first, _, _),) = asked(effects)
    ((second, _, _),) = asked(bare.unreached(first, cause))
    assert {first, second} == {8, 9} and bare.passive == [second]


@pytest.mark.parametrize("cause", [Cause.CROSSING, Cause.REPLACED, Cause.IDLE, Cause.BUSY])
def test_who_would_have_answered_stays_known(cause):
    bare, effects = alone(9)
    assert len(asked(effects)) == 1
    bare.unreached(9, cause)
    assert 9 in bare.passive


@pytest.mark.parametrize("cause", [Cause.BUSY, Cause.NO_ADDRESS])
def test_who_cannot_be_asked_now_is_not_asked_again_in_the_same_step(cause):
    """These come at once, from our own links: asking again at once would go on for ever."""
    bare, effects = alone(9, config=OverlayConfig(active_max=1))
    assert len(asked(effects)) == 1
    assert asked(bare.unreached(9, cause)) == []
    again = bare.until(10 * SECOND_US)
    assert len(asked(again)) >= 1, "but it is, later"


def test_questions_under_way_count_as_places_taken_and_are_not_asked_again():
    for seed in range(10):
        bare = Bare(5, OverlayConfig(active_max=3), seed=seed).befriend(1, 2, 3).remember(8)
        assert [to for to, _, _ in asked(bare.lose(1))] == [8]
        bare.remember(9, 10, 11)
        ((to, _, _),) = asked(bare.lose(2))
        assert to != 8 and bare.overlay.statistics().requests == 2


def test_a_request_is_not_sent_twice():
    bare = Bare(5).befriend(1, 2).remember(9)
    bare.lose(1)
    bare.befriend(3)
    assert asked(bare.lose(3)) == []


def test_a_yes_to_a_question_we_forgot_is_answered_so_that_the_other_side_forgets_too():
    bare, _ = alone(9)
    bare.at(CONFIG.request_us_max)
    assert bare.hear(9, NeighborReply(1, True)) == [Send(site(9), Disconnect(True, ()))]
    assert bare.active == []


def test_a_no_to_a_question_we_forgot_means_nothing():
    bare, _ = alone(9)
    bare.at(CONFIG.request_us_max)
    assert bare.hear(9, NeighborReply(1, False)) == []
    assert bare.hear(9, NeighborReply(77, False)) == []


def test_a_yes_that_comes_late_but_before_the_yes_to_our_second_question_does_no_harm():
    """The other side says yes to both questions and holds us for a neighbour: a Disconnect would leave us alone."""
    bare, _ = alone(9)
    bare.at(CONFIG.request_us_max)
    bare.hear(77, Disconnect(True, (contact(9),)))  # somebody names it again, and it is asked a second time
    assert bare.overlay.statistics().requests == 1
    assert bare.hear(9, NeighborReply(1, True)) == []
    bare.hear(9, NeighborReply(2, True))
    assert bare.active == [9]


def test_a_yes_that_finds_us_full_is_taken_back():
    bare = Bare(5, OverlayConfig(active_max=2)).befriend(1, 2).remember(9)
    bare.lose(1)
    bare.befriend(3)
    assert bare.hear(9, NeighborReply(1, True)) == [Send(site(9), Disconnect(True, ()))]
    assert (bare.active, bare.passive) == ([2, 3], [9])


def test_a_yes_to_an_urgent_question_is_kept_even_if_we_are_full_by_then():
    bare, _ = alone(9, config=OverlayConfig(active_max=1))
    bare.befriend(2)
    effects = bare.hear(9, NeighborReply(1, True))
    assert effects == [
        Send(site(2), Disconnect(True, (contact(9),))),
        unpinned(2),
        down(2, Cause.REPLACED),
        pinned(9),
        up(9),
        Send(site(9), Beacon(site(5), 1, 0, 0)),
    ]


def test_two_that_ask_each_other_at_once_agree():
    bare, _ = alone(9)
    effects = bare.hear(9, NeighborRequest(contact(9), 3, True))
    assert sent(effects, NeighborReply) == [(9, NeighborReply(3, True))] and bare.active == [9]
    assert bare.hear(9, NeighborReply(1, True)) == [], "its yes comes behind its own question"


def test_every_change_gives_those_who_refused_another_chance():
    bare = Bare(5, OverlayConfig(active_max=3)).befriend(1, 2, 3).remember(9)
    ((_, number, _),) = asked(bare.lose(1))
    bare.hear(9, NeighborReply(number, False))
    assert asked(bare.lose(2)) != []


def test_who_is_alone_and_knows_nobody_turns_to_its_addresses():
    bare, effects = alone()
    assert asked(effects) == []
    dials = [effect for effect in bare.until(SECOND_US) if isinstance(effect, Dial)]
    assert dials == [Dial("n1:1")]


def test_nobody_is_asked_while_the_view_is_full():
    bare = Bare(5, OverlayConfig(active_max=2)).befriend(1, 2).remember(7, 8, 9)
    assert asked(bare.until(60 * SECOND_US)) == []


def test_the_deadline_of_a_request_is_the_machines_deadline():
    bare = Bare(5).befriend(1, 2).remember(9)
    bare.until(7 * SECOND_US)
    bare.lose(1)
    assert bare.overlay.deadline() is not None
    assert bare.overlay.deadline() <= bare.now_us + CONFIG.request_us_max  # type: ignore[operator]


def test_joining_counts_as_urgent_on_our_side():
    """Who was asked to let us in holds us for a neighbour: we may not be full then."""
    bare = Bare(5, OverlayConfig(active_max=1))
    bare.feed(SeedsResolved(("n9:1",)))
    bare.until(SECOND_US)
    (join,) = bare.feed(AddressAnswered("n9:1", contact(9)))
    assert join == Send(site(9), Join(contact(5), 1), "n9:1")
    bare.befriend(2)
    bare.hear(9, NeighborReply(1, True))
    assert bare.active == [9]
