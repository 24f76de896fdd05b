"""`node.group(key)`: who is a member, how often and with which metadata, from joining to the end of the node."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

import pytest

import covey
from covey.api.group_values import member_of
from covey.protocols.groups.vocabulary import GroupEntry
from covey.testing import Cluster, run
from covey.wire.payloads import decode_payload
from tests.api.gather import alone_is, counted, held, joined
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
            elsewhere = cluster._nodes[0].group("another")
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
            await alone_is(other.group("a"), me, "in a")
            await alone_is(other.group("b"), me, "in b")
            await alone_is(other.group("c"), me, None)
            me.update_meta("new", group=one.group("b"))
            await alone_is(other.group("b"), me, "new")
            await alone_is(other.group("a"), me, "in a")
            assert me.leave(group=one.group("b"))
            await until(lambda: other.group("b").members() == [])
        await until(lambda: other.groups() == [])

    run(test)


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


def test_only_the_metadata_of_those_who_are_drawn_is_decoded(monkeypatch):
    async def test(cluster: Cluster) -> None:
        (node,) = await together(cluster, 1)
        group = node.group("g")
        boxes = [await group.join(meta=number).start() for number in range(100)]
        read: list[GroupEntry] = []

        def counting(entry: GroupEntry) -> covey.GroupMember:
            read.append(entry)
            return member_of(entry)

        monkeypatch.setattr("covey.api.groups.member_of", counting)
        drawn = group.random_peers(2, exclude=boxes[0])
        assert [member.meta for member in drawn] == [decode_payload(entry.meta) for entry in read]
        assert len(read) == 2

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
