"""The demo's live picture on a terminal, drawn by rich: a column a worker, and in it the shelves that run there.

Importing this module raises `ImportError` where rich is not installed.
"""

from __future__ import annotations

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from covey.cli.demo.screen import Column, View

LINES_AROUND = 14  # all that is not a line of shelves, the prompt too
ROWS = (10, 24)  # of shelves: in 24 lines, and where there is room
WHY_LINES = 4
WIDTH_MAX = 120
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
    """The whole picture of `view`, for the size of `console`."""
    width = min(console.width - 2, WIDTH_MAX)  # a terminal's echo of Ctrl-C has room beside it
    rows = min(max(console.height - LINES_AROUND, ROWS[0]), ROWS[1])
    fancy = console.encoding.startswith("utf")
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(ratio=1)
    bar.add_column(justify="right", no_wrap=True)
    done = f"{view.fraction:4.0%} of {view.files} files on {len(view.live) or len(view.columns)} nodes"
    bar.add_row(ProgressBar(total=1.0, completed=view.fraction, complete_style="green"), Text(done))
    title = Text.assemble((" covey ", "bold"), (f" {view.act} ", "bold cyan"), (f" {view.elapsed_s:.1f} s ", "dim"))
    inner = width - 4
    body = Group(
        _workers(view, width, rows),
        Text(),
        bar,
        Text(_cut(view.numbers, inner), style=_numbers_style(view)),
        Text(_cut(view.explained, inner), style="dim"),
        Text(_cut(view.why, WHY_LINES * (inner - 7))),  # words are not broken, which leaves so much of a line free
        Text(_cut(view.hint, inner), style="cyan"),
    )
    return Panel(
        body,
        title=title,
        title_align="left",
        width=width,
        box=box.ROUNDED if fancy else box.ASCII,
        border_style="dim",
        padding=(0, 1),
    )


def _cut(text: str, length_max: int) -> str:
    return text if len(text) <= length_max else text[: length_max - 3] + "..."


def _numbers_style(view: View) -> str:
    return "bold yellow" if any(column.progress.waits_s > 0.5 for column in view.live) else "bold"


def _workers(view: View, width: int, rows: int) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=False)
    each = max(8, (width - 4) // max(1, len(view.columns)) - 1)
    for _ in view.columns:
        table.add_column(no_wrap=True, width=each)
    table.add_row(*(_head(column, each) for column in view.columns))
    table.add_row(*(Text(f"pid {column.pid}"[:each], style="dim") for column in view.columns))
    drawn = [_shelves(column, view, rows, each) for column in view.columns]
    for row in range(rows):
        table.add_row(*(lines[row] if row < len(lines) else Text() for lines in drawn))
    return table


def _head(column: Column, width: int) -> Text:
    side = f" side {column.side}" if column.side else ""
    return Text(f"{column.name} {column.state if not side else ''}{side}"[:width], style=_STATES[column.state])


def _shelves(column: Column, view: View, rows: int, width: int) -> list[Text]:
    """A line a shelf, whoever just came first; its name, and how far it is indexed until it is."""
    if column.state not in ("alive", "killed"):
        return []
    now_s = view.elapsed_s
    come = sorted(column.progress.copies, key=lambda copy: (column.flashes.get(copy[0], 0.0) <= now_s, copy[0]))
    shown = come if len(come) <= rows else come[: rows - 1]
    lines = [_shelf(column, name, done, view, width) for name, done in shown]
    if len(shown) < len(come):
        lines.append(Text(f"and {len(come) - len(shown)} more"[:width], style="dim"))
    return lines


def _shelf(column: Column, name: str, done: int, view: View, width: int) -> Text:
    of = view.shelves.get(name, 0)
    part = "" if done >= of else f"{done / of:4.0%}"
    text = f"{name[: width - len(part)]:<{width - len(part)}}{part}"
    if column.state == "killed":
        return Text(text, style="red dim strike")
    if column.flashes.get(name, 0.0) > view.elapsed_s:
        return Text(text, style="bold black on yellow" if int(view.elapsed_s * 4) % 2 else "bold yellow")
    return Text(text, style="green" if not part else "")
