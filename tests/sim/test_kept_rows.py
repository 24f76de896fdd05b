"""Shared rows on simulated disks: the laws that look on, blackouts of whole clusters, and bugs that seeds find."""

from __future__ import annotations

import pytest

from covey.core.errors import InvariantError
from covey.core.rows import HoldInstance, Remove, Start, WriteShared
from covey.engine.engine import EngineConfig
from covey.protocols.membership.config import MembershipConfig
from covey.protocols.replication.saving import Saving
from covey.rows.dots import DotSet
from covey.rows.shared import SharedTable
from covey.sim.disk import Disk
from covey.sim.kept_rows import SHELF, all_received, kept_on
from covey.sim.node import SimNode
from covey.sim.profiles import PROFILES, build_rows, run_profile
from covey.sim.rows import RowsWorld, rows_pending
from tests.sim.planted_kept_bugs import PLANT

ROWS = PROFILES["rows"]
SECOND = 1_000_000
HUB = b"hub"
STORED = EngineConfig(membership=MembershipConfig(ephemeral=False))
SEEDS_MAX = 20


def cluster(count: int = 3) -> RowsWorld:
    """Nodes with disks that hold the hub durably, and three rows of which one was removed."""
    world = RowsWorld(1, config=STORED, durable=(HUB,))
    first = world.start_node()
    for _ in range(count - 1):
        world.start_node((first.address,))
    world.run(5 * SECOND)
    for node in world.nodes:
        node.feed(HoldInstance(HUB, True))
    do(world, world.nodes[0], Start(b"1", b"one"), Start(b"2", b"two"))
    do(world, world.nodes[1], Start(b"gone", b""))
    world.run(SECOND)
    do(world, world.nodes[2 % count], Remove(b"gone"))
    world.run(5 * SECOND)
    return world


def do(world: RowsWorld, node: SimNode, *changes: Start | Remove) -> None:
    """Change shared rows of the hub, and note it for the laws."""
    table = node.engine.replication.shared.tables[HUB]
    life = node.site, node.incarnation
    before = table.received.top(life)
    node.feed(WriteShared(HUB, changes))
    for dot in list(table.log.dots()):
        if dot[:2] == life and dot[2] > before:
            world.done.setdefault(HUB, {})[dot] = table.log.run(life, dot[2], dot[2], 0)[0]


def shows(node: SimNode) -> dict[bytes, bytes]:
    return {key: row.value for key, row in node.engine.replication.shared.tables[HUB].view().items()}


def dark(world: RowsWorld, keep: list[bool]) -> list[SimNode]:
    """All crash at once and start again, with their disks or without; who had none holds the hub as anybody may."""
    seeds = (world.nodes[0].address,)
    for node in list(world.nodes):
        world.crash(node)
    world.run(SECOND)
    fresh = [world.start_node(seeds, index, keep_site) for index, keep_site in enumerate(keep)]
    for node in fresh:
        node.feed(HoldInstance(HUB, True))
    return fresh


def test_a_whole_cluster_that_went_dark_has_its_rows_and_nothing_that_was_removed():
    world = cluster()
    fresh = dark(world, [True] * 3)
    assert [shows(node) for node in fresh] == [{b"1": b"one", b"2": b"two"}] * 3
    assert world.run_until(lambda: rows_pending(world) is None, 60 * SECOND)
    assert [shows(node) for node in fresh] == [{b"1": b"one", b"2": b"two"}] * 3
    assert world.kept.counts["found"] == 3


@pytest.mark.parametrize("survivor", range(3))
def test_what_the_only_disk_that_is_left_had_is_there_for_all(survivor):
    world = cluster()
    fresh = dark(world, [index == survivor for index in range(3)])
    assert [shows(node) for node in fresh] == [
        {b"1": b"one", b"2": b"two"} if index == survivor else {} for index in range(3)
    ]
    world.run(30 * SECOND)
    assert [shows(node) for node in fresh] == [{b"1": b"one", b"2": b"two"}] * 3


def test_who_was_away_when_a_row_was_removed_does_not_bring_it_back_after_a_blackout():
    world = cluster()
    away = world.nodes[2]
    world.crash(away)
    world.run(20 * SECOND)
    do(world, world.nodes[0], Remove(b"1"))
    world.run(5 * SECOND)
    fresh = dark(world, [True] * 3)
    assert [sorted(shows(node)) for node in fresh] == [[b"2"], [b"2"], [b"1", b"2"]]
    assert world.run_until(lambda: rows_pending(world) is None, 60 * SECOND)
    assert [sorted(shows(node)) for node in fresh] == [[b"2"]] * 3


def test_who_stops_has_on_its_disk_all_that_it_had():
    world = cluster(2)
    node = world.nodes[0]
    do(world, node, *(Start(b"%d" % number, b"") for number in range(50)))
    world.stop(node)
    assert len(kept_on(node.disk)[HUB].rows) == 50


# --- the laws -------------------------------------------------------------------------------------------------------


def test_what_is_said_to_be_on_a_disk_and_is_not_is_found(monkeypatch):
    world = cluster()
    monkeypatch.setattr(Saving, "saved", lambda self, instance: True)
    world.disk_fails = True
    do(world, world.nodes[0], Start(b"3", b""))
    with pytest.raises(InvariantError, match="its disk"):
        world.run(5 * SECOND)


def test_what_a_disk_lost_is_found():
    world = cluster()
    node = world.nodes[0]
    world.crash(node)
    disk: Disk = node.disk
    disk._durable[SHELF].clear()
    fresh = world.start_node((world.nodes[1].address,), 0, True)
    with pytest.raises(InvariantError, match="finds what it said its disk has"):
        fresh.feed(HoldInstance(HUB, True))


def test_what_is_lost_while_it_is_held_is_found():
    world = cluster()
    fresh = dark(world, [True] * 3)
    table: SharedTable = fresh[0].engine.replication.shared.tables[HUB]
    assert all_received(table).lives()
    table.received = DotSet()
    with pytest.raises(InvariantError, match="keeps what it found"):
        world.kept.check([fresh[0]])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_everything_that_disks_go_through_happens():
    """A run without blackouts, promises and tables that are found again would prove little."""
    counts: dict[str, int] = {}
    for seed in (1, 8, 10):
        world = build_rows(seed, False).world
        assert isinstance(world, RowsWorld)
        world.run(40 * SECOND)
        for name, count in world.kept.counts.items():
            counts[name] = counts.get(name, 0) + count
    assert counts["saved"] > 300, counts
    assert counts["found"] > 10, counts


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("bug", PLANT)
def test_the_simulator_finds_what_is_planted_in_what_is_kept(bug, monkeypatch):
    PLANT[bug](monkeypatch)
    assert any(run_profile(ROWS, seed).failure for seed in range(1, SEEDS_MAX + 1))
