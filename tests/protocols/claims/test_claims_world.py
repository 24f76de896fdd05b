"""Hosts and voters under every fault: never two copies, tokens that only grow, and afterwards one that runs."""

from __future__ import annotations

import pytest

from covey.core.claims import Seek
from tests.protocols.claims import claims_stories as stories
from tests.protocols.claims import planted_claim_bugs as plants
from tests.protocols.claims.claims_users import play
from tests.protocols.claims.claims_world import SECOND, Faults, World

SEEDS = 10

many = pytest.mark.parametrize("seeds", [range(3), pytest.param(range(3, 3 + SEEDS), marks=pytest.mark.slow)])


@many
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"voters": 5, "hosts": 3},
        {"votes_max": 3, "ids": 5},
        {"faults": Faults(cuts=True, crashes=True, lives=True, restored=True, skew_us=0)},
    ],
    ids=["three voters", "five voters", "few votes", "old copies"],
)
def test_there_are_never_two_copies_tokens_only_grow_and_whoever_dies_is_followed(options, seeds):
    worlds = [play(seed, **options) for seed in seeds]
    assert sum(world.begun for world in worlds) > 5 * len(seeds)
    assert sum(world.lapsed for world in worlds) > len(seeds)
    assert sum(world.killed for world in worlds) > len(seeds) / 3, "children are ended by their watchdogs too"
    assert sum(world.taken_over for world in worlds) > 1.8 * len(seeds)


def test_the_worlds_have_every_fault():
    worlds = [play(seed, seconds=60) for seed in range(12)]
    assert sum(world.lost for world in worlds)
    assert {event.__name__ for world in worlds for event in world.events} == {
        "VotersDiffer", "SeatEmpty", "StorageTrouble", "StorageRecovered",
    }  # fmt: skip


def test_nothing_runs_before_every_name_has_been_seen_once_and_then_half_of_them_may_be_away():
    for seed in range(4):
        world = World(seed, ids=1, faults=Faults(late=True))
        world.calm = True
        world.processes[4].feed(world.processes[4].host, Seek(world.ids[0], 5))
        while not world.processes[0].alive:
            world.run(SECOND)
            assert not world.begun
        world.run(20 * SECOND)
        assert world.begun == 1
        world.processes[0].alive = False
        world.run(20 * SECOND)
        assert world.ids[0] in world.processes[4].copies


@many
def test_two_nodes_of_one_voters_name_are_never_both_heard(seeds):
    worlds = [play(seed, double=True, hosts=4) for seed in seeds]
    assert sum(world.begun for world in worlds) > len(seeds)


@many
def test_a_computer_that_was_suspended_runs_nothing_that_another_has_taken_over(seeds):
    worlds = [play(seed, faults=Faults(cuts=True, suspends=True)) for seed in seeds]
    assert sum(world.begun for world in worlds) > 5 * len(seeds)


@pytest.mark.parametrize("story", stories.STORIES, ids=lambda story: story.__name__)
def test_a_story_ends_well(story):
    story()


BROKEN = r"two copies|the token of .* fell"


@pytest.mark.parametrize("plant, story", plants.BY_STORY, ids=lambda of: of.__name__)
def test_without_a_sentence_of_the_rule_a_story_ends_badly(plant, story, monkeypatch):
    plant(monkeypatch)
    with pytest.raises(AssertionError, match=BROKEN):
        story()


@pytest.mark.slow
@pytest.mark.parametrize("plant, options", plants.BY_CHANCE, ids=lambda of: getattr(of, "__name__", ""))
def test_each_sentence_of_the_rule_is_needed(plant, options, monkeypatch):
    plant(monkeypatch)

    def search() -> None:
        for seed in range(400):
            plants.WORLD.clear()
            play(seed, plant=plants.WORLD.append, **options)

    with pytest.raises(AssertionError, match=BROKEN):
        search()


def duel_us(seed: int, hosts: int) -> int:
    """When the first of so many hosts runs an id that they all want at one moment; five minutes if nobody does."""
    world = World(seed, voters=3, hosts=hosts, ids=1, faults=Faults())
    world.calm = True
    world.run(10 * SECOND)
    for process in world.processes[3:]:
        process.feed(process.host, Seek(world.ids[0], 300_000 << 16))  # above what any clock shows
    while not world.begun and world.now_us < 310 * SECOND:
        world.run(10_000)
    return world.now_us - 10 * SECOND


@pytest.mark.parametrize("hosts", [1, 2, 3, 5])
def test_a_duel_ends_after_one_wait_at_most_twice(hosts):
    took = sorted(duel_us(seed, hosts) for seed in range(20))
    assert took[10] <= 6 * SECOND
    assert took[-1] <= 12 * SECOND


def test_without_giving_back_and_waiting_a_duel_has_no_end(monkeypatch):
    plants.a_lost_duel_is_neither_given_back_nor_waited_for(monkeypatch)
    assert max(duel_us(seed, 5) for seed in range(3)) == 300 * SECOND
