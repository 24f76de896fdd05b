"""A disk that is a dictionary: for tests on a virtual clock, with delays, failures and crashes at will."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from covey.core.errors import ClosedError, InvariantError, StorageFailed
from covey.core.ids import Site
from covey.engine.gate import Store
from covey.runtime.storage.base import CLOSE_S_MAX, Sink, Stored, check_life, settle
from covey.runtime.storage.positions import Fact, Positions

FULL = "no space left on device"


class _BeginLife(msgspec.Struct, frozen=True, eq=False):
    site: Site
    incarnation: int
    done: asyncio.Future[None]


class MemoryStorage:
    """The logs of one node of a test. They outlive the node as long as this object is kept.

    Law: as `Storage`. A transaction takes `delay()` seconds of the loop's clock (none: the next turn of the loop),
    and becomes durable at its end; a crash before that loses it whole.
    """

    def __init__(self, delay: Callable[[], float] | None = None, durable: bool = True) -> None:
        """`durable=False`: nobody will open it again, so its node is ephemeral."""
        self.sink: Sink = lambda fact: None
        self.durable = durable
        self._delay = delay if delay is not None else lambda: 0.0
        self._site: Site | None = None
        self._incarnation = 0
        self._logs: dict[str, dict[bytes, bytes]] = {}
        self._failures: deque[str] = deque()
        self._reset()

    def _reset(self) -> None:
        self._owned = False  # from `open` until closed or crashed
        self._accepting = False  # from `open` until somebody begins to close it
        self._opening = object()  # tells this opening from the next
        self._positions = Positions()
        self._queue: deque[Store | _BeginLife] = deque()
        self._running: asyncio.TimerHandle | None = None
        self._beginning: _BeginLife | None = None  # what the running transaction is for, if not for stores
        self._drained: asyncio.Future[None] | None = None

    # --- for tests --------------------------------------------------------------------------------------------------

    def fail_next(self, n: int = 1, reason: str = FULL) -> None:
        """The next `n` transactions fail, after those that were to fail already."""
        self._failures.extend([reason] * n)

    def crash(self) -> None:
        """The process is gone: what is queued or being written is lost, no fact comes, the next life may open it."""
        if self._running is not None:
            self._running.cancel()
        lost = [item for item in (self._beginning, *self._queue) if isinstance(item, _BeginLife)]
        drained = self._drained
        self._reset()
        for begin in lost:
            settle(begin.done, None, StorageFailed("storage in memory: crashed; the life was not begun; open it again"))
        if drained is not None:
            settle(drained, None)

    # --- as every storage -------------------------------------------------------------------------------------------

    async def open(self) -> Stored:
        if self._owned:
            raise StorageFailed(
                "storage in memory: in use by another node of this process; it was not touched; close that node first"
            )
        self._owned = self._accepting = True
        return Stored(self._site, self._incarnation, {name: dict(log) for name, log in self._logs.items()})

    async def begin_life(self, site: Site, incarnation: int) -> None:
        if not self._accepting:
            raise ClosedError("the storage is not open; nothing was changed; call open() first")
        begin = _BeginLife(site, incarnation, asyncio.get_running_loop().create_future())
        self._queue.append(begin)
        self._start()
        await begin.done

    def store(self, store: Store) -> None:
        if self._accepting:
            self._queue.append(store)
            self._start()

    async def aclose(self) -> None:
        if not self._accepting:
            return
        self._accepting = False
        opening = self._opening
        try:
            if self._running is not None:
                self._drained = asyncio.get_running_loop().create_future()
                await asyncio.wait([self._drained], timeout=CLOSE_S_MAX)
        finally:
            if self._opening is opening:
                self.crash()

    # --- transactions -----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Begin a transaction over all that is queued, if none is running."""
        if self._running is not None or not self._queue:
            return
        loop = asyncio.get_running_loop()
        first = self._queue[0]
        if isinstance(first, _BeginLife):
            self._queue.popleft()
            self._beginning = first
            self._running = loop.call_later(self._delay(), self._commit_life, first)
            return
        queued: list[Store] = []
        while self._queue and isinstance(item := self._queue[0], Store):
            queued.append(item)
            self._queue.popleft()
        self._running = loop.call_later(self._delay(), self._commit, queued)

    def _commit_life(self, begin: _BeginLife) -> None:
        error: StorageFailed | InvariantError | None = None
        try:
            if self._failures:
                reason = self._failures.popleft()
                raise StorageFailed(f"storage in memory: {reason}; the life was not begun, nothing changed; try again")
            check_life(self._site, self._incarnation, begin.site, begin.incarnation)
            self._site, self._incarnation = begin.site, begin.incarnation
            self._positions.begin_life()
        except (StorageFailed, InvariantError) as raised:
            error = raised
        settle(begin.done, None, error)
        self._go_on([])

    def _commit(self, queued: list[Store]) -> None:
        stores = self._positions.take(queued)
        if self._failures:
            self._go_on(self._positions.failed(self._failures.popleft()))
            return
        for store in stores:
            log = self._logs.setdefault(store.log, {})
            for record in store.records:
                if record.value is None:
                    log.pop(record.key, None)
                else:
                    log[record.key] = record.value
            if not log:
                del self._logs[store.log]
        self._go_on(self._positions.committed())

    def _go_on(self, facts: Sequence[Fact]) -> None:
        """Begin the next transaction before anyone hears of the last: the real one does not wait for the loop."""
        self._running = self._beginning = None
        self._start()
        opening = self._opening
        for fact in facts:
            self.sink(fact)
            if self._opening is not opening:
                return  # whoever heard it crashed us
        if self._running is None and self._drained is not None:
            settle(self._drained, None)
