"""Positions: with the real gate on one side and a disk that fails at will on the other, no hole and nothing undone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from covey.core.vocabulary import Persist, Record
from covey.engine.gate import Gate, GateConfig, Persisted, PersistFailed, Store
from covey.runtime.storage.positions import Positions
from tests.runtime.storage.sqlite_harness import store

FAR_US = 10**12


def test_what_comes_behind_a_failure_waits_for_its_repetition():
    positions = Positions()
    assert positions.take([store("log", 1), store("log", 2)]) == [store("log", 1), store("log", 2)]
    assert positions.failed("full") == [PersistFailed("log", 1, "full")]
    assert positions.take([store("log", 3)]) == []
    assert positions.committed() == [PersistFailed("log", 3, "full")]
    assert positions.take([store("log", 3), store("log", 1), store("log", 2), store("log", 3)]) == [
        store("log", 1), store("log", 2), store("log", 3),
    ]  # fmt: skip
    assert positions.committed() == [Persisted("log", 3)]


def test_what_is_durable_is_not_taken_again():
    positions = Positions()
    positions.take([store("log", 1), store("log", 2), store("log", 1)])
    assert positions.committed() == [Persisted("log", 2)]
    assert positions.take([store("log", 1), store("other", 1)]) == [store("other", 1)]
    assert positions.failed("full") == [Persisted("log", 2), PersistFailed("other", 1, "full")]
    assert positions.take([store("log", 2), store("log", 3)]) == [store("log", 3)]
    assert positions.committed() == [Persisted("log", 3)]


def test_one_logs_failure_is_not_another_logs():
    positions = Positions()
    positions.take([store("a", 1)])
    positions.failed("full")
    assert positions.take([store("a", 2), store("b", 1)]) == [store("b", 1)]
    assert positions.committed() == [PersistFailed("a", 2, "full"), Persisted("b", 1)]


def test_a_new_life_counts_from_one_also_after_a_failure():
    positions = Positions()
    positions.take([store("log", 1), store("log", 2)])
    positions.committed()
    positions.take([store("log", 3)])
    positions.failed("full")
    positions.begin_life()
    assert positions.take([store("log", 1), store("log", 2)]) == [store("log", 1), store("log", 2)]
    assert positions.committed() == [Persisted("log", 2)]
    assert positions.take([store("log", 3)]) == [store("log", 3)]


ACTIONS = st.sampled_from(["say a", "say a", "say b", "take", "commit", "fail", "hear", "hear", "tick"])


@given(st.lists(ACTIONS, max_size=150))
def test_the_gate_lets_out_only_what_is_durable_and_in_the_end_all_of_it(actions):
    """Facts reach the gate late, so stores cross with news of failures in every way they can."""
    gate, positions = Gate(GateConfig()), Positions()
    queue, taken, facts, running = [], [], [], False
    said = {"a": 0, "b": 0}
    heard = {"a": 0, "b": 0}
    disk: dict[str, dict] = {"a": {}, "b": {}}

    def carry_out(effects):
        for effect in effects:
            if isinstance(effect, Store):
                queue.append(effect)
            elif isinstance(effect, tuple):
                log, number = effect
                assert number == heard[log] + 1
                heard[log] = number
                assert all(place in disk[log] for place in range(1, number + 1))
                assert disk[log]["last"] >= number

    def act(action):
        nonlocal taken, running
        if action.startswith("say"):
            log = action[-1]
            said[log] += 1
            carry_out(gate.admit(log, [Persist(log, (Record(b"", b"%d" % said[log]),)), (log, said[log])]))
        elif action == "take" and not running and queue:
            taken, running = positions.take(queue), True
            queue.clear()
        elif action == "commit" and running:
            for one in taken:
                disk[one.log][one.position] = True
                disk[one.log]["last"] = int(one.records[0].value or b"")
            facts.extend(positions.committed())
            running = False
        elif action == "fail" and running:
            facts.extend(positions.failed("full"))
            running = False
        elif action == "hear" and facts:
            fact = facts.pop(0)
            carry_out(gate.persisted(fact) if isinstance(fact, Persisted) else gate.failed(fact, 0))
        elif action == "tick":
            carry_out(gate.tick(FAR_US))
        gate.check()

    for action in actions:
        act(action)
    for _ in range(20):
        for action in ("take", "commit", *["hear"] * (len(facts) + 4), "tick"):
            act(action)
    assert heard == said
    assert gate.statistics().held == gate.statistics().unsaved == 0
    for log, number in said.items():
        assert disk[log].get("last", 0) == number
