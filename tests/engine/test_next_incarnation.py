"""Which life a site begins: later than any it has led, whatever its clock says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.ids import INCARNATION_MAX, Site
from covey.engine.lives import next_incarnation
from covey.protocols.membership.ledger import CLOCK, CLUSTER, REJOIN, VERDICT
from covey.protocols.membership.record import HOST, MEM, encode_key, encode_op
from covey.wire.messages.membership import Op

ANN, BOB = Site(b"a" * 16), Site(b"b" * 16)


def op(origin: Site, life: int, kind: int = MEM) -> Op:
    return Op(origin, kind, ANN, 1, life, 1 if kind == MEM else b"host:1", 0)


def log(*ops: Op, **beside: bytes) -> dict[str, dict[bytes, bytes]]:
    kept = {encode_key((op.kind, op.target)): encode_op(op) for op in ops}
    return {"membership": {**kept, **{key.encode(): value for key, value in beside.items()}}}


def test_a_fresh_site_begins_at_the_wall_clock():
    assert next_incarnation(0, {}, ANN, 1_700_000_000_000) == 1_700_000_000_000


def test_a_clock_that_went_back_does_not_bring_an_old_life_back():
    assert next_incarnation(500, {}, ANN, 3) == 501


def test_a_life_that_only_its_operations_tell_of_counts_too():
    assert next_incarnation(500, log(op(ANN, 600), op(ANN, 700, HOST)), ANN, 3) == 701


def test_the_lives_of_others_do_not_count():
    assert next_incarnation(500, log(op(BOB, 900)), ANN, 3) == 501


def test_what_a_site_said_of_itself_when_it_left_counts():
    assert next_incarnation(5, log(verdict=encode_op(op(ANN, 80))), ANN, 3) == 81


def test_what_stands_beside_the_operations_is_not_read_as_one():
    beside = {key.decode(): b"\xff" * 8 for key in (CLOCK, CLUSTER, REJOIN)}
    assert VERDICT.decode() not in beside
    assert next_incarnation(1, log(op(ANN, 4), **beside), ANN, 3) == 5


def test_there_is_a_last_life():
    assert next_incarnation(INCARNATION_MAX, {}, ANN, 3) == INCARNATION_MAX


def test_a_log_that_is_none_is_refused():
    with pytest.raises(ValueError):
        next_incarnation(1, {"membership": {b"\x00" + ANN: b"nonsense"}}, ANN, 3)


@given(st.integers(0, 2**50), st.integers(0, 2**50), st.lists(st.integers(0, 2**50), max_size=2))
def test_it_is_later_than_every_life_before_and_not_before_the_wall_clock(stored, wall_ms, lives):
    kinds = (MEM, HOST)
    life = next_incarnation(stored, log(*(op(ANN, life, kinds[at]) for at, life in enumerate(lives))), ANN, wall_ms)
    assert life == max([stored + 1, wall_ms, *(led + 1 for led in lives), 1])
