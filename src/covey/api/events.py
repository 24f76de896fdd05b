"""Events, and the one way to them.

::

    async with node.events() as events:
        events.snapshot            # the state as of the last event before this subscription
        async for event in events: ...

Snapshot and stream are atomic: whatever happened before is in the snapshot, whatever happens after is an event. A
subscriber that reads too slowly gets `Lost(n)` in the place of the n events that did not fit, never silence.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Generic, TypeVar

import msgspec

from covey.core.errors import ClosedError, ConfigError, UsageError
from covey.core.ids import Site

S = TypeVar("S")
E = TypeVar("E")


class Neighbor(msgspec.Struct, frozen=True):
    """A node that this one keeps a link to."""

    site: Site
    incarnation: int
    address: str


class NeighborUp(msgspec.Struct, frozen=True):
    """A link to `neighbor` is kept from now on, by both sides."""

    neighbor: Neighbor


class NeighborDown(msgspec.Struct, frozen=True):
    """The link to `neighbor` is not kept any more. `cause` says why, in one word (`closed`, `reset`, `silent`, …)."""

    neighbor: Neighbor
    cause: str


class Message(msgspec.Struct, frozen=True):
    """A value that another node sent here with `Node.send`."""

    sender: Site
    payload: Any


class LinkRefused(msgspec.Struct, frozen=True):
    """A handshake failed for a reason that somebody has to mend. `cause` is one word: `secret`, `cluster`, …"""

    address: str
    inbound: bool
    cause: str
    detail: str
    refused_by_peer: bool


class ProtocolViolation(msgspec.Struct, frozen=True):
    """A peer sent what no peer may send; its link was dropped."""

    site: Site
    cause: str
    detail: str


class LinkBroken(msgspec.Struct, frozen=True):
    """The site `one` (this node) does not reach `other`, yet other members do: both are well, the way is not."""

    one: Site
    other: Site


class LinkMended(msgspec.Struct, frozen=True):
    """The site `one` reaches `other` again."""

    one: Site
    other: Site


class StorageTrouble(msgspec.Struct, frozen=True):
    """The storage refuses: `held` effects wait for it, nothing undurable is shown, and it is asked again and again."""

    reason: str
    held: int


class StorageRecovered(msgspec.Struct, frozen=True):
    """The storage took all that waited for it."""


class ClockSkew(msgspec.Struct, frozen=True):
    """The clock of `site` leads ours by `ahead_ms`; its operations are taken, its time only within a bound."""

    site: Site
    ahead_ms: int


class Lost(msgspec.Struct, frozen=True):
    """`count` events stood here and were dropped, because they were not read in time."""

    count: int


class Subscription(Generic[S, E]):
    """An open stream of events with the state it starts from.

    Law: `snapshot` folded with every event read so far, if no `Lost` came, is the state at that event.
    """

    def __init__(self, hub: EventHub[S, E], events_max: int) -> None:
        self._hub = hub
        self._events_max = events_max
        self._queue: deque[E | Lost] = deque()
        self._lost = 0
        self._waiter: asyncio.Future[None] | None = None
        self._entered = False
        self._open = False
        self._cause: BaseException | None = None
        self._snapshot: S | None = None

    @property
    def snapshot(self) -> S:
        """The state as of the last event before this subscription. Raises `UsageError` outside of `async with`."""
        if not self._entered:
            raise UsageError("a subscription has its snapshot inside `async with`; open it first")
        return self._snapshot  # type: ignore[return-value]  # set on entering

    async def __aenter__(self) -> Subscription[S, E]:
        self._snapshot = self._hub._subscribe(self)
        self._queue.clear()
        self._lost = 0
        self._cause = None
        self._entered = self._open = True
        for event in self._hub.standing():
            self._put(event)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._entered = self._open = False
        self._hub._subscribers.pop(self, None)
        self._queue.clear()
        self._wake()

    def __aiter__(self) -> Subscription[S, E]:
        return self

    async def __anext__(self) -> E | Lost:
        """The next event. The stream ends when the node closes; it raises `ClosedError` when the node died."""
        if not self._entered:
            raise UsageError("events are read inside `async with node.events() as events`; nothing was subscribed")
        while not self._queue:
            if not self._open:
                if self._cause is not None:
                    raise ClosedError("the node died, and with it this stream") from self._cause
                raise StopAsyncIteration
            if self._waiter is not None:
                raise UsageError("two tasks read one subscription; open one for each")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        event = self._queue.popleft()
        if self._lost and len(self._queue) < self._events_max:
            self._queue.append(Lost(self._lost))
            self._lost = 0
        return event

    def _put(self, event: E) -> None:
        if self._lost or len(self._queue) >= self._events_max:
            self._lost += 1
            return
        self._queue.append(event)
        self._wake()

    def _end(self, cause: BaseException | None) -> None:
        self._open = False
        self._cause = cause
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class EventHub(Generic[S, E]):
    """Hands each event to every subscriber. `snapshot` gives the state as of the last event.

    `standing` gives what was said before and holds still: whoever subscribes later hears it first.
    """

    def __init__(self, snapshot: Callable[[], S], standing: Callable[[], Iterable[E]] = tuple) -> None:
        self._state = snapshot
        self.standing = standing
        self._subscribers: dict[Subscription[S, E], None] = {}
        self._closed = False
        self._cause: BaseException | None = None

    def subscription(self, events_max: int) -> Subscription[S, E]:
        """A subscription that holds up to `events_max` unread events. Raises `ConfigError` below 1."""
        if type(events_max) is not int or events_max < 1:
            raise ConfigError(f"events_max must be an int of at least 1, not {events_max!r}; nothing was subscribed")
        return Subscription(self, events_max)

    def _subscribe(self, subscription: Subscription[S, E]) -> S:
        if self._closed:
            raise ClosedError("the node is not open any more; nothing was subscribed") from self._cause
        if subscription in self._subscribers:
            raise UsageError("this subscription is open already; ask for another one")
        state = self._state()  # may raise, and then nothing was subscribed
        self._subscribers[subscription] = None
        return state

    def publish(self, event: E) -> None:
        """Hand `event` to every subscriber."""
        for subscriber in self._subscribers:
            subscriber._put(event)

    def close(self, cause: BaseException | None = None) -> None:
        """End all streams, after what they still hold."""
        self._closed = True
        self._cause = self._cause or cause
        subscribers, self._subscribers = self._subscribers, {}
        for subscriber in subscribers:
            subscriber._end(cause)

    def __bool__(self) -> bool:
        return bool(self._subscribers)
