"""The gate, sentence by sentence: what it lets go and what it holds, in which order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import InvariantError
from covey.core.vocabulary import Cause, Channel, Emit, PeerUnreached, Persist, Resolve, Send, WantTurn
from covey.engine.gate import Gate, GateStatistics, Persisted, Store
from tests.engine.gate_words import CONFIG, SITE, entries, failed, keep, open_gate, say, stored


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
        stored(1, b"1", b"2"),
    ]
    assert gate.statistics() == GateStatistics(held=2, unsaved=1)
    assert gate.persisted(Persisted("rows", 1)) == [say("after"), Emit("event")]
    assert gate.statistics() == GateStatistics(held=0, unsaved=0)
    gate.check()


@pytest.mark.parametrize(
    "effect",
    [Send(SITE, "x"), Emit("x"), Resolve(1), PeerUnreached(SITE, Channel.DATA, Cause.BUSY), WantTurn()],
    ids=lambda effect: type(effect).__name__,
)
def test_sends_events_outcomes_and_facts_for_other_machines_are_held_alike(effect):
    gate = Gate(CONFIG)
    assert gate.admit("rows", [keep(b"1"), effect]) == [stored(1, b"1")]
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
    assert gate.admit("rows", [keep(b"1"), say("held")]) == [stored(1, b"1")]
    assert gate.admit("overlay", [say("free")]) == [say("free")]
    assert gate.admit("membership", [Persist("membership", entries(b"x")), say("held too")]) == [
        stored(1, b"x", log="membership")
    ]
    assert gate.persisted(Persisted("membership", 1)) == [say("held too")]
    assert gate.statistics() == GateStatistics(held=1, unsaved=1)
    gate.check()


def test_the_store_is_named_after_the_owner_and_numbered_from_one():
    gate = Gate(CONFIG)
    stores = gate.admit("rows", [keep(b"1"), keep(b"2"), keep()])
    assert stores == [stored(1, b"1"), stored(2, b"2"), stored(3)]


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
