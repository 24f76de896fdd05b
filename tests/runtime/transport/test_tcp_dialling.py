"""Dials that fail or are called off, readers that stop, and what is left when a transport has closed."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
import time
from typing import Any

import pytest

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
from covey.runtime.transport import tcp
from covey.runtime.transport.tcp import TcpTransport
from tests.runtime.transport.tcp_harness import (
    Recorder,
    connect,
    dialled,
    every_loop,
    free_ports,
    open_sockets,
    recorders,
    run_on,
    wait_until,
)

pytestmark = pytest.mark.serial


# --- dialling -------------------------------------------------------------------------------------------------------


@every_loop
@pytest.mark.parametrize(
    "address, cause",
    [
        ("127.0.0.1:{free}", Cause.REFUSED),
        ("no port", Cause.NO_ADDRESS),
        ("127.0.0.1", Cause.NO_ADDRESS),
        ("", Cause.NO_ADDRESS),
        ("a" * 64 + ".example:1", Cause.NO_ADDRESS),
    ],
)
def test_a_dial_that_fails_says_why(kind, address, cause):
    async def main() -> None:
        async with recorders(1) as (one,):
            one.transport.open(1, address.format(free=free_ports(1)[0]))
            assert await one.first(ConnectionFailed) == ConnectionFailed(1, cause)
            assert len(one.facts) == 1

    run_on(kind, main())


@pytest.mark.parametrize(
    "error, cause",
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), Cause.NO_ADDRESS),
        (TimeoutError(errno.ETIMEDOUT, "timed out"), Cause.TIMEOUT),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), Cause.REFUSED),
        (ConnectionResetError(errno.ECONNRESET, "reset"), Cause.RESET),
        (OSError(errno.EHOSTUNREACH, "no route"), Cause.RESET),
        (OSError(errno.EMFILE, "too many open files"), Cause.RESET),
        (UnicodeError("label too long"), Cause.NO_ADDRESS),
        (ssl.SSLError(1, "bad certificate"), Cause.TLS),
    ],
    ids=lambda value: value.name if isinstance(value, Cause) else type(value).__name__,
)
def test_what_the_system_says_has_a_cause_of_ours(error, cause, monkeypatch):
    async def refuse(*arguments: Any, **options: Any) -> Any:
        raise error

    async def main() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", refuse)
        async with recorders(1) as (one,):
            one.transport.open(1, "10.0.0.7:1")
            assert await one.first(ConnectionFailed) == ConnectionFailed(1, cause)

    run_on("asyncio", main())


@every_loop
def test_a_dial_that_is_closed_meanwhile_says_nothing(kind):
    """`close`: "no more facts about this connection", whichever turn it comes in."""

    async def main() -> None:
        async with recorders(2) as (one, other):
            address = await other.transport.listen("127.0.0.1:0")
            for number, turns in enumerate([0, 1, 2, 3, 4, 6, 8, 10] * 2, 1):
                one.transport.open(number, address)
                for _ in range(turns):
                    await asyncio.sleep(0)
                one.transport.close(number)
                count = len([fact for fact in one.facts if getattr(fact, "connection", 0) == number])
                await asyncio.sleep(0.002)
                assert len([fact for fact in one.facts if getattr(fact, "connection", 0) == number]) == count
            await wait_until(lambda: not one.transport._tasks and not one.transport._connections, 2)
            await wait_until(lambda: len(other.of(ConnectionClosed)) == len(other.of(ConnectionAccepted)), 2)

    run_on(kind, main())


# --- who reads too slowly -------------------------------------------------------------------------------------------


@every_loop
def test_a_reader_that_stops_is_told_and_one_that_goes_on_too(kind):
    async def main() -> None:
        async with recorders(1) as (one,):
            address = await one.transport.listen("127.0.0.1:0")
            async with dialled(address) as sock:
                number = (await one.first(ConnectionAccepted)).connection
                written = 0
                while not one.of(ConnectionPaused):
                    one.transport.write(number, b"x" * 65_536)
                    written += 65_536
                    assert written < 100_000_000
                    await asyncio.sleep(0)
                assert one.of(ConnectionPaused) == [ConnectionPaused(number)]
                loop = asyncio.get_running_loop()
                read = 0
                while read < written:
                    read += len(await asyncio.wait_for(loop.sock_recv(sock, 1 << 20), 5))
                assert await one.first(ConnectionResumed) == ConnectionResumed(number)
                assert len(one.of(ConnectionPaused)) == 1

    run_on(kind, main())


@every_loop
def test_a_transport_that_does_not_read_takes_nothing_in_until_it_does(kind):
    async def main() -> None:
        async with recorders(2) as (one, other):
            here, there = await connect(one, other)
            other.transport.pause_reading()
            one.transport.write(here, b"held back")
            one.transport.close(here)
            await asyncio.sleep(0.05)  # what must not happen has no moment at which it does not
            assert other.of(BytesReceived) == other.of(ConnectionClosed) == []
            other.transport.resume_reading()
            assert await other.first(ConnectionClosed) == ConnectionClosed(there, Cause.CLOSED)
            assert other.data(there) == b"held back"

    run_on(kind, main())


@every_loop
def test_a_connection_that_is_made_while_the_transport_does_not_read_is_held_back_too(kind):
    """An event loop may read once before it can be told; it must not go on."""

    async def main() -> None:
        async with recorders(2) as (one, other):
            other.transport.pause_reading()
            here, there = await connect(one, other)
            sent = 20_000_000
            one.transport.write(here, b"x" * sent)
            await asyncio.sleep(0.1)
            taken = len(other.data(there))
            assert taken < 1_000_000
            other.transport.resume_reading()
            await other.until(lambda: len(other.data(there)) == sent)

    run_on(kind, main())


@every_loop
def test_whoever_does_not_read_what_was_written_is_given_so_long_and_no_longer(kind, monkeypatch):
    monkeypatch.setattr(tcp, "LINGER_SECONDS", 0.2)

    async def main() -> None:
        async with recorders(1) as (one,):
            address = await one.transport.listen("127.0.0.1:0")
            async with dialled(address) as sock:
                number = (await one.first(ConnectionAccepted)).connection
                while not one.of(ConnectionPaused):
                    one.transport.write(number, b"x" * 65_536)
                    await asyncio.sleep(0)
                start = time.monotonic()
                one.transport.close(number)
                await wait_until(lambda: not one.transport._lingering, 5)
                assert 0.15 < time.monotonic() - start < 1.5
                with contextlib.suppress(ConnectionResetError):  # what the kernels hold still comes
                    while await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 1 << 20), 5):
                        pass

    run_on(kind, main())


@every_loop
def test_aclose_ends_in_time_with_a_reader_that_does_not_read_and_leaves_nothing(kind, monkeypatch):
    monkeypatch.setattr(tcp, "LINGER_SECONDS", 0.2)

    async def main() -> None:
        before = asyncio.all_tasks()
        one = Recorder()
        address = await one.transport.listen("127.0.0.1:0")
        async with dialled(address) as slow, dialled(address):
            await one.until(lambda: len(one.of(ConnectionAccepted)) == 2)
            await asyncio.sleep(0.01)
            for fact in one.of(ConnectionAccepted):
                one.transport.write(fact.connection, b"x" * 20_000_000)
            start = time.monotonic()
            await one.transport.aclose()
            await one.transport.aclose()
            assert time.monotonic() - start < 1
            assert asyncio.all_tasks() == before
            assert not one.transport._connections
            assert not one.transport._lingering
            with pytest.raises(OSError):
                async with dialled(address):
                    pass
            assert slow.fileno() >= 0

    run_on(kind, main())


@every_loop
def test_transports_come_and_go_without_losing_a_descriptor(kind):
    async def main() -> None:
        async def once() -> None:
            async with recorders(2) as (one, other):
                here, there = await connect(one, other)
                one.transport.write(here, b"x")
                await other.first(BytesReceived)
                del there
                one.transport.open(2, "127.0.0.1:1")

        await once()
        await asyncio.sleep(0.01)
        before = open_sockets()
        for _ in range(10):
            await once()
        await wait_until(lambda: open_sockets() <= before)

    run_on(kind, main())


@every_loop
def test_a_connection_that_has_just_come_up_is_closed_without_a_wait(kind):
    """In whatever turn of the event loop it is: nobody has anything left to read or to write."""

    async def main() -> None:
        for turns in range(5):
            one, other = Recorder(), Recorder()
            address = await other.transport.listen("127.0.0.1:0")
            one.transport.open(1, address)
            await one.first(ConnectionOpened)
            for _ in range(turns):
                await asyncio.sleep(0)
            start = time.monotonic()
            await one.transport.aclose()
            await other.transport.aclose()
            assert time.monotonic() - start < 1
            assert one.transport._lingering == other.transport._lingering == {}

    run_on(kind, main())


@every_loop
def test_a_stranger_who_comes_just_as_we_close_is_not_left_open(kind):
    async def main() -> None:
        before = open_sockets()
        for turns in range(6):
            transport = TcpTransport()
            address = await transport.listen("127.0.0.1:0")
            async with dialled(address):
                for _ in range(turns):
                    await asyncio.sleep(0)
                await transport.aclose()
        await wait_until(lambda: open_sockets() <= before, 3)

    run_on(kind, main())
