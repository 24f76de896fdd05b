"""The overlay in the simulated world: real bytes, links, latencies and cuts. The reference's scenarios, by number."""

from __future__ import annotations

import pytest

from covey.core.ids import Site
from covey.core.vocabulary import NeighborDown, NeighborUp, TurnEnded
from covey.engine.engine import EngineConfig
from covey.protocols.links.vocabulary import CloseLinks
from covey.protocols.overlay.config import OverlayConfig
from covey.protocols.overlay.vocabulary import LeaveOverlay, SeedsResolved
from covey.sim.checkers import check_events, check_links, overlay_pending
from covey.sim.node import SimNode
from covey.sim.world import World

SECOND_US = 1_000_000
CONFIG = OverlayConfig()
# A component is renamed when its lowest site was silent for three beacons; every address is tried once in that time.
HEAL_US = CONFIG.beacon_period_us * CONFIG.beacons_missed_max + 5 * SECOND_US


def started(count: int, seed: int, apart_us: int = 300_000, active_max: int = 5, settle_us: int = 20_000_000) -> World:
    """Nodes that join one after the other through the first, and some time to settle."""
    world = World(seed, config=EngineConfig(overlay=OverlayConfig(active_max=active_max)))
    world.start_node()
    for _ in range(count - 1):
        world.start_node(("n0:1",))
        world.run(apart_us)
    world.run(settle_us)
    return world


def view(node: SimNode) -> set[Site]:
    return {contact.site for contact in node.engine.overlay.active}


def components(world: World) -> list[set[Site]]:
    """The islands of the living nodes, each link counted if both ends hold it."""
    views = {node.site: view(node) for node in world.alive()}
    left = dict.fromkeys(views)
    found = []
    while left:
        frontier, island = [next(iter(left))], set()
        while frontier:
            site = frontier.pop()
            if site not in island:
                island.add(site)
                left.pop(site, None)
                frontier += [other for other in views[site] if other in views and site in views[other]]
        found.append(island)
    return found


def end_well(world: World, node: SimNode) -> None:
    """What a process does that is told to stop: it leaves, says goodbye, and is no more."""
    node.feed(LeaveOverlay())
    node.feed(TurnEnded())
    node.feed(CloseLinks())
    world.run(50_000)
    world.crash(node, loudly=False)


def settled(world: World, within_us: int) -> bool:
    within = world.run_until(lambda: overlay_pending(world) is None, within_us)
    check_links(world)
    for node in world.alive():
        check_events(node)
    return within


def test_few_nodes_become_the_full_mesh_in_no_time():
    world = started(6, seed=1, apart_us=0, settle_us=0)
    assert settled(world, 2 * SECOND_US), overlay_pending(world)
    assert all(len(view(node)) == 5 for node in world.nodes)


@pytest.mark.parametrize(
    "seed", [1, 4, *[pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3, 5, 26, 48, 58)]]
)
def test_nine_that_join_one_contact_at_once_with_small_views_make_one_component(seed):
    """partisan#75 left islands. Seeds 4, 26, 48 and 58 make islands at first, which then find each other."""
    world = started(10, seed, apart_us=0, active_max=3, settle_us=0)
    assert world.run_until(lambda: len(components(world)) == 1, HEAL_US), overlay_pending(world)
    assert settled(world, 10 * SECOND_US), overlay_pending(world)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_split_of_six_and_six_heals(seed):
    world = started(12, seed)
    for source in range(12):
        for target in range(12):
            if (source < 6) != (target < 6):
                world.network.cut(source, target)
    world.run(60 * SECOND_US)
    assert sorted(map(len, components(world))) == [6, 6]
    world.mend()
    assert world.run_until(lambda: len(components(world)) == 1, HEAL_US), overlay_pending(world)
    assert settled(world, 60 * SECOND_US), overlay_pending(world)
    assert sum(node.engine.overlay.statistics().heals for node in world.nodes) >= 1


@pytest.mark.slow
def test_a_node_that_everybody_lost_for_a_while_comes_back():
    world = started(8, seed=3)
    for other in range(8):
        if other != 4:
            world.network.cut(4, other)
            world.network.cut(other, 4)
    world.run(60 * SECOND_US)
    assert view(world.nodes[4]) == set()
    world.mend()
    assert settled(world, HEAL_US), overlay_pending(world)


def test_the_overlay_survives_the_node_that_everybody_joined_through():
    """Scenario 35: the creator leaves; a newcomer has two addresses, of which one is gone."""
    world = started(10, seed=4)
    end_well(world, world.nodes[0])
    world.run(10 * SECOND_US)
    newcomer = world.start_node(("n0:1", "n7:1"))
    world.run(5 * SECOND_US)
    assert len(components(world)) == 1 and len(view(newcomer)) >= 2
    assert settled(world, 2 * HEAL_US), overlay_pending(world)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("count", [6, 12])
def test_a_leave_is_clean(count, seed):
    """Scenario 37: who leaves is in no view after three shuffles, and its neighbours have found others."""
    world = started(count, seed, settle_us=40 * SECOND_US)
    leaver = world.nodes[2]
    neighbours = [node for node in world.nodes if leaver.site in view(node)]
    assert neighbours
    end_well(world, leaver)
    world.run(3 * CONFIG.shuffle_period_us)
    for node in world.alive():
        assert leaver.site not in view(node)
        assert leaver.site not in node.engine.overlay.passive, f"n{node.index} still knows it"
    assert len(components(world)) == 1
    assert all(len(view(node)) >= 4 for node in neighbours)


def test_a_leavers_neighbours_hear_of_it_once_and_at_once():
    world = started(6, seed=5)
    leaver = world.nodes[3]
    for node in world.nodes:
        node.events.clear()
    end_well(world, leaver)
    for node in world.alive():
        downs = [event for event in node.events if isinstance(event, NeighborDown)]
        assert [event.contact.site for event in downs] == [leaver.site]


@pytest.mark.slow
def test_a_rolling_restart_leaves_one_component_and_every_view_full():
    world = started(8, seed=6)
    for index in range(8):
        end_well(world, world.nodes[index])
        world.start_node(("n0:1", "n1:1"), index, keep_site=True)
        world.run(5 * SECOND_US)
    assert settled(world, HEAL_US), overlay_pending(world)
    assert len(world.alive()) == 8


@pytest.mark.slow
def test_a_crash_without_a_word_is_healed_when_the_silence_is_noticed():
    world = started(10, seed=7)
    world.crash(world.nodes[5], loudly=False)
    dead = world.nodes[5].site
    limit_us = world.config.links.silence_us_max + world.config.links.keepalive_us
    assert world.run_until(lambda: all(dead not in view(node) for node in world.alive()), limit_us)
    assert settled(world, HEAL_US), overlay_pending(world)


def test_news_of_seeds_reach_a_node_that_started_with_none():
    world = World(8)
    world.start_node()
    lonely = world.start_node()
    world.run(30 * SECOND_US)
    assert view(lonely) == set()
    lonely.feed(SeedsResolved(("n0:1",)))
    assert settled(world, 2 * SECOND_US), overlay_pending(world)
    assert [event for event in lonely.events if isinstance(event, (NeighborUp, NeighborDown))][1:] == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_quiet_overlay_stays_as_it_is(seed):
    world = started(12, seed, settle_us=60 * SECOND_US)
    before = [view(node) for node in world.nodes]
    for node in world.nodes:
        node.events.clear()
    world.run(120 * SECOND_US)
    assert [view(node) for node in world.nodes] == before
    assert not any(node.events for node in world.nodes)
