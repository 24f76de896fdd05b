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

PLAIN_LINES_MAX = 25  # of progress, however long the work takes


class Column(msgspec.Struct):
    """One worker, as it was heard of last."""

    name: str
    pid: int = 0
    site: str = ""
    address: str = ""
    state: str = "starting"  # then alive, and perhaps killed, or lost when it ended by itself
    progress: Progress = Progress()
    complete: Complete | None = None
    flash_until_s: float = 0.0  # files were taken over: shown brightly until then


class View(msgspec.Struct):
    """All there is to see."""

    files: int
    seconds_of_work: float
    act: str = ""
    why: str = ""
    elapsed_s: float = 0.0
    columns: list[Column] = []

    @property
    def live(self) -> list[Column]:
        return [column for column in self.columns if column.state == "alive"]

    @property
    def fraction(self) -> float:
        """The part of the work that is done: of all tables on all live workers, those that are there."""
        live = self.live
        return sum(column.progress.held for column in live) / max(1, self.files * len(live))


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
            {"name": column.name, "pid": column.pid, "state": column.state, **msgspec.structs.asdict(column.progress)}
            for column in view.columns
        ]
        self._tell("progress", view, {"files": view.files, "fraction": round(view.fraction, 3), "workers": workers})

    def explain(self, view: View) -> None:
        self._tell("act", view, {"act": view.act, "why": view.why})

    def close(self) -> None:
        """Nothing was opened."""

    def _tell(self, event: str, view: View, fields: dict[str, Any]) -> None:
        self._write(json.dumps({"event": event, "seconds": round(view.elapsed_s, 2), **fields}))


class PlainScreen:
    """A line when an act begins and a line of progress a second, forty at most."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._next_s = 1.0

    def show(self, view: View) -> None:
        if view.elapsed_s < self._next_s:
            return
        self._next_s = view.elapsed_s + max(1.0, view.seconds_of_work / PLAIN_LINES_MAX)
        workers = "  ".join(f"{column.name} {standing(column)}" for column in view.columns)
        self._write(f"{view.elapsed_s:5.1f} s  {view.fraction:4.0%}  {workers}")

    def explain(self, view: View) -> None:
        self._write(f"{view.elapsed_s:5.1f} s  {view.act}: {view.why}")

    def close(self) -> None:
        """Nothing was opened."""


def standing(column: Column) -> str:
    """A worker in a few letters: `56/147`, with what it took over `80/176 (29 taken)`."""
    if column.state != "alive":
        return column.state
    progress = column.progress
    taken = f" ({progress.taken} taken)" if progress.taken else ""
    return f"{progress.done}/{progress.owned}{taken}"


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
