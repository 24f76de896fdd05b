"""What membership and the detector say of members: whom to fall back on, whom to look for, and a new beginning."""

from __future__ import annotations

from random import Random

import pytest

from covey.core.ids import ClusterId, Contact
from covey.core.vocabulary import (
    AddressAnswered,
    Cause,
    ClusterChanged,
    Dial,
    Flood,
    Liveness,
    LivenessChanged,
    MemberAdded,
    MemberRemoved,
    Multicast,
    Send,
)
from covey.protocols.overlay.machine import Overlay
from covey.protocols.overlay.vocabulary import SeedsResolved
from covey.wire.messages.overlay import Beacon, Disconnect, Join, Left, NeighborRequest, Probe, ProbeReply, Shuffle
from tests.protocols.overlay.overlay_harness import (
    CONFIG,
    SECOND_US,
    Bare,
    contact,
    contacts,
    down,
    sent,
    site,
    unpinned,
)

ANOTHER = ClusterId(b"c" * 16)


def added(number: int, incarnation: int = 1, observed: bool = True) -> MemberAdded:
    return MemberAdded(contact(number, incarnation), False, observed)


def becomes(number: int, state: Liveness, incarnation: int = 1) -> LivenessChanged:
    return LivenessChanged(contact(number, incarnation), state, "why", "spoke")


def changed(incarnation: int = 2, solo: bool = False) -> ClusterChanged:
    return ClusterChanged(ANOTHER, incarnation, solo)


def dials(effects) -> list[str]:
    return [effect.address for effect in effects if isinstance(effect, Dial)]


def full() -> Bare:
    """Nobody is asked for a link, so that only what is remembered shows."""
    return Bare(5).befriend(1, 2, 3, 4, 6)


# --- flooding -------------------------------------------------------------------------------------------------------


def test_what_is_flooded_goes_to_every_neighbour_but_the_one_it_came_from():
    bare = Bare(5).befriend(1, 2, 3)
    news = Left(site(9), 1)
    assert bare.feed(Flood(news)) == [Multicast((site(1), site(2), site(3)), news)]
    assert bare.feed(Flood(news, site(2))) == [Multicast((site(1), site(3)), news)]


def test_what_nobody_is_there_to_hear_is_not_flooded():
    assert Bare(5).feed(Flood(Left(site(9), 1))) == []
    assert Bare(5).befriend(1).feed(Flood(Left(site(9), 1), site(1))) == []


# --- members --------------------------------------------------------------------------------------------------------


def test_a_member_is_asked_for_a_link_where_a_place_is_free():
    assert [to for to, _ in sent(Bare(5).befriend(1).feed(added(9)), NeighborRequest)] == [9]


def test_a_member_is_somebody_to_fall_back_on_where_none_is():
    bare = full()
    assert bare.feed(added(9)) == []
    assert bare.passive == [9]


def test_only_a_member_that_nobody_has_observed_is_looked_for_at_its_address():
    for observed in (True, False):
        bare = full()
        bare.until(SECOND_US // 2)
        bare.feed(added(9, observed=observed))
        assert ("n9:1" in bare.overlay.book) is not observed
        assert dials(bare.at(bare.now_us)) == ([] if observed else ["n9:1"])


def test_ourselves_and_who_has_no_address_are_nobody_to_fall_back_on():
    bare = Bare(5)
    assert bare.feed(added(5)) == bare.feed(MemberAdded(Contact(site(9), 1, ""), False, False)) == []
    assert (bare.passive, len(bare.overlay.book)) == ([], 0)


def test_a_leaver_that_belongs_again_is_one_to_fall_back_on():
    bare = full()
    bare.hear(1, Left(site(9), 1))
    bare.feed(added(9))
    assert bare.passive == [9]


def test_a_neighbour_that_does_not_belong_any_more_is_told_so_and_is_none():
    bare = Bare(5).befriend(1, 2)
    assert bare.feed(MemberRemoved(site(2), site(1))) == [
        Send(site(2), Disconnect(True, ())),
        unpinned(2),
        down(2, Cause.GOODBYE),
    ]
    assert (bare.active, bare.passive) == ([1], [])


def test_who_does_not_belong_any_more_is_forgotten_and_shuffles_do_not_bring_it_back():
    bare = full().remember(9)
    bare.overlay.book.add("n9:1", 0)
    bare.feed(MemberRemoved(site(9), site(9)))
    bare.hear(1, Shuffle(contact(8), 1, contacts(9)))
    assert bare.passive == [8]
    assert "n9:1" not in bare.overlay.book


def test_who_does_not_belong_any_more_is_not_waited_for():
    bare = Bare(5).befriend(1, 2).remember(9)
    bare.lose(1)
    assert bare.overlay.statistics().requests == 1
    bare.feed(MemberRemoved(site(9)))
    assert bare.overlay.statistics().requests == 0


def test_a_place_that_became_free_so_is_filled_at_once():
    bare = full().remember(9)
    assert [to for to, _ in sent(bare.feed(MemberRemoved(site(2))), NeighborRequest)] == [9]


def test_a_stranger_that_goes_changes_nothing():
    bare = full()
    assert bare.feed(MemberRemoved(site(9))) == []
    assert bare.overlay.leavers.sites() == []


def test_the_address_of_one_that_went_is_asked_on_if_it_is_a_seed():
    bare = full().remember(9)
    bare.feed(SeedsResolved(("n9:1",)))
    bare.feed(MemberRemoved(site(9)))
    assert "n9:1" in bare.overlay.book


# --- liveness -------------------------------------------------------------------------------------------------------


def test_a_dead_member_is_nobody_to_fall_back_on_and_its_address_is_asked_from_then_on():
    bare = full().remember(9)
    assert bare.feed(becomes(9, Liveness.DOWN)) == []
    assert bare.passive == []
    assert dials(bare.until(CONFIG.probe_backoff_us_min))[:1] == ["n9:1"]


def test_a_stopped_member_is_nobody_to_fall_back_on_and_is_not_looked_for():
    bare = full().remember(9)
    bare.overlay.book.add("n9:1", 0)
    assert bare.feed(becomes(9, Liveness.STOPPED)) == []
    assert bare.passive == []
    assert "n9:1" not in bare.overlay.book


def test_a_member_that_lives_is_one_to_fall_back_on_and_not_dialled_for_a_while():
    bare = full()
    bare.overlay.book.add("n9:1", 0)
    assert bare.feed(becomes(9, Liveness.ALIVE)) == []
    assert bare.passive == [9]
    assert dials(bare.until(CONFIG.probe_backoff_us_max - 1)) == []


@pytest.mark.parametrize("state", [Liveness.UNKNOWN, Liveness.SUSPECT])
def test_a_mere_suspicion_changes_nothing(state):
    bare = full().remember(9)
    assert bare.feed(becomes(9, state)) == []
    assert (bare.passive, len(bare.overlay.book)) == ([9], 0)


def test_a_living_member_whose_address_nobody_knows_is_not_remembered():
    bare = full()
    bare.feed(LivenessChanged(Contact(site(9), 1, ""), Liveness.ALIVE, "why", "spoke"))
    assert bare.passive == []


# --- another cluster ------------------------------------------------------------------------------------------------


def test_another_cluster_begins_with_nobody():
    bare = Bare(5).befriend(1, 2).remember(9)
    bare.hear(1, Beacon(site(1), 1, 1, 0), Left(site(8), 1))
    bare.overlay.book.add("n9:1", 0)
    bare.lose(2)
    assert bare.overlay.statistics().requests == 1
    assert bare.feed(changed(solo=True)) == [unpinned(1), down(1, Cause.GOODBYE)]
    overlay = bare.overlay
    assert (bare.active, bare.passive, len(overlay.book), overlay.leavers.sites()) == ([], [], 0, [])
    assert (overlay.statistics().requests, overlay.lowest.site) == (0, site(5))


def test_the_seeds_are_asked_again_by_the_new_life():
    bare = Bare(5)
    bare.feed(SeedsResolved(("n9:1",)))
    bare.until(10)
    assert bare.feed(changed(incarnation=7)) == []
    assert dials(bare.at(bare.now_us)) == ["n9:1"]
    me = Contact(site(5), 7, "n5:1")
    assert sent(bare.feed(AddressAnswered("n9:1", contact(9))), Join) == [(9, Join(me, 1))]


def test_an_answer_to_a_dial_or_question_of_before_is_nothing_to_us():
    bare = Bare(5).befriend(1)
    bare.feed(SeedsResolved(("n8:1", "n9:1")))
    assert sorted(set(dials(bare.until(2 * SECOND_US)))) == ["n8:1", "n9:1"]
    assert len(sent(bare.feed(AddressAnswered("n8:1", contact(8))), Probe)) == 1
    bare.feed(changed(solo=True))
    assert bare.feed(AddressAnswered("n9:1", contact(9))) == []
    assert bare.hear(8, ProbeReply(site(1))) == []


def test_who_is_alone_looks_for_nobody_until_it_is_not():
    """Seeds that are told meanwhile are kept for later."""
    bare = Bare(5)
    bare.feed(SeedsResolved(("n8:1",)))
    bare.feed(changed(solo=True))
    bare.feed(SeedsResolved(("n9:1",)))
    assert dials(bare.until(60 * SECOND_US)) == []
    bare.feed(changed(incarnation=3))
    assert sorted(set(dials(bare.until(62 * SECOND_US)))) == ["n8:1", "n9:1"]


def test_who_starts_alone_looks_for_nobody_either():
    bare = Bare(5)
    bare.overlay = Overlay(CONFIG, Random(1), 0, me=contact(5), solo=True)
    bare.feed(SeedsResolved(("n9:1",)))
    assert dials(bare.until(60 * SECOND_US)) == []


def test_seeds_kept_for_later_are_bounded_and_the_latest_count():
    bare = Bare(5)
    bare.feed(changed(solo=True))
    bare.feed(SeedsResolved(tuple(f"n{number}:1" for number in range(CONFIG.addresses_max + 10))))
    bare.feed(changed(incarnation=3))
    assert len(bare.overlay.book) == CONFIG.addresses_max
    assert "n9:1" not in bare.overlay.book
    assert "n10:1" in bare.overlay.book
