"""Children are built, started, told and ended, and what became of them is said once and in order."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import warnings
from typing import Any

import pytest

from covey.core import children as c
from covey.core.children import Copy, Ending
from covey.core.errors import Deposed
from covey.runtime.children import Context, Handover
from covey.runtime.children.children import ChildrenConfig
from covey.wire.keys import encode_key
from tests.runtime.children.fake_hub import HUB, OTHER, FakeHub, on_hub

SEEN: contextvars.ContextVar[str] = contextvars.ContextVar("SEEN", default="nothing")


class Gate:
    """What a child of a test waits at, and what it wrote down."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.log: list[Any] = []


async def answer(context: Context) -> None:
    """Counts what it gets, as in the README."""
    lines = context.handed_over or []
    async for call in context.mailbox:
        lines.append(call.payload)
        call.reply(len(lines))


async def waits(context: Context) -> Any:
    await context.stopping.wait()
    return Handover([context.stopping.reason, context.stopping.winner])


async def returns(context: Context, *args: Any, **kwargs: Any) -> None: ...


async def raises(context: Context, after: bool = False) -> None:
    if after:
        await asyncio.sleep(1)
    raise ValueError("x")


class Careful:
    """A class with everything."""

    log: list[Any] = []

    def __init__(self, context: Context, what: str = "", *, fails: str = "") -> None:
        self.context, self.fails = context, fails
        self.log.append(("init", what, context.handed_over))
        if fails == "init":
            raise ValueError(what)

    async def start(self) -> None:
        if self.fails == "late start":
            await asyncio.sleep(1)
        if "start" in self.fails:
            raise ValueError("in start")
        await asyncio.sleep(1)
        self.log.append(("started", self.context.handed_over))

    async def run(self) -> None:
        self.log.append(("runs", self.context.fencing_token))
        await self.context.stopping.wait()


class Plain:
    """A class with `run` alone."""

    def __init__(self, context: Context) -> None: ...

    async def run(self) -> str:
        raise ValueError("in run")


class Stubborn:
    """Ignores its end so often."""

    cancelled = 0

    def __init__(self, context: Context, times: int) -> None:
        self.times = times

    async def run(self) -> None:
        while type(self).cancelled < self.times:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                type(self).cancelled += 1


STARTS: dict[str, Any] = {
    "answer": answer, "waits": waits, "returns": returns, "raises": raises, "careful": Careful, "plain": Plain,
    "stubborn": Stubborn,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _fresh() -> None:
    Careful.log.clear()
    Stubborn.cancelled = 0


# --- beginning ------------------------------------------------------------------------------------------------------


def test_a_coroutine_has_started_once_its_first_step_is_taken():
    async def test(hub: FakeHub) -> None:
        hub.open(STARTS)
        copy = hub.start("waits")
        assert hub.facts == [], "nothing is said inside an effect"
        await hub.wait_for(c.ChildStarted, copy)
        assert hub.kinds(copy) == ["ChildStarted"]
        hub.stop(copy, 1)
        assert (await hub.wait_exit(copy)).ending is Ending.STOPPED

    on_hub(test)


def test_who_returns_at_once_has_started_too():
    async def test(hub: FakeHub) -> None:
        hub.open(STARTS)
        copy = hub.start("returns", 1, 2, three=3)
        assert await hub.wait_exit(copy) == c.ChildExited(copy, Ending.RETURNED)
        assert hub.kinds(copy) == ["ChildStarted", "ChildExited"]

    on_hub(test)


@pytest.mark.parametrize(
    "name, arguments, error",
    [
        ("raises", {}, "ValueError: x"),
        ("plain", {}, "ValueError: in run"),
        ("careful", {"what": "built", "fails": "init"}, "ValueError: built"),
        ("careful", {"fails": "start"}, "ValueError: in start"),
        ("careful", {"fails": "late start"}, "ValueError: in start"),
        ("waits", {"more": 1}, "TypeError: waits() got an unexpected keyword argument 'more'"),
    ],
)
def test_who_fails_as_it_starts_was_never_started(name, arguments, error):
    async def test(hub: FakeHub) -> None:
        hub.open(STARTS)
        copy = hub.start(name, **arguments)
        exited = await hub.wait_exit(copy)
        assert (exited.ending, exited.error) == (Ending.RAISED, error)
        assert hub.kinds(copy) == ["ChildExited"]

    on_hub(test)


def test_a_class_has_started_once_its_start_returns():
    async def test(hub: FakeHub) -> None:
        hub.open(STARTS)
        copy = hub.start("careful", "now", token=9, handed_over=[1])
        began = asyncio.get_running_loop().time()
        await hub.wait_for(c.ChildStarted, copy)
        assert asyncio.get_running_loop().time() == pytest.approx(began + 1)
        assert Careful.log == [("init", "now", None), ("started", [1]), ("runs", 9)]

    on_hub(test)


def test_many_started_in_one_turn_have_their_own_arguments_and_ids():
    async def test(hub: FakeHub) -> None:
        seen: list[Any] = []

        async def tells(context: Context, number: int) -> None:
            seen.append((context.id, context.fencing_token, number, context.hub is hub.handle))

        hub.open({"tells": tells})
        copies = [hub.start("tells", number, id=("n", number), token=number) for number in range(1, 101)]
        for copy in copies:
            await hub.wait_exit(copy)
        assert seen == [(("n", number), number, number, True) for number in range(1, 101)]

    on_hub(test)


def test_children_see_nothing_of_the_context_of_whoever_started_them():
    async def test(hub: FakeHub) -> None:
        seen: list[str] = []

        async def looks(context: Context) -> None:
            seen.append(SEEN.get())

        hub.open({"looks": looks})
        SEEN.set("a secret of one request")
        await hub.wait_exit(hub.start("looks"))
        assert seen == ["nothing"]

    on_hub(test)


def test_a_child_that_moves_is_built_before_and_run_after():
    async def test(hub: FakeHub) -> None:
        hub.open(STARTS)
        copy = hub.prepare("careful", "early")
        await hub.wait_for(c.ChildPrepared, copy)
        assert Careful.log == [("init", "early", None)]
        hub.go(copy, "careful", token=11, handed_over={"lines": 3})
        await hub.wait_for(c.ChildStarted, copy)
        assert Careful.log[1:] == [("started", {"lines": 3}), ("runs", 11)]
        assert hub.kinds(copy) == ["ChildPrepared", "ChildStarted"]

    on_hub(test)


@pytest.mark.parametrize("name", ["waits", "careful"])
def test_what_was_only_built_is_thrown_away_without_a_warning(name):
    async def test(hub: FakeHub) -> None:
        hub.open(STARTS)
        copy = hub.prepare(name)
        await hub.wait_for(c.ChildPrepared, copy)
        hub.stop(copy)
        assert (await hub.wait_exit(copy)).ending is Ending.STOPPED
        assert hub.kinds(copy) == ["ChildPrepared", "ChildExited"]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        on_hub(test)


def test_who_is_stopped_in_the_turn_in_which_it_is_started_is_not_even_built():
    async def test(hub: FakeHub) -> None:
        hub.open(STARTS)
        one, other = hub.start("careful"), hub.prepare("careful", id="other")
        hub.stop(one, 5)
        hub.stop(other)
        assert (await hub.wait_exit(one)).ending is Ending.STOPPED
        assert (await hub.wait_exit(other)).ending is Ending.STOPPED
        assert Careful.log == []

    on_hub(test)


def test_an_unknown_start_is_refused_and_nothing_is_imported():
    async def test(hub: FakeHub) -> None:
        hub.open(STARTS)
        before = set(sys.modules)
        assert "antigravity" not in before
        copy = hub.start("antigravity:geohash")
        exited = await hub.wait_exit(copy)
        assert exited.ending is Ending.REFUSED
        assert "does not run 'antigravity:geohash'" in exited.error
        assert set(sys.modules) == before

    on_hub(test)


@pytest.mark.parametrize("arguments", [b"", b"\xc1", b"\x90", b"\x92\x01\x02", b"\x92\x90\x81\x01\x02"])
def test_arguments_that_cannot_be_read_are_refused(arguments):
    async def test(hub: FakeHub) -> None:
        hub.open(STARTS)
        copy = hub.copy()
        hub.say(c.StartChild(copy, "returns", arguments, 1, None))
        exited = await hub.wait_exit(copy)
        assert (exited.ending, "arguments cannot be read" in exited.error) == (Ending.REFUSED, True)

    on_hub(test)


def test_a_state_that_cannot_be_read_is_refused():
    async def test(hub: FakeHub) -> None:
        hub.open(STARTS)
        copy = hub.copy()
        hub.say(c.StartChild(copy, "waits", b"\x92\x90\x80", 1, b"\xc1"))
        assert (await hub.wait_exit(copy)).ending is Ending.REFUSED

    on_hub(test)


def test_a_hub_that_is_closed_starts_nothing_and_ends_what_runs():
    async def test(hub: FakeHub) -> None:
        hub.open(STARTS)
        copy = hub.start("waits")
        elsewhere = Copy(b"another", encode_key("child"), 99)
        await hub.wait_for(c.ChildStarted, copy)
        hub.children.close(HUB)
        assert (await hub.wait_exit(copy)).ending is Ending.STOPPED
        hub.say(c.StartChild(elsewhere, "waits", b"\x92\x90\x80", 1, None))
        assert (await hub.wait_exit(elsewhere)).ending is Ending.REFUSED

    on_hub(test)


# --- crashes --------------------------------------------------------------------------------------------------------


def test_a_crash_shows_its_traceback_once_in_the_log_and_in_the_fact(caplog):
    async def test(hub: FakeHub) -> None:
        hub.open(STARTS)
        copy = hub.start("raises", after=True, id="user-42")
        exited = await hub.wait_exit(copy)
        assert (exited.ending, exited.error) == (Ending.RAISED, "ValueError: x")
        assert exited.trace.startswith("Traceback (most recent call last):\n")
        assert exited.trace.endswith('    raise ValueError("x")\nValueError: x\n')
        assert exited.trace.count("File") == 1
        assert hub.kinds(copy) == ["ChildStarted", "ChildExited"]

    with caplog.at_level(logging.DEBUG, "covey"):
        on_hub(test)
    (record,) = caplog.records
    assert record.name == "covey.runtime.children"
    assert "event=child_crashed hub='sessions' id='user-42' start=raises" in record.getMessage()
    assert caplog.text.count("Traceback") == 1


def test_one_that_ends_the_process_as_it_is_built_does_not_keep_others_from_starting():
    async def exits(context: Context) -> None:
        raise SystemExit(3)

    class Exits:
        def __init__(self, context: Context) -> None:
            raise SystemExit(4)

        async def run(self) -> None: ...

    async def test(hub: FakeHub) -> None:
        hub.open({"exits": exits, "Exits": Exits, **STARTS})
        loop = asyncio.get_running_loop()
        copies.extend([hub.start("Exits"), hub.start("exits"), hub.start("waits")])
        hubs.append(hub)
        await loop.create_future()

    async def rest(hub: FakeHub) -> None:
        await hub.wait_for(c.ChildStarted, copies[2])
        exits = [await hub.wait_exit(copy) for copy in copies[:2]]
        assert [exited.error for exited in exits] == ["SystemExit: 4", "SystemExit: 3"]
        await hub.children.aclose()

    copies: list[Copy] = []
    hubs: list[FakeHub] = []
    loop = asyncio.new_event_loop()

    async def begin() -> None:
        await test(FakeHub())

    try:
        task = loop.create_task(begin())
        for status in (4, 3):
            with pytest.raises(SystemExit, match=str(status)):
                loop.run_until_complete(task)
        loop.run_until_complete(rest(hubs[0]))
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    finally:
        loop.close()


# --- ending ---------------------------------------------------------------------------------------------------------


def test_who_moves_is_told_who_runs_it_next_and_leaves_a_state():
    async def test(hub: FakeHub) -> None:
        hub.open(STARTS)
        for duplicate, reason in ((False, b"move"), (True, b"duplicate")):
            copy = hub.start("waits")
            await hub.wait_for(c.ChildStarted, copy)
            hub.leave(copy, duplicate=duplicate)
            assert (await hub.wait_exit(copy)).ending is Ending.RETURNED
            assert hub.kinds(copy) == ["ChildStarted", "HandoverGiven", "ChildExited"]
            state = hub.of(copy, c.HandoverGiven)[0].state
            assert reason in state and OTHER in state

    on_hub(test)


def test_a_state_that_cannot_be_encoded_is_logged_and_the_child_has_ended(caplog):
    async def leaves(context: Context) -> Any:
        await context.stopping.wait()
        return Handover(object())

    async def test(hub: FakeHub) -> None:
        hub.open({"leaves": leaves})
        copy = hub.start("leaves")
        await hub.wait_for(c.ChildStarted, copy)
        hub.leave(copy)
        assert (await hub.wait_exit(copy)).ending is Ending.RETURNED
        assert hub.kinds(copy) == ["ChildStarted", "ChildExited"]

    on_hub(test)
    assert "event=handover_lost" in caplog.text


def test_whoever_does_not_end_in_its_grace_is_cancelled():
    async def sleeps(context: Context) -> None:
        await asyncio.Event().wait()

    async def test(hub: FakeHub) -> None:
        hub.open({"sleeps": sleeps})
        for end in (hub.stop, hub.leave):
            copy = hub.start("sleeps")
            await hub.wait_for(c.ChildStarted, copy)
            began = asyncio.get_running_loop().time()
            end(copy, 3.0)
            assert (await hub.wait_exit(copy)).ending is Ending.STOPPED
            assert asyncio.get_running_loop().time() == pytest.approx(began + 3)

    on_hub(test)


def test_of_two_graces_the_sooner_counts():
    async def sleeps(context: Context) -> None:
        await asyncio.Event().wait()

    async def test(hub: FakeHub) -> None:
        hub.open({"sleeps": sleeps})
        for first, second in ((5.0, 2.0), (2.0, 5.0)):
            copy = hub.start("sleeps")
            await hub.wait_for(c.ChildStarted, copy)
            began = asyncio.get_running_loop().time()
            hub.leave(copy, first)
            hub.stop(copy, second, deposed=True)
            await hub.wait_exit(copy)
            assert asyncio.get_running_loop().time() == pytest.approx(began + 2)

    on_hub(test)


def test_a_child_that_is_stopped_while_it_starts_does_not_run():
    async def test(hub: FakeHub) -> None:
        hub.open(STARTS)
        copy = hub.start("careful")
        await hub.turns()
        hub.stop(copy, 10)
        assert (await hub.wait_exit(copy)).ending is Ending.STOPPED
        assert [what for what, *_ in Careful.log] == ["init", "started"]
        assert hub.kinds(copy) == ["ChildExited"]

        copy = hub.start("careful")
        await hub.turns()
        hub.stop(copy)
        assert (await hub.wait_exit(copy)).ending is Ending.STOPPED
        assert [what for what, *_ in Careful.log] == ["init", "started", "init"]

    on_hub(test)


def test_a_child_that_ignores_its_end_is_counted_and_cancelled_again(caplog):
    config = ChildrenConfig(stuck_after_us=2_000_000, cancel_every_us=5_000_000)

    async def test(hub: FakeHub) -> None:
        hub.open(STARTS)
        copy = hub.start("stubborn", 3)
        await hub.wait_for(c.ChildStarted, copy)
        began = asyncio.get_running_loop().time()
        hub.stop(copy, 1)
        await hub.wait_for(c.ChildStuck, copy)
        assert asyncio.get_running_loop().time() == pytest.approx(began + 3)
        assert hub.children.stuck == 1
        assert (await hub.wait_exit(copy)).ending is Ending.STOPPED
        assert asyncio.get_running_loop().time() == pytest.approx(began + 8)
        assert hub.children.stuck == 0
        assert hub.kinds(copy) == ["ChildStarted", "ChildStuck", "ChildExited"]

    on_hub(test, config=config)
    (record,) = caplog.records
    assert "event=child_stuck" in record.getMessage()


def test_who_cancels_itself_was_stopped():
    async def cancels(context: Context) -> None:
        raise asyncio.CancelledError

    async def test(hub: FakeHub) -> None:
        hub.open({"cancels": cancels})
        assert (await hub.wait_exit(hub.start("cancels"))).ending is Ending.STOPPED

    on_hub(test)


# --- the right to run -----------------------------------------------------------------------------------------------


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


# --- all of them ----------------------------------------------------------------------------------------------------


def test_closing_tells_all_children_and_waits_for_them():
    async def test(hub: FakeHub) -> None:
        hub.open(STARTS)
        copies = [hub.start("waits", id=number) for number in range(10)]
        prepared = hub.prepare("careful", id="built")
        await hub.wait_for(c.ChildPrepared, prepared)
        late = hub.start("waits", id="late")
        assert await hub.children.aclose(5) == 0
        assert [(await hub.wait_exit(copy)).ending for copy in [*copies, prepared, late]] == [Ending.STOPPED] * 12
        after = hub.start("waits")
        assert (await hub.wait_exit(after)).ending is Ending.REFUSED

    on_hub(test)


def test_closing_leaves_behind_who_ignores_it(caplog):
    async def test(hub: FakeHub) -> None:
        hub.open(STARTS)
        copy = hub.start("stubborn", 3)
        await hub.wait_for(c.ChildStarted, copy)
        assert await hub.children.aclose() == 1
        (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "covey child 'child'"]
        task.cancel()
        await asyncio.wait([task])
        assert hub.kinds(copy)[-1] != "ChildExited"

    on_hub(test)
    assert "event=child_abandoned" in caplog.text


def test_a_child_may_close_everything():
    async def test(hub: FakeHub) -> None:
        done = asyncio.Event()

        async def closes(context: Context) -> None:
            await hub.children.aclose(100)
            done.set()

        hub.open({"closes": closes})
        hub.start("closes")
        async with asyncio.timeout(1):
            await done.wait()

    on_hub(test)
