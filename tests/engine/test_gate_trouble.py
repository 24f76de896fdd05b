"""The gate and a disk that refuses: it keeps holding, says so once, and asks again with growing pauses."""

from __future__ import annotations

from covey.core.vocabulary import Persist
from covey.engine.gate import GateStatistics, Persisted
from tests.engine.gate_words import entries, failed, keep, open_gate, recovered, say, stored, trouble


def test_a_refused_store_is_told_once_and_asked_again_after_a_pause():
    gate = open_gate([keep(b"1"), say("a")])
    assert gate.deadline() is None
    assert gate.failed(failed(1), 1_000) == [trouble(held=1)]
    assert gate.deadline() == 1_100
    assert gate.tick(1_099) == []
    assert gate.tick(1_100) == [stored(1, b"1")]
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
        assert gate.tick(now_us) == [stored(1, b"1")]
    assert pauses == [100, 200, 400, 800, 1_000, 1_000]


def test_one_transaction_that_fails_is_one_failure_however_many_stores_it_held():
    gate = open_gate([keep(b"1")], [keep(b"2")], [keep(b"3")])
    for position in (1, 2, 3):
        gate.failed(failed(position), 0)
    assert gate.tick(100) == [stored(1, b"1"), stored(2, b"2"), stored(3, b"3")]
    for position in (1, 2, 3):
        gate.failed(failed(position), 100)
    assert gate.deadline() == 300


def test_while_the_disk_refuses_new_persists_are_not_sent_to_it_and_everything_is_held():
    gate = open_gate([keep(b"1")])
    gate.failed(failed(1), 0)
    assert gate.admit("rows", [say("a"), keep(b"2"), say("b")]) == []
    gate.check()
    assert gate.statistics() == GateStatistics(held=2, unsaved=2)
    assert gate.tick(100) == [stored(1, b"1"), stored(2, b"2")]
    assert gate.persisted(Persisted("rows", 2)) == [say("a"), say("b"), recovered()]
    gate.check()


def test_when_the_disk_takes_it_again_that_is_told_and_the_rest_is_asked_for():
    gate = open_gate([keep(b"1"), say("a")])
    gate.failed(failed(1), 0)
    gate.tick(100)
    assert gate.admit("rows", [keep(b"2"), say("b")]) == []
    assert gate.persisted(Persisted("rows", 1)) == [say("a"), recovered(), stored(2, b"2")]
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
    assert gate.admit("rows", [keep(b"2")]) == [stored(2, b"2")]
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
    assert stored(2, b"2") in asked


def test_one_owner_in_trouble_does_not_hold_the_others():
    gate = open_gate([keep(b"1")])
    gate.admit("membership", [Persist("membership", entries(b"x"))])
    assert gate.failed(failed(1), 0) == [trouble(held=0)]
    assert gate.failed(failed(1, "membership"), 50) == [trouble(held=0, log="membership")]
    assert gate.deadline() == 100
    assert gate.tick(200) == [stored(1, b"1"), stored(1, b"x", log="membership")]
    assert gate.persisted(Persisted("membership", 1)) == [recovered("membership")]
