"""Children that hubs declare, and singletons: there before a hub counts as open, on every node, and started once."""

from __future__ import annotations

import asyncio

import pytest

import covey
from covey import ChildSpec
from covey.testing import Cluster, run
from tests.api.hub_children import Late, fails, session, waits
from tests.api.hubs_open import flock, owners, specs, unread
from tests.testing.virtual import until


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


@pytest.mark.parametrize("seed", [0, *[pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5)]])
def test_s7_when_whoever_comes_first_dies_before_all_are_started_the_others_start_the_rest(seed):
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 0) as f:
            nodes = [await f.node() for _ in range(3)]
            for node in nodes:
                await node.wait_members(3)
            hubs = [f.hub_of(node, static=specs(600, waits)) for node in nodes]
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
                assert len(hub.dump()) == 600
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
