"""The demo's parts without processes: the work, what is shown, and how it came out."""

from __future__ import annotations

import asyncio
import io
import json
import sys

import pytest

from covey.cli.demo import corpus, screen, tables
from covey.cli.demo.acts import Acts
from covey.cli.demo.command import result_line
from covey.cli.demo.director import Director, Stuck
from covey.cli.demo.processes import Process
from covey.cli.demo.reports import Complete, Missed, Progress
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

SHELVES = {f"package{number}+": 20 for number in range(40)}


def make_view(nodes: int = 5) -> View:
    """Just after a kill, with the largest numbers that are likely."""
    view = View(files=1234, shelves=SHELVES, act="take over", elapsed_s=12.3, rate=712.4)
    view.why = "killed n3 (pid 4194304); its shelves run elsewhere: " + ", ".join(["package12+"] * 40)
    view.explained = "package3+ runs on n1: of n1 > n4 > n0 > n2 its hash ranks it first; " + "and more " * 20
    view.hint = "keys: k kill  p partition  r restart  q finish"
    names = list(SHELVES)
    for number in range(nodes):
        mine = [(name, 20 if at % 2 else 7) for at, name in enumerate(names[number::3])]
        progress = Progress(nodes - 1, nodes, mine, 40, 3, 800, 1_334_419, 12_345, 17, 3.25, 0.1)
        view.columns.append(Column(f"n{number}", 4194304, state="alive", progress=progress))
    view.columns[3].state = "killed"
    view.columns[0].flashes = {"package39+": 15.0}
    view.columns[1].side = 2
    return view


def drawn(view: View, encoding: str = "utf-8", height: int = 24) -> list[str]:
    rich_console = pytest.importorskip("rich.console")
    from covey.cli.demo.picture import picture

    paper = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = rich_console.Console(
        width=80, height=height, file=paper, record=True, force_terminal=False, no_color=True
    )
    console.print(picture(view, console))
    return console.export_text().splitlines()


@pytest.mark.parametrize("encoding, nodes", [("utf-8", 5), ("utf-8", 6), ("ascii", 5)])
def test_the_picture_fits_80_columns_and_24_lines(encoding, nodes):
    lines = drawn(make_view(nodes), encoding)
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 23  # and the prompt
    text = "\n".join(lines)
    for shown in (
        "take over",
        "12.3 s",
        "killed",
        "side 2",
        "712 queries/s",
        "failed",
        "65%",
        "4194304",
        "more",
        "35%",
    ):
        assert shown in text, shown
    assert "k kill" in lines[-2]


def test_where_there_is_room_every_shelf_is_shown_and_who_just_came_is_first():
    lines = drawn(make_view(), height=50)
    assert lines[3].split()[1].startswith("pac") and "more" not in "\n".join(lines[:20])
    view = make_view()
    view.columns[0].progress = Progress(copies=[("package1+", 20), ("package39+", 20)])
    assert "package39+" in drawn(view)[3]


def test_a_picture_of_nothing_yet():
    view = View(files=700)
    assert drawn(view)
    view.columns = [Column("n0", 1)]
    assert "starting" in "\n".join(drawn(view))


def test_plain_lines_are_one_an_act_and_one_every_other_second():
    lines: list[str] = []
    plain = PlainScreen(lines.append)
    view = make_view()
    plain.explain(view)
    for tenth in range(400):
        view.elapsed_s = tenth / 10
        plain.show(view)
    assert len(lines) <= 22
    assert lines[0] == f" 12.3 s  take over: {view.why}"
    assert "n3 killed" in lines[-1] and "712 queries/s  failed 85  longest silence 3.2 s" in lines[-1]


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


class Told:
    """A process that is told what to do, and does nothing."""

    def __init__(self, column: Column) -> None:
        self.column = column

    async def tell(self, said: object) -> None: ...


def make_director(tmp_path, *columns: Column) -> Director:
    (tmp_path / "a.py").write_bytes(b"one two two")
    director = Director(2, 1.0, tmp_path, {"a": ["a.py"]}, Blank(), tmp_path)
    director.processes = [Told(column) for column in columns]  # type: ignore[misc]
    director.view.columns = list(columns)
    return director


async def test_one_wrong_digest_or_answer_is_not_exact(tmp_path):
    right = Complete(1, 3, tables.digest({"one": 1, "two": 2}))
    wrong = Complete(1, 3, tables.digest({"one": 2, "two": 1}))
    columns = []
    for name, copies, complete in (("n0", [("a", 1)], right), ("n1", [], wrong)):
        progress = Progress(members=1, nodes=2, copies=copies, running=1, held=1, words=3)
        columns.append(Column(name, state="alive", complete=complete, progress=progress))
    director = make_director(tmp_path, *columns)
    with pytest.raises(Stuck, match="n1 found"):
        await Acts(director).finish()
    columns[1].complete = Complete(1, 3, right.digest, wrong=1)
    with pytest.raises(Stuck, match="wrong=1"):
        await Acts(director).finish()
    assert director.summary("n1 is wrong")["exact"] == "no"
    columns[1].complete = right
    await Acts(director).finish()
    assert director.summary() == {
        "exact": "yes", "nodes": "2/2", "files": 1, "words": 3, "unanswered": 0, "longest gap": "0.0 s",
        "duplicates after heal": 0,
    }  # fmt: skip
    assert director.summary("interrupted")["exact"] == "no"
    director.gaps.missed.append(Missed("a", 1.0, 3.0, "DeadlineExceeded: why"))
    told = director.summary()
    assert (told["unanswered"], told["reason"]) == (1, "a did not answer in 2.0 s: DeadlineExceeded: why")


async def test_whoever_was_killed_does_not_count_as_a_survivor_when_it_is_back(tmp_path):
    director = make_director(tmp_path, Column("n0", state="alive"), Column("n1", state="alive"))
    director.killed["n1"] = None
    told = director.summary()
    assert (told["nodes"], told["killed and back"], director.details()["live"]) == ("1/2", 1, ["n0", "n1"])


async def test_workers_that_end_do_not_spoil_how_it_came_out(tmp_path):
    process = Process(None, Column("n0", state="alive"))  # type: ignore[arg-type]
    director = make_director(tmp_path, process.column)
    director._hear(process, Progress(held=1, words=4))
    director._ending = True
    director._hear(process, Progress())
    assert (director.summary()["files"], director.summary()["words"]) == (1, 4)


async def test_what_never_comes_ends_with_the_reason(tmp_path):
    director = make_director(tmp_path, Column("n0", state="alive", progress=Progress(members=1)))
    with pytest.raises(Stuck, match=r"^nothing came within 0 s \(n0 sees 1 others, 0 in the hub, .*; copies: a 0\)$"):
        await director.until(lambda: False, 0.01, "nothing came")
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_the_last_line():
    told = {"nodes": "4/5", "files": 734, "words": 1334419, "unanswered": 0, "longest gap": "1.2 s"}
    line = result_line({"exact": "yes", **told, "duplicates after heal": 0})
    assert line.startswith("exact: yes  nodes: 4/5  files: 734  words: 1334419  unanswered: 0  longest gap: 1.2 s  ")
    assert line.endswith("  duplicates after heal: 0")
