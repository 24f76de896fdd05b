"""What groups refuse: keys, scopes, metadata, mailboxes and calls that cannot work. Nothing is changed by it."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

import covey
from covey.testing import Cluster, run
from tests.api.gather import KEY, alone_is, counted, held, joined, seen_by, take
from tests.api.together import together
from tests.testing.virtual import until

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
            (
                largest + b"x",
                covey.ValueTooLarge,
                "meta has 65521 bytes encoded, at most 65520 fit in a message; nothing was changed: say less$",
            ),
            (
                {"a": [1, object()]},
                covey.UsageError,
                r"meta\['a'\]\[1\] cannot be serialised: .*; nothing was changed$",
            ),
        ):
            with pytest.raises(error, match=text):
                group.join(meta)
        async with group.join(largest) as me:
            with pytest.raises(covey.ValueTooLarge, match="meta has"):
                me.update_meta(largest + b"x")
            with pytest.raises(covey.ValueTooLarge, match="meta has"):
                group.join(largest + b"x", member=me)
            await alone_is(other.group(KEY), me, largest)
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


def test_what_is_no_group_of_this_node_is_a_usage_error():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            for wrong in (other.group, KEY, 0):
                for call in (lambda group: me.leave(group=group), lambda group: me.update_meta(1, group=group)):
                    with pytest.raises(covey.UsageError, match="group must be what `group` of this node gave"):
                        call(wrong)
            assert (counted(me.group.members()), me.member.meta) == (held(me, other), None)

    run(test)


@pytest.mark.parametrize(
    "wrong",
    [
        {"site": "a" * 32},
        {"site": b"short"},
        {"incarnation": "1"},
        {"mailbox": 0},
        {"mailbox": 2**53 + 1},
        {"mailbox": "1"},
        {"mailbox": True},
    ],
    ids=repr,
)
def test_a_member_that_can_be_nobody_is_a_usage_error_and_the_node_lives(wrong):
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            there = seen_by(me, other)
            nobody = msgspec.structs.replace(there, **wrong)
            for attempt in (me.send(nobody, 1), me.call(nobody, 1)):
                with pytest.raises(covey.UsageError, match=r"to has the address of nobody, .*; nothing was sent"):
                    await attempt
            await me.send(there, "fine")
            assert await take(other, 1) == ["fine"]

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
