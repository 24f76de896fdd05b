"""The gate, sentence by sentence: what it lets go, what it holds, and how it lives with a disk that refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import InvariantError
from covey.core.ids import Site
from covey.core.vocabulary import Cause, Emit, PeerUnreached, Persist, Resolve, Send
from covey.engine.gate import (
    Gate,
    GateConfig,
    GateStatistics,
    Persisted,
    PersistFailed,
    StorageRecovered,
    StorageTrouble,
    Store,
)
from covey.protocols.links.vocabulary import WantTurn

SITE = Site(bytes(16))
CONFIG = GateConfig(held_max=3, retry_us_min=100, retry_us_max=1_000)


def say(word: str) -> Send:
    return Send(SITE, word)


def keep(*records: bytes) -> Persist:
    return Persist("rows", records)


def failed(position: int, log: str = "rows") -> PersistFailed:
    return PersistFailed(log, position, "no space left on device")


def trouble(held: int, log: str = "rows") -> Emit:
    return Emit(StorageTrouble(log, "no space left on device", held))


def recovered(log: str = "rows") -> Emit:
    return Emit(StorageRecovered(log))


def open_gate(*steps: list[Any]) -> Gate:
    """A gate through which the machine `rows` has said `steps`."""
    gate = Gate(CONFIG)
    for effects in steps:
        gate.admit("rows", effects)
        gate.check()
    return gate


# --- holding --------------------------------------------------------------------------------------------------------


def test_a_machine_that_keeps_nothing_is_not_even_looked_at():
    gate = Gate(CONFIG)
    effects = [say("a"), Emit("b")]
    assert gate.admit("overlay", effects) is effects
    assert gate.statistics() == GateStatistics(held=0, unsaved=0)
    gate.check()


def test_what_was_said_before_the_persist_goes_at_once_and_the_rest_waits_in_order():
    gate = Gate(CONFIG)
    assert gate.admit("rows", [say("before"), keep(b"1", b"2"), say("after"), Emit("event")]) == [
        say("before"),
        Store("rows", 1, (b"1", b"2")),
    ]
    assert gate.statistics() == GateStatistics(held=2, unsaved=1)
    assert gate.persisted(Persisted("rows", 1)) == [say("after"), Emit("event")]
    assert gate.statistics() == GateStatistics(held=0, unsaved=0)
    gate.check()


@pytest.mark.parametrize(
    "effect",
    [Send(SITE, "x"), Emit("x"), Resolve(1), PeerUnreached(SITE, 0, Cause.BUSY), WantTurn()],  # type: ignore[arg-type]
    ids=lambda effect: type(effect).__name__,
)
def test_sends_events_outcomes_and_facts_for_other_machines_are_held_alike(effect):
    gate = Gate(CONFIG)
    assert gate.admit("rows", [keep(b"1"), effect]) == [Store("rows", 1, (b"1",))]
    assert gate.persisted(Persisted("rows", 1)) == [effect]


def test_what_the_machine_says_to_other_inputs_waits_too():
    gate = open_gate([keep(b"1")])
    assert gate.admit("rows", [say("an answer from undurable state")]) == []
    assert gate.admit("rows", []) == []
    assert gate.persisted(Persisted("rows", 1)) == [say("an answer from undurable state")]
    assert gate.admit("rows", [say("later")]) == [say("later")]


def test_each_effect_waits_only_for_the_persists_before_it():
    gate = open_gate([keep(b"1"), say("a")], [say("b"), keep(b"2"), say("c")])
    assert gate.persisted(Persisted("rows", 1)) == [say("a"), say("b")]
    gate.check()
    assert gate.persisted(Persisted("rows", 2)) == [say("c")]


def test_one_fact_may_tell_of_several_positions():
    gate = open_gate([keep(b"1"), say("a")], [keep(b"2"), say("b")], [keep(b"3"), say("c")])
    assert gate.persisted(Persisted("rows", 2)) == [say("a"), say("b")]
    gate.check()
    assert gate.statistics() == GateStatistics(held=1, unsaved=1)


def test_owners_never_wait_for_one_another():
    gate = Gate(CONFIG)
    assert gate.admit("rows", [keep(b"1"), say("held")]) == [Store("rows", 1, (b"1",))]
    assert gate.admit("overlay", [say("free")]) == [say("free")]
    assert gate.admit("membership", [Persist("membership", (b"x",)), say("held too")]) == [
        Store("membership", 1, (b"x",))
    ]
    assert gate.persisted(Persisted("membership", 1)) == [say("held too")]
    assert gate.statistics() == GateStatistics(held=1, unsaved=1)
    gate.check()


def test_the_store_is_named_after_the_owner_and_numbered_from_one():
    gate = Gate(CONFIG)
    stores = gate.admit("rows", [keep(b"1"), keep(b"2"), keep()])
    assert stores == [Store("rows", 1, (b"1",)), Store("rows", 2, (b"2",)), Store("rows", 3, ())]


def test_a_position_that_is_told_again_lets_nothing_out_twice():
    gate = open_gate([keep(b"1"), say("a")], [keep(b"2"), say("b")])
    assert gate.persisted(Persisted("rows", 1)) == [say("a")]
    assert gate.persisted(Persisted("rows", 1)) == []
    assert gate.persisted(Persisted("rows", 0)) == []
    assert gate.statistics() == GateStatistics(held=1, unsaved=1)


def test_a_disk_that_tells_of_what_it_was_never_given_is_our_bug():
    gate = open_gate([keep(b"1")])
    with pytest.raises(InvariantError, match="only what was asked for"):
        gate.persisted(Persisted("rows", 2))


def test_above_the_bound_the_gate_is_full_until_something_goes():
    gate = open_gate([keep(b"1"), say("a"), say("b"), say("c")])
    assert not gate.full
    assert gate.admit("rows", [say("d")]) == []
    assert gate.full
    gate.persisted(Persisted("rows", 1))
    assert not gate.full


# --- a disk that refuses --------------------------------------------------------------------------------------------


def test_a_refused_store_is_told_once_and_asked_again_after_a_pause():
    gate = open_gate([keep(b"1"), say("a")])
    assert gate.deadline() is None
    assert gate.failed(failed(1), 1_000) == [trouble(held=1)]
    assert gate.deadline() == 1_100
    assert gate.tick(1_099) == []
    assert gate.tick(1_100) == [Store("rows", 1, (b"1",))]
    assert gate.deadline() is None
    assert gate.failed(failed(1), 1_200) == []
    gate.check()


def test_the_pauses_double_up_to_their_bound():
    gate = open_gate([keep(b"1")])
    now_us, pauses = 0, []
    for _ in range(6):
        gate.failed(failed(1), now_us)
        due_us = gate.deadline()
        assert due_us is not None
        pauses.append(due_us - now_us)
        now_us = due_us
        assert gate.tick(now_us) == [Store("rows", 1, (b"1",))]
    assert pauses == [100, 200, 400, 800, 1_000, 1_000]


def test_one_transaction_that_fails_is_one_failure_however_many_stores_it_held():
    gate = open_gate([keep(b"1")], [keep(b"2")], [keep(b"3")])
    for position in (1, 2, 3):
        gate.failed(failed(position), 0)
    assert gate.tick(100) == [Store("rows", 1, (b"1",)), Store("rows", 2, (b"2",)), Store("rows", 3, (b"3",))]
    for position in (1, 2, 3):
        gate.failed(failed(position), 100)
    assert gate.deadline() == 300


def test_while_the_disk_refuses_new_persists_are_not_sent_to_it_and_everything_is_held():
    gate = open_gate([keep(b"1")])
    gate.failed(failed(1), 0)
    assert gate.admit("rows", [say("a"), keep(b"2"), say("b")]) == []
    gate.check()
    assert gate.statistics() == GateStatistics(held=2, unsaved=2)
    assert gate.tick(100) == [Store("rows", 1, (b"1",)), Store("rows", 2, (b"2",))]
    assert gate.persisted(Persisted("rows", 2)) == [say("a"), say("b"), recovered()]
    gate.check()


def test_when_the_disk_takes_it_again_that_is_told_and_the_rest_is_asked_for():
    gate = open_gate([keep(b"1"), say("a")])
    gate.failed(failed(1), 0)
    gate.tick(100)
    assert gate.admit("rows", [keep(b"2"), say("b")]) == []
    assert gate.persisted(Persisted("rows", 1)) == [say("a"), recovered(), Store("rows", 2, (b"2",))]
    gate.check()
    assert gate.persisted(Persisted("rows", 2)) == [say("b")]
    assert gate.deadline() is None


def test_a_recovery_while_a_retry_is_due_takes_the_retry_back():
    gate = open_gate([keep(b"1"), say("a")], [keep(b"2"), say("b")])
    assert gate.failed(failed(2), 0) == [trouble(held=2)]
    assert gate.persisted(Persisted("rows", 2)) == [say("a"), say("b"), recovered()]
    assert gate.deadline() is None
    assert gate.tick(10_000) == []


def test_after_a_recovery_the_pauses_begin_anew_and_trouble_is_told_anew():
    gate = open_gate([keep(b"1")])
    for at_us in (0, 100, 300):
        gate.failed(failed(1), at_us)
        gate.tick(at_us + 1_000)
    assert gate.persisted(Persisted("rows", 1)) == [recovered()]
    assert gate.admit("rows", [keep(b"2")]) == [Store("rows", 2, (b"2",))]
    assert gate.failed(failed(2), 5_000) == [trouble(held=0)]
    assert gate.deadline() == 5_100


def test_a_failure_of_what_is_durable_already_is_old_news():
    gate = open_gate([keep(b"1")])
    gate.persisted(Persisted("rows", 1))
    assert gate.failed(failed(1), 0) == []
    assert gate.deadline() is None


def test_what_failed_is_asked_for_again_even_if_an_older_position_becomes_durable_meanwhile():
    gate = open_gate([keep(b"1"), say("a")], [keep(b"2"), say("b")])
    gate.failed(failed(2), 0)
    asked = gate.persisted(Persisted("rows", 1))
    due_us = gate.deadline()
    asked += gate.tick(due_us) if due_us is not None else []
    assert Store("rows", 2, (b"2",)) in asked


def test_one_owner_in_trouble_does_not_hold_the_others():
    gate = open_gate([keep(b"1")])
    gate.admit("membership", [Persist("membership", (b"x",))])
    assert gate.failed(failed(1), 0) == [trouble(held=0)]
    assert gate.failed(failed(1, "membership"), 50) == [trouble(held=0, log="membership")]
    assert gate.deadline() == 100
    assert gate.tick(200) == [Store("rows", 1, (b"1",)), Store("membership", 1, (b"x",))]
    assert gate.persisted(Persisted("membership", 1)) == [recovered("membership")]


# --- laws -----------------------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.sampled_from(["say", "say", "keep", "keep and say", "persisted", "fail", "tick"]), min_size=1, max_size=60
)


@given(STEPS, st.integers(0, 3))
def test_every_effect_leaves_once_in_order_and_never_before_what_it_stands_behind(steps, share):
    """The oracle keeps, for each word, the number of Persists that were made before it."""
    gate = Gate(CONFIG)
    said: list[tuple[str, int]] = []
    out: list[Any] = []
    asked: dict[int, None] = {}  # positions that the disk was given and has not answered
    position = durable = now_us = 0

    def take(effects: Any) -> None:
        for effect in effects:
            if isinstance(effect, Store):
                asked[effect.position] = None
            elif isinstance(effect, Send):
                out.append(effect.message)

    for step in [*steps, "tick", "persisted", "tick", "persisted"]:
        if step in ("say", "keep", "keep and say"):
            effects: list[Any] = []
            if step != "say":
                position += 1
                effects.append(keep(b"%d" % position))
            if step != "keep":
                said.append((f"word {len(said)}", position))
                effects.append(say(said[-1][0]))
            take(gate.admit("rows", effects))
        elif step == "persisted" and asked:
            durable = max(asked) if share == 0 or len(asked) == 1 else sorted(asked)[0]
            asked = {at: None for at in asked if at > durable}
            take(gate.persisted(Persisted("rows", durable)))
        elif step == "fail" and asked:
            lowest = min(asked)
            asked = {}
            take(gate.failed(failed(lowest), now_us))
        elif step == "tick":
            now_us = max(now_us, gate.deadline() or 0)
            take(gate.tick(now_us))
        gate.check()
        assert out == [word for word, behind in said if behind <= durable]
        assert gate.statistics() == GateStatistics(held=len(said) - len(out), unsaved=position - durable)


def test_check_sees_a_gate_that_miscounts():
    gate = open_gate([keep(b"1"), say("a")])
    gate._held = 0
    with pytest.raises(InvariantError, match="held counts"):
        gate.check()
