"""Shuffles mix the passive views (HyParView, section 4.4)."""

from __future__ import annotations

import pytest

from covey.core.ids import Contact
from covey.core.vocabulary import Send
from covey.protocols.overlay.config import OverlayConfig
from covey.wire.limits import CONTACTS_MAX
from covey.wire.messages.overlay import Disconnect, NeighborRequest, Shuffle, ShuffleReply
from tests.protocols.overlay.overlay_harness import (
    CONFIG,
    SECOND_US,
    Bare,
    contact,
    contacts,
    number_of,
    numbers,
    sent,
    site,
)


def shuffles(effects) -> list[tuple[int, Shuffle]]:
    return sent(effects, Shuffle)


def full(*more: int, config: OverlayConfig = CONFIG, seed: int = 1) -> Bare:
    """A node with five neighbours, so that it asks nobody for a link."""
    return Bare(50, config, seed=seed).befriend(1, 2, 3, 4, 5).remember(*more)


# --- the origin -----------------------------------------------------------------------------------------------------


def test_a_shuffle_carries_the_sender_some_neighbours_and_some_others():
    bare = full(*range(10, 30))
    to, shuffle = shuffles(bare.until(20 * SECOND_US))[0]
    assert shuffle.origin == contact(50) and shuffle.hops_left == CONFIG.active_walk
    neighbours = [n for n in numbers(shuffle.contacts) if n < 10]
    others = [n for n in numbers(shuffle.contacts) if n >= 10]
    assert to in bare.active and to not in neighbours, "whoever gets it knows itself"
    assert (len(neighbours), len(others)) == (CONFIG.shuffle_active, CONFIG.shuffle_passive)
    assert 1 + len(shuffle.contacts) == 8


def test_shuffles_are_frequent_while_the_view_changes_and_rare_afterwards():
    bare = Bare(50).befriend(1, 2, 3, 4, 5)
    early = len(shuffles(bare.until(CONFIG.settle_us)))
    assert 4 <= early <= 7
    assert len(shuffles(bare.until(100 * SECOND_US))) <= 11
    bare.hear(1, Disconnect(True, ()))
    assert len(shuffles(bare.until(105 * SECOND_US))) >= 4


def test_who_has_no_neighbour_does_not_shuffle():
    assert shuffles(Bare(50).remember(1, 2).until(30 * SECOND_US)) == []


def test_shuffles_are_counted():
    bare = full()
    assert bare.overlay.statistics().shuffles == 0
    said = len(shuffles(bare.until(40 * SECOND_US)))
    assert bare.overlay.statistics().shuffles == said > 3


def test_shuffles_go_to_all_neighbours_in_turn_by_chance():
    goals = {to for to, _ in shuffles(full().until(300 * SECOND_US))}
    assert goals == {1, 2, 3, 4, 5}


# --- the walk -------------------------------------------------------------------------------------------------------


def pass_on(bare: Bare, hops_left: int, origin: int = 9, peer: int = 1, carried: tuple[Contact, ...] = ()):
    return bare.hear(peer, Shuffle(contact(origin), hops_left, carried))


def test_a_shuffle_walks_on_unchanged_but_for_its_hops():
    for seed in range(20):
        bare = full(seed=seed)
        ((to, onward),) = shuffles(pass_on(bare, 6, carried=contacts(20, 21)))
        assert onward == Shuffle(contact(9), 5, contacts(20, 21))
        assert to in (2, 3, 4, 5) and bare.passive == [], "neither back nor taken in on the way"


def test_a_shuffle_is_not_handed_to_its_origin():
    bare = Bare(50).befriend(1, 9)
    assert shuffles(pass_on(bare, 6)) == []
    assert [to for to, _ in sent(pass_on(bare, 6), ShuffleReply)] == [9]


def test_our_own_shuffle_that_comes_home_means_nothing():
    assert pass_on(full(10), 6, origin=50) == pass_on(full(10), 1, origin=50) == []


@pytest.mark.parametrize("hops_left", [7, 255])
def test_a_shuffle_cannot_walk_longer_than_ours(hops_left):
    ((_, onward),) = shuffles(pass_on(full(), hops_left))
    assert onward.hops_left == CONFIG.active_walk - 1


@pytest.mark.parametrize("hops_left", [0, 1])
def test_at_its_end_a_shuffle_is_answered_straight_to_its_origin(hops_left):
    effects = pass_on(full(10, 11, 12), hops_left, carried=contacts(20, 21))
    (reply,) = effects
    assert isinstance(reply, Send) and (reply.to, reply.address) == (site(9), "n9:1")
    assert isinstance(reply.message, ShuffleReply)


def test_who_has_one_neighbour_ends_the_walk():
    bare = Bare(50, OverlayConfig(active_max=1)).befriend(1)
    assert [to for to, _ in sent(pass_on(bare, 6), ShuffleReply)] == [9]


# --- the answer and what both sides keep ----------------------------------------------------------------------------


def test_the_answer_is_as_long_as_the_question_and_full_of_others():
    ((_, reply),) = sent(pass_on(full(*range(10, 30)), 1, carried=contacts(*range(31, 38))), ShuffleReply)
    assert len(reply.contacts) == 8 and all(10 <= n < 30 for n in numbers(reply.contacts))


def test_neighbours_fill_up_what_a_small_passive_view_lacks():
    ((_, reply),) = sent(pass_on(full(10), 1, carried=contacts(*range(31, 38))), ShuffleReply)
    assert numbers(reply.contacts) == [1, 2, 3, 4, 5, 10]


def test_neighbours_fill_up_only_what_is_lacking():
    ((_, reply),) = sent(pass_on(full(10), 1, carried=contacts(31, 32)), ShuffleReply)
    assert len(reply.contacts) == 3 and 10 in numbers(reply.contacts)


def test_nobody_is_told_of_itself():
    bare = full(9, 10)
    ((_, reply),) = sent(pass_on(bare, 1, carried=contacts(20, 21, 22)), ShuffleReply)
    assert 9 not in numbers(reply.contacts)


def test_the_origin_and_what_it_carried_are_kept_but_no_neighbours_and_not_ourselves():
    bare = full()
    pass_on(bare, 1, carried=contacts(20, 1, 50, 21))
    assert bare.passive == [9, 20, 21]


def test_what_was_sent_makes_room_for_what_came():
    """The paper drops what it gave away first: both sides together forget nothing."""
    config = OverlayConfig(passive_max=6)
    bare = full(10, 11, 12, 13, 14, 15, config=config)
    ((_, reply),) = sent(pass_on(bare, 1, carried=contacts(20, 21)), ShuffleReply)
    given = set(numbers(reply.contacts))
    assert len(given) == 3
    assert set(bare.passive) == ({10, 11, 12, 13, 14, 15} - given) | {9, 20, 21}


def test_the_answer_makes_room_in_the_same_way():
    config = OverlayConfig(passive_max=6)
    bare = full(10, 11, 12, 13, 14, 15, config=config)
    _, shuffle = shuffles(bare.until(20 * SECOND_US))[-1]
    given = {n for n in numbers(shuffle.contacts) if n >= 10}
    bare.hear(3, ShuffleReply(contacts(20, 21, 22, 23)))
    assert set(bare.passive) == ({10, 11, 12, 13, 14, 15} - given) | {20, 21, 22, 23}


def test_a_newer_life_in_a_shuffle_replaces_the_older_one_and_not_the_other_way_round():
    bare = full(9)
    pass_on(bare, 1, origin=8, carried=(contact(9, 3),))
    assert bare.overlay.passive.get(site(9)) == contact(9, 3)
    pass_on(bare, 1, origin=8, carried=(contact(9, 2),))
    assert bare.overlay.passive.get(site(9)) == contact(9, 3)


@pytest.mark.parametrize("message", [Shuffle(contact(9), 1, contacts(20)), ShuffleReply(contacts(9, 20))])
def test_what_a_shuffle_brings_fills_free_places(message):
    bare = Bare(50, OverlayConfig(active_max=3)).befriend(1)
    asked = [to for to, _ in sent(bare.hear(1, message), NeighborRequest)]
    assert sorted(asked) == [9, 20]


def test_an_answer_is_never_longer_than_a_message_may_be():
    """A peer that sends as much as it may must not make us send more than others accept."""
    bare = full(*range(100, 190), config=OverlayConfig(passive_max=100))
    ((_, reply),) = sent(pass_on(bare, 1, carried=contacts(*range(200, 200 + CONTACTS_MAX))), ShuffleReply)
    assert len(reply.contacts) <= CONTACTS_MAX


def test_a_view_never_grows_beyond_its_bound_however_much_is_carried():
    bare = full()
    for start in range(100, 2000, CONTACTS_MAX):
        pass_on(bare, 1, origin=9, carried=contacts(*range(start, start + CONTACTS_MAX)))
        bare.hear(1, ShuffleReply(contacts(*range(start + 5000, start + 5000 + CONTACTS_MAX))))
    assert len(bare.passive) == CONFIG.passive_max
    assert [number_of(one.site) for one in bare.overlay.neighbours()] == [1, 2, 3, 4, 5]
