"""Hosts and voters under every fault: never two copies, tokens that only grow, and afterwards one that runs."""

from __future__ import annotations

import pytest

from covey.protocols.claims.vocabulary import Seek
from tests.protocols.claims import planted_claim_bugs as plants
from tests.protocols.claims.claims_users import play
from tests.protocols.claims.claims_world import SECOND, Faults, World

SEEDS = 60


@pytest.mark.parametrize("options", [{}, {"voters": 5, "hosts": 3}, {"votes_max": 1, "ids": 4}], ids=str)
def test_there_are_never_two_copies_and_tokens_only_grow(options):
    worlds = [play(seed, **options) for seed in range(SEEDS)]
    assert sum(world.begun for world in worlds) > 5 * SEEDS
    assert sum(world.lapsed for world in worlds) > SEEDS
    assert sum(world.killed for world in worlds) > SEEDS / 2, "children are ended by their watchdogs too"


def test_a_computer_that_was_suspended_runs_nothing_that_another_has_taken_over():
    worlds = [play(seed, faults=Faults(cuts=True, suspends=True)) for seed in range(SEEDS)]
    assert sum(world.begun for world in worlds) > 5 * SEEDS


@pytest.mark.slow
@pytest.mark.parametrize("plant, options", plants.SAFETY, ids=lambda of: getattr(of, "__name__", ""))
def test_each_sentence_of_the_rule_is_needed(plant, options, monkeypatch):
    plant(monkeypatch)

    def search() -> None:
        for seed in range(400):
            plants.WORLD.clear()
            play(seed, plant=plants.WORLD.append, **options)

    with pytest.raises(AssertionError, match=r"two copies|the token of .* fell"):
        search()


def duel_us(seed: int, hosts: int) -> int:
    """When the first of so many hosts runs an id that they all want at one moment; five minutes if nobody does."""
    world = World(seed, voters=3, hosts=hosts, ids=1, faults=Faults())
    world.calm = True
    for process in world.processes[3:]:
        process.feed(process.host, Seek(world.ids[0], 5))
    while not world.begun and world.now_us < 300 * SECOND:
        world.run(10_000)
    return world.now_us


@pytest.mark.parametrize("hosts", [1, 2, 3, 5])
def test_a_duel_ends_after_one_wait_at_most_twice(hosts):
    took = sorted(duel_us(seed, hosts) for seed in range(40))
    assert took[20] <= 6 * SECOND
    assert took[-1] <= 12 * SECOND


def test_without_giving_back_and_waiting_a_duel_has_no_end(monkeypatch):
    plants.a_lost_duel_is_neither_given_back_nor_waited_for(monkeypatch)
    assert max(duel_us(seed, 5) for seed in range(3)) == 300 * SECOND
