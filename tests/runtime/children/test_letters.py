"""A child gets each letter once and in order, answers each call at most once, and reads until it is to end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from covey.core import children as c
from covey.core.children import Ending
from covey.core.errors import ClosedError, UsageError, ValueTooLarge
from covey.runtime.children import Call, Cast, Context, Handover
from covey.runtime.children.letters import IN_A_ROW_MAX
from tests.runtime.children.fake_hub import OTHER, FakeHub, on_hub


async def answer(context: Context) -> Any:
    """Counts what it gets, as in the README."""
    lines = context.handed_over or []
    async for call in context.mailbox:
        lines.append(call.payload)
        call.reply(len(lines))
    return Handover(lines)


async def waits(context: Context) -> None:
    await context.stopping.wait()


class Reader:
    """A child whose mailbox the test reads."""

    context: Context

    def __init__(self, context: Context) -> None:
        type(self).context = context

    async def run(self) -> None:
        await asyncio.Event().wait()


async def reader(hub: FakeHub) -> tuple[c.Copy, Context]:
    hub.open({"reader": Reader})
    copy = hub.start("reader")
    await hub.wait_for(c.ChildStarted, copy)
    return copy, Reader.context


def test_calls_are_answered_in_their_order_and_what_was_not_read_stays_outside():
    async def test(hub: FakeHub) -> None:
        hub.open({"answer": answer})
        copy = hub.start("answer", handed_over=["before"])
        first = hub.call(copy, "a")
        hub.cast(copy, "b")
        second = hub.call(copy, "c")
        await hub.wait_for(c.ChildReplied, copy, 2)
        assert hub.replies(copy) == [(first, False, 2), (second, False, 4)]
        hub.leave(copy)
        hub.cast(copy, "it has gone on asking, so this one is delivered")
        assert (await hub.wait_exit(copy)).ending is Ending.RETURNED
        hub.cast(copy, "this one is not")
        assert len(hub.letters[copy]) == 1

    on_hub(test)


def test_a_letter_says_who_sent_it_and_what():
    async def test(hub: FakeHub) -> None:
        copy, context = await reader(hub)
        hub.call(copy, {"say": "hi"})
        hub.cast(copy, [1])
        call, cast = await context.mailbox.get(), await context.mailbox.get()
        assert isinstance(call, Call) and isinstance(cast, Cast)
        assert (call.payload, call.sender, cast.payload, cast.sender) == ({"say": "hi"}, OTHER, [1], OTHER)
        assert (repr(call), repr(cast)) == ("Call({'say': 'hi'}, sender=6f6f6f6f)", "Cast([1], sender=6f6f6f6f)")

    on_hub(test)


def test_answering_a_cast_does_nothing():
    async def test(hub: FakeHub) -> None:
        copy, context = await reader(hub)
        hub.cast(copy)
        cast = await context.mailbox.get()
        cast.reply(1)
        cast.fail("no")
        assert hub.replies(copy) == []

    on_hub(test)


def test_a_call_is_answered_once():
    async def test(hub: FakeHub) -> None:
        copy, context = await reader(hub)
        numbers = [hub.call(copy), hub.call(copy)]
        one, other = await context.mailbox.get(), await context.mailbox.get()
        one.reply()
        other.fail("there is none\ud800" + "x" * 2000)
        for again in (lambda: one.reply(2), lambda: one.fail("no"), lambda: other.reply(1)):
            with pytest.raises(UsageError, match="answered already"):
                again()
        assert repr(one) == "Call(None, sender=6f6f6f6f, answered)"
        assert hub.replies(copy)[0] == (numbers[0], False, None)
        assert hub.replies(copy)[1][2].startswith("there is none?xx")
        assert len(hub.replies(copy)[1][2]) == 1000

    on_hub(test)


@pytest.mark.parametrize("value, error", [(object(), UsageError), (b"x" * (1 << 20), ValueTooLarge)])
def test_a_reply_that_cannot_be_sent_fails_here_and_there(value, error):
    async def test(hub: FakeHub) -> None:
        copy, context = await reader(hub)
        number = hub.call(copy)
        call = await context.mailbox.get()
        with pytest.raises(error, match="the caller was told so"):
            call.reply(value)
        ((answered, failed, reason),) = hub.replies(copy)
        assert (answered, failed) == (number, True)
        assert reason.startswith("its reply could not be sent: reply")

    on_hub(test)


def test_an_answer_after_the_end_is_refused():
    async def test(hub: FakeHub) -> None:
        copy, context = await reader(hub)
        hub.call(copy)
        call = await context.mailbox.get()
        hub.stop(copy)
        await hub.wait_exit(copy)
        with pytest.raises(ClosedError):
            call.reply()
        assert hub.replies(copy) == []

    on_hub(test)


def test_who_is_cancelled_while_it_waits_loses_no_letter_and_asks_once():
    async def test(hub: FakeHub) -> None:
        copy, context = await reader(hub)
        loop = asyncio.get_running_loop()

        waiting = loop.create_task(context.mailbox.get())  # cancelled before it comes
        await hub.turns()
        waiting.cancel()
        await asyncio.wait([waiting])
        hub.cast(copy, 1)
        hub.cast(copy, 2)
        assert (await context.mailbox.get()).payload == 1
        assert (await context.mailbox.get()).payload == 2

        waiting = loop.create_task(context.mailbox.get())  # cancelled when it is there, and nobody has seen it yet
        await hub.turns()
        hub.cast(copy, 3)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert (await context.mailbox.get()).payload == 3

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await context.mailbox.get()
        hub.cast(copy, 4)
        assert (await context.mailbox.get()).payload == 4
        assert len(hub.of(copy, c.ChildReceives)) == 4

    on_hub(test)


def test_two_tasks_must_not_read_one_mailbox():
    async def test(hub: FakeHub) -> None:
        _, context = await reader(hub)
        waiting = asyncio.get_running_loop().create_task(context.mailbox.get())
        await hub.turns()
        with pytest.raises(UsageError, match="two tasks read one mailbox"):
            await context.mailbox.get()
        with pytest.raises(UsageError, match="two tasks read one mailbox"):
            await anext(context.mailbox)
        waiting.cancel()
        await asyncio.wait([waiting])

    on_hub(test)


def test_a_letter_that_is_here_when_the_end_comes_is_still_given_out():
    async def test(hub: FakeHub) -> None:
        copy, context = await reader(hub)
        waiting = asyncio.get_running_loop().create_task(context.mailbox.get())
        await hub.turns()
        hub.cast(copy, "last")
        hub.leave(copy)
        assert (await waiting).payload == "last"
        with pytest.raises(ClosedError, match=r"ctx\.stopping"):
            await context.mailbox.get()
        assert [letter async for letter in context.mailbox] == []
        assert repr(context.mailbox) == "<covey child's mailbox, closed>"

    on_hub(test)


def test_who_lost_the_right_to_serve_gets_not_even_that_one():
    async def test(hub: FakeHub) -> None:
        copy, context = await reader(hub)
        waiting = asyncio.get_running_loop().create_task(context.mailbox.get())
        await hub.turns()
        hub.cast(copy, "last")
        hub.stop(copy, 1, deposed=True)
        with pytest.raises(ClosedError):
            await waiting

    on_hub(test)


def test_letters_that_nobody_understands_are_answered_and_passed_over(caplog):
    async def test(hub: FakeHub) -> None:
        copy, context = await reader(hub)
        hub.post(copy, 0, b"\xc1")
        hub.post(copy, 77, b"\xa1\xff")
        hub.cast(copy, "fine")
        assert (await context.mailbox.get()).payload == "fine"
        assert hub.replies(copy) == [(77, True, "the payload could not be decoded")]

        waiting = asyncio.get_running_loop().create_task(context.mailbox.get())
        await hub.turns()
        hub.post(copy, 0, b"\xc1")
        hub.cast(copy, "fine too")
        assert (await waiting).payload == "fine too"

    on_hub(test)
    assert caplog.text.count("event=letter_dropped") == 3


def test_a_long_queue_lets_others_run():
    async def test(hub: FakeHub) -> None:
        copy, context = await reader(hub)
        for number in range(3 * IN_A_ROW_MAX):
            hub.cast(copy, number)
        ran: list[int] = []
        asyncio.get_running_loop().call_soon(lambda: ran.append(letters[-1]))
        letters: list[int] = []
        for _ in range(3 * IN_A_ROW_MAX):
            letters.append((await context.mailbox.get()).payload)
        assert letters == list(range(3 * IN_A_ROW_MAX))
        assert ran == [IN_A_ROW_MAX - 1]

    on_hub(test)


def test_a_child_that_never_reads_is_fine():
    async def test(hub: FakeHub) -> None:
        hub.open({"waits": waits})
        copy = hub.start("waits")
        hub.call(copy)
        await hub.wait_for(c.ChildStarted, copy)
        hub.stop(copy, 1)
        await hub.wait_exit(copy)
        assert hub.of(copy, c.ChildReceives) == []

    on_hub(test)
