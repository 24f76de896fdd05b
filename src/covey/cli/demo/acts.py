"""What happens in the demo: each act does something to the processes, and waits until all is well again."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from covey.cli.demo import tables, tally
from covey.cli.demo.corpus import count_all
from covey.cli.demo.director import Director, Stuck
from covey.cli.demo.processes import Process
from covey.cli.demo.reports import Compare, Complete, Cut, Fill

FORM_SECONDS_MAX = 25.0
SLACK_SECONDS_MAX = 20.0  # for the work, above the time it is paced to take; and for a failover


class Acts:
    """The acts of one demo, in whatever order. Each raises `Stuck` where it does not come to its end."""

    def __init__(self, director: Director) -> None:
        self.victims: list[Process] = []  # killed, and not started again
        self.is_cut = False
        self._director = director

    async def form(self) -> None:
        """All processes are started, and find each other."""
        director = self._director
        director.explain(
            "form",
            f"{director.nodes} processes start on ports that nobody chose; the others know only n0, and find one "
            "another through it",
        )
        await director.start_first()
        await director.until(
            lambda: (
                len(director.alive()) == director.nodes
                and all(one.members == one.nodes - 1 == director.nodes - 1 for one in director.progress())
            ),
            FORM_SECONDS_MAX,
            "the workers did not all see each other in the hub",
        )

    async def fill(self) -> None:
        """All shelves are started."""
        director = self._director
        files, shelves = director.view.files, len(director.shelves)
        director.explain(
            "index",
            f"{files} files stand on {shelves} shelves; n0 names them, and the hub places each in one process by a "
            "hash that all compute alike. Each indexes its files and answers meanwhile; a client in each process asks "
            "for words without pause",
        )
        await director.tell(director.alive()[:1], Fill())
        await director.until(self._all_run, FORM_SECONDS_MAX, "not all shelves started")

    async def kill(self) -> None:
        """SIGKILL for whoever has most to do: its shelves run elsewhere."""
        director = self._director

        def unfinished(process: Process) -> int:
            copies = process.column.progress.copies
            return sum(director.view.shelves[shelf] - done for shelf, done in copies)

        victim = max(director.alive(), key=lambda process: (unfinished(process), len(process.column.progress.copies)))
        column = victim.column
        lost = [shelf for shelf, _ in column.progress.copies]
        if not lost:
            raise Stuck(f"{column.name} has no shelf to lose")
        director.killed[column.name] = None
        self.victims.append(victim)
        began_s = time.monotonic()
        director.gaps.begin(began_s)
        victim.kill()
        who = f"{column.name} (pid {column.pid})"
        done = sum(done for _, done in column.progress.copies)
        director.explain("kill", f"SIGKILL for {who}, where {len(lost)} shelves run: {', '.join(lost)}")
        survivors = director.alive()
        await director.until(
            lambda: tally.runs_everywhere(director.progress(), list(director.shelves), len(survivors)),
            SLACK_SECONDS_MAX,
            f"not all shelves of {column.name} run again",
        )
        director.gaps.end(time.monotonic())
        homes = Counter(
            process.column.name for process in survivors for shelf, _ in process.column.progress.copies if shelf in lost
        )
        takers = ", ".join(f"{name} +{count}" for name, count in sorted(homes.items()))
        director.explain(
            "take over",
            f"{(time.monotonic() - began_s):.1f} s after the death of {who} its {len(lost)} shelves run elsewhere "
            f"({takers}) and answer; the index of {done} files went with it, and is made again",
        )

    async def restart(self) -> None:
        """Start who was killed last again, with its storage: the same site in a new life. Its shelves move back."""
        director, victim = self._director, self.victims.pop()
        column, count = victim.column, len(director.alive()) + 1
        director.explain("restart", f"{column.name} starts again, with nothing but its storage")
        began_s = time.monotonic()
        process = await director.start_again(victim)
        await director.until(
            lambda: process.column.state == "alive" and all(one.members == count - 1 for one in director.progress()),
            FORM_SECONDS_MAX,
            f"{column.name} did not come back",
        )
        if process.column.site != column.site:
            raise Stuck(f"{column.name} came back as another site, {process.column.site}, not {column.site}")
        seen_s = time.monotonic() - began_s
        await director.until(
            lambda: self._all_once() and bool(process.column.progress.copies), SLACK_SECONDS_MAX, "no shelf moved back"
        )
        director.explain(
            "restart",
            f"{column.name} is back as pid {process.column.pid}: the same site in a new life, seen by all after "
            f"{seen_s:.1f} s. Once the view was stable its shelves moved back, and took their index along: nothing is "
            "read again",
        )

    async def split(self) -> None:
        """Cut the processes in two: each side holds the other for dead, and runs all shelves."""
        director = self._director
        live = sorted(director.alive(), key=lambda process: process.column.name)
        middle = (len(live) + 1) // 2
        sides = live[:middle], live[middle:]
        if not sides[1]:
            director.explain("split", "there is only one")
            return
        names = " | ".join(" ".join(process.column.name for process in side) for side in sides)
        self.is_cut = True
        director.explain("split", f"from now on nothing passes between {names}")
        began_s = time.monotonic()
        director.gaps.begin(began_s)
        for number, side in enumerate(sides):
            for process in side:
                process.column.side = number + 1
            await director.tell(side, Cut([other.column.address for other in sides[1 - number]]))
        await director.until(
            lambda: all(
                tally.runs_everywhere(director.progress(side), list(director.shelves), len(side)) for side in sides
            ),
            SLACK_SECONDS_MAX,
            "not every shelf runs on both sides",
        )
        director.gaps.end(time.monotonic())
        after_s = time.monotonic() - began_s
        before = {process.column.name: process.column.progress.answered for process in live}
        rounds = 2 * len(director.shelves)  # each shelf was asked at least once by each client

        def asked() -> bool:
            return all(process.column.progress.answered >= before[process.column.name] + rounds for process in live)

        await director.until(asked, SLACK_SECONDS_MAX, "not every client of both sides got answers from every shelf")
        director.explain(
            "split",
            f"{names}: after {after_s:.1f} s each side held the other for dead, and every shelf runs on both sides and "
            "answers there (that is on_split='both')",
        )

    async def heal(self) -> None:
        """Let everything pass again: of two copies one stays.

        At first contact each side hears that it holds for dead what the other one sees alive, and what is held for dead
        for that moment is taken over: so a heal is a gap like a fault.
        """
        director = self._director
        live = director.alive()
        director.explain("heal", "everything passes again")
        began_s = time.monotonic()
        director.gaps.begin(began_s)
        await director.tell(live, Cut([]))
        for process in live:
            process.column.side = 0
        self.is_cut = False
        try:
            await director.until(self._all_once, SLACK_SECONDS_MAX, "")
        except Stuck:
            director.duplicates = self._count_duplicates()
            if not director.duplicates:
                raise
            raise Stuck(
                f"{director.duplicates} shelves still run more than once after {SLACK_SECONDS_MAX:.0f} s"
            ) from None
        director.gaps.end(time.monotonic())
        director.duplicates = 0
        director.explain(
            "heal",
            f"{time.monotonic() - began_s:.1f} s later all see each other, and of each shelf one copy is left, by a "
            "rule that all know",
        )

    async def finish(self) -> None:
        """Heal what is cut, wait until everything is there once, and compare."""
        director = self._director
        if self.is_cut:
            await self.heal()
        await director.until(
            lambda: self._all_once() and self.all_held() and all(one.waits_s < 1.0 for one in director.progress()),
            director.seconds + SLACK_SECONDS_MAX,
            "not everything is there once",
        )
        if director.duplicates is not None:
            director.duplicates = self._count_duplicates()
        names = ", ".join(column.name for column in director.view.live)
        director.explain(
            "compare", f"{names} add up what the rows of all shelves say; one process counts everything alone"
        )
        files = [file for some in director.shelves.values() for file in some]
        total = await asyncio.to_thread(count_all, director.root, files)
        expected = Complete(len(files), total.total(), tables.digest(total))
        await director.tell(director.alive(), Compare())
        await director.until(
            lambda: all(column.complete is not None for column in director.view.live),
            SLACK_SECONDS_MAX,
            "not every worker added up everything",
        )
        for column in director.view.live:
            if column.complete != expected:
                raise Stuck(f"{column.name} found {column.complete}, and right is {expected}")
        director.exact = True
        director.explain(
            "done", f"the totals on {names} equal the plain count, word for word, and so does every answer"
        )

    # --- what they wait for -----------------------------------------------------------------------------------------

    def _all_run(self) -> bool:
        director = self._director
        return tally.runs_everywhere(director.progress(), list(director.shelves), len(director.alive()))

    def _all_once(self) -> bool:
        director = self._director
        return tally.runs_once(director.progress(), list(director.shelves), len(director.alive()))

    def all_held(self) -> bool:
        """Whether every worker has the rows of all files."""
        files = self._director.view.files
        return all(one.held == files for one in self._director.progress())

    def _count_duplicates(self) -> int:
        director = self._director
        return sum(count > 1 for count in tally.copies(director.progress(), director.shelves).values())
