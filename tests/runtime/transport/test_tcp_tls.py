"""TLS over real sockets: what either end is told, and how little a stranger may cost."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from covey.core.vocabulary import Cause
from covey.protocols.links.vocabulary import (
    ConnectionAccepted,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionOpened,
    StrangerFailed,
)
from covey.runtime.transport import tcp
from covey.runtime.transport.tcp import TcpTransport
from tests.runtime.transport.tcp_harness import (
    connect,
    dialled,
    every_loop,
    open_sockets,
    own_tls,
    recorders,
    run_on,
    wait_until,
)

pytestmark = pytest.mark.serial


@every_loop
def test_with_contexts_of_ones_own_bytes_go_both_ways_and_are_encrypted(kind):
    async def main() -> None:
        tls = own_tls()
        async with recorders(2, [tls, tls]) as (one, other):
            here, there = await connect(one, other)
            one.transport.write(here, b"x" * 1_000_000)
            other.transport.write(there, b"back")
            await other.until(lambda: len(other.data(there)) == 1_000_000)
            await one.until(lambda: one.data(here) == b"back")
            transport = one.transport._connections[here].transport
            assert transport is not None
            assert transport.get_extra_info("ssl_object").version() == "TLSv1.3"
            one.transport.close(here)
            assert (await other.first(ConnectionClosed)).connection == there

    run_on(kind, main())


@every_loop
def test_a_certificate_of_another_authority_is_told_at_both_ends(kind):
    async def main() -> None:
        async with recorders(2, [own_tls(), own_tls()]) as (one, other):
            address = await other.transport.listen("127.0.0.1:0")
            one.transport.open(1, address)
            assert await one.first(ConnectionFailed) == ConnectionFailed(1, Cause.TLS)
            stranger = await other.first(StrangerFailed, 3)
            assert stranger.cause is Cause.TLS
            assert stranger.remote.startswith("127.0.0.1:")
            assert other.of(ConnectionAccepted) == []

    run_on(kind, main())


@every_loop
def test_plaintext_against_tls_is_told_to_the_one_with_tls(kind):
    async def main() -> None:
        async with recorders(2, [None, own_tls()]) as (plain, encrypted):
            address = await encrypted.transport.listen("127.0.0.1:0")
            plain.transport.open(1, address)
            await plain.first(ConnectionOpened)
            plain.transport.write(1, b"\0\0\0\x10" + b"not a client hello")
            assert (await encrypted.first(StrangerFailed)).cause is Cause.TLS
            await plain.first(ConnectionClosed)
            assert encrypted.of(ConnectionAccepted) == []

    run_on(kind, main())


@every_loop
def test_tls_against_plaintext_is_told_to_the_one_with_tls(kind):
    async def main() -> None:
        async with recorders(2, [own_tls(), None]) as (encrypted, plain):
            address = await plain.transport.listen("127.0.0.1:0")
            encrypted.transport.open(1, address)
            accepted = await plain.first(ConnectionAccepted)
            await plain.until(lambda: plain.data(accepted.connection)[:1] == b"\x16")
            plain.transport.write(accepted.connection, b"\0\0\0\x10not a server hello")
            assert await encrypted.first(ConnectionFailed) == ConnectionFailed(1, Cause.TLS)

    run_on(kind, main())


@every_loop
def test_a_stranger_who_is_slow_with_tls_is_given_so_long_and_no_longer(kind, monkeypatch):
    monkeypatch.setattr(tcp, "TLS_SECONDS_MAX", 0.3)

    async def main() -> None:
        async with recorders(1, [own_tls()]) as (one,):
            address = await one.transport.listen("127.0.0.1:0")
            async with dialled(address) as sock:
                start = time.monotonic()
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(sock, b"\x16\x03\x01")
                with contextlib.suppress(ConnectionResetError):
                    assert await asyncio.wait_for(loop.sock_recv(sock, 1), 5) == b""
                assert 0.2 < time.monotonic() - start < 2
            assert one.facts == []
            await wait_until(lambda: not one.transport._tasks)

    run_on(kind, main())


@every_loop
def test_strangers_in_their_tls_handshake_are_bounded_and_the_next_one_gets_in_when_one_has_left(kind, monkeypatch):
    monkeypatch.setattr(tcp, "GREETING_MAX", 4)

    async def main() -> None:
        tls = own_tls()
        async with recorders(2, [tls, tls]) as (one, other), contextlib.AsyncExitStack() as stack:
            address = await other.transport.listen("127.0.0.1:0")
            strangers = [await stack.enter_async_context(dialled(address)) for _ in range(6)]
            for stranger in strangers:
                stranger.send(b"\x16")  # so begins a handshake
            await wait_until(lambda: other.transport._greeting == 4)
            await asyncio.sleep(0.05)
            assert other.transport._greeting == 4
            for stranger in (strangers[0], *strangers[4:]):
                stranger.close()
            attempts = 0
            while not one.of(ConnectionOpened):  # whoever is turned away comes back
                attempts += 1
                assert attempts < 20
                one.transport.open(attempts, address)
                await one.until(lambda: one.facts, 5)
                one.facts = one.of(ConnectionOpened)
                await asyncio.sleep(0.02)
            await other.first(ConnectionAccepted)

    run_on(kind, main())


@every_loop
def test_a_crowd_that_says_nothing_to_a_node_with_tls_is_gone_in_the_time_of_one_handshake(kind, monkeypatch):
    """Not one bound after the other: whoever has the right to come in would have to wait as long."""
    monkeypatch.setattr(tcp, "GREETING_MAX", 4)
    monkeypatch.setattr(tcp, "TLS_SECONDS_MAX", 0.5)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with recorders(1, [own_tls()]) as (one,), contextlib.AsyncExitStack() as stack:
            address = await one.transport.listen("127.0.0.1:0")
            start = time.monotonic()
            crowd = [await stack.enter_async_context(dialled(address)) for _ in range(40)]
            ends = await asyncio.gather(*(loop.sock_recv(sock, 1) for sock in crowd), return_exceptions=True)
            assert all(end == b"" or isinstance(end, ConnectionError) for end in ends)
            assert time.monotonic() - start < 1.5

    run_on(kind, main())


@every_loop
def test_closing_in_the_midst_of_tls_handshakes_leaves_nothing(kind):
    async def main() -> None:
        before, sockets = asyncio.all_tasks(), open_sockets()
        transport = TcpTransport(own_tls())
        address = await transport.listen("127.0.0.1:0")
        async with dialled(address), dialled(address):
            await wait_until(lambda: len(transport._tasks) == 2)
            await asyncio.sleep(0.01)
            await transport.aclose()
            assert asyncio.all_tasks() == before
        await wait_until(lambda: open_sockets() <= sockets, 3)

    run_on(kind, main())
