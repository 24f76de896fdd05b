"""What commands write: aligned, in words, and without steering the terminal."""

from __future__ import annotations

import io
import json
import sys
from typing import BinaryIO, cast

import msgspec
import pytest

from covey.cli.groups import groups_lines
from covey.cli.members import dump_lines, known, members_lines
from covey.cli.output import plain, table, tell_json, visible, wall


def test_a_table_is_aligned_and_shows_no_control_characters():
    assert table(("A", "LONG"), [("x\x1b[2J", 1), ("", "é")]) == ["A         LONG", "x\\x1b[2J  1", "          é"]
    assert table(("A",), []) == ["A"]


def test_a_moment_that_is_none_and_one_beyond_time_are_written_all_the_same():
    assert [wall(0), wall(1_700_000_000_000), wall(2**62)] == ["-", "2023-11-14 22:13:20 UTC", f"{2**62} ms"]
    assert visible("a\x07") == "a\\x07"


@pytest.mark.parametrize(
    "acknowledged, missing, said",
    [
        ([], [], "no other member is there to know of it"),
        ([b"a" * 16], [], "1 member knows of it"),
        ([b"a" * 16, b"b" * 16], [b"c" * 16, b"d" * 16], "2 members know of it, not yet 63636363, 64646464"),
    ],
)
def test_who_knows_of_a_change_is_said_in_words(acknowledged, missing, said):
    assert known({"acknowledged": acknowledged, "missing": missing}) == said


def test_json_is_written_whole_where_the_pipe_takes_a_part_at_a_time(monkeypatch):
    class Pipe(io.RawIOBase):
        """Standard output under PYTHONUNBUFFERED, read by somebody slow."""

        taken = b""

        def writable(self) -> bool:
            return True

        def write(self, data) -> int:
            some = bytes(data)[:1000]
            Pipe.taken += some
            return len(some)

    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(cast(BinaryIO, Pipe()), write_through=True))
    value = {"x": "y" * 5000}
    tell_json(value)
    tell_json(value)
    assert list(map(json.loads, Pipe.taken.decode().splitlines())) == [value, value]


@pytest.mark.parametrize("depth", [102, 700, 990])
def test_what_a_peer_nested_deeper_than_we_can_follow_is_cut_and_written(depth):
    value: object = 1
    for _ in range(depth):
        value = [value]
    meta = {"x": value}
    written = msgspec.json.encode(plain(meta)).decode()
    assert written.startswith('{"x":[[[') and written.endswith("]]]}") and "..." in written
    member = {"site": b"s" * 16, "name": "", "address": "", "status": "alive", "ephemeral": False, "meta": meta}
    lines = members_lines({"site": b"t" * 16, "solo": False, "kicked": None, "members": [member]})
    assert "..." in lines[1]
    assert json.loads(written)["x"][0][0]


def test_a_group_on_many_nodes_is_still_a_line():
    nodes = [[bytes([number]) * 16, 2] for number in range(11)]
    answer = {"site": b"\0" * 16, "scope": "", "names": {b"\0" * 16: "a\x1b"}}
    group = {"key": b"\x01", "mailboxes": 11, "nodes": nodes}
    line = groups_lines({**answer, "groups": [group]})[1]
    assert line.startswith(r"1      22       11         00000000 a\x1b (2), 01010101 (2), ")
    assert line.endswith("07070707 (2), and 3 more")
    assert groups_lines({**answer, "groups": [{**group, "nodes": nodes[:8]}]})[1].endswith("07070707 (2)")


def test_what_a_peer_wrote_cannot_steer_the_terminal():
    member = {
        "site": b"s" * 16, "name": "\x1b[2J", "address": "\x07", "status": "alive", "ephemeral": False,
        "meta": {"\x1b": "\n"}, "why": ["line\x1b"],
    }  # fmt: skip
    answer = {"site": b"t" * 16, "solo": False, "kicked": None, "members": [member]}
    stamp = {"stamp": 1, "ms": 1, "counter": 0}
    entry = {"site": b"s" * 16, "kind": "host", "value": "\x07", "origin": b"s" * 16, "clock": stamp, "magic": 1,
             "wall_ms": 1, "imported": 1}  # fmt: skip
    meta = {**entry, "kind": "meta", "value": {"name": "\x1b", "meta": {}}}
    dumped = {
        "site": b"t" * 16, "incarnation": 1, "address": "\x1b", "cluster": b"c" * 16, "solo": True, "clock": stamp,
        "imports": 1, "record": [entry, meta], "floors": [], "liveness": [],
    }  # fmt: skip
    for line in (*members_lines(answer), *dump_lines(dumped)):
        assert line.isprintable(), line
