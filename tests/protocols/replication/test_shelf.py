"""The shelf: it says that records are stored behind their Persist, and the gate makes that true."""

from __future__ import annotations

from random import Random

from covey.core.vocabulary import Persist, Record
from covey.engine.gate import Gate, GateConfig, Persisted, Store
from covey.protocols.replication.shelf import Shelf, ShelfStatistics
from covey.protocols.replication.vocabulary import RowsStored, StoreRows

ONE, TWO = (Record(b"1", b"one"),), (Record(b"1", None), Record(b"2", b"two"))


def test_what_is_given_is_persisted_and_then_said_to_be_stored():
    shelf = Shelf(Random(1), 0)
    assert shelf.handle(StoreRows(1, ONE), 5) == [Persist("shelf", ONE), RowsStored(1)]
    assert shelf.handle(StoreRows(2, TWO), 6) == [Persist("shelf", TWO), RowsStored(2)]
    assert shelf.deadline() is None
    assert shelf.statistics() == ShelfStatistics(2, 3)
    shelf.check()


def test_the_gate_lets_the_word_out_when_it_is_true():
    shelf, gate = Shelf(Random(1), 0), Gate(GateConfig())
    out = [*gate.admit("shelf", shelf.handle(StoreRows(1, ONE), 5))]
    out += gate.admit("shelf", shelf.handle(StoreRows(2, TWO), 5))
    assert out == [Store("shelf", 1, ONE), Store("shelf", 2, TWO)]
    assert gate.persisted(Persisted("shelf", 1)) == [RowsStored(1)]
    assert gate.persisted(Persisted("shelf", 2)) == [RowsStored(2)]
