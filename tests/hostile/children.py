"""Child processes that talk in JSON lines: started, heard, steered, and ended with the test."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

TALKER = Path(__file__).with_name("talker.py")
LINE_BYTES_MAX = 1 << 20


class Child:
    """One child process and all that it has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self._news = asyncio.Event()
        self._readers = [asyncio.create_task(self._read()), asyncio.create_task(self._read_errors())]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def address(self) -> str:
        return str(self.of("started")[0]["address"])

    @property
    def site(self) -> str:
        return str(self.of("started")[0]["site"])

    def of(self, event: str) -> list[dict[str, Any]]:
        """What it said of one kind, in order."""
        return [said for said in self.said if said["event"] == event]

    async def until(self, condition: Callable[[], object], seconds: float = 10.0) -> None:
        """Wait until `condition()` holds; looked at after each line. Fails at once when the child has ended."""
        async with asyncio.timeout(seconds):
            while not condition():
                assert self.process.returncode is None, "".join(self.errors)
                self._news.clear()
                await self._news.wait()

    async def hear(self, event: str, count: int = 1, seconds: float = 10.0) -> dict[str, Any]:
        """The `count`th line of one kind, which may be still to come."""
        await self.until(lambda: len(self.of(event)) >= count, seconds)
        return self.of(event)[count - 1]

    async def ask(self, event: str, seconds: float = 10.0, **command: Any) -> dict[str, Any]:
        """Give a command, and wait for the line that answers it."""
        count = len(self.of(event)) + 1
        self.tell(**command)
        return await self.hear(event, count, seconds)

    def tell(self, **command: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.said.append(json.loads(line))
            self._news.set()
        await self.process.wait()
        self._news.set()

    async def _read_errors(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.errors.append(line.decode(errors="replace"))
            del self.errors[:-200]

    async def end(self) -> None:
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        await self.process.wait()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        transport: Any = getattr(self.process, "_transport", None)
        if transport is not None:
            transport.close()


@contextlib.asynccontextmanager
async def children() -> AsyncIterator[Callable[..., Any]]:
    """A function that starts child processes; they end with the block."""
    found: list[Child] = []

    async def start(*arguments: str, **environment: str) -> Child:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, env={**os.environ, **environment}, limit=LINE_BYTES_MAX,
        )  # fmt: skip
        child = Child(process)
        found.append(child)
        await child.hear("started", seconds=20)
        return child

    try:
        yield start
    finally:
        await asyncio.gather(*(child.end() for child in found))


def talker(**options: Any) -> tuple[str, str]:
    """The command of a child that runs `talker.py`."""
    return str(TALKER), json.dumps({"seeds": [], **options})
