"""A cluster of `member_process`es: started at once, listened to, killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec

from benchmarks.member_process import Orders

READY_S_MAX = 60.0


class MemberProcess:
    """One process and all that it said."""

    def __init__(self, orders: Orders, process: asyncio.subprocess.Process, news: asyncio.Event) -> None:
        self.orders = orders
        self.process = process
        self.said: list[dict[str, Any]] = []
        self.may_end = False  # it was killed, or told to end
        self._news = news
        self._reading = asyncio.create_task(self._read(), name=f"read {orders.name}")

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.said.append(json.loads(line))
            self._news.set()
        await self.process.wait()
        self._news.set()

    @property
    def running(self) -> bool:
        return self.process.returncode is None

    def last(self, event: str) -> dict[str, Any] | None:
        """What it said last of one kind."""
        return next((said for said in reversed(self.said) if said["event"] == event), None)

    def of(self, event: str) -> list[dict[str, Any]]:
        """Everything that it said of one kind."""
        return [said for said in self.said if said["event"] == event]

    def heard(self, event: str) -> dict[str, Any]:
        """What it said last of a kind that it has said. Raises `LookupError` if it has not."""
        said = self.last(event)
        if said is None:
            raise LookupError(f"{self.orders.name} has said nothing of {event!r}")
        return said

    def alive(self) -> int:
        """How many members it holds for alive."""
        said = self.last("alive")
        return 0 if said is None else int(said["count"])

    def down(self, name: str) -> dict[str, Any] | None:
        """What it said when it gave `name` up."""
        return next((said for said in self.said if said["event"] == "down" and said["name"] == name), None)

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    async def end(self) -> None:
        """Let it end in order; if it does not within five seconds, end it."""
        self.may_end = True
        assert self.process.stdin is not None
        self.process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), 5)
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
        await self._reading


class Members:
    """The processes of one measurement."""

    def __init__(
        self, processes: list[MemberProcess], news: asyncio.Event, command: Callable[[Orders], list[str]]
    ) -> None:
        self.processes = processes
        self.everybody: list[MemberProcess] = []  # those that were replaced, too
        self._news = news
        self._command = command

    async def add(self, orders: Orders, prefix: Sequence[str] = (), at: int | None = None) -> MemberProcess:
        """One process more, or one in the place of another."""
        started = await asyncio.create_subprocess_exec(
            *prefix, *self._command(orders), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        process = MemberProcess(orders, started, self._news)
        self.everybody.append(process)
        if at is None:
            self.processes.append(process)
        else:
            self.processes[at] = process
        return process

    async def ready(self) -> None:
        """Wait until everything is imported everywhere."""
        await self.until(lambda: all(process.last("ready") for process in self.processes), READY_S_MAX, "ready")

    async def ask(
        self, line: str, answer: str, processes: Sequence[MemberProcess] = (), seconds: float = 60.0
    ) -> list[dict[str, Any]]:
        """Give a command to some, or to all, and wait for what each says to it."""
        asked = processes or self.processes
        expected = self.tell(line, answer, asked)
        return await self.answers(answer, expected, asked, seconds)

    def tell(self, line: str, answer: str, processes: Sequence[MemberProcess]) -> list[int]:
        """Give a command; returns how often each will have said `answer` then."""
        expected = [len(process.of(answer)) + 1 for process in processes]
        for process in processes:
            process.tell(line)
        return expected

    async def answers(
        self, answer: str, expected: Sequence[int], processes: Sequence[MemberProcess], seconds: float = 60.0
    ) -> list[dict[str, Any]]:
        """What each said when it had said `answer` so often."""
        pairs = list(zip(processes, expected, strict=True))
        await self.until(lambda: all(len(one.of(answer)) >= count for one, count in pairs), seconds, answer)
        return [process.of(answer)[count - 1] for process, count in pairs]

    async def until(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        """Wait until `condition()` holds; looked at after each line of any process."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    if gone := [each.orders.name for each in self.processes if not (each.running or each.may_end)]:
                        raise RuntimeError(f"not {what}: {', '.join(gone)} ended")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            states = ", ".join(f"{process.orders.name}: {process.said[-1:]}" for process in self.processes)
            raise RuntimeError(f"not {what} within {seconds} s; {states}") from None

    async def go(self, seconds: float = 60.0) -> float:
        """Start all at once; the seconds until each of them holds all for alive."""
        count = len(self.processes)
        begin_s = asyncio.get_running_loop().time()
        for process in self.processes:
            process.tell("go")
        await self.until(lambda: all(process.alive() == count for process in self.processes), seconds, "joined")
        return max(float(process.heard("alive")["at"]) for process in self.processes) - begin_s

    async def wait_down(self, victim: MemberProcess, since_s: float, seconds: float) -> tuple[float, float, list[str]]:
        """Seconds until the first and until all others gave `victim` up, and the causes they said."""
        name = victim.orders.name
        others = [process for process in self.processes if process is not victim]
        await self.until(lambda: all(process.down(name) for process in others), seconds, f"giving {name} up")
        found: list[Any] = [process.down(name) for process in others]
        times = [said["at"] - since_s for said in found]
        return min(times), max(times), sorted({said["cause"] for said in found})

    async def counters(self) -> list[dict[str, Any]]:
        """What each counted."""
        for process in self.processes:
            process.said = [said for said in process.said if said["event"] != "counters"]
            process.tell("count")
        await self.until(lambda: all(process.last("counters") for process in self.processes), 10, "counted")
        return [process.heard("counters") for process in self.processes]


def member_command(orders: Orders) -> list[str]:
    """The command line of one member."""
    return [sys.executable, "-m", "benchmarks.member_process", msgspec.json.encode(orders).decode()]


def group_command(orders: Orders) -> list[str]:
    """The same of one that uses groups."""
    return [sys.executable, "-m", "benchmarks.group_process", msgspec.json.encode(orders).decode()]


@contextlib.asynccontextmanager
async def members(
    all_orders: Sequence[Orders],
    prefixes: Sequence[list[str]] | None = None,
    command: Callable[[Orders], list[str]] = member_command,
) -> AsyncIterator[Members]:
    """Processes that are ready to go, each behind a prefix of its command line; they end with the block."""
    news = asyncio.Event()
    cluster = Members([], news, command)
    try:
        for number, orders in enumerate(all_orders):
            await cluster.add(orders, prefixes[number] if prefixes is not None else [])
        await cluster.ready()
        yield cluster
    finally:
        await asyncio.gather(*(process.end() for process in cluster.everybody))


def kill(process: MemberProcess) -> float:
    """SIGKILL, as the process itself is known to the system, and when (CLOCK_MONOTONIC)."""
    at_s = asyncio.get_running_loop().time()
    process.may_end = True
    os.kill(process.process.pid, signal.SIGKILL)
    return at_s


def free_addresses(count: int) -> list[str]:
    """Addresses on loopback that nothing listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    finally:
        for each in sockets:
            each.close()
