"""The ledger: what stamps our own operations, what is taken from a peer, and what has to reach the disk."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.clock import unpack
from covey.core.errors import InvariantError
from covey.core.ids import ClusterId, Contact
from covey.protocols.membership.ledger import BESIDE, CLOCK, CLUSTER, HOME, REJOIN, Ledger, home_of
from covey.protocols.membership.record import (
    HOST,
    IS_EPHEMERAL,
    IS_MEMBER,
    MEM,
    META,
    decode_op,
    encode_key,
    encode_op,
    stamp,
)
from tests.protocols.membership.membership_net import DURABLE, SECOND, SHARED, START_WALL_US, mem, op, site
from tests.protocols.membership.membership_strategies import op_sets

NOW_CLOCK = (START_WALL_US // 1000) << 16
OTHER = ClusterId(b"another cluster.")


def ledger(stored: dict[bytes, bytes] | None = None, *, incarnation: int = 5, **changes: object) -> Ledger:
    config = msgspec.structs.replace(DURABLE, **changes)
    made = Ledger(config, Contact(site(1), incarnation, "n1:1"), SHARED, stored or {}, 0)
    made.clock.set_offset(START_WALL_US)
    return made


def disk_of(book: Ledger, disk: dict[bytes, bytes] | None = None) -> dict[bytes, bytes]:
    disk = {} if disk is None else disk
    for record in book.drain():
        if record.value is None:
            disk.pop(record.key, None)
        else:
            disk[record.key] = record.value
    return disk


# --- writing --------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-5_000, 200_000)), max_size=10))
def test_an_own_operation_always_wins_here_and_the_clock_stays_within_its_bound(steps):
    """A command on a key takes max(hlc, its clock + 1); stamps from the future are beaten and not believed."""
    book = ledger()
    now_us = 0
    for target, ahead_ms in steps:
        now_us += 1_000
        foreign = mem(target, NOW_CLOCK + ((now_us // 1000 + ahead_ms) << 16), 1)
        book.take_all([foreign], now_us)
        before = book.record.get(MEM, site(target))
        written = book.write(MEM, site(target), 0, now_us)
        assert before is None or stamp(written) > stamp(before)
        assert book.record.get(MEM, site(target)) == written
        lead_ms = unpack(book.clock.last)[0] - book.clock.wall_ms(now_us)
        assert lead_ms <= DURABLE.drift_ms_max
        assert written.wall_ms == book.clock.wall_ms(now_us)
        book.check()


def test_a_command_takes_the_hybrid_clock_or_one_more_than_the_key_whichever_is_more():
    book = ledger()
    book.take_all([mem(7, 3, 1)], 0)
    assert book.write(MEM, site(7), 0, 0).clock == NOW_CLOCK
    within = NOW_CLOCK + (1_000 << 16)
    book.take_all([mem(7, within, 1)], 0)
    assert book.clock.last == within
    assert book.write(MEM, site(7), 0, 0).clock == within + 1
    beyond = NOW_CLOCK + (100_000 << 16)
    assert book.take_all([mem(7, beyond, 1)], 0)[1] == 100_000
    assert book.write(MEM, site(7), 0, 0).clock == beyond + 1
    assert book.write(MEM, site(8), 0, 0).clock == within + 3


def test_the_default_is_at_clock_0_and_comes_with_no_import():
    book = ledger()
    book.write_default(0)
    (entry,) = book.record.entries()
    assert (entry.op.clock, entry.op.value, entry.imported, book.imports) == (0, IS_MEMBER, 0, 0)


def test_the_default_of_an_ephemeral_node_says_so():
    book = ledger(ephemeral=True)
    book.write_default(0)
    assert book.record.is_ephemeral(site(1))
    assert book.record.is_member(site(1))


def test_who_returns_has_a_new_life_and_a_stamp_above_what_threw_it_out_even_from_the_future():
    book = ledger()
    book.rejoin_clock = NOW_CLOCK + (3_600_000 << 16)
    book.write_return(0)
    mine = book.record.get(MEM, site(1))
    assert mine is not None
    assert mine.clock == book.rejoin_clock + 1
    assert book.me.incarnation == mine.magic == START_WALL_US // 1000
    assert unpack(book.clock.last)[0] <= book.clock.wall_ms(0)
    book.write_return(0)
    assert book.me.incarnation == START_WALL_US // 1000 + 1


# --- taking ---------------------------------------------------------------------------------------------------------


def test_who_belongs_is_taken_before_where_it_is_whatever_their_order_in_the_message():
    book = ledger()
    host, member = op(HOST, 7, 2, b"n7:1"), mem(7, 1, 1)
    news, ahead_ms = book.take_all([host, op(META, 7, 3, b"\x80"), member], 0)
    assert news == [(member, False), (host, True), (op(META, 7, 3, b"\x80"), True)]
    assert (ahead_ms, book.refused) == (0, 0)


@pytest.mark.parametrize(
    "refused",
    [
        mem(7, 1, b"1"),  # type: ignore[arg-type]
        op(HOST, 1, 1, 1),
        op(META, 1, 1, 1),
        op(HOST, 7, 1, b"n7:1"),
        op(META, 7, 1, b"\x80"),
        mem(7, 1, IS_EPHEMERAL),
    ],
    ids=["flags", "host", "meta", "host of nobody", "metadata of nobody", "farewell of an ephemeral stranger"],
)
def test_what_makes_no_sense_is_refused_and_counted(refused):
    book = ledger()
    book.write_default(0)
    disk_of(book)
    assert book.take_all([refused], 0) == ([], 0)
    assert book.refused == 1
    assert book.drain() == ()


def test_details_of_a_kicked_site_are_taken_only_where_they_were_kept():
    book = ledger()
    book.take_all([mem(7, 1, 1), op(HOST, 7, 1, b"n7:1")], 0)
    book.take_all([mem(7, 2, 0)], 0)
    assert [each for each, _ in book.take_all([op(HOST, 7, 3, b"moved:1"), op(META, 7, 3, b"\x80")], 0)[0]] == [
        op(HOST, 7, 3, b"moved:1")
    ]
    book.forget((HOST, site(7)))
    assert book.take_all([op(HOST, 7, 4, b"n7:1")], 0) == ([], 0)
    assert book.refused == 2


def test_the_record_is_bounded_and_what_is_known_is_still_written():
    book = ledger(members_max=1)
    for number in range(2, 9):
        book.take_all([mem(number, 1, 1)], 0)
    assert len(book.record) == 3
    assert book.take_all([mem(2, 2, 0)], 0)[0] == [(mem(2, 2, 0), True)]


def test_what_is_no_news_is_no_news():
    book = ledger()
    known = mem(7, 3, 1)
    assert book.is_news(known)
    book.take_all([known], 0)
    assert not book.is_news(known)
    assert not book.is_news(mem(7, 2, 0))
    assert book.is_news(mem(7, 3, 0, magic=6))
    assert book.take_all([known, mem(7, 2, 0)], 0) == ([], 0)


# --- the disk -------------------------------------------------------------------------------------------------------


@given(op_sets)
def test_what_was_taken_is_on_the_disk_and_a_restart_has_it(ops):
    book = ledger()
    book.write_default(0)
    for each in ops:
        book.take_all([each], 0)
    disk = disk_of(book)
    assert book.drain() == ()
    again = ledger(disk, incarnation=6)
    assert {entry.op for entry in again.record.entries()} == {entry.op for entry in book.record.entries()}
    assert again.record.digest == book.record.digest
    assert again.imports == len(disk.keys() - BESIDE)
    assert again.drain() == ()
    again.check()


def test_after_a_restart_stamps_go_on_above_the_own_operations_though_the_wall_clock_went_back():
    book = ledger()
    written = book.write(MEM, site(7), 1, 10 * SECOND)
    again = ledger(disk_of(book), incarnation=6)
    assert again.write(MEM, site(8), 1, 0).clock > written.clock


def test_another_cluster_keeps_the_clocks_and_nothing_else():
    book = ledger()
    book.write(MEM, site(7), 1, 0)
    book.rejoin_clock = 99
    disk = disk_of(book)
    last, imports = book.clock.last, book.imports
    book.reset(OTHER)
    disk_of(book, disk)
    clocks = {CLOCK: last.to_bytes(8, "big"), REJOIN: (99).to_bytes(8, "big")}
    assert disk == {HOME: SHARED, CLUSTER: OTHER, **clocks}
    assert len(book.record) == 0
    assert book.imports == imports
    again = ledger(disk)
    assert (again.cluster, again.clock.last, again.rejoin_clock) == (OTHER, last, 99)


def test_a_wipe_keeps_the_clock_on_the_disk_too_where_no_operation_tells_it_any_more():
    book = ledger()
    written = book.write(MEM, site(7), 1, 10 * SECOND)
    disk = disk_of(book)
    book.wipe()
    assert disk_of(book, disk) == {HOME: SHARED, CLOCK: written.clock.to_bytes(8, "big")}
    again = ledger(disk, incarnation=6)
    assert again.write(MEM, site(7), 0, 0).clock > written.clock


def test_what_is_forgotten_goes_from_the_disk():
    book = ledger()
    book.take_all([mem(7, 1, 1), op(HOST, 7, 1, b"n7:1")], 0)
    disk = disk_of(book)
    book.forget((HOST, site(7)))
    book.forget((META, site(7)))
    disk_of(book, disk)
    assert disk.pop(HOME) == SHARED
    assert {key: decode_op(value) for key, value in disk.items()} == {encode_key((MEM, site(7))): mem(7, 1, 1)}


def test_forgetting_an_ephemeral_site_that_is_not_there_does_nothing():
    book = ledger({HOME: SHARED})
    book.forget_ephemeral(site(7), 0)
    assert book.drain() == ()


def test_the_disk_says_from_the_first_whose_record_it_holds_also_when_we_are_alone():
    book = ledger()
    disk = disk_of(book)
    assert disk == {HOME: SHARED}
    book.reset(OTHER)
    disk_of(book, disk)
    assert home_of(disk) == home_of({HOME: bytes(SHARED)}) == SHARED
    assert home_of({}) is None


def test_a_file_that_is_not_ours_is_not_read():
    with pytest.raises(ValueError):
        ledger({encode_key((MEM, site(7))): encode_op(mem(7, 1, 1))[:-1]})


def test_an_entry_from_the_future_is_noticed():
    book = ledger()
    book.record.merge(mem(7, 1, 1), 9, 0)
    with pytest.raises(InvariantError, match="nothing was imported in the future"):
        book.check()
