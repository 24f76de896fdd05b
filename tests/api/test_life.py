"""A node's life: not started, open, closed, dead; each says what it is, and no step can be taken twice."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from typing import Any

import pytest

import covey
from covey.testing import Cluster, run
from tests.testing.virtual import meshed, until

SITE = covey.Site(bytes(16))

# Everything a node can be asked, and the one that is async is awaited.
CALLS = {
    "neighbours": lambda node: node.neighbours(),
    "wait_neighbours": lambda node: node.wait_neighbours(1),
    "statistics": lambda node: node.statistics(),
    "members": lambda node: node.members(),
    "wait_members": lambda node: node.wait_members(1),
    "kicked": lambda node: node.kicked,
    "why": lambda node: node.why(SITE),
    "join": lambda node: node.join("127.0.0.1:1"),
    "kick": lambda node: node.kick(SITE),
    "leave": lambda node: node.leave(),
    "flush": lambda node: node.flush(),
    "set_meta": lambda node: node.set_meta({}),
    "send": lambda node: node.send(SITE, 1),
    "send_nowait": lambda node: node.send_nowait(SITE, 1),
    "events": lambda node: node.events(),
}
IDENTITY = {
    "site": lambda node: node.site,
    "incarnation": lambda node: node.incarnation,
    "address": lambda node: node.address,
}


async def call(node: covey.Node, name: str) -> Any:
    """Make one of `CALLS`, and open what has to be opened."""
    result = {**CALLS, **IDENTITY}[name](node)
    if asyncio.iscoroutine(result):
        return await result
    if isinstance(result, covey.Subscription):
        async with result:
            return None
    return result


# --- before and after -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*CALLS, *IDENTITY])
def test_a_node_that_was_not_started_says_so(name):
    async def test(cluster: Cluster) -> None:
        with pytest.raises(covey.ClosedError, match=r"start\(\)"):
            await call(cluster.node(), name)

    run(test)


@pytest.mark.parametrize("name", CALLS)
def test_a_closed_node_says_so(name):
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node:
            pass
        with pytest.raises(covey.ClosedError, match="closed"):
            await call(node, name)

    run(test)


def test_a_closed_node_still_knows_who_it_was():
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node:
            who = node.site, node.incarnation, node.address
        assert (node.site, node.incarnation, node.address) == who
        assert "closed" in repr(node)

    run(test)


def test_an_identity_is_drawn_at_start_and_not_before():
    async def test(cluster: Cluster) -> None:
        node = cluster.node()
        assert "new" in repr(node)
        async with node:
            assert len(node.site) == 16
            assert node.incarnation == 1_700_001_000_000  # the virtual wall clock, in milliseconds
            assert re.fullmatch(r"127\.0\.0\.1:\d+", node.address)
            assert node.site[:4].hex() in repr(node)
            assert node.address in repr(node)

    run(test)


# --- start ----------------------------------------------------------------------------------------------------------


def test_a_node_is_started_once():
    async def test(cluster: Cluster) -> None:
        node = cluster.node()
        await node.start()
        with pytest.raises(covey.UsageError, match="started once"):
            await node.start()
        assert node.neighbours() == []
        await node.close()
        with pytest.raises(covey.UsageError, match="started once"):
            await node.start()

    run(test)


def test_of_two_starts_at_once_one_is_refused():
    async def test(cluster: Cluster) -> None:
        node = cluster.node()
        outcomes = await asyncio.gather(node.start(), node.start(), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [type(None), covey.UsageError]
        assert node.neighbours() == []

    run(test)


def test_a_start_that_fails_on_a_taken_port_leaves_nothing_open_and_can_be_repeated():
    async def test(cluster: Cluster) -> None:
        first = cluster.node(listen="127.0.0.1:5000")
        second = cluster.node(listen="127.0.0.1:5000", seeds=["127.0.0.1:5001"])
        await first.start()
        tasks = asyncio.all_tasks()
        with pytest.raises(covey.ConfigError, match=r"listen: 127\.0\.0\.1:5000 is taken"):
            await second.start()
        with pytest.raises(covey.ClosedError, match=r"start\(\)"):
            second.neighbours()
        assert asyncio.all_tasks() == tasks
        assert list(cluster.network.transports) == ["127.0.0.1:5000"]
        await first.close()
        await second.start()
        assert second.address == "127.0.0.1:5000"

    run(test)


def test_a_node_that_was_closed_before_its_start_stays_closed():
    async def test(cluster: Cluster) -> None:
        node = cluster.node()
        await node.close()
        with pytest.raises(covey.UsageError, match="closed"):
            await node.start()
        with pytest.raises(covey.ClosedError):
            node.neighbours()

    run(test)


def test_a_block_that_raises_closes_its_node_and_keeps_its_error():
    async def test(cluster: Cluster) -> None:
        node = cluster.node()
        with pytest.raises(KeyError, match="mine"):
            async with node:
                raise KeyError("mine")
        with pytest.raises(covey.ClosedError):
            node.neighbours()

    run(test)


# --- close ----------------------------------------------------------------------------------------------------------


def test_close_says_goodbye_and_the_neighbours_hear_it_as_such():
    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(4)
        await until(lambda: meshed(nodes))
        leaver, *others = nodes
        async with contextlib.AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(node.events()) for node in others]
            await leaver.close()
            for stream in streams:
                event = await anext(stream)
                assert isinstance(event, covey.NeighborDown)
                assert (event.neighbor.site, event.cause) == (leaver.site, "goodbye")
        assert meshed(others)

    run(test)


def test_close_may_be_called_again_and_by_many_at_once():
    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(2)
        await until(lambda: meshed(nodes))
        async with nodes[1].events() as events:
            await asyncio.gather(*(nodes[0].close() for _ in range(5)))
            await nodes[0].close()
            await asyncio.sleep(1)
            downs = [event for event in list(events._queue) if isinstance(event, covey.NeighborDown)]
            assert len(downs) == 1

    run(test)


def test_a_cancelled_close_goes_on_and_the_next_one_waits_for_its_end():
    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(2)
        await until(lambda: meshed(nodes))
        closing = asyncio.create_task(nodes[0].close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await nodes[0].close()
        assert nodes[0].address not in cluster.network.transports
        with pytest.raises(covey.ClosedError):
            nodes[0].neighbours()

    run(test)


def test_close_takes_no_longer_than_it_may(caplog):
    """Even where the transport does not come to an end."""

    async def test(cluster: Cluster) -> float:
        node = cluster.node(config=covey.Config.laptop(close_timeout=2.5))
        await node.start()
        transport: Any = node._runner._transport  # type: ignore[union-attr]
        transport.aclose = asyncio.Event().wait
        loop = asyncio.get_running_loop()
        start = loop.time()
        await node.close()
        with pytest.raises(covey.ClosedError):
            node.neighbours()
        return loop.time() - start

    with caplog.at_level(logging.WARNING):
        assert run(test) == pytest.approx(2.5, abs=0.01)
    assert "event=close_timeout" in caplog.text


def test_what_is_pending_at_close_ends_with_closed_error():
    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(2)
        await until(lambda: meshed(nodes))
        cluster.partition(nodes[:1], nodes[1:])
        sending = asyncio.create_task(nodes[0].send(nodes[1].site, "never"))
        waiting = asyncio.create_task(nodes[0].wait_neighbours(9, timeout=100))
        await asyncio.sleep(0.1)
        await nodes[0].close()
        for task in (sending, waiting):
            with pytest.raises((covey.ClosedError, covey.PeerUnreachable)):
                await task

    run(test)


def test_after_close_nothing_of_the_node_is_left_on_the_loop():
    async def test(cluster: Cluster) -> None:
        tasks = asyncio.all_tasks()
        nodes = await cluster.start(3)
        await until(lambda: meshed(nodes))
        await nodes[0].send(nodes[1].site, "a data link too")
        for node in nodes:
            await node.close()
        assert asyncio.all_tasks() == tasks
        assert cluster.network.transports == {}
        loop: Any = asyncio.get_running_loop()
        await asyncio.sleep(10)
        assert [handle for handle in loop._scheduled if not handle.cancelled()] == []

    run(test)


@pytest.mark.parametrize("turns", range(8))
def test_whoever_sends_while_the_node_closes_is_told_or_heard_and_the_loop_sees_no_error(turns):
    """In each of the turns that closing takes."""

    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(2)
        await until(lambda: meshed(nodes))
        await nodes[0].send(nodes[1].site, "first")
        troubles: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: troubles.append(context))
        async with nodes[1].events() as events:
            closing = asyncio.create_task(nodes[0].close())
            for _ in range(turns):
                await asyncio.sleep(0)
            sent = True
            try:
                nodes[0].send_nowait(nodes[1].site, "last")
            except covey.ClosedError:
                sent = False
            await closing
            await asyncio.sleep(1)
            heard = covey.Message(nodes[0].site, "last") in events._queue
        assert troubles == []
        assert heard == sent

    run(test)


def test_two_nodes_of_one_process_are_two_nodes():
    async def test(cluster: Cluster) -> None:
        one, other = await cluster.start(2)
        assert one.site != other.site
        await until(lambda: meshed([one, other]))
        await one.close()
        await until(lambda: other.neighbours() == [])

    run(test)
