"""The demo's tables: what the rows of all workers say together."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.api.group_values import encode_meta
from covey.cli.demo import tables

FILES = [f"package{number % 7}/module{number}.py" for number in range(300)]
word_tables = st.dictionaries(st.text("abcdef_", min_size=1, max_size=4), st.integers(1, 9), max_size=12)


work = st.dictionaries(st.sampled_from(FILES), word_tables, max_size=6)


def sent(row: tables.Row) -> object:
    """A row as another node reads it."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(row))


def split(words: dict[str, int], bytes_max: int = 20, file: str = "a.py") -> list[object]:
    return list(map(sent, tables.rows_of(file, words, bytes_max)))


@given(work, st.randoms(use_true_random=False), st.sampled_from([20, 40, 1000]))
def test_the_sum_does_not_depend_on_who_counted_what_how_often_or_in_how_many_rows(counted, rng, bytes_max):
    metas = [row for file, words in counted.items() for row in split(words, bytes_max, file)] * 2
    rng.shuffle(metas)
    plain = sum((Counter(words) for words in counted.values()), Counter())
    files = tables.whole_files(metas)
    assert (files, tables.add_up(files)) == (counted, plain)
    assert tables.digest(plain) == tables.digest(dict(sorted(plain.items(), reverse=True)))


@given(work, st.data())
def test_tables_are_what_the_members_that_are_there_say(counted, data):
    rows = [row for file, words in counted.items() for row in split(words, file=file)]
    held = tables.Tables(FILES)
    there: dict[int, object] = {}
    for member in data.draw(st.lists(st.integers(0, 30), max_size=80)):
        if member in there:
            held.drop(member)
            del there[member]
        elif rows:
            there[member] = rows[member % len(rows)]
            held.put(member, there[member])
        files = tables.whole_files(there.values())
        assert (set(held.held), held.words) == (set(files), tables.add_up(files).total())
        assert held.held.keys() ^ held.missing.keys() == set(FILES) and held.complete is False


def test_a_file_is_not_there_before_all_its_rows_are_and_not_after_one_has_gone():
    first, second = split({"x": 1, "y": 2})
    held = tables.Tables(["a.py"])
    held.put(1, second)
    assert (list(held.missing), held.words, tables.whole_files([second])) == (["a.py"], 0, {})
    held.put(2, first)
    held.put(3, first)  # somebody else counted it too
    assert (held.complete, held.words) == (True, 3)
    complete = []
    for member in (2, 3, 1):
        held.drop(member)
        complete.append(held.complete)
    assert complete == [True, False, False]
    assert (list(held.missing), held.words) == (["a.py"], 0)


@pytest.mark.parametrize(
    "meta", [None, 7, {}, {"file": "a.py", "part": 1, "parts": 1, "words": {}}, ["a.py", 0, 1, {}]]
)
def test_what_is_no_row_is_nothing(meta):
    held = tables.Tables(["a.py"])
    held.put(1, meta)
    held.put(2, split({"x": 1}, file="b.py")[0])  # of other work
    held.drop(1)
    held.drop(2)
    assert (list(held.missing), held.words) == (["a.py"], 0)
    assert tables.whole_files([meta]) == {}


def test_rows_fit_in_metadata_and_together_are_the_table():
    words = {f"{'w' * 58}{number:06}": 2**40 for number in range(20_000)}
    rows = tables.rows_of("f" * 2000, words)
    assert len(rows) > 1
    for row in rows:
        encode_meta(row)
    assert {word: count for row in rows for word, count in row.words.items()} == words
    assert [row.words for row in tables.rows_of("a.py", {})] == [{}]


def test_the_digest_tells_totals_apart():
    assert len({tables.digest(total) for total in ({}, {"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": 1})}) == 5


def test_an_answer_that_differs_from_its_shelf_is_wrong():
    files = {"a.py": {"x": 1}, "b.py": {"x": 2, "y": 1}}
    shelves = {"all": ["a.py", "b.py"], "a": ["a.py"]}
    right = {("all", "x"): 3, ("a", "x"): 1, ("a", "y"): 0}
    assert tables.count_wrong(right, shelves, files) == 0
    assert tables.count_wrong(right | {("all", "y"): 2}, shelves, files) == 1
