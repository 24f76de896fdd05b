"""A node that dies of a bug says why to everybody who waits or comes later, and takes nobody with it."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest

import covey
from covey.testing import Cluster, run
from tests.api.test_life import CALLS, call
from tests.testing.virtual import meshed, until


class Bug(Exception):
    """What a machine should never raise."""


def break_down(node: covey.Node) -> Bug:
    """Make the node's overlay fail at the next thing it hears."""
    bug = Bug("injected")

    def handle(incoming: Any, now_us: int) -> Any:
        raise bug

    engine: Any = node._engine
    engine.overlay.handle = handle
    return bug


async def dead_node(cluster: Cluster) -> tuple[covey.Node, Bug]:
    """A node that has just died."""
    node = cluster.node()
    await node.start()
    bug = break_down(node)
    await until(lambda: node._runner is not None and node._runner.dead is not None, 30)
    return node, bug


@pytest.fixture(autouse=True)
def quiet(caplog):
    """The log of a death is long."""
    caplog.set_level(logging.CRITICAL)


@pytest.mark.parametrize("name", CALLS)
def test_every_later_call_gives_the_cause(name):
    async def test(cluster: Cluster) -> None:
        node, bug = await dead_node(cluster)
        for _ in range(2):
            with pytest.raises(covey.ClosedError, match="died") as caught:
                await call(node, name)
            assert caught.value.__cause__ is bug

    run(test)


@pytest.mark.parametrize("name", CALLS)
def test_after_close_the_cause_is_still_given(name):
    async def test(cluster: Cluster) -> None:
        node, bug = await dead_node(cluster)
        await node.close()
        await node.close()
        with pytest.raises(covey.ClosedError) as caught:
            await call(node, name)
        assert caught.value.__cause__ is bug

    run(test)


def test_every_pending_call_gives_the_cause():
    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(3)
        await until(lambda: meshed(nodes))
        node = nodes[0]
        cluster.partition(nodes[:1], nodes[1:])

        async def read(events: Any) -> None:
            async for _ in events:
                pass

        async with node.events() as events, node.events() as others:
            pending = [
                asyncio.create_task(node.send(nodes[1].site, "with the dial")),
                asyncio.create_task(node.send(nodes[1].site, "behind it")),
                asyncio.create_task(node.wait_neighbours(9, timeout=100)),
                asyncio.create_task(node.wait_members(9, timeout=100)),
                asyncio.create_task(node.flush()),
                asyncio.create_task(read(events)),
                asyncio.create_task(read(others)),
            ]
            await asyncio.sleep(0.1)
            bug = break_down(node)
            for task in pending:
                with pytest.raises(covey.ClosedError) as caught:
                    await task
                assert caught.value.__cause__ is bug

    run(test)


def test_a_stream_gives_what_it_holds_before_it_gives_the_cause():
    async def test(cluster: Cluster) -> None:
        node = cluster.node()
        await node.start()
        async with node.events() as events:
            await node.send(node.site, "one")
            await node.send(node.site, "two")
            break_down(node)
            await until(lambda: node._runner is not None and node._runner.dead is not None, 30)
            assert await anext(events) == covey.Message(node.site, "one")
            assert await anext(events) == covey.Message(node.site, "two")
            with pytest.raises(covey.ClosedError):
                await anext(events)

    run(test)


def test_a_subscription_that_was_made_before_and_opened_after_gives_the_cause_too():
    async def test(cluster: Cluster) -> None:
        node = cluster.node()
        await node.start()
        subscription = node.events()
        bug = break_down(node)
        await until(lambda: node._runner is not None and node._runner.dead is not None, 30)
        with pytest.raises(covey.ClosedError) as caught:
            async with subscription:
                pass
        assert caught.value.__cause__ is bug

    run(test)


def test_a_caller_who_sets_off_the_bug_gets_the_cause_and_the_node_is_dead():
    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(2)
        await until(lambda: meshed(nodes))
        bug = Bug("injected")

        def handle(incoming: Any, now_us: int) -> Any:
            raise bug

        engine: Any = nodes[0]._engine
        engine.direct.handle = handle
        with pytest.raises(covey.ClosedError) as caught:
            nodes[0].send_nowait(nodes[1].site, "set off")
        assert caught.value.__cause__ is bug
        with pytest.raises(covey.ClosedError) as caught:
            await nodes[0].send(nodes[1].site, "too late")
        assert caught.value.__cause__ is bug

    run(test)


def test_a_command_that_sets_off_the_bug_gives_it_once_and_leaves_no_outcome_that_nobody_hears(caplog):
    caplog.set_level(logging.CRITICAL + 1)  # a kept log entry keeps the error, and with it all that it refers to
    unheard: list[dict[str, Any]] = []

    async def test(cluster: Cluster) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: unheard.append(context))
        async with cluster.node() as node:
            bug = Bug("injected")

            def handle(incoming: Any, now_us: int) -> Any:
                raise bug

            engine: Any = node._engine
            engine.membership.handle = handle
            with pytest.raises(covey.ClosedError) as caught:
                await node.flush()
            assert caught.value.__cause__ is bug

    run(test)
    gc.collect()  # a future says that nobody heard its exception when it is dropped
    assert unheard == []


def test_the_other_nodes_go_on():
    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(4)
        await until(lambda: meshed(nodes))
        break_down(nodes[0])
        await until(lambda: meshed(nodes[1:]), 30)
        async with nodes[1].events() as events:
            await nodes[2].send(nodes[1].site, "alive")
            async for event in events:  # what they say of the dead one is not our concern here
                if isinstance(event, covey.Message):
                    break
            assert event == covey.Message(nodes[2].site, "alive")

    run(test)


def test_a_dead_nodes_port_is_free_and_its_links_are_closed_once_close_returns():
    async def test(cluster: Cluster) -> None:
        node = cluster.node(listen="127.0.0.1:5000")
        await node.start()
        other = cluster.node()
        await other.start()
        await until(lambda: meshed([node, other]))
        break_down(node)
        await until(lambda: node._runner is not None and node._runner.dead is not None, 30)
        await node.close()
        assert "127.0.0.1:5000" not in cluster.network.transports
        await until(lambda: other.neighbours() == [], 1)
        async with cluster.node(listen="127.0.0.1:5000"):
            pass

    run(test)


def test_close_of_a_dead_node_waits_until_its_transport_has_ended():
    """Else an event loop that is closed next leaves sockets open."""

    async def test(cluster: Cluster) -> None:
        node = cluster.node()
        await node.start()
        transport: Any = node._runner._transport  # type: ignore[union-attr]
        aclose, ended = transport.aclose, []

        async def slow_aclose() -> None:
            await asyncio.sleep(1)
            await aclose()
            ended.append(True)

        transport.aclose = slow_aclose
        break_down(node)
        await until(lambda: node._runner is not None and node._runner.dead is not None, 30)
        await node.close()
        assert ended == [True]

    run(test)


def test_a_node_that_dies_while_it_closes_is_closed_all_the_same():
    async def test(cluster: Cluster) -> None:
        node = cluster.node(listen="127.0.0.1:5000")
        await node.start()
        break_down(node)
        await node.close()  # its goodbye sets the bug off
        await node.close()
        with pytest.raises(covey.ClosedError):
            node.neighbours()
        assert "127.0.0.1:5000" not in cluster.network.transports

    run(test)


def test_a_death_is_logged_with_its_reason(caplog):
    async def test(cluster: Cluster) -> None:
        await dead_node(cluster)

    run(test)
    assert "event=node_died" in caplog.text
    assert "injected" in caplog.text
