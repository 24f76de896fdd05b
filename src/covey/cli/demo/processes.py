"""The worker processes, as the director sees them: started, listened to, killed, ended. None is ever left behind."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio import subprocess
from asyncio.subprocess import PIPE
from collections import deque
from collections.abc import Callable

import msgspec

from covey.cli.demo.reports import Command, Orders, Report
from covey.cli.demo.screen import Column

END_SECONDS_MAX = 4.0


class Process:
    """One worker's process, and what is shown of it."""

    def __init__(self, process: subprocess.Process, column: Column) -> None:
        self.column = column
        self.last_words: deque[str] = deque(maxlen=5)  # of its stderr
        self._process = process
        self._tasks: list[asyncio.Task[None]] = []

    async def tell(self, said: Orders | Command) -> None:
        """Write a line for it to read: first its orders, then commands."""
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):  # it ended, which is reported elsewhere
            self._process.stdin.write(msgspec.json.encode(said) + b"\n")
            await self._process.stdin.drain()

    def kill(self) -> None:
        """SIGKILL: no goodbye, no chance to write anything down."""
        self.column.state = "killed"
        self._process.kill()

    def listen(self, hear: Callable[[Process, Report], None], lose: Callable[[Process, str], None]) -> None:
        """Call `hear` with every report, and `lose` with the reason when the process has ended."""
        errors = asyncio.create_task(self._listen_to_errors())
        self._tasks = [errors, asyncio.create_task(self._listen(hear, lose, errors))]

    async def _listen(
        self,
        hear: Callable[[Process, Report], None],
        lose: Callable[[Process, str], None],
        errors: asyncio.Task[None],
    ) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            with contextlib.suppress(msgspec.DecodeError):  # something else that was written there
                hear(self, msgspec.json.decode(line, type=Report))
        status = await self._process.wait()
        await asyncio.wait((errors,), timeout=1.0)
        told = f": {self.last_words[-1]}" if self.last_words else ""
        lose(self, f"{self.column.name} ended by itself with status {status}{told}")

    async def _listen_to_errors(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.last_words.append(line.decode(errors="replace").strip()[:500])

    async def end(self) -> None:
        """Close its input: it says goodbye and ends. Kill it when that takes too long."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(END_SECONDS_MAX):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        finally:
            if self._process.returncode is None:
                self._process.kill()
            for task in self._tasks:
                task.cancel()


async def start_process(name: str) -> Process:
    """Start a worker's process. It waits for its orders."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "covey.cli.demo.worker_main",
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,  # Ctrl-C is for the director
    )
    return Process(process, Column(name, pid=process.pid))
