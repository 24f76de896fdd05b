"""`node.group(key)`: who is a member, how often and with which metadata, from joining to the end of the node."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections import Counter
from typing import Any

import pytest

import covey
from covey.testing import Cluster, run
from tests.api.gather import KEY, counted, held, joined
from tests.api.together import together
from tests.testing.virtual import until


def test_the_api_as_the_design_shows_it():
    async def test(cluster: Cluster) -> None:
        one, other = await together(cluster, 2)
        group = one.group(("document", "doc-123"))
        async with other.group(("document", "doc-123")).join(meta={"user": "bob"}) as bob:
            async with group.join(meta={"user": "ann"}) as me:
                await until(lambda: me.peers())
                assert await me.broadcast({"edit": 1}) == 1
                await me.send(me.peers()[0], "hello")
                serving = asyncio.create_task(bob.serve(lambda payload, sender: asyncio.sleep(0, payload["q"] + 1)))
                assert await me.call(me.peers()[0], {"q": 1}, timeout=2) == 2
                serving.cancel()
                assert group.pick("doc-7") in group.members()
                assert sorted(member.meta["user"] for member in group.members()) == ["ann", "bob"]
                assert group.member_count() == 2
                assert group.random_peers(3, exclude=me) == [bob.member]
                assert one.groups() == [("document", "doc-123")]
            assert group.members() == [bob.member]

    run(test)


# --- joining and leaving --------------------------------------------------------------------------------------------


def test_everybody_sees_the_same_members_and_their_metadata():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 3, meta={"zone": 1}) as boxes:
            for box in boxes:
                assert counted(box.group.members()) == held(*boxes)
                assert [member.meta for member in box.group.members()] == [{"zone": 1}] * 3
                assert box.member.meta == {"zone": 1}

    run(test)


def test_n_joins_need_n_leaves():
    """M39, and `peers` stay distinct all the while."""

    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            for _ in range(15):
                assert me.group.join(member=me) is me
            address = me.member.address

            async def becomes(count: int) -> None:
                await until(lambda: counted(other.group.members())[address] == count)
                for group in (me.group, other.group):
                    assert counted(group.members()) == Counter({address: count, other.member.address: 1}) + Counter()
                    assert group.member_count() == count + 1
                    assert len(group.peers()) == (2 if count else 1)

            await becomes(16)
            assert me.leave(4) is True
            await becomes(12)
            assert me.leave(12) is True
            await becomes(0)
            assert me.leave() is False
            other.leave()
            assert other.group.members() == [] and not other.group._groups._machine.views
            await until(lambda: me.group.members() == [])

    run(test)


def test_leaving_more_often_than_one_joined_leaves():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 1) as (me,):
            me.group.join(member=me)
            assert me.leave(100) is True
            assert me.leave(100) is False

    run(test)


def test_leaving_without_joining_is_false_and_changes_nobody_else():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 1) as (me,), me.group.join() as twin:
            assert twin.leave() is True
            assert twin.leave() is False
            elsewhere = me.group._groups.group("another", "")
            assert me.leave(group=elsewhere) is False
            assert me.group.members() == [me.member]

    run(test)


def test_two_mailboxes_of_one_node_are_two_members():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other), me.group.join() as twin:
            await until(lambda: other.group.member_count() == 3)
            assert set(me.peers()) == {twin.member, other.member}
            assert set(twin.peers()) == {me.member, other.member}
            assert len(me.group.peers()) == 3

    run(test)


def test_one_mailbox_may_be_in_several_groups():
    async def test(cluster: Cluster) -> None:
        one, other = await together(cluster, 2)
        async with one.group("a").join(meta="in a") as me:
            one.group("b").join(meta="in b", member=me)
            one.group("c").join(member=me)
            await until(lambda: len(other.groups()) == 3)
            assert sorted(map(str, other.groups())) == ["a", "b", "c"]
            await me_is(other.group("a"), me, "in a")
            await me_is(other.group("b"), me, "in b")
            await me_is(other.group("c"), me, None)
            me.update_meta("new", group=one.group("b"))
            await me_is(other.group("b"), me, "new")
            await me_is(other.group("a"), me, "in a")
            assert me.leave(group=one.group("b"))
            await until(lambda: other.group("b").members() == [])
        await until(lambda: other.groups() == [])

    run(test)


async def me_is(group: covey.Group, me: covey.Mailbox, meta: Any) -> None:
    """Wait until exactly `me` is in the group, and says so."""
    await until(lambda: [(m.address, m.meta) for m in group.members()] == [(me.member.address, meta)])


def test_metadata_may_change_and_the_count_does_not():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2, meta={"v": 1}) as (me, other):
            me.group.join(member=me)
            me.update_meta({"v": 2})
            assert me.member.meta == {"v": 2}
            await until(lambda: [m.meta for m in other.group.members()] == [{"v": 2}, {"v": 2}, {"v": 1}]
                        or [m.meta for m in other.group.members()] == [{"v": 1}, {"v": 2}, {"v": 2}])  # fmt: skip
            me.group.join(meta={"v": 3}, member=me)
            assert me.member.meta == {"v": 3}
            assert me.group.member_count() == 4
            with pytest.raises(covey.UsageError, match="cannot be serialised"):
                me.update_meta(object())
            assert me.member.meta == {"v": 3}
            me.leave(3)
            with pytest.raises(covey.UsageError, match="no member of that group"):
                me.update_meta({"v": 4})
            assert me.member.meta is None

    run(test)


def test_a_member_is_the_same_whatever_it_says_of_itself():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 1, meta=1) as (me,):
            before = me.member
            me.update_meta(2)
            assert me.member == before and hash(me.member) == hash(before) and me.member.meta != before.meta
            assert before != before.address

    run(test)


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


# --- who is there ---------------------------------------------------------------------------------------------------


def test_groups_are_those_with_members_in_one_scope():
    async def test(cluster: Cluster) -> None:
        one, other = await together(cluster, 2)
        async with one.group(1).join() as a, one.group(True).join(), one.group((b"x", "y"), scope="s").join():
            await until(lambda: len(other.groups()) == 2 and len(other.groups("s")) == 1)
            assert other.groups() == [1, True] and [type(key) for key in other.groups()] == [int, bool]
            assert other.groups("s") == [(b"x", "y")]
            assert other.groups("nobody's") == []
            assert other.group(1, scope="s").members() == []
            assert other.group(1).members() == [a.member]
        await until(lambda: other.groups() == [] == other.groups("s"))

    run(test)


def test_random_peers_are_distinct_members_each_as_likely_as_any_other():
    async def test(cluster: Cluster) -> None:
        (node,) = await together(cluster, 1)
        group = node.group("g")
        assert group.random_peers(3) == []
        async with contextlib.AsyncExitStack() as stack:
            boxes = [await stack.enter_async_context(group.join()) for _ in range(5)]
            for _ in range(20):
                group.join(member=boxes[0])
            everybody = {box.member for box in boxes}
            counts: Counter[covey.GroupMember] = Counter()
            orders = set()
            for _ in range(2_000):
                found = group.random_peers(2)
                assert len(set(found)) == 2
                counts.update(found)
                orders.add(tuple(member.mailbox for member in group.random_peers(100)))
            assert set(counts) == everybody and all(abs(count - 800) < 90 for count in counts.values())
            assert len(orders) > 110 and all(sorted(order) == [1, 2, 3, 4, 5] for order in orders), "of 120, shuffled"
            for _ in range(50):
                assert boxes[1].member not in group.random_peers(4, exclude=boxes[1])
            assert set(group.random_peers(99, exclude=boxes[1])) == everybody - {boxes[1].member}

    run(test)


@pytest.mark.parametrize("count", [0, -1, True, 1.0, "2", None], ids=repr)
def test_random_peers_of_another_number_is_a_usage_error(count):
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 1) as (me,):
            with pytest.raises(covey.UsageError, match="count must be an int of at least 1"):
                me.group.random_peers(count)
            with pytest.raises(covey.UsageError, match="count must be an int of at least 1"):
                me.leave(count)
            assert me.group.members() == [me.member]

    run(test)


def test_all_pick_the_same_and_only_the_keys_of_one_that_goes_move():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 3) as boxes:
            keys = [("device", number) for number in range(200)]
            picked = [[box.group.pick(key) for key in keys] for box in boxes]
            assert picked[0] == picked[1] == picked[2] == [boxes[1].group.pick(key) for key in keys]
            assert all(count > 30 for count in counted(picked[0]).values()) and len(counted(picked[0])) == 3
            gone = boxes[2].member
            boxes[2].close()
            await until(lambda: boxes[0].group.member_count() == boxes[1].group.member_count() == 2)
            for key, before in zip(keys, picked[0], strict=True):
                after = boxes[0].group.pick(key)
                assert after == boxes[1].group.pick(key) and (after == before) == (before != gone)

    run(test)


def test_nobody_is_picked_where_there_is_nobody():
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node:
            with pytest.raises(covey.PeerUnreachable, match="group 'g' has no member"):
                node.group("g").pick("key")

    run(test)


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", [None, 1.5, ["a"], {"a": 1}, ("a", 2.0), 2**64, "x" * 2_000, "\ud800"], ids=lambda k: repr(k)[:20]
)
def test_what_is_no_key_is_a_config_error(key):
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 1) as (me,):
            node = cluster._nodes[0]
            for call in (node.group, me.group.pick):
                with pytest.raises(covey.ConfigError, match="key"):
                    call(key)

    run(test)


@pytest.mark.parametrize("scope", [None, b"bytes", 1, "\ud800", "x" * 1_082], ids=lambda s: repr(s)[:20])
def test_what_is_no_scope_is_a_config_error_and_the_longest_works(scope):
    """A longer one would not fit in the messages that carry it, and cost the links of whoever hears of it."""

    async def test(cluster: Cluster) -> None:
        one, other = await together(cluster, 2)
        for call in (lambda: one.group("g", scope=scope), lambda: one.groups(scope)):
            with pytest.raises(covey.ConfigError, match="scope must be a str of at most 1081 bytes"):
                call()
        async with one.group("k" * 1_021, scope="s" * 1_081).join() as me:
            there = other.group("k" * 1_021, scope="s" * 1_081)
            await until(lambda: there.members() == [me.member])

    run(test)


def test_metadata_that_does_not_fit_is_refused_and_the_largest_is_seen_by_all():
    async def test(cluster: Cluster) -> None:
        one, other = await together(cluster, 2)
        largest = b"x" * (65_520 - 3)
        group = one.group(KEY)
        for meta, error, text in (
            (largest + b"x", covey.ValueTooLarge, "meta has 65521 bytes encoded, at most 65520"),
            ({"a": [1, object()]}, covey.UsageError, r"meta\['a'\]\[1\] cannot be serialised"),
        ):
            with pytest.raises(error, match=text):
                group.join(meta)
        async with group.join(largest) as me:
            with pytest.raises(covey.ValueTooLarge, match="meta has"):
                me.update_meta(largest + b"x")
            with pytest.raises(covey.ValueTooLarge, match="meta has"):
                group.join(largest + b"x", member=me)
            await me_is(other.group(KEY), me, largest)
            assert me.group.member_count() == 1
            await asyncio.sleep(5)
            assert [member.status for member in one.members()] == ["alive", "alive"]

    run(test)


@pytest.mark.parametrize("mailbox_max", [0, -1, None, True, 2.5], ids=repr)
def test_a_mailbox_of_another_size_is_a_config_error(mailbox_max):
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node:
            with pytest.raises(covey.ConfigError, match="mailbox_max must be an int of at least 1"):
                node.group("g").join(mailbox_max=mailbox_max)

    run(test)


def test_a_mailbox_that_is_not_open_does_nothing():
    async def test(cluster: Cluster) -> None:
        (node,) = await together(cluster, 1)
        group = node.group(KEY)
        me = group.join()
        for state in ("new", "closed"):
            for call in (lambda: group.join(member=me), me.leave, lambda: me.update_meta(1), lambda: me.member):
                with pytest.raises(covey.ClosedError, match=f"the mailbox is {state}; nothing was done"):
                    call()
            for wait in (me.broadcast(1), me.send(None, 1), me.call(None, 1)):  # type: ignore[arg-type]
                with pytest.raises(covey.ClosedError, match=f"the mailbox is {state}"):
                    await wait
            if state == "new":
                with pytest.raises(covey.UsageError, match="read inside `async with"):
                    await anext(me)
                async with me:
                    with pytest.raises(covey.UsageError, match="this mailbox is open; ask the group for another"):
                        await me.start()
        with pytest.raises(covey.UsageError, match="this mailbox is closed; ask the group for another"):
            await me.start()
        assert group.members() == []

    run(test)


def test_what_is_no_mailbox_of_this_node_is_a_usage_error():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            with pytest.raises(covey.UsageError, match="belongs to another node; nothing was changed"):
                me.group.join(member=other)
            for wrong in (me.member, "me", 1):
                with pytest.raises(covey.UsageError, match="member must be a Mailbox"):
                    me.group.join(member=wrong)  # type: ignore[arg-type]
                for call in (me.group.peers, lambda exclude: me.group.random_peers(1, exclude)):
                    with pytest.raises(covey.UsageError, match="exclude must be a Mailbox"):
                        call(wrong)  # type: ignore[arg-type]
            assert counted(me.group.members()) == held(me, other)

    run(test)


def test_a_mailbox_of_another_node_excludes_nobody():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            assert me.member.mailbox == other.member.mailbox
            assert counted(me.group.peers(exclude=other)) == held(me, other)

    run(test)


def test_a_node_that_is_closed_answers_nothing():
    async def test(cluster: Cluster) -> None:
        node = cluster.node()
        with pytest.raises(covey.ClosedError):
            node.group("g")
        await node.start()
        group = node.group("g")
        me = await group.join().start()
        stream = group.events()
        await node.close()
        for call in (
            lambda: node.group("g"), node.groups, group.members, group.member_count, group.peers,
            lambda: group.random_peers(1), lambda: group.pick("k"), group.events, me.leave,
        ):  # fmt: skip
            with pytest.raises(covey.ClosedError):
                call()
        for wait in (group.join().start(), me.broadcast(1), stream.__aenter__()):
            with pytest.raises(covey.ClosedError):
                await wait
        with pytest.raises(StopAsyncIteration):
            await anext(me)
        me.close()

    run(test)
