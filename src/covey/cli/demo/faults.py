"""The demo's own network fault: nothing passes between some processes, as when a cable is out.

It wraps the transport of a worker's node, and only a worker of the demo can switch it on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

from covey.protocols.links.vocabulary import BytesReceived, ConnectionClosed, ConnectionOpened
from covey.runtime.environment import RealEnvironment
from covey.runtime.guard import Watch
from covey.runtime.transport.base import Sink, Transport
from covey.runtime.transport.tcp import Tls


class CuttingTransport:
    """A transport that swallows what passes between this process and some addresses.

    Only whoever dialled knows the address at the other end, and of each connection one end dialled: it swallows both
    directions. Law: behind what was swallowed nothing passes on that connection any more, as with TCP, healed or not;
    its ends find it silent and make another one.
    """

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self._cut: frozenset[str] = frozenset()
        self._addresses: dict[int, str] = {}  # of connections that this process dialled
        self._broken: dict[int, None] = {}
        self._sink: Sink = lambda fact: None
        inner.sink = self._take

    def cut(self, addresses: Iterable[str]) -> None:
        """From now on nothing passes to and from these addresses, and only these."""
        self._cut = frozenset(addresses)

    def _swallows(self, connection: int) -> bool:
        if connection in self._broken:
            return True
        if self._addresses.get(connection) not in self._cut:
            return False
        self._broken[connection] = None
        return True

    def _take(self, fact: Any) -> None:
        if isinstance(fact, (BytesReceived, ConnectionClosed, ConnectionOpened)) and self._swallows(fact.connection):
            return
        self._sink(fact)

    # --- the transport's door ---------------------------------------------------------------------------------------

    @property
    def sink(self) -> Sink:
        return self._sink

    @sink.setter
    def sink(self, sink: Sink) -> None:
        self._sink = sink

    @property
    def reads(self) -> int:
        return self._inner.reads

    @reads.setter
    def reads(self, reads: int) -> None:
        self._inner.reads = reads

    @property
    def local_host(self) -> Callable[[str], None]:
        return self._inner.local_host

    @local_host.setter
    def local_host(self, told: Callable[[str], None]) -> None:
        self._inner.local_host = told

    async def listen(self, address: str) -> str:
        return await self._inner.listen(address)

    def open(self, connection: int, address: str) -> None:
        self._addresses[connection] = address
        if not self._swallows(connection):  # else nobody ever answers
            self._inner.open(connection, address)

    def write(self, connection: int, data: bytes) -> None:
        if not self._swallows(connection):
            self._inner.write(connection, data)

    def close(self, connection: int) -> None:
        self._addresses.pop(connection, None)
        self._broken.pop(connection, None)
        self._inner.close(connection)

    def pause_reading(self) -> None:
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        self._inner.resume_reading()

    async def aclose(self) -> None:
        await self._inner.aclose()


class CuttingEnvironment:
    """This machine, with a network that can be cut: `cut` says from whom."""

    def __init__(self) -> None:
        self._real = RealEnvironment()
        self._transports: list[CuttingTransport] = []

    def cut(self, addresses: Iterable[str]) -> None:
        """Cut this process off from these addresses, and from no others."""
        for transport in self._transports:
            transport.cut(addresses)

    def monotonic_us(self) -> int:
        return self._real.monotonic_us()

    def wall_us(self) -> int:
        return self._real.wall_us()

    def rng(self) -> random.Random:
        return self._real.rng()

    def nonces(self) -> random.Random:
        return self._real.nonces()

    def transport(self, tls: Tls | None) -> Transport:
        transport = CuttingTransport(self._real.transport(tls))
        self._transports.append(transport)
        return transport

    def watchdog(self) -> Watch:
        return self._real.watchdog()
