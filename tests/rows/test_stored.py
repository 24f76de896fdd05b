"""Records of shared rows: what is written is read again, each instance for itself, and nonsense is refused."""

from __future__ import annotations

import msgspec
import pytest

from covey.core.vocabulary import Record
from covey.rows.stored import (
    VOID,
    context_record,
    read,
    received_record,
    record_key,
    row_record,
    values,
    void_record,
)
from tests.rows.shared_words import A, B, F, K

I, J = b"instance", b"other"  # noqa: E741
ROW = [(None, (*A, 1), (), b"born"), (F, (*B, 7), ((*A, 1),), b"written")]


def log_of(*records: Record) -> dict[bytes, bytes]:
    return {record.key: record.value for record in records if record.value is not None}


def test_what_is_written_is_read_again():
    log = log_of(
        row_record(I, K, ROW),
        row_record(J, K, ROW[:1]),
        context_record(I, A, ((1, 3), (5, 9))),
        received_record(I, A, ((1, 2),), ()),
        received_record(I, B, (), ((1, 7),)),
        void_record(J, True),
    )
    both = read(log)
    assert list(both) == [I, J]
    stored, other = both[I], both[J]
    assert [(key, values(raw)) for key, raw in stored.rows.items()] == [(K, ROW)]
    assert stored.context == {A: ((1, 3), (5, 9))}
    assert stored.received == {A: (((1, 2),), ()), B: ((), ((1, 7),))}
    assert (stored.void, other.void) == (False, True)
    assert sorted(stored.record_keys(I) + other.record_keys(J) + [record_key(VOID, J, b"")]) == sorted(log)


def test_where_nothing_is_left_there_is_no_record():
    gone = [row_record(I, K, []), context_record(I, A, ()), received_record(I, A, (), ()), void_record(I, False)]
    assert [record.value for record in gone] == [None] * 4
    assert len({record.key for record in gone}) == 4


def test_a_log_without_anything_has_no_instances():
    assert read({}) == {}


@pytest.mark.parametrize(
    "key, value",
    [
        (b"", b""),
        (b"nonsense", b""),
        (msgspec.msgpack.encode((4, I, K)), b""),
        (msgspec.msgpack.encode((1, I, b"short")), msgspec.msgpack.encode(())),
        (context_record(I, A, ((1, 1),)).key, b"nonsense"),
        (received_record(I, A, ((1, 1),), ()).key, msgspec.msgpack.encode(1)),
    ],
)
def test_a_log_that_no_life_of_ours_wrote_is_refused(key, value):
    with pytest.raises(ValueError):
        read({key: value})


def test_a_row_that_no_life_of_ours_wrote_is_refused():
    with pytest.raises(ValueError):
        values(b"nonsense")
