"""The process of a worker: orders and commands come in by its input, reports go out by its output."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading

import msgspec

from covey.cli import logs
from covey.cli.demo.reports import Command, Failed, Orders, Report
from covey.cli.demo.worker import work
from covey.cli.loop import run

END_SECONDS_MAX = 3.0  # after the end of the input the process ends, if need be without a goodbye


def _write(report: Report) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    sys.stdout.buffer.flush()


_unread = bytearray()


def _read_line() -> bytes | None:
    """The next line of input; None at its end. Not by `sys.stdin`, whose lock a thread would take into the exit."""
    while b"\n" not in _unread:
        more = os.read(0, 65536)
        if not more:
            return None
        _unread.extend(more)
    line, _, rest = bytes(_unread).partition(b"\n")
    _unread[:] = rest
    return line


def _listen(loop: asyncio.AbstractEventLoop, commands: asyncio.Queue[Command | None]) -> None:
    """Runs in a thread. The end of the input means that the director wants us to end, or is dead: no orphan stays."""
    with contextlib.suppress(RuntimeError):  # the loop has ended before
        while (line := _read_line()) is not None:
            command: Command = msgspec.json.decode(line, type=Command)
            loop.call_soon_threadsafe(commands.put_nowait, command)
        loop.call_soon_threadsafe(commands.put_nowait, None)
    threading.Event().wait(END_SECONDS_MAX)
    os._exit(1)


async def _work(orders: Orders) -> None:
    commands: asyncio.Queue[Command | None] = asyncio.Queue()
    threading.Thread(target=_listen, args=(asyncio.get_running_loop(), commands), daemon=True).start()
    await work(orders, commands, _write)


def main() -> None:
    """Take orders, work, and end when the input ends."""
    logs.configure()
    line = _read_line()
    if line is None:
        return  # the director is gone already
    try:
        run(_work(msgspec.json.decode(line, type=Orders)))
    except BaseException as error:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if not isinstance(error, BrokenPipeError):
            _write(Failed(f"{type(error).__name__}: {error}"))
        raise


if __name__ == "__main__":
    main()
