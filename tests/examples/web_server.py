"""A web application under uvicorn, in processes of its own, and load on it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from tests.runtime.transport.tcp_harness import wait_until

ROOT = Path(__file__).parents[2]


class Server:
    """uvicorn and its workers: what it logs, and the port that it found."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.log: list[str] = []
        self.port = 0
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.log.append(line.decode().rstrip())
            if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", self.log[-1]):
                self.port = int(found[1])

    @property
    def startups(self) -> int:
        """How many workers have started so far, those that ended since included."""
        return sum("Application startup complete" in line for line in self.log)

    async def wait_startups(self, count: int) -> None:
        """Until so many workers have started."""
        await wait_until(lambda: (self.port and self.startups >= count) or self.process.returncode is not None, 60)
        assert self.process.returncode is None, "\n".join(self.log)

    async def end(self) -> int:
        """What Ctrl-C does; returns the exit status when all its workers have ended."""
        self.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            await self._reading  # each worker holds the pipe open
            return await self.process.wait()


@contextlib.asynccontextmanager
async def serving(app: str, workers: int, folder: Path) -> AsyncIterator[Server]:
    """`uvicorn APP --workers N`, ready to serve. What still runs of it at the end of the block is killed."""
    environment = os.environ | {"COVEY_RUNTIME_DIR": str(folder / "run"), "XDG_CONFIG_HOME": str(folder / "config")}
    command = ("-m", "uvicorn", app, "--workers", str(workers), "--port", "0", "--no-access-log", "--no-use-colors")
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stderr=PIPE, cwd=ROOT, env=environment, start_new_session=True
    )
    server = Server(process)
    try:
        await server.wait_startups(workers)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        await server._reading


class Answer(msgspec.Struct, frozen=True):
    """One request: from when to when in seconds, and what came of it. `status` is 0 where the connection broke."""

    user: str
    began: float
    ended: float
    status: int
    body: Any


class Load:
    """Clients that ask without pause, some of them for the same user."""

    def __init__(self, port: int, users: list[str], clients_each: int) -> None:
        self.answers: list[Answer] = []
        self._port = port
        self._is_over = False
        self._clients = [asyncio.create_task(self._ask(user)) for user in users for _ in range(clients_each)]

    @property
    def clients(self) -> int:
        """How many there are."""
        return len(self._clients)

    async def _ask(self, user: str) -> None:
        now = asyncio.get_running_loop().time
        while not self._is_over:
            began = now()
            try:
                async with asyncio.timeout(15):
                    status, body = await post(self._port, f"/{user}", "a line")
            except ConnectionError as error:
                status, body = 0, repr(error)
            self.answers.append(Answer(user, began, now(), status, body))

    def good(self, user: str, since: float = 0.0) -> list[Answer]:
        """What a user was answered to requests that began after a time."""
        return [one for one in self.answers if one.user == user and one.status == 200 and one.began >= since]

    async def end(self) -> None:
        """Each client gets its last answer."""
        self._is_over = True
        await asyncio.gather(*self._clients)


async def post(port: int, path: str, text: str | bytes) -> tuple[int, Any]:
    """The status and the JSON that answer a request. Raises `ConnectionError` where the server went away."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        body = text.encode() if isinstance(text, str) else text
        writer.write(f"POST {path} HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    if not head:
        raise ConnectionResetError("closed without an answer")
    return int(head.split()[1]), json.loads(answer)
