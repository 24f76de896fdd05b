"""The demo's live picture on a terminal, drawn by rich: a column a worker, a square for every few files.

Importing this module raises `ImportError` where rich is not installed.
"""

from __future__ import annotations

import math

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from covey.cli.demo.screen import Column, View

ROWS_MAX = 5  # of squares in a column: the whole picture fits in 24 lines
WIDTH_MAX = 110
_STATES = {"starting": "dim", "alive": "bold green", "killed": "bold red", "lost": "bold red"}


class LivePicture:
    """Draws the view in place; the last one stays."""

    def __init__(self) -> None:
        self._console = Console()
        self._live = Live(console=self._console, auto_refresh=False)
        self._live.start()

    def show(self, view: View) -> None:
        self._live.update(picture(view, self._console), refresh=True)

    def explain(self, view: View) -> None:
        self.show(view)

    def close(self) -> None:
        self._live.stop()


def picture(view: View, console: Console) -> RenderableType:
    """The whole picture of `view`, for the width of `console`."""
    width = min(console.width - 2, WIDTH_MAX)  # a terminal's echo of Ctrl-C has room beside it
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(ratio=1)
    bar.add_column(justify="right", no_wrap=True)
    done = f"{view.fraction:4.0%} of {view.files} files on {len(view.live) or len(view.columns)} nodes"
    bar.add_row(ProgressBar(total=1.0, completed=view.fraction, complete_style="green"), Text(done))
    title = Text.assemble((" covey ", "bold"), (f" {view.act} ", "bold cyan"), (f" {view.elapsed_s:.1f} s ", "dim"))
    why = Padding(Text(view.why), (1, 0, 0, 0))
    body = Group(_workers(view, width, _squares(console)), Padding(bar, (1, 0, 0, 0)), why)
    border = box.ROUNDED if console.encoding.startswith("utf") else box.ASCII
    return Panel(body, title=title, title_align="left", width=width, box=border, border_style="dim", padding=(0, 1))


def _squares(console: Console) -> tuple[str, str]:
    return ("■", "·") if console.encoding.startswith("utf") else ("#", ".")


def _workers(view: View, width: int, squares: tuple[str, str]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), expand=True, show_header=False)
    table.add_column(style="dim", no_wrap=True, width=10)
    columns = view.columns
    each = max(6, (width - 4 - 11) // max(1, len(columns)) - 1)
    for _ in columns:
        table.add_column(no_wrap=True, width=each)
    # One scale for all and for the whole run: a survivor's share, and a sixth more, because hashing is not even.
    scale = max(1, math.ceil(view.files / max(1, len(columns) - 1) * 7 / 6 / (each * ROWS_MAX)))
    table.add_row("", *(Text(column.name, style=_STATES[column.state]) for column in columns))
    table.add_row("state", *(Text(column.state, style=_STATES[column.state]) for column in columns))
    table.add_row("pid", *(_gone(column, str(column.pid)) for column in columns))
    members = ["-" if column.state == "killed" else str(column.progress.members) for column in columns]
    table.add_row("sees alive", *(_gone(*both) for both in zip(columns, members, strict=True)))
    table.add_row("files", *(_gone(column, f"{column.progress.done}/{column.progress.owned}") for column in columns))
    table.add_row("taken over", *(_taken(column, view.elapsed_s) for column in columns))
    table.add_row("words", *(_gone(column, f"{column.progress.words:,}") for column in columns))
    table.add_row("")
    drawn = [_files(column, view.elapsed_s, scale, squares) for column in columns]
    table.add_row(f"{squares[0]} {scale} files" if scale > 1 else f"{squares[0]} a file", *drawn)
    return table


def _gone(column: Column, text: str) -> Text:
    return Text(text, style="dim" if column.state == "killed" else "")


def _taken(column: Column, now_s: float) -> Text:
    taken = column.progress.taken
    return Text(f"+{taken}" if taken else "", style=_flash(column, now_s))


def _flash(column: Column, now_s: float) -> str:
    if now_s < column.flash_until_s:
        return "bold black on yellow" if int(now_s * 4) % 2 else "bold yellow"
    return "yellow"


def _files(column: Column, now_s: float, scale: int, squares: tuple[str, str]) -> Text:
    """A square for every `scale` files: its own, and below those it took over; full when they are done."""
    progress = column.progress
    full, empty = squares
    own, own_done = progress.owned - progress.taken, progress.done - progress.taken_done
    own_style, taken_style = "red dim" if column.state == "killed" else "green", _flash(column, now_s)
    text = Text(no_wrap=False, overflow="fold")
    for count, done, full_style, empty_style in (
        (own, own_done, own_style, "dim"),
        (progress.taken, progress.taken_done, taken_style, taken_style),
    ):
        cells = math.ceil(count / scale)
        filled = cells if done >= count else done // scale
        text.append("\n" if count and text else "")
        text.append(full * filled, style=full_style)
        text.append(empty * (cells - filled), style=empty_style)
    return text
