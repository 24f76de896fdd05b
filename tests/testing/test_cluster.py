"""A cluster of a test: nodes find each other, can be killed, cut apart and brought together again."""

from __future__ import annotations

import asyncio

import pytest

import covey
from covey.testing import Cluster, run
from tests.testing.virtual import meshed, next_of, until


def test_nodes_that_are_started_together_find_each_other():
    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(6)
        await until(lambda: meshed(nodes))
        assert len({node.address for node in nodes}) == 6

    run(test)


def test_a_node_is_not_started_before_one_says_so():
    async def test(cluster: Cluster) -> None:
        node = cluster.node("orders")
        assert node.cluster == "orders"
        with pytest.raises(covey.ClosedError):
            node.neighbours()
        async with node:
            assert node.neighbours() == []

    run(test)


def test_every_option_of_a_node_can_be_given():
    async def test(cluster: Cluster) -> None:
        config = covey.Config.lan(events_max=7)
        options = {"listen": "127.0.0.1:700", "seeds": ["10.0.0.9:1"], "secret": "s" * 16, "advertise": "10.0.0.7:700"}
        node = cluster.node("orders", name="a", insecure=True, config=config, **options)
        assert (node.cluster, node.name, node.config) == ("orders", "a", config)
        async with node:
            assert node.address == "10.0.0.7:700"

    run(test)


def test_a_killed_node_is_reset_and_refuses_and_the_others_go_on():
    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(4)
        await until(lambda: meshed(nodes))
        victim, *others = nodes
        async with others[0].events() as events:
            await cluster.kill(victim)
            await until(lambda: meshed(others), 2)
            event = await anext(events)
            assert isinstance(event, covey.NeighborDown)
            assert (event.neighbor.site, event.cause) == (victim.site, "reset")
        with pytest.raises((covey.UnknownName, covey.PeerUnreachable)):
            await others[1].send(victim.site, "anybody there?")

    run(test)


def test_a_killed_node_says_no_goodbye_but_a_closed_one_does():
    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(3)
        await until(lambda: meshed(nodes))
        async with nodes[0].events() as events:
            await nodes[1].close()
            await cluster.kill(nodes[2])
            causes = {}
            for _ in range(2):
                event = await next_of(events, covey.NeighborUp, covey.NeighborDown)
                assert isinstance(event, covey.NeighborDown)
                causes[event.neighbor.site] = event.cause
            assert causes == {nodes[1].site: "goodbye", nodes[2].site: "reset"}

    run(test)


def test_nothing_passes_between_the_islands_of_a_partition_until_it_heals():
    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(6)
        await until(lambda: meshed(nodes))
        left, right = nodes[:2], nodes[2:]
        cluster.partition(left, right)
        await until(lambda: meshed(left) and meshed(right), 15)
        await asyncio.sleep(20)
        assert meshed(left)
        assert meshed(right)
        async with right[0].events() as events:
            with pytest.raises((covey.UnknownName, covey.PeerUnreachable)):
                await left[0].send(right[0].site, "across", timeout=30)
            await left[0].send(left[1].site, "within")
            await right[1].send(right[0].site, "within")
            event = await anext(events)
            assert event == covey.Message(right[1].site, "within")
        cluster.heal()
        await until(lambda: meshed(nodes), 30)
        await left[0].send(right[0].site, "across")

    run(test)


def test_three_islands_are_all_cut_from_each_other():
    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(6)
        await until(lambda: meshed(nodes))
        islands = [nodes[0:2], nodes[2:4], nodes[4:6]]
        cluster.partition(*islands)
        await until(lambda: all(map(meshed, islands)), 15)
        cluster.heal()
        await until(lambda: meshed(nodes), 30)

    run(test)


def test_a_short_cut_that_nothing_crossed_breaks_nothing():
    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(3)
        await until(lambda: meshed(nodes))
        await asyncio.sleep(30)
        async with nodes[0].events() as events:
            cluster.partition(nodes[:1], nodes[1:])
            cluster.heal()
            await nodes[1].send(nodes[0].site, "still here")
            assert await anext(events) == covey.Message(nodes[1].site, "still here")

    run(test)


def test_the_latency_is_the_one_that_was_asked_for():
    async def test(cluster: Cluster) -> float:
        one, other = await cluster.start(2)
        await until(lambda: meshed([one, other]))
        await one.send(other.site, "the link is made")
        async with other.events() as events:
            sent_s = asyncio.get_running_loop().time()
            one.send_nowait(other.site, "timed")
            await anext(events)
            return asyncio.get_running_loop().time() - sent_s

    assert run(test, latency_s=0.25) == pytest.approx(0.25, abs=0.002)
    assert run(test, latency_s=0.001) == pytest.approx(0.001, abs=0.002)


def test_what_a_test_leaves_open_is_closed():
    nodes: list[covey.Node] = []

    async def test(cluster: Cluster) -> None:
        nodes.extend(await cluster.start(3))
        await until(lambda: meshed(nodes))
        await cluster.kill(nodes[1])

    run(test)
    for node in nodes:
        with pytest.raises(covey.ClosedError):
            node.neighbours()


def test_a_killed_nodes_users_hear_of_it():
    """Their process is gone: nobody may go on as if it were there, or wait for ever."""

    async def test(cluster: Cluster) -> None:
        one, other = await cluster.start(2)
        await until(lambda: meshed([one, other]))
        async with one.events() as events:
            await cluster.kill(one)
            with pytest.raises(covey.ClosedError):
                one.send_nowait(other.site, "from beyond")
            with pytest.raises(covey.ClosedError):
                one.neighbours()
            async with asyncio.timeout(5):
                async for _ in events:
                    pass

    run(test)
