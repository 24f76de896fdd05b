"""The director of the demo: starts the workers, kills one, starts it again, compares all results with a plain count.

It decides nothing about the work. It reads the workers' reports, and its only tools are starting a process, SIGKILL,
and the end of a worker's input, which means: end.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from covey.cli.demo import tables
from covey.cli.demo.children import Child, start_child
from covey.cli.demo.corpus import count_all
from covey.cli.demo.reports import Complete, Failed, MemberLost, Orders, Progress, Report, Started
from covey.cli.demo.screen import Screen, View

RUN_SECONDS_MAX = 54.0  # for all acts; ending the workers comes on top
FORM_SECONDS_MAX = 20.0
SLACK_SECONDS_MAX = 15.0  # for the work, above the time it is paced to take
FLASH_SECONDS = 3.0
SHOW_SECONDS = 0.1
RESTART_SECONDS = 1.5
CATCH_UP = 4  # times the pace, for one that begins in the middle


class Stuck(Exception):
    """The demo does not come to its end. The text says why."""


class Director:
    """Runs the demo once. `run` raises `Stuck`; `summary` says how it came out, whenever it is called."""

    def __init__(
        self, nodes: int, seconds_of_work: float, kill: bool, root: Path, files: list[str], screen: Screen
    ) -> None:
        self.view = View(files=len(files), seconds_of_work=seconds_of_work)
        self._nodes = nodes
        self._kill_one = kill
        self._root = root
        self._files = files
        self._screen = screen
        self._children: list[Child] = []
        self._news = asyncio.Event()
        self._trouble = ""
        self._ending = False
        self._exact = False
        self._started_s = time.monotonic()
        self._victim_site = ""
        self._noticed_s = 0.0
        self._restarted = ""
        self._folder = Path()
        self._orders: dict[str, Orders] = {}  # by the worker's name

    async def run(self) -> None:
        """Form, count, kill, restart, compare. Whatever happens, no worker is left when it returns."""
        showing = asyncio.create_task(self._show())
        try:
            with tempfile.TemporaryDirectory(prefix="covey-demo-") as folder:
                self._folder = Path(folder)
                await self._acts()
        finally:
            self._ending = True
            showing.cancel()

    async def _acts(self) -> None:
        try:
            async with asyncio.timeout(RUN_SECONDS_MAX):
                await self._form()
                await self._count()
                await self._compare()
        except TimeoutError:
            raise Stuck(f"not done after {RUN_SECONDS_MAX:.0f} s: {self._pending()}") from None
        finally:
            self._ending = True
            await asyncio.gather(*(child.end() for child in self._children), return_exceptions=True)

    def summary(self, reason: str = "") -> dict[str, Any]:
        """How it came out. `exact` is "yes" only if every survivor's totals were compared and are the same."""
        survivors = self.view.live
        least = min((column.progress for column in survivors), key=lambda progress: progress.held, default=Progress())
        summary: dict[str, Any] = {
            "exact": "yes" if self._exact and not reason else "no",
            "nodes": f"{len(survivors)}/{self._nodes}",
            "files": least.held,
            "words": least.words,
        }
        if self._victim_site:
            summary["took over"] = sum(column.progress.counted_taken for column in survivors)
        if self._restarted:
            summary["restarted"] = self._restarted
        summary["seconds"] = round(self._now().elapsed_s)
        if reason:
            summary["reason"] = reason
        return summary

    # --- the acts ---------------------------------------------------------------------------------------------------

    async def _form(self) -> None:
        self._explain(
            "form",
            f"{self._nodes} processes start on ports that nobody chose; the others know only n0, and find one another "
            "through it",
        )
        for number in range(self._nodes):
            child = await start_child(f"n{number}")
            self._children.append(child)
            self.view.columns.append(child.column)
            child.listen(self._hear, self._lose)
        first, *rest = self._children
        orders = Orders(
            cluster=f"demo-{secrets.token_hex(4)}",
            secret=secrets.token_hex(32),
            seeds=[],
            nodes=self._nodes,
            root=str(self._root),
            files=self._files,
            pace_s=self.view.seconds_of_work * self._nodes / len(self._files),
            storage="",
        )
        await self._command(first, orders)
        await self._until(lambda: bool(first.column.address), FORM_SECONDS_MAX, "n0 does not start")
        orders = msgspec.structs.replace(orders, seeds=[first.column.address])
        await asyncio.gather(*(self._command(child, orders) for child in rest))
        await self._until(
            lambda: all(column.progress.members == self._nodes - 1 for column in self.view.columns),
            FORM_SECONDS_MAX,
            "the workers did not all see each other alive",
        )

    async def _command(self, child: Child, orders: Orders) -> None:
        name = child.column.name
        orders = self._orders[name] = msgspec.structs.replace(orders, storage=str(self._folder / f"{name}.db"))
        await child.command(orders)

    async def _count(self) -> None:
        self._explain(
            "count",
            f"each node works out alone which of the {len(self._files)} files are its own, by a hash of file and node; "
            "nobody assigns them",
        )
        seconds = self.view.seconds_of_work + SLACK_SECONDS_MAX
        if self._kill_one:
            await self._until(lambda: self.view.fraction >= 0.5, seconds, "half of the files were not counted")
            await self._restart(await self._kill())
        await self._until(
            lambda: all(child.column.complete is not None for child in self._alive()),
            seconds,
            "not every survivor read the tables of all files",
        )

    async def _kill(self) -> Child:
        victim = max(self._alive(), key=lambda child: child.column.progress.owned - child.column.progress.done)
        progress = victim.column.progress
        unfinished = progress.owned - progress.done
        if not unfinished:
            raise Stuck("the work was over before one could be killed; give it more time (--seconds-of-work)")
        self._victim_site = victim.column.site
        killed_s = time.monotonic()
        victim.kill()
        who = f"{victim.column.name} (pid {victim.column.pid})"
        self._explain("kill", f"SIGKILL for {who}, which owns {progress.owned} files, {unfinished} not counted yet")
        survivors = self._alive()
        await self._until(
            lambda: all(child.column.progress.members == len(survivors) - 1 for child in survivors),
            SLACK_SECONDS_MAX,
            f"not all survivors noticed that {victim.column.name} is dead",
        )
        noticed_ms = max(1, round((self._noticed_s - killed_s) * 1000))
        takers = ", ".join(f"{child.column.name} +{child.column.progress.taken}" for child in survivors)
        self._explain(
            "take over",
            f"killed {who}, and the tables of {progress.owned - unfinished} files went with it; {noticed_ms} ms later "
            f"all others knew, and by the same hash all {progress.owned} that it owned are theirs: {takers}",
        )
        return victim

    async def _restart(self, victim: Child) -> None:
        """Start it again, with its storage: the same site in a new life. It takes the dead one's column."""
        column = victim.column
        await asyncio.sleep(RESTART_SECONDS)  # for people to see who took over
        child = await start_child(column.name)
        self._children.append(child)
        self.view.columns[self.view.columns.index(column)] = child.column
        child.listen(self._hear, self._lose)
        orders = self._orders[column.name]
        await self._command(child, msgspec.structs.replace(orders, seeds=[], pace_s=orders.pace_s / CATCH_UP))
        began_s = time.monotonic()
        await self._until(
            lambda: (
                all(other.column.progress.members == self._nodes - 1 for other in self._alive())
                and child.column.state == "alive"
            ),
            FORM_SECONDS_MAX,
            f"{column.name} did not come back",
        )
        if child.column.site != column.site:
            raise Stuck(f"{column.name} came back as another site, {child.column.site}, not {column.site}")
        self._restarted = column.name
        back_ms = round((time.monotonic() - began_s) * 1000)
        self._explain(
            "restart",
            f"{column.name} starts again as pid {child.column.pid} with nothing but its storage: the same site, in a "
            f"new life, seen by all after {back_ms} ms; the files that hash to it are its own again: it reads what the "
            f"others counted of them, and counts the rest at {CATCH_UP} times the pace",
        )

    async def _compare(self) -> None:
        names = ", ".join(column.name for column in self.view.live)
        self._explain(
            "compare",
            f"{names} each have read the tables of all files from one group; now one process counts everything alone",
        )
        total = await asyncio.to_thread(count_all, self._root, self._files)
        expected = Complete(len(self._files), total.total(), tables.digest(total))
        for column in self.view.live:
            if column.complete != expected:
                raise Stuck(f"{column.name} found {column.complete}, and right is {expected}")
        self._exact = True
        self._explain("done", f"the totals on {names} equal the plain count, word for word")

    # --- what is heard ----------------------------------------------------------------------------------------------

    def _hear(self, child: Child, report: Report) -> None:
        column = child.column
        if self._ending:  # a worker that ends takes its rows with it: what counts is how it was before
            return
        match report:
            case Started(site, address):
                column.site, column.address, column.state = site, address, "alive"
            case Progress():
                if report.taken > column.progress.taken:
                    column.flash_until_s = self._now().elapsed_s + FLASH_SECONDS
                column.progress = report
            case MemberLost(site):
                if site == self._victim_site:
                    self._noticed_s = time.monotonic()  # by the last of them, in the end
            case Complete():
                column.complete = report
            case Failed(reason):
                self._trouble = self._trouble or f"{column.name}: {reason}"
        self._news.set()

    def _lose(self, child: Child, reason: str) -> None:
        if not self._ending and child.column.state != "killed":
            child.column.state = "lost"
            self._trouble = self._trouble or reason
            self._news.set()

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
            f"{column.name} sees {column.progress.members} others and has {column.progress.held} files"
            for column in self.view.columns
            if column.state != "killed" and column.complete is None
        ]
        return "; ".join(lacking) or f"in the act {self.view.act!r}"

    # --- what is shown ----------------------------------------------------------------------------------------------

    def _now(self) -> View:
        if not self._ending:
            self.view.elapsed_s = time.monotonic() - self._started_s
        return self.view

    def _explain(self, act: str, why: str) -> None:
        self.view.act, self.view.why = act, why
        self._screen.explain(self._now())

    async def _show(self) -> None:
        while True:
            self._screen.show(self._now())
            await asyncio.sleep(SHOW_SECONDS)
