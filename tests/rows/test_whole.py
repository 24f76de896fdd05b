"""A table told whole, in pieces that stand for themselves (`rows/whole`), to a table in whatever state."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from covey.core.ids import Site
from covey.rows import whole
from covey.rows.dots import DotSet
from covey.rows.reconciling import bring_to_life
from covey.rows.shared import BUCKETS, SharedTable

A, B = (Site(b"a" * 16), 1), (Site(b"b" * 16), 1)


def tell(teller: SharedTable, taker: SharedTable, rng: Random | None = None, lost: float = 0.0) -> None:
    """All that one table knows, to another; with an rng the pieces come in any order and some are lost."""
    entries = [entry for bucket in range(BUCKETS) for entry in teller.part(bucket, None, 1 << 30)[0]]
    dead = list(whole.dead_of(teller, whole.alive_of(teller), 2))
    steps: list[Any] = [lambda entry=entry: bring_to_life(taker, [entry]) for entry in entries]
    steps += [lambda piece=piece: whole.bury(taker, piece, whole.alive_of(taker)) for piece in dead]
    if rng is not None:
        rng.shuffle(steps)
        steps = [step for step in steps if rng.random() >= lost]
    for step in steps:
        step()
        taker.check()
    if rng is None:
        whole.receive(taker, (*teller.received.told(), *teller.retired.told()))
        taker.check()


def put(one: SharedTable, number: int, value: bytes) -> None:
    op = one.write(b"k", b"f", value)
    assert op is not None
    one.apply((*A, number), op)


def table(*operations: Any) -> SharedTable:
    made = SharedTable()
    for dot, op in operations:
        made.apply(dot, op)
    return made


def test_an_empty_table_learns_all_and_has_received_all():
    teller = SharedTable()
    teller.apply((*A, 1), teller.birth(b"k", b"v"))
    put(teller, 2, b"1")
    put(teller, 3, b"2")
    taker = SharedTable()
    tell(teller, taker)
    assert taker.view() == teller.view()
    assert taker.received == teller.received
    assert taker.digest == teller.digest


def test_an_empty_teller_removes_nothing():
    taker = SharedTable()
    taker.apply((*A, 1), taker.birth(b"k", b"v"))
    before = taker.view()
    tell(SharedTable(), taker)
    assert taker.view() == before


def test_a_removal_is_learned_where_the_birth_was_known_and_where_it_was_not():
    teller = SharedTable()
    birth = teller.birth(b"k", b"v")
    teller.apply((*A, 1), birth)
    (removal,) = teller.removals(b"k")
    teller.apply((*A, 2), removal)
    knew, did_not = table(((*A, 1), birth)), SharedTable()
    for taker in (knew, did_not):
        tell(teller, taker)
        assert taker.view() == {}
        taker.apply((*A, 1), birth)  # the operation itself comes late
        assert taker.view() == {}


def test_what_was_told_before_a_removal_and_comes_after_it_brings_nothing_back():
    old, now = SharedTable(), SharedTable()
    for one in (old, now):
        one.apply((*A, 1), one.birth(b"k", b"v"))
    (removal,) = now.removals(b"k")
    now.apply((*B, 1), removal)
    tell(old, now)
    assert now.view() == {}


def test_what_is_not_mentioned_and_not_known_there_stays():
    teller, taker = SharedTable(), SharedTable()
    teller.apply((*A, 1), teller.birth(b"k", b"v"))
    taker.apply((*B, 1), taker.birth(b"k", b"w"))
    tell(teller, taker)
    assert [value for _, value in taker.view()[b"k"].births] == [b"v", b"w"]


def test_what_is_alive_there_and_never_came_is_not_taken_for_received():
    teller = SharedTable()
    teller.apply((*A, 1), teller.birth(b"k", b"v"))
    taker = SharedTable()
    whole.receive(taker, teller.received.told())  # the rows were lost
    assert (*A, 1) not in taker.received
    taker.apply((*A, 1), teller.birth(b"k", b"v"))
    assert taker.view() == teller.view()


@pytest.mark.parametrize("seed", range(40))
def test_tables_told_to_each_other_with_losses_end_alike(seed):
    """Three tables are changed at random; pieces get lost and turned round; a last round without losses makes them
    alike, and alike to a table that had every operation."""
    rng = Random(seed)
    tables = [SharedTable() for _ in range(3)]
    lives = [(Site(bytes([number]) * 16), 1) for number in range(3)]
    numbers = [0, 0, 0]
    done = []
    for _ in range(60):
        at = rng.randrange(3)
        mine, key = tables[at], b"k%d" % rng.randrange(4)
        ops = rng.choice(
            [
                lambda mine=mine, key=key: [mine.birth(key, b"%d" % rng.randrange(100))],
                lambda mine=mine, key=key: mine.removals(key),
                lambda mine=mine, key=key: [op for op in [mine.write(key, b"f", b"%d" % rng.randrange(99))] if op],
            ]
        )()
        for op in ops:
            numbers[at] += 1
            dot = (*lives[at], numbers[at])
            done.append((dot, op))
            mine.apply(dot, op)
            other = tables[rng.randrange(3)]
            if rng.random() < 0.5:
                other.apply(dot, op)
                other.check()
        if rng.random() < 0.4:
            teller, taker = rng.sample(tables, 2)
            tell(teller, taker, rng, 0.3)
    for _ in range(2):
        for teller in tables:
            for taker in tables:
                if teller is not taker:
                    tell(teller, taker)
    oracle = table(*done)
    assert [one.view() for one in tables] == [oracle.view()] * 3
    assert [one.received for one in tables] == [oracle.received] * 3


def test_many_dots_are_the_same_as_one_by_one():
    rng = Random(1)
    dots = [(*rng.choice((A, B)), rng.randrange(1, 200)) for _ in range(300)]
    one, many = DotSet(), DotSet()
    for dot in dots:
        one.add(dot)
    many.add_many(dots[:100])
    many.add_many(dots[100:])
    many.check()
    assert one == many
    assert one.digest == many.digest
    assert many.intervals(A) == one.intervals(A)
    assert DotSet(many.told()) == many
