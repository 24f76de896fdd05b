"""The pump: one way in, one order out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from covey.core.errors import InvariantError, UsageError
from covey.core.ids import Site
from covey.core.vocabulary import Emit, Machine, MessagesReceived, Persist, Record, Tick
from covey.engine import pump as pump_module
from covey.engine.gate import Gate, GateConfig, Persisted, PersistFailed, StorageTrouble, Store
from covey.engine.pump import Pump

KEPT = Record(b"1", b"")
SITE = Site(bytes(16))


class Command(msgspec.Struct, frozen=True):
    name: str


class Fact(msgspec.Struct, frozen=True):
    """From one machine for another."""

    name: str


class Word(msgspec.Struct, frozen=True):
    """An effect for the world."""

    text: str


class Nothing(msgspec.Struct, frozen=True):
    pass


class Script:
    """A machine that answers from a table and remembers what it heard, and when."""

    def __init__(self, answers: dict[Any, Sequence[Any]] | None = None, due_us: int | None = None) -> None:
        self.answers = answers or {}
        self.due_us = due_us
        self.heard: list[tuple[Any, int]] = []

    def handle(self, incoming: Any, now_us: int) -> Sequence[Any]:
        self.heard.append((incoming, now_us))
        answer = self.answers.get(incoming, ())
        if isinstance(answer, Exception):
            raise answer
        return answer

    def deadline(self) -> int | None:
        return self.due_us

    def check(self) -> None:
        pass

    def statistics(self) -> Nothing:
        return Nothing()


class Composed:
    """Machine `one` hears commands, `two` hears facts, both hear the alarm; `rows` keeps a log and hears facts too."""

    def __init__(self, one: Script, two: Script, rows: Script | None = None) -> None:
        self.machines: dict[str, Machine] = {"one": one, "two": two}
        first, second = ("one", self.machines["one"]), ("two", self.machines["two"])
        self.routes: dict[type, tuple[tuple[str, Machine], ...]] = {
            Command: (first,),
            Fact: (second,),
            Tick: (first, second),
            MessagesReceived: (),
        }
        self.durable = frozenset({"rows"})
        if rows is not None:
            self.machines["rows"] = rows
            self.routes[Command] = (("rows", rows),)

    def split(self, incoming: MessagesReceived) -> Sequence[tuple[str, Machine, Any]]:
        return [
            (name, self.machines[name], MessagesReceived(incoming.peer, (name,)))
            for name in incoming.messages
        ]  # fmt: skip


def build(
    one: Script | None = None,
    two: Script | None = None,
    rows: Script | None = None,
    execute: Callable[[Any], None] | None = None,
) -> tuple[Pump, list[Any]]:
    done: list[Any] = []
    composed = Composed(one or Script(), two or Script(), rows)
    gate = Gate(GateConfig(retry_us_min=100))
    return Pump(composed, gate, execute or done.append), done


def test_effects_are_executed_once_and_in_the_order_in_which_they_were_said():
    one = Script({Command("go"): [Word("a"), Word("b"), Word("a")], Command("more"): [Word("c")]})
    pump, done = build(one)
    pump.feed(Command("go"), 1)
    pump.feed(Command("more"), 2)
    assert done == [Word("a"), Word("b"), Word("a"), Word("c")]


def test_what_an_effect_causes_does_not_overtake_what_was_said_before_it():
    """Delivering the message makes the user change something: the delta must not reach the peer before the ack."""
    one = Script({
        Command("message 1"): [Word("deliver 1"), Word("ack 1")],
        Command("change"): [Word("delta 1")],
    })  # fmt: skip
    done: list[str] = []

    def execute(effect: Word) -> None:
        done.append(effect.text)
        if effect.text == "deliver 1":
            pump.feed(Command("change"), 0)

    pump, _ = build(one, execute=execute)
    pump.feed(Command("message 1"), 0)
    assert done == ["deliver 1", "ack 1", "delta 1"]


def test_a_fact_fed_during_an_effect_changes_the_state_before_feed_returns():
    one = Script({Command("outer"): [Word("x")]})
    states: list[list[Any]] = []

    def execute(_: Word) -> None:
        pump.feed(Command("inner"), 5)
        states.append([incoming for incoming, _ in one.heard])

    pump, _ = build(one, execute=execute)
    pump.feed(Command("outer"), 0)
    assert states == [[Command("outer"), Command("inner")]]


def test_facts_for_other_machines_are_heard_in_their_turn_and_not_executed():
    one = Script({Command("go"): [Word("before"), Fact("news"), Word("after")]})
    two = Script({Fact("news"): [Word("answer")]})
    pump, done = build(one, two)
    pump.feed(Command("go"), 7)
    assert done == [Word("before"), Word("after"), Word("answer")]
    assert two.heard == [(Fact("news"), 7)]


def test_every_hearer_of_a_fact_hears_it_in_the_order_of_the_route():
    one, two = Script({Tick(): [Word("one")]}), Script({Tick(): [Word("two")]})
    pump, done = build(one, two)
    pump.feed(Tick(), 3)
    assert done == [Word("one"), Word("two")]
    assert one.heard == two.heard == [(Tick(), 3)]


def test_a_frame_goes_in_parts_to_the_machines_that_own_them():
    one = Script({MessagesReceived(SITE, ("one",)): [Word("from one")]})
    two = Script({MessagesReceived(SITE, ("two",)): [Word("from two")]})
    pump, done = build(one, two)
    pump.feed(MessagesReceived(SITE, ("two", "one", "two")), 0)
    assert done == [Word("from two"), Word("from one"), Word("from two")]


def test_machines_that_feed_each_other_for_ever_are_our_bug(monkeypatch):
    monkeypatch.setattr(pump_module, "QUEUE_MAX", 100)
    two = Script({Fact("again"): [Fact("again")]})
    pump, _ = build(two=two)
    with pytest.raises(InvariantError, match="do not feed each other for ever"):
        pump.feed(Fact("again"), 0)
    assert len(two.heard) == 100


def test_machines_that_multiply_facts_are_stopped_before_memory_ends(monkeypatch):
    monkeypatch.setattr(pump_module, "QUEUE_MAX", 100)
    pump, _ = build(two=Script({Fact("again"): [Fact("again")] * 60}))
    with pytest.raises(InvariantError, match="do not feed each other for ever"):
        pump.feed(Fact("again"), 0)


def test_an_honest_number_of_facts_within_one_feed_is_no_loop(monkeypatch):
    monkeypatch.setattr(pump_module, "QUEUE_MAX", 100)
    one = Script({Command("go"): [Fact("news")] * 99})
    pump, _ = build(one)
    for _ in range(3):
        pump.feed(Command("go"), 0)


def test_a_usage_error_reaches_the_caller_and_the_pump_goes_on():
    one = Script({Command("wrong"): UsageError("no such thing; nothing was changed"), Command("go"): [Word("a")]})  # type: ignore[dict-item]
    pump, done = build(one)
    with pytest.raises(UsageError, match="no such thing"):
        pump.feed(Command("wrong"), 0)
    pump.feed(Command("go"), 1)
    assert done == [Word("a")]


def test_a_usage_error_during_an_effect_reaches_whoever_fed_it_and_nothing_is_lost():
    one = Script({Command("wrong"): UsageError("no"), Command("go"): [Word("first"), Word("second")]})  # type: ignore[dict-item]
    done: list[Any] = []

    def execute(effect: Word) -> None:
        done.append(effect)
        if effect == Word("first"):
            with pytest.raises(UsageError):
                pump.feed(Command("wrong"), 0)

    pump, _ = build(one, execute=execute)
    pump.feed(Command("go"), 0)
    assert done == [Word("first"), Word("second")]


def test_if_the_world_fails_at_an_effect_the_rest_is_executed_with_the_next_feed_and_none_twice():
    one = Script({Command("go"): [Word("a"), Word("breaks"), Word("b")]})
    done: list[Any] = []

    def execute(effect: Word) -> None:
        done.append(effect)
        if effect == Word("breaks"):
            raise OSError("the world broke")

    pump, _ = build(one, execute=execute)
    with pytest.raises(OSError, match="the world broke"):
        pump.feed(Command("go"), 0)
    pump.feed(Command("nothing"), 1)
    assert done == [Word("a"), Word("breaks"), Word("b")]


def test_time_never_goes_back():
    one = Script()
    pump, _ = build(one)
    for now_us in (5, 9, 3, 10):
        pump.feed(Command("x"), now_us)
    assert [now_us for _, now_us in one.heard] == [5, 9, 9, 10]


def test_what_effects_cause_happens_no_earlier_than_the_latest_feed():
    one = Script({Command("go"): [Word("nested"), Fact("news")]})
    two = Script()

    def execute(_: Word) -> None:
        pump.feed(Command("later"), 20)

    pump, _ = build(one, two, execute=execute)
    pump.feed(Command("go"), 10)
    assert one.heard == [(Command("go"), 10), (Command("later"), 20)]
    assert two.heard == [(Fact("news"), 20)]


@pytest.mark.parametrize("one, two, earliest", [(None, None, None), (7, None, 7), (7, 3, 3), (None, 0, 0)])
def test_the_deadline_is_the_earliest_of_all_machines(one, two, earliest):
    pump, _ = build(Script(due_us=one), Script(due_us=two))
    assert pump.deadline() == earliest


def test_a_machine_with_a_log_speaks_through_the_gate_and_the_disk_answers_through_the_pump():
    rows = Script({Command("keep"): [Word("before"), Persist("rows", (KEPT,)), Word("held"), Fact("held too")]})
    two = Script({Fact("held too"): [Word("answer")]})
    pump, done = build(two=two, rows=rows)
    pump.feed(Command("keep"), 0)
    assert done == [Word("before"), Store("rows", 1, (KEPT,))]
    assert two.heard == []
    pump.feed(PersistFailed("rows", 1, "full"), 10)
    assert done[2:] == [Emit(StorageTrouble("rows", "full", 2))]
    assert pump.deadline() == 110
    pump.feed(Tick(), 110)
    assert done[3:] == [Store("rows", 1, (KEPT,))]
    pump.feed(Persisted("rows", 1), 120)
    assert [effect for effect in done[4:] if isinstance(effect, Word)] == [Word("held"), Word("answer")]
    assert two.heard == [(Tick(), 110), (Fact("held too"), 120)]


def test_an_observer_sees_every_step_of_every_machine_and_what_it_said():
    seen: list[Any] = []
    one = Script({Command("go"): [Word("a"), Fact("news")]})
    composed = Composed(one, Script())
    pump = Pump(composed, Gate(GateConfig()), lambda _: None, lambda *step: seen.append(step))
    pump.feed(Command("go"), 1)
    pump.feed(MessagesReceived(SITE, ("two",)), 2)
    pump.feed(Tick(), 3)
    assert seen == [
        (1, "one", Command("go"), [Word("a"), Fact("news")]),
        (1, "two", Fact("news"), ()),
        (2, "two", MessagesReceived(SITE, ("two",)), ()),
        (3, "one", Tick(), ()),
        (3, "two", Tick(), ()),
    ]
