"""Clusters under orders and faults: safe all the time, and one record soon after the faults end."""

from __future__ import annotations

import msgspec
import pytest

from covey.core.ids import short
from covey.core.rng import derive
from covey.core.vocabulary import Emit
from covey.protocols.membership.vocabulary import Kicked, MemberJoined, MemberLeft
from covey.sim.faults import KINDS, draw_plan
from covey.sim.membership import check_membership, membership_pending
from covey.sim.profiles import PROFILES, build_membership, run_profile
from covey.sim.world import World

MEMBERSHIP = PROFILES["membership"]
QUICK = range(1, 7)
SEEDS = range(1, 21)


@pytest.mark.parametrize(
    "seed", [seed if seed in QUICK else pytest.param(seed, marks=pytest.mark.slow) for seed in SEEDS]
)
def test_members_hold_one_record_after_whatever_was_ordered_and_went_wrong(seed):
    result = run_profile(MEMBERSHIP, seed)
    assert result.failure == "", f"python -m covey.sim --profile membership --seed {seed}"
    assert 0 <= result.settled_s <= MEMBERSHIP.budget_us / 1e6
    assert 2 <= result.nodes <= 9


def test_these_seeds_know_every_kind_of_fault():
    plans = [draw_plan(derive(seed, "membership profile")).kinds for seed in SEEDS]
    assert sorted({kind for kinds in plans for kind in kinds}) == sorted(KINDS)


def test_a_run_is_the_same_each_time():
    assert run_profile(MEMBERSHIP, 3) == run_profile(MEMBERSHIP, 3)


def test_people_give_every_kind_of_order_and_it_has_its_effect():
    """A run in which nobody is kicked, leaves or joins again would prove nothing."""
    happened = set()
    for seed in QUICK:
        world, _stop = build_membership(seed, False)
        world.run(MEMBERSHIP.faulty_us)
        happened |= {type(event) for node in world.nodes for event in node.events}
    assert {Kicked, MemberJoined, MemberLeft} <= happened
    assert Emit not in happened


def fresh(count: int) -> World:
    world, _stop = build_membership(1, False)
    while len(world.nodes) < count:
        world.start_node(("n0:1",))
    return world


def test_what_is_pending_is_said_with_the_sites_it_is_about():
    world = World(1, config=fresh(2).config)
    world.start_node()
    world.start_node()
    world.run(1_000_000)
    reason = membership_pending(world)
    assert reason is not None
    assert reason[0] == f"n0 does not list {short(world.nodes[1].site)}"
    assert reason[1] == [node.site for node in world.nodes]


def test_a_disk_that_does_not_have_what_others_saw_is_found():
    world = World(1, config=fresh(2).config)
    first = world.start_node()
    world.start_node((first.address,))
    world.run(10_000_000)
    check_membership(world)
    first.disk._durable["membership"].clear()
    with pytest.raises(AssertionError, match="is on its disk"):
        check_membership(world)


def test_one_stamp_with_two_values_is_found():
    world = World(1, config=fresh(2).config)
    first = world.start_node()
    second = world.start_node((first.address,))
    world.run(10_000_000)
    record = second.engine.membership.record
    key, entry = next((key, entry) for key, entry in record._entries.items() if entry.op.origin == first.site)
    record._entries[key] = msgspec.structs.replace(entry, op=msgspec.structs.replace(entry.op, value=b"other"))
    with pytest.raises(AssertionError, match="one stamp on one key carries one value"):
        check_membership(world)
