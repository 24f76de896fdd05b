"""Single keys from a terminal, without Enter."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def keys(hear: Callable[[str], None]) -> Iterator[bool]:
    """Call `hear` with each key while the block runs; gives whether there is a keyboard. The terminal is put back."""
    try:
        import termios
        import tty
    except ImportError:  # no such terminals here
        yield False
        return
    if not sys.stdin.isatty():
        yield False
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    loop = asyncio.get_running_loop()

    def read() -> None:
        for key in os.read(descriptor, 64).decode(errors="ignore"):
            hear(key.lower())

    tty.setcbreak(descriptor)  # and Ctrl-C stays a signal
    loop.add_reader(descriptor, read)
    try:
        yield True
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
