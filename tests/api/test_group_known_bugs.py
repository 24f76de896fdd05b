"""What Erlang's pg got wrong at one time or another, or leaves to its users: each as it is here."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial

import pytest

import covey
from covey.testing import Cluster, run
from tests.api.gather import KEY, counted, held, joined
from tests.api.together import together
from tests.testing.virtual import until


def test_whoever_watches_a_group_may_join_it():
    """pg's scope crashed when a process that both monitored and joined went down."""

    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (stays, other):

            async def both() -> None:
                async with stays.group.events() as events, stays.group.join() as me:
                    assert await anext(events) == covey.GroupJoined(me.member, 1)
                    raise RuntimeError("as meant")

            (ended,) = await asyncio.gather(asyncio.create_task(both()), return_exceptions=True)
            assert isinstance(ended, RuntimeError)
            await until(lambda: counted(other.group.members()) == held(stays, other))
            async with stays.group.join() as after:
                await until(lambda: after.member in other.peers())

    run(test)


def test_a_stream_starts_from_and_tells_of_members_everywhere():
    """pg's scope monitor gave only the members of its own node."""

    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 3) as (me, other, third):
            async with me.group.events() as events:
                assert counted(events.snapshot) == held(me, other, third)
                gone = third.member
                third.close()
                assert await asyncio.wait_for(anext(events), 10) == covey.GroupLeft(gone, 1)

    run(test)


def test_a_group_whose_last_member_goes_is_no_group_however_it_goes():
    """pg kept groups without members after a remote loss."""

    async def test(cluster: Cluster) -> None:
        nodes = await together(cluster, 3)
        watching = nodes[0]
        watching.groups()
        boxes = [
            await node.group(name).join().start() for name, node in zip("abc", (*nodes[1:], nodes[2]), strict=True)
        ]
        await until(lambda: sorted(map(str, watching.groups())) == ["a", "b", "c"])
        boxes[0].leave()
        await until(lambda: sorted(map(str, watching.groups())) == ["b", "c"])
        cluster.partition(nodes[:2], nodes[2:])
        await until(lambda: watching.groups() == [])
        cluster.heal()
        await until(lambda: sorted(map(str, watching.groups())) == ["b", "c"])
        await cluster.kill(nodes[2])
        await until(lambda: watching.groups() == [])
        assert watching.group("b").member_count() == 0 and not watching.group("b").members()

    run(test)


def _has(node: covey.Node, members: list[covey.GroupMember]) -> bool:
    return node.group(KEY).members() == members


@pytest.mark.slow
def test_the_end_of_a_life_that_is_heard_late_does_not_touch_the_next_one():
    """pg's late DOWN after a reconnection removed what the new connection had brought."""

    async def test(cluster: Cluster) -> None:
        first = (await cluster.start(1, storage=covey.MemoryStorage()))[0]
        storage = covey.MemoryStorage()
        second = (await cluster.start(1, storage=storage))[0]
        await first.wait_members(2)
        for _ in range(4):
            before = await second.group(KEY).join().start()
            await until(lambda: first.group(KEY).member_count() == 1)
            assert before.member in first.group(KEY).members()
            await cluster.kill(second)  # it is back before anyone has found out
            second = cluster.node(storage=storage)
            await second.start()
            async with second.group(KEY).join() as after:
                alone = [after.member]
                await until(partial(_has, first, alone))
                await asyncio.sleep(30)
                assert first.group(KEY).members() == alone
            await until(lambda: first.group(KEY).members() == [])

    run(test)


def test_leaving_and_ending_at_once_leaves_once():
    """pg's scope saw a leave and the exit of the same process in either order."""

    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (stays, other):
            for order in range(2):
                async with other.group.events() as events:
                    me = await stays.group.join().start()
                    stays.group.join(member=me)
                    address = me.member.address
                    await until(lambda: other.group.member_count() == 4)
                    for step in (lambda me=me: me._state == "open" and me.leave(), me.close)[:: 1 if order else -1]:
                        step()
                    await until(lambda: other.group.member_count() == 2)
                    await asyncio.sleep(5)
                    told = [event for event in events._queue if isinstance(event, covey.GroupLeft)]
                    assert {event.member.address for event in told} == {address}
                    assert sum(event.count for event in told) == 2

    run(test)


def test_what_changed_while_a_node_was_away_is_told():
    """One version of pg did not tell monitors of a group that a re-sync had changed."""

    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other), contextlib.AsyncExitStack() as stack:
            nodes = list(cluster._nodes)
            async with me.group.events() as events:
                cluster.partition(nodes[:1], nodes[1:])
                await until(lambda: not me.peers())
                new = await stack.enter_async_context(other.group.join(meta="new"))
                other.group.join(member=other)
                cluster.heal()
                await until(lambda: counted(me.group.members()) == held(me, other, other, new), 120)
                state = counted(events.snapshot)
                for event in events._queue:
                    assert isinstance(event, (covey.GroupJoined, covey.GroupLeft))
                    state[event.member.address] += event.count if isinstance(event, covey.GroupJoined) else -event.count
                assert +state == held(me, other, other, new)

    run(test)


def test_a_value_is_attached_to_a_membership_and_may_change():
    """Asked for and never added to pg, as are a broadcast (test_group_mail) and the next one."""

    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2, meta={"weight": 1}) as (me, other):
            me.update_meta({"weight": 2})
            await until(lambda: [member.meta for member in other.peers()] == [{"weight": 2}])

    run(test)


def test_members_of_this_node_can_be_told_apart():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 3) as (me, *_):
            here = [member for member in me.group.members() if member.site == cluster._nodes[0].site]
            assert here == [me.member]

    run(test)
