"""Members that go without a word of their own: with their block, task, mailbox, node or life."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import Any

import pytest

import covey
from covey.testing import Cluster, run
from tests.api.gather import KEY, counted, held, joined
from tests.api.together import together
from tests.testing.virtual import until

# --- leaving without a word -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["block", "error", "task", "cancelled", "close", "dropped"])
def test_a_member_leaves_with_what_it_belongs_to(way):
    """The block's end, an error in it, the task's end without the block's, its cancellation, and nobody's interest."""

    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (stays, other):
            group = stays.group
            stack = contextlib.AsyncExitStack()
            inside = asyncio.Event()

            async def member() -> None:
                match way:
                    case "block" | "error" | "cancelled":
                        async with group.join() as me:
                            group.join(member=me)
                            inside.set()
                            if way == "cancelled":
                                await asyncio.sleep(1_000)
                            await until(lambda: other.group.member_count() == 4)
                            if way == "error":
                                raise RuntimeError("as meant")
                    case "task":  # the block outlives it
                        me = await stack.enter_async_context(group.join())
                        group.join(member=me)
                        inside.set()
                        await until(lambda: other.group.member_count() == 4)
                    case "close" | "dropped":
                        me = await group.join().start()
                        group.join(member=me)
                        inside.set()
                        await until(lambda: other.group.member_count() == 4)
                        if way == "close":
                            me.close()
                            me.close()

            task = asyncio.create_task(member())
            await inside.wait()
            await until(lambda: other.group.member_count() == 4)
            if way == "cancelled":
                task.cancel()
            outcome = (await asyncio.gather(task, return_exceptions=True))[0]
            assert isinstance(
                outcome, {"error": RuntimeError, "cancelled": asyncio.CancelledError}.get(way, type(None))
            )
            gc.collect()
            await until(lambda: group.member_count() == 2 and other.group.member_count() == 2)
            assert counted(other.group.members()) == held(stays, other)
            await stack.aclose()

    run(test)


def test_a_task_that_opens_mailbox_after_mailbox_keeps_nothing_of_them():
    async def test(cluster: Cluster) -> None:
        (node,) = await together(cluster, 1)
        task: Any = asyncio.current_task()
        before = len(task._callbacks or ())
        for _ in range(100):
            async with node.group(KEY).join(), node.presence(KEY).track("ann"):
                assert len(task._callbacks) == before + 2
        assert len(task._callbacks or ()) == before

    run(test)


@pytest.mark.parametrize("way", ["closed", "killed", "left"])
def test_members_go_with_their_node(way):
    async def test(cluster: Cluster) -> None:
        nodes = await together(cluster, 3)
        async with nodes[0].group(KEY).join() as one, nodes[1].group(KEY).join() as other:
            stack = contextlib.AsyncExitStack()
            gone = await stack.enter_async_context(nodes[2].group(KEY).join())
            await until(lambda: one.group.member_count() == other.group.member_count() == 3)
            match way:
                case "closed":
                    await nodes[2].close()
                case "killed":
                    await cluster.kill(nodes[2])
                case _:
                    await nodes[2].leave()
            await until(lambda: one.group.member_count() == other.group.member_count() == 2, 15)
            assert counted(one.group.members()) == held(one, other)
            if way == "left":
                await until(lambda: gone.group.members() == [gone.member])
            else:
                with pytest.raises(covey.ClosedError):
                    gone.leave()
            await stack.aclose()

    run(test)


def test_a_node_that_comes_back_has_its_members_again_under_new_addresses():
    """It leaves and joins: the same mailboxes, another life. They still exclude themselves."""

    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2, meta="m") as (me, other):
            node, there = cluster._nodes
            before = me.member
            await node.leave()
            await until(lambda: other.group.members() == [other.member] and me.group.members() == [me.member])
            await node.join(there.address)
            await until(lambda: other.group.member_count() == 2)
            assert me.member.incarnation == node.incarnation > before.incarnation
            assert me.member.mailbox == before.mailbox
            assert counted(other.group.members()) == counted(me.group.members()) == held(me, other)
            assert me.peers() == [other.member] and me.member.meta == "m"
            assert await me.broadcast("once") == 1
            await asyncio.sleep(1)
            assert len(me._queue) == 0 and len(other._queue) == 1

    run(test)


def test_a_node_that_starts_again_is_other_members():
    async def test(cluster: Cluster) -> None:
        storage = covey.MemoryStorage()
        nodes = [(await cluster.start(1, storage=covey.MemoryStorage()))[0]]
        second = (await cluster.start(1, storage=storage))[0]
        await second.wait_members(2)
        async with nodes[0].group(KEY).join() as me:
            async with second.group(KEY).join() as before:
                await until(lambda: me.group.member_count() == 2)
                old = before.member
            await cluster.kill(second)
            again = cluster.node(storage=storage)
            await again.start()
            async with again.group(KEY).join() as after:
                await until(lambda: me.peers() == [after.member])
                assert after.member.site == old.site and after.member != old

    run(test)
