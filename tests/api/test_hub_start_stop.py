"""Scenarios of starting and stopping children: bulk, results, silent nodes, rollback, static children, metadata."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

import covey
from covey import ChildSpec
from covey.testing import Cluster, run
from tests.api.hub_children import Late, done, fails, session, waits
from tests.api.hubs_open import belongs, flock, is_settled, machine, now, owners, shown, specs, unread
from tests.testing.virtual import until

# --- 1 bulk ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_s1_a_thousand_children_are_on_six_registries_within_five_seconds():
    """1: equal rows everywhere, each child with its owner, one event per child and node; and all gone again."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 6) as f, contextlib.AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(hub.events(100_000)) for hub in f.hubs]
            began = now()
            result = await f.hubs[0].start_children(specs(1000, session, "x"), metadata={"tag": "T"}, timeout=5)
            assert (result.status, len(result.started)) == ("ok", 1000)
            await until(lambda: is_settled(f.hubs), 5 - (now() - began))
            for hub, events in zip(f.hubs, streams, strict=True):
                assert shown(hub) == shown(f.hubs[0])
                assert owners(hub) == belongs(hub, range(1000))
                assert {child.id for child in hub.find(tag="T")} == set(range(1000))
                registered = [event.child.id for event in unread(events, covey.ChildRegistered)]
                assert sorted(registered) == list(range(1000))
                assert not unread(events, covey.ChildUnregistered)
            assert f.copies.started.total() == f.copies.running() == 1000

            stopped = await f.hubs[3].stop_children(range(1000), timeout=5)
            assert (stopped.status, len(stopped.stopped)) == ("ok", 1000)
            await until(lambda: not any(hub.dump() for hub in f.hubs), 5)
            assert f.copies.running() == 0
            for events in streams:
                gone = [event.child.id for event in unread(events, covey.ChildUnregistered)]
                assert sorted(gone) == list(range(1000))

    run(test)


# --- 2 what is refused ----------------------------------------------------------------------------------------------


def test_s2_no_children_children_that_are_there_and_the_same_twice():
    """2: nothing is started twice, and the error names who runs it, checked or not."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2) as f:
            hub, other = f.hubs
            with pytest.raises(covey.UsageError, match="no children"):
                await hub.start_children([])
            result = await hub.start_children([ChildSpec("a", session), ChildSpec("a", session)])
            (error,) = result.errors
            (child,) = result.started
            assert (error.id, error.trouble, error.site) == ("a", "exists", child.site)
            await until(lambda: "a" in other.dump() and owners(other)["a"])
            for again in (hub, other):
                for check in (True, False):
                    result = await again.start_children([ChildSpec("a", session)], check_existing=check)
                    (error,) = result.errors
                    assert (error.trouble, error.site, error.name) == ("exists", child.site, child.node)
                    assert not result.started
            await asyncio.sleep(5)
            assert is_settled(f.hubs)
            assert f.copies.started == {"a": 1}

    run(test)


# --- 3 silence ------------------------------------------------------------------------------------------------------


def test_s3_a_silent_node_costs_its_children_and_the_deadline_only():
    """3: within 1.5 s the successes are listed, and each other child with the node that did not answer."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 3) as f:
            hub = f.hubs[0]
            where = {id: hub.explain(id).ranking[0] for id in range(30)}
            cluster.partition(f.nodes[:2], f.nodes[2:])
            began = now()
            result = await hub.start_children(specs(30), timeout=1)
            assert now() - began <= 1.5
            assert result.status == "error"
            lost = {id for id in range(30) if where[id] == "n2"}
            assert {error.id for error in result.errors} == lost and lost
            assert {(error.trouble, error.name) for error in result.errors} == {("no_response", "n2")}
            assert {child.id for child in result.started} == set(range(30)) - lost
            with pytest.raises(covey.DeadlineExceeded):
                result.raise_for_errors()
            began = now()
            result = await hub.start_children([ChildSpec(100, session)], timeout=0)
            assert now() - began <= 0.01
            assert result.errors[0].trouble == "no_response"
            batches = machine(hub).batches
            assert not batches._starting and not batches._waiting

    run(test)


# --- 5 rollback -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_failure", ["rollback", "continue"])
def test_s5_one_that_raises_takes_its_batch_along_or_does_not(on_failure):
    """5: rollback leaves nothing on any node within 2 s, and tells the 9 that had started; else 9 run."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 3) as f:
            batch = [*specs(9), ChildSpec(9, Late, 0.2, "no such device")]
            result = await f.hubs[0].start_children(batch, on_failure=on_failure)
            (error,) = result.errors
            assert (error.id, error.trouble) == (9, "raised") and "no such device" in error.reason
            assert sorted(child.id for child in result.started) == list(range(9))
            assert len({child.node for child in result.started}) >= 2
            assert result.rolled_back is (on_failure == "rollback")
            if result.rolled_back:
                await until(lambda: not any(hub.dump() for hub in f.hubs) and not f.copies.running(), 2)
                await asyncio.sleep(5)
                assert not f.copies.running()
            else:
                await f.settled(seconds=2)
                assert sorted(f.hubs[1].dump()) == list(range(9))

    run(test)


# --- 6 unknown ------------------------------------------------------------------------------------------------------


def test_s6_an_unknown_child_is_not_found_at_once():
    """6: under 100 ms; and stopping it beside a known one stops that."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2) as f:
            hub = f.hubs[0]
            await hub.start_children(specs(2))
            began = now()
            result = await hub.stop_children(["nobody"])
            assert now() - began < 0.1
            assert [(error.id, error.trouble) for error in result.errors] == [("nobody", "not_found")]
            result = await hub.stop_children([0, "nobody"])
            assert now() - began < 0.1
            assert [id for id, _ in result.stopped] == [0]
            assert [error.id for error in result.errors] == ["nobody"]
            with pytest.raises(covey.ChildStartFailed, match="nobody"):
                await hub.stop_child("nobody")
            await until(lambda: list(f.hubs[1].dump()) == [1])

    run(test)


# --- 7 static -------------------------------------------------------------------------------------------------------


def test_s7_static_children_run_before_the_hub_is_ready():
    """7: all 10, on the first node and on one that opens it at the same moment; started once."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 0) as f:
            nodes = [await f.node() for _ in range(2)]
            for node in nodes:
                await node.wait_members(2)

            async def open(node: covey.Node) -> None:
                hub = await f.enter(f.hub_of(node, static=specs(10, Late, 0.5)))
                f.hubs.append(hub)
                assert f.copies.running() == 10
                assert set(owners(hub)) == set(range(10))

            await asyncio.gather(*map(open, nodes))
            await f.settled()
            assert f.copies.started.total() == 10
            await f.hubs[0].stop_children([3])
            third = await f.join(static=specs(10, Late, 0.5))
            await f.settled()
            assert len(third.dump()) == 9, "what was stopped is not declared anew"

    run(test)


def test_s7_a_static_child_that_fails_fails_the_hub_with_its_reason():
    """7: the hub is not open then, and can be opened again without it."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 0) as f:
            node = await f.node()
            hub = f.hub_of(node, static=[ChildSpec("fine", session), ChildSpec("wrong", fails)])
            with pytest.raises(covey.ChildStartFailed, match=r"'wrong': .*no luck"):
                await hub.start()
            with pytest.raises(covey.ClosedError):
                hub.dump()
            await until(lambda: not f.copies.running(), 10)
            hub = await f.enter(f.hub_of(node))
            assert hub.dump() == {}

    run(test)


def test_s7_what_a_newer_version_declares_is_there_when_its_first_node_is_ready():
    """7, in a rolling restart: each node is replaced by one that declares more; what was stopped stays stopped."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 0) as f:
            for _ in range(3):
                await f.join(static=specs(4))
            await f.settled()
            (await f.hubs[0].stop_children([2])).raise_for_errors()
            for number in range(3):
                await f.nodes[number].close()
                newer = f.hub_of(await f.node(seeds=[f.nodes[-1].address]), static=specs(6))
                f.hubs.append(await f.enter(newer))
                assert {id for id, child in newer.dump().items() if child.copies} >= {0, 1, 3, 4, 5}
                await f.settled(*f.hubs[number + 1 :])
                assert set(newer.dump()) == {0, 1, 3, 4, 5}
            assert max(f.copies.most.values()) == 1

    run(test)


@pytest.mark.parametrize("seed", range(5))
def test_s7_when_whoever_comes_first_dies_before_all_are_started_the_others_start_the_rest(seed):
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 0) as f:
            nodes = [await f.node() for _ in range(3)]
            for node in nodes:
                await node.wait_members(3)
            hubs = [f.hub_of(node, static=specs(1_200, waits)) for node in nodes]
            opening = [asyncio.create_task(hub.start()) for hub in hubs]
            inside = [hub._hubs.machine.hubs for hub in hubs]
            await until(lambda: any(hub.ground.ready for one in inside for hub in one.values()))
            first = next(number for number, one in enumerate(inside) if any(hub.ground.ready for hub in one.values()))
            await asyncio.sleep(seed / 1_000)
            await cluster.kill(nodes[first])
            opening[first].cancel()
            stay = [hub for number, hub in enumerate(hubs) if number != first]
            await asyncio.gather(*[task for number, task in enumerate(opening) if number != first])
            for hub in stay:
                assert len(hub.dump()) == 1_200
            await f.settled(*stay)
            for hub in stay:
                await hub.aclose()

    run(test)


def test_s7_children_that_came_to_a_node_whose_opening_fails_go_back_with_what_they_had():
    """They were ended where they were, with all that they knew."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 1) as f:
            for id in range(20):
                await f.hubs[0].call(id, "a line", start=session)
            node = await f.node()
            opening = asyncio.create_task(
                f.hub_of(node, static=[ChildSpec("slow", Late, 9.0), ChildSpec("wrong", fails)]).start()
            )
            await until(lambda: len({*owners(f.hubs[0]).values()} - {""}) == 2)
            with pytest.raises(covey.ChildStartFailed, match="no luck"):
                await opening
            assert {await f.hubs[0].call(id, "another") for id in range(20)} == {2}
            assert {owners(f.hubs[0])[id] for id in range(20)} == {"n0"}

    run(test)


def test_s7_what_two_sides_of_a_split_declare_is_one_child_soon_after_the_heal():
    """Each side writes its birth: the last in rank counts, one copy ends, and nobody is told of it again and again."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 0) as f:
            nodes = [await f.node() for _ in range(2)]
            for node in nodes:
                await node.wait_members(2)
            cluster.partition(nodes[:1], nodes[1:])
            await until(lambda: not any(len(node.members()) > 1 and node.neighbours() for node in nodes))
            hubs = await asyncio.gather(*[f.enter(f.hub_of(node, static=specs(4))) for node in nodes])
            assert f.copies.running() == 8
            async with hubs[0].events() as events:
                cluster.heal()
                await until(lambda: all(len(hub.nodes()) == 2 for hub in hubs))
                await until(lambda: f.copies.running() == 4, 10)
                await f.settled(*hubs)
                assert f.copies.started.total() == 8
                assert len(unread(events, covey.ChildUpdated)) <= 4 * 6
            (await hubs[0].stop_children(range(4))).raise_for_errors()
            await until(lambda: not f.copies.running() and not hubs[1].dump(), 5)

    run(test)


def test_a_singleton_runs_before_any_of_the_nodes_that_name_it_is_ready():
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 0) as f:
            nodes = [await f.node() for _ in range(3)]
            for node in nodes:
                await node.wait_members(3)
            singletons = [node.singleton("one", Late, 2.0, on_split="both") for node in nodes]

            async def opens(one: covey.Singleton) -> None:
                async with one:
                    child = one.lookup()
                    assert child is not None and child.state == "running"
                    await until(lambda: len(one.hub.nodes()) == 3)
                    assert f.copies.started["one"] == 1
                    await asyncio.sleep(1)

            await asyncio.gather(*map(opens, singletons))
            assert f.copies.most["one"] == 1

    run(test)


# --- 8 metadata -----------------------------------------------------------------------------------------------------


def test_s8_metadata_of_a_batch_and_of_one_child():
    """8: each child shows its own value, or the batch's; every node finds the same."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 3) as f:
            batch = [*specs(5), ChildSpec(5, session).with_options(tag="us", metadata={"size": 3})]
            (await f.hubs[0].start_children(batch, metadata={"tag": "eu", "v": 1})).raise_for_errors()
            await f.settled()
            for hub in f.hubs:
                assert {child.id for child in hub.find(tag="eu")} == set(range(5))
                assert [child.id for child in hub.find(tag="us")] == [5]
                assert hub.dump()[5].metadata == {"tag": "us", "v": 1, "size": 3}
                assert hub.dump()[0].metadata == {"tag": "eu", "v": 1}
                assert [child.id for child in hub.find(v=1, size=3)] == [5]
            f.hubs[1].update_child(5, {"tag": "eu"})
            await until(lambda: all(len(hub.find(tag="eu")) == 6 and not hub.find(tag="us") for hub in f.hubs), 1)

    run(test)


# --- 11 children that end -------------------------------------------------------------------------------------------


def test_s11_a_child_that_is_done_leaves_all_registries():
    """11: it counts as started, and is gone."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 3) as f:
            child = await f.hubs[0].start_child(ChildSpec("once", done))
            assert child.id == "once"
            await until(lambda: not any(hub.dump() for hub in f.hubs), 1)
            assert f.copies.started == {"once": 1} and not f.copies.running()

    run(test)


@pytest.mark.slow
def test_s11_a_thousand_short_children_run_once_each():
    """11: transient ones, started from two nodes."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 3) as f:
            batches = await asyncio.gather(
                f.hubs[0].start_children(specs(1000, done)[:500]), f.hubs[1].start_children(specs(1000, done)[500:])
            )
            for result in batches:
                result.raise_for_errors()
            await until(lambda: not any(hub.dump() for hub in f.hubs), 5)
            await asyncio.sleep(10)
            assert set(f.copies.started.values()) == {1} and len(f.copies.started) == 1000
            assert not any(machine(hub).hosting.hosted for hub in f.hubs)

    run(test)
