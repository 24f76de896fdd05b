"""Connections inside one process, for tests on a virtual clock: latencies, cuts and resets at will, no sockets."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from covey.core.errors import ConfigError
from covey.core.ordered import OrderedSet
from covey.core.vocabulary import Cause
from covey.protocols.links.vocabulary import (
    BytesReceived,
    ConnectionAccepted,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionOpened,
    ConnectionPaused,
    ConnectionResumed,
)
from covey.runtime.addresses import format_address, parse_listen
from covey.runtime.transport.base import Sink

BUFFER_BYTES = 256 * 1024  # what the two kernels would hold for a reader that does not read


class MemoryNetwork:
    """The hosts of one test. Addresses are `host:port` as everywhere; ports are counted from 1."""

    def __init__(self, latency_s: float = 0.0005) -> None:
        self.latency_s = latency_s
        self.transports: dict[str, MemoryTransport] = {}
        self._cuts: OrderedSet[tuple[str, str]] = OrderedSet()
        self._ports = 0

    def transport(self) -> MemoryTransport:
        """A transport for one node."""
        return MemoryTransport(self)

    def cut(self, one: str, other: str) -> None:
        """Nothing passes between two addresses any more, in either direction; what is on its way is lost."""
        self._cuts.add((one, other))
        self._cuts.add((other, one))

    def partition(self, *islands: list[str]) -> None:
        """Cut every pair of addresses of different islands."""
        for index, island in enumerate(islands):
            for other in islands[index + 1 :]:
                for one in island:
                    for two in other:
                        self.cut(one, two)

    def heal(self) -> None:
        """End all cuts. Connections that were cut stay silent until their ends notice, as after a lost route."""
        self._cuts = OrderedSet()

    def blocked(self, source: str, target: str) -> bool:
        """Whether nothing passes from `source` to `target`."""
        return (source, target) in self._cuts

    def next_port(self) -> int:
        """A port that nobody was given before."""
        self._ports += 1
        return self._ports


class _End:
    """One end of a connection."""

    __slots__ = ("broken", "in_flight", "number", "on_the_way", "other", "owner", "paused")

    def __init__(self, owner: MemoryTransport, number: int) -> None:
        self.owner = owner
        self.number = number
        self.other: _End | None = None
        self.in_flight = 0  # bytes written here that the other side has not read
        self.paused = False
        self.on_the_way: deque[bytes | Cause] = deque()  # event loops do not order timers of one moment; this does
        self.broken = False  # a cut swallowed something: as with TCP, nothing later may pass


class MemoryTransport:
    """One node's connections."""

    def __init__(self, network: MemoryNetwork) -> None:
        self.sink: Sink = lambda fact: None
        self.local_host: Callable[[str], None] = lambda host: None
        self.reads = 0
        self.address = ""
        self.reading = True
        self._network = network
        self._ends: dict[int, _End] = {}
        self._accepted = 0
        self._unread: list[tuple[_End, bytes | Cause]] = []

    async def listen(self, address: str) -> str:
        listen = parse_listen(address)
        ports = range(listen.port_first, listen.port_last + 1) if listen.port_first else (self._network.next_port(),)
        for port in ports:
            address = format_address(listen.host, port)
            if address not in self._network.transports:
                self.address = address
                self._network.transports[address] = self
                return address
        raise ConfigError(f"listen: {address} is taken; give another port")

    def open(self, connection: int, address: str) -> None:
        loop = asyncio.get_running_loop()
        target = self._network.transports.get(address)
        if self._network.blocked(self.address, address):
            return  # nobody answers: the links' own timer ends it
        if target is None:
            loop.call_later(self._network.latency_s, self.sink, ConnectionFailed(connection, Cause.REFUSED))
            return
        end = self._ends[connection] = _End(self, connection)
        loop.call_later(self._network.latency_s, self._arrive, end, target)

    def _arrive(self, end: _End, target: MemoryTransport) -> None:
        if self._ends.get(end.number) is not end:
            return
        if self._network.blocked(self.address, target.address):
            del self._ends[end.number]
            return
        if target.address not in self._network.transports:
            del self._ends[end.number]
            self.sink(ConnectionFailed(end.number, Cause.REFUSED))
            return
        target._accepted -= 1
        other = _End(target, target._accepted)
        end.other, other.other = other, end
        target._ends[other.number] = other
        asyncio.get_running_loop().call_later(self._network.latency_s, self._opened, end)
        target.sink(ConnectionAccepted(other.number, self.address))

    def _opened(self, end: _End) -> None:
        if self._ends.get(end.number) is end:
            self.sink(ConnectionOpened(end.number))

    def write(self, connection: int, data: bytes) -> None:
        end = self._ends.get(connection)
        if end is None or end.other is None or end.broken:
            return
        if self._network.blocked(self.address, end.other.owner.address):
            end.broken = True
            return
        end.in_flight += len(data)
        if end.in_flight > BUFFER_BYTES and not end.paused:
            end.paused = True
            asyncio.get_running_loop().call_soon(self.sink, ConnectionPaused(connection))
        self._send_off(end, data)

    def _send_off(self, end: _End, what: bytes | Cause) -> None:
        end.on_the_way.append(what)
        asyncio.get_running_loop().call_later(self._network.latency_s, self._arrived, end)

    def _arrived(self, end: _End) -> None:
        other = end.other
        assert other is not None
        what = end.on_the_way.popleft()
        if self._network.blocked(self.address, other.owner.address):
            end.broken = True
        if not other.owner.reading:
            other.owner._unread.append((end, what))
        else:
            self._deliver(end, what)

    def _deliver(self, end: _End, what: bytes | Cause) -> None:
        other = end.other
        assert other is not None
        if isinstance(what, Cause):
            if not end.broken and other.owner._ends.pop(other.number, None) is other:
                other.owner.sink(ConnectionClosed(other.number, what))
            return
        data = what
        end.in_flight -= len(data)
        if end.paused and end.in_flight <= BUFFER_BYTES // 2:
            end.paused = False
            if self._ends.get(end.number) is end:
                self.sink(ConnectionResumed(end.number))
        if other.owner._ends.get(other.number) is other and not end.broken:
            other.owner.reads += 1
            other.owner.sink(BytesReceived(other.number, data))

    def close(self, connection: int) -> None:
        end = self._ends.pop(connection, None)
        if end is None or end.other is None:
            return
        self._send_off(end, Cause.CLOSED)

    def crash(self) -> None:
        """The process is gone: its connections are reset, its address refuses."""
        self._leave()
        for end in list(self._ends.values()):
            if end.other is not None:
                self._send_off(end, Cause.RESET)
        self._ends.clear()

    def _leave(self) -> None:
        if self._network.transports.get(self.address) is self:
            del self._network.transports[self.address]

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        """Take in what waited, and go on."""
        self.reading = True
        while self._unread and self.reading:
            end, what = self._unread.pop(0)
            end.owner._deliver(end, what)

    async def aclose(self) -> None:
        self._leave()
        for number in list(self._ends):
            self.close(number)
