"""The demo's client and its shelves, without processes: every query is asked until it is answered."""

from __future__ import annotations

import asyncio
from typing import Any

import covey
from covey.cli.demo import client
from covey.cli.demo.client import Client
from covey.cli.demo.indexing import Host, Index
from covey.cli.demo.reports import Missed
from covey.cli.demo.worker import why_here


class Hub:
    """A hub whose answers are known beforehand."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str]] = []

    async def call(self, shelf: str, word: str, timeout: float) -> Any:
        self.asked.append((shelf, word))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_a_query_is_asked_until_it_is_answered_and_what_brought_nothing_is_told(monkeypatch):
    monkeypatch.setattr(client, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(client, "PAUSE_SECONDS", 0.0)
    gone, later = covey.DeadlineExceeded("its host went away"), covey.PeerUnreachable("it runs nowhere")
    hub = Hub((3, False), gone, later, (7, True), (7, True), (8, True))
    missed: list[Missed] = []
    queries = [("a", "x"), ("b", "y"), ("b", "y"), ("b", "y")]
    asks = Client(hub, iter(queries), missed.append)  # type: ignore[arg-type]
    assert asks.waits_s == asks.silence_s == 0.0
    await asks.run()
    assert hub.asked == [queries[0], *[queries[1]] * 5]
    assert (asks.answered, asks.failed, asks.found, asks.differing) == (4, 2, {("b", "y"): 7}, 1)
    assert [(one.shelf, one.reason) for one in missed] == [
        ("b", "DeadlineExceeded: its host went away"), ("b", "PeerUnreachable: it runs nowhere"),
    ]  # fmt: skip
    assert 0.0 < asks.silence_s < 5.0


class Row:
    """A membership of the group of totals."""

    def __init__(self, there: list[Any], meta: Any) -> None:
        self._there, self._meta = there, meta

    async def start(self) -> Row:
        self._there.append(self._meta)
        return self

    def close(self) -> None:
        self._there.remove(self._meta)


class Node:
    """A node whose group is a list."""

    def __init__(self) -> None:
        self.there: list[Any] = []

    def group(self, key: str) -> Node:
        return self

    def join(self, meta: Any, mailbox_max: int) -> Row:
        return Row(self.there, meta)


async def test_a_shelf_reads_only_what_it_was_not_handed_over_and_takes_its_rows_along(tmp_path):
    (tmp_path / "b.py").write_text("x y")
    node = Node()
    host = Host(node, tmp_path, 0.0)  # type: ignore[arg-type]
    index = Index(host, "shelf", ["a.py", "b.py"])
    assert index.look_up("x") == (0, False)
    await index.fill({"a.py": {"x": 2}})
    assert (index.look_up("x"), index.look_up("z"), index.done) == ((3, True), (0, True), 2)
    assert index.tables == {"a.py": {"x": 2}, "b.py": {"x": 1, "y": 1}}
    assert [row.file for row in node.there] == ["a.py", "b.py"]
    index.close()
    assert node.there == []


async def test_who_begins_late_is_given_what_is_left_of_the_time_or_a_quarter():
    host = Host(Node(), None, 8.0)  # type: ignore[arg-type]
    assert 7.9 < host.seconds_left() <= 8.0
    host._began_s = asyncio.get_running_loop().time() - 3.0
    assert 4.5 < host.seconds_left() <= 5.0
    host._began_s -= 60.0
    assert host.seconds_left() == 2.0


def test_why_a_shelf_is_where_it_is_fits_one_line():
    told = covey.Explanation("json", "n1", ("n1",), ("n1", "n0"), ())
    assert why_here(told, "n1") == "json runs on n1: of n1 > n0 its hash ranks it first"
    moves = covey.Explanation("json", "n0", ("n1",), ("n0", "n1"), ("it moves",))
    assert why_here(moves, "n1") == "json runs on n1: n0 > n1; it moves"
