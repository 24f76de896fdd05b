"""The director of the demo: starts the workers, hears what they report, and knows how it came out.

It decides nothing about the work. Its only tools are starting a process, SIGKILL, the cut that workers make themselves,
and the end of a worker's input, which means: end. What happens when is in `acts`.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from covey.cli.demo import tally
from covey.cli.demo.processes import Process, start_process
from covey.cli.demo.reports import Command, Complete, Failed, Missed, Orders, Progress, Report, Started, Why
from covey.cli.demo.screen import Screen, View

FLASH_SECONDS = 3.0
SHOW_SECONDS = 0.1
CATCH_UP = 4  # times the pace, for one that begins in the middle


class Stuck(Exception):
    """The demo does not come to its end. The text says why."""


class Director:
    """The processes of one demo, and what is known of them. `end` leaves none behind."""

    def __init__(
        self, nodes: int, seconds: float, root: Path, shelves: dict[str, list[str]], screen: Screen, folder: Path
    ) -> None:
        files = sum(map(len, shelves.values()))
        self.view = View(files=files, shelves={name: len(some) for name, some in shelves.items()})
        self.nodes = nodes
        self.seconds = seconds
        self.root = root
        self.shelves = shelves
        self.gaps = tally.Gaps()
        self.exact = False
        self.duplicates: int | None = None  # after the heal; None: there was none
        self.processes: list[Process] = []
        self.killed: dict[str, None] = {}  # by name, whoever was, once
        self._screen = screen
        self._news = asyncio.Event()
        self._trouble = ""
        self._ending = False
        self._started_s = time.monotonic()
        self._folder = folder  # of what the workers keep
        self._orders: dict[str, Orders] = {}  # by the worker's name
        self._rate = tally.Rate()

    # --- processes --------------------------------------------------------------------------------------------------

    async def start(self, name: str, seeds: list[str], cluster: str, secret: str) -> Process:
        """Start a worker and give it its orders."""
        process = await start_process(name)
        self.processes.append(process)
        self.view.columns.append(process.column)
        process.listen(self._hear, self._lose)
        orders = self._orders[name] = Orders(
            name, cluster, secret, seeds, str(self.root), self.shelves, self.seconds,
            str(self._folder / f"{name}.db"),
        )  # fmt: skip
        await process.tell(orders)
        return process

    async def start_first(self) -> None:
        """Start all workers: the others know the first one's address."""
        given = f"demo-{secrets.token_hex(4)}", secrets.token_hex(32)
        first = await self.start("n0", [], *given)
        await self.until(lambda: bool(first.column.address), 20.0, "n0 does not start")
        for number in range(1, self.nodes):
            await self.start(f"n{number}", [first.column.address], *given)

    async def start_again(self, victim: Process) -> Process:
        """Start one that was killed, with nothing but its storage. It takes the dead one's column."""
        name, column = victim.column.name, victim.column
        process = await start_process(name)
        self.processes.append(process)
        self.view.columns[self.view.columns.index(column)] = process.column
        self.view.gone.append(column.progress)
        process.listen(self._hear, self._lose)
        orders = self._orders[name]
        await process.tell(msgspec.structs.replace(orders, seeds=[], seconds=orders.seconds / CATCH_UP))
        return process

    def alive(self) -> list[Process]:
        """Who runs, as far as we know."""
        return [process for process in self.processes if process.column.state == "alive"]

    async def tell(self, processes: Iterable[Process], command: Command) -> None:
        """Give these workers a command."""
        await asyncio.gather(*(process.tell(command) for process in processes))

    async def end(self) -> None:
        """End all workers, and wait until they have."""
        self._ending = True
        await asyncio.gather(*(process.end() for process in self.processes), return_exceptions=True)

    # --- what is heard ----------------------------------------------------------------------------------------------

    def _hear(self, process: Process, report: Report) -> None:
        column = process.column
        if self._ending:  # a worker that ends takes its rows with it: what counts is how it was before
            return
        match report:
            case Started(site, address):
                column.site, column.address, column.state = site, address, "alive"
            case Progress():
                before = {shelf for shelf, _ in column.progress.copies}
                flash_until_s = self.now().elapsed_s + FLASH_SECONDS
                if self.view.fraction > 0:  # at first all of them come
                    column.flashes |= {shelf: flash_until_s for shelf, _ in report.copies if shelf not in before}
                column.progress = report
            case Missed():
                self.gaps.missed.append(report)
            case Why(text):
                self.view.explained = text
            case Complete():
                column.complete = report
            case Failed(reason):
                self._trouble = self._trouble or f"{column.name}: {reason}"
        self._news.set()

    def _lose(self, process: Process, reason: str) -> None:
        if not self._ending and process.column.state != "killed":
            process.column.state = "lost"
            self._trouble = self._trouble or reason
            self._news.set()

    def progress(self, processes: Iterable[Process] | None = None) -> list[Progress]:
        """What these workers reported last; by default all that are alive."""
        return [process.column.progress for process in (self.alive() if processes is None else processes)]

    async def until(self, holds: Callable[[], bool], seconds: float, otherwise: str) -> None:
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

    def wake(self) -> None:
        """Something that `until` waits for may hold now."""
        self._news.set()

    def _pending(self) -> str:
        """How each worker sees it."""
        seen = [
            f"{column.name} sees {column.progress.members} others, {column.progress.nodes} in the hub, "
            f"{column.progress.running} shelves running, {column.progress.doubles} twice, {column.progress.held} "
            f"files; {len(column.progress.copies)} run there"
            for column in self.view.live
        ]
        copies = tally.copies(self.progress(), self.shelves)
        odd = ", ".join(f"{shelf} {count}" for shelf, count in copies.items() if count != 1)
        return "; ".join([*seen, *([f"copies: {odd}"] if odd else [])]) or f"in the act {self.view.act!r}"

    # --- what is shown ----------------------------------------------------------------------------------------------

    def now(self) -> View:
        """All there is to see at this moment."""
        if not self._ending:
            self.view.elapsed_s = time.monotonic() - self._started_s
            self._rate.put(self.view.elapsed_s, sum(column.progress.answered for column in self.view.live))
            self.view.rate = self._rate.per_second
        return self.view

    def explain(self, act: str, why: str) -> None:
        """An act begins, or is otherwise than before."""
        self.view.act, self.view.why = act, why
        self._screen.explain(self.now())

    async def show(self) -> None:
        """Draw until cancelled."""
        while True:
            self._screen.show(self.now())
            await asyncio.sleep(SHOW_SECONDS)

    def summary(self, reason: str = "") -> dict[str, Any]:
        """How it came out. `exact` is "yes" only if every live worker's totals were compared and are the same."""
        live = self.view.live
        least = min((column.progress for column in live), key=lambda progress: progress.held, default=Progress())
        unanswered = self.gaps.unanswered()
        duplicates = self.duplicates if self.duplicates is not None else 0
        back = sum(column.name in self.killed for column in live)
        summary: dict[str, Any] = {
            "exact": "yes" if self.exact and not reason else "no",
            "nodes": f"{len(live) - back}/{self.nodes}",
            "files": least.held,
            "words": least.words,
            "unanswered": len(unanswered),
            "longest gap": f"{self.view.silence_s:.1f} s",
            "duplicates after heal": duplicates,
        }
        if back:  # they are there, but did not live through it
            summary["killed and back"] = back
        if not reason and unanswered:
            one = unanswered[0]
            reason = f"{one.shelf} did not answer in {one.ended_s - one.began_s:.1f} s: {one.reason}"
        if not reason and duplicates:
            reason = f"{duplicates} shelves run more than once: {self._pending()}"
        if reason:
            summary["reason"] = reason
        return summary

    def details(self) -> dict[str, Any]:
        """More of it, for machines."""
        live = self.view.live
        return {
            "live": [column.name for column in live],
            "killed": list(self.killed),
            "answered": self.view.answered,
            "failed": self.view.failed,
            "missed": [msgspec.structs.asdict(one) for one in self.gaps.missed],
            "seconds": round(self.now().elapsed_s, 1),
        }
