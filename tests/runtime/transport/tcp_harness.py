"""Real event loops, real sockets on loopback, and transports that write down what they say."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest
import trustme

from covey.protocols.links.vocabulary import BytesReceived, ConnectionAccepted, ConnectionOpened
from covey.runtime.addresses import parse_address
from covey.runtime.transport.tcp import TcpTransport, Tls
from tests.require import lack

R = TypeVar("R")


def loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loops that are installed here."""
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.SelectorEventLoop}
    with contextlib.suppress(ImportError):
        import uvloop

        factories["uvloop"] = uvloop.new_event_loop
    return factories


every_loop = pytest.mark.parametrize("kind", loop_factories())


def run_on(kind: str, main: Coroutine[Any, Any, R]) -> R:
    """Run `main` on an event loop of one kind, with whatever went wrong inside it brought to light."""
    troubles: list[dict[str, Any]] = []

    async def watched() -> R:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: troubles.append(context))
        return await main

    with asyncio.Runner(loop_factory=loop_factories()[kind]) as runner:
        result = runner.run(watched())
    assert troubles == []
    return result


class Recorder:
    """A transport and all that it said, in order."""

    def __init__(self, tls: Tls | None = None) -> None:
        self.transport = TcpTransport(tls)
        self.transport.sink = self._take
        self.transport.local_host = lambda host: self.take_host(host)
        self.facts: list[Any] = []
        self.hosts: list[str] = []
        self.host_before: list[int] = []  # how many facts there were when each host was told
        self._news = asyncio.Event()

    def _take(self, fact: Any) -> None:
        self.facts.append(fact)
        self._news.set()

    def take_host(self, host: str) -> None:
        self.hosts.append(host)
        self.host_before.append(len(self.facts))

    def of(self, kind: type) -> list[Any]:
        """The facts of one kind, in order."""
        return [fact for fact in self.facts if type(fact) is kind]

    def data(self, connection: int) -> bytes:
        """All bytes that came over one connection."""
        return b"".join(fact.data for fact in self.of(BytesReceived) if fact.connection == connection)

    async def until(self, condition: Callable[[], object], seconds: float = 10.0) -> None:
        """Wait until `condition()` holds; looked at after each fact."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def first(self, kind: type, seconds: float = 10.0) -> Any:
        """The first fact of one kind, which may be still to come."""
        await self.until(lambda: self.of(kind), seconds)
        return self.of(kind)[0]


@contextlib.asynccontextmanager
async def recorders(count: int, tls: list[Tls | None] | None = None) -> AsyncIterator[list[Recorder]]:
    """Transports that are closed at the end."""
    found = [Recorder(tls[index] if tls else None) for index in range(count)]
    try:
        yield found
    finally:
        for recorder in found:
            await recorder.transport.aclose()


@contextlib.asynccontextmanager
async def dialled(address: str) -> AsyncIterator[socket.socket]:
    """A bare socket connected to `address`."""
    with socket.socket() as sock:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, parse_address(address))
        yield sock


async def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait in real time until `condition()` holds; for what nobody announces."""
    async with asyncio.timeout(seconds):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


def free_ports(count: int) -> list[int]:
    """Neighbouring ports that were free just now."""
    for first in range(20_000, 60_000, 61):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    sock = stack.enter_context(socket.socket())
                    sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return list(range(first, first + count))
    raise AssertionError("no free ports here")


@contextlib.contextmanager
def taken(port: int) -> Iterator[None]:
    """Somebody else listens on `port`."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", port))
        sock.listen()
        yield


async def connect(one: Recorder, other: Recorder) -> tuple[int, int]:
    """A connection from `one` to `other`: its number at either end."""
    address = await other.transport.listen("127.0.0.1:0")
    one.transport.open(1, address)
    opened = await one.first(ConnectionOpened)
    accepted = await other.first(ConnectionAccepted)
    return opened.connection, accepted.connection


def own_tls() -> Tls:
    """Contexts made with an authority of their own."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("covey.test").configure_cert(server)
    authority.configure_trust(client)
    return Tls(server, client, "covey.test")


def open_sockets() -> int:
    """How many sockets this process has; always 0 where one cannot ask."""
    count = 0
    with contextlib.suppress(OSError):
        for number in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                count += os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
    return count


def need_ipv6() -> None:
    """Skip the test where there is no IPv6 loopback."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        lack("ipv6", "there is no IPv6 loopback")
