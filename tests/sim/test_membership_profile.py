"""Clusters under orders and faults: safe all the time, and one record soon after the faults end."""

from __future__ import annotations

import msgspec
import pytest

from covey.core.ids import short
from covey.core.rng import derive
from covey.core.vocabulary import Emit, Liveness, SiteContested
from covey.engine.engine import EngineConfig
from covey.protocols.membership.record import HOST, MEM
from covey.protocols.membership.vocabulary import Kicked, MemberJoined, MemberLeft
from covey.sim.faults import draw_plan
from covey.sim.profiles import PROFILES, RECORD_KINDS, SIM_MEMBERSHIP, build_membership, run_profile
from covey.sim.record_laws import RecordLaws
from covey.sim.record_progress import record_pending
from covey.sim.world import World

MEMBERSHIP = PROFILES["membership"]
QUICK = (3, 4)
SEEDS = range(1, 21)


@pytest.mark.parametrize("seed", QUICK)  # `make test` runs the first fifty apart
def test_members_hold_one_record_after_whatever_was_ordered_and_went_wrong(seed):
    result = run_profile(MEMBERSHIP, seed)
    assert result.failure == "", f"python -m covey.sim --profile membership --seed {seed}"
    assert 0 <= result.settled_s <= MEMBERSHIP.budget_us / 1e6
    assert 2 <= result.nodes <= 18


def test_these_seeds_know_every_kind_of_fault():
    plans = [draw_plan(derive(seed, "membership profile"), RECORD_KINDS).kinds for seed in SEEDS]
    assert sorted({kind for kinds in plans for kind in kinds}) == sorted(RECORD_KINDS)


def test_a_run_is_the_same_each_time():
    assert run_profile(MEMBERSHIP, 3) == run_profile(MEMBERSHIP, 3)


@pytest.mark.slow
def test_people_give_every_kind_of_order_and_it_has_its_effect():
    """A run in which nobody is kicked, leaves or joins again would prove nothing."""
    happened, copies, ephemeral, moved = set(), 0, 0, 0
    for seed in SEEDS:
        world = build_membership(seed, False).world
        started = len(world.nodes)
        world.run(MEMBERSHIP.faulty_us)
        happened |= {type(event) for node in world.nodes for event in node.events}
        copies += len(world.nodes) - started
        ephemeral += sum(not node.durable for node in world.nodes)
        moved += sum(not node.address.endswith(":1") for node in world.nodes)
    assert {Kicked, MemberJoined, MemberLeft, SiteContested} <= happened
    assert Emit not in happened
    assert copies and ephemeral and moved


def small(*, nodes: int = 2) -> tuple[World, RecordLaws]:
    world = World(1, config=EngineConfig(membership=SIM_MEMBERSHIP))
    laws = RecordLaws(world)
    for _ in range(nodes):
        world.start_node(("n0:1",))
    return world, laws


def test_what_is_pending_is_said_with_the_sites_it_is_about():
    world = World(1, config=EngineConfig(membership=SIM_MEMBERSHIP))
    world.start_node()
    world.start_node()
    world.run(1_000_000)
    reason = record_pending(world)
    assert reason is not None
    assert reason[0] == f"n0 does not list {short(world.nodes[1].site)}"
    assert reason[1] == [node.site for node in world.nodes]


def test_one_stamp_with_two_values_is_found():
    world, laws = small()
    world.run(10_000_000)
    issue, op = next((issue, op) for issue, op in laws.ops.items() if op.kind == HOST)
    laws.ops[issue] = msgspec.structs.replace(op, value=b"other")
    with pytest.raises(AssertionError, match="1: one stamp"):
        world.start_node(("n0:1",))
        world.run(10_000_000)


def test_a_member_that_nobody_invited_is_found():
    world, laws = small()
    world.run(10_000_000)
    laws.check(world)
    laws._invited.clear()
    with pytest.raises(AssertionError, match="6: "):
        laws.check(world)


def test_a_floor_that_is_too_high_is_found():
    world, laws = small()
    world.run(10_000_000)
    one, other = (node.engine.membership for node in world.nodes)
    floor = one.exchange.floors.get(world.nodes[1].site)
    assert floor is not None
    floor.acked_out = 1_000
    other.record.forget((MEM, world.nodes[0].site))
    with pytest.raises(AssertionError, match="10: "):
        laws.check(world)


def test_of_a_copied_disk_one_process_is_told_to_end_and_ends_for_good():
    world, _laws = small(nodes=3)
    world.run(10_000_000)
    copy = world.clone(world.nodes[1], ("n0:1",))
    assert copy.site == world.nodes[1].site and copy.incarnation > world.nodes[1].incarnation
    world.run(60_000_000)
    assert [node.alive for node in world.nodes] == [True, False, True, True]
    assert world.nodes[1].retired
    assert any(type(event) is SiteContested for event in world.nodes[1].events)
    assert record_pending(world) is None


def test_who_stops_cleanly_is_known_to_have_stopped():
    world, _laws = small(nodes=3)
    world.run(10_000_000)
    world.stop(world.nodes[2])
    world.run(2_000_000)
    states = [node.engine.detector.state(world.nodes[2].site) for node in world.nodes[:2]]
    assert states == [Liveness.STOPPED] * 2
    later = world.start_node(("n0:1",), 2, keep_site=True, move=True)
    assert later.address != "n2:1"
    world.run(10_000_000)
    assert all(node.engine.detector.state(later.site) is Liveness.ALIVE for node in world.nodes[:2])
    assert world.nodes[0].engine.membership.record.address(later.site) == later.address
