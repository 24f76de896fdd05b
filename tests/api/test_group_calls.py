"""Calls between members: an answer, the callee's own reason why there is none, or a deadline."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import covey
from covey.protocols.groups.vocabulary import Address, Kind
from covey.testing import Cluster, run
from tests.api.gather import joined, seen_by, take, unread
from tests.testing.virtual import running, until


async def next_call(box: covey.Mailbox) -> covey.GroupCall:
    """The next message, which is a call."""
    message = await asyncio.wait_for(anext(box), 10)
    assert isinstance(message, covey.GroupCall)
    return message


def test_a_call_is_answered_with_a_value():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            async with running(me.call(seen_by(me, other), {"q": 1})) as (calling,):
                call = await next_call(other)
                assert (call.sender, call.payload) == (me.member, {"q": 1})
                call.reply((1, "two"))
                assert await calling == [1, "two"]
            assert unread(me) == []

    run(test)


def test_calls_at_once_get_each_its_own_answer():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 3) as (me, one, two):

            async def answer_backwards(box: covey.Mailbox) -> None:
                calls = [await next_call(box) for _ in range(10)]
                for call in reversed(calls):
                    call.reply([box.member.site, call.payload])

            async with running(answer_backwards(one), answer_backwards(two)):
                asked = [(to, number) for number in range(10) for to in (seen_by(me, one), seen_by(me, two))]
                answers = await asyncio.gather(*(me.call(to, number) for to, number in asked))
                assert answers == [[to.site, number] for to, number in asked]

    run(test)


def test_a_node_calls_itself():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 1) as (me,), me.group.join() as twin:
            async with running(twin.serve(lambda payload, sender: asyncio.sleep(0, [payload, sender.mailbox]))):
                assert await me.call(twin.member, 7) == [7, me.member.mailbox]

    run(test)


# --- no answer ------------------------------------------------------------------------------------------------------


def test_the_reason_of_the_callee_reaches_the_caller():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            async with running(me.call(seen_by(me, other), 1)) as (calling,):
                (await next_call(other)).fail("not today")
                with pytest.raises(covey.CallFailed, match=r"^not today$") as caught:
                    await calling
                assert isinstance(caught.value, covey.PeerError)

    run(test)


@pytest.mark.parametrize("way", ["mailbox", "node", "unread"])
def test_a_callee_that_ends_fails_what_it_has_not_answered(way):
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            to, loop = seen_by(me, other), asyncio.get_running_loop()
            async with running(me.call(to, 1, timeout=100), me.call(to, 2, timeout=100)) as calling:
                await until(lambda: len(unread(other)) == 2)
                if way != "unread":
                    await next_call(other)
                if way == "node":
                    await cluster._nodes[1].close()
                else:
                    other.close()
                for task in calling:
                    reason = "its node ends" if way == "node" else "its mailbox was closed"
                    with pytest.raises(covey.PeerUnreachable, match=f"{reason} before it answered; it may have acted$"):
                        await task
            started = loop.time()
            with pytest.raises(covey.PeerUnreachable, match="nothing was delivered"):
                await me.call(to, 3, timeout=100)
            assert loop.time() - started < 5, "a mailbox that is closed does not keep anybody waiting"

    run(test)


def test_nobody_waits_longer_than_the_deadline():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            to, loop = seen_by(me, other), asyncio.get_running_loop()
            for timeout in (0.5, 5.0):
                started = loop.time()
                with pytest.raises(covey.DeadlineExceeded, match="it may have acted"):
                    await (me.call(to, 1) if timeout == 5.0 else me.call(to, 1, timeout=timeout))
                assert loop.time() - started == pytest.approx(timeout, abs=0.01)

    run(test)


@pytest.mark.parametrize("timeout", [float("inf"), 10**400], ids=["inf", "10**400"])
def test_a_timeout_beyond_every_clock_is_for_ever(timeout):
    async def test(cluster: Cluster) -> None:
        async def echo(payload: Any, sender: covey.GroupMember) -> Any:
            return payload

        async with joined(cluster, 2) as (me, other), running(other.serve(echo)):
            to = seen_by(me, other)
            await me.send(to, 1, timeout=timeout)
            assert await me.broadcast(1, timeout=timeout) == 1
            assert await me.call(to, "x", timeout=timeout) == "x"

    run(test)


def test_an_answer_that_comes_late_is_nobodys():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            to = seen_by(me, other)
            with pytest.raises(covey.DeadlineExceeded):
                await me.call(to, "slow", timeout=1)
            call = await next_call(other)
            async with running(me.call(to, "quick")) as (calling,):
                quick = await next_call(other)
                call.reply("late")
                await asyncio.sleep(1)
                assert not calling.done()
                quick.reply("in time")
                assert await calling == "in time"
            assert unread(me) == [] and not me.group._groups._calls

    run(test)


def test_a_call_is_answered_once():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            async with running(me.call(seen_by(me, other), 1)) as (calling,):
                call = await next_call(other)
                with pytest.raises(covey.UsageError, match="reply cannot be serialised"):
                    call.reply(object())
                call.reply(1)
                for again in (call.reply, lambda: call.fail("no")):
                    with pytest.raises(covey.UsageError, match="answered already; nothing was sent"):
                        again()
                assert await calling == 1

    run(test)


def test_only_who_was_asked_answers():
    """Others may guess the number of a call: their answer is none."""

    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 3) as (me, asked, other):
            async with running(me.call(seen_by(me, asked), 1)) as (calling,):
                call = await next_call(asked)
                (number,) = me.group._groups._calls
                posting, to = other.group._groups.posting, Address(*me.member.address)
                posting.answer(other._number, to, Kind.REPLY, number, b"\xa4fake")
                await asyncio.sleep(1)
                assert not calling.done()
                call.reply("real")
                assert await calling == "real"

    run(test)


def test_a_full_mailbox_refuses_calls_at_once():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 1) as (me,), me.group.join(mailbox_max=2) as small:
            for number in range(2):
                await me.send(small.member, number)
            with pytest.raises(covey.CallFailed, match="2 messages wait there unread"):
                await me.call(small.member, "x", timeout=100)
            assert await take(small, 3) == [0, 1, covey.Lost(1)]

    run(test)


def test_of_too_many_unanswered_calls_the_oldest_fails():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 1) as (me,), me.group.join(mailbox_max=2) as small:
            calls = []
            async with asyncio.TaskGroup() as group:
                calling = []
                for number in range(3):
                    calling.append(group.create_task(outcome(me.call(small.member, number, timeout=50))))
                    calls.append(await next_call(small))
                assert "too many calls" in str(await calling[0])
                with pytest.raises(covey.UsageError, match="answered already"):
                    calls[0].reply(0)
                for number in (1, 2):
                    calls[number].reply(number)
                    assert await calling[number] == number

    run(test)


async def outcome(call: Any) -> Any:
    """The answer, or the error that there is none."""
    try:
        return await call
    except covey.CoveyError as error:
        return error


def test_closing_the_callers_mailbox_ends_its_calls():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other), me.group.join() as twin:
            async with running(twin.call(seen_by(me, other), 1), me.call(seen_by(me, other), 2)) as (one, two):
                calls = [await next_call(other) for _ in range(2)]
                twin.close()
                with pytest.raises(covey.ClosedError, match="the mailbox was closed; whether the call was answered"):
                    await one
                for call in calls:
                    call.reply(call.payload)
                assert await two == 2

    run(test)


def test_a_call_that_nobody_waits_for_any_more_leaves_nothing_behind():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            async with running(me.call(seen_by(me, other), 1)) as (calling,):
                call = await next_call(other)
                calling.cancel()
                await asyncio.sleep(1)
                assert not me.group._groups._calls
                call.reply(1)
            await asyncio.sleep(1)
            assert unread(me) == []

    run(test)
