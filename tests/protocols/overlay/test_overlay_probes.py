"""Probing addresses: one a second, each with its own growing pause (DESIGN 3.4)."""

from __future__ import annotations

from itertools import pairwise

from covey.core.ids import Contact
from covey.core.vocabulary import AddressAnswered, AddressFailed, AddressLearned, Cause, Dial, PeerConnected, Send
from covey.protocols.overlay.config import OverlayConfig
from covey.protocols.overlay.vocabulary import SeedsResolved
from covey.wire.messages.overlay import Beacon, Disconnect, Join, NeighborRequest, Probe, ProbeReply
from tests.protocols.overlay.overlay_harness import CONFIG, CONTROL, SECOND_US, Bare, contact, contacts, sent, site


def dials(effects) -> list[str]:
    return [effect.address for effect in effects if isinstance(effect, Dial)]


def seeded(*which: int, neighbours: tuple[int, ...] = (), config: OverlayConfig = CONFIG) -> Bare:
    bare = Bare(5, config).befriend(*neighbours)
    bare.feed(SeedsResolved(tuple(f"n{number}:1" for number in which)))
    return bare


def probed(lowest: int | None = None) -> Bare:
    """A node with two neighbours that has dialled node 9."""
    bare = seeded(9, neighbours=(6, 7))
    if lowest is not None:
        bare.hear(6, Beacon(site(lowest), 1, 1, 0))
    assert dials(bare.until(1)) == ["n9:1"]
    return bare


# --- when ------------------------------------------------------------------------------------------------------------


def test_a_seed_is_dialled_at_once():
    assert dials(seeded(9).at(1)) == ["n9:1"]


def test_one_address_is_tried_each_second_and_the_one_due_longest_first():
    bare = seeded(7, 8, 9, neighbours=(1,))
    assert dials(bare.at(1)) == ["n7:1"]
    tried = dials(bare.until(3 * SECOND_US))
    assert tried[:2] == ["n8:1", "n9:1"] and len(tried) <= 3


def test_who_is_alone_tries_four_a_second():
    """All of a cluster start at once, and the seed that is asked first may not listen yet."""
    bare = seeded(6, 7, 8, 9)
    assert dials(bare.until(SECOND_US)) == ["n6:1", "n7:1", "n8:1", "n9:1"]


def test_an_address_that_fails_is_tried_again_after_pauses_that_double_up_to_the_bound():
    bare = seeded(9)
    times: list[int] = []
    while bare.now_us < 300 * SECOND_US:
        if dials(bare.at(bare.overlay.deadline())):  # type: ignore[arg-type]
            times.append(bare.now_us)
            bare.feed(AddressFailed("n9:1", Cause.REFUSED))
    pauses = [(later - earlier) / SECOND_US for earlier, later in pairwise(times)]
    for pause, due in zip(pauses, (1, 2, 4, 8, 16, 30, 30, 30), strict=False):
        assert due <= pause <= due + 1.2, pauses
    assert all(30 <= pause <= 31.2 for pause in pauses[5:])


def test_an_address_that_answers_is_left_alone_for_a_while():
    bare = seeded(9, neighbours=(6, 7))
    bare.until(1)
    bare.feed(AddressAnswered("n9:1", contact(9)))
    assert dials(bare.until(CONFIG.probe_backoff_us_max)) == []
    assert dials(bare.until(CONFIG.probe_backoff_us_max + 2 * SECOND_US))[0] == "n9:1"


def test_addresses_of_neighbours_are_not_tried():
    bare = seeded(9).befriend(9)
    bare.feed(PeerConnected(contact(9), CONTROL))
    assert dials(bare.until(100 * SECOND_US)) == []


def test_our_own_address_is_not_tried():
    assert dials(seeded(5).until(100 * SECOND_US)) == []
    bare = seeded(9)
    bare.feed(AddressLearned("n9:1"))
    assert dials(bare.until(100 * SECOND_US)) == []


def test_who_is_alone_does_not_leave_addresses_alone():
    bare = seeded(9, neighbours=(6,))
    bare.until(1)
    bare.feed(AddressAnswered("n9:1", contact(9)))
    bare.lose(9)
    bare.feed(AddressAnswered("n9:1", contact(9)))
    assert dials(bare.until(5 * SECOND_US)) == [], "it answered: no hurry"
    bare.hear(6, Disconnect(False, ()))
    assert dials(bare.until(8 * SECOND_US))[0] == "n9:1"


def test_lost_links_teach_us_addresses():
    bare = Bare(5)
    bare.feed(PeerConnected(contact(9), CONTROL))
    bare.lose(9)
    assert bare.overlay.statistics().addresses == 1


def test_who_was_reached_and_is_not_needed_is_not_dialled_for_ever():
    """Only unreached addresses are tried (DESIGN 3.4). Else every node would dial, and keep links to, all others."""
    bare = Bare(5).befriend(1, 2, 3, 4, 6)
    bare.feed(PeerConnected(contact(9), CONTROL))
    bare.lose(9, Cause.IDLE)
    assert dials(bare.until(120 * SECOND_US)) == []


def test_empty_news_of_seeds_takes_nobody_away():
    bare = seeded(9, neighbours=(6, 7))
    before = (bare.active, bare.passive, len(bare.overlay.book))
    assert bare.feed(SeedsResolved(())) == []
    assert (bare.active, bare.passive, len(bare.overlay.book)) == before


def test_seeds_are_kept_before_addresses_of_passers_by():
    bare = Bare(5, OverlayConfig(addresses_max=3))
    bare.feed(SeedsResolved(("seed1:1", "seed2:1")))
    for number in range(20, 30):
        bare.feed(PeerConnected(contact(number), CONTROL))
        bare.lose(number)
    assert "seed1:1" in bare.overlay.book and "seed2:1" in bare.overlay.book


def test_the_book_of_addresses_is_bounded():
    bare = Bare(5, OverlayConfig(addresses_max=10))
    bare.feed(SeedsResolved(tuple(f"h{number}:1" for number in range(50))))
    for number in range(20, 60):
        bare.feed(PeerConnected(contact(number), CONTROL))
        bare.lose(number)
    assert bare.overlay.statistics().addresses == 10


# --- what follows ---------------------------------------------------------------------------------------------------


def test_who_is_alone_joins_whoever_answers():
    bare = seeded(9)
    bare.until(1)
    assert bare.feed(AddressAnswered("n9:1", contact(9))) == [Send(site(9), Join(contact(5), 1), "n9:1")]


def test_who_has_neighbours_asks_whoever_answers_for_the_name_of_its_component():
    bare = probed(lowest=2)
    assert bare.feed(AddressAnswered("n9:1", contact(9))) == [Send(site(9), Probe(contact(5), site(2)), "n9:1")]


def test_the_same_name_means_one_component_and_nothing_follows():
    bare = probed(lowest=2)
    bare.befriend(10, 11, 12)
    bare.feed(AddressAnswered("n9:1", contact(9)))
    assert bare.hear(9, ProbeReply(site(2))) == []
    assert bare.passive == [9] and bare.overlay.statistics().heals == 0


def test_another_name_means_another_component_and_an_urgent_link():
    for other in (1, 3):
        bare = probed(lowest=2)
        bare.befriend(10, 11, 12)
        bare.feed(AddressAnswered("n9:1", contact(9)))
        effects = bare.hear(9, ProbeReply(site(other)))
        assert effects == [Send(site(9), NeighborRequest(contact(5), 1, True), "n9:1")]
        assert bare.overlay.statistics().heals == 1


def test_an_answer_that_nobody_asked_for_means_nothing():
    bare = probed(lowest=2)
    assert bare.hear(9, ProbeReply(site(1))) == []
    bare.feed(AddressAnswered("n9:1", contact(9)))
    bare.hear(9, ProbeReply(site(1)))
    assert bare.hear(9, ProbeReply(site(1))) == [], "nor a second one"


def test_a_probe_is_forgotten_with_its_link():
    bare = probed()
    bare.feed(AddressAnswered("n9:1", contact(9)))
    bare.lose(9)
    assert bare.hear(9, ProbeReply(site(1))) == []
    bare = probed()
    bare.feed(AddressAnswered("n9:1", contact(9)))
    bare.unreached(9)
    assert bare.hear(9, ProbeReply(site(1))) == []


def test_who_has_become_a_neighbour_meanwhile_is_not_asked_again():
    bare = probed()
    bare.feed(AddressAnswered("n9:1", contact(9)))
    bare.befriend(9)
    assert bare.hear(9, ProbeReply(site(1))) == []


def test_a_neighbour_or_ourselves_behind_an_address_needs_nothing():
    for found in (6, 5):
        bare = probed()
        assert bare.feed(AddressAnswered("n9:1", contact(found))) == []


def test_answers_to_dials_of_others_are_noted_and_nothing_else():
    bare = seeded(9, neighbours=(6, 7))
    assert bare.feed(AddressAnswered("n8:1", contact(8))) == []
    assert bare.feed(AddressFailed("n8:1", Cause.REFUSED)) == []


def test_who_answers_without_an_address_of_its_own_is_reached_where_it_answered():
    bare = seeded(9)
    bare.until(1)
    (join,) = bare.feed(AddressAnswered("n9:1", Contact(site(9), 1, "")))
    assert (join.to, join.address) == (site(9), "n9:1")


def test_a_probe_is_answered_with_the_name_of_our_component_and_its_sender_is_remembered():
    bare = Bare(5).befriend(1, 2, 3, 4, 6)
    bare.hear(1, Beacon(site(1), 1, 1, 0))
    assert bare.hear(9, Probe(contact(9), site(9))) == [Send(site(9), ProbeReply(site(1)))]
    assert bare.passive == [9]


def test_a_probe_in_the_name_of_another_is_answered_to_who_asked():
    bare = Bare(5).befriend(1, 2, 3, 4, 6)
    assert bare.hear(9, Probe(contact(8), site(9))) == [Send(site(9), ProbeReply(site(5)))]
    assert bare.passive == []


def test_a_probe_fills_a_free_place():
    effects = Bare(5).befriend(1).hear(9, Probe(contact(9), site(9)))
    assert sent(effects, NeighborRequest) == [(9, NeighborRequest(contact(5), 1, False))]


def test_a_component_whose_lowest_has_been_silent_names_itself_anew_when_probed():
    bare = Bare(5).befriend(1, 2, 3, 4, 6)
    bare.hear(1, Beacon(site(1), 1, 1, 0))
    bare.now_us = 31 * SECOND_US
    assert sent(bare.hear(9, Probe(contact(9), site(9))), ProbeReply) == [(9, ProbeReply(site(5)))]


def test_a_name_that_has_expired_is_not_asked_with():
    bare = seeded(9, neighbours=(6, 7))
    bare.hear(6, Beacon(site(2), 1, 1, 0))
    bare.at(1)
    bare.now_us = 31 * SECOND_US
    assert bare.feed(AddressAnswered("n9:1", contact(9))) == [Send(site(9), Probe(contact(5), site(5)), "n9:1")]


def test_a_name_that_has_expired_is_not_compared():
    bare = probed(lowest=2)
    bare.feed(AddressAnswered("n9:1", contact(9)))
    bare.now_us = 31 * SECOND_US
    assert sent(bare.hear(9, ProbeReply(site(2))), NeighborRequest) == [(9, NeighborRequest(contact(5), 1, True))]


def test_probes_under_way_are_bounded_even_if_one_address_is_answered_by_ever_new_sites():
    bare = Bare(5, OverlayConfig(addresses_max=2)).befriend(6, 7)
    bare.feed(SeedsResolved(("n9:1",)))
    for number in range(100, 110):
        bare.until(bare.now_us + 40 * SECOND_US)
        bare.feed(AddressAnswered("n9:1", contact(number)))  # `feed` checks the invariants


def test_contacts_named_at_a_dismissal_are_asked_before_any_address_is_dialled():
    bare = seeded(9, neighbours=(6,))
    effects = bare.hear(6, Disconnect(True, contacts(8)))
    assert [to for to, _ in sent(effects, NeighborRequest)] in ([8, 6], [6, 8], [8])
