"""What commands write: aligned tables for people, one JSON object a line for machines."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, BinaryIO

import msgspec

DEPTH_MAX = 100  # a peer's metadata and values are as deep as it likes. Guess


def tell_json(value: Any) -> None:
    """`value` as one line of JSON."""
    line = msgspec.json.encode(plain(value)) + b"\n"
    stream: BinaryIO = sys.stdout.buffer
    # Under PYTHONUNBUFFERED it is the bare file, whose `write` may take a part only, and say so where nobody looks.
    if not isinstance(stream, io.RawIOBase):
        stream.write(line)
        stream.flush()
        return
    buffered = io.BufferedWriter(stream)
    buffered.write(line)
    buffered.flush()
    buffered.detach()


def plain(value: Any, depth: int = 0) -> Any:
    """`value` as JSON can say it: bytes as hex, keys as text, and `...` for what is nested deeper than anyone reads."""
    match value:
        case bytes():
            return value.hex()
        case dict() | list() | tuple() if depth > DEPTH_MAX:
            return "..."
        case dict():
            return {
                key if isinstance(key, str) else str(plain(key, depth + 1)): plain(part, depth + 1)
                for key, part in value.items()
            }
        case list() | tuple():
            return [plain(part, depth + 1) for part in value]
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)


def visible(text: str) -> str:
    """`text` with its control characters escaped: what a peer wrote does not steer our terminal."""
    return text if text.isprintable() else repr(text)[1:-1]


def wall(ms: int) -> str:
    """A moment for people, from milliseconds since 1970; 0 is none."""
    if not ms:
        return "-"
    try:
        return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):  # a peer's clock may say anything
        return f"{ms} ms"


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Rows below their heads, each column as wide as its widest cell."""
    cells = [list(heads), *([visible(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
