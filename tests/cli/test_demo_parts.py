"""The demo's parts without processes: the work, what is shown, and how it came out."""

from __future__ import annotations

import asyncio
import io
import json
import sys

import pytest

from covey.cli.demo import corpus, screen, tables
from covey.cli.demo.children import Child
from covey.cli.demo.command import result_line
from covey.cli.demo.director import Director, Stuck
from covey.cli.demo.reports import Complete, Progress
from covey.cli.demo.screen import Column, JsonScreen, PlainScreen, View

# --- corpus ---------------------------------------------------------------------------------------------------------


def test_a_word_is_a_run_of_letters_and_underscores_in_lower_case():
    assert corpus.count_words(b"def Foo_1(x): # x-ray\n") == {"def": 1, "foo_": 1, "x": 2, "ray": 1}


def test_bytes_that_are_no_text_are_in_no_word():
    assert corpus.count_words(b"caf\xe9 \xff\xfe a\x00b") == {"caf": 1, "a": 1, "b": 1}


def test_a_run_longer_than_64_is_several_words():
    assert corpus.count_words(b"a" * 130) == {"a" * 64: 2, "aa": 1}


def test_files_are_sorted_and_neither_installed_nor_tests(tmp_path):
    for name in ("b.py", "a/z.py", "a/readme.txt", "site-packages/x.py", "a/test/t.py", "dist-packages/d/y.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"one \xff two")
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere.py")
    files = corpus.list_files(tmp_path)
    assert files == ["a/z.py", "b.py"]
    assert corpus.count_all(tmp_path, files) == {"one": 2, "two": 2}


def test_the_standard_library_is_several_hundred_files():
    files = corpus.list_files(corpus.library_root())
    assert len(files) > 300
    assert "asyncio/tasks.py" in files
    assert not any("-packages" in file for file in files)


# --- what is shown --------------------------------------------------------------------------------------------------


def make_view(nodes: int = 5) -> View:
    """Just after a kill, with the largest numbers that are likely."""
    view = View(files=1234, seconds_of_work=12.0, act="take over", elapsed_s=12.3)
    view.why = "killed n3 (pid 4194304), which owned 271 files; they are theirs: " + ", ".join(["n0 +61"] * (nodes - 1))
    progress = Progress(members=3, owned=300, done=170, taken=61, taken_done=20, held=800, words=1_334_419)
    view.columns = [Column(f"n{number}", 4194304, state="alive", progress=progress) for number in range(nodes)]
    view.columns[3] = Column(
        "n3", 4194304, state="killed", progress=Progress(owned=271, done=140, held=500, words=900_123)
    )
    view.columns[0].flash_until_s = 13.0
    return view


@pytest.mark.parametrize("encoding, nodes", [("utf-8", 5), ("utf-8", 6), ("ascii", 5)])
def test_the_picture_fits_80_columns_and_24_lines(encoding, nodes):
    rich_console = pytest.importorskip("rich.console")
    from covey.cli.demo.picture import picture

    paper = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = rich_console.Console(width=80, file=paper, record=True, force_terminal=False, no_color=True)
    console.print(picture(make_view(nodes), console))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 23  # and the prompt
    text = "\n".join(lines)
    for shown in ("take over", "12.3 s", "killed", "170/300", "+61", "1,334,419", "65%", "4194304"):
        assert shown in text, shown
    assert ("■" in text) is (encoding == "utf-8")


def test_a_picture_of_nothing_yet():
    rich_console = pytest.importorskip("rich.console")
    from covey.cli.demo.picture import picture

    console = rich_console.Console(width=80, file=io.StringIO(), record=True)
    view = View(files=700, seconds_of_work=12.0)
    console.print(picture(view, console))
    view.columns = [Column("n0", 1)]
    console.print(picture(view, console))
    assert "starting" in console.export_text()


@pytest.mark.parametrize("seconds", [1.0, 12.0, 30.0])
def test_plain_lines_are_at_most_forty(seconds):
    lines: list[str] = []
    plain = PlainScreen(lines.append)
    view = make_view()
    view.seconds_of_work = seconds
    for act in ("form", "count", "kill", "take over", "compare", "done"):
        view.act = act
        plain.explain(view)
    for tenth in range(int((seconds * 1.3 + 3) * 10)):
        view.elapsed_s = tenth / 10
        plain.show(view)
    assert len(lines) <= 40
    assert lines[0] == f" 12.3 s  form: {view.why}"
    assert "n0 170/300 (61 taken)  " in lines[-1]
    assert "n3 killed" in lines[-1]


def test_json_lines_are_one_a_second_and_one_an_act():
    lines: list[str] = []
    machine = JsonScreen(lines.append)
    view = make_view()
    machine.explain(view)
    for tenth in range(25):
        view.elapsed_s = tenth / 10
        machine.show(view)
    events = [json.loads(line) for line in lines]
    assert [event["event"] for event in events] == ["act", "progress", "progress", "progress"]
    assert events[0] == {"event": "act", "seconds": 12.3, "act": "take over", "why": view.why}
    assert events[1]["workers"][3]["state"] == "killed"


def test_without_rich_a_terminal_gets_plain_lines(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delitem(sys.modules, "covey.cli.demo.picture", raising=False)
    for module in ("rich", "rich.console", "rich.live"):
        monkeypatch.setitem(sys.modules, module, None)
    assert isinstance(screen.choose(as_json=False), PlainScreen)
    assert isinstance(screen.choose(as_json=True), JsonScreen)


# --- how it came out ------------------------------------------------------------------------------------------------


class Blank:
    """A screen that nobody sees."""

    def show(self, view: View) -> None: ...
    def explain(self, view: View) -> None: ...
    def close(self) -> None: ...


async def test_one_wrong_digest_is_not_exact(tmp_path):
    (tmp_path / "a.py").write_bytes(b"one two two")
    director = Director(2, 1.0, False, tmp_path, ["a.py"], Blank())
    right = Complete(1, 3, tables.digest({"one": 1, "two": 2}))
    wrong = Complete(1, 3, tables.digest({"one": 2, "two": 1}))
    for name, complete in (("n0", right), ("n1", wrong)):
        progress = Progress(held=1, words=3)
        director.view.columns.append(Column(name, state="alive", complete=complete, progress=progress))
    with pytest.raises(Stuck, match="n1 found"):
        await director._compare()
    assert director.summary("n1 is wrong")["exact"] == "no"
    director.view.columns[1].complete = right
    await director._compare()
    assert director.summary() == {"exact": "yes", "nodes": "2/2", "files": 1, "words": 3, "seconds": 0}
    assert director.summary("interrupted")["exact"] == "no"


async def test_workers_that_end_do_not_spoil_how_it_came_out(tmp_path):
    director = Director(2, 1.0, False, tmp_path, ["a.py"], Blank())
    child = Child(None, Column("n0", state="alive", progress=Progress(held=1, words=3)))  # type: ignore[arg-type]
    director.view.columns.append(child.column)
    director._hear(child, Progress(held=1, words=4))
    director._ending = True
    director._hear(child, Progress())
    assert (director.summary()["files"], director.summary()["words"]) == (1, 4)


async def test_what_never_comes_ends_with_the_reason(tmp_path):
    director = Director(2, 1.0, False, tmp_path, ["a.py"], Blank())
    director.view.columns.append(Column("n0", state="alive", progress=Progress(members=1)))
    with pytest.raises(Stuck, match=r"^nothing came within 0 s \(n0 sees 1 others and has 0 files\)$"):
        await director._until(lambda: False, 0.01, "nothing came")
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_the_last_line_fits_80_columns():
    told = {"nodes": "5/5", "files": 734, "words": 1334419, "took over": 82, "restarted": "n3", "seconds": 16}
    line = result_line({"exact": "yes", **told})
    assert line == "exact: yes  nodes: 5/5  files: 734  words: 1334419  took over: 82  restarted: n3"
    assert len(line) <= 80
