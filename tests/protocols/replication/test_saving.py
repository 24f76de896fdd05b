"""What of shared rows is given to the disk when, what is found there, and what goes again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from covey.core.vocabulary import Record
from covey.protocols.replication.config import ReplicationConfig
from covey.protocols.replication.saving import Saving
from covey.protocols.replication.vocabulary import RowsStored, StoreRows
from covey.rows.shared import SharedTable
from covey.rows.stored import VOID, read
from tests.rows.shared_words import A

I, J = b"instance", b"other"  # noqa: E741
CONFIG = ReplicationConfig()
SMALL = ReplicationConfig(stored_max=3)


class Bench:
    """A `Saving`, its disk, and what was not stored yet."""

    def __init__(self, config: ReplicationConfig = CONFIG, disk: dict[bytes, bytes] | None = None) -> None:
        self.disk: dict[bytes, bytes] = {} if disk is None else disk
        self.saving = Saving(config, self.disk)
        self.waiting: list[StoreRows] = []
        self.count = 0

    def end_turn(self) -> list[StoreRows]:
        pieces: list[Any] = self.saving.on_turn_ended()
        self.waiting += pieces
        self.saving.check()
        return pieces

    def store(self) -> None:
        """The oldest piece is on the disk."""
        piece = self.waiting.pop(0)
        for record in piece.records:
            assert record.value is not None or record.key in self.disk, "what goes was there"
            self.disk[record.key] = record.value  # type: ignore[assignment]
            if record.value is None:
                del self.disk[record.key]
        self.saving.on_stored(RowsStored(piece.number))

    def settle(self) -> int:
        """Turns end and the disk takes it, until nothing is left; returns how many pieces there were."""
        pieces = 0
        while self.end_turn() or self.waiting:
            while self.waiting:
                self.store()
                pieces += 1
        assert not self.saving.wants_turn()
        return pieces

    def start(self, table: SharedTable, *keys: bytes) -> None:
        for key in keys:
            self.count += 1
            table.apply((*A, self.count), (key, None, b"", (), ()))

    def rows(self, instance: bytes = I) -> list[bytes]:
        return sorted(read(self.disk)[instance].rows) if instance in read(self.disk) else []


def sizes(pieces: list[StoreRows]) -> list[int]:
    return [len(piece.records) for piece in pieces]


def test_one_piece_is_under_way_and_what_changes_meanwhile_goes_into_the_next():
    bench = Bench()
    table = bench.saving.open(I, True)
    assert not bench.saving.wants_turn()
    bench.start(table, b"1", b"2")
    assert bench.saving.wants_turn()
    assert not bench.saving.wants_turn(), "it was asked for"
    assert sizes(bench.end_turn()) == [4]
    for key in (b"3", b"4", b"5"):
        bench.start(table, key)
        assert not bench.saving.wants_turn()
        assert bench.end_turn() == []
    assert not bench.saving.saved(I)
    bench.store()
    assert bench.saving.wants_turn()
    assert sizes(bench.end_turn()) == [5]
    assert not bench.saving.saved(I)
    bench.store()
    assert bench.saving.saved(I)
    assert not bench.saving.wants_turn()
    assert bench.rows() == [b"1", b"2", b"3", b"4", b"5"]
    assert bench.saving.records == 9


def test_a_piece_is_bounded_and_instances_take_turns():
    bench = Bench(SMALL)
    one, other = bench.saving.open(I, True), bench.saving.open(J, True)
    bench.start(one, *(b"%d" % number for number in range(20)))
    bench.start(other, b"x")
    first = bench.end_turn()
    assert sizes(first) == [3]
    bench.store()
    bench.end_turn()
    bench.store()
    assert bench.saving.saved(J)
    assert not bench.saving.saved(I)
    assert bench.settle() > 4
    assert bench.saving.saved(I)


def test_a_piece_has_so_many_bytes_and_a_record_more():
    bench = Bench(msgspec.structs.replace(CONFIG, stored_bytes_max=100))
    bench.start(bench.saving.open(I, True), *(b"%d" % number for number in range(20)))
    assert bench.settle() > 5


def test_who_ends_gives_everything_away_at_once_and_keeps_what_it_lets_go_of():
    bench = Bench(SMALL)
    table = bench.saving.open(I, True)
    bench.start(table, *(b"%d" % number for number in range(20)))
    bench.end_turn()
    bench.saving.stop()
    assert bench.saving.wants_turn()
    assert len(bench.end_turn()) > 5
    bench.saving.close(I, True)
    while bench.waiting:
        bench.store()
    assert len(bench.rows()) == 20
    assert Bench(disk=bench.disk).saving.open(I, True).view() == table.view()


def test_what_is_to_be_kept_is_written_to_its_end_and_found_again_in_the_same_life_and_the_next():
    bench = Bench(SMALL)
    table = bench.saving.open(I, True)
    bench.start(table, *(b"%d" % number for number in range(10)))
    bench.end_turn()
    bench.saving.close(I, True)
    bench.settle()
    assert len(bench.rows()) == 10
    bench.saving.check()
    assert Bench(disk=dict(bench.disk)).saving.open(I, True).view() == table.view()
    again = bench.saving.open(I, True)
    assert again is table
    bench.saving.close(I, False)
    bench.settle()
    assert bench.rows() == []


@pytest.mark.parametrize("durable, stored", [(False, {}), (True, None)])
def test_where_there_is_no_disk_or_none_is_wanted_nothing_is_kept(durable, stored):
    saving = Saving(CONFIG, stored)
    table = saving.open(I, durable)
    table.apply((*A, 1), (b"key", None, b"", (), ()))
    assert (table.changed, table.buried, table.context.changed) == (None, None, None)
    assert saving.saved(I)
    assert not saving.wants_turn()
    assert saving.on_turn_ended() == []
    saving.close(I, False)


# --- what was let go of ---------------------------------------------------------------------------------------------


def filled(config: ReplicationConfig = SMALL) -> tuple[Bench, dict[bytes, bytes]]:
    """One that has stored ten rows of one instance and one of another."""
    bench = Bench(config)
    bench.start(bench.saving.open(I, True), *(b"%d" % number for number in range(10)))
    bench.start(bench.saving.open(J, True), b"stays")
    bench.settle()
    return bench, bench.disk


def test_what_is_let_go_of_goes_in_pieces_and_nothing_of_it_is_left():
    bench, disk = filled()
    bench.saving.close(I, False)
    assert bench.saving.wants_turn()
    pieces = bench.settle()
    assert pieces >= 4
    assert list(read(disk)) == [J]
    assert bench.rows(J) == [b"stays"]


@pytest.mark.parametrize("pieces", range(6))
def test_who_crashes_while_it_goes_finds_all_of_it_or_nothing_and_goes_on(pieces):
    bench, disk = filled()
    bench.saving.close(I, False)
    for _ in range(pieces):
        bench.saving.wants_turn()
        bench.end_turn()
        if bench.waiting:
            bench.store()
    next_life = Bench(SMALL, disk)
    if pieces:
        next_life.settle()
        assert list(read(disk)) == [J]
    assert len(next_life.saving.open(I, True).view()) == (0 if pieces else 10)


def test_what_is_held_again_meanwhile_is_a_new_one_that_is_written_when_the_old_one_is_gone():
    bench, disk = filled()
    bench.saving.close(I, False)
    table = bench.saving.open(I, True)
    assert table.view() == {}
    assert not bench.saving.saved(I)
    bench.start(table, b"new")
    bench.end_turn()
    bench.store()
    assert Bench(SMALL, dict(disk)).saving.open(I, True).view() == {}
    bench.settle()
    assert bench.saving.saved(I)
    assert bench.rows() == [b"new"]
    assert Bench(SMALL, disk).saving.open(I, True).view() == table.view()


def test_what_is_held_and_let_go_of_again_before_the_old_one_is_gone_leaves_nothing():
    bench, disk = filled()
    bench.saving.close(I, False)
    bench.start(bench.saving.open(I, True), b"new")
    bench.end_turn()
    bench.saving.close(I, False)
    bench.store()
    bench.settle()
    assert list(read(disk)) == [J]


def test_what_is_held_otherwise_in_the_next_life_is_not_kept_any_more():
    _, disk = filled()
    bench = Bench(SMALL, disk)
    assert bench.saving.open(I, False).view() == {}
    bench.settle()
    assert list(read(disk)) == [J]


def test_what_nobody_holds_stays_as_it_is():
    _, disk = filled()
    before = dict(disk)
    bench = Bench(SMALL, disk)
    assert bench.settle() == 0
    assert disk == before


def test_few_records_go_at_once_and_leave_no_mark():
    bench, disk = filled(CONFIG)
    bench.saving.close(I, False)
    (piece,) = bench.end_turn()
    assert all(record.value is None for record in piece.records)
    assert VOID not in [msgspec.msgpack.decode(record.key)[0] for record in piece.records]
    bench.store()
    assert list(read(disk)) == [J]


def test_a_new_one_is_not_saved_while_the_old_ones_last_records_are_on_their_way_out():
    bench, _ = filled(CONFIG)
    bench.saving.close(I, False)
    bench.saving.open(I, True)
    bench.end_turn()
    assert not bench.saving.saved(I), "the disk would be found with the old one"
    bench.store()
    assert bench.saving.saved(I)


def test_a_record_of_nonsense_is_refused_at_the_start():
    with pytest.raises(ValueError):
        Saving(CONFIG, {Record(b"nonsense", b"").key: b""})
