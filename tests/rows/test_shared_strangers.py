"""What no member does to shared rows: operations and entries that name anything at all."""

from __future__ import annotations

from random import Random

from hypothesis import given

from covey.core.ids import Dot
from covey.rows.op_log import Op
from covey.rows.reconciling import Reconciliation
from covey.rows.shared import bucket_of
from tests.rows.shared_words import RANDOMS, A, B, F, K, Replica, alive, reconcile, shape, tell, three


def test_a_field_that_names_no_birth_or_dead_ones_never_lives():
    a, _, _ = three()
    a.table.apply((*B, 1), (K, F, b"", (), ()))
    tell(a, a.table.removals(K)[0])
    a.table.apply((*B, 2), (K, F, b"", ((*A, 1), (*A, 1)), ()))
    a.fold()
    assert (len(a.table), alive(a.table)) == (0, {})
    assert all((*B, number) in a.table.received for number in (1, 2))


def test_dots_that_are_named_twice_or_stand_for_other_things_do_no_harm():
    a, _, _ = three()
    tell(a, a.table.write(K, F, b"value"))
    a.table.apply((*B, 1), (K, F, b"b", ((*A, 1), (*A, 1)), ((*A, 2), (*A, 2), (*A, 1))))
    a.fold()
    assert shape(a.table) == {K: ({(*A, 1): b"born"}, {F: {(*B, 1): b"b"}})}
    a.table.apply((*B, 2), (K, None, None, ((*A, 2), (*B, 1), (*B, 2)), ()))  # fields and itself: no births
    a.table.apply((*B, 3), (b"other", None, None, ((*A, 1),), ()))  # a birth of another row
    a.table.apply((*B, 4), (K, None, b"names itself", (), ()))
    a.fold()
    assert set(shape(a.table)[K][0]) == {(*A, 1), (*B, 4)}
    a.table.apply((*B, 5), (K, None, None, ((*A, 1), (*A, 1), (*B, 4)), ()))
    a.fold()
    assert len(a.table) == 0


def strange_ops(rng: Random) -> list[tuple[Dot, Op]]:
    """Operations that name any dots at all, of whatever rows."""

    def dot() -> Dot:
        return (*rng.choice((A, B)), rng.randint(1, 6))

    def names() -> tuple[Dot, ...]:
        return tuple(dot() for _ in range(rng.randint(1, 3)))

    ops: list[tuple[Dot, Op]] = []
    for _ in range(12):
        key, what = rng.choice((K, b"other")), rng.random()
        if what < 0.3:
            op: Op = (key, None, b"", (), ())
        elif what < 0.5:
            op = (key, None, None, names(), ())
        else:
            op = (key, rng.choice((F, b"g")), b"", names(), names() if rng.random() < 0.5 else ())
        ops.append((dot(), op))
    return ops


@given(RANDOMS)
def test_whatever_dots_operations_name_the_invariants_hold_and_nothing_is_left_that_waits_for_what_is_known(rng):
    """Found by reading: a field that waited for a birth of another row stayed hidden for ever."""
    one, other = Replica(3), Replica(4)
    for dot, op in strange_ops(rng):
        for replica in rng.sample((one, other), rng.randint(1, 2)):
            replica.table.apply(dot, op)
            replica.fold()
    reconcile(one.table, other.table)
    one.fold()


def test_an_entry_is_a_birth_without_births_whatever_it_says():
    """Else its hash would differ from that of the same birth elsewhere, and be compared for ever."""
    a, b, c = three()
    tell(b, b.table.birth(b"more", b""), c)
    made = Reconciliation(a.table)
    made.begin(b.table.bucket_sums(), (), ())
    bucket = bucket_of(b"more")
    assert made.take(bucket, None, [(b"more", None, (*B, 1), ((*A, 1),), b"")], True)
    made.finish()
    a.fold()
    assert a.table.sums == c.table.sums
