"""Logs of a command: one line a record on stderr, as `key=value`, with keys that stay.

The library only logs, and leaves it to the program where to; here is the program. Every record has `time`, `level`,
`logger` and `event`; what the library says about an event follows in its own keys.
"""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime
from typing import IO

import click

_COLORS = {"debug": "bright_black", "warning": "yellow", "error": "red", "critical": "red"}


def has_color(stream: IO[str]) -> bool:
    """Whether to write colours: a terminal that knows them, and nobody asked to leave them out (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class KeyValueFormatter(logging.Formatter):
    """One record, one line."""

    def __init__(self, color: bool) -> None:
        super().__init__()
        self._color = color

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        level = record.levelname.lower()
        message = record.getMessage()
        if not message.startswith("event="):  # another library's
            message = f"event=log message={message!r}"
        parts = [f"time={time}", f"level={level}", f"logger={record.name}", message]
        if record.exc_info:
            parts.append(f"traceback={self.formatException(record.exc_info)!r}")
        line = " ".join(" ".join(parts).splitlines())
        return click.style(line, fg=_COLORS.get(level)) if self._color else line


def configure(verbose: bool = False) -> None:
    """Send logs to stderr: warnings, and with `verbose` everything that covey has to say."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValueFormatter(has_color(sys.stderr)))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    if verbose:
        logging.getLogger("covey").setLevel(logging.DEBUG)
