"""Bugs put into shared rows on purpose: the plays of random replicas find each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

import pytest

from covey.core.errors import InvariantError
from covey.core.ids import Dot, Origin
from covey.rows.dots import DotSet, Told
from covey.rows.op_log import Op
from covey.rows.reconciling import Reconciliation
from covey.rows.shared import Entry, Place, SharedTable
from tests.rows.shared_words import play

SEEDS_MAX = 300
STEPS = (20, 60, 120)


def seeds() -> Iterable[tuple[Random, int, bool]]:
    for seed in range(SEEDS_MAX):
        yield Random(f"shared rows {seed}"), STEPS[seed % 3], seed % 2 == 0


def test_without_a_bug_none_of_these_seeds_finds_anything_and_they_go_through_whole_passes():
    passes = sum(play(*arguments).passes for arguments in list(seeds())[:60])
    assert passes > 60


apply, revive, take, begin = SharedTable.apply, SharedTable.revive, Reconciliation.take, Reconciliation.begin


def one_set_for_what_is_received_and_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def both(self: SharedTable, dot: Dot, op: Op) -> bool:
        done = apply(self, dot, op)
        self.received.update(self.context)
        return done

    monkeypatch.setattr(SharedTable, "apply", both)


def sets_are_rounded_up_to_their_highest_number(monkeypatch: pytest.MonkeyPatch) -> None:
    add_run = DotSet.add_run

    def bare(self: DotSet, life: Origin, first: int, last: int) -> None:
        add_run(self, life, 1, last)

    monkeypatch.setattr(DotSet, "add_run", bare)


def what_the_other_received_is_adopted_when_a_pass_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    def early(self: Reconciliation, sums: bytes, received: tuple[Told, ...], context: tuple[Told, ...]) -> None:
        begin(self, sums, received, context)
        self._table.join(received, ())

    monkeypatch.setattr(Reconciliation, "begin", early)


def what_the_other_knows_is_adopted_when_a_pass_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    def early(self: Reconciliation, sums: bytes, received: tuple[Told, ...], context: tuple[Told, ...]) -> None:
        begin(self, sums, received, context)
        self._table.context.update(DotSet(context))

    monkeypatch.setattr(Reconciliation, "begin", early)


def removals_are_done_at_once_and_not_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(self: Reconciliation, bucket: int, cursor: Place | None, entries: Sequence[Entry], last: bool) -> bool:
        taken = take(self, bucket, cursor, entries, last)
        for dot, (key, field) in self._doomed.items():
            self._table.kill(key, field, dot)
            self._table.sweep(key)
        return taken

    monkeypatch.setattr(Reconciliation, "take", hasty)


def what_comes_from_a_third_one_during_a_pass_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reconciliation, "added", lambda self, key, field, bucket, dot: None)


def whatever_the_other_does_not_tell_was_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Everything(DotSet):
        __slots__ = ()

        def __contains__(self, dot: Dot) -> bool:
            return True

    def sure(self: Reconciliation, sums: bytes, received: tuple[Told, ...], context: tuple[Told, ...]) -> None:
        begin(self, sums, received, context)
        self._known = Everything()

    monkeypatch.setattr(Reconciliation, "begin", sure)


def a_removal_is_forgotten_of_what_was_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(self: SharedTable, dot: Dot, op: Op) -> bool:
        key, field, value, births, replaced = op
        if value is None:
            births = tuple(birth for birth in births if birth in self.context)
        return apply(self, dot, (key, field, value, births, replaced))

    monkeypatch.setattr(SharedTable, "apply", forgetful)


def a_removal_takes_the_whole_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(self: SharedTable, dot: Dot, op: Op) -> bool:
        key, field, value, births, replaced = op
        if value is None and key in self._rows:
            births = (*births, *self._rows[key].births)
        return apply(self, dot, (key, field, value, births, replaced))

    monkeypatch.setattr(SharedTable, "apply", greedy)


def an_update_starts_its_row_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def reviving(self: SharedTable, dot: Dot, op: Op) -> bool:
        done = apply(self, dot, op)
        if done and op[1] is not None and not self._rows.get(op[0]):
            self.revive(op[0], None, dot, (), b"")
        return done

    monkeypatch.setattr(SharedTable, "apply", reviving)


def a_write_replaces_all_that_is_there_when_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(self: SharedTable, dot: Dot, op: Op) -> bool:
        key, field, value, births, replaced = op
        row = self._rows.get(key)
        if field is not None and row is not None:
            replaced = (*replaced, *row.fields.get(field, ()))
        return apply(self, dot, (key, field, value, births, replaced))

    monkeypatch.setattr(SharedTable, "apply", blind)


def fields_outlive_their_births(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SharedTable, "sweep", lambda self, key: None)


def a_field_without_its_birth_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def impatient(self: SharedTable, key: bytes, field: bytes | None, dot: Dot, births: Any, value: bytes) -> None:
        row = self._rows.get(key)
        if field is None or (row is not None and any(birth in row.births for birth in births)):
            revive(self, key, field, dot, births, value)

    monkeypatch.setattr(SharedTable, "revive", impatient)


def who_waits_is_not_looked_at_when_tables_join(monkeypatch: pytest.MonkeyPatch) -> None:
    join = SharedTable.join

    def sloppy(self: SharedTable, received: Iterable[Told], context: Iterable[Told]) -> None:
        awaited, self._awaited = self._awaited, {}
        join(self, received, context)
        self._awaited = awaited

    monkeypatch.setattr(SharedTable, "join", sloppy)


def a_part_forgets_where_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    part = SharedTable.part

    def skipping(self: SharedTable, bucket: int, cursor: Place | None, size: int) -> tuple[list[Entry], bool]:
        entries, _ = part(self, bucket, cursor, size)
        return entries, True

    monkeypatch.setattr(SharedTable, "part", skipping)


PLANT: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    bug.__name__: bug
    for bug in (
        one_set_for_what_is_received_and_what_is_known,
        sets_are_rounded_up_to_their_highest_number,
        what_the_other_received_is_adopted_when_a_pass_begins,
        what_the_other_knows_is_adopted_when_a_pass_begins,
        removals_are_done_at_once_and_not_at_the_end,
        what_comes_from_a_third_one_during_a_pass_is_not_judged,
        whatever_the_other_does_not_tell_was_removed,
        a_removal_is_forgotten_of_what_was_not_here,
        a_removal_takes_the_whole_row,
        an_update_starts_its_row_again,
        a_write_replaces_all_that_is_there_when_it_comes,
        fields_outlive_their_births,
        a_field_without_its_birth_is_thrown_away,
        who_waits_is_not_looked_at_when_tables_join,
        a_part_forgets_where_it_ended,
    )
}


@pytest.mark.parametrize("bug", PLANT)
def test_a_play_finds_the_planted_bug(bug, monkeypatch):
    PLANT[bug](monkeypatch)
    for arguments in seeds():
        try:
            play(*arguments)
        except (AssertionError, InvariantError):
            return
    pytest.fail(f"{SEEDS_MAX} plays do not notice: {bug.replace('_', ' ')}")
