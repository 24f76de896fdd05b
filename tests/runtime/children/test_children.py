"""Hubs open and close, and nothing of their children is left."""

from __future__ import annotations

import asyncio

import pytest

from covey.core import children as c
from covey.core.children import Copy, Ending
from covey.runtime.children import Context
from covey.wire.keys import encode_key
from tests.runtime.children.fake_hub import HUB, FakeHub, on_hub
from tests.runtime.children.sessions import STARTS, Careful, Stubborn


@pytest.fixture(autouse=True)
def _fresh() -> None:
    Careful.log.clear()
    Stubborn.cancelled = 0


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
