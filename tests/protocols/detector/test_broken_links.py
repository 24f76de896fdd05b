"""Links that fail between members that are well: reference M32 and M33."""

from __future__ import annotations

import pytest

from covey.core.vocabulary import Liveness
from covey.protocols.detector.vocabulary import LinkBroken, LinkMended
from tests.protocols.detector.detector_world import DetectorWorld, site_of

ALIVE, SUSPECT, DOWN = Liveness.ALIVE, Liveness.SUSPECT, Liveness.DOWN


@pytest.mark.slow
def test_m32_one_sick_node_reached_by_nine_of_fifty_hurts_nobody() -> None:
    world = DetectorWorld(1, 50, check_every=211)
    sick, friends = 0, set(range(1, 10))
    world.neighbours[sick] = set(sorted(friends)[:5])  # the overlay drops links that do not work
    for other in range(1, 50):
        if other in world.neighbours[sick]:
            world.neighbours[other].add(sick)
        else:
            world.neighbours[other].discard(sick)
        if other not in friends:
            world.blackhole(sick, other)
            world.links.discard((sick, other))
        else:
            world.links.add((sick, other))
    world.run(120)
    assert world.ever(DOWN) == []
    assert world.all_hold(sick, ALIVE)
    broken = {frozenset((event.one, event.other)) for node in world.nodes for event in node.events
              if isinstance(event, LinkBroken)}  # fmt: skip
    print(f"{len(broken)} of 40 broken links named, {len(world.ever(SUSPECT))} suspicions held")
    assert len(broken) >= 10
    assert all(site_of(sick) in pair and not pair & {site_of(friend) for friend in friends} for pair in broken)


@pytest.mark.parametrize("nodes", [3, 5, 20])
def test_m33_a_broken_link_between_two_is_named_and_neither_is_dead(nodes: int) -> None:
    world = DetectorWorld(nodes, nodes, check_every=11)
    world.blackhole(0, 1)
    world.links.discard((0, 1))
    world.run(120)
    assert world.ever(DOWN) == []
    assert LinkBroken(site_of(0), site_of(1)) in world.nodes[0].events
    assert LinkBroken(site_of(1), site_of(0)) in world.nodes[1].events
    assert all(not node.events for node in world.nodes[2:])
    world.blocked.clear()
    world.run(60)
    assert LinkMended(site_of(0), site_of(1)) in world.nodes[0].events
    assert world.all_hold(0, ALIVE)
    assert world.all_hold(1, ALIVE)


def test_a_link_cut_one_way_only_kills_nobody() -> None:
    world = DetectorWorld(6, 5, check_every=11)
    world.blocked.add((0, 1))
    world.run(120)
    assert world.ever(DOWN) == []


def test_a_node_that_hears_nobody_does_not_take_the_others_with_it() -> None:
    world = DetectorWorld(7, 10, check_every=11)
    world.blocked |= {(other, 0) for other in range(1, 10)}  # deaf; it still speaks
    world.run(60)
    assert {about for holder, about, _ in world.ever(DOWN) if holder != 0} <= {0}
    world.blocked.clear()
    world.run(30)
    for index in range(10):
        assert world.all_hold(index, ALIVE)
