"""Mail between members: send, broadcast and what a mailbox holds, over good links, broken ones and none."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

import covey
from covey.testing import Cluster, run
from tests.api.gather import KEY, joined, seen_by, take, unread
from tests.api.talk import transport_of
from tests.api.together import together
from tests.testing.virtual import running, until

LARGEST = 983_040  # bytes of a payload, encoded


# --- send -----------------------------------------------------------------------------------------------------------


def test_what_is_sent_arrives_once_in_order_and_names_its_sender():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            for number in range(300):
                await me.send(seen_by(me, other), number)
                if number % 50 == 0:
                    await asyncio.sleep(0.01)
            message = await anext(other)
            assert message == covey.GroupMessage(me.member, 0)
            assert await take(other, 299) == list(range(1, 300))
            await other.send(message.sender, "back")  # whoever sent can be answered
            assert await take(me, 1) == ["back"]
            await asyncio.sleep(5)
            assert unread(other) == unread(me) == []

    run(test)


def test_senders_at_once_keep_each_its_order():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 3) as (one, two, three):

            async def send(me: covey.Mailbox) -> None:
                for number in range(100):
                    await me.send(seen_by(me, three), (me.member.site, number))
                    await asyncio.sleep(0.001)

            async with running(send(one), send(two)) as tasks:
                await asyncio.gather(*tasks)
            found = [tuple(payload) for payload in await take(three, 200)]
            for me in (one, two):
                assert [number for site, number in found if site == me.member.site] == list(range(100))

    run(test)


def test_mail_within_a_node_needs_no_wire():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 1) as (me,), me.group.join() as twin:
            await me.send(twin.member, {"a": (1, 2)})
            await me.send(me.member, "to myself")
            assert await twin.broadcast("all") == 1
            assert await take(twin, 1) == [{"a": [1, 2]}]
            assert await take(me, 2) == ["to myself", "all"]

    run(test)


def test_a_mailbox_gets_what_is_for_it_only():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other), other.group.join() as twin:
            await until(lambda: len(me.peers()) == 2)
            await me.send(seen_by(me, twin), "for the twin")
            await asyncio.sleep(1)
            assert unread(other) == [] and unread(twin) == ["for the twin"]

    run(test)


@pytest.mark.parametrize("way", ["killed", "again", "closed"])
def test_a_member_of_a_node_that_is_gone_is_unreachable(way):
    async def test(cluster: Cluster) -> None:
        storage = covey.MemoryStorage()
        (one,) = await cluster.start(1, storage=covey.MemoryStorage())
        (two,) = await cluster.start(1, storage=storage)
        await one.wait_members(2)
        async with one.group(KEY).join() as me:
            other = await two.group(KEY).join().start()
            await until(lambda: me.peers())
            gone = seen_by(me, other)
            await (two.close() if way == "closed" else cluster.kill(two))
            if way == "again":
                again = cluster.node(storage=storage)
                await again.start()
                async with again.group(KEY).join() as after:
                    await until(lambda: me.peers() == [after.member])
                    with pytest.raises(covey.PeerUnreachable, match="not there in that life any more"):
                        await me.send(gone, "x")
                    with pytest.raises(covey.PeerUnreachable, match="nothing was delivered"):
                        await me.call(gone, "x")
                    await asyncio.sleep(1)
                    assert unread(after) == []
            else:
                await until(lambda: not me.peers())
                with pytest.raises(covey.PeerUnreachable) as caught:
                    await me.send(gone, "x")
                assert isinstance(caught.value, ConnectionError)

    run(test)


def test_a_closed_mailbox_within_the_node_is_unreachable():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 1) as (me,):
            async with me.group.join() as twin:
                gone = twin.member
            with pytest.raises(covey.PeerUnreachable, match="the mailbox is closed; nothing was delivered"):
                await me.send(gone, "x")

    run(test)


def test_whoever_takes_nothing_in_time_is_a_deadline_exceeded_and_gets_nothing_later():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            to, loop = seen_by(me, other), asyncio.get_running_loop()
            await me.send(to, "the link is made")
            transport_of(cluster._nodes[1]).pause_reading()
            sent = 0
            with pytest.raises(covey.DeadlineExceeded, match=r"took nothing for 0\.5 s; it may be sent"):
                while True:
                    started = loop.time()
                    await me.send(to, [sent, b"x" * 100_000], timeout=0.5)
                    sent += 1
                    await asyncio.sleep(0)
            assert loop.time() - started == pytest.approx(0.5, abs=0.01)
            transport_of(cluster._nodes[1]).resume_reading()
            await me.send(to, "last")
            found = await take(other, sent + 3)
            assert [payload[0] for payload in found[1 : sent + 1]] == list(range(sent))
            assert found[sent + 1 :] == [covey.Lost(1), "last"], "what was given up was taken back"

    run(test)


@pytest.mark.parametrize("timeout", [0, -1, True, "1", float("nan")], ids=repr)
def test_a_timeout_of_another_kind_is_a_usage_error_and_nothing_is_sent(timeout):
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            for wait in (
                me.send(seen_by(me, other), 1, timeout=timeout),
                me.broadcast(1, timeout=timeout),
                me.call(seen_by(me, other), 1, timeout=timeout),
            ):
                with pytest.raises(covey.UsageError, match="timeout must be a number of seconds above 0"):
                    await wait
            await asyncio.sleep(1)
            assert unread(other) == []

    run(test)


@pytest.mark.parametrize("to", [None, "ann", (b"x" * 16, 1, 1)], ids=repr)
def test_what_is_no_member_is_a_usage_error(to):
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 1) as (me,):
            for wait in (me.send(to, 1), me.call(to, 1)):
                with pytest.raises(covey.UsageError, match="to must be a GroupMember"):
                    await wait

    run(test)


def test_payloads_that_do_not_fit_are_refused_and_the_largest_arrives():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            to = seen_by(me, other)
            for payload, error, text in (
                ({"a": [1, object()]}, covey.UsageError, r"payload\['a'\]\[1\] cannot be serialised"),
                (
                    b"x" * (LARGEST - 4),
                    covey.ValueTooLarge,
                    f"payload has {LARGEST + 1} bytes encoded, at most {LARGEST}",
                ),
            ):
                for wait in (me.send(to, payload), me.broadcast(payload), me.call(to, payload)):
                    with pytest.raises(error, match=text) as caught:
                        await wait
                    assert "nothing was sent" in str(caught.value)
            await me.send(to, b"x" * (LARGEST - 5))
            (found,) = await take(other, 1)
            assert found == b"x" * (LARGEST - 5), "and nothing came before it"

    run(test)


# --- broadcast ------------------------------------------------------------------------------------------------------


def test_a_broadcast_reaches_every_other_distinct_member_once():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 3) as boxes, boxes[1].group.join() as twin:
            me = boxes[0]
            for _ in range(3):
                boxes[1].group.join(member=boxes[1])
            await until(lambda: me.group.member_count() == 7)
            assert await me.broadcast("x") == 3
            await asyncio.sleep(1)
            assert [unread(box) for box in (*boxes, twin)] == [[], ["x"], ["x"], ["x"]]

    run(test)


def test_a_broadcast_is_one_message_for_each_node():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other), contextlib.AsyncExitStack() as stack:
            boxes = [await stack.enter_async_context(other.group.join()) for _ in range(50)]
            await until(lambda: len(me.peers()) == 51)
            await me.broadcast("the link is made")
            await until(lambda: all(len(unread(box)) == 1 for box in boxes))
            direct: Any = cluster._nodes[0]._engine
            before = direct.direct.statistics().sent
            assert await me.broadcast("x") == 51
            await asyncio.sleep(0)  # it goes with all that this turn of the event loop sends
            assert direct.direct.statistics().sent == before + 1
            await until(lambda: all(len(unread(box)) == 2 for box in boxes))

    run(test)


@pytest.mark.slow
def test_a_broadcast_reaches_more_mailboxes_of_one_node_than_fit_in_a_message():
    async def test(cluster: Cluster) -> None:
        one, other = await together(cluster, 2)
        async with one.group(KEY).join() as me, contextlib.AsyncExitStack() as stack:
            boxes = [await stack.enter_async_context(other.group(KEY).join()) for _ in range(4_200)]
            await until(lambda: len(me.peers()) == 4_200)
            assert await me.broadcast("x") == 4_200
            await until(lambda: all(len(box._queue) == 1 for box in boxes))
            assert [member.status for member in one.members()] == ["alive", "alive"]

    run(test)


def test_a_broadcast_counts_those_it_is_on_its_way_to():
    async def test(cluster: Cluster) -> None:
        nodes = await together(cluster, 3)
        async with nodes[0].group(KEY).join() as me, nodes[1].group(KEY).join() as other:
            gone = await nodes[2].group(KEY).join().start()
            await until(lambda: len(me.peers()) == 2)
            await cluster.kill(nodes[2])
            await asyncio.sleep(0.001)  # its links are gone by now; that it is down has to be confirmed
            assert await me.broadcast("x") == 1, "one of two is not there, and still among the peers"
            assert gone.group.key == KEY
            assert await take(other, 1) == ["x"]

    run(test)


def test_a_broadcast_does_not_wait_for_the_slow_beyond_its_time():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 3) as (me, slow, quick):
            loop = asyncio.get_running_loop()
            await me.broadcast("the links are made")
            await asyncio.sleep(1)
            transport_of(cluster._nodes[1]).pause_reading()
            for _ in range(4):
                await me.broadcast(b"x" * 400_000, timeout=0.2)
                await asyncio.sleep(0.01)
            started = loop.time()
            assert await me.broadcast("behind", timeout=0.3) == 1
            assert loop.time() - started == pytest.approx(0.3, abs=0.01)
            await until(lambda: unread(quick)[-1] == "behind")
            transport_of(cluster._nodes[1]).resume_reading()
            assert slow.member not in (await take(quick, 1))

    run(test)


def test_who_is_alone_reaches_nobody():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 1) as (me,):
            assert await me.broadcast("x") == 0
            assert unread(me) == []

    run(test)
