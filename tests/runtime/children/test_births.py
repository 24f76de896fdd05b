"""Children are built and started, many in one turn, and whether that went well is said once."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import warnings
from typing import Any

import pytest

from covey.core import children as c
from covey.core.children import Copy, Ending
from covey.runtime.children import Context
from tests.runtime.children.fake_hub import FakeHub, on_hub
from tests.runtime.children.sessions import STARTS, Careful, Stubborn

SEEN: contextvars.ContextVar[str] = contextvars.ContextVar("SEEN", default="nothing")


@pytest.fixture(autouse=True)
def _fresh() -> None:
    Careful.log.clear()
    Stubborn.cancelled = 0


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


def test_one_that_is_built_and_run_in_one_turn_runs_once():
    async def test(hub: FakeHub) -> None:
        hub.open(STARTS)
        copy = hub.prepare("careful")
        hub.go(copy, "careful")
        await hub.wait_for(c.ChildStarted, copy)
        assert [what for what, *_ in Careful.log] == ["init", "started", "runs"]

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
