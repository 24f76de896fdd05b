"""What goes at once: `send_nowait`, `broadcast_nowait`, and the letters of one turn, in the order they were sent."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

import covey
from covey.testing import Cluster, run
from tests.api.gather import joined, seen_by, take, unread
from tests.api.talk import transport_of
from tests.testing.virtual import running, until


async def congest(one: covey.Node, other: covey.Node, me: covey.Mailbox, to: covey.GroupMember) -> None:
    """Let `other` stop reading and fill what lies between, until `one` knows."""
    transport_of(other).pause_reading()
    engine: Any = one._engine
    async with asyncio.timeout(1):
        while engine.direct.ready(other.site):
            me.send_nowait(to, b"x" * 60_000)
            for _ in range(3):  # it is written at the end of this turn, and the transport's word comes in a later one
                await asyncio.sleep(0)


def test_letters_arrive_in_order_whichever_way_each_was_sent():
    """The first one makes the link; then nobody yields to the event loop between two of them."""

    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            to = seen_by(me, other)
            for number in range(0, 60, 6):
                me.send_nowait(to, number)
                assert me.broadcast_nowait(number + 1) == 1
                await me.send(to, number + 2)
                assert await me.broadcast(number + 3) == 1
                async with running(me.call(to, number + 4)) as (calling,):
                    await asyncio.sleep(0)
                    me.send_nowait(to, number + 5)
                    assert await take(other, 4) == [number, number + 1, number + 2, number + 3]
                    call = await anext(other)
                    assert isinstance(call, covey.GroupCall) and call.payload == number + 4
                    assert await take(other, 1) == [number + 5]
                    call.reply("done")
                    assert await calling == "done"

    run(test)


def test_a_turn_that_sends_more_than_goes_at_once_keeps_the_order():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 3) as (me, *others):
            await me.broadcast("the links are made")
            small = [await me.broadcast(number) for number in range(1_000)]
            large = [me.broadcast_nowait(bytes([number]) * 30_000) for number in range(5)]
            assert (small, large) == ([2] * 1_000, [2] * 5)
            for other in others:
                expected = ["the links are made", *range(1_000), *(bytes([number]) * 30_000 for number in range(5))]
                assert await take(other, 1_006) == expected

    run(test)


def test_send_nowait_is_overloaded_where_the_receiver_is_behind_and_nothing_is_sent():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            one, two = cluster._nodes
            to = seen_by(me, other)
            await me.send(to, "the link is made")
            await congest(one, two, me, to)
            with pytest.raises(covey.Overloaded, match="reads too slowly; nothing was sent: use `await send`"):
                me.send_nowait(to, "refused")
            assert me.broadcast_nowait("passed over") == 0
            transport_of(two).resume_reading()
            await me.send(to, "last", timeout=1)
            await asyncio.sleep(0.1)
            found = [payload for payload in unread(other) if type(payload) is not bytes]
            assert found == ["the link is made", "last"]

    run(test)


def test_a_broadcast_that_does_not_wait_passes_over_only_those_who_are_behind():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 3) as (me, slow, quick):
            one, two, _ = cluster._nodes
            await me.broadcast("the links are made")
            await congest(one, two, me, seen_by(me, slow))
            assert me.broadcast_nowait("now") == 1
            assert await take(quick, 2) == ["the links are made", "now"]
            transport_of(two).resume_reading()
            await asyncio.sleep(0.1)
            assert "now" not in unread(slow) and not any(isinstance(found, covey.Lost) for found in unread(slow))

    run(test)


def test_send_nowait_makes_a_link_where_there_is_none_and_goes_with_it():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 3) as (me, one, two):
            me.send_nowait(seen_by(me, one), "first")
            assert me.broadcast_nowait("second") == 2
            assert await take(one, 2) == ["first", "second"]
            assert await take(two, 1) == ["second"]

    run(test)


def test_send_nowait_to_a_member_whose_life_is_over_is_refused():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            to = seen_by(me, other)
            await me.send(to, "the link is made")
            await cluster._nodes[1].close()
            await until(lambda: not me.peers())
            with pytest.raises(covey.PeerUnreachable, match="nothing was delivered"):
                me.send_nowait(to, "refused")
            assert me.broadcast_nowait("nobody") == 0

    run(test)


def test_a_mailbox_of_our_own_node_gets_it_before_send_nowait_returns():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 1) as (me,), me.group.join() as twin:
            me.send_nowait(twin.member, "one")
            assert me.broadcast_nowait("two") == 1
            assert (unread(twin), unread(me)) == (["one", "two"], [])
            to = twin.member
            twin.close()
            with pytest.raises(covey.PeerUnreachable, match="closed"):
                me.send_nowait(to, "late")

    run(test)


def test_what_was_sent_before_a_mailbox_closed_in_the_same_turn_arrives():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            to = seen_by(me, other)
            await me.send(to, "the link is made")
            await asyncio.sleep(0.1)
            me.send_nowait(to, "farewell")
            me.close()
            assert await take(other, 2) == ["the link is made", "farewell"]
            with pytest.raises(covey.ClosedError, match="nothing was done"):
                me.send_nowait(to, "late")
            with pytest.raises(covey.ClosedError, match="nothing was done"):
                me.broadcast_nowait("late")

    run(test)


def test_what_was_sent_before_a_node_closed_in_the_same_turn_arrives():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            await me.send(seen_by(me, other), "the link is made")
            await asyncio.sleep(0.1)
            me.send_nowait(seen_by(me, other), "farewell")
            await cluster._nodes[0].close()
            assert await take(other, 2) == ["the link is made", "farewell"]

    run(test)


def test_what_is_no_payload_or_no_member_is_a_usage_error_and_nothing_is_sent():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            to = seen_by(me, other)
            with pytest.raises(covey.UsageError, match="cannot be serialised"):
                me.send_nowait(to, object())
            with pytest.raises(covey.ValueTooLarge):
                me.broadcast_nowait(b"x" * (1 << 20))
            with pytest.raises(covey.UsageError, match="to must be a GroupMember"):
                me.send_nowait(to.site, "site")  # type: ignore[arg-type]
            me.send_nowait(to, "only this")
            assert await take(other, 1) == ["only this"]

    run(test)


def test_mailboxes_of_one_node_do_not_share_what_can_be_changed():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other), contextlib.AsyncExitStack() as stack:
            boxes = [other, *[await stack.enter_async_context(other.group.join()) for _ in range(3)]]
            await until(lambda: len(me.peers()) == 4)
            payloads: list[Any] = [{"seen": []}, [1], "text", b"bytes", None]
            for payload in payloads:
                assert await me.broadcast(payload) == 4
            for box in boxes:
                found = await take(box, 5)
                assert found == payloads
                found[0]["seen"].append("mine")
                found[1].clear()

    run(test)
