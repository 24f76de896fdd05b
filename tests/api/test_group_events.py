"""A group's events: a snapshot and the stream that follows from it, exactly, through splits and lives."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

import covey
from covey.testing import Cluster, run
from tests.api.gather import KEY, Address, counted, joined
from tests.api.together import together
from tests.testing.virtual import until

AGAIN = [covey.GroupLeft, covey.GroupJoined]


class Watch:
    """Everything that one group said since `events` was opened, folded."""

    def __init__(self, group: covey.Group, events: Any) -> None:
        self.group = group
        self.events = events
        self.state = counted(events.snapshot)
        self.meta: dict[Address, Any] = {member.address: member.meta for member in events.snapshot}
        self.seen: list[Any] = []

    def read(self) -> list[Any]:
        """What came since the last time; after it, the fold is what the group has."""
        new = list(self.events._queue)
        self.events._queue.clear()
        for event in new:
            address = event.member.address
            match event:
                case covey.GroupJoined(member, count):
                    self.state[address] += count
                    self.meta.setdefault(address, member.meta)
                case covey.GroupLeft(_, count):
                    assert self.state[address] >= count > 0
                    self.state[address] -= count
                    if not self.state[address]:
                        del self.state[address], self.meta[address]
                case covey.GroupUpdated(member):
                    assert self.meta[address] != member.meta
                    self.meta[address] = member.meta
        assert self.state == counted(self.group.members())
        assert self.meta == {member.address: member.meta for member in self.group.members()}
        self.seen += new
        return new


@contextlib.asynccontextmanager
async def watching(group: covey.Group):
    async with group.events() as events:
        yield Watch(group, events)


def test_joins_leaves_and_metadata_are_told_once_each():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2, meta="a") as (me, other), watching(other.group) as watch:
            assert watch.read() == []
            me.group.join(member=me)
            me.update_meta("b")
            me.group.join(meta="c", member=me)
            me.update_meta("c")  # says nothing new
            me.leave(2)
            me.leave()
            await until(lambda: other.group.member_count() == 1)
            events = watch.read()
            joined_ = sum(event.count for event in events if isinstance(event, covey.GroupJoined))
            left = sum(event.count for event in events if isinstance(event, covey.GroupLeft))
            assert left - joined_ == 1
            assert all(event.member == me.member for event in events)

    run(test)


def test_each_change_here_is_an_event_at_once():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 1, meta="a") as (me,), watching(me.group) as watch:
            me.group.join(member=me)
            assert watch.read() == [covey.GroupJoined(me.member, 1)]
            me.update_meta("b")
            assert watch.read() == [covey.GroupUpdated(me.member)]
            me.group.join(meta="c", member=me)
            assert watch.read() == [covey.GroupJoined(me.member, 1), covey.GroupUpdated(me.member)]
            member = me.member
            me.leave(2)
            assert watch.read() == [covey.GroupLeft(member, 2)]
            me.close()
            assert watch.read() == [covey.GroupLeft(member, 1)]
            async with me.group.join() as again:
                assert watch.read() == [covey.GroupJoined(again.member, 1)]

    run(test)


async def assemble(
    cluster: Cluster, stack: contextlib.AsyncExitStack, count: int, each: int
) -> list[list[covey.Mailbox]]:
    """Nodes with so many members each, seen by all."""
    nodes = await together(cluster, count)
    boxes = [[await stack.enter_async_context(node.group(KEY).join()) for _ in range(each)] for node in nodes]
    await until(lambda: all(node.group(KEY).member_count() == count * each for node in nodes))
    return boxes


@pytest.mark.parametrize("islands", [((0, 1), (2, 3)), ((0,), (1,), (2,), (3,))], ids=["2|2", "four ways"])
def test_a_split_hides_the_others_and_its_end_shows_them_each_once(islands):
    """Nothing is changed during the cut: each side drops exactly the lost, and gets exactly them back."""

    async def test(cluster: Cluster) -> None:
        async with contextlib.AsyncExitStack() as stack:
            boxes = await assemble(cluster, stack, 4, 10)
            nodes = list(cluster._nodes)
            groups = [node.group(KEY) for node in nodes]
            watches = [await stack.enter_async_context(watching(group)) for group in groups]
            members = [{box.member for box in of} for of in boxes]
            cluster.partition(*([nodes[at] for at in island] for island in islands))
            size = 10 * len(islands[0])
            await until(lambda: all(group.member_count() == size for group in groups), 120)
            for island in islands:
                for at in island:
                    left = watches[at].read()
                    lost = set().union(*(members[other] for other in range(4) if other not in island))
                    assert {event.member for event in left} == lost and len(left) == len(lost)
                    assert all(event == covey.GroupLeft(event.member, 1) for event in left)
            cluster.heal()
            await until(lambda: all(group.member_count() == 40 for group in groups), 120)
            for island in islands:
                for at in island:
                    back = watches[at].read()
                    lost = set().union(*(members[other] for other in range(4) if other not in island))
                    assert {event.member for event in back} >= lost
                    for member in set().union(*members):
                        # A side hears at once what the other held of it, so who was there may go and come once more.
                        told = [type(event) for event in back if event.member == member]
                        assert told in ([covey.GroupJoined],) if member in lost else told in ([], AGAIN)
            await asyncio.sleep(30)
            assert [watch.read() for watch in watches] == [[]] * 4

    run(test)


def test_a_node_that_restarts_leaves_and_joins_as_others():
    async def test(cluster: Cluster) -> None:
        storage = covey.MemoryStorage()
        (one,) = await cluster.start(1, storage=covey.MemoryStorage())
        (two,) = await cluster.start(1, storage=storage)
        await one.wait_members(2)
        async with watching(one.group(KEY)) as watch:
            before = await two.group(KEY).join().start()
            old = before.member
            await until(lambda: one.group(KEY).member_count() == 1)
            await cluster.kill(two)
            again = cluster.node(storage=storage)
            await again.start()
            async with again.group(KEY).join() as after:
                await until(lambda: one.group(KEY).members() == [after.member])
                new = after.member
                assert watch.read() == [
                    covey.GroupJoined(old, 1), covey.GroupLeft(old, 1), covey.GroupJoined(new, 1)
                ]  # fmt: skip

    run(test)


def test_who_begins_to_listen_starts_from_what_is():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            me.group.join(member=me)
            async with other.group.events() as events:
                assert counted(events.snapshot) == counted(other.group.members())
            await until(lambda: other.group.member_count() == 3)
            async with other.group.events() as events:
                assert counted(events.snapshot) == counted(me.group.members())
                await asyncio.sleep(30)
                assert len(events._queue) == 0

    run(test)


def test_a_stream_may_be_opened_long_before_it_is_entered():
    """Also when the group was empty meanwhile, and nobody else listened."""

    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 1) as (me,):
            stream = me.group.events()
            async with me.group.events() as other:
                me.leave()
                assert len(other._queue) == 1
            async with stream, me.group.join() as twin:
                assert stream.snapshot == ()
                assert list(stream._queue) == [covey.GroupJoined(twin.member, 1)]

    run(test)


def test_a_slow_reader_is_told_how_much_it_lost():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 1) as (me,), me.group.events(events_max=2) as events:
            for _ in range(10):
                me.group.join(member=me)
            one = covey.GroupJoined(me.member, 1)
            assert [await anext(events) for _ in range(3)] == [one, one, covey.Lost(8)]
            me.leave(3)
            assert await anext(events) == covey.GroupLeft(me.member, 3)

    run(test)


def test_a_group_hears_of_nobody_elses():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (_, other), watching(other.group) as watch:
            node = cluster._nodes[0]
            async with node.group(KEY, scope="s").join(), node.group("another").join():
                await until(lambda: len(cluster._nodes[1].groups()) == 2)
            await asyncio.sleep(5)
            assert watch.read() == []

    run(test)


def test_streams_end_with_the_node():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 1) as (me,), me.group.events() as events:
            me.group.join(member=me)
            await cluster._nodes[0].close()
            assert len([event async for event in events]) == 1

    run(test)
