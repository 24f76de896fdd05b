"""`Mailbox.serve`: a handler answers, whatever it raises, and nobody waits for one that was cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import covey
from covey.testing import Cluster, run
from tests.api.gather import joined, seen_by
from tests.testing.virtual import running


def test_serving_answers_with_what_the_handler_raises_and_goes_on():
    async def test(cluster: Cluster) -> None:
        class Odd(Exception):
            pass

        class Wordless(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        heard: list[Any] = []

        async def handler(payload: Any, sender: covey.GroupMember) -> Any:
            heard.append(payload)
            match payload:
                case "raise":
                    raise Odd("as meant")
                case "surrogate":
                    raise Odd("\ud800")
                case "wordless":
                    raise Wordless
                case "cancelled":
                    waiting = asyncio.ensure_future(asyncio.sleep(9))
                    waiting.cancel()
                    await waiting
                case "long":
                    raise Odd("x" * 2_000_000)
                case "object":
                    return object()
                case "large":
                    return b"x" * 1_000_000
            return payload

        async with joined(cluster, 2) as (me, other), running(other.serve(handler)):
            to = seen_by(me, other)
            for payload, reason in (
                ("raise", "^Odd: as meant$"),
                ("surrogate", r"^Odd: \?$"),
                ("wordless", "^Wordless$"),
                ("cancelled", r"^CancelledError: $"),
                ("long", "^Odd: x{995}$"),
                ("object", "^UsageError: reply cannot be serialised"),
                ("large", "^ValueTooLarge: reply has 1000005 bytes"),
            ):
                with pytest.raises(covey.CallFailed, match=reason):
                    await me.call(to, payload)
            for payload in ("raise", "wordless", "cancelled"):
                await me.send(to, payload)  # nobody waits for these: they are logged
            assert await me.call(to, "fine") == "fine"
            assert heard[-4:] == ["raise", "wordless", "cancelled", "fine"]

    run(test)


def test_serving_that_is_cancelled_fails_the_call_it_was_at():
    async def test(cluster: Cluster) -> None:
        begun = asyncio.Event()

        async def handler(payload: Any, sender: covey.GroupMember) -> None:
            begun.set()
            await asyncio.sleep(1000)

        async with joined(cluster, 2) as (me, other):
            serving = asyncio.ensure_future(other.serve(handler))
            async with running(me.call(seen_by(me, other), 1, timeout=100)) as (calling,):
                await begun.wait()
                serving.cancel()
                with pytest.raises(covey.CallFailed, match=r"^CancelledError: $"):
                    await asyncio.wait_for(calling, 5)
            await asyncio.wait([serving])
            assert serving.cancelled()

    run(test)


@pytest.mark.parametrize("mailbox_max", [1, 3])
def test_calls_that_wait_behind_a_slow_one_cost_it_nothing(mailbox_max):
    async def test(cluster: Cluster) -> None:
        async def handler(payload: Any, sender: covey.GroupMember) -> Any:
            await asyncio.sleep(1)
            return payload

        async with joined(cluster, 1, mailbox_max=mailbox_max) as (served,), served.group.join() as me:
            async with running(served.serve(handler)) as (serving,):
                calls = []
                for number in range(mailbox_max + 2):  # one at work, as many as may wait unread, and one too many
                    calls.append(asyncio.ensure_future(me.call(served.member, number, timeout=60)))
                    await asyncio.sleep(0.01)
                with pytest.raises(covey.CallFailed, match="wait there unread"):
                    await calls.pop()
                assert await asyncio.gather(*calls) == list(range(mailbox_max + 1))
                assert not serving.done()

    run(test)


def test_serving_outlives_a_call_that_was_answered_for_it():
    async def test(cluster: Cluster) -> None:
        async def handler(payload: Any, sender: covey.GroupMember) -> Any:
            if payload == "slow":
                served._turn_away("somebody answers")
            return payload

        async with joined(cluster, 1) as (served,), served.group.join() as me, running(served.serve(handler)):
            with pytest.raises(covey.PeerUnreachable, match="somebody answers"):
                await me.call(served.member, "slow")
            assert await me.call(served.member, "next") == "next"

    run(test)


def test_serving_ends_quietly_with_a_node_that_closes_while_it_answers():
    async def test(cluster: Cluster) -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def handler(payload: Any, sender: covey.GroupMember) -> Any:
            begun.set()
            await go_on.wait()
            return payload

        async with joined(cluster, 2) as (me, other):
            serving = asyncio.ensure_future(other.serve(handler))
            async with running(me.call(seen_by(me, other), 1, timeout=100)) as (calling,):
                await begun.wait()
                closing = asyncio.ensure_future(cluster._nodes[1].close())
                await asyncio.sleep(0)
                go_on.set()  # the handler returns in the turn in which its call is turned away
                await closing
                with pytest.raises(covey.PeerUnreachable, match="its node ends before it answered"):
                    await asyncio.wait_for(calling, 5)
            await asyncio.wait_for(serving, 5)

    run(test)
