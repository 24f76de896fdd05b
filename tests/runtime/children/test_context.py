"""What a child may know of itself: its token, and whether it may run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from covey.core import children as c
from covey.core.children import Ending
from covey.core.errors import Deposed
from covey.runtime.children import Context
from tests.runtime.children.fake_hub import OTHER, FakeHub, on_hub


def test_the_fencing_token_is_the_one_of_this_moment():
    async def test(hub: FakeHub) -> None:
        contexts: list[Context] = []

        async def runs(context: Context) -> None:
            contexts.append(context)
            await context.stopping.wait()

        hub.open({"runs": runs})
        copy = hub.start("runs", token=5)
        await hub.wait_for(c.ChildStarted, copy)
        (context,) = contexts
        assert context.fencing_token == 5
        hub.say(c.TellToken(copy, 8))
        assert context.fencing_token == 8

    on_hub(test)


def test_check_raises_after_the_lease_and_after_the_child_was_fenced(caplog):
    async def test(hub: FakeHub) -> None:
        contexts: list[Context] = []

        async def runs(context: Context) -> None:
            contexts.append(context)
            await context.stopping.wait()
            context.check()

        hub.open({"runs": runs})
        copy = hub.start("runs")
        await hub.wait_for(c.ChildStarted, copy)
        (context,) = contexts
        context.check()
        hub.lease_us[copy] = hub.clock_us()
        with pytest.raises(Deposed, match="'child'"):
            context.check()
        hub.lease_us[copy] = hub.clock_us() + 1
        context.check()
        hub.stop(copy, 1, deposed=True)
        with pytest.raises(Deposed):
            context.check()
        with pytest.raises(Deposed):
            _ = context.fencing_token
        assert (context.stopping.reason, context.stopping.winner) == ("fenced", None)
        assert (await hub.wait_exit(copy)).ending is Ending.STOPPED

    on_hub(test)
    assert not caplog.records, "who ends because it was deposed did what it should"


def test_whoever_waits_for_its_end_is_told_why_and_who_is_next():
    async def test(hub: FakeHub) -> None:
        contexts: list[Context] = []

        async def runs(context: Context) -> None:
            contexts.append(context)
            await asyncio.gather(*[context.stopping.wait() for _ in range(3)])
            await context.stopping.wait()

        hub.open({"runs": runs})
        for end, told in (
            (lambda copy: hub.stop(copy, 1), ("stop", None, "<covey child ends: stop>")),
            (lambda copy: hub.leave(copy), ("move", OTHER, "<covey child ends: move, 6f6f6f6f runs it>")),
            (
                lambda copy: hub.leave(copy, duplicate=True),
                ("duplicate", OTHER, "<covey child ends: duplicate, 6f6f6f6f runs it>"),
            ),
        ):
            copy = hub.start("runs")
            await hub.wait_for(c.ChildStarted, copy)
            context = contexts.pop()
            assert not context.stopping.is_set()
            assert repr(context.stopping) == "<covey child goes on>"
            end(copy)
            assert context.stopping.is_set()
            await hub.wait_exit(copy)
            assert (context.stopping.reason, context.stopping.winner, repr(context.stopping)) == told
            assert repr(context) == "<covey.Context of child 'child'>"

    on_hub(test)


def test_what_is_only_built_has_no_right_and_no_token_yet():
    seen: list[Any] = []

    class Looks:
        def __init__(self, context: Context) -> None:
            seen.append(context.fencing_token)
            with pytest.raises(Deposed):
                context.check()

        async def run(self) -> None: ...

    async def test(hub: FakeHub) -> None:
        hub.open({"looks": Looks})
        copy = hub.copy()
        hub.lease_us[copy] = 0
        hub.say(c.PrepareChild(copy, "looks", b"\x92\x90\x80"))
        await hub.wait_for(c.ChildPrepared, copy)
        assert seen == [0]

    on_hub(test)


def test_a_copy_that_has_ended_may_do_nothing():
    async def test(hub: FakeHub) -> None:
        contexts: list[Context] = []

        async def runs(context: Context) -> None:
            contexts.append(context)

        hub.open({"runs": runs})
        await hub.wait_exit(hub.start("runs"))
        with pytest.raises(Deposed):
            contexts[0].check()

    on_hub(test)
