"""A child in a process of its own, as its node sees it: for children that burn CPU, or must be ended for certain.

    node                                          the process (`worker.py`)
    Begin ──────────────────────────────────────▶ builds it
    StartChild, DeliverToChild, … ──────────────▶ the same supervisor as here, with one child
          ◀─────────────────── ChildStarted, ChildReplied, …, ChildExited

It is killed when its grace is over, and ends by itself when its node does, or when its lease is over and nobody says
otherwise.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from multiprocessing import spawn
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covey.core import children as c
from covey.core.children import Ending
from covey.core.ids import Site
from covey.runtime.children.copies import Run, Told
from covey.runtime.children.frames import LENGTH, Begin, Frame, Lease, Said, decode_frame, encode_frame, machine_us

if TYPE_CHECKING:
    from covey.runtime.children.children import Children

log = logging.getLogger("covey.runtime.children")

FOREVER_US = 1 << 60  # a lease beyond this is none
LEASE_S_MIN, LEASE_S_MAX = 0.02, 0.5  # between two looks at a lease; guess: renewals come every 0.8 s
LAST_QUARTER, CLEANING_US_MAX = 4, 1_000_000  # of its grace a child has that long to clean up once it is cancelled
ROOT = Path(__file__).parents[3]  # the folder of the package covey
EXIT_S = 5.0  # for a process to end once its child has; guess: interpreters take 0.1 s
SETTINGS = ("sys_path", "sys_argv", "dir")
MAIN = ("init_main_from_name", "init_main_from_path")


class ProcessBody:
    """One copy in a process of its own.

    Law: the process is gone, and waited for, when `live` returns or raises.
    """

    starts_itself = True

    def __init__(self, run: Run, name: str, children: Children) -> None:
        self._run = run
        self._name = name
        self._children = children
        self._writer: asyncio.StreamWriter | None = None
        prepare = c.PrepareChild(run.copy, run.start, run.arguments)
        begin = Begin(prepare, name, _settings(name), children.config.lapse_us)
        self._unsent = [encode_frame(begin)]  # until there is a process
        self._exited: c.ChildExited | None = None
        self._ended = False
        self._lease: int | None = None  # the last one that it was told
        self._lease_timer: asyncio.TimerHandle | None = None

    # --- what it is told --------------------------------------------------------------------------------------------

    def _send(self, frame: Frame) -> None:
        encoded = encode_frame(frame)
        if self._writer is None:
            self._unsent.append(encoded)
        elif not self._writer.is_closing():
            self._writer.write(encoded)

    def run(self, token: int, handed_over: bytes | None) -> None:
        """It may run now."""
        self._tell_lease()
        self._send(c.StartChild(self._run.copy, self._run.start, b"", token, handed_over))

    def throw_away(self) -> None:
        """Nothing: its task ends it."""

    def hear_letter(self, call: int, sender: Site, payload: bytes) -> None:
        """The letter that it asked for."""
        self._send(c.DeliverToChild(self._run.copy, call, sender, payload))

    def hear_token(self, token: int) -> None:
        """Its fencing token from now on."""
        self._send(c.TellToken(self._run.copy, token))

    def hear_end(self, reason: str, winner: Site | None, deposed: bool, grace_us: int) -> None:
        """It is to end. It is cancelled in the last quarter of its grace, and killed at the end."""
        copy = self._run.copy
        grace_us = max(grace_us - min(grace_us // LAST_QUARTER, CLEANING_US_MAX), 0)
        if winner is not None:
            self._send(c.AskHandover(copy, grace_us, winner, reason == "duplicate"))
        else:
            self._send(c.StopChild(copy, grace_us, deposed))

    def _tell_lease(self) -> None:
        """Its lease, now and whenever it is another one."""
        children = self._children
        if self._ended:
            return
        until_us, now_us = children.lease_us(self._run.copy), children.clock_us()
        left_us = max(until_us - now_us, 0)
        if until_us != self._lease:
            self._lease = until_us
            self._send(Lease(None if until_us > FOREVER_US else machine_us() + left_us, left_us))
        if until_us > FOREVER_US:
            return
        seconds = min(max(left_us / 4e6, LEASE_S_MIN), LEASE_S_MAX)
        self._lease_timer = children.loop.call_later(seconds, self._tell_lease)

    # --- the process ------------------------------------------------------------------------------------------------

    async def live(self) -> c.ChildExited:
        """Start the process, relay what it says, and wait for its end. Cancelled, it kills it."""
        ours, theirs = socket.socketpair()
        process: asyncio.subprocess.Process | None = None
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *_command(theirs.fileno()), stdin=asyncio.subprocess.DEVNULL, pass_fds=(theirs.fileno(),)
                )
            reader, self._writer = await asyncio.open_connection(sock=ours)
            self._writer.write(b"".join(self._unsent))
            self._unsent.clear()
            if await self._relay(reader):
                async with asyncio.timeout(EXIT_S):
                    await process.wait()
        except TimeoutError:  # its child has ended, or is not heard of; what it left behind keeps it from ending
            pass
        finally:
            self._ended = True
            if self._lease_timer is not None:
                self._lease_timer.cancel()
            if self._writer is not None:
                self._writer.close()
            else:
                ours.close()
            if process is not None and process.returncode is None:
                await _kill(process)
        status = None if process is None else process.returncode
        return self._exited or self._died(status or 0)

    async def _relay(self, reader: asyncio.StreamReader) -> bool:
        """What it says, until its child has ended; False where nobody understands it any more."""
        try:
            while self._exited is None:
                (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                self._hear(decode_frame(await reader.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except (ValueError, KeyError, RecursionError) as error:  # the child wrote there itself
            self._exited = self._failed(f"what the process of the child said cannot be read ({error})")
            return False
        return True

    def _hear(self, frame: Any) -> None:
        run = self._run
        if isinstance(frame, Said):
            log.log(frame.level, "%s", frame.text)
        elif isinstance(frame, c.ChildExited):
            self._exited = frame
        elif isinstance(frame, c.ChildStarted):
            run.has_begun()
        elif not run.is_over and not (run.is_wanted and isinstance(frame, c.ChildPrepared)):
            self._children.say(frame)

    def _died(self, status: int) -> c.ChildExited:
        """It said nothing of its end."""
        run = self._run
        if run.told is Told.STOP:
            return c.ChildExited(run.copy, Ending.STOPPED)
        how = f"exited with status {status}" if status >= 0 else f"was killed by {_signal_name(-status)}"
        return self._failed(f"the process of the child {how}")

    def _failed(self, error: str) -> c.ChildExited:
        run = self._run
        log.error("event=child_crashed hub=%s id=%s start=%s reason=%r", *run.names, error)
        return c.ChildExited(run.copy, Ending.RAISED, error)


async def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill it and wait for it, however often this is cancelled: it is no zombie afterwards."""
    if process.returncode is None:
        try:
            process.kill()
        except ProcessLookupError:
            pass
    waiting = asyncio.ensure_future(process.wait())
    while not waiting.done():
        try:
            await asyncio.shield(waiting)
        except asyncio.CancelledError:
            continue


def _command(fd: int) -> list[str]:
    """A new interpreter that can import this covey; the rest of its path it is told."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from covey.runtime.children.worker import main; main({fd})"
    return [os.fsdecode(spawn.get_executable()), "-c", code, "covey-child"]


def _settings(name: str) -> dict[str, Any]:
    """What a new interpreter has to know to import what this one can; the main script only where the child is in it."""
    known: dict[str, Any] = spawn.get_preparation_data("covey child")
    wanted = SETTINGS + (MAIN if name.startswith("__main__:") else ())
    return {key: known[key] for key in wanted if key in known}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
