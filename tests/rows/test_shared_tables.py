"""A table of shared rows: lives that retire, rows told bucket by bucket, what strangers do, and its invariants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import InvariantError
from covey.rows.op_log import op_bytes
from covey.rows.shared import BUCKETS, SharedTable, bucket_of, differing
from tests.rows.shared_words import (
    MANY,
    RANDOMS,
    A,
    B,
    F,
    K,
    history,
    life,
    reconcile,
    shape,
    tell,
    three,
)

# --- lives that are over --------------------------------------------------------------------------------------------


def test_a_life_that_retires_is_known_but_neither_compared_nor_told():
    a, b, c = three()
    tell(b, b.table.removals(K)[0], a, c)
    a.table.retire(A)
    a.table.check()
    assert (A in a.table.received.lives(), a.table.retired.intervals(A), a.table.log.has((*A, 1))) == (
        False, ((1, 1),), False
    )  # fmt: skip
    assert a.table.lacks([(*A, ((1, 1),))]) == []
    assert a.table.lacks([(*A, ((1, 3),))]) == [(A, 2, 3)]
    assert not a.table.apply((*A, 1), (K, None, b"born", (), ()))
    assert a.table.view() == {}
    c.table.retire(A)
    assert a.table.digest == c.table.digest != b.table.digest


def test_a_life_of_which_something_is_alive_does_not_retire():
    a, _, _ = three()
    assert a.table.has_alive(A)
    assert not a.table.has_alive(B)
    with pytest.raises(InvariantError, match="alive"):
        a.table.retire(A)


@pytest.mark.parametrize("how", ["an operation", "a comparison", "a word"])
def test_a_life_that_retired_comes_back_when_more_of_it_comes(how):
    a, b, c = three()
    tell(b, b.table.removals(K)[0], a, c)
    b.table.retire(A)
    tell(a, a.table.birth(b"more", b"value"))
    if how == "an operation":
        b.table.apply((*A, 2), (b"more", None, b"value", (), ()))
    elif how == "a comparison":
        reconcile(b.table, a.table)
    else:
        b.table.recall(A)
    b.fold()
    assert b.table.retired.lives() == []
    assert b.table.received.top(A) == (1 if how == "a word" else 2)
    assert b.table.has_alive(A) is (how != "a word")


def test_what_is_forgotten_is_not_known_any_more():
    a, b, c = three()
    tell(b, b.table.removals(K)[0], a, c)
    a.table.retire(A)
    a.table.forget(A)
    a.table.check()
    assert (A in a.table.context.lives(), a.table.retired.lives()) == (False, [])
    assert a.table.apply((*A, 1), (K, None, b"born", (), ()))  # the price: after that long it comes back
    a.table.forget(A)
    assert A in a.table.context.lives()  # not while anything of it is there
    a.table.check()


def test_a_life_is_not_forgotten_while_a_living_field_names_a_birth_of_it():
    """Found by reading: its dead birth was then one never heard of, so the field's value could not be replaced."""
    a, b, c = three()
    tell(b, b.table.birth(K, b"of b"), a, c)
    tell(c, c.table.write(K, F, b"to both"), a, b)
    tell(b, (K, None, None, ((*A, 1),), ()), a, c)
    b.table.retire(A)
    b.table.forget(A)
    b.fold()
    tell(b, b.table.write(K, F, b"new"))
    assert shape(b.table) == {K: ({(*B, 1): b"of b"}, {F: {(*B, 3): b"new"}})}
    b.table.forget(A)
    assert A not in b.table.context.lives()
    tell(b, b.table.removals(K)[0])
    assert len(b.table) == 0


# --- rows, bucket by bucket -----------------------------------------------------------------------------------------


@given(RANDOMS, st.integers(1, 700))
def test_a_bucket_told_in_parts_of_any_size_is_what_it_is_told_at_once(rng, size):
    table = SharedTable()
    for dot, op in history(rng, 60).items():
        table.apply(dot, op)
    for bucket in range(BUCKETS):
        whole, last = table.part(bucket, None, MANY)
        assert last
        assert whole == sorted(whole, key=lambda entry: (entry[0], entry[2]))
        told, cursor = [], None
        while True:
            part, last = table.part(bucket, cursor, size)
            told += part
            assert len(part) <= 1 or sum(op_bytes((e[0], e[1], e[4], e[3], ())) for e in part) <= size
            if last:
                break
            cursor = part[-1][0], part[-1][2]
        assert told == whole
        assert [entry[0] for entry in told] == [key for key in sorted(table.keys(bucket)) for _ in table.entries(key)]
        assert all(bucket_of(entry[0]) == bucket for entry in told)
    assert table.entries(b"nothing here") == []


def test_the_buckets_that_differ_are_found_by_their_sums():
    a, b, _ = three()
    assert differing(a.table.sums, b.table.bucket_sums()) == []
    tell(a, a.table.write(K, F, b""))
    assert differing(a.table.sums, b.table.bucket_sums()) == differing(b.table.sums, a.table.bucket_sums())
    assert differing(a.table.sums, b.table.bucket_sums()) == [bucket_of(K)]
    assert a.table.alive_digest == sum(a.table.sums) % 2**64


def test_keys_keep_their_bucket_for_ever():
    """Frozen: nodes of all versions compare by them."""
    assert [bucket_of(key) for key in (b"", b"key", b"k\xff" * 40)] == [91, 86, 228]
    a, b, _ = three()
    tell(a, a.table.write(K, F, b"value"), b)
    tell(b, b.table.birth(b"other", b""))
    assert (f"{b.table.alive_digest:x}", f"{b.table.received.digest:x}") == ("215b019a596c581a", "d1e1f02bced17008")


# --- check ----------------------------------------------------------------------------------------------------------


def not_known(table: SharedTable) -> None:
    table.context.drop(A)


def bad_sum(table: SharedTable) -> None:
    table.sums[0] ^= 1


def bad_count(table: SharedTable) -> None:
    table._alive[life(7)] = 1


def empty_row(table: SharedTable) -> None:
    table._rows[K].births.clear()
    table._rows[K].fields.clear()


def lost_key(table: SharedTable) -> None:
    table._buckets[bucket_of(K)].clear()


def one_key_more(table: SharedTable) -> None:
    table._buckets[bucket_of(b"more")][b"more"] = None


def retired_alive(table: SharedTable) -> None:
    table.retired.add((*A, 1))


def retired_received(table: SharedTable) -> None:
    table.retired.add((*B, 1))
    table.received.add((*B, 1))
    table.context.add((*B, 1))


def dead_field(table: SharedTable) -> None:
    table.kill(K, None, (*A, 1))


def forgets_who_waits(table: SharedTable) -> None:
    table.apply((*B, 1), (K, F, b"", ((*B, 9),), ()))
    table._awaited.clear()


def waits_for_what_is_known(table: SharedTable) -> None:
    table._awaited[*A, 1] = {K: None}


def waits_for_nothing(table: SharedTable) -> None:
    table._awaited[*B, 1] = {K: None}


def log_of_nobody(table: SharedTable) -> None:
    table.log.add(1, (*life(7), 1), (K, None, b"", (), ()))


BROKEN = [
    (not_known, "what is received is known"),
    (bad_sum, "the sums are those of what is alive"),
    (bad_count, "what is alive is counted"),
    (empty_row, "a row has something alive"),
    (lost_key, "a row is in its bucket"),
    (one_key_more, "every row is in one bucket"),
    (retired_alive, "nothing of a life that retired is alive"),
    (retired_received, "a life that retired is not compared"),
    (dead_field, "a field has a birth that may live"),
    (forgets_who_waits, "who waits for a birth is known"),
    (waits_for_what_is_known, "a birth that is awaited was never heard of"),
    (waits_for_nothing, "who waits names it"),
    (log_of_nobody, "what is in the log was received"),
]


@pytest.mark.parametrize("damage, law", BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_check_finds_each_broken_invariant_of_shared_rows(damage, law):
    a, _, _ = three()
    tell(a, a.table.write(K, F, b"value"))
    a.table.check()
    damage(a.table)
    with pytest.raises(InvariantError, match=law):
        a.table.check()


def test_check_finds_a_dot_that_is_alive_and_not_known():
    table = SharedTable()
    table.revive(K, None, (*A, 1), (), b"born")
    with pytest.raises(InvariantError, match="what is alive is known"):
        table.check()


def test_of_a_row_that_was_started_twice_one_birth_can_go():
    a, b, _ = three()
    theirs = b.table.birth(K, b"again")
    dot = tell(b, theirs, a)
    ((first, _),) = [birth for birth in a.table.view()[K].births if birth[0] != dot]
    assert a.table.removals(K, (first,)) == [(K, None, None, (first,), ())]
    tell(a, a.table.removals(K, (first,))[0], b)
    assert [row.births for row in (a.table.get(K), b.table.get(K)) if row is not None] == [((dot, b"again"),)] * 2
    assert a.table.removals(K, (first,)) == []
