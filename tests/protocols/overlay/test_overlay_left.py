"""A leaver's name goes round once, so that nobody offers it to others any more."""

from __future__ import annotations

import pytest

from covey.core.vocabulary import Cause, MessagesReceived, Multicast
from covey.protocols.overlay.config import OverlayConfig
from covey.wire.messages.overlay import Disconnect, Join, Left, NeighborRequest, Shuffle
from tests.protocols.overlay.overlay_harness import (
    SECOND_US,
    Bare,
    Flock,
    contact,
    contacts,
    down,
    sent,
    site,
    unpinned,
)


def left(number: int, incarnation: int = 1) -> Left:
    return Left(site(number), incarnation)


def heard(sender: int, *messages):
    return MessagesReceived(site(sender), list(messages))


def test_a_neighbour_that_says_goodbye_is_told_of_to_all_others():
    bare = Bare(5).befriend(1, 2, 9)
    assert bare.hear(9, Disconnect(False, ())) == [
        unpinned(9),
        down(9, Cause.GOODBYE),
        Multicast((site(1), site(2)), left(9)),
    ]


def test_the_last_neighbour_that_says_goodbye_is_told_of_to_nobody():
    assert sent(Bare(5).befriend(9).hear(9, Disconnect(False, ())), Left) == []


def test_who_hears_of_a_leaver_forgets_it_and_passes_it_on_but_not_back():
    bare = Bare(5).befriend(1, 2, 3).remember(9)
    effects = bare.hear(2, left(9))
    assert effects == [Multicast((site(1), site(3)), left(9))]
    assert bare.passive == []


def test_the_goodbye_of_an_unknown_life_is_not_passed_on():
    """Nobody could tell its next life from it."""
    bare = Bare(5).befriend(1, 2)
    assert bare.hear(9, Disconnect(False, ())) == []


def test_it_is_passed_on_once():
    bare = Bare(5).befriend(1, 2)
    assert bare.hear(1, left(9)) == [Multicast((site(2),), left(9))]
    assert bare.hear(2, left(9)) == bare.hear(1, left(9)) == []


def test_a_neighbour_that_is_said_to_have_left_is_one_no_more():
    bare = Bare(5).befriend(1, 2).remember(8)
    effects = bare.hear(1, left(2))
    assert effects[:2] == [unpinned(2), down(2, Cause.GOODBYE)]
    assert sent(effects, Left) == [] and [to for to, _ in sent(effects, NeighborRequest)] == [8]


def test_who_hears_that_it_has_left_itself_knows_better():
    bare = Bare(5).befriend(1, 2)
    assert bare.hear(1, left(5)) == [] and bare.active == [1, 2]


def test_an_earlier_lifes_goodbye_does_not_touch_a_later_life():
    bare = Bare(5).befriend(1, 2)
    bare.hear(9, Join(contact(9, 2), 1))
    assert bare.hear(1, left(9, 1)) == [] and bare.active == [1, 2, 9]
    bare.hear(1, Shuffle(contact(8, 3), 1, ()))
    assert bare.hear(1, left(8, 2)) == []
    assert bare.overlay.contact(site(8)) is not None or bare.overlay.statistics().requests


def test_a_later_lifes_goodbye_counts_after_an_earlier_one():
    bare = Bare(5).befriend(1, 2)
    bare.hear(1, left(9, 1))
    assert sent(bare.hear(1, left(9, 2)), Left) == [(2, left(9, 2))]


def test_a_question_to_who_has_left_is_over():
    bare = Bare(5).befriend(1, 2).remember(9)
    bare.lose(1)
    assert bare.overlay.statistics().requests == 1
    bare.hear(2, left(9))
    assert bare.overlay.statistics().requests == 0


@pytest.mark.parametrize("incarnation, kept", [(1, False), (2, True)])
def test_only_the_life_that_left_is_kept_out(incarnation, kept):
    bare = Bare(5).befriend(1, 2, 3, 4, 6)
    bare.hear(1, left(9))
    bare.hear(1, Shuffle(contact(8), 1, (contact(9, incarnation),)))
    assert (9 in bare.passive) is kept


def test_a_goodbye_reaches_everybody_and_ends():
    flock = Flock(OverlayConfig(active_max=3), seed=3).start(*range(1, 21), seeds=[1]).wait(30 * SECOND_US)
    assert any(20 in flock.passive(number) for number in flock.nodes)
    flock.said.clear()
    friend = flock.active(20)[0]
    flock.feed(friend, heard(20, Disconnect(False, ())))
    told = [(sender, to) for sender, to, message in flock.said if isinstance(message, Left)]
    assert not any(20 in flock.passive(number) for number in flock.nodes if number != 20)
    assert len(told) <= 20 * 3 and len(told) == len(set(told))


def test_more_goodbyes_than_are_remembered_end_too():
    """A whole rack shuts down: names that were forgotten to make room must not go round for ever."""
    flock = Flock(OverlayConfig(active_max=3, departed_max=2), seed=3).start(*range(1, 9), seeds=[1])
    flock.wait(30 * SECOND_US)
    flock.said.clear()
    flock.said_max = 5_000
    flock.feed(1, heard(flock.active(1)[0], *(left(leaver) for leaver in range(100, 110))))
    assert len(flock.said) < 10 * 8 * 3 + 100


def test_contacts_that_have_left_are_not_taken_from_a_dismissal():
    bare = Bare(5).befriend(1, 2, 3, 4, 6)
    bare.hear(1, left(9))
    bare.hear(77, Disconnect(True, contacts(9, 8)))
    assert bare.passive == [8]
