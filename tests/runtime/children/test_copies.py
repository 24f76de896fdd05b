"""A copy is told to end, and ended after its grace; one that ignores that is shown."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from covey.core import children as c
from covey.core.children import Ending
from covey.runtime.children import Context, Handover
from covey.runtime.children.children import ChildrenConfig
from tests.runtime.children.fake_hub import OTHER, FakeHub, on_hub
from tests.runtime.children.sessions import STARTS, Careful, Stubborn


@pytest.fixture(autouse=True)
def _fresh() -> None:
    Careful.log.clear()
    Stubborn.cancelled = 0


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
        assert hub.kinds(copy) == ["ChildStarted", "HandoverGiven", "ChildExited"]
        (given,) = hub.of(copy, c.HandoverGiven)
        assert given.state is None and "it is lost" in given.error

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
