"""A newcomer: its contact takes it in, and its name goes on walks (HyParView, section 4.2)."""

from __future__ import annotations

import pytest

from covey.core.ids import Contact
from covey.core.vocabulary import Cause, Multicast, Send
from covey.protocols.overlay.config import OverlayConfig
from covey.wire.messages.overlay import (
    Beacon,
    Disconnect,
    ForwardJoin,
    Join,
    NeighborReply,
    NeighborRequest,
)
from tests.protocols.overlay.overlay_harness import (
    CONFIG,
    Bare,
    contact,
    down,
    number_of,
    pinned,
    sent,
    site,
    unpinned,
    up,
)


def said_yes(number: int, to: int) -> Send:
    return Send(site(to), NeighborReply(number, True), f"n{to}:1")


def test_the_first_newcomer_is_taken_in_and_told_who_we_are():
    assert Bare(5).hear(9, Join(contact(9), 3)) == [
        said_yes(3, 9),
        pinned(9),
        up(9),
        Send(site(9), Beacon(site(5), 1, 0, 0)),
    ]


def test_a_lower_site_is_not_told_of_a_higher_one():
    assert Bare(5).hear(2, Join(contact(2), 3)) == [said_yes(3, 2), pinned(2), up(2)]


def test_the_newcomers_name_goes_to_every_other_neighbour():
    bare = Bare(5).befriend(1, 2, 3)
    effects = bare.hear(4, Join(contact(4), 1))
    assert effects[-1] == Multicast((site(1), site(2), site(3)), ForwardJoin(contact(4), CONFIG.active_walk))
    assert bare.active == [1, 2, 3, 4]


def test_a_full_contact_makes_room_and_tells_who_had_to_go_whom_to_ask():
    bare = Bare(5, OverlayConfig(active_max=1)).befriend(1).remember(7)
    effects = bare.hear(2, Join(contact(2), 1))
    assert effects == [
        said_yes(1, 2),
        Send(site(1), Disconnect(True, (contact(2), contact(7)))),
        unpinned(1),
        down(1, Cause.REPLACED),
        pinned(2),
        up(2),
    ]
    assert (bare.active, bare.passive) == ([2], [1, 7])
    assert bare.overlay.statistics().evictions == 1


def test_who_is_evicted_is_chosen_by_chance():
    victims = set()
    for seed in range(40):
        bare = Bare(5, OverlayConfig(active_max=3), seed=seed).befriend(1, 2, 3)
        ((victim, _),) = sent(bare.hear(4, Join(contact(4), 1)), Disconnect)
        victims.add(victim)
    assert victims == {1, 2, 3}


def test_a_neighbour_that_joins_again_is_answered_and_nothing_else_changes():
    bare = Bare(5).befriend(1, 9)
    assert bare.hear(9, Join(contact(9), 8)) == [
        said_yes(8, 9),
        Multicast((site(1),), ForwardJoin(contact(9), CONFIG.active_walk)),
    ]
    assert bare.active == [1, 9]


def test_a_neighbours_new_life_takes_the_old_ones_place():
    bare = Bare(5).befriend(2)
    assert bare.hear(2, Join(contact(2, 2), 1)) == [
        said_yes(1, 2),
        unpinned(2),
        down(2, Cause.REPLACED),
        pinned(2),
        up(2, 2),
    ]
    assert bare.overlay.neighbours() == [contact(2, 2)]


def test_a_newcomer_that_was_in_the_passive_view_leaves_it():
    bare = Bare(5).remember(9)
    bare.hear(9, Join(contact(9), 1))
    assert (bare.active, bare.passive) == ([9], [])
    assert bare.overlay.contact(site(9)) == contact(9)


@pytest.mark.parametrize("message", [Join(contact(2), 1), NeighborRequest(contact(2), 1, True)])
def test_nobody_asks_in_the_name_of_another(message):
    bare = Bare(5).befriend(9)
    assert bare.hear(9, message) == []
    assert bare.active == [9] and bare.passive == []


def test_a_newcomer_without_an_address_is_a_neighbour_as_long_as_its_link_lives():
    nameless = Contact(site(9), 1, "")
    bare = Bare(5)
    bare.hear(9, Join(nameless, 1))
    assert bare.active == [9]
    assert all(effect.address == "" for effect in bare.hear(9, Join(nameless, 2)) if isinstance(effect, Send))


# --- the walk -------------------------------------------------------------------------------------------------------


def walk(bare: Bare, hops_left: int, sender: int = 1, joiner: int = 9):
    return bare.hear(sender, ForwardJoin(contact(joiner), hops_left))


def test_a_walk_goes_on_to_a_random_neighbour_but_not_back():
    goals = set()
    for seed in range(40):
        ((to, onward),) = sent(walk(Bare(5, seed=seed).befriend(1, 2, 3), 6), ForwardJoin)
        assert onward == ForwardJoin(contact(9), 5)
        goals.add(to)
    assert goals == {2, 3}


def test_a_walk_does_not_visit_the_newcomer_itself():
    for seed in range(20):
        ((to, _),) = sent(walk(Bare(5, seed=seed).befriend(1, 2, 9), 6), ForwardJoin)
        assert to == 2


def test_a_walk_ends_where_it_can_go_nowhere_else():
    bare = Bare(5).befriend(1, 9)
    assert walk(bare, 6) == [], "the newcomer is our neighbour already"
    bare = Bare(5).befriend(1)
    assert sent(walk(bare, 6), NeighborRequest) == [(9, NeighborRequest(contact(5), 1, False))]


def test_a_walk_that_came_from_a_stranger_ends_at_a_node_with_one_neighbour():
    assert sent(walk(Bare(5).befriend(1), 6, sender=77), NeighborRequest) == [
        (9, NeighborRequest(contact(5), 1, False))
    ]


def test_at_the_passive_walks_length_the_newcomer_is_remembered():
    bare = Bare(5).befriend(1, 2)
    for hops_left in (6, 5, 4, 2, 1):
        walk(bare, hops_left)
        assert bare.passive == []
    walk(bare, CONFIG.passive_walk)
    assert bare.passive == [9]


def test_at_its_end_a_walk_asks_the_newcomer_for_a_link():
    bare = Bare(5).befriend(1, 2)
    assert walk(bare, 0) == [Send(site(9), NeighborRequest(contact(5), 1, False), "n9:1")]
    assert bare.active == [1, 2], "nobody is a neighbour before both sides said so"
    effects = bare.hear(9, NeighborReply(1, True))
    assert up(9) in effects and bare.active == [1, 2, 9]


def test_a_walk_ends_at_a_full_node_too_and_costs_it_a_neighbour():
    """Else newcomers to an overlay whose nodes are all full would find nobody but their contact."""
    bare = Bare(5, OverlayConfig(active_max=2)).befriend(1, 2)
    walk(bare, 0)
    effects = bare.hear(9, NeighborReply(1, True))
    ((victim, _),) = sent(effects, Disconnect)
    assert victim in (1, 2) and up(9) in effects
    assert len(bare.active) == 2 and 9 in bare.active


def test_a_walk_with_our_own_name_means_nothing():
    assert walk(Bare(5).befriend(1, 2), 6, joiner=5) == []


def test_a_walk_for_a_leaver_is_forgotten():
    bare = Bare(5).befriend(1, 2)
    bare.hear(9, Disconnect(False, ()))
    assert walk(bare, 6) == walk(bare, 0) == []


@pytest.mark.parametrize("hops_left", [7, 100, 255])
def test_a_walk_cannot_be_made_longer_than_ours(hops_left):
    ((_, onward),) = sent(walk(Bare(5).befriend(1, 2), hops_left), ForwardJoin)
    assert onward.hops_left == CONFIG.active_walk - 1


def test_two_walks_of_one_newcomer_ask_it_once():
    bare = Bare(5).befriend(1, 2)
    assert len(walk(bare, 0)) == 1
    assert walk(bare, 0, sender=2) == []


def test_a_flood_of_walks_does_not_make_us_ask_everybody_at_once():
    """One peer must not be able to make us dial the world."""
    bare = Bare(5).befriend(1, 2)
    for joiner in range(100, 1100):
        walk(bare, 0, joiner=joiner)
    assert bare.overlay.statistics().requests <= CONFIG.passive_max


def test_neighbours_are_listed_in_the_order_in_which_their_links_came_up():
    bare = Bare(5).befriend(3, 1, 2)
    assert [number_of(one.site) for one in bare.overlay.neighbours()] == [3, 1, 2]
