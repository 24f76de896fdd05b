"""What the HyParView paper says, sentence by sentence, where we do the same.

Leitão, Pereira, Rodrigues, "HyParView: a membership protocol for reliable gossip-based broadcast", DSN 2007, also
DI-FCUL TR-07-13. The idea of each sentence is put in our words behind its section's number. Where we differ, the
module `covey.protocols.overlay.machine` says why. Simulated networks: `test_overlay_worlds.py`.
"""

from __future__ import annotations

import pytest

from covey.core.vocabulary import Cause, MessagesReceived
from covey.protocols.overlay.config import OverlayConfig
from covey.protocols.overlay.vocabulary import LeaveOverlay, SeedsResolved
from covey.wire.messages.overlay import (
    Affirm,
    Beacon,
    Disconnect,
    ForwardJoin,
    Join,
    NeighborReply,
    NeighborRequest,
    Shuffle,
    ShuffleReply,
)
from tests.protocols.overlay.overlay_harness import (
    CONFIG,
    SECOND_US,
    Bare,
    Flock,
    contact,
    contacts,
    numbers,
    sent,
    site,
    up,
)


def grown(count: int, seed: int) -> Flock:
    """Nodes that joined one by one through the first, and shuffled for a while."""
    flock = Flock(seed=seed).start(1)
    for number in range(2, count + 1):
        flock.start(number, seeds=[1])
        flock.wait(50_000)
    return flock.wait(60 * SECOND_US)


@pytest.fixture(scope="module")
def hundred() -> Flock:
    """Only for looking at."""
    return grown(100, seed=3)


# --- 4.1: two views ---------------------------------------------------------------------------------------------------


def test_4_1_the_active_view_is_symmetric(hundred):
    """Whoever is in my active view has me in its own."""
    assert hundred.asymmetric() == []


def test_4_1_the_overlay_is_one_connected_graph(hundred):
    assert len(hundred.components()) == 1


def test_4_1_active_views_are_small_and_fixed_and_full(hundred):
    """Almost all of 10,000 nodes have degree exactly five (figure 5)."""
    degrees = [len(hundred.active(number)) for number in hundred.nodes]
    assert max(degrees) == 5 and degrees.count(5) >= 99


def test_4_1_passive_views_are_larger_and_bounded(hundred):
    sizes = [len(hundred.passive(number)) for number in hundred.nodes]
    assert max(sizes) <= CONFIG.passive_max and sum(sizes) / len(sizes) > 25


def test_4_1_no_node_is_in_both_of_another_ones_views_or_in_its_own(hundred):
    for number in hundred.nodes:
        active, passive = hundred.active(number), hundred.passive(number)
        assert not set(active) & set(passive) and number not in active + passive


def test_4_1_a_failed_link_is_how_a_failed_node_is_noticed():
    """TCP is the failure detector: a broken link takes its peer out of the active view at once."""
    bare = Bare(5).befriend(1, 2)
    bare.lose(1, Cause.RESET)
    assert bare.active == [2]


# --- 4.2: joining -----------------------------------------------------------------------------------------------------


def test_4_2_a_newcomer_knows_a_contact_and_asks_it_to_join():
    flock = Flock().start(1).start(2, seeds=[1])
    assert [(a, b) for a, b, message in flock.said if isinstance(message, Join)] == [(2, 1)]
    assert (flock.active(1), flock.active(2)) == ([2], [1])


def test_4_2_a_contact_takes_the_newcomer_in_even_if_somebody_has_to_go():
    bare = Bare(5, OverlayConfig(active_max=2)).befriend(1, 2)
    bare.hear(9, Join(contact(9), 1))
    assert 9 in bare.active and len(bare.active) == 2


def test_4_2_who_has_to_go_is_told():
    bare = Bare(5, OverlayConfig(active_max=2)).befriend(1, 2)
    ((victim, message),) = sent(bare.hear(9, Join(contact(9), 1)), Disconnect)
    assert victim in (1, 2) and message.alive


def test_4_2_the_contact_sends_the_newcomers_name_on_a_walk_from_each_other_neighbour():
    effects = Bare(5).befriend(1, 2).hear(9, Join(contact(9), 1))
    assert sent(effects, ForwardJoin) == [(1, ForwardJoin(contact(9), 6)), (2, ForwardJoin(contact(9), 6))]


def test_4_2_a_walk_ends_where_its_length_is_used_up_or_only_one_neighbour_is_left():
    """The paper's algorithm says size 0, its text size 1: we follow the text."""
    for bare, hops_left in ((Bare(5).befriend(1, 2), 0), (Bare(5).befriend(1), 6)):
        effects = bare.hear(1, ForwardJoin(contact(9), hops_left))
        assert sent(effects, NeighborRequest) == [(9, NeighborRequest(contact(5), 1, False))]


def test_4_2_at_its_end_the_newcomer_is_taken_in_even_if_somebody_has_to_go():
    bare = Bare(5, OverlayConfig(active_max=2)).befriend(1, 2)
    bare.hear(1, ForwardJoin(contact(9), 0))
    bare.hear(9, NeighborReply(1, True))
    assert 9 in bare.active and len(bare.active) == 2


def test_4_2_at_the_length_of_the_passive_walk_the_newcomer_goes_into_the_passive_view():
    bare = Bare(5).befriend(1, 2)
    bare.hear(1, ForwardJoin(contact(9), CONFIG.passive_walk))
    assert bare.passive == [9]


def test_4_2_otherwise_the_walk_goes_on_one_shorter_and_not_back():
    ((to, onward),) = sent(Bare(5).befriend(1, 2).hear(1, ForwardJoin(contact(9), 4)), ForwardJoin)
    assert (to, onward.hops_left) == (2, 3)


def test_4_2_a_newcomer_to_a_hundred_full_nodes_ends_with_a_full_view():
    """Scenario 30: ARWL 6, PRWL 3; the walks fill its view, and some on the way remember it."""
    flock = grown(99, seed=4)
    flock.said.clear()
    flock.start(100, seeds=[1])
    walks = [(to, walk.hops_left) for _, to, walk in flock.said if isinstance(walk, ForwardJoin)]
    assert sorted({hops for _, hops in walks}, reverse=True) == [6, 5, 4, 3, 2, 1, 0]
    for to, hops_left in walks:
        if hops_left == CONFIG.passive_walk:
            assert 100 in flock.passive(to) + flock.active(to)
    flock.wait(5 * SECOND_US)
    assert len(flock.active(100)) == 5
    assert flock.asymmetric() == [] and len(flock.components()) == 1


# --- 4.3: keeping the active view full --------------------------------------------------------------------------------


def test_4_3_a_lost_neighbour_is_replaced_from_the_passive_view():
    bare = Bare(5).befriend(1, 2).remember(9)
    ((to, request),) = sent(bare.lose(1), NeighborRequest)
    assert to == 9
    assert up(9) in bare.hear(9, NeighborReply(request.number, True))


def test_4_3_a_candidate_that_cannot_be_reached_leaves_the_passive_view_and_another_is_tried():
    """Scenario 33."""
    bare = Bare(5, OverlayConfig(active_max=2)).befriend(1, 2).remember(8, 9)
    ((first, _),) = sent(bare.lose(1), NeighborRequest)
    ((second, _),) = sent(bare.unreached(first), NeighborRequest)
    assert first != second and bare.passive == [second]


@pytest.mark.parametrize("neighbours, urgent", [((1,), True), ((1, 2), False)])
def test_4_3_the_priority_is_high_only_for_who_has_no_neighbour_left(neighbours, urgent):
    ((_, request),) = sent(Bare(5).befriend(*neighbours).remember(9).lose(1), NeighborRequest)
    assert request.urgent is urgent


def test_4_3_high_priority_is_always_accepted_even_if_somebody_has_to_go():
    """Scenario 31."""
    bare = Bare(5, OverlayConfig(active_max=1)).befriend(1)
    bare.hear(9, NeighborRequest(contact(9), 1, True))
    assert bare.active == [9]


def test_4_3_low_priority_is_accepted_only_into_a_free_place():
    bare = Bare(5, OverlayConfig(active_max=1))
    assert sent(bare.hear(8, NeighborRequest(contact(8), 1, False)), NeighborReply)[0][1].accepted
    assert not sent(bare.hear(9, NeighborRequest(contact(9), 1, False)), NeighborReply)[0][1].accepted
    assert bare.active == [8]


def test_4_3_who_was_refused_keeps_the_candidate_and_asks_another():
    bare = Bare(5, OverlayConfig(active_max=2)).befriend(1, 2).remember(8, 9)
    ((first, request),) = sent(bare.lose(1), NeighborRequest)
    ((second, _),) = sent(bare.hear(first, NeighborReply(request.number, False)), NeighborRequest)
    assert {first, second} == {8, 9} and bare.passive == [8, 9]


def test_4_3_half_of_the_flock_dies_and_the_rest_is_one_graph_again():
    flock = Flock(seed=5).start(*range(1, 41), seeds=[1]).wait(30 * SECOND_US)
    for number in range(1, 21):
        flock.kill(number)
    flock.wait(10 * SECOND_US)
    assert len(flock.components()) == 1 and flock.asymmetric() == []
    assert min(len(flock.active(number)) for number in flock.nodes) >= 3


# --- 4.4: shuffles ----------------------------------------------------------------------------------------------------


def test_4_4_a_shuffle_holds_the_sender_ka_neighbours_and_kp_others():
    bare = Bare(50).befriend(1, 2, 3, 4, 5).remember(*range(10, 30))
    _, shuffle = sent(bare.until(20 * SECOND_US), Shuffle)[0]
    active = [n for n in numbers(shuffle.contacts) if n < 10]
    assert (len(active), len(shuffle.contacts) - len(active)) == (3, 4) and shuffle.origin == contact(50)


def test_4_4_a_shuffle_walks_while_it_has_hops_and_the_node_has_other_neighbours():
    for hops_left, neighbours, walks in ((6, (1, 2), True), (2, (1, 2), True), (1, (1, 2), False), (6, (1,), False)):
        effects = Bare(50).befriend(*neighbours).hear(1, Shuffle(contact(9), hops_left, ()))
        assert bool(sent(effects, Shuffle)) is walks
        assert bool(sent(effects, ShuffleReply)) is not walks


def test_4_4_the_answer_goes_straight_to_the_origin_over_a_link_of_its_own():
    """Scenario 32, and what partisan's code does not do."""
    reply = Bare(50).befriend(1, 2, 3, 4, 5).remember(8).hear(1, Shuffle(contact(9), 1, contacts(7)))[0]
    assert (reply.to, reply.address) == (site(9), "n9:1")


def test_4_4_the_answer_is_as_long_as_the_question():
    bare = Bare(50).befriend(1, 2, 3, 4, 5).remember(*range(10, 30))
    ((_, reply),) = sent(bare.hear(1, Shuffle(contact(9), 1, contacts(6, 7, 8))), ShuffleReply)
    assert len(reply.contacts) == 4


def test_4_4_our_own_name_and_neighbours_never_come_into_the_passive_view():
    bare = Bare(50).befriend(1, 2, 3, 4, 5)
    bare.hear(1, Shuffle(contact(9), 1, contacts(50, 1, 2, 8)))
    bare.hear(1, ShuffleReply(contacts(50, 3, 4, 7)))
    assert bare.passive == [7, 8, 9]


def test_4_4_a_full_passive_view_drops_what_it_sent_to_the_other_side_first():
    bare = Bare(50, OverlayConfig(passive_max=4)).befriend(1, 2, 3, 4, 5).remember(10, 11, 12, 13)
    ((_, reply),) = sent(bare.hear(1, Shuffle(contact(9), 1, contacts(20))), ShuffleReply)
    assert set(bare.passive) == ({10, 11, 12, 13} - set(numbers(reply.contacts))) | {9, 20}


def test_4_4_shuffles_bring_a_newcomer_into_the_views_of_nodes_it_never_met(hundred):
    assert sum(50 in hundred.passive(number) for number in hundred.nodes) >= 10


# --- 4.5: leaving, and what the paper leaves open ---------------------------------------------------------------------


def test_a_leaver_says_so_and_its_neighbours_fill_their_views():
    """Scenario 37, among neighbours."""
    flock = Flock(OverlayConfig(active_max=3), seed=2).start(*range(1, 9), seeds=[1]).wait(20 * SECOND_US)
    neighbours = flock.active(4)
    flock.feed(4, LeaveOverlay())
    flock.wait(3 * SECOND_US)
    for number in neighbours:
        assert 4 not in flock.active(number) and 4 not in flock.passive(number)
        assert len(flock.active(number)) >= 2
    assert len([island for island in flock.components() if island != [4]]) == 1


def test_nobody_is_a_neighbour_before_both_sides_said_so():
    """Scenario 29: active views of two, 1-2-3 meshed, 4 joins 1."""
    flock = Flock(OverlayConfig(active_max=2), seed=4).start(1, 2, 3, seeds=[1]).wait(5 * SECOND_US)
    assert all(len(flock.active(number)) == 2 for number in (1, 2, 3))
    flock.said.clear()
    flock.start(4, seeds=[1])
    dropped = [to for sender, to, message in flock.said if sender == 1 and isinstance(message, Disconnect)]
    assert dropped in ([2], [3])
    assert 4 in flock.active(1) and 1 in flock.active(4)
    flock.wait(5 * SECOND_US)
    assert flock.asymmetric() == [] and len(flock.components()) == 1
    assert dropped[0] in flock.passive(1) + flock.active(1)


@pytest.mark.parametrize("lost", [Disconnect, NeighborReply])
def test_a_lost_word_leaves_a_one_sided_link_that_ends_within_the_period_of_affirmation(lost):
    flock = Flock(OverlayConfig(active_max=2), seed=6).start(1, 2, 3, seeds=[1]).wait(5 * SECOND_US)
    flock.loses = lambda sender, to, message: isinstance(message, lost)
    flock.start(4, seeds=[1])
    flock.wait(100_000)
    flock.loses = lambda sender, to, message: False
    assert flock.asymmetric() != []
    flock.wait(CONFIG.affirm_period_us + CONFIG.affirm_period_us // 10 + SECOND_US)
    assert flock.asymmetric() == []


def test_a_yes_that_comes_after_we_stopped_waiting_leaves_no_one_sided_link():
    flock = Flock(seed=7).start(1)
    held: list = []
    flock.loses = lambda sender, to, message: isinstance(message, NeighborReply) and held.append(message) is None  # type: ignore[func-returns-value]
    flock.start(2, seeds=[1])
    flock.wait(CONFIG.request_us_max)
    flock.loses = lambda sender, to, message: isinstance(message, (Affirm, Join))
    assert flock.asymmetric() == [(1, 2)]
    flock.feed(2, MessagesReceived(site(1), held[:1]))
    assert flock.asymmetric() == [] and flock.active(1) == []


def test_two_components_that_hear_of_each_other_become_one():
    flock = Flock(seed=8).start(1, 2, 3, seeds=[1]).start(7, 8, 9, seeds=[7]).wait(15 * SECOND_US)
    assert flock.components() == [[1, 2, 3], [7, 8, 9]]
    flock.feed(8, SeedsResolved(("n2:1",)))
    flock.wait(5 * SECOND_US)
    assert flock.components() == [[1, 2, 3, 7, 8, 9]]
    assert flock.nodes[8].overlay.statistics().heals >= 1


def test_discovery_that_finds_nobody_once_takes_nobody_away():
    """Scenario 36: DNS answers with zero records, in a cluster of fifty. Partisan's agent made every member leave."""
    flock = grown(50, seed=9)
    before = {number: flock.active(number) for number in flock.nodes}
    known = {number: set(flock.passive(number)) for number in flock.nodes}
    for number in flock.nodes:
        flock.feed(number, SeedsResolved(()))
    assert {number: set(flock.passive(number)) for number in flock.nodes} == known
    for events in flock.events.values():
        events.clear()
    flock.wait(30 * SECOND_US)
    assert {number: flock.active(number) for number in flock.nodes} == before
    assert not any(flock.events.values())


def test_beacons_name_the_component_by_its_lowest_site(hundred):
    assert {node.overlay.statistics().lowest for node in hundred.nodes.values()} == {site(1)}
    beacons = [message for _, _, message in hundred.said if isinstance(message, Beacon) and message.age_ms == 0]
    assert {message.site for message in beacons if message.sequence > 2} == {site(1)}
