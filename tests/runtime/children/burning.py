"""Children for processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from typing import Any

from covey.core.errors import Deposed
from covey.runtime.children import Context, Handover


async def answer(context: Context, greeting: str = "hi") -> Any:
    """Says who and where it is; fails, counts, and leaves its count."""
    count = context.handed_over or 0
    async for letter in context.mailbox:
        count += 1
        if letter.payload == "fail":
            letter.fail("as you like")
        elif letter.payload == "raise":
            raise ValueError("as you like")
        elif letter.payload == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif letter.payload == "garble":
            for fd in range(3, 256):
                with contextlib.suppress(OSError):
                    socket.socket(fileno=os.dup(fd)).send(b"\0\0\0\1x")
        elif letter.payload == "exit":
            sys.exit(3)
        elif isinstance(letter.payload, bytes):
            return Handover(letter.payload)
        else:
            letter.reply([greeting, os.getpid(), context.id, context.fencing_token, count])
    return Handover([context.stopping.reason, context.stopping.winner, count])


async def burns(context: Context) -> None:
    """Never looks up."""
    await asyncio.sleep(0)
    while True:
        sum(range(1000))


async def only_burns(context: Context) -> None:
    """Never awaits."""
    while True:
        sum(range(1000))


class StartsLong:
    """Burns before it has started."""

    def __init__(self, context: Context) -> None:
        self.context = context

    async def start(self) -> None:
        """Longer than a first step may take."""
        time.sleep(1.5)
        raise ValueError("in start")

    async def run(self) -> None:
        """Never."""


async def checks(context: Context) -> None:
    """Answers whether it may run."""
    async for letter in context.mailbox:
        try:
            context.check()
            letter.reply("may")
        except Deposed:
            letter.reply("deposed")


class Slow:
    """Takes its time to start."""

    def __init__(self, context: Context, fails: str = "") -> None:
        self.context, self.fails = context, fails
        if fails == "init":
            raise ValueError("in init")

    async def start(self) -> None:
        """Not long."""
        await asyncio.sleep(0.05)
        if self.fails == "start":
            raise ValueError("in start")

    async def run(self) -> None:
        """Until it is to end."""
        await self.context.stopping.wait()


async def cleans_up(context: Context, path: str) -> None:
    """Ignores that it is told, and cleans up when it is cancelled."""
    try:
        await asyncio.Event().wait()
    finally:
        with open(path, "w") as file:
            file.write("clean")


async def leaves_a_thread(context: Context) -> None:
    """Its process does not end by itself."""
    threading.Thread(target=time.sleep, args=(600,)).start()


async def asks_its_hub(context: Context) -> None:
    """Which is not here."""
    await context.hub.call("other", 1)
