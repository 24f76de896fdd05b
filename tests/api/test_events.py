"""Events: a snapshot and the stream that follows from it, exactly, for every subscriber by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

import covey
from covey.testing import Cluster, run
from tests.testing.virtual import meshed, next_of, running, until


def fold(state: dict[covey.Site, covey.Neighbor], event: Any) -> None:
    """What an event does to the neighbours; it must fit what was before."""
    match event:
        case covey.NeighborUp(neighbor):
            assert neighbor.site not in state
            state[neighbor.site] = neighbor
        case covey.NeighborDown(neighbor, _):
            assert state.pop(neighbor.site) == neighbor


def by_site(neighbors: Iterable[covey.Neighbor]) -> list[covey.Neighbor]:
    return sorted(neighbors, key=lambda neighbor: neighbor.site)


async def churn(cluster: Cluster, nodes: list[covey.Node], rounds: int) -> None:
    """Nodes die, leave, come and are cut off, around the first one."""
    for number in range(rounds):
        match number % 6:
            case 0:
                await cluster.kill(nodes.pop())
            case 1:
                await nodes.pop().close()
            case 2 | 3:
                node = cluster.node()
                await node.start()
                nodes.append(node)
            case 4:
                cluster.partition(nodes[:3], nodes[3:])
                await asyncio.sleep(7)
            case 5:
                cluster.heal()
                await asyncio.sleep(5)
        await asyncio.sleep(0.7)


# --- snapshot and stream --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_snapshot_folded_with_every_event_is_the_state():
    """Under churn, after each event, and whenever one begins to listen."""

    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(9)
        watched = nodes[0]
        counts: list[int] = []

        async def watch(delay: float) -> None:
            await asyncio.sleep(delay)
            async with watched.events() as events:
                assert by_site(events.snapshot.neighbours) == by_site(watched.neighbours())
                state = {neighbor.site: neighbor for neighbor in events.snapshot.neighbours}
                count = 0
                async for event in events:
                    fold(state, event)
                    count += 1
                    if not events._queue:
                        assert by_site(state.values()) == by_site(watched.neighbours())
                    async with watched.events() as others:  # who comes now starts from here
                        if not events._queue:
                            assert list(others.snapshot.neighbours) == list(state.values())
                counts.append(count)

        async with running(*(watch(delay) for delay in (0, 0.001, 1.3, 9, 30, 31.4159))) as tasks:
            await churn(cluster, nodes, 36)
            await watched.close()
            await asyncio.gather(*tasks)
        assert counts == sorted(counts, reverse=True)
        assert counts[0] > 30

    run(test)


@pytest.mark.slow
def test_the_state_after_every_single_event_is_the_fold_so_far():
    """Also of events that come together: each is released with its state, before anyone can look."""

    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(8)
        watched: Any = nodes[0]
        state: dict[covey.Site, covey.Neighbor] = {neighbor.site: neighbor for neighbor in watched.neighbours()}
        publish, steps = watched._telling.hub.publish, []

        def checked(event: Any) -> None:
            fold(state, event)
            assert watched._telling.hub._state().neighbours == tuple(state.values())
            steps.append(event)
            publish(event)

        watched._telling.hub.publish = checked
        await churn(cluster, nodes, 24)
        assert by_site(state.values()) == by_site(watched.neighbours())
        assert len(steps) > 20

    run(test)


def test_what_happened_before_is_in_the_snapshot_and_only_there():
    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(4)
        await until(lambda: meshed(nodes))
        async with nodes[0].events() as events:
            assert {neighbor.site for neighbor in events.snapshot.neighbours} == {node.site for node in nodes[1:]}
            await asyncio.sleep(30)
            assert len(events._queue) == 0

    run(test)


def test_neighbours_and_the_snapshot_have_the_order_in_which_the_links_came_up():
    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(6)
        await until(lambda: meshed(nodes))
        async with nodes[0].events() as events:
            state = {neighbor.site: neighbor for neighbor in events.snapshot.neighbours}
            for _ in range(2):
                await cluster.kill(nodes.pop(2))
                await asyncio.sleep(1)
                nodes.append(cluster.node())
                await nodes[-1].start()
                await until(lambda: meshed(nodes))
            while events._queue:
                fold(state, await anext(events))
        async with nodes[0].events() as events:
            assert list(events.snapshot.neighbours) == list(state.values())
        assert nodes[0].neighbours() == list(state.values())

    run(test)


def test_a_snapshot_does_not_change_afterwards():
    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(3)
        await until(lambda: meshed(nodes))
        async with nodes[0].events() as events:
            before = events.snapshot
            await cluster.kill(nodes[1])
            await until(lambda: len(nodes[0].neighbours()) == 1)
            assert events.snapshot == before
            assert len(before.neighbours) == 2

    run(test)


def test_each_event_says_who_and_why():
    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(2)
        await until(lambda: meshed(nodes))
        one, other = nodes
        async with one.events() as events:
            third = cluster.node()
            await third.start()
            who = covey.Neighbor(third.site, third.incarnation, third.address)
            links = covey.NeighborUp, covey.NeighborDown
            assert await next_of(events, *links) == covey.NeighborUp(who)
            await third.close()
            assert await next_of(events, *links) == covey.NeighborDown(who, "goodbye")
            await other.send(one.site, 7)
            assert await next_of(events, covey.Message, *links) == covey.Message(other.site, 7)

    run(test)


def test_another_secret_and_another_cluster_are_told_to_both_sides():
    async def test(cluster: Cluster, options: dict[str, Any], name: str, cause: str) -> None:
        one = cluster.node()
        await one.start()
        other = cluster.node(name, seeds=[one.address], **options)
        await other.start()
        async with one.events() as heard_by_one, other.events() as heard_by_other:
            told = [await asyncio.wait_for(anext(events), 10) for events in (heard_by_one, heard_by_other)]
        assert all(isinstance(event, covey.LinkRefused) and event.cause == cause and event.detail for event in told)
        inbound, outbound = told
        assert isinstance(inbound, covey.LinkRefused)
        assert isinstance(outbound, covey.LinkRefused)
        assert (inbound.inbound, outbound.inbound) == (True, False)
        assert outbound.address == one.address
        assert inbound.refused_by_peer is not outbound.refused_by_peer
        assert one.neighbours() == other.neighbours() == []

    run(lambda cluster: test(cluster, {"secret": "another secret here"}, "test", "secret"))
    run(lambda cluster: test(cluster, {}, "another", "cluster"))


# --- who reads too slowly -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("events_max", [1, 2, 5, 100])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 50, 300])
def test_what_did_not_fit_is_one_lost_in_its_place_with_the_exact_number(events_max, count):
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node, node.events(events_max=events_max) as events:
            for number in range(count):
                await node.send(node.site, number)
            found: list[Any] = []
            while events._queue:
                found.append(await anext(events))
            kept = min(count, events_max)
            expected: list[Any] = [covey.Message(node.site, number) for number in range(kept)]
            if count > kept:
                expected.append(covey.Lost(count - kept))
            assert found == expected
            await node.send(node.site, "after")
            assert await anext(events) == covey.Message(node.site, "after")

    run(test)


def test_a_reader_that_is_always_behind_still_accounts_for_every_event():
    """However it reads: what it got and what it lost is the whole, in order."""

    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node:
            for events_max in (1, 2, 3, 7):
                async with node.events(events_max=events_max) as events:
                    position = sent = 0
                    for step in range(300):
                        for _ in range((step * 7) % 5):
                            node.send_nowait(node.site, sent)
                            sent += 1
                        for _ in range((step * 3) % 4):
                            if events._queue:
                                position = after(await anext(events), position)
                    while events._queue:
                        position = after(await anext(events), position)
                    assert position == sent
                    assert sent > 500

    def after(event: Any, position: int) -> int:
        if isinstance(event, covey.Lost):
            assert event.count > 0
            return position + event.count
        assert event.payload == position
        return position + 1

    run(test)


def test_two_subscribers_do_not_know_of_each_other():
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node, node.events(events_max=2) as slow, node.events() as quick:
            for number in range(10):
                await node.send(node.site, number)
                assert await anext(quick) == covey.Message(node.site, number)
            assert [await anext(slow) for _ in range(3)] == [
                covey.Message(node.site, 0), covey.Message(node.site, 1), covey.Lost(8),
            ]  # fmt: skip

    run(test)


def test_the_default_bound_is_the_configs():
    async def test(cluster: Cluster) -> None:
        async with cluster.node(config=covey.Config.laptop(events_max=3)) as node, node.events() as events:
            for number in range(5):
                await node.send(node.site, number)
            found = [await anext(events) for _ in range(4)]
            assert found[-1] == covey.Lost(2)

    run(test)


# --- the end --------------------------------------------------------------------------------------------------------


def test_leaving_the_block_unsubscribes_wherever_the_stream_stands():
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node:
            hub: Any = node._telling.hub
            async with node.events() as events:
                for number in range(5):
                    await node.send(node.site, number)
                async for event in events:
                    if event == covey.Message(node.site, 2):
                        break
                assert len(hub._subscribers) == 1
            assert len(hub._subscribers) == 0
            with pytest.raises(KeyError):
                async with node.events() as events:
                    raise KeyError("mine")
            assert len(hub._subscribers) == 0

    run(test)


def test_a_cancelled_reader_unsubscribes():
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node:

            async def read() -> None:
                async with node.events() as events:
                    async for _ in events:
                        pass

            async with running(read()):
                await asyncio.sleep(0.1)
            hub: Any = node._telling.hub
            assert len(hub._subscribers) == 0

    run(test)


def test_a_cancelled_wait_for_an_event_loses_none():
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node, node.events() as events:
            for number in range(20):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(events), 0.01)
                await node.send(node.site, number)
                waiting = asyncio.create_task(anext(events))
                for _ in range(number % 4):
                    await asyncio.sleep(0)
                if waiting.cancel():
                    with pytest.raises(asyncio.CancelledError):
                        await waiting
                    assert await anext(events) == covey.Message(node.site, number)
                else:
                    assert await waiting == covey.Message(node.site, number)

    run(test)


def test_a_stream_ends_when_the_node_closes_after_what_it_still_holds():
    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(3)
        await until(lambda: meshed(nodes))
        async with nodes[0].events() as events:
            await nodes[0].send(nodes[0].site, "last")
            await nodes[0].close()
            found = [event async for event in events]
            assert found[0] == covey.Message(nodes[0].site, "last")
            assert [type(event) for event in found[1:]] == [covey.NeighborDown] * 2
            assert [event async for event in events] == []

    run(test)


def test_a_reader_that_waits_is_woken_when_the_node_closes():
    async def test(cluster: Cluster) -> None:
        node = cluster.node()
        await node.start()

        async def read() -> str:
            async with node.events() as events:
                async for _ in events:
                    pass
            return "ended"

        async with running(read()) as tasks:
            await asyncio.sleep(1)
            await node.close()
            assert await asyncio.wait_for(tasks[0], 1) == "ended"

    run(test)


# --- wrong use ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("events_max", [0, -1, 1.5, "3", True, []], ids=repr)
def test_a_wrong_bound_is_a_config_error(events_max):
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node:
            with pytest.raises(covey.ConfigError, match="events_max must be an int of at least 1"):
                node.events(events_max=events_max)

    run(test)


def test_a_snapshot_outside_of_its_block_is_a_usage_error():
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node:
            subscription = node.events()
            with pytest.raises(covey.UsageError, match="open it first"):
                subscription.snapshot
            async with subscription:
                assert subscription.snapshot == covey.NodeState(tuple(node.members()), ())
            with pytest.raises(covey.UsageError):
                subscription.snapshot

    run(test)


def test_a_subscription_is_entered_once_at_a_time():
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node, node.events() as events:
            with pytest.raises(covey.UsageError, match="ask for another one"):
                async with events:
                    pass
            await node.send(node.site, 1)
            assert await anext(events) == covey.Message(node.site, 1)

    run(test)


def test_reading_without_the_block_is_a_usage_error_and_not_an_empty_stream():
    """`async for event in node.events()` is the mistake everybody makes once."""

    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node:
            with pytest.raises(covey.UsageError, match="async with"):
                async for _ in node.events():
                    pass

    run(test)


def test_two_tasks_that_read_one_subscription_are_told_so():
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node, node.events() as events, running(anext(events)) as tasks:
            await asyncio.sleep(0)
            with pytest.raises(covey.UsageError, match="two tasks"):
                await anext(events)
            await node.send(node.site, "for the first")
            assert await tasks[0] == covey.Message(node.site, "for the first")

    run(test)


def test_a_subscription_that_is_opened_again_starts_afresh():
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node:
            subscription = node.events(events_max=1)
            async with subscription:
                for number in range(3):
                    await node.send(node.site, number)  # two of them do not fit
            async with subscription:
                await node.send(node.site, "new")
                assert await asyncio.wait_for(anext(subscription), 1) == covey.Message(node.site, "new")

    run(test)


# --- wait_neighbours ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [-1, 1.5, "2", True, None], ids=repr)
def test_a_wrong_count_is_a_usage_error(count):
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node:
            with pytest.raises(covey.UsageError, match="count must be an int of at least 0"):
                await node.wait_neighbours(count)

    run(test)


@pytest.mark.parametrize("timeout", [0, -1, "1", True, None, float("nan")], ids=repr)
def test_a_wrong_timeout_is_a_usage_error(timeout):
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node:
            with pytest.raises(covey.UsageError, match="timeout must be a number of seconds above 0"):
                await node.wait_neighbours(0, timeout=timeout)

    run(test)


def test_wait_neighbours_gives_the_neighbours_as_soon_as_there_are_enough():
    async def test(cluster: Cluster) -> None:
        loop = asyncio.get_running_loop()
        one = cluster.node()
        await one.start()
        assert await one.wait_neighbours(0) == []
        async with running(one.wait_neighbours(1), one.wait_neighbours(2)) as (first, second):
            other = cluster.node()
            await other.start()
            assert [peer.site for peer in await first] == [other.site]
            assert not second.done()
            third = cluster.node()
            await third.start()
            assert {peer.site for peer in await second} == {other.site, third.site}
        before = loop.time()
        assert len(await one.wait_neighbours(2)) == 2
        assert loop.time() == before

    run(test)


def test_wait_neighbours_that_waits_in_vain_says_how_many_there_were():
    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(2)
        await until(lambda: meshed(nodes))
        loop = asyncio.get_running_loop()
        start = loop.time()
        with pytest.raises(covey.DeadlineExceeded, match=r"1 of 3 neighbours after 2\.5 s"):
            await nodes[0].wait_neighbours(3, timeout=2.5)
        assert loop.time() - start == pytest.approx(2.5, abs=0.001)
        hub: Any = nodes[0]._telling.hub
        assert len(hub._subscribers) == 0

    run(test)


def test_wait_neighbours_ends_with_the_node():
    async def test(cluster: Cluster) -> None:
        node = cluster.node()
        await node.start()
        async with running(node.wait_neighbours(1)) as tasks:
            await asyncio.sleep(1)
            await node.close()
            with pytest.raises(covey.ClosedError, match="closed while waiting"):
                await tasks[0]

    run(test)
