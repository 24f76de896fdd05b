"""The papers' world in the small: what is exact there is exact here."""

from __future__ import annotations

import pytest

from covey.sim.cycles import Flock, paper_broadcast, paper_overlay
from covey.sim.graphs import clustering, distances, giant, percolated
from covey.sim.timed_cycles import TimedFlock

NODES = 120


@pytest.fixture
def flock() -> Flock:
    return Flock(1, paper_overlay(), paper_broadcast()).grow(NODES)


def test_one_sender_ends_with_a_tree_and_announcements_on_all_other_links(flock):
    for _ in range(10):
        flock.broadcast(0)
        flock.cycle()
    sent = flock.broadcast(0)
    links = sum(map(len, flock.links().values()))
    assert (sent.delivered, sent.payloads) == (NODES - 1, NODES - 1)
    assert sent.announced == links - 2 * (NODES - 1)


def test_the_first_message_floods_and_the_third_is_nearly_a_tree(flock):
    redundancy = [flock.broadcast(0).payloads / (NODES - 1) - 1 for _ in range(3)]
    assert 2.5 < redundancy[0] < 3.1
    assert redundancy[2] < 0.05


def test_the_overlay_is_symmetric_and_in_one_piece(flock):
    for _ in range(5):
        flock.cycle()
    links = flock.links()
    assert len(giant(links)) == NODES
    assert all(number in links[other] for number, others in links.items() for other in others)
    assert max(map(len, links.values())) == 5


def test_who_dies_without_a_word_is_found_out_by_the_next_message(flock):
    flock.broadcast(0)
    flock.kill(range(1, 40))
    for _ in range(5):
        sent = flock.broadcast(0)
    assert sent.delivered == len(flock.overlays) - 1


def test_a_message_that_is_lost_here_and_there_reaches_all(flock):
    flock.broadcast(0)
    flock.lost = 0.02
    assert [flock.broadcast(0).delivered for _ in range(10)] == [NODES - 1] * 10


def test_after_a_mass_failure_all_find_each_other_without_a_shuffle(flock):
    """Some have no neighbour left and are known to nobody who speaks."""
    flock.broadcast(0)
    flock.kill(range(13, NODES))
    flock.shuffles = False
    for _ in range(60):
        flock.broadcast(0)
        flock.wait(1_000_000)
    assert flock.broadcast(0).delivered == 12


def test_a_run_is_a_function_of_its_seed():
    runs = [
        [flock.broadcast(0).control for _ in range(3)]
        for flock in (Flock(7, paper_overlay(), paper_broadcast()).grow(60) for _ in range(2))
    ]
    assert runs[0] == runs[1]


def test_with_a_latency_of_each_link_nothing_is_missed_and_the_tree_holds():
    flock = TimedFlock(1, paper_overlay(), paper_broadcast(), 10_000, 100_000).grow(NODES)
    for _ in range(10):
        flock.now_us += 10_000_000
        sent = flock.timed_broadcast(0)
    assert (sent.delivered, sent.payloads) == (NODES - 1, NODES - 1)
    assert flock.slowest_us < 600_000


@pytest.mark.parametrize(
    "dead, reached", [(0.1, 99.999), (0.3, 99.73), (0.4, 98.72), (0.5, 95.25), (0.6, 84.20), (0.7, 47.4)]
)
def test_percolation_is_what_the_formula_says(dead, reached):
    assert 100 * percolated(1 - dead) == pytest.approx(reached, abs=0.05)


def test_graphs_are_measured_as_they_are():
    triangle = {1: [2, 3], 2: [1, 3], 3: [1, 2, 4], 4: [3], 5: []}
    assert distances(triangle, 1) == {1: 0, 2: 1, 3: 1, 4: 2}
    assert giant(triangle) == [1, 2, 3, 4]
    assert clustering(triangle) == pytest.approx((1 + 1 + 1 / 3) / 3)
