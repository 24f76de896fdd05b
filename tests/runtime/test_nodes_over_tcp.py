"""Whole nodes over real sockets: in the clear on loopback, under TLS beyond, and what each side is told of failures."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trustme

import covey
from covey.runtime.addresses import parse_address
from tests.runtime.transport.tcp_harness import every_loop, need_ipv6, open_sockets, run_on, wait_until

pytestmark = pytest.mark.serial

SECRET = "a secret for tests of covey"


def plain(seeds: list[str], **options: Any) -> covey.Node:
    """A node that speaks in the clear, on loopback."""
    options = {"secret": SECRET, "listen": "127.0.0.1:0", "config": covey.Config.laptop(), **options}
    return covey.Node(options.pop("cluster", "orders"), seeds=seeds, **options)


def encrypted(seeds: list[str], **options: Any) -> covey.Node:
    """A node that speaks TLS from its secret, as beyond loopback, where it listens too."""
    return plain(seeds, **{"listen": "0.0.0.0:0", "advertise": "127.0.0.1", **options})


def contexts(authority: trustme.CA) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a user brings along: both sides show a certificate of one authority."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server.verify_mode = ssl.CERT_REQUIRED
    leaf = authority.issue_cert("127.0.0.1")
    for context in (server, client):
        leaf.configure_cert(context)
        authority.configure_trust(context)
    return server, client


async def message(events: covey.Subscription, seconds: float = 10.0) -> covey.Message:
    """The next message."""
    async with asyncio.timeout(seconds):
        async for event in events:
            if isinstance(event, covey.Message):
                return event
    raise AssertionError("the stream ended")


async def refusal(events: covey.Subscription, seconds: float = 2.0) -> covey.LinkRefused:
    """The first link that was refused."""
    async with asyncio.timeout(seconds):
        async for event in events:
            if isinstance(event, covey.LinkRefused):
                return event
    raise AssertionError("the stream ended")


async def meet_and_talk(one: covey.Node, other: covey.Node) -> None:
    """Both see each other, and values of all sizes go both ways; then one says goodbye."""
    async with one.events() as heard_by_one, other.events() as heard_by_other:
        await asyncio.gather(one.wait_neighbours(1), other.wait_neighbours(1))
        assert [peer.site for peer in one.neighbours()] == [other.site]
        assert [peer.address for peer in one.neighbours()] == [other.address]
        values = [None, {"edit": [1, 2.5, b"\0"]}, "x" * 900_000, list(range(1_000))]
        for value in values:
            await one.send(other.site, value)
            assert await message(heard_by_other) == covey.Message(one.site, value)
            await other.send(one.site, value)
            assert await message(heard_by_one) == covey.Message(other.site, value)
        await one.close()
        async with asyncio.timeout(5):
            async for event in heard_by_other:
                if isinstance(event, covey.NeighborDown):
                    assert (event.neighbor.site, event.cause) == (one.site, "goodbye")
                    break


# --- they meet ------------------------------------------------------------------------------------------------------


@every_loop
def test_two_nodes_in_the_clear_meet_and_talk(kind):
    async def main() -> None:
        async with plain([]) as one, plain([one.address]) as other:
            await meet_and_talk(one, other)

    run_on(kind, main())


@every_loop
def test_two_nodes_with_tls_from_their_secret_meet_and_talk(kind):
    async def main() -> None:
        async with encrypted([]) as one, encrypted([one.address]) as other:
            assert one.address.startswith("127.0.0.1:")
            await meet_and_talk(one, other)

    run_on(kind, main())


@every_loop
def test_two_nodes_with_contexts_of_the_users_meet_and_talk(kind):
    async def main() -> None:
        authority = trustme.CA()
        async with plain([], tls=contexts(authority)) as one:
            async with plain([one.address], tls=contexts(authority)) as other:
                await meet_and_talk(one, other)

    run_on(kind, main())


@every_loop
def test_two_nodes_over_ipv6_meet_and_talk(kind):
    need_ipv6()

    async def main() -> None:
        async with plain([], listen="[::1]:0") as one, plain([one.address], listen="[::1]:0") as other:
            assert one.address.startswith("[::1]:")
            await meet_and_talk(one, other)

    run_on(kind, main())


@every_loop
def test_six_nodes_that_start_together_are_a_full_mesh_and_all_hear_all(kind):
    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            first = await stack.enter_async_context(plain([]))
            nodes = [first, *(plain([first.address]) for _ in range(5))]
            await asyncio.gather(*(stack.enter_async_context(node) for node in nodes[1:]))
            await asyncio.gather(*(node.wait_neighbours(5) for node in nodes))
            streams = [await stack.enter_async_context(node.events()) for node in nodes]
            await asyncio.gather(*(one.send(other.site, one.site) for one in nodes for other in nodes if one != other))
            for node, stream in zip(nodes, streams, strict=True):
                found = [await message(stream) for _ in range(5)]
                assert {m.sender for m in found} == {other.site for other in nodes} - {node.site}
                assert all(m.sender == m.payload for m in found)

    run_on(kind, main())


class Relay:
    """Stands between a node and those who dial it, and keeps what passes."""

    def __init__(self) -> None:
        self.address = ""
        self.target = ""
        self.passed = b""
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there, back = await asyncio.open_connection(*parse_address(self.target))
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        for end in (writer, back):
            end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            self.passed += data
            writer.write(data)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def relay() -> AsyncIterator[Relay]:
    found = Relay()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.address = "127.0.0.1:{1}".format(*server.sockets[0].getsockname())
    try:
        yield found
    finally:
        server.close()


@every_loop
@pytest.mark.parametrize("make, is_readable", [(plain, True), (encrypted, False)])
def test_beyond_loopback_nobody_on_the_way_can_read_what_is_said(kind, make, is_readable):
    async def main() -> None:
        async with relay() as between, make([], advertise=None) as port_finder:
            between.target = "127.0.0.1:" + port_finder.address.rpartition(":")[2] if port_finder.address else ""
            await port_finder.close()
            listen = "0.0.0.0:0" if make is encrypted else "127.0.0.1:0"
            async with make([], listen=listen, advertise=between.address) as one:
                runner: Any = one._runner
                between.target = f"127.0.0.1:{runner._port}"
                async with make([between.address]) as other, one.events() as events:
                    await other.wait_neighbours(1)
                    text = "nobody on the way can read this"
                    await other.send(one.site, text)
                    assert (await message(events)).payload == text
                    assert between.connections >= 1
                    assert len(between.passed) > 500
                    assert (text.encode() in between.passed) is is_readable
                    assert (one.site in between.passed) is is_readable
                    assert SECRET.encode() not in between.passed

    run_on(kind, main())


# --- they do not meet -----------------------------------------------------------------------------------------------


async def refused_both_ways(acceptor: covey.Node, dialler: covey.Node) -> tuple[covey.LinkRefused, covey.LinkRefused]:
    """What either side is told when `dialler` tries `acceptor`."""
    async with acceptor.events() as inbound, dialler.events() as outbound:
        told = await asyncio.gather(refusal(inbound), refusal(outbound), return_exceptions=True)
        sides = dict(zip(("acceptor", "dialler"), told, strict=True))
        assert [side for side, event in sides.items() if isinstance(event, BaseException)] == []
        one, other = told
        assert isinstance(one, covey.LinkRefused)
        assert isinstance(other, covey.LinkRefused)
        assert (one.inbound, other.inbound) == (True, False)
        assert one.address.startswith("127.0.0.1:")
        assert other.address == acceptor.address
        assert one.detail
        assert other.detail
        assert acceptor.neighbours() == dialler.neighbours() == []
        return one, other


@every_loop
@pytest.mark.parametrize(
    "options, cause", [({"secret": "another secret of a test"}, "secret"), ({"cluster": "billing"}, "cluster")]
)
def test_in_the_clear_another_secret_or_cluster_is_told_to_both(kind, options, cause):
    async def main() -> None:
        async with plain([]) as acceptor, plain([acceptor.address], **options) as dialler:
            one, other = await refused_both_ways(acceptor, dialler)
            assert (one.cause, other.cause) == (cause, cause)

    run_on(kind, main())


@every_loop
@pytest.mark.parametrize(
    "options", [{"secret": "another secret of a test"}, {"cluster": "billing"}], ids=["secret", "cluster"]
)
def test_under_tls_another_secret_or_cluster_is_told_to_both(kind, options):
    async def main() -> None:
        async with encrypted([]) as acceptor, encrypted([acceptor.address], **options) as dialler:
            one, other = await refused_both_ways(acceptor, dialler)
            assert (one.cause, other.cause) == ("tls", "tls")

    run_on(kind, main())


@every_loop
def test_contexts_of_different_authorities_are_told_to_both(kind):
    async def main() -> None:
        async with plain([], tls=contexts(trustme.CA())) as acceptor:
            async with plain([acceptor.address], tls=contexts(trustme.CA())) as dialler:
                one, other = await refused_both_ways(acceptor, dialler)
                assert (one.cause, other.cause) == ("tls", "tls")

    run_on(kind, main())


@every_loop
def test_a_client_without_a_certificate_where_one_is_asked_for_is_told_to_both(kind):
    async def main() -> None:
        authority = trustme.CA()
        server, client = contexts(authority)
        bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(bare)
        async with plain([], tls=(server, client)) as acceptor:
            async with plain([acceptor.address], tls=(server, bare)) as dialler:
                one, other = await refused_both_ways(acceptor, dialler)
                assert (one.cause, other.cause) == ("tls", "tls")

    run_on(kind, main())


@every_loop
def test_a_node_in_the_clear_that_dials_one_with_tls_is_told_and_so_is_the_other(kind):
    async def main() -> None:
        async with encrypted([]) as acceptor, plain([acceptor.address]) as dialler:
            one, other = await refused_both_ways(acceptor, dialler)
            assert one.cause == "tls"
            assert other.cause in ("tls", "frame")

    run_on(kind, main())


@every_loop
def test_a_node_with_tls_that_dials_one_in_the_clear_is_told_and_so_is_the_other(kind):
    async def main() -> None:
        async with plain([]) as acceptor, encrypted([acceptor.address]) as dialler:
            one, other = await refused_both_ways(acceptor, dialler)
            assert other.cause == "tls"
            assert one.cause in ("tls", "frame")

    run_on(kind, main())


@every_loop
def test_a_port_scan_of_a_node_with_tls_is_no_refused_link(kind):
    """Whoever connects and goes away has not been refused anything; load balancers do it all day."""

    async def main() -> None:
        async with encrypted([]) as one, one.events() as events:
            for _ in range(5):
                _, writer = await asyncio.open_connection(*parse_address(one.address))
                writer.close()
                await writer.wait_closed()
            async with encrypted([one.address]) as other:
                await asyncio.gather(one.wait_neighbours(1), other.wait_neighbours(1))
            assert not any(isinstance(event, covey.LinkRefused) for event in events._queue)

    run_on(kind, main())


# --- start and close ------------------------------------------------------------------------------------------------


@every_loop
def test_a_start_on_a_taken_port_leaves_nothing_open_and_can_be_repeated(kind):
    async def main() -> None:
        async with plain([]) as first:
            second = plain([], listen=first.address)
            tasks = asyncio.all_tasks()
            with pytest.raises(covey.ConfigError, match="listen: cannot listen on"):
                await second.start()
            assert asyncio.all_tasks() == tasks
            with pytest.raises(covey.ClosedError):
                second.neighbours()
        await second.start()
        assert second.address == first.address
        await second.close()

    run_on(kind, main())


@every_loop
def test_a_node_that_is_closed_while_it_starts_is_closed(kind):
    """However many turns the start has had: afterwards nothing listens, and nobody believes it is open."""

    async def main() -> None:
        for turns in range(6):
            tasks = asyncio.all_tasks()
            node = plain([])
            starting = asyncio.create_task(node.start())
            for _ in range(turns):
                await asyncio.sleep(0)
            await node.close()
            with contextlib.suppress(covey.UsageError):
                await starting
            try:
                with pytest.raises(covey.ClosedError):
                    node.neighbours()
                assert asyncio.all_tasks() == tasks
            finally:
                runner: Any = node._runner
                if runner is not None:
                    await runner.abort()

    run_on(kind, main())


@every_loop
def test_a_cancelled_start_leaves_nothing_open(kind):
    async def main() -> None:
        for turns in range(6):
            tasks = asyncio.all_tasks()
            node = plain([])
            starting = asyncio.create_task(node.start())
            for _ in range(turns):
                await asyncio.sleep(0)
            cancelled = starting.cancel()
            try:
                await starting
            except asyncio.CancelledError:
                assert cancelled
            await node.close()
            assert asyncio.all_tasks() == tasks

    run_on(kind, main())


@every_loop
def test_a_node_that_died_has_no_socket_left_once_close_returns(kind, caplog):
    async def main() -> None:
        async with plain([]) as other:
            node = plain([other.address])
            await node.start()
            await asyncio.gather(node.wait_neighbours(1), other.wait_neighbours(1))

            def handle(incoming: Any, now_us: int) -> Any:
                raise ZeroDivisionError("injected")

            engine: Any = node._engine
            engine.overlay.handle = handle
            runner: Any = node._runner
            await wait_until(lambda: runner.dead is not None)
            await node.close()
            assert runner._transport._connections == {}
            assert runner._transport._server is None
            await wait_until(lambda: other.neighbours() == [], 5)

    caplog.set_level("CRITICAL")
    run_on(kind, main())


@every_loop
def test_nodes_come_and_go_without_losing_a_descriptor_or_a_task(kind):
    async def once() -> None:
        async with plain([]) as one, plain([one.address]) as other:
            await asyncio.gather(one.wait_neighbours(1), other.wait_neighbours(1))
            await one.send(other.site, "x")

    async def main() -> None:
        await once()
        tasks, sockets = asyncio.all_tasks(), open_sockets()
        for _ in range(5):
            await once()
        assert asyncio.all_tasks() == tasks
        await wait_until(lambda: open_sockets() <= sockets, 5)

    run_on(kind, main())
