"""Who asks: one client in each worker, one query after the other, for as long as the demo lasts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import covey
from covey.cli.demo.reports import Missed

ATTEMPT_SECONDS = 2.0  # without an answer a query is asked again
PAUSE_SECONDS = 0.005  # between two queries: five clients that never rest would keep two cores busy with nothing else
AGAIN_SECONDS = 0.05

Query = tuple[str, str]
"""A shelf, and the word that it is asked for."""


class Client:
    """Asks shelves for words through `hub.call`, wherever they run.

    Law: each query is asked until it is answered, and the next one only then; so the longest time between two answers
    is what a user of the hub has to wait at worst. `found` has what whole shelves answered; `differing` counts those
    that answered otherwise later.
    """

    def __init__(self, hub: covey.Hub, queries: Iterator[Query], report: Callable[[Missed], None]) -> None:
        self.answered = 0
        self.failed = 0
        self.found: dict[Query, int] = {}
        self.differing = 0
        self._hub = hub
        self._queries = queries
        self._report = report
        self._longest_s = 0.0
        self._last_s = 0.0  # when the last answer came; 0 before the first query

    @property
    def waits_s(self) -> float:
        """Since the last answer."""
        return time.monotonic() - self._last_s if self._last_s else 0.0

    @property
    def silence_s(self) -> float:
        """The longest time without an answer."""
        return max(self._longest_s, self.waits_s)

    async def run(self) -> None:
        """Ask until cancelled."""
        self._last_s = time.monotonic()
        for query in self._queries:
            await self._ask(query)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _ask(self, query: Query) -> None:
        shelf, word = query
        while True:
            began_s = time.monotonic()
            try:
                count, whole = await self._hub.call(shelf, word, timeout=ATTEMPT_SECONDS)
            except covey.ClosedError:  # this worker ends
                raise
            except (covey.CoveyError, covey.CallFailed) as error:
                self.failed += 1
                self._report(Missed(shelf, began_s, time.monotonic(), f"{type(error).__name__}: {error}"))
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            self._note(query, count, whole)
            return

    def _note(self, query: Query, count: int, whole: bool) -> None:
        self._longest_s = self.silence_s
        self._last_s = time.monotonic()
        self.answered += 1
        if whole:
            self.differing += self.found.setdefault(query, count) != count
