"""Shared rows: whatever came in which order, a table is what the operations say, and nothing comes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.ids import Dot, rank
from covey.core.rows import SharedRow
from covey.rows.op_log import Op
from covey.rows.shared import NAMES_MAX, SharedTable
from tests.rows.shared_words import (
    RANDOMS,
    A,
    B,
    C,
    F,
    K,
    Replica,
    alive,
    history,
    oracle,
    play,
    reconcile,
    shape,
    state,
    tell,
    three,
)

# --- any order ------------------------------------------------------------------------------------------------------


@given(RANDOMS, st.sampled_from([0, 5, 20, 60]), st.booleans())
def test_replicas_that_write_hear_and_reconcile_in_any_order_end_as_the_oracle_says(rng, steps, by_operations):
    play(rng, steps, by_operations)


@given(RANDOMS, st.sampled_from([5, 20, 60]))
def test_any_part_of_the_operations_in_any_order_and_however_often_leaves_what_the_oracle_says_of_that_part(rng, steps):
    ops = history(rng, steps)
    table, here = Replica(9), dict[Dot, Op]()
    for dot in rng.choices(list(ops), k=2 * len(ops)) if ops else []:
        assert table.table.apply(dot, ops[dot]) is (dot not in here)
        here[dot] = ops[dot]
        table.fold()
        assert shape(table.table) == oracle(here)
        assert table.table.log.has(dot)
    ordered = SharedTable()
    for dot in sorted(here):
        ordered.apply(dot, here[dot])
    assert (ordered.digest, ordered.received, alive(ordered)) == (
        table.table.digest, table.table.received, alive(table.table)
    )  # fmt: skip
    assert len(table.table) >= len(oracle(here))


# --- births, fields, removals ---------------------------------------------------------------------------------------


def test_a_row_has_the_value_it_was_started_with_and_what_its_fields_were_set_to():
    a, b, _ = three()
    tell(b, b.table.write(K, F, b"one"), a)
    tell(a, a.table.write(K, F, b"two"), b)
    tell(a, a.table.write(K, b"another", b""), b)
    for replica in (a, b):
        row = replica.table.get(K)
        assert row is not None
        assert (row.value, row.get(F), row.get(b"another"), row.get(b"none")) == (b"born", b"two", b"", None)
        assert row == SharedRow((((*A, 1), b"born"),), ((b"another", (((*A, 3), b""),)), (F, (((*A, 2), b"two"),))))
    assert (a.table.get(b"other"), a.table.write(b"other", F, b""), a.table.removals(b"other")) == (None, None, [])


def test_nothing_that_was_removed_comes_back_by_what_comes_late():
    a, b, c = three()
    late = [b.do(b.table.write(K, F, b"late"))]
    tell(a, a.table.removals(K)[0], b, c)
    assert (a.table.view(), b.table.view()) == ({}, {})
    late += [((*A, 1), a.table.birth(K, b"born"))]
    for replica in (a, c):
        for done in late:
            assert done is not None
            replica.table.apply(*done)
            replica.fold()
            assert (replica.table.view(), alive(replica.table), len(replica.table)) == ({}, {}, 0)


def test_a_removal_that_comes_before_the_birth_wins():
    born, gone = ((*A, 1), (K, None, b"born", (), ())), ((*B, 1), (K, None, None, ((*A, 1),), ()))
    replica = Replica(3)
    assert replica.table.apply(*gone)
    assert (*A, 1) in replica.table.context
    assert (*A, 1) not in replica.table.received
    assert replica.table.apply(*born)  # it had not been received, though it was known
    replica.fold()
    assert (replica.table.view(), (*A, 1) in replica.table.received) == ({}, True)


def test_a_row_that_is_started_again_at_the_same_time_survives_with_what_is_written_to_it():
    a, b, _ = three()
    again = b.do(b.table.birth(K, b"again"))
    field = b.do(b.table.write(K, F, b"to both"))
    gone = a.do(a.table.removals(K)[0])
    for first in (again, field, gone):
        for second in (again, field, gone):
            for third in (again, field, gone):
                replica = Replica(4)
                replica.table.apply((*A, 1), (K, None, b"born", (), ()))
                for done in (first, second, third, again, field, gone):
                    assert done is not None
                    replica.table.apply(*done)
                    replica.fold()
                assert shape(replica.table) == {K: ({(*B, 1): b"again"}, {F: {(*B, 2): b"to both"}})}


def test_a_field_that_was_written_to_what_was_removed_goes_and_one_written_to_what_came_after_stays():
    a, b, _ = three()
    tell(b, b.table.write(K, F, b"old"), a)
    tell(a, a.table.removals(K)[0])
    tell(a, a.table.birth(K, b"again"), b)
    tell(a, a.table.write(K, b"g", b"new"), b)
    assert b.table.apply((*A, 2), (K, None, None, ((*A, 1),), ()))
    b.fold()
    for replica in (a, b):
        assert shape(replica.table) == {K: ({(*A, 3): b"again"}, {b"g": {(*A, 4): b"new"}})}


def test_a_field_that_names_a_birth_nobody_has_heard_of_waits_for_it():
    replica = Replica(3)
    assert replica.table.apply((*B, 1), (K, F, b"early", ((*A, 1),), ()))
    replica.fold()
    assert (replica.table.view(), len(replica.table), alive(replica.table)) == ({}, 1, {(*B, 1): b"early"})
    assert replica.table.write(K, F, b"mine") is None
    assert replica.table.removals(K) == []
    replica.table.apply((*A, 1), (K, None, b"born", (), ()))
    replica.fold()
    assert shape(replica.table) == {K: ({(*A, 1): b"born"}, {F: {(*B, 1): b"early"}})}


@pytest.mark.parametrize("known", ["a removal", "a comparison"])
def test_a_field_that_waits_goes_once_its_birth_is_known_to_be_dead(known):
    replica, other = Replica(3), Replica(1)
    replica.table.apply((*B, 1), (K, F, b"early", ((*A, 1),), ()))
    tell(other, other.table.birth(K, b"born"))
    tell(other, other.table.removals(K)[0])
    if known == "a removal":
        replica.table.apply((*A, 2), (K, None, None, ((*A, 1),), ()))
    else:
        reconcile(replica.table, other.table)
    replica.fold()
    assert (len(replica.table), alive(replica.table)) == (0, {})
    assert (*A, 1) in replica.table.context


def test_values_that_know_nothing_of_each_other_stand_side_by_side_in_order_of_rank_till_one_replaces_both():
    a, b, c = three()
    one, other = a.do(a.table.write(K, F, b"of a")), b.do(b.table.write(K, F, b"of b"))
    for done in (one, other):
        assert done is not None
        c.table.apply(*done)
        c.fold()
    row = c.table.get(K)
    assert row is not None
    assert row.fields == ((F, (((*B, 1), b"of b"), ((*A, 2), b"of a"))),)
    assert row.get(F) == b"of a"  # the higher number counts
    assert [dot for dot, _ in row.fields[0][1]] == sorted([(*A, 2), (*B, 1)], key=rank)
    tell(c, c.table.write(K, F, b"of c"))
    row = c.table.get(K)
    assert row is not None
    assert row.fields == ((F, (((*C, 1), b"of c"),)),)


def test_a_write_replaces_only_what_it_saw():
    a, b, c = three()
    unseen = a.do(a.table.write(K, F, b"of a"))
    tell(b, b.table.write(K, F, b"of b"), c)
    assert unseen is not None
    c.table.apply(*unseen)
    c.fold()
    assert shape(c.table)[K][1] == {F: {(*A, 2): b"of a", (*B, 1): b"of b"}}


def test_a_value_written_to_a_birth_that_was_never_heard_of_is_not_replaced():
    """Its birth may be there for others; where it is, the value that replaced it would count for nothing."""
    a, _, c = three()
    waits: tuple[Dot, Op] = ((*B, 1), (K, F, b"waits", ((*B, 9),), ()))
    c.table.apply(*waits)
    op = c.table.write(K, F, b"of c")
    assert op == (K, F, b"of c", ((*A, 1),), ())
    both = ((*B, 2), (K, b"g", b"to both", ((*A, 1), (*B, 9)), ()))
    c.table.apply(*both)
    assert c.table.write(K, b"g", b"of c") == (K, b"g", b"of c", ((*A, 1),), ())
    c.table.apply((*B, 9), (K, None, b"again", (), ()))
    assert c.table.write(K, b"g", b"of c") == (K, b"g", b"of c", ((*A, 1), (*B, 9)), ((*B, 2),))
    c.fold()
    assert a.table.get(K) != c.table.get(K)


def test_a_row_that_was_started_very_often_is_removed_by_several_operations_and_written_to_its_latest():
    replica = Replica(1)
    count = NAMES_MAX + 3
    for number in range(count):
        tell(replica, replica.table.birth(K, b"%d" % number))
    op = replica.table.write(K, F, b"value")
    assert op is not None
    assert op[3] == tuple((*A, number) for number in range(4, count + 1))
    ops = replica.table.removals(K)
    assert [len(op[3]) for op in ops] == [NAMES_MAX, 3]
    for removal in ops:
        tell(replica, removal)
    assert (replica.table.view(), len(replica.table)) == ({}, 0)


def test_an_operation_counts_once():
    a, _, _ = three()
    before = state(a.table), a.table.version
    assert not a.table.apply((*A, 1), (K, None, b"other", (), ()))
    assert (state(a.table), a.table.version, a.table.changes()) == (before[0], before[1], [])


def test_what_changes_back_before_it_is_asked_for_is_no_change():
    a, _, _ = three()
    for op in (a.table.birth(b"new", b""), a.table.write(K, F, b"")):
        assert a.do(op) is not None
    assert [key for key, _ in a.table.changes()] == [b"new", K]
    a.do(a.table.birth(b"short", b""))
    a.do(a.table.removals(b"short")[0])
    assert a.table.changes() == []
