"""One socket: what asyncio says of it, as facts; of much that arrives at once, some each turn."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

from covey.protocols.links.vocabulary import BytesReceived, ConnectionPaused, ConnectionResumed

if TYPE_CHECKING:
    from covey.runtime.transport.tcp import TcpTransport

READ_BYTES = 1 << 16  # told at once: 2-3 ms of work where these are rows, measured; asyncio reads four times this
LEFT_MAX = 3  # pieces of that size that wait: with the first one, what asyncio reads at once


class Connection(asyncio.Protocol):
    """Law: all that arrived is told, in order and before the end; at most `LEFT_MAX` pieces wait for the next turns."""

    __slots__ = ("_facts", "_left", "closed", "heard", "number", "transport")

    def __init__(self, facts: TcpTransport, number: int) -> None:
        self._facts = facts
        self._left: deque[bytes] = deque()  # what arrived and is not told yet
        self.number = number
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self.heard = False  # anything at all

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self.transport = cast(asyncio.Transport, transport)
        if self.closed:
            self.transport.abort()
            return
        self._facts.made(self)

    def data_received(self, data: bytes) -> None:
        """Something arrived."""
        if len(data) <= READ_BYTES and not self._left:
            self._tell(data)
            return
        if not self._left:
            asyncio.get_running_loop().call_soon(self._tell_next)
        self._left.extend(data[at : at + READ_BYTES] for at in range(0, len(data), READ_BYTES))
        while len(self._left) > LEFT_MAX:  # who sends on and on is heard as fast
            self._tell(self._left.popleft())

    def _tell_next(self) -> None:
        if self._left:
            self._tell(self._left.popleft())
        if self._left:
            asyncio.get_running_loop().call_soon(self._tell_next)

    def _tell(self, data: bytes) -> None:
        if not self.closed:
            self._facts.reads += 1
            self.heard = True
            self._facts.sink(BytesReceived(self.number, data))

    def pause_writing(self) -> None:
        """What was written does not get out."""
        if not self.closed:
            self._facts.sink(ConnectionPaused(self.number))

    def resume_writing(self) -> None:
        """It does."""
        if not self.closed:
            self._facts.sink(ConnectionResumed(self.number))

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        while self._left:  # what arrived before that is heard before that
            self._tell(self._left.popleft())
        self._facts.lost(self, exc)
