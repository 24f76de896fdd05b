"""The director of the demo: starts the workers, kills one, and compares what the survivors found with a plain count.

It decides nothing about the work. It reads the workers' reports, and its only tools are starting a process, SIGKILL, and
the end of a worker's input, which means: end.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from covey.cli.demo import tables
from covey.cli.demo.corpus import count_all
from covey.cli.demo.reports import Complete, Failed, NeighbourLost, Orders, Progress, Report, Started
from covey.cli.demo.screen import Column, Screen, View

RUN_SECONDS_MAX = 55.0  # for the whole run
FORM_SECONDS_MAX = 20.0
SLACK_SECONDS_MAX = 15.0  # for the work, above the time it is paced to take
END_SECONDS_MAX = 4.0
FLASH_SECONDS = 3.0
SHOW_SECONDS = 0.1


class Stuck(Exception):
    """The demo does not come to its end. The text says why."""


class Child:
    """A worker's process, and what was heard of it."""

    def __init__(self, process: Process, column: Column) -> None:
        self.process = process
        self.column = column
        self.last_words: deque[str] = deque(maxlen=5)  # of its stderr
        self.tasks: list[asyncio.Task[None]] = []

    async def command(self, orders: Orders) -> None:
        """Write the first line it waits for."""
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode(orders) + b"\n")
        await self.process.stdin.drain()

    def end(self) -> None:
        """Close its input: it says goodbye and ends."""
        assert self.process.stdin is not None
        self.process.stdin.close()


class Director:
    """Runs the demo once. `run` raises `Stuck`; `summary` says how it came out, whenever it is called."""

    def __init__(
        self, nodes: int, seconds_of_work: float, kill: bool, root: Path, files: list[str], screen: Screen
    ) -> None:
        self._nodes = nodes
        self._kill_one = kill
        self._root = root
        self._files = files
        self._screen = screen
        self._children: list[Child] = []
        self._news = asyncio.Event()
        self._trouble = ""
        self._ending = False
        self._started_s = time.monotonic()
        self._killed_s = self._noticed_s = 0.0
        self._expected: Counter[str] | None = None
        self._exact = False
        self.view = View(files=len(files), seconds_of_work=seconds_of_work)

    async def run(self) -> None:
        """Form, count, kill, compare. Whatever happens, no worker is left when it returns."""
        showing = asyncio.create_task(self._show())
        try:
            async with asyncio.timeout(RUN_SECONDS_MAX):
                await self._form()
                await self._count()
                await self._compare()
        except TimeoutError:
            raise Stuck(f"not done after {RUN_SECONDS_MAX:.0f} s: {self._pending()}") from None
        finally:
            showing.cancel()
            await self._end()
            self._screen.show(self._now())

    def summary(self, reason: str = "") -> dict[str, Any]:
        """How it came out. `exact` is "yes" only if every survivor's totals were compared and are the same."""
        survivors = [child.column for child in self._children if child.column.state == "ended"]
        found = min(
            (Complete(c.progress.held, c.progress.words, "") if c.complete is None else c.complete for c in survivors),
            key=lambda complete: complete.files,
            default=Complete(0, 0, ""),
        )
        summary: dict[str, Any] = {
            "exact": "yes" if self._exact and not reason else "no",
            "nodes": f"{len(survivors)}/{self._nodes}",
            "files": found.files,
            "words": found.words,
        }
        if any(child.column.state == "killed" for child in self._children):
            summary["took over"] = sum(column.progress.counted_taken for column in survivors)
        summary["seconds"] = round(self.view.elapsed_s, 1)
        if reason:
            summary["reason"] = reason
        return summary

    # --- the acts ---------------------------------------------------------------------------------------------------

    async def _form(self) -> None:
        others = "the others know only n0, and find one another through it" if self._nodes > 1 else "alone"
        self._explain("form", f"{self._nodes} processes start on ports that nobody chose; {others}")
        for number in range(self._nodes):
            await self._start(f"n{number}")
        first, *rest = self._children
        cluster, secret = f"demo-{secrets.token_hex(4)}", secrets.token_hex(32)
        orders = Orders(
            cluster=cluster,
            secret=secret,
            seeds=[],
            nodes=self._nodes,
            root=str(self._root),
            files=self._files,
            pace_s=self.view.seconds_of_work * self._nodes / len(self._files),
        )
        addresses: list[str] = []
        self._on_started = lambda report: addresses.append(report.address)
        await first.command(orders)
        await self._until(lambda: bool(addresses), FORM_SECONDS_MAX, "n0 does not start")
        for child in rest:
            await child.command(msgspec.structs.replace(orders, seeds=addresses[:1]))
        full = self._nodes - 1
        await self._until(
            lambda: all(column.progress.neighbours == full for column in self.view.columns),
            FORM_SECONDS_MAX,
            "the workers did not all become neighbours",
        )

    async def _count(self) -> None:
        self._explain(
            "count",
            f"every node works out alone which of the {len(self._files)} files are its own (highest hash of file and "
            "node); nobody assigns them",
        )
        seconds = self.view.seconds_of_work + SLACK_SECONDS_MAX
        if self._kill_one:
            await self._until(lambda: self.view.fraction >= 0.5, seconds, "the first half of the files takes too long")
            await self._kill()
        await self._until(
            lambda: all(child.column.complete is not None for child in self._alive()),
            seconds,
            "the survivors do not complete the work",
        )

    async def _kill(self) -> None:
        victim = max(self._alive(), key=lambda child: child.column.progress.owned - child.column.progress.done)
        progress = victim.column.progress
        unfinished = progress.owned - progress.done
        if not unfinished:
            raise Stuck("the work was over before one could be killed; give it more time (--seconds-of-work)")
        victim.column.state = "killed"
        self._killed_s = time.monotonic()
        victim.process.kill()
        text = (
            f"killed {victim.column.name} (pid {victim.column.pid}), which owned {progress.owned} files, "
            f"{unfinished} of them not counted yet"
        )
        self._explain("kill", text)
        survivors = self._alive()
        await self._until(
            lambda: all(child.column.progress.neighbours == len(survivors) - 1 for child in survivors),
            SLACK_SECONDS_MAX,
            f"the others do not notice that {victim.column.name} is dead",
        )
        takers = ", ".join(f"{child.column.name} +{child.column.progress.taken}" for child in survivors)
        noticed_ms = max(1, round((self._noticed_s - self._killed_s) * 1000))
        self._explain("take over", f"{text}; noticed after {noticed_ms} ms, its files move: {takers}")

    async def _compare(self) -> None:
        names = ", ".join(column.name for column in self.view.live)
        self._explain("compare", f"{names} each say they have everything; now one process counts it all again, alone")
        self._expected = await asyncio.to_thread(count_all, self._root, self._files)
        expected = Complete(len(self._files), self._expected.total(), tables.digest(self._expected))
        for column in self.view.live:
            if column.complete != expected:
                raise Stuck(f"{column.name} found {column.complete}, and right is {expected}")
        self._exact = True
        self._explain("done", f"{names} hold the same totals as the plain count, word for word")

    # --- processes --------------------------------------------------------------------------------------------------

    async def _start(self, name: str) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "covey.cli.demo.worker",
            stdin=PIPE, stdout=PIPE, stderr=PIPE,
            start_new_session=True,  # Ctrl-C is for the director
        )  # fmt: skip
        child = Child(process, Column(name, pid=process.pid))
        self._children.append(child)
        self.view.columns.append(child.column)
        child.tasks = [asyncio.create_task(self._listen(child)), asyncio.create_task(self._listen_to_errors(child))]

    async def _listen(self, child: Child) -> None:
        assert child.process.stdout is not None
        async for line in child.process.stdout:
            self._hear(child, msgspec.json.decode(line, type=Report))
            self._news.set()
        status = await child.process.wait()
        if child.column.state != "killed":
            child.column.state = "ended"
            if not self._ending and not self._trouble:
                await asyncio.wait(child.tasks[1:], timeout=1.0)
                told = f": {child.last_words[-1]}" if child.last_words else ""
                self._trouble = f"{child.column.name} ended by itself with status {status}{told}"
        self._news.set()

    async def _listen_to_errors(self, child: Child) -> None:
        assert child.process.stderr is not None
        async for line in child.process.stderr:
            child.last_words.append(line.decode(errors="replace").strip()[:500])

    def _hear(self, child: Child, report: Report) -> None:
        column = child.column
        match report:
            case Started(site):
                column.site, column.state = site, "alive"
                self._on_started(report)
            case Progress():
                if report.taken > column.progress.taken:
                    column.flash_until_s = self._now().elapsed_s + FLASH_SECONDS
                column.progress = report
            case NeighbourLost():
                if self._killed_s and not self._noticed_s:
                    self._noticed_s = time.monotonic()
            case Complete():
                column.complete = report
            case Failed(reason):
                self._trouble = f"{column.name}: {reason}"

    async def _end(self) -> None:
        """End every worker: with a goodbye, or at once when that takes too long."""
        self._ending = True
        for child in self._children:
            child.end()
        waiting = [asyncio.create_task(child.process.wait()) for child in self._children]
        if waiting:
            await asyncio.wait(waiting, timeout=END_SECONDS_MAX)
        for child in self._children:
            if child.process.returncode is None:
                child.process.kill()
        tasks = [task for child in self._children for task in child.tasks]
        await asyncio.gather(*waiting, *tasks, return_exceptions=True)

    # --- waiting ----------------------------------------------------------------------------------------------------

    def _alive(self) -> list[Child]:
        return [child for child in self._children if child.column.state == "alive"]

    async def _until(self, holds: Callable[[], bool], seconds: float, otherwise: str) -> None:
        """Wait for news until `holds()`. Raises `Stuck` when a worker fails, or after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    if self._trouble:
                        raise Stuck(self._trouble)
                    if holds():
                        return
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise Stuck(f"{otherwise} within {seconds:.0f} s ({self._pending()})") from None

    def _pending(self) -> str:
        """Who lacks what."""
        lacking = [
            f"{column.name} has {column.progress.neighbours} neighbours and {column.progress.held} of {self.view.files} files"
            for column in self.view.columns
            if column.state != "killed" and column.complete is None
        ]
        return "; ".join(lacking) or f"in the act {self.view.act!r}"

    def _now(self) -> View:
        self.view.elapsed_s = time.monotonic() - self._started_s
        return self.view

    def _explain(self, act: str, why: str) -> None:
        self.view.act, self.view.why = act, why
        self._screen.explain(self._now())

    async def _show(self) -> None:
        while True:
            self._screen.show(self._now())
            await asyncio.sleep(SHOW_SECONDS)
