"""The guard: while the event loop turns, the watchdog hears that all is well; and nothing runs without one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from covey.runtime.guard import LOOK_S, Guard
from covey.runtime.watchdog import WatchdogGone
from covey.testing.loop import new_event_loop


class FakeWatchdog:
    """Remembers what it was told; is gone when a test says so."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.is_gone = False
        self.revives = True

    def start(self) -> None:
        if self.is_gone and not self.revives:
            raise WatchdogGone("no process can be started")
        self.is_gone = False
        self.told.append("start")

    def arm(self, deadline_us: int | None) -> None:
        if self.is_gone:
            raise WatchdogGone("it was killed")
        self.told.append(deadline_us)

    def close(self) -> None:
        self.told.append("close")


class Bench:
    """A guard, and what it asks and tells."""

    def __init__(self) -> None:
        self.watchdog = FakeWatchdog()
        self.deadline_us: int | None = None
        self.lost: list[str] = []
        self.guard = Guard(self.watchdog, lambda: self.deadline_us, self.lost.append)


def run(test: Callable[[Bench], Awaitable[None]]) -> None:
    async def main() -> None:
        bench = Bench()
        try:
            await test(bench)
        finally:
            bench.guard.close()

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main())


def test_the_watchdog_is_told_the_deadline_again_and_again():
    async def test(bench: Bench) -> None:
        bench.guard.start()
        bench.guard.start()
        bench.deadline_us = 5
        await asyncio.sleep(LOOK_S)
        bench.deadline_us = 9
        await asyncio.sleep(LOOK_S)
        bench.guard.close()
        bench.guard.close()
        await asyncio.sleep(10 * LOOK_S)
        assert bench.watchdog.told == ["start", None, 5, 9, "close"]

    run(test)


def test_whoever_is_about_to_run_is_watched_from_its_first_step_on():
    async def test(bench: Bench) -> None:
        bench.guard.need(5)
        assert bench.watchdog.told == []
        bench.guard.start()
        bench.guard.need(5)
        bench.guard.need(9)  # it hears the rest in time
        assert bench.watchdog.told == ["start", None, 5]

    run(test)


def test_of_an_earlier_deadline_the_watchdog_hears_at_once():
    """It heard with the next look: a lease that ended before all others was outlived by so much."""

    async def test(bench: Bench) -> None:
        bench.guard.start()
        bench.guard.need(9)
        bench.guard.need(5)
        bench.guard.need(7)
        assert bench.watchdog.told == ["start", None, 9, 5]
        bench.deadline_us = 20
        await asyncio.sleep(LOOK_S)
        bench.guard.need(6)
        assert bench.watchdog.told == ["start", None, 9, 5, 20, 6]

    run(test)


def test_who_runs_on_when_all_is_closed_is_watched_until_it_is_over():
    async def test(bench: Bench) -> None:
        over = asyncio.Event()
        sooner, later = (asyncio.create_task(asyncio.sleep(LOOK_S * 2)), asyncio.create_task(over.wait()))
        bench.deadline_us = 1
        bench.guard.start()
        bench.guard.close({sooner: 5, later: 9})
        assert bench.watchdog.told == ["start", 1, 5]
        await asyncio.sleep(LOOK_S * 3.5)
        assert set(bench.watchdog.told[2:]) == {5, 9} and bench.watchdog.told[-1] == 9
        over.set()
        await asyncio.sleep(LOOK_S * 2)
        told = list(bench.watchdog.told)
        assert told[-1] == "close"
        await asyncio.sleep(LOOK_S * 5)
        assert bench.watchdog.told == told

    run(test)


def test_another_watchdog_takes_the_place_of_one_that_was_killed():
    async def test(bench: Bench) -> None:
        bench.guard.start()
        bench.deadline_us = 5
        bench.watchdog.is_gone = True
        await asyncio.sleep(2 * LOOK_S)
        assert bench.watchdog.told == ["start", None, "close", "start", 5, 5]
        assert bench.lost == []

    run(test)


def test_without_a_watchdog_whoever_needs_one_is_told_once():
    async def test(bench: Bench) -> None:
        bench.guard.start()
        bench.watchdog.is_gone, bench.watchdog.revives = True, False
        await asyncio.sleep(5 * LOOK_S)
        assert bench.lost == ["no process can be started"]

    run(test)


def test_a_guard_that_cannot_begin_says_so():
    async def test(bench: Bench) -> None:
        bench.watchdog.is_gone, bench.watchdog.revives = True, False
        with pytest.raises(WatchdogGone):
            bench.guard.start()

    run(test)
