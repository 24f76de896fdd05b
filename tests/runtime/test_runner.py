"""The runner carries out effects in their order and without waiting, and ends as it should."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

import covey
from covey.core.errors import ClosedError, UsageError
from covey.core.vocabulary import Emit, Persist, Record, Refuse, Resolve, Stop, TurnEnded, WantTurn
from covey.engine.gate import Persisted, Store
from covey.protocols.links.vocabulary import CloseConnection, CloseLinks, OpenConnection, Write
from covey.protocols.overlay.vocabulary import LeaveOverlay
from tests.runtime.runner_harness import (
    Bench,
    Fail,
    Say,
    on_bench,
)

# --- effects --------------------------------------------------------------------------------------------------------


def test_effects_are_carried_out_in_their_order():
    async def test(bench: Bench) -> None:
        bench.runner.feed(
            Say((OpenConnection(1, "a:1"), Write(1, b"x"), Emit("event"), Write(1, b"y"), CloseConnection(1)))
        )
        assert bench.transport.told == [("open", 1, "a:1"), ("write", 1, b"x"), ("write", 1, b"y"), ("close", 1)]
        assert bench.events == ["event"]

    on_bench(test)


def test_what_an_effect_causes_comes_behind_what_was_said_before():
    async def test(bench: Bench) -> None:
        order: list[Any] = []

        def on_event(event: Any) -> None:
            order.append(event)
            if event == "first":
                bench.runner.feed(Say((Emit("caused"),)))
                order.append("fed")

        bench.runner._on_event = on_event
        bench.runner.feed(Say((Emit("first"), Emit("second"))))
        assert order == ["first", "fed", "second", "caused"]

    on_bench(test)


def test_a_turn_ends_once_however_often_it_is_wanted():
    async def test(bench: Bench) -> None:
        said: list[str] = []
        for _ in range(3):
            bench.runner.feed(Say((WantTurn(), WantTurn())))
        bench.runner.at_end_of_turn(lambda: said.append("last words"))
        assert bench.machine.of(TurnEnded) == []
        await asyncio.sleep(0)
        assert (len(bench.machine.of(TurnEnded)), said) == (1, ["last words"])
        bench.runner.feed(Say((WantTurn(),)))
        await asyncio.sleep(0)
        assert (len(bench.machine.of(TurnEnded)), said) == (2, ["last words"])

    on_bench(test)


def test_an_outcome_reaches_its_waiter_and_nobody_else():
    async def test(bench: Bench) -> None:
        (one, first), (two, second), (three, third) = (bench.runner.request() for _ in range(3))
        bench.runner.forget_request(three)
        bench.runner.feed(
            Say((Resolve(two, "value"), Refuse(one, covey.Overloaded("no")), Resolve(three), Resolve(99)))
        )
        assert await second == "value"
        with pytest.raises(covey.Overloaded):
            await first
        assert not third.done()

    on_bench(test)


def test_a_full_gate_stops_reading_until_the_disk_has_caught_up():
    async def test(bench: Bench) -> None:
        bench.runner._hands[Store] = lambda effect: None
        bench.runner.feed(Say((Persist("scripted", (Record(b"record", b""),)),)))
        bench.runner.feed(Say(tuple(Emit(number) for number in range(3))))
        assert bench.transport.told == []
        bench.runner.feed(Say((Emit(3),)))
        assert bench.transport.told == ["pause"]
        bench.runner.feed(Say((Emit(4),)))
        assert bench.transport.told == ["pause"]
        assert bench.events == []
        bench.runner.feed(Persisted("scripted", 1))
        assert bench.events == [0, 1, 2, 3, 4]
        assert bench.transport.told == ["pause", "resume"]

    on_bench(test, durable=True, held_max=3)


def test_a_gate_that_fills_while_a_turn_is_wanted_stops_reading_at_its_end():
    async def test(bench: Bench) -> None:
        bench.runner._hands[Store] = lambda effect: None
        bench.runner.feed(Say((WantTurn(), Persist("scripted", (Record(b"record", b""),)))))
        bench.runner.feed(Say(tuple(Emit(number) for number in range(9))))
        await asyncio.sleep(0)
        assert bench.transport.told == ["pause"]
        bench.runner.feed(Persisted("scripted", 1))
        assert bench.transport.told == ["pause", "resume"]

    on_bench(test, durable=True, held_max=3)


# --- wrong use, and the end -----------------------------------------------------------------------------------------


def test_a_usage_error_of_a_machine_reaches_the_caller_and_changes_nothing():
    async def test(bench: Bench) -> None:
        with pytest.raises(UsageError, match="wrong call"):
            bench.runner.feed(Fail(UsageError("wrong call")))
        assert bench.runner.dead is None
        bench.runner.feed(Say((Emit("alive"),)))
        assert bench.events == ["alive"]

    on_bench(test)


def test_any_other_error_of_a_machine_is_the_nodes_death():
    async def test(bench: Bench) -> None:
        bug = ZeroDivisionError("a bug")
        _, outcome = bench.runner.request()
        with pytest.raises(ClosedError, match="report it") as caught:
            bench.runner.feed(Fail(bug))
        assert caught.value.__cause__ is bug
        assert bench.runner.dead is bug
        assert bench.events == [bug]
        with pytest.raises(ClosedError) as caught:
            await outcome
        assert caught.value.__cause__ is bug
        with pytest.raises(ClosedError) as caught:
            bench.runner.feed(Say())
        assert caught.value.__cause__ is bug
        count = len(bench.machine.heard)
        bench.transport.read()
        await asyncio.sleep(10)
        assert len(bench.machine.heard) == count
        assert bench.transport.told == ["aclose"]

    on_bench(test)


def test_a_death_on_the_networks_side_does_not_reach_the_event_loop():
    async def test(bench: Bench) -> None:
        def fail(incoming: Any, now_us: int) -> Sequence[Any]:
            raise ZeroDivisionError("a bug")

        machine: Any = bench.machine
        machine.handle = fail
        bench.transport.read()
        assert isinstance(bench.runner.dead, ZeroDivisionError)
        assert len(bench.events) == 1

    on_bench(test)


def test_close_says_goodbye_in_its_order_and_only_once():
    async def test(bench: Bench) -> None:
        await asyncio.gather(bench.runner.close(), bench.runner.close())
        await bench.runner.close()
        kinds = [type(incoming) for _, incoming in bench.machine.heard]
        assert kinds[-4:] == [Stop, LeaveOverlay, TurnEnded, CloseLinks]
        assert kinds.count(CloseLinks) == 1
        assert set(bench.transport.told) == {"aclose"}
        with pytest.raises(ClosedError):
            bench.runner.feed(Say())

    on_bench(test)


def test_abort_says_nothing():
    async def test(bench: Bench) -> None:
        _, outcome = bench.runner.request()
        count = len(bench.machine.heard)
        await bench.runner.abort()
        await bench.runner.abort()
        assert len(bench.machine.heard) == count
        with pytest.raises(ClosedError):
            await outcome

    on_bench(test)
