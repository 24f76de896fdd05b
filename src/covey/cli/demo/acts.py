"""What happens in the demo, one act after the other; or, once a key is pressed, as whoever sits there wishes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable

from covey.cli.demo import tables, tally
from covey.cli.demo.corpus import count_all
from covey.cli.demo.director import Director, Stuck
from covey.cli.demo.processes import Process
from covey.cli.demo.reports import Compare, Complete, Cut, Fill

FORM_SECONDS_MAX = 25.0
SLACK_SECONDS_MAX = 20.0  # for the work, above the time it is paced to take; and for a failover
KEYS = "keys: k kill  p partition  r restart  q finish"
BY_HAND = "by hand: k kill  p partition, heal  r restart  q finish"


class Acts:
    """The acts of one demo. `run` raises `Stuck` where one does not come to its end.

    `kills`, `splits`: whether that is part of the script. `hold`: how long things are left as they are, for people.
    """

    def __init__(self, director: Director, kills: bool, splits: bool, hold: float) -> None:
        self._director = director
        self._kills = kills
        self._splits = splits
        self._hold = hold
        self._keys: deque[str] = deque()
        self._victim: Process | None = None  # killed, and not started again
        self._cut = False

    def press(self, key: str) -> None:
        """A key of the keyboard."""
        if key in "kprq":
            self._keys.append(key)
            self._director.wake()

    async def run(self) -> None:
        """From the first process to the comparison."""
        await self._form()
        await self._fill()
        await self._script()
        while self._keys or self._director.view.hint == BY_HAND:
            if await self._by_hand():
                break
        await self._finish()

    async def _script(self) -> None:
        """Kill one when half is done, start it again, split, heal. A key ends it between two acts."""
        director = self._director
        seconds = director.seconds + SLACK_SECONDS_MAX
        if self._kills:
            half = "half of the files were not indexed"
            if await self._key_or(lambda: director.view.fraction >= 0.5, seconds, half):
                return
            await self._kill()
        if await self._key_or(self._all_held, seconds, "not every worker read the rows of all files"):
            return
        if self._kills:
            if await self._pause(self._hold):
                return
            await self._restart()
        if self._splits and len(director.alive()) > 1:
            if await self._pause(self._hold):
                return
            await self._split()
            if await self._pause(self._hold):
                return
            await self._heal()

    async def _by_hand(self) -> bool:
        """Do what the next key says; returns whether it is to be over."""
        director = self._director
        director.view.hint = BY_HAND
        await director.until(lambda: bool(self._keys), 24 * 3600.0, "no key was pressed")
        match self._keys.popleft():
            case "k" if self._cut:
                director.explain("kill", "not while the network is split: press p first")
            case "k" if len(director.alive()) < 3:
                director.explain("kill", "not of the last two: press r first")
            case "k":
                await self._kill()
            case "r" if self._victim is None or self._cut:
                director.explain("restart", "nobody to start" if self._victim is None else "not while split: press p")
            case "r":
                await self._restart()
            case "p":
                await (self._heal() if self._cut else self._split())
            case _:
                return True
        return False

    # --- the acts ---------------------------------------------------------------------------------------------------

    async def _form(self) -> None:
        director = self._director
        director.explain(
            "form",
            f"{director.nodes} processes start on ports that nobody chose; the others know only n0, and find one another "
            "through it",
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

    async def _fill(self) -> None:
        director = self._director
        files, shelves = director.view.files, len(director.shelves)
        director.explain(
            "index",
            f"{files} files stand on {shelves} shelves; n0 names them, and the hub places each in one process by a hash "
            "that all compute alike. Each indexes its files and answers meanwhile; a client in each process asks for "
            "words without pause",
        )
        await director.tell(director.alive()[:1], Fill())
        await director.until(self._all_run, FORM_SECONDS_MAX, "not all shelves started")

    async def _kill(self) -> None:
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
        self._victim = victim
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

    async def _restart(self) -> None:
        """Start it again, with its storage: the same site in a new life. Its shelves move back with their index."""
        director, victim = self._director, self._victim
        assert victim is not None
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
        self._victim = None
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

    async def _split(self) -> None:
        """Cut the processes in two: each side holds the other for dead, and runs all shelves."""
        director = self._director
        live = sorted(director.alive(), key=lambda process: process.column.name)
        middle = (len(live) + 1) // 2
        sides = live[:middle], live[middle:]
        if not sides[1]:
            director.explain("split", "there is only one")
            return
        names = " | ".join(" ".join(process.column.name for process in side) for side in sides)
        self._cut = True
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

    async def _heal(self) -> None:
        """Let everything pass again: of two copies one stays."""
        director = self._director
        live = director.alive()
        director.explain("heal", "everything passes again")
        began_s = time.monotonic()
        await director.tell(live, Cut([]))
        for process in live:
            process.column.side = 0
        self._cut = False
        try:
            await director.until(self._all_once, SLACK_SECONDS_MAX, "")
        except Stuck:
            director.duplicates = self._count_duplicates()
            if not director.duplicates:
                raise
            raise Stuck(f"{director.duplicates} shelves still run more than once after {SLACK_SECONDS_MAX:.0f} s") from None
        director.duplicates = 0
        director.explain(
            "heal",
            f"{time.monotonic() - began_s:.1f} s later all see each other, and of each shelf one copy is left, by a rule "
            "that all know",
        )

    async def _finish(self) -> None:
        """Heal what is cut, wait until everything is there once, and compare."""
        director = self._director
        if self._cut:
            await self._heal()
        await director.until(
            lambda: self._all_once() and self._all_held() and all(one.waits_s < 1.0 for one in director.progress()),
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
        director.explain("done", f"the totals on {names} equal the plain count, word for word, and so does every answer")

    # --- waiting ----------------------------------------------------------------------------------------------------

    def _all_run(self) -> bool:
        director = self._director
        return tally.runs_everywhere(director.progress(), list(director.shelves), len(director.alive()))

    def _all_once(self) -> bool:
        director = self._director
        return tally.runs_once(director.progress(), list(director.shelves), len(director.alive()))

    def _all_held(self) -> bool:
        files = self._director.view.files
        return all(one.held == files for one in self._director.progress())

    def _count_duplicates(self) -> int:
        director = self._director
        return sum(count > 1 for count in tally.copies(director.progress(), director.shelves).values())

    async def _key_or(self, holds: Callable[[], bool], seconds: float, otherwise: str) -> bool:
        """Wait until that holds, or a key is pressed; returns whether it was a key."""
        await self._director.until(lambda: bool(self._keys) or holds(), seconds, otherwise)
        return bool(self._keys)

    async def _pause(self, seconds: float) -> bool:
        """Leave everything as it is for a while; returns whether a key was pressed."""
        until_s = time.monotonic() + seconds
        return await self._key_or(lambda: time.monotonic() >= until_s, seconds + SLACK_SECONDS_MAX, "nothing was heard")
