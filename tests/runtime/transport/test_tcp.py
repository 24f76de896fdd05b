"""Bytes over real sockets: what a transport says happened, in which order, and what it never says."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import struct
import sys

import pytest

from covey.core.errors import ConfigError
from covey.core.vocabulary import Cause
from covey.protocols.links.vocabulary import (
    BytesReceived,
    ConnectionAccepted,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionOpened,
)
from covey.runtime.addresses import parse_address
from covey.runtime.transport import tcp
from tests.runtime.transport.tcp_harness import (
    Recorder,
    connect,
    dialled,
    every_loop,
    free_ports,
    need_ipv6,
    open_sockets,
    own_tls,
    recorders,
    run_on,
    taken,
)

pytestmark = pytest.mark.serial


# --- a connection's life --------------------------------------------------------------------------------------------


@every_loop
def test_bytes_go_both_ways_and_a_close_is_told_to_the_other_side_alone(kind):
    async def main() -> None:
        async with recorders(2) as (one, other):
            here, there = await connect(one, other)
            assert there < 0 < here
            one.transport.write(here, b"to the ")
            one.transport.write(here, b"other")
            other.transport.write(there, b"to the one")
            await other.until(lambda: other.data(there) == b"to the other")
            await one.until(lambda: one.data(here) == b"to the one")
            one.transport.close(here)
            closed = await other.first(ConnectionClosed)
            assert closed == ConnectionClosed(there, Cause.CLOSED)
            assert one.of(ConnectionClosed) == []
            assert [type(fact) for fact in one.facts] == [ConnectionOpened, BytesReceived]
            assert one.transport.reads == len(one.of(BytesReceived))

    run_on(kind, main())


@every_loop
def test_what_was_written_before_a_close_arrives(kind):
    async def main() -> None:
        async with recorders(2) as (one, other):
            here, there = await connect(one, other)
            sent = os.urandom(3_000_000)
            one.transport.write(here, sent)
            one.transport.close(here)
            await other.first(ConnectionClosed)
            assert other.data(there) == sent

    run_on(kind, main())


@every_loop
def test_after_our_close_nothing_more_is_said_of_the_connection(kind):
    async def main() -> None:
        async with recorders(2) as (one, other):
            here, there = await connect(one, other)
            for _ in range(100):
                other.transport.write(there, b"x" * 10_000)
            await one.first(BytesReceived)
            one.transport.close(here)
            count = len(one.facts)
            one.transport.write(here, b"into the void")
            one.transport.close(here)
            await other.first(ConnectionClosed)
            await one.transport.aclose()
            assert len(one.facts) == count

    run_on(kind, main())


@every_loop
def test_writing_to_a_connection_that_is_not_there_does_nothing(kind):
    async def main() -> None:
        async with recorders(1) as (one,):
            one.transport.write(7, b"x")
            one.transport.close(7)
            assert one.facts == []

    run_on(kind, main())


@every_loop
def test_a_reset_is_told_as_such_and_once(kind):
    async def main() -> None:
        async with recorders(1) as (one,):
            address = await one.transport.listen("127.0.0.1:0")
            async with dialled(address) as sock:
                accepted = await one.first(ConnectionAccepted)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            closed = await one.first(ConnectionClosed)
            assert closed == ConnectionClosed(accepted.connection, Cause.RESET)
            await asyncio.sleep(0)
            assert len(one.of(ConnectionClosed)) == 1

    run_on(kind, main())


@every_loop
def test_our_own_end_is_told_before_anything_else_about_a_connection(kind):
    async def main() -> None:
        async with recorders(2) as (one, other):
            await connect(one, other)
            assert (one.hosts, one.host_before) == (["127.0.0.1"], [0])
            assert (other.hosts, other.host_before) == (["127.0.0.1"], [0])
            assert other.of(ConnectionAccepted)[0].remote.startswith("127.0.0.1:")

    run_on(kind, main())


@every_loop
def test_small_writes_are_not_held_back_for_larger_ones(kind):
    async def main() -> None:
        async with recorders(2) as (one, other):
            here, there = await connect(one, other)
            for recorder, number in ((one, here), (other, there)):
                transport = recorder.transport._connections[number].transport
                assert transport is not None
                sock = transport.get_extra_info("socket")
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    run_on(kind, main())


# --- listening ------------------------------------------------------------------------------------------------------


@every_loop
def test_port_0_means_any_port_and_the_one_it_became_is_given(kind):
    async def main() -> None:
        async with recorders(2) as (one, other):
            first = await one.transport.listen("127.0.0.1:0")
            second = await other.transport.listen("127.0.0.1:0")
            assert first != second
            assert not first.endswith(":0")

    run_on(kind, main())


@every_loop
def test_of_a_range_the_first_free_port_is_taken(kind):
    async def main() -> None:
        ports = free_ports(3)
        async with recorders(3) as (one, other, third):
            listen = f"127.0.0.1:{ports[0]}-{ports[2]}"
            with taken(ports[0]):
                assert await one.transport.listen(listen) == f"127.0.0.1:{ports[1]}"
                assert await other.transport.listen(listen) == f"127.0.0.1:{ports[2]}"
            assert await third.transport.listen(listen) == f"127.0.0.1:{ports[0]}"

    run_on(kind, main())


@every_loop
def test_a_range_that_is_all_taken_is_a_config_error_and_leaves_nothing_open(kind):
    async def main() -> None:
        ports = free_ports(2)
        async with recorders(1) as (one,):
            with taken(ports[0]), taken(ports[1]):
                before = open_sockets()
                with pytest.raises(ConfigError, match=r"listen: cannot listen on .* give another port, or a range"):
                    await one.transport.listen(f"127.0.0.1:{ports[0]}-{ports[1]}")
                assert open_sockets() == before
            assert await one.transport.listen(f"127.0.0.1:{ports[0]}") == f"127.0.0.1:{ports[0]}"

    run_on(kind, main())


@every_loop
def test_an_address_of_another_host_is_a_config_error_at_once(kind):
    async def main() -> None:
        async with recorders(1) as (one,):
            with pytest.raises(ConfigError, match="listen: cannot listen on"):
                await one.transport.listen("192.0.2.1:8946-9000")  # TEST-NET-1

    run_on(kind, main())


@every_loop
def test_ipv6_is_spoken_in_brackets(kind):
    need_ipv6()

    async def main() -> None:
        async with recorders(2) as (one, other):
            address = await other.transport.listen("[::1]:0")
            assert address.startswith("[::1]:")
            one.transport.open(1, address)
            await one.first(ConnectionOpened)
            accepted = await other.first(ConnectionAccepted)
            assert accepted.remote.startswith("[::1]:")
            assert one.hosts == other.hosts == ["::1"]
            one.transport.write(1, b"six")
            await other.until(lambda: other.data(accepted.connection) == b"six")

    run_on(kind, main())


@every_loop
def test_a_name_can_be_listened_on_and_dialled(kind):
    async def main() -> None:
        async with recorders(2) as (one, other):
            address = await other.transport.listen("localhost:0")
            assert address.startswith("localhost:")
            one.transport.open(1, address)
            await one.first(ConnectionOpened)

    run_on(kind, main())


@every_loop
def test_a_herd_of_three_hundred_connections_is_let_in(kind):
    """Nodes that start together dial together; none of them should have to come back."""

    async def main() -> None:
        async with recorders(2) as (one, other):
            address = await other.transport.listen("127.0.0.1:0")
            for number in range(1, 301):
                one.transport.open(number, address)
            await one.until(lambda: len(one.of(ConnectionOpened)) + len(one.of(ConnectionFailed)) == 300, 20)
            for number in range(1, 301):
                one.transport.write(number, b"here")
            await other.until(lambda: len(other.of(BytesReceived)) + len(one.of(ConnectionClosed)) >= 300, 20)
            assert one.of(ConnectionFailed) == one.of(ConnectionClosed) == []
            assert len(other.of(ConnectionAccepted)) == 300
            assert len({fact.connection for fact in other.of(ConnectionAccepted)}) == 300

    run_on(kind, main())


@every_loop
def test_a_connection_beyond_the_bound_is_closed_at_once(kind, monkeypatch):
    monkeypatch.setattr(tcp, "CONNECTIONS_MAX", 3)

    async def main() -> None:
        async with recorders(1) as (one,), contextlib.AsyncExitStack() as stack:
            address = await one.transport.listen("127.0.0.1:0")
            for _ in range(3):
                await stack.enter_async_context(dialled(address))
            await one.until(lambda: len(one.of(ConnectionAccepted)) == 3)
            extra = await stack.enter_async_context(dialled(address))
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(extra, 1), 5) == b""
            assert len(one.of(ConnectionAccepted)) == 3
            one.transport.close(one.of(ConnectionAccepted)[0].connection)
            await stack.enter_async_context(dialled(address))
            await one.until(lambda: len(one.of(ConnectionAccepted)) == 4)

    run_on(kind, main())


@every_loop
@pytest.mark.parametrize("steps", range(8))
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_stranger_that_comes_while_we_close_is_closed_too(kind, tls, steps, monkeypatch):
    """Whatever step its welcome is at; a socket that is only dropped would be closed when the memory is wanted."""
    dropped: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: dropped.append(unraisable.exc_value))

    async def main() -> None:
        recorder = Recorder(own_tls() if tls else None)
        address = parse_address(await recorder.transport.listen("127.0.0.1:0"))
        with socket.create_connection(address):
            for _ in range(steps):
                await asyncio.sleep(0)
            await recorder.transport.aclose()
        await asyncio.sleep(0)

    run_on(kind, main())
    gc.collect()
    assert dropped == []
