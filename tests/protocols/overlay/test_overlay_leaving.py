"""Links that break, neighbours that disagree, and leaving."""

from __future__ import annotations

import pytest

from covey.core.ids import Contact
from covey.core.vocabulary import (
    AddressAnswered,
    AddressLearned,
    Cause,
    Channel,
    Dial,
    Multicast,
    PeerConnected,
    PeerLost,
    PeerUnreached,
    Send,
)
from covey.protocols.overlay.config import OverlayConfig
from covey.protocols.overlay.vocabulary import LeaveOverlay, SeedsResolved
from covey.wire.messages.overlay import (
    Affirm,
    Disconnect,
    ForwardJoin,
    Join,
    NeighborReply,
    NeighborRequest,
    Shuffle,
)
from tests.protocols.overlay.overlay_harness import (
    CONFIG,
    CONTROL,
    SECOND_US,
    Bare,
    contact,
    contacts,
    down,
    numbers,
    sent,
    site,
    unpinned,
)

GONE = [Cause.CLOSED, Cause.RESET, Cause.SILENT, Cause.SLOW, Cause.GOODBYE, Cause.VIOLATION, Cause.DECODE]
STILL_THERE = [Cause.IDLE, Cause.REPLACED, Cause.CROSSING, Cause.BUSY]

# --- links that break -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", GONE)
def test_a_broken_link_is_told_at_once_and_its_peer_is_no_good_contact(cause):
    bare = Bare(5).befriend(1, 2)
    assert bare.lose(2, cause) == [unpinned(2), down(2, cause)]
    assert (bare.active, bare.passive) == ([1], [])


@pytest.mark.parametrize("cause", STILL_THERE)
def test_a_link_that_ended_with_its_peer_alive_leaves_a_contact_behind(cause):
    bare = Bare(5, OverlayConfig(active_max=1)).befriend(1)
    effects = bare.lose(1, cause)
    assert effects[:2] == [unpinned(1), down(1, cause)]
    assert sent(effects, NeighborRequest) == [(1, NeighborRequest(contact(5), 1, True))]
    assert bare.passive == [1]


def test_the_peer_of_a_broken_link_is_tried_again_soon():
    """In case it was the network. Two neighbours are left, so nobody is in a hurry."""
    bare = Bare(5).befriend(1, 2, 3)
    bare.until(100 * SECOND_US)
    bare.lose(3)
    dials = [effect for effect in bare.until(103 * SECOND_US) if isinstance(effect, Dial)]
    assert dials[0] == Dial("n3:1")


def test_a_broken_link_to_somebody_else_fills_free_places_only():
    bare = Bare(5).befriend(1, 2).remember(9)
    assert sent(bare.lose(77), NeighborRequest) == [(9, NeighborRequest(contact(5), 1, False))]
    assert Bare(5).befriend(1, 2).remember(9).lose(77, Cause.IDLE) == []


def test_a_link_that_its_peer_needs_no_more_does_not_end_a_question():
    bare = Bare(5).befriend(1, 2).remember(9)
    bare.lose(1)
    assert bare.lose(9, Cause.IDLE) == []
    assert bare.overlay.statistics().requests == 1


@pytest.mark.parametrize("cause", GONE)
def test_a_peer_whose_link_breaks_over_a_question_is_not_asked_again_at_once(cause):
    """It may break its links over this very question: asking again at once would go on for ever."""
    bare = Bare(5, OverlayConfig(active_max=2)).befriend(1, 2).remember(9)
    bare.lose(1)
    assert sent(bare.lose(9, cause), NeighborRequest) == []
    bare.remember(8, 9)
    later = [to for to, _ in sent(bare.until(2 * CONFIG.promote_period_us), NeighborRequest)]
    assert later and set(later) <= {8, 9}


def test_the_data_channel_is_none_of_the_overlays_business():
    bare = Bare(5).befriend(1)
    for fact in (
        PeerLost(contact(1), Channel.DATA, Cause.RESET),
        PeerUnreached(site(1), Channel.DATA, Cause.TIMEOUT),
        PeerConnected(contact(9), Channel.DATA),
    ):
        assert bare.feed(fact) == []
    assert bare.active == [1] and len(bare.overlay.book) == 0


def test_a_peer_without_an_address_may_come_and_go():
    """A node that listens on every interface has none before its first link."""
    nameless = Contact(site(9), 1, "")
    bare = Bare(5).befriend(1)
    bare.feed(PeerConnected(nameless, CONTROL))
    bare.hear(9, Join(nameless, 1))
    assert bare.feed(PeerLost(nameless, CONTROL, Cause.RESET))[0] == unpinned(9)
    assert bare.active == [1]


# --- neighbours that disagree ---------------------------------------------------------------------------------------


def test_neighbours_affirm_each_other_from_time_to_time():
    bare = Bare(5).befriend(1, 2)
    affirmed = [
        effect
        for effect in bare.until(13 * CONFIG.affirm_period_us // 2)
        if effect == Multicast((site(1), site(2)), Affirm())
    ]
    assert 5 <= len(affirmed) <= 7


def test_nobody_is_affirmed_by_who_has_no_neighbour():
    assert [effect for effect in Bare(5).until(60 * SECOND_US) if isinstance(effect, Multicast)] == []


def test_a_neighbour_that_affirms_us_is_right():
    assert Bare(5).befriend(1).hear(1, Affirm()) == []


def test_who_takes_us_for_a_neighbour_and_is_wrong_is_told_so_and_whom_to_ask():
    ((to, answer),) = sent(Bare(5).befriend(1, 2).remember(8).hear(9, Affirm()), Disconnect)
    assert to == 9 and answer.alive and numbers(answer.instead) == [1, 2, 8]


def test_who_is_told_so_is_not_told_of_itself():
    ((_, answer),) = sent(Bare(5).befriend(1, 2).remember(9).hear(9, Affirm()), Disconnect)
    assert numbers(answer.instead) == [1, 2]


def test_who_affirms_us_while_its_answer_is_on_the_way_may_be_right():
    bare = Bare(5).befriend(1, 2).remember(9)
    bare.lose(1)
    assert bare.hear(9, Affirm()) == []


# --- being dropped --------------------------------------------------------------------------------------------------


def test_who_is_dropped_remembers_the_other_and_asks_those_it_was_told_of():
    for seed in range(10):
        bare = Bare(5, OverlayConfig(active_max=2), seed=seed).befriend(1, 2)
        effects = bare.hear(2, Disconnect(True, contacts(8)))
        assert effects[:2] == [unpinned(2), down(2, Cause.REPLACED)]
        assert sent(effects, NeighborRequest) == [(8, NeighborRequest(contact(5), 1, False))]
        assert bare.passive == [2, 8], "and not the one that has just dropped it"


def test_a_dismissal_by_a_stranger_still_names_contacts():
    bare = Bare(5).befriend(1, 2, 3, 4, 6)
    assert bare.hear(9, Disconnect(True, contacts(8, 5, 1))) == []
    assert bare.passive == [8]


@pytest.mark.parametrize("neighbour", [True, False])
def test_a_leaver_is_in_no_view_whoever_names_it(neighbour):
    bare = Bare(5).befriend(1, 2).remember(9)
    if neighbour:
        bare.befriend(9)
    effects = bare.hear(9, Disconnect(False, contacts(7)))
    assert (down(9, Cause.GOODBYE) in effects) == neighbour
    for message in (Disconnect(True, contacts(9)), Shuffle(contact(1), 1, contacts(9)), ForwardJoin(contact(9), 3)):
        bare.hear(1, message)
        assert 9 not in bare.active and 9 not in bare.passive


def test_a_leaver_is_not_waited_for():
    bare = Bare(5).befriend(1, 2).remember(9)
    bare.lose(1)
    bare.hear(9, Disconnect(False, ()))
    assert bare.overlay.statistics().requests == 0


def test_a_leaver_is_kept_out_for_a_while_only():
    bare = Bare(5).befriend(1, 2, 3, 4, 6)
    bare.hear(9, Disconnect(False, ()))
    bare.until(CONFIG.departed_us - 1)
    bare.hear(1, Disconnect(True, contacts(9)))
    assert bare.passive == [1]
    bare.until(CONFIG.departed_us + 2 * CONFIG.shuffle_period_us)
    bare.hear(2, Disconnect(True, contacts(9)))
    assert 9 in bare.passive + bare.active or bare.overlay.statistics().requests


@pytest.mark.parametrize("message", [Join(contact(9), 1), NeighborRequest(contact(9), 1, True)])
def test_a_leaver_that_asks_again_has_changed_its_mind(message):
    bare = Bare(5).befriend(1, 2)
    bare.hear(9, Disconnect(False, ()))
    bare.hear(9, message)
    assert bare.active == [1, 2, 9]


def test_a_leaver_that_answers_at_an_address_is_back():
    bare = Bare(5).befriend(1, 2)
    bare.feed(SeedsResolved(("n9:1",)))
    bare.hear(9, Disconnect(False, ()))
    bare.until(SECOND_US)
    bare.feed(AddressAnswered("n9:1", contact(9)))
    bare.hear(1, Disconnect(True, contacts(9)))
    assert bare.overlay.statistics().requests == 1 or 9 in bare.passive


def test_a_new_life_is_no_leaver():
    """A rolling restart: the old life said that it goes, the new one joins a second later."""
    bare = Bare(5).befriend(1, 2, 9)
    bare.hear(9, Disconnect(False, ()))
    bare.hear(1, ForwardJoin(contact(9, 2), CONFIG.passive_walk))
    assert bare.overlay.passive.get(site(9)) == contact(9, 2)


def test_the_leavers_remembered_are_bounded_and_the_oldest_is_forgotten_first():
    bare = Bare(5, OverlayConfig(departed_max=2)).befriend(1, 2)
    for second, leaver in enumerate((7, 8, 9)):
        bare.now_us = second * SECOND_US
        bare.hear(leaver, Disconnect(False, ()))
    bare.hear(1, Shuffle(contact(1), 1, contacts(7, 8, 9)))
    assert bare.overlay.contact(site(7)) is not None or bare.overlay.statistics().requests == 1
    assert 8 not in bare.passive and 9 not in bare.passive


# --- leaving --------------------------------------------------------------------------------------------------------


def test_leaving_tells_each_neighbour_whom_to_take_instead():
    bare = Bare(5).befriend(1, 2).remember(8)
    assert bare.feed(LeaveOverlay()) == [
        Send(site(1), Disconnect(False, contacts(2, 8))),
        Send(site(2), Disconnect(False, contacts(1, 8))),
        unpinned(1),
        down(1, Cause.GOODBYE),
        unpinned(2),
        down(2, Cause.GOODBYE),
    ]
    assert bare.active == [] and bare.overlay.deadline() is None


def test_who_has_left_says_nothing_any_more():
    bare = Bare(5).befriend(1).remember(8)
    bare.feed(LeaveOverlay())
    for message in (Join(contact(9), 1), NeighborReply(1, True), Affirm(), Shuffle(contact(9), 3, ())):
        assert bare.hear(9, message) == []
    assert bare.lose(1, Cause.GOODBYE) == []
    assert bare.unreached(8) == []
    assert bare.feed(AddressAnswered("n8:1", contact(8))) == []
    assert bare.feed(LeaveOverlay()) == []


@pytest.mark.parametrize("news", ["a lost link", "seeds"])
def test_who_has_left_dials_nobody(news):
    bare = Bare(5).befriend(1).remember(8)
    bare.feed(LeaveOverlay())
    bare.lose(1, Cause.GOODBYE) if news == "a lost link" else bare.feed(SeedsResolved(("n8:1",)))
    assert bare.until(60 * SECOND_US) == []


def test_who_leaves_while_it_asks_forgets_its_question():
    bare = Bare(5).befriend(1, 2).remember(9)
    bare.lose(1)
    bare.feed(LeaveOverlay())
    assert bare.overlay.statistics().requests == 0


def test_the_address_we_learn_is_ours_from_then_on():
    bare = Bare(5)
    assert bare.feed(AddressLearned("n5.example:1")) == []
    bare.befriend(1).remember(9)
    ((_, request),) = sent(bare.lose(1), NeighborRequest)
    assert request.sender == Contact(site(5), 1, "n5.example:1")
