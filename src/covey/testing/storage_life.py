"""One life of a storage in a test: what it finds, what it stores, and the facts that are reported to it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from covey.core.ids import Site
from covey.core.vocabulary import Record
from covey.engine.gate import Persisted, PersistFailed, Store
from covey.runtime.storage.base import Storage, Stored

Logs = dict[str, dict[bytes, bytes]]
Change = tuple[bytes, bytes | None]

SITE = Site(b"site-of-16-bytes")
WAIT_S_MAX = 5.0


class Life:
    """A storage, and everything that it has said to its one listener."""

    stored: Stored

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.facts: list[Persisted | PersistFailed] = []
        self.threads: list[int] = []  # on which each fact came
        self.durable: dict[str, int] = {}  # the highest position reported, by log
        self._heard = asyncio.Event()
        storage.sink = self._hear

    def _hear(self, fact: Any) -> None:
        self.facts.append(fact)
        self.threads.append(threading.get_ident())
        if isinstance(fact, Persisted):
            self.durable[fact.log] = max(fact.position, self.durable.get(fact.log, 0))
        self._heard.set()

    async def open(self) -> None:
        """Open the storage; `stored` is what it found."""
        self.stored = await self.storage.open()

    def put(self, log: str, position: int, *changes: Change) -> None:
        """Store changes of a log: values under keys, None to take a key away."""
        self.storage.store(Store(log, position, tuple(Record(*change) for change in changes)))

    async def persisted(self, log: str, position: int) -> None:
        """Wait until the log is reported durable up to there. Raises `TimeoutError` after `WAIT_S_MAX`."""
        await self._until(lambda: self.durable.get(log, 0) >= position)

    async def failed(self, log: str, position: int) -> PersistFailed:
        """Wait until the log is reported not to be durable from there on, or from earlier."""

        def reports() -> list[PersistFailed]:
            failures = [fact for fact in self.facts if isinstance(fact, PersistFailed)]
            return [fact for fact in failures if fact.log == log and fact.position <= position]

        await self._until(lambda: bool(reports()))
        return reports()[-1]

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S_MAX):
            while not holds():
                self._heard.clear()
                await self._heard.wait()


def changed(logs: Logs, log: str, changes: list[Change]) -> Logs:
    """The logs after one store, worked out the plain way."""
    after = {name: dict(entries) for name, entries in logs.items()}
    entries = after.setdefault(log, {})
    for key, value in changes:
        entries.pop(key, None)
        if value is not None:
            entries[key] = value
    return {name: entries for name, entries in after.items() if entries}
