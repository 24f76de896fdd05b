"""The runner's time: alarms when they are due, nobody accused before he was heard, the loop's lag, the wall's clock."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from covey.core.vocabulary import Emit, Persist, Record, Tick, WallOffset, WantTurn
from covey.protocols.links.vocabulary import (
    BytesReceived,
)
from covey.runtime.runner import LAG_PERIOD_S, LATE_TURNS_MAX, LATE_US, OFFSET_US_MIN
from tests.runtime.runner_harness import (
    SECOND_US,
    Bench,
    Say,
    on_bench,
)
from tests.testing.virtual import until

# --- alarms ---------------------------------------------------------------------------------------------------------


def test_a_tick_comes_when_a_machine_is_due_and_not_before():
    async def test(bench: Bench) -> None:
        start_us = bench.outside.monotonic_us()
        bench.machine.due_us = start_us + 3 * SECOND_US
        bench.runner.feed(Say())
        await asyncio.sleep(2.99)
        assert bench.ticks() == 0
        await asyncio.sleep(0.02)
        assert bench.ticks() == 1
        ticked_us = next(at for at, incoming in bench.machine.heard if type(incoming) is Tick)
        assert start_us + 3 * SECOND_US <= ticked_us < start_us + 3 * SECOND_US + 2_000

    on_bench(test)


def test_an_alarm_moves_earlier_when_a_machine_is_due_earlier():
    async def test(bench: Bench) -> None:
        now_us = bench.outside.monotonic_us()
        bench.machine.due_us = now_us + 60 * SECOND_US
        bench.runner.feed(Say())
        bench.machine.due_us = now_us + 1 * SECOND_US
        bench.runner.feed(Say())
        await asyncio.sleep(1.01)
        assert bench.ticks() == 1

    on_bench(test)


def test_the_clock_goes_on_while_one_turn_wants_the_next():
    """Found by a review: a machine with much to do, some each turn, got no Tick before it had done it all."""

    async def test(bench: Bench) -> None:
        bench.machine.turns = 1_000
        bench.runner.feed(Say((WantTurn(),)))
        bench.machine.due_us = bench.outside.monotonic_us() + SECOND_US
        for _ in range(3):
            await asyncio.sleep(0)
        assert bench.machine.turns > 900
        alarm = bench.runner._alarm
        assert alarm is not None
        assert alarm.when() == pytest.approx(asyncio.get_running_loop().time() + 1, abs=0.01)
        bench.machine.turns = 0
        await until(bench.ticks, 1.1)
        assert bench.ticks() == 1

    on_bench(test)


def test_a_full_node_stops_reading_while_one_turn_wants_the_next():
    async def test(bench: Bench) -> None:
        bench.machine.turns = 1_000
        bench.runner.feed(Say((WantTurn(), Persist("scripted", (Record(b"record", b""),)), Emit(1), Emit(2))))
        for _ in range(3):
            await asyncio.sleep(0)
        assert bench.machine.turns > 900
        assert bench.transport.told == ["pause"]
        bench.machine.turns = 0

    on_bench(test, durable=True, held_max=1)


def test_an_alarm_that_is_not_needed_any_more_does_no_harm():
    async def test(bench: Bench) -> None:
        now_us = bench.outside.monotonic_us()
        bench.machine.due_us = now_us + SECOND_US
        bench.runner.feed(Say())
        bench.machine.due_us = now_us + 5 * SECOND_US
        bench.runner.feed(Say())
        await asyncio.sleep(4.9)
        assert bench.machine.due_us is not None
        await asyncio.sleep(0.2)
        assert bench.machine.due_us is None

    on_bench(test)


def test_a_machine_that_is_always_due_does_not_take_the_whole_loop():
    async def test(bench: Bench) -> None:
        def always(incoming: Any, now_us: int) -> Sequence[Any]:
            bench.machine.heard.append((now_us, incoming))
            bench.machine.due_us = now_us
            return ()

        machine: Any = bench.machine
        machine.handle = always
        bench.runner.feed(Say())
        await asyncio.sleep(1)
        assert 500 < bench.ticks() < 1_100  # about one each millisecond

    on_bench(test)


def test_what_was_due_while_the_computer_was_suspended_rings_soon_after():
    """The event loop's clock stood still meanwhile, so its timer would ring an hour late."""

    async def test(bench: Bench) -> None:
        bench.machine.due_us = bench.outside.monotonic_us() + 3_600 * SECOND_US
        bench.runner.feed(Say())
        bench.outside.stalled_us += 7_200 * SECOND_US
        await until(bench.ticks, 2 * LAG_PERIOD_S)
        await asyncio.sleep(1)
        assert bench.ticks() == 1

    on_bench(test)


# --- a late tick ----------------------------------------------------------------------------------------------------


async def ring_late(bench: Bench, late_us: int) -> None:
    """The loop was away for so long when the alarm rings."""
    now_us = bench.outside.monotonic_us()
    bench.machine.due_us = now_us + SECOND_US
    bench.runner.feed(Say())
    handle = bench.runner._alarm
    assert handle is not None
    handle.cancel()
    bench.outside.stalled_us += SECOND_US + late_us
    bench.runner._ring()


def test_a_tick_that_is_a_little_late_is_given_at_once():
    async def test(bench: Bench) -> None:
        await ring_late(bench, LATE_US)
        assert bench.ticks() == 1

    on_bench(test)


@pytest.mark.parametrize("turns_with_reads", range(LATE_TURNS_MAX))
def test_a_tick_that_is_very_late_waits_for_a_turn_without_reads(turns_with_reads):
    """As an event loop has it: in each turn what was called for earlier runs first, and the reads after it."""

    async def test(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        left = turns_with_reads

        def turn() -> None:  # stands behind the runner's own callback in every turn, as reads do
            nonlocal left
            if left:
                left -= 1
                bench.transport.read()
                loop.call_soon(turn)

        await ring_late(bench, LATE_US + 1)
        assert bench.ticks() == 0
        loop.call_soon(turn)
        await until(bench.ticks, 1)
        kinds = [type(incoming) for _, incoming in bench.machine.heard if type(incoming) in (Tick, BytesReceived)]
        assert kinds.index(Tick) == turns_with_reads

    on_bench(test)


def test_a_very_late_tick_waits_four_turns_at_most():
    async def test(bench: Bench) -> None:
        loop = asyncio.get_running_loop()

        def turn() -> None:
            bench.transport.read()
            if not bench.ticks():
                loop.call_soon(turn)

        await ring_late(bench, 10 * SECOND_US)
        loop.call_soon(turn)
        await until(bench.ticks, 1)
        assert LATE_TURNS_MAX - 1 <= len(bench.machine.of(BytesReceived)) <= LATE_TURNS_MAX + 1

    on_bench(test)


def test_a_late_tick_does_not_come_to_a_closed_node():
    async def test(bench: Bench) -> None:
        await ring_late(bench, SECOND_US)
        await bench.runner.close()
        count = len(bench.machine.heard)
        await asyncio.sleep(5)
        assert len(bench.machine.heard) == count

    on_bench(test)


# --- the loop's lag and the wall ------------------------------------------------------------------------------------


def test_the_loops_lag_is_measured_each_tenth_of_a_second():
    async def test(bench: Bench) -> None:
        await asyncio.sleep(1)
        assert bench.runner.lag_us == 0
        bench.outside.stalled_us += 30_000
        await asyncio.sleep(LAG_PERIOD_S + 0.01)
        assert bench.runner.lag_us == pytest.approx(30_000, abs=100)
        await asyncio.sleep(LAG_PERIOD_S + 0.01)
        assert bench.runner.lag_us == 0

    on_bench(test)


def test_wall_time_is_told_at_the_start_and_when_it_has_moved_by_more_than_a_millisecond():
    async def test(bench: Bench) -> None:
        first = bench.outside.wall_offset_us
        assert bench.machine.of(WallOffset) == [WallOffset(first)]
        await asyncio.sleep(10)
        assert len(bench.machine.of(WallOffset)) == 1
        bench.outside.wall_offset_us += OFFSET_US_MIN
        await asyncio.sleep(1)
        assert len(bench.machine.of(WallOffset)) == 1
        bench.outside.wall_offset_us += 1  # what crept up adds up
        await asyncio.sleep(1)
        bench.outside.wall_offset_us -= 3_600_000_000
        await asyncio.sleep(1)
        assert bench.machine.of(WallOffset)[1:] == [
            WallOffset(first + 1_001),
            WallOffset(first + 1_001 - 3_600_000_000),
        ]

    on_bench(test)
