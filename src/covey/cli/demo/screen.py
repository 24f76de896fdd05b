"""What people see of the demo: plain lines where there is no terminal, JSON where it is asked for.

`picture` has the live picture; what all of them show is a `View`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from covey.cli.demo.reports import Complete, Progress
from covey.cli.demo.tally import copies, in_words

PLAIN_SECONDS = 2.0  # between two lines of progress


class Column(msgspec.Struct):
    """One worker, as it was heard of last."""

    name: str
    pid: int = 0
    site: str = ""
    address: str = ""
    state: str = "starting"  # then alive, and perhaps killed, or lost when it ended by itself
    side: int = 0  # of the split that it is on; 0: there is none
    progress: Progress = Progress()
    complete: Complete | None = None
    flashes: dict[str, float] = {}  # shelves that came here: shown brightly until then


class View(msgspec.Struct):
    """All there is to see."""

    files: int
    shelves: dict[str, int] = {}  # how many files are on each
    act: str = ""
    why: str = ""  # of the act
    explained: str = ""  # of one shelf, by the hub
    hint: str = ""  # which keys there are
    elapsed_s: float = 0.0
    rate: float = 0.0  # queries a second
    columns: list[Column] = []
    gone: list[Progress] = []  # the last reports of those who were killed and whose column somebody else has

    @property
    def live(self) -> list[Column]:
        return [column for column in self.columns if column.state == "alive"]

    @property
    def fraction(self) -> float:
        """The part of the work that is done: of all rows on all live workers, those that are there."""
        live = self.live
        return sum(column.progress.held for column in live) / max(1, self.files * len(live))

    @property
    def _all(self) -> list[Progress]:
        return [*self.gone, *(column.progress for column in self.columns)]

    @property
    def answered(self) -> int:
        return sum(progress.answered for progress in self._all)

    @property
    def failed(self) -> int:
        return sum(progress.failed for progress in self._all)

    @property
    def silence_s(self) -> float:
        """The longest time that a client got no answer."""
        return max((progress.silence_s for progress in self._all), default=0.0)

    @property
    def copies(self) -> str:
        return in_words(copies([column.progress for column in self.live], self.shelves))

    @property
    def numbers(self) -> str:
        return (
            f"{self.rate:.0f} queries/s  failed {self.failed}  longest silence {self.silence_s:.1f} s  "
            f"copies {self.copies}"
        )


class Screen(Protocol):
    """Shows a view. `show` comes ten times a second, `explain` when an act begins or its reason changes."""

    def show(self, view: View) -> None: ...
    def explain(self, view: View) -> None: ...
    def close(self) -> None: ...


class JsonScreen:
    """One JSON object a line, for machines."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._next_s = 0.0

    def show(self, view: View) -> None:
        if view.elapsed_s < self._next_s:
            return
        self._next_s = int(view.elapsed_s) + 1.0
        workers = [
            {
                "name": column.name,
                "pid": column.pid,
                "state": column.state,
                "side": column.side,
                **msgspec.structs.asdict(column.progress),
            }
            for column in view.columns
        ]
        fields = {
            "files": view.files,
            "fraction": round(view.fraction, 3),
            "queries_per_s": round(view.rate, 1),
            "failed": view.failed,
            "longest_silence_s": view.silence_s,
            "why": view.explained,
            "workers": workers,
        }
        self._tell("progress", view, fields)

    def explain(self, view: View) -> None:
        self._tell("act", view, {"act": view.act, "why": view.why})

    def close(self) -> None:
        """Nothing was opened."""

    def _tell(self, event: str, view: View, fields: dict[str, Any]) -> None:
        self._write(json.dumps({"event": event, "seconds": round(view.elapsed_s, 2), **fields}))


class PlainScreen:
    """A line when an act begins and a line of progress every other second."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._next_s = 1.0

    def show(self, view: View) -> None:
        if view.elapsed_s < self._next_s:
            return
        self._next_s = view.elapsed_s + PLAIN_SECONDS
        workers = "  ".join(f"{column.name} {standing(column)}" for column in view.columns)
        self._write(f"{view.elapsed_s:5.1f} s  {view.fraction:4.0%}  {workers}  {view.numbers}")

    def explain(self, view: View) -> None:
        self._write(f"{view.elapsed_s:5.1f} s  {view.act}: {view.why}")

    def close(self) -> None:
        """Nothing was opened."""


def standing(column: Column) -> str:
    """A worker in a few letters: how many shelves it has."""
    return str(len(column.progress.copies)) if column.state == "alive" else column.state


def choose(as_json: bool) -> Screen:
    """The screen for where standard output goes."""
    if as_json:
        return JsonScreen(_write_line)
    if sys.stdout.isatty() and _can_move_cursor():
        try:
            from covey.cli.demo.picture import LivePicture
        except ImportError:  # rich is an extra
            pass
        else:
            return LivePicture()
    return PlainScreen(_write_line)


def _can_move_cursor() -> bool:
    return os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")


def _write_line(line: str) -> None:
    print(line, flush=True)
