"""What remembers: the seam between the gate and a disk.

The gate numbers what each machine must not forget; a storage makes it durable and says so. Nothing here knows what a
log means: it is a map from bytes to bytes under a name, so it does not grow with time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.engine.gate import Store

Sink = Callable[[Any], None]
"""Takes `Persisted` and `PersistFailed`; called on the event loop's thread, in order. It must not raise."""

R = TypeVar("R")

CLOSE_S_MAX = 10.0  # how long `aclose` waits for what is queued. Guess: longer than a spun-down disk takes to wake


class Stored(msgspec.Struct, frozen=True):
    """What the lives before this one left behind."""

    site: Site | None  # None: nobody has lived here yet
    incarnation: int  # of the last life; 0 if there was none
    logs: dict[str, dict[bytes, bytes]]  # a log without entries is left out


class Storage(Protocol):
    """The logs of one node, through all its lives.

    Law: after a crash at any point the logs are what a prefix of the stores leaves behind, and that prefix contains
    every position that was reported `Persisted`. The stores count in the order in which they were handed in; one that
    was answered `PersistFailed` counts where it is handed in again.

    Invariants: a store is there whole or not at all; the position of a log that is reported durable never falls;
    nothing is reported beyond a hole, that is a position that failed and has not been handed in again; what is durable
    is never overwritten by a repetition of something older; one `Storage` at a time has the same logs open.

    Positions grow by one within a log, and may begin anew with each life. `covey.testing.storage.StorageConformance`
    tests all of this.
    """

    sink: Sink
    durable: bool  # a later life finds what this one stored; a node without such a storage is ephemeral

    async def open(self) -> Stored:
        """Take possession, and read everything. Facts go to `sink`, which is set before the first store.

        Raises `StorageFailed` if it cannot be used; then nothing of it was touched.
        """
        ...

    async def begin_life(self, site: Site, incarnation: int) -> None:
        """Write down who lives here now. It is durable when this returns; call it before the first store of a life.

        Raises `StorageFailed` if it could not be written (nothing was changed), `ClosedError` if the storage is not
        open, and `InvariantError` if that site has already lived this life or a later one.
        """
        ...

    def store(self, store: Store) -> None:
        """Queue a store; answered by a `Persisted` or a `PersistFailed` for it or, of the same log, around it.

        Never blocks, never raises, and never calls `sink` before it returns. What is queued while a transaction runs
        goes into the next one, all of it into one. Of each log one fact is reported for each transaction:
        `Persisted` names its last position, `PersistFailed` its first. A storage that is not open drops the store.
        """
        ...

    async def aclose(self) -> None:
        """Write what is queued, once, report it, and let go; no fact comes afterwards. Waits `CLOSE_S_MAX` at most.

        Does nothing the second time. Afterwards the storage can be opened again.
        """
        ...


def check_life(site: Site | None, incarnation: int, new_site: Site, new_incarnation: int) -> None:
    """Raise `InvariantError` if `new_site` has already lived `new_incarnation` or a later life."""
    invariant(site != new_site or new_incarnation > incarnation, "a life never comes back")


def settle(future: asyncio.Future[R], value: R, error: BaseException | None = None) -> None:
    """Give a future its outcome, unless nobody waits for it any more."""
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)
