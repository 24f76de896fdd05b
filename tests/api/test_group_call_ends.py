"""Calls whose callee cannot answer any more: they end at once, and say that it may have acted."""

from __future__ import annotations

import asyncio
import gc
from functools import partial

import pytest

import covey
from covey.core.ids import Contact
from covey.core.vocabulary import Liveness, LivenessChanged
from covey.testing import Cluster, run
from tests.api.gather import joined, seen_by, unread
from tests.testing.virtual import running, until

MAY = "it may have acted$"


@pytest.mark.parametrize("way, seconds_max", [("kill", 1.0), ("kick", 1.0), ("leave", 1.0), ("cut", 15.0)])
def test_a_callee_whose_node_goes_keeps_nobody_waiting(way, seconds_max):
    """Killed on a living host, thrown out, left: at once; silent: after its suspicion. The deadline is 1,000 s."""

    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 3) as (me, other, third):
            node, loop = cluster._nodes[1], asyncio.get_running_loop()
            calls = [(me, other), (third, other), (me, third)]
            async with running(*(a.call(seen_by(a, b), 1, timeout=1_000) for a, b in calls)) as (one, two, stays):
                await until(lambda: len(unread(other)) == 2 and len(unread(third)) == 1)
                started = loop.time()
                if way == "kill":
                    await cluster.kill(node)
                elif way == "kick":
                    await cluster._nodes[0].kick(node.site)
                elif way == "leave":
                    await node.leave()
                else:
                    cluster.partition([cluster._nodes[0], cluster._nodes[2]], [node])
                for task in (one, two):
                    with pytest.raises(covey.PeerUnreachable, match=MAY):
                        await task
                assert loop.time() - started <= seconds_max
                assert not stays.done()
                message = await anext(third)
                assert isinstance(message, covey.GroupCall)
                message.reply("here")
                assert await stays == "here"
            assert not me.group._groups._calls

    run(test)


def test_the_callers_own_new_life_ends_its_calls_of_itself_too():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other), me.group.join() as twin:
            node = cluster._nodes[0]
            async with running(
                me.call(twin.member, 1, timeout=1_000), me.call(seen_by(me, other), 1, timeout=1_000)
            ) as calling:
                await until(lambda: len(unread(twin)) == 1 and len(unread(other)) == 1)
                await cluster._nodes[1].kick(node.site)
                with pytest.raises(covey.PeerUnreachable, match=MAY):
                    await calling[1]
                await node.join(cluster._nodes[1].address)
                with pytest.raises(covey.PeerUnreachable, match=MAY):
                    await asyncio.wait_for(calling[0], 10)

    run(test)


def test_a_callee_that_is_only_suspect_still_answers():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            async with running(me.call(seen_by(me, other), 1, timeout=1_000)) as (calling,):
                await until(lambda: len(unread(other)) == 1)
                cluster.partition(cluster._nodes[:1], cluster._nodes[1:])
                node, site = cluster._nodes[0], cluster._nodes[1].site
                await until(lambda: any(m.site == site and m.status == "suspect" for m in node.members()))
                cluster.heal()
                message = await anext(other)
                assert isinstance(message, covey.GroupCall)
                message.reply("still here")
                assert await calling == "still here"

    run(test)


def test_a_mailbox_that_is_dropped_fails_what_it_has_not_answered():
    """Nobody closed it: nothing refers to it any more."""

    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            box: covey.Mailbox | None = await other.group.join().start()
            assert box is not None
            member = box.member
            await until(lambda: member in me.peers())
            async with running(me.call(member, 1, timeout=1_000)) as (calling,):
                waiting = box._queue  # a closure would keep the mailbox
                await until(partial(bool, waiting))
                del box, waiting
                gc.collect()
                with pytest.raises(covey.PeerUnreachable, match=f"its mailbox was dropped before it answered; {MAY}"):
                    await calling

    run(test)


def test_who_left_the_group_and_reads_on_still_answers():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            async with running(me.call(seen_by(me, other), 1, timeout=1_000)) as (calling,):
                message = await anext(other)
                assert isinstance(message, covey.GroupCall)
                other.leave()
                await until(lambda: not me.peers())
                assert not calling.done()
                message.reply("bye")
                assert await calling == "bye"

    run(test)


def test_a_call_that_waits_for_its_link_ends_with_the_life_too():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            to = seen_by(me, other)
            cluster.partition(cluster._nodes[:1], cluster._nodes[1:])
            started = asyncio.get_running_loop().time()
            with pytest.raises(covey.PeerUnreachable):
                await me.call(to, 1, timeout=1_000)
            assert asyncio.get_running_loop().time() - started < 30

    run(test)


def test_a_life_that_ends_in_the_middle_of_a_turn_refuses_what_that_turn_calls():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            to, runner = seen_by(me, other), cluster._nodes[0]._runner
            assert runner is not None
            await me.send(to, 0)
            await until(lambda: unread(other) == [0])  # the link is open: the short way
            me.send_nowait(to, 1)  # waits for the end of the turn, with all that goes there
            runner.feed(LivenessChanged(Contact(to.site, to.incarnation, ""), Liveness.DOWN, "for the test"))
            with pytest.raises(covey.PeerUnreachable, match="nothing was delivered"):
                async with asyncio.timeout(1):
                    await me.call(to, 2, timeout=1_000)  # in this turn: a task of its own would begin in the next

    run(test)
