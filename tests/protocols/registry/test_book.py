"""The book of a hub is the fold of its rows, whatever their order."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from covey.core.ids import Site
from covey.core.rows import SharedRow
from covey.protocols.registry import rows
from covey.protocols.registry.book import INDEXED_MAX, Book
from covey.wire.keys import encode_key
from tests.protocols.registry.test_hub_rows import BIRTH, ID, ME
from tests.protocols.registry.test_hub_rows import row as shared_row

A, B = Site(b"a" * 16), Site(b"b" * 16)
OTHER = encode_key("other")
RUNS = rows.encode(rows.Running(5, 1, rows.State.RUNNING))


def row(**meta: Any) -> SharedRow:
    return shared_row(rows.encode(BIRTH), m=[msgspec.msgpack.encode(meta)])


def found(book: Book, **meta: Any) -> list[bytes]:
    ((name, value),) = meta.items()
    return book.find(name, msgspec.msgpack.encode(value))


def fold(book: Book, *changes: tuple[bytes, bytes | None], owner: Site = A, incarnation: int = 3) -> list[bytes]:
    """Fold rows of one life; returns the children that run otherwise."""
    touched: list[bytes] = []
    for key, value in changes:
        if key == rows.PARTICIPANT:
            book.fold_participant(value, owner, incarnation)
        elif book.fold_running(key, value, (owner, incarnation)):
            touched.append(key[1:])
    return touched


def test_a_child_is_found_by_what_its_metadata_says_now():
    book = Book()
    assert book.fold_shared(ID, row(tag="eu", size=3))
    assert book.fold_shared(OTHER, row(tag="eu"))
    assert not book.fold_shared(OTHER, row(tag="eu"))
    assert (found(book, tag="eu"), found(book, size=3), found(book, tag="us")) == ([ID, OTHER], [ID], [])
    assert book.fold_shared(ID, row(tag="us"))
    assert (found(book, tag="eu"), found(book, size=3), found(book, tag="us")) == ([OTHER], [], [ID])
    assert book.fold_shared(OTHER, None)
    assert (found(book, tag="eu"), list(book.children)) == ([], [ID])
    assert not book.fold_shared(OTHER, None)
    book.check()


def test_metadata_that_is_no_map_is_found_by_nothing_and_of_much_the_first():
    book = Book()
    book.fold_shared(ID, shared_row(rows.encode(BIRTH), m=[b"\xc1"]))
    book.fold_shared(OTHER, row(**{f"n{number}": number for number in range(INDEXED_MAX + 1)}))
    assert (found(book, n0=0), found(book, **{f"n{INDEXED_MAX}": INDEXED_MAX})) == ([OTHER], [])
    book.check()


def test_who_runs_a_child_is_there_as_long_as_its_row_is():
    book = Book()
    key = rows.running_key(ID)
    assert fold(book, (key, RUNS)) == [ID]
    assert fold(book, (key, RUNS), owner=B, incarnation=1) == [ID]
    assert list(book.running(ID)) == [(A, 3), (B, 1)]
    assert fold(book, (key, None), (key, None)) == [ID]
    assert fold(book, (key, b"\xc1"), owner=B, incarnation=1) == [ID]
    assert (book.running(ID), list(book.ids_running()), book.nonsense) == ({}, [], 1)


def test_who_takes_part_goes_with_its_life():
    book = Book()
    assert fold(book, (rows.PARTICIPANT, rows.encode(ME))) == []
    assert book.participants == {A: ME}
    later = msgspec.structs.replace(ME, incarnation=4)
    fold(book, (rows.PARTICIPANT, rows.encode(later)), incarnation=4)
    fold(book, (rows.PARTICIPANT, None))  # of the life before
    assert book.participants == {A: later}
    fold(book, (rows.PARTICIPANT, rows.encode(ME)), incarnation=4)  # it speaks for another life
    assert (book.participants, book.nonsense) == ({}, 1)


def test_nonsense_is_no_child():
    book = Book()
    assert not book.fold_shared(ID, shared_row(b"\xc1"))
    assert (book.children, book.nonsense) == ({}, 1)
    book.fold_shared(ID, row())
    assert book.fold_shared(ID, shared_row(b"\xc1"))
    assert book.children == {}


METAS = st.dictionaries(st.sampled_from(["tag", "zone"]), st.integers(0, 2), max_size=2)


@given(st.lists(st.tuples(st.sampled_from([ID, OTHER]), st.none() | METAS), max_size=12))
def test_the_index_has_what_a_scan_would_find(changes):
    book, children = Book(), dict[bytes, dict[str, int]]()
    for id, meta in changes:
        book.fold_shared(id, None if meta is None else row(**meta))
        children.pop(id, None)
        if meta is not None:
            children[id] = meta
        book.check()
    for name in ("tag", "zone"):
        for value in range(3):
            wanted = {id for id, meta in children.items() if meta.get(name) == value}
            assert set(found(book, **{name: value})) == wanted
