"""One table made to know all that another one knows: what comes at once, what goes at the end, and what is refused."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.ids import Dot
from covey.rows.op_log import Op
from covey.rows.reconciling import Reconciliation
from covey.rows.shared import Entry, Place, SharedTable, bucket_of
from tests.rows.shared_words import (
    MANY,
    RANDOMS,
    A,
    B,
    C,
    F,
    K,
    Replica,
    alive,
    history,
    life,
    oracle,
    reconcile,
    shape,
    state,
    tell,
    three,
)

BUCKET = bucket_of(K)


def begun(table: SharedTable, other: SharedTable) -> Reconciliation:
    made = Reconciliation(table)
    assert not made.begun
    made.begin(other.bucket_sums(), other.received.told(), other.context.told())
    assert made.begun
    return made


def applied(ops: dict[Dot, Op]) -> SharedTable:
    table = SharedTable()
    for dot, op in ops.items():
        table.apply(dot, op)
    return table


@given(RANDOMS, st.sampled_from([1, 400, MANY]))
def test_afterwards_a_table_has_and_shows_what_both_did_and_a_second_pass_finds_nothing(rng, size):
    ops = history(rng, 60)
    one, other = ({dot: op for dot, op in ops.items() if rng.random() < 0.6} for _ in range(2))
    table, told = applied(one), applied(other)
    shown, before = table.view(), state(told)
    table.changes()
    reconcile(table, told, size)
    table.check()
    assert (shape(table), state(told)) == (oracle({**one, **other}), before)
    assert table.received == applied({**one, **other}).received
    assert table.digest == applied({**one, **other}).digest
    for key, row in table.changes():
        assert shown.get(key) != row
        shown = {held: kept for held, kept in shown.items() if held != key} | ({} if row is None else {key: row})
    assert shown == table.view()
    assert reconcile(table, applied({**one, **other})) == 0


@given(RANDOMS, st.integers(0, 40))
def test_a_pass_that_is_given_up_leaves_adds_only(rng, parts):
    ops = history(rng, 60)
    one, other = ({dot: op for dot, op in ops.items() if rng.random() < 0.6} for _ in range(2))
    table, told = applied(one), applied(other)
    before, received = alive(table), table.received.told()
    made = begun(table, told)
    for _ in range(parts):
        if (wanted := made.wanted) is not None:
            assert made.take(*wanted, *told.part(*wanted, 1))
    made.abandon()
    assert table.witness is None
    after = alive(table)
    assert {dot: after.get(dot) for dot in before} == before
    assert all(alive(told)[dot] == after[dot] for dot in after if dot not in before)
    assert table.received.told() == received
    table.check()
    for dot, op in other.items():
        table.apply(dot, op)
    assert shape(table) == oracle({**one, **other})


def test_what_the_other_removed_goes_at_the_end_and_what_it_never_knew_stays():
    a, b, c = three()
    tell(a, a.table.birth(b"other", b""), b)
    tell(b, b.table.removals(K)[0])
    tell(a, a.table.write(b"other", F, b"of a alone"))
    made = begun(a.table, b.table)
    while (wanted := made.wanted) is not None:
        assert made.take(*wanted, *b.table.part(*wanted, MANY))
        assert K in a.table.view()
    made.finish()
    a.fold()
    assert list(a.table.view()) == [b"other"]
    assert shape(a.table)[b"other"][1] == {F: {(*A, 3): b"of a alone"}}
    assert a.table.log.run(B, 1, 1, MANY) == []  # it has the outcome, and not the operation
    assert (*B, 1) in a.table.received
    assert c.table.view() != {}


def test_fields_go_with_the_births_that_a_pass_takes_away():
    a, b, _ = three()
    field = tell(a, a.table.write(K, F, b"unknown to b"))
    tell(b, b.table.removals(K)[0])
    reconcile(a.table, b.table)
    a.fold()
    assert (alive(a.table), field in a.table.context) == ({}, True)


@pytest.mark.parametrize("when", ["before it began", "before its bucket was told", "afterwards", "in an equal bucket"])
@pytest.mark.parametrize("removed", [True, False])
def test_a_dot_that_comes_from_a_third_one_meanwhile_is_judged_as_if_it_had_been_here_all_the_time(when, removed):
    """Where the other one knows of it and does not tell it, it has removed it; else it stays, also if it comes late."""
    a, b, c = (Replica(number) for number in (1, 2, 3))
    key = b"elsewhere" if when == "in an equal bucket" else K
    tell(b, b.table.birth(K, b"of b"))
    born = tell(c, c.table.birth(key, b"of c"), b) if removed else tell(c, c.table.birth(key, b"of c"))
    if removed:
        b.do((key, None, None, (born,), ()))
    op = (key, None, b"of c", (), ())
    made = Reconciliation(a.table)
    if when == "before it began":
        a.table.apply(born, op)
    made.begin(b.table.bucket_sums(), b.table.received.told(), b.table.context.told())
    if when == "before its bucket was told":
        a.table.apply(born, op)
    while (wanted := made.wanted) is not None:
        assert made.take(*wanted, *b.table.part(*wanted, MANY))
        if when == "afterwards":
            a.table.apply(born, op)
    if when == "in an equal bucket":
        a.table.apply(born, op)
    a.fold()
    made.finish()
    a.fold()
    assert (born in alive(a.table)) is not removed
    assert born in a.table.context


def test_a_dot_behind_the_cursor_was_compared_and_one_before_it_is_still_to_come():
    """Big rows are told in parts: what comes meanwhile lies on one side of the cursor or on the other."""
    a, b, c = (Replica(number) for number in (1, 2, 3))
    dots = [tell(c, c.table.birth(K, b"%d" % number), b) for number in range(4)]
    tell(b, b.table.birth(K, b"of b"))
    b.do((K, None, None, (dots[0], dots[3]), ()))
    made = begun(a.table, b.table)
    assert made.take(BUCKET, None, *b.table.part(BUCKET, None, 1))
    assert made.wanted == (BUCKET, (K, (*B, 1)))
    assert made.take(BUCKET, (K, (*B, 1)), *b.table.part(BUCKET, (K, (*B, 1)), 1))
    assert made.wanted == (BUCKET, (K, dots[1]))
    for dot, value in ((dots[0], b"0"), (dots[3], b"3")):  # behind the cursor, and ahead of it
        assert a.table.apply(dot, (K, None, value, (), ()))
    while (wanted := made.wanted) is not None:
        assert made.take(*wanted, *b.table.part(*wanted, 1))
    made.finish()
    a.fold()
    assert sorted(alive(a.table)) == sorted(alive(b.table)) == [(*B, 1), dots[1], dots[2]]


def test_what_the_other_one_learns_while_its_rows_are_told_is_not_claimed():
    a, b, _ = three()
    tell(b, b.table.write(K, F, b"one"))
    made = begun(a.table, b.table)
    later = tell(b, b.table.write(K, b"g", b"later"))
    while (wanted := made.wanted) is not None:
        assert made.take(*wanted, *b.table.part(*wanted, MANY))
    made.finish()
    a.fold()
    assert a.table.get(K) == b.table.get(K)  # it was told
    assert (later in a.table.context, later in a.table.received) == (True, False)  # and will be asked for
    assert a.table.lacks(b.table.received.told()) == [(B, 2, 2)]


def test_a_table_of_many_rows_comes_in_parts_bucket_by_bucket():
    rng = Random("many rows")
    a, b = Replica(1), Replica(2)
    for number in range(600):
        b.do(b.table.birth(b"%d" % rng.randrange(300), bytes(rng.randrange(60))))
        if number % 3 == 0:
            b.do(b.table.write(b"%d" % number, F, b"x" * 50) or b.table.birth(b"%d" % number, b""))
    b.fold()
    parts = reconcile(a.table, b.table, 300)
    a.fold()
    assert parts > 256 > 200 < len(b.table._rows)
    assert a.table.view() == b.table.view()
    assert (a.table.digest, a.table.received) == (b.table.digest, b.table.received)


# --- what is refused ------------------------------------------------------------------------------------------------

OTHER = next(b"%d" % at for at in range(10**6) if bucket_of(b"%d" % at) == BUCKET)
KEYS = sorted([K, OTHER])


def entry(key: bytes, number: int, value: bytes = b"") -> Entry:
    return key, None, (*C, number), (), value


def place(key: bytes, number: int) -> Place:
    return key, (*C, number)


REFUSED: dict[str, tuple[int, Any, list[Entry], bool]] = {
    "another bucket": ((BUCKET + 1) % 256, place(KEYS[0], 5), [], True),
    "another cursor": (BUCKET, place(KEYS[0], 4), [], True),
    "from the beginning": (BUCKET, None, [], True),
    "nothing, and not the last": (BUCKET, place(KEYS[0], 5), [], False),
    "behind the cursor": (BUCKET, place(KEYS[0], 5), [entry(KEYS[0], 4)], True),
    "at the cursor": (BUCKET, place(KEYS[0], 5), [entry(KEYS[0], 5)], True),
    "keys out of order": (BUCKET, place(KEYS[0], 5), [entry(KEYS[1], 1), entry(KEYS[0], 6)], True),
    "dots out of order": (BUCKET, place(KEYS[0], 5), [entry(KEYS[0], 7), entry(KEYS[0], 6)], True),
    "the same twice": (BUCKET, place(KEYS[0], 5), [entry(KEYS[0], 6), entry(KEYS[0], 6)], False),
    "a key of another bucket": (BUCKET, place(KEYS[0], 5), [entry(KEYS[0], 6), entry(b"zzz", 6)], True),
}


@pytest.mark.parametrize("what", REFUSED)
def test_entries_that_are_not_what_is_wanted_next_are_refused_and_change_nothing(what):
    a, b, _ = three()
    tell(b, b.table.birth(KEYS[1], b""))
    made = begun(a.table, b.table)
    assert made.wanted == (BUCKET, None)
    assert made.take(BUCKET, None, [entry(KEYS[0], 5)], False)
    before = state(a.table), made.wanted
    assert not made.take(*REFUSED[what])
    assert (state(a.table), made.wanted) == before
    assert made.take(BUCKET, place(KEYS[0], 5), [entry(KEYS[0], 6), entry(KEYS[1], 1)], True)
    assert made.wanted is None
    assert not made.take(BUCKET, None, [], True)
    made.finish()
    assert {life(3)} <= {dot[:2] for dot in alive(a.table)}
    a.table.check()


def test_entries_that_are_known_already_do_not_come_to_life():
    a, b, _ = three()
    tell(a, a.table.removals(K)[0])
    tell(b, b.table.write(K, F, b"to what was removed"))
    made = begun(a.table, b.table)
    assert made.take(BUCKET, None, *b.table.part(BUCKET, None, MANY))
    made.finish()
    a.fold()
    assert (alive(a.table), (*B, 1) in a.table.received) == ({}, True)


def test_what_waits_for_two_births_that_come_together_stays():
    """A field was here before the births that it names; neither is judged before both live."""
    teller = SharedTable()
    site = life(1)[0]
    first, second, field = (site, 1, 1), (site, 1, 2), (site, 1, 3)
    for dot in (first, second):
        teller.apply(dot, teller.birth(K, b"v"))
    op = (K, b"f", b"w", (second,), ())
    other = (K, b"g", b"w", (first,), ())
    taker = SharedTable()
    for dot, written in ((field, op), ((site, 1, 4), other)):
        teller.apply(dot, written)
        taker.apply(dot, written)
    assert taker.view() == {}
    reconcile(taker, teller, 1 << 20)
    taker.check()
    assert taker.view() == teller.view()
    assert taker.digest == teller.digest
