"""Tables that are kept on disk: whatever piece was the last, what is found tells nothing false, and all end alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import InvariantError
from covey.core.vocabulary import Record
from covey.rows.dots import DotSet
from covey.rows.keeping import UNWRITTEN_MIN, Keeping
from covey.rows.shared import SharedTable
from covey.rows.stored import CONTEXT, RECEIVED, ROW, context_record, read
from tests.rows.kept_words import INSTANCE, Log, found, kept_play, write, write_all
from tests.rows.shared_words import RANDOMS, A, B, F, K, reconcile

SEEDS_MAX = 300
STEPS = (20, 60, 120)


@given(RANDOMS, st.sampled_from(STEPS), st.booleans())
def test_whoever_crashes_between_any_two_pieces_finds_a_table_that_tells_nothing_false(rng, steps, by_operations):
    kept_play(rng, steps, by_operations)


def seeds() -> Iterable[tuple[Random, int, bool]]:
    for seed in range(SEEDS_MAX):
        yield Random(f"kept rows {seed}"), STEPS[seed % 3], seed % 2 == 0


def test_these_seeds_crash_amid_passes():
    plays = [kept_play(*arguments) for arguments in list(seeds())[:60]]
    assert sum(made.crashes for made in plays) > 60
    assert sum(made.torn for made in plays) > 20
    assert sum(made.passes for made in plays) > 30


# --- passes ---------------------------------------------------------------------------------------------------------


def kinds(records: list[Record]) -> list[int]:
    return [key_of(record.key)[0] for record in records]


def key_of(raw: bytes) -> tuple[int, bytes, bytes]:
    return msgspec.msgpack.decode(raw, type=tuple[int, bytes, bytes])


def started(*keys: bytes) -> Keeping:
    keeping = Keeping(INSTANCE)
    for number, key in enumerate(keys, 1):
        keeping.table.apply((*A, number), (key, None, b"value of " + key, (), ()))
    return keeping


def test_a_pass_writes_rows_then_what_is_known_then_what_was_received():
    keeping = started(b"1", b"2")
    keeping.table.apply((*B, 1), (b"2", None, None, ((*A, 2),), ()))
    assert kinds(keeping.take(1_000, 1 << 20)) == [ROW, CONTEXT, CONTEXT, RECEIVED, RECEIVED]
    assert keeping.clean
    assert keeping.take(1_000, 1 << 20) == []


def test_a_piece_has_so_many_records_and_bytes_and_always_one():
    keeping = started(*(b"%d" % number for number in range(10)))
    assert len(keeping.take(3, 1 << 20)) == 3
    assert len(keeping.take(3, 1)) == 1
    two = keeping.take(1_000, 60)
    assert 1 < len(two) < 6
    assert not keeping.clean


def test_what_changes_during_a_pass_is_written_by_the_next_one():
    keeping, log = started(b"1", b"2"), Log()
    write(log, keeping.take(1, 1 << 20))
    keeping.table.apply((*A, 3), (b"3", None, b"", (), ()))
    write(log, keeping.take(3, 1 << 20))
    assert not keeping.clean
    again = found(log).table
    assert sorted(again.view()) == [b"1", b"2"]
    assert again.received.intervals(A) == ((1, 2),)
    assert write_all(keeping, log) == 1
    assert found(log).table.received.intervals(A) == ((1, 3),)


def test_a_row_is_written_as_it_is_when_its_turn_comes_and_counts_for_known_though_its_operation_is_not():
    keeping, log = started(b"1"), Log()
    keeping.table.apply((*B, 1), (b"2", None, b"", (), ()))
    write(log, keeping.take(1, 1 << 20))
    keeping.table.apply((*B, 2), (b"2", F, b"late", ((*B, 1),), ()))
    write(log, keeping.take(3, 1 << 20))
    again = found(log)
    assert again.table.view()[b"2"].get(F) == b"late"
    assert again.table.received.intervals(B) == ()
    assert again.table.apply((*B, 2), (b"2", F, b"late", ((*B, 1),), ()))
    assert again.table.view()[b"2"].get(F) == b"late"


def test_what_is_known_only_because_it_is_alive_is_written_too():
    """It may be removed by a comparison, whose taking over of what is known changes nothing in a set that has it."""
    log = Log()
    keeping = started(K)
    write(log, keeping.take(1, 1 << 20))  # the row alone
    again = found(log)
    assert not again.clean
    write_all(again, log)
    assert read(log)[INSTANCE].context == {A: ((1, 1),)}
    other = started(K).table
    other.apply((*B, 1), (K, None, None, ((*A, 1),), ()))
    reconcile(again.table, other)
    write_all(again, log)
    assert found(log).table.view() == {}
    assert (*A, 1) in found(log).table.context


def test_nothing_is_written_of_rows_that_came_and_went_and_nothing_is_left_of_rows_that_went():
    keeping, log = started(K), Log()
    keeping.table.apply((*A, 2), (K, None, None, ((*A, 1),), ()))
    write_all(keeping, log)
    assert ROW not in [kind for kind, _, _ in map(key_of, log)]
    keeping.table.apply((*A, 3), (K, None, b"", (), ()))
    write_all(keeping, log)
    assert ROW in [kind for kind, _, _ in map(key_of, log)]
    keeping.table.apply((*A, 4), (K, None, None, ((*A, 3),), ()))
    write_all(keeping, log)
    assert ROW not in [kind for kind, _, _ in map(key_of, log)]
    keeping.table.retire(A)
    write_all(keeping, log)
    assert found(log).table.retired.intervals(A) == ((1, 4),)
    keeping.table.forget(A)
    write_all(keeping, log)
    assert log == {}


def test_where_a_disk_takes_nothing_rows_that_came_and_went_do_not_pile_up():
    keeping = started(K)
    for number in range(2, 2 * UNWRITTEN_MIN, 2):
        key = b"%d" % number
        keeping.table.apply((*A, number), (key, None, b"", (), ()))
        keeping.table.apply((*A, number + 1), (key, None, None, ((*A, number),), ()))
        keeping.prune()
    assert len(keeping._rows) <= UNWRITTEN_MIN + 4
    log = Log()
    write_all(keeping, log)
    assert list(found(log).table.view()) == [K]


def test_what_was_stored_is_not_taken_for_seen_by_anybody():
    keeping, log = started(K), Log()
    write_all(keeping, log)
    again = found(log).table
    assert again.version == again.touched[A] == 1
    assert again.log.bytes == 0
    assert again.changes() == [(K, keeping.table.get(K))]


def test_the_keys_of_all_records_are_known():
    keeping, log = started(b"1", b"2"), Log()
    write_all(keeping, log)
    assert sorted(keeping.record_keys()) == sorted(log)
    assert sorted(found(log).record_keys()) == sorted(log)
    assert sorted(read(log)[INSTANCE].record_keys(INSTANCE)) == sorted(log)


# --- planted bugs ---------------------------------------------------------------------------------------------------

begin, take = Keeping._begin, Keeping.take


def rows_are_stored_without_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def bare(self: Keeping) -> None:
        begin(self)
        self._context.clear()

    monkeypatch.setattr(Keeping, "_begin", bare)


def what_is_known_is_stored_before_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def early(self: Keeping, records_max: int, bytes_max: int) -> list[Record]:
        if not (self._left or self._context or self._received):
            self._begin()
            return [context_record(INSTANCE, *self._context.pop())] if self._context else []
        return take(self, records_max, bytes_max)

    monkeypatch.setattr(Keeping, "take", early)


def what_was_received_is_stored_before_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def swapped(self: Keeping) -> None:
        begin(self)
        context, received = self._context, self._received
        self._context = [(life, had) for life, had, _ in received if had]
        self._received = [(life, (), known) for life, known in context]

    monkeypatch.setattr(Keeping, "_begin", swapped)


def what_is_known_is_what_is_known_when_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(self: Keeping, records_max: int, bytes_max: int) -> list[Record]:
        self._context = [(life, self.table.context.intervals(life)) for life, _ in self._context]
        return take(self, records_max, bytes_max)

    monkeypatch.setattr(Keeping, "take", late)


def rows_that_a_comparison_changes_are_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    kill = SharedTable.kill

    def silent(self: Any, key: bytes, field: bytes | None, dot: Any) -> None:
        changed, self.changed = self.changed, None
        kill(self, key, field, dot)
        self.changed = changed

    monkeypatch.setattr(SharedTable, "kill", silent)


def fields_go_without_the_births_that_took_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def unburied(self: Keeping, records_max: int, bytes_max: int) -> list[Record]:
        self.table.buried = DotSet()
        return take(self, records_max, bytes_max)

    monkeypatch.setattr(Keeping, "take", unburied)


PLANT: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    bug.__name__: bug
    for bug in (
        rows_are_stored_without_what_is_known,
        what_is_known_is_stored_before_the_rows,
        what_was_received_is_stored_before_what_is_known,
        what_is_known_is_what_is_known_when_it_is_written,
        rows_that_a_comparison_changes_are_not_written,
        fields_go_without_the_births_that_took_them,
    )
}


@pytest.mark.parametrize("bug", PLANT)
def test_some_play_finds_the_planted_bug(bug, monkeypatch):
    PLANT[bug](monkeypatch)
    for arguments in seeds():
        try:
            kept_play(*arguments)
        except (AssertionError, InvariantError):
            return
    pytest.fail(f"no play notices: {bug.replace('_', ' ')}")
