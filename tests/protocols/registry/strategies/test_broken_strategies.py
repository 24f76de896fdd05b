"""Strategies that raise, return nonsense or cannot begin harm nobody, and are reported."""

from __future__ import annotations

from typing import Any

import pytest

from covey.core.rows import TakeOperations, TakeRows
from covey.core.vocabulary import Emit
from covey.protocols.registry.strategies.delta import Delta
from covey.protocols.registry.strategies.pubsub import PubSub
from covey.protocols.registry.strategies.strategy import HubView, Step, Tell
from covey.protocols.registry.vocabulary import StrategyFailed
from covey.wire.messages.registry import NOTE_BYTES_MAX, Requests, WholeKnown
from covey.wire.messages.rows import OwnedOps
from tests.protocols.registry.strategies.strategies_ground import REQUEST, STRANGER, A, B, C, H, Scripted, at_work
from tests.protocols.registry.strategies.strategies_own import TwoAtRandom

NONSENSE: dict[str, Any] = {
    "raises": RuntimeError("no idea"),
    "recursion": RecursionError("too deep"),
    "nothing": None,
    "a list": [Tell((B,), (REQUEST,))],
    "a list of tells": Step([Tell((B,), (REQUEST,))]),  # type: ignore[arg-type]
    "no tell": Step(("B",)),  # type: ignore[arg-type]
    "sites in a list": Step((Tell([B], (REQUEST,)),)),  # type: ignore[arg-type]
    "a stranger": Step((Tell((STRANGER,), (REQUEST,)),)),
    "ourselves": Step((Tell((A,), (REQUEST,)),)),
    "a long note": Step((Tell((B,), (), bytes(NOTE_BYTES_MAX + 1)),)),
    "a note of text": Step((Tell((B,), (), "note"),)),  # type: ignore[arg-type]
    "bytes for requests": Step((Tell((B,), (b"x",)),)),  # type: ignore[arg-type]
    "requests of another hub": Step((Tell((B,), (OwnedOps(b"hub:x", A, 1, 1, (), False),)),)),
    "a strategy that is none": Step((), 7),  # type: ignore[arg-type]
    "another interval": Step((), PubSub(2.0)),
    "half of it": Step((Tell((B,), (REQUEST,)), Tell((STRANGER,), (REQUEST,)))),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_a_step_that_makes_no_sense_is_left_out_whole_and_what_is_new_goes_to_all(name):
    ways, _, one = at_work(Scripted(propagate=NONSENSE[name]))
    one.gather((REQUEST,))
    one.on_turn_ended()
    message = Requests(H, b"", (REQUEST,))
    assert ways.sent == [(B, message), (C, message)]
    (event,) = ways.events
    assert type(event) is StrategyFailed
    assert (event.hub, event.function) == (H, "propagate")
    assert 0 < len(event.reason) <= 200


def test_it_is_reported_once_for_each_function_and_kind_and_counted_always():
    ways, _, one = at_work(Scripted(propagate=RuntimeError("1"), init_sync=RuntimeError("2")))
    for _ in range(3):
        one.gather((REQUEST,))
        one.on_turn_ended()
        one.on_interval()
    one.strategy.does["propagate"] = None
    one.gather((REQUEST,))
    one.on_turn_ended()
    told = [(event.function, event.reason.split(":")[0]) for event in ways.events]
    assert told == [("propagate", "RuntimeError"), ("init_sync", "RuntimeError"), ("propagate", "TypeError")]
    assert one.counts["failed"] == 7


def test_in_place_of_a_round_one_at_random_is_told_everything():
    ways, whole, one = at_work(Scripted(init_sync=ValueError("no")))
    one.on_interval()
    one.pour()
    assert whole.asked == [(True, False, b"")]
    assert len(dict.fromkeys(to for to, _ in ways.sent)) == 1


def test_who_comes_is_given_our_rows_whatever_the_strategy_does():
    ways, whole, one = at_work(Scripted(broadcast_local_data=ValueError("no")))
    one.pour()
    assert whole.asked == [(False, True, b"")]
    assert [to for to, _ in ways.sent] == [B, C] * 3


def test_what_arrives_is_applied_whatever_the_strategy_does():
    ways, _, one = at_work(Scripted(handle_synchronization=ValueError("no"), handle_node_join_data=None))
    one.on_message(B, Requests(H, b"", (REQUEST,)))
    one.on_message(B, WholeKnown(H, 1, 0, (), True, joins=True))
    assert [type(effect) for effect in ways.said] == [TakeOperations, Emit, TakeRows, Emit]
    assert ways.sent == []


class Broken(Scripted):
    """Cannot even begin."""

    __slots__ = ("begins",)

    def __init__(self, begins: Any) -> None:
        super().__init__()
        self.begins = begins

    def init(self, hub: HubView) -> Any:
        if isinstance(self.begins, Exception):
            raise self.begins
        return self.begins


def test_an_error_that_cannot_even_be_said_is_reported():
    class Speechless(ValueError):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    ways, _, one = at_work(Scripted(init_sync=Speechless()))
    one.on_interval()
    assert [event.reason for event in ways.events] == ["Speechless"]


class Endless(TwoAtRandom):
    """A round of it never comes, nor does any number of microseconds say when."""

    def __init__(self) -> None:
        super().__init__(float("inf"))


@pytest.mark.parametrize("begins", [RuntimeError("no"), None, 7, object(), Endless()])
def test_one_that_cannot_begin_is_delta_from_then_on(begins):
    ways, _, one = at_work(Broken(begins))
    assert one.strategy == Delta()
    assert not one.driven
    assert [event.function for event in ways.events] == ["init"]
    one.check()


class Forgetful(TwoAtRandom):
    """It says how often it wants to be asked so many times, and raises then."""

    def __init__(self, times: int) -> None:
        self._left = times

    @property
    def sync_interval(self) -> float | None:  # type: ignore[override]
        self._left -= 1
        if self._left < 0:
            raise RuntimeError("how often?")
        return 1.0


@pytest.mark.parametrize("times", range(4))
def test_an_interval_that_cannot_be_read_any_more_ends_nothing(times):
    ways, _, one = at_work(Forgetful(times))
    assert one.driven == (times > 0)
    for _ in range(3):
        one.on_interval()
        one.gather((REQUEST,))
        one.on_turn_ended()
    one.check()
    assert all(event.reason == "RuntimeError: how often?" for event in ways.events)
