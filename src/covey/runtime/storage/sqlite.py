"""A node's logs in one SQLite file: the storage that needs nothing installed.

One thread writes. It takes all that is queued into one transaction, so a burst costs one wait for the disk, and it
alone ever waits for the disk; the event loop never does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import msgspec

from covey.core.errors import ClosedError, StorageFailed
from covey.core.ids import Site
from covey.engine.gate import Store
from covey.runtime.storage.base import CLOSE_S_MAX, Sink, Stored, settle
from covey.runtime.storage.database import Database
from covey.runtime.storage.positions import Positions

log = logging.getLogger(__name__)


class SqliteStorage:
    """The logs of one node in the file `path`, which is made, for this user alone (0600), if it is missing or empty.

    Law: as `Storage`. `Persisted` follows an fsync of the write-ahead log (`journal_mode=WAL`, `synchronous=FULL`), so
    what it names survives the death of the process, of the machine and of its power, as far as the disk keeps what it
    was told to flush. A transaction that was torn is recognised by SQLite's checksums and dropped whole.

    The file is locked while it is open, by `path-covey-lock` (which names the holder) and inside SQLite; both locks end
    with the process. `path-wal` belongs to the file: copy both or, once the node has closed, the one that is left.
    """

    def __init__(self, path: str | Path) -> None:
        self.sink: Sink = lambda fact: None
        self.durable = True
        self.path = os.path.abspath(path)
        self._writer: _Writer | None = None

    async def open(self) -> Stored:
        if self._writer is not None:
            raise StorageFailed(
                f"storage {self.path}: open already; the file was not touched; give each node a storage of its own"
            )
        writer = self._writer = _Writer(self.path, lambda fact: self.sink(fact))
        try:
            return await writer.opened
        except BaseException:  # a cancelled caller's too: nobody would close what is still being opened
            self._writer = None
            writer.put(_CLOSE)
            raise

    async def begin_life(self, site: Site, incarnation: int) -> None:
        if self._writer is None:
            raise ClosedError(f"storage {self.path} is not open; nothing was changed; call open() first")
        begin = _BeginLife(site, incarnation, asyncio.get_running_loop().create_future())
        self._writer.put(begin)
        await begin.done

    def store(self, store: Store) -> None:
        if self._writer is not None:
            self._writer.put(store)

    async def aclose(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.aclose()


class _BeginLife(msgspec.Struct, frozen=True, eq=False):
    site: Site
    incarnation: int
    done: asyncio.Future[None]


class _Close(msgspec.Struct, frozen=True):
    pass


_CLOSE = _Close()

_Item = Store | _BeginLife | _Close


class _Writer:
    """The thread of one opening of the file, and what the event loop knows of it.

    Law: items are carried out in the order of `put`, and their outcomes reach the loop in that order.
    The database is a local of the thread: in a forked child, where that thread is not, nobody can close it there.
    """

    def __init__(self, path: str, sink: Sink) -> None:
        self._loop = asyncio.get_running_loop()
        self._path = path
        self._sink = sink
        self._muted = False
        self._queue: SimpleQueue[_Item] = SimpleQueue()
        self.opened: asyncio.Future[Stored] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name=f"covey storage {path}", daemon=True)
        self._thread.start()

    # --- on the loop's thread ---------------------------------------------------------------------------------------

    def put(self, item: _Item) -> None:
        """Queue something for the thread."""
        self._queue.put(item)

    async def aclose(self) -> None:
        """Wait, within bounds, until all that was put is done and the file is closed."""
        self.put(_CLOSE)
        try:
            await asyncio.wait([self._ended], timeout=CLOSE_S_MAX)
        finally:
            self._muted = True
        if self._ended.done():
            self._thread.join()  # it has said its last word
        else:
            log.warning("event=storage_slow path=%r reason='not closed within %g s'", self._path, CLOSE_S_MAX)

    def _report(self, facts: Sequence[Any]) -> None:
        for fact in facts:
            if not self._muted:
                self._sink(fact)

    # --- on its own thread ------------------------------------------------------------------------------------------

    def _tell(self, action: Callable[..., object], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there to be told
            self._loop.call_soon_threadsafe(action, *arguments)

    def _run(self) -> None:
        database = Database(self._path)
        try:
            stored = database.open()
        except Exception as error:
            self._tell(settle, self.opened, None, error)
        else:
            self._tell(settle, self.opened, stored)
            self._serve(database)
        finally:
            database.close()
            self._tell(settle, self._ended, None)

    def _serve(self, database: Database) -> None:
        positions = Positions()
        while True:
            items = [self._queue.get()]
            while not self._queue.empty():
                items.append(self._queue.get())
            stores: list[Store] = []
            for item in items:
                if isinstance(item, Store):
                    stores.append(item)
                    continue
                self._write(database, positions, stores)
                stores = []
                if isinstance(item, _Close):
                    return
                self._begin_life(database, positions, item)
            self._write(database, positions, stores)

    def _write(self, database: Database, positions: Positions, queued: Sequence[Store]) -> None:
        if not queued:
            return
        stores = positions.take(queued)
        try:
            if stores:
                database.apply(stores)
        except Exception as error:  # of whatever kind: the gate holds on and asks again
            facts = positions.failed(f"{self._path}: {error}")
        else:
            facts = positions.committed()
        self._tell(self._report, facts)

    def _begin_life(self, database: Database, positions: Positions, begin: _BeginLife) -> None:
        try:
            database.begin_life(begin.site, begin.incarnation)
        except BaseException as error:
            self._tell(settle, begin.done, None, error)
        else:
            positions.begin_life()
            self._tell(settle, begin.done, None)
