"""The process of one child: a supervisor with that one child, whose node is at the other end of a socket.

A thread reads the socket, so that the end of the node and the end of the lease are noticed while the child burns CPU;
another one says that it has started, where it burns from its first step on.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from multiprocessing import spawn
from typing import Any

from covey.core import children as c
from covey.core.children import Copy, Ending
from covey.core.errors import UsageError
from covey.runtime.children.children import Children
from covey.runtime.children.crashes import trace_of
from covey.runtime.children.frames import LENGTH, Begin, Frame, Lease, Said, decode_frame, encode_frame, machine_us
from covey.runtime.children.letters import in_a_line
from covey.runtime.children.starts import Start

log = logging.getLogger("covey.runtime.children")

FOREVER_US = 1 << 62
READ_BYTES = 1 << 18
FIRST_STEP_S = 0.5  # whoever does not await for so long has started: it burns CPU. Guess


class Pipe:
    """The socket to the node. Frames are written whole, from any thread; reading is for one."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)  # what the child starts must not keep it open
        self._socket = socket.socket(fileno=fd)
        self._lock = threading.Lock()
        self._buffer = bytearray()

    def send(self, frame: Frame) -> None:
        """Write a frame. If the node is gone, so are we, at once."""
        try:
            with self._lock:
                self._socket.sendall(encode_frame(frame))
        except OSError:
            end_now()

    def read(self, seconds: float | None) -> Any:
        """The next frame, or None where it is not there after `seconds`, or not yet as a whole.

        Ends the process at the end of the node.
        """
        if (frame := self._take()) is not None:
            return frame
        if seconds is None or select.select([self._socket], [], [], max(seconds, 0))[0]:
            try:
                part = self._socket.recv(READ_BYTES)
            except OSError:
                part = b""
            if not part:
                end_now()
            self._buffer += part
        return self._take()

    def _take(self) -> Any:
        buffer, start = self._buffer, LENGTH.size
        if len(buffer) < start:
            return None
        (length,) = LENGTH.unpack_from(buffer)
        if len(buffer) < start + length:
            return None
        body = bytes(buffer[start : start + length])
        del buffer[: start + length]
        return decode_frame(body)


def end_now() -> None:
    """End this process, whatever its child is doing."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # the signal may reach another thread first, and nothing else is to happen here


class NodeLog(logging.Handler):
    """What the supervisor logs goes to the log of the node."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__()
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        """One line, with its traceback."""
        self._pipe.send(Said(record.levelno, self.format(record).encode("utf-8", "replace").decode()))


class NoHub:
    """Stands for the handle of the hub, which is in another process."""

    def __getattr__(self, name: str) -> Any:
        raise UsageError("a child in a process of its own has no handle of its hub; ask its caller to do that")


class Watch:
    """What the thread that reads has to know of the lease.

    Law: once the child may run, the process outlives its lease by `lapse_us` at most, unless it is renewed.
    """

    def __init__(self, copy: Copy, lapse_us: int) -> None:
        self._copy = copy
        self._lapse_us = lapse_us
        self.until_us = 0  # when the lease ends
        self._is_told = False  # that it has
        self._is_on = False

    def renew(self, lease: Lease) -> None:
        """Another lease. Of two clocks that disagree, the one that ends it sooner counts; what is over stays so."""
        now_us = machine_us()
        if lease.until_us is None:
            until_us = FOREVER_US
        elif lease.left_us:
            until_us = min(lease.until_us, now_us + lease.left_us)
        else:
            until_us = min(self.until_us, now_us) if self._is_on else now_us
        if until_us > now_us:
            self._is_told = False
        self._is_on = True
        self.until_us = until_us

    def seconds(self) -> float | None:
        """How long there is nothing to do about it."""
        if not self._is_on or self.until_us >= FOREVER_US:
            return None
        return (self.until_us + (self._lapse_us if self._is_told else 0) - machine_us()) / 1e6

    def due(self) -> c.StopChild | None:
        """Time is up: what the child is to be told; ends the process the second time."""
        seconds = self.seconds()
        if seconds is None or seconds > 0:
            return None
        if self._is_told:
            end_now()
        self._is_told = True
        return c.StopChild(self._copy, self._lapse_us * 3 // 4, True)


def main(fd: int) -> None:
    """Be the process of one child, with its node at the other end of `fd`."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a terminal's and a service manager's, for all: the node ends us
        signal.signal(number, lambda *_: None)
    pipe = Pipe(fd)
    while (begin := pipe.read(None)) is None:
        pass
    assert isinstance(begin, Begin)
    log.propagate = False
    log.addHandler(NodeLog(pipe))
    try:
        spawn.prepare({"name": "covey child", **begin.settings})
        start = find(begin.name)
    except BaseException as error:
        log.error("event=child_crashed start=%s reason=%r", begin.name, in_a_line(error), exc_info=error)
        pipe.send(c.ChildExited(begin.prepare.copy, Ending.RAISED, in_a_line(error), trace_of(error)))
        return
    asyncio.run(live(pipe, begin, Start(start)))


def find(name: str) -> Any:
    """What goes by this name, which our own node sent: it made it from what it holds itself."""
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found


async def live(pipe: Pipe, begin: Begin, start: Start[...]) -> None:
    """Run the child until it has ended."""
    loop = asyncio.get_running_loop()
    copy = begin.prepare.copy
    watch = Watch(copy, begin.lapse_us)
    over = loop.create_future()
    begun = threading.Event()  # or ended

    def feed(fact: Any) -> None:
        if isinstance(fact, (c.ChildStarted, c.ChildExited)):
            begun.set()
        pipe.send(fact)
        if isinstance(fact, c.ChildExited) and not over.done():
            over.set_result(None)

    children = Children(feed, machine_us, lambda _: watch.until_us)
    children.open(copy.hub, {begin.prepare.start: start}, NoHub())

    def listen() -> None:
        while True:
            frame = pipe.read(watch.seconds())
            if isinstance(frame, Lease):
                watch.renew(frame)
                frame = None
            for effect in (frame, watch.due()):
                if effect is not None:
                    try:
                        loop.call_soon_threadsafe(children.hands[type(effect)], effect)
                    except RuntimeError:  # the loop is closed: it has ended
                        return

    def watch_first_step() -> None:
        since = 0.0
        while not begun.wait(FIRST_STEP_S / 5):
            if not any(run.inside and not run.inside.starts_itself for run in children.births.stepping):
                since = 0.0
            elif not since:
                since = time.monotonic()
            elif time.monotonic() >= since + FIRST_STEP_S:
                pipe.send(c.ChildStarted(copy))
                return

    children.hands[c.PrepareChild](begin.prepare)
    threading.Thread(target=listen, name="covey node", daemon=True).start()
    threading.Thread(target=watch_first_step, name="covey first step", daemon=True).start()
    await over
    sys.stdout.flush()
