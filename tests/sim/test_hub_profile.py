"""Hubs under users and faults: each child runs once where it belongs, and no call is answered falsely."""

from __future__ import annotations

from collections import Counter

import pytest

from covey.core.ids import Origin
from covey.core.rng import derive
from covey.protocols.registry import vocabulary as h
from covey.protocols.registry.rows import Child, Restart, Spec
from covey.sim.faults import KINDS, draw_plan
from covey.sim.hub import HubWorld, check_hubs, hubs_pending, user_of
from covey.sim.hub_children import COUNT
from covey.sim.hub_user import HUB, IDS, NO_ARGUMENTS, NO_METADATA
from covey.sim.node import SimNode
from covey.sim.profiles import PROFILES, build_hub, run_profile
from tests.sim.planted_hub_bugs import HUB_BUGS

PROFILE = PROFILES["hub"]
QUICK = (5, 35)
SEEDS = range(1, 21)
SECOND = 1_000_000
HAPPENS = (
    "Delta", "PubSub", "Gossip", "both", "Majority", "acknowledged", "not delivered", "MOVING", "moved", "arrived",
    "move failed", "restarted", "gave up", "STUCK", "FAILED", "taken over", "twice", "duplicate", "resolved", "fenced",
)  # fmt: skip


@pytest.mark.parametrize("seed", QUICK)  # `make test` runs the first twenty apart
def test_children_run_once_and_calls_are_answered_after_whatever_was_done_and_went_wrong(seed):
    result = run_profile(PROFILE, seed)
    assert result.failure == "", f"python -m covey.sim --profile hub --seed {seed}"
    assert 0 <= result.settled_s <= PROFILE.budget_us / 1e6
    assert 3 <= result.nodes <= 9, "one more than it began with joins at the end"


def test_these_seeds_know_every_kind_of_fault():
    plans = [draw_plan(derive(seed, "hub profile")).kinds for seed in SEEDS]
    assert sorted({kind for kinds in plans for kind in kinds}) == sorted(KINDS)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_everything_that_hubs_do_happens():
    """A run without moves, takeovers, duplicates and copies that lose their leases would prove little."""
    counts: Counter[str] = Counter()
    last: dict[tuple[int, bytes], tuple[Child, Origin]] = {}  # by who saw it: who ran a child

    def hear(node: SimNode, event: object) -> None:
        match event:
            case h.CopyEnded(why=why):
                counts[why] += 1
            case h.MoveFailed():
                counts["move failed"] += 1
            case h.ChildChanged(id=id, before=before, after=h.Shown(child, runs)) if runs and child is not None:
                key, life = (node.number, id), runs[0][0]
                known, host = last.get(key, (child, life))
                gone = before is not None and not before.runs and host != life
                counts["taken over"] += gone and known.births == child.births
                counts["twice"] += len(runs) > 1
                counts.update(running.state.name for _, running in runs)
                last[key] = child, life

    for seed in (1, 7, 9, 14, 15, 17, 28, 34, 35, 301):
        world = build_hub(seed, False).world
        assert isinstance(world, HubWorld)
        counts[type(world.strategy).__name__] += 1
        counts["Majority" if world.voters else "both"] += 1
        world.listeners.append(hear)
        world.run(60 * SECOND)
        counts["acknowledged"] += len(world.acknowledged)
        counts["resolved"] += world.resolved
        counts["not delivered"] += len(world.undelivered)
        for node in world.alive():
            for hub in node.engine.registry.hubs.values():
                counts.update(hub.statistics())
    for what in HAPPENS:
        assert counts[what], (what, counts)


# --- what the laws say of a world that breaks them ------------------------------------------------------------------


def two() -> HubWorld:
    """Two that take part, and one child, which runs on the second."""
    world = HubWorld(1, failing=0.0)
    first = world.start_node()
    world.start_node((first.address,))
    assert world.run_until(lambda: hubs_pending(world) is None, 30 * SECOND)
    return world


def start_on(world: HubWorld, index: int) -> bytes:
    """A child that belongs there, and runs."""
    node, site = world.nodes[0], world.nodes[index].site
    places = node.engine.registry.hubs[HUB].ground.places
    for id in IDS:
        places.put(id, COUNT, None)
    chosen = next(id for id in IDS if places.host(id) == site)
    for id in IDS:
        places.drop(id)
    new = h.NewChild(chosen, Spec(COUNT, NO_ARGUMENTS, Restart.PERMANENT, 0, 0), NO_METADATA)
    node.feed(h.StartChildren(99, HUB, (new,), SECOND))
    assert world.run_until(lambda: hubs_pending(world) is None and chosen in user_of(node).shown, SECOND)
    return chosen


def test_what_is_pending_is_said_with_the_sites_it_is_about():
    world = two()
    user, sites = user_of(world.nodes[0]), [node.site for node in world.nodes]
    id = start_on(world, 1)
    copy = next(copy for copy in user_of(world.nodes[1]).children.copies if copy.id == id)
    child = user_of(world.nodes[1]).children.copies.pop(copy)
    assert hubs_pending(world) == (f"0 copies of {id!r} run on n1", sites[1:])
    user_of(world.nodes[1]).children.copies[copy] = child
    user.owe(id, "duplicate")
    assert hubs_pending(world) == (f"n0 heard nothing of the end of a copy of {id!r}", sites[:1])
    user.owe(id, "duplicate", -1)
    del user.shown[id]
    assert hubs_pending(world) == ("n1 and n0 show other children", sites)
    with pytest.raises(AssertionError, match="the fold of the events is the book"):
        check_hubs(world)


def test_a_letter_that_comes_again_is_found():
    world = two()
    id = start_on(world, 1)
    children = user_of(world.nodes[1]).children
    child = next(child for copy, child in children.copies.items() if copy.id == id)
    work = user_of(world.nodes[0]).call(id)
    assert world.run_until(lambda: not user_of(world.nodes[0]).waits(work), SECOND)
    with pytest.raises(AssertionError, match="a letter is taken once"):
        world.applied(children, child, work)
    child.done.clear()
    world.mailboxes[work] = {0}
    with pytest.raises(AssertionError, match="who has nothing of the copy that did"):
        world.applied(children, child, work)
    world.undelivered[work] = None
    with pytest.raises(AssertionError, match="what was said not to have run does not run"):
        world.applied(children, child, work)


def test_a_birth_that_is_back_is_found():
    world = two()
    user, id = user_of(world.nodes[0]), start_on(world, 1)
    shown = user.shown[id]
    user.emitted(h.ChildChanged(HUB, id, shown, None))
    with pytest.raises(AssertionError, match="stays so"):
        user.emitted(h.ChildChanged(HUB, id, None, shown))


# --- planted bugs ---------------------------------------------------------------------------------------------------

QUICK_BUGS = ("an_end_that_is_shown_is_not_told", "a_move_takes_no_state_along", "a_copy_stays_after_its_lease")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "name", [name if name in QUICK_BUGS else pytest.param(name, marks=pytest.mark.slow) for name in HUB_BUGS]
)
def test_a_seed_finds_the_planted_bug(name, monkeypatch):
    bug = HUB_BUGS[name]
    bug.plant(monkeypatch)
    said = ((seed, run_profile(PROFILE, seed).failure) for seed in bug.seeds)
    found = next(((seed, failure) for seed, failure in said if bug.says in failure), None)
    print(f"{name}: {found}")
    assert found is not None, f"none of these seeds finds it: {bug.seeds}"
