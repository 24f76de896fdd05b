"""Whoever does not hold the secret can do nothing to a node but cost it a moment, whatever he sends it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

import covey
from covey.protocols.links.config import LinksConfig
from covey.runtime.addresses import parse_address
from tests.hostile.children import Child, children
from tests.runtime.transport.tcp_harness import wait_until

pytestmark = pytest.mark.serial

SECRET = "the secret of hostile tests"
ATTACK_S = 4.5
IDLE = 1_000
RSS_GROWTH_MAX = 64 << 20
PATIENCE_S = LinksConfig().handshake_us_max / 1e6 + 1.0


@contextlib.asynccontextmanager
async def five_nodes(tmp_path: Path) -> AsyncIterator[list[Child]]:
    """Five processes that are one cluster."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    async with children() as start:
        command = ("-m", "covey", "node", "hostile", "--json", "--listen", "127.0.0.1:0", "--secret-file", str(secret))
        nodes: list[Child] = [await start(*command, COVEY_RUNTIME_DIR=str(tmp_path / "runtime"))]
        others = (start(*command, "--seed", nodes[0].address, COVEY_RUNTIME_DIR=str(tmp_path)) for _ in range(4))
        nodes += await asyncio.gather(*others)
        for node in nodes:
            await node.hear("neighbour_up", 4, 20)
        yield nodes


def resident_bytes(pid: int) -> int | None:
    """How much memory a process holds, where that can be asked."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return None


def sixth(seeds: list[str]) -> covey.Node:
    """A node in this process, for what a command line cannot do."""
    return covey.Node("hostile", listen="127.0.0.1:0", seeds=seeds, secret=SECRET, config=covey.Config.laptop())


async def recorded_handshake(address: str) -> bytes:
    """What a rightful node says on its first connection to `address`."""
    said: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*parse_address(address))
        own: list[bytes] = []

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, keep: bool) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(65_536):
                    if keep:
                        own.append(data)
                    sink.write(data)
            sink.close()

        await asyncio.gather(pump(reader, back, True), pump(there, writer, False))
        said.append(b"".join(own))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()
        async with sixth([f"{host}:{port}"]) as node:
            await node.wait_neighbours(5)
        await wait_until(lambda: said, 5)
    finally:
        server.close()
    return max(said, key=len)


class Attack:
    """A hostile client, and how long its connections were let live."""

    def __init__(self, address: str, recorded: bytes, seed: int) -> None:
        self.target = parse_address(address)
        self.recorded = recorded
        self.rng = random.Random(seed)
        self.longest_s = 0.0
        self.closed = 0
        self.answers = b""

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[socket.socket]:
        with socket.socket() as sock:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, self.target)
            yield sock

    async def watch(self, sock: socket.socket, start_s: float) -> None:
        """Read until the node closes, and note when that was."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            while data := await asyncio.wait_for(loop.sock_recv(sock, 65_536), 2 * PATIENCE_S):
                self.answers += data
        self.closed += 1
        self.longest_s = max(self.longest_s, time.monotonic() - start_s)

    async def say(self, data: bytes, then_leave: bool = False) -> None:
        """One connection that says one thing."""
        async with self.connected() as sock:
            start_s = time.monotonic()
            with contextlib.suppress(ConnectionError):
                await asyncio.get_running_loop().sock_sendall(sock, data)
            if not then_leave:
                await self.watch(sock, start_s)

    async def random_bytes(self) -> None:
        await self.say(self.rng.randbytes(self.rng.choice((4, 100, 5_000, 300_000))))

    async def oversize(self) -> None:
        length = self.rng.choice((0, 4_097, 1 << 20, (1 << 20) + 1, (1 << 31) - 1, (1 << 32) - 1))
        await self.say(length.to_bytes(4, "big") + self.rng.randbytes(10_000))

    async def truncated(self) -> None:
        whole = self.recorded[: self.rng.randrange(1, len(self.recorded))]
        await self.say(whole, then_leave=True)

    async def garbled(self) -> None:
        garbled = bytearray(self.recorded)
        for _ in range(self.rng.randrange(1, 8)):
            garbled[self.rng.randrange(4, len(garbled))] = self.rng.randrange(256)
        await self.say(bytes(garbled))

    async def replayed(self) -> None:
        await self.say(self.recorded * self.rng.choice((1, 1, 2)))

    async def nested(self) -> None:
        body = b"\x91" * 4_000
        await self.say(len(body).to_bytes(4, "big") + body)

    async def again_and_again(self, what: Callable[[], Awaitable[None]], until_s: float) -> int:
        count = 0
        while time.monotonic() < until_s:
            await what()
            count += 1
            await asyncio.sleep(0.01)
        return count

    async def drip(self) -> None:
        """A slow loris: a byte of something that looks right, now and then."""
        async with self.connected() as sock:
            start_s = time.monotonic()
            watching = asyncio.create_task(self.watch(sock, start_s))
            for at in range(len(self.recorded)):
                if watching.done():
                    break
                with contextlib.suppress(ConnectionError):
                    await asyncio.get_running_loop().sock_sendall(sock, self.recorded[at : at + 1])
                await asyncio.wait((watching,), timeout=0.4)
            await watching

    async def idle(self) -> None:
        async with self.connected() as sock:
            await self.watch(sock, time.monotonic())


@pytest.fixture
def many_files():
    """Room for a thousand sockets in this process; its children keep what they have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4_096 if hard == resource.RLIM_INFINITY else min(4_096, hard)
    if wanted < IDLE + 200:
        pytest.skip(f"at most {hard} files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_hostile_client_costs_a_node_nothing_that_lasts(tmp_path, many_files):
    async with five_nodes(tmp_path) as nodes:
        target = nodes[0]
        recorded = await recorded_handshake(target.address)
        assert len(recorded) > 200
        ours = {node.site for node in nodes}
        before = resident_bytes(target.pid)
        attack = Attack(target.address, recorded, seed=7)

        # First those who say something, and those who say it slowly.
        until_s = time.monotonic() + ATTACK_S
        kinds = (attack.random_bytes, attack.oversize, attack.truncated, attack.garbled, attack.replayed, attack.nested)
        slow = [attack.drip() for _ in range(50)] + [attack.say(b"\0" * count) for count in (1, 2, 3) * 5]
        counts, _ = await asyncio.gather(
            asyncio.gather(*(attack.again_and_again(kind, until_s) for kind in kinds)), asyncio.gather(*slow)
        )
        assert min(counts) > 5
        assert attack.longest_s <= PATIENCE_S
        assert attack.closed >= 50

        # Then a thousand who say nothing at all.
        crowd = Attack(target.address, recorded, seed=8)
        await asyncio.gather(*(crowd.idle() for _ in range(IDLE)))
        assert crowd.closed == IDLE
        assert crowd.longest_s <= PATIENCE_S

        # Nobody was let in, nothing was lost, nothing is left.
        assert target.process.returncode is None, "".join(target.errors)
        after = resident_bytes(target.pid)
        if before is not None and after is not None:
            assert after - before < RSS_GROWTH_MAX
        assert SECRET.encode() not in attack.answers + crowd.answers
        with contextlib.suppress(OSError):
            assert len(os.listdir(f"/proc/{target.pid}/fd")) < 100
        async with sixth([target.address]) as node:
            await node.wait_neighbours(5)
            await node.send(covey.Site(bytes.fromhex(target.site)), "still there?")
            heard = await target.hear("message")
            assert (heard["sender"], heard["payload"]) == (node.site.hex(), "still there?")
        for one in nodes:
            assert [down for down in one.of("neighbour_down") if down["site"] in ours] == []
            assert [violation for violation in one.of("protocol_violation") if violation["site"] in ours] == []


async def test_the_link_refused_events_of_strangers_are_bounded_by_what_they_do(tmp_path):
    """A replay is told as another secret, a garbled frame as what it is; neither names a node that did nothing."""
    async with five_nodes(tmp_path) as nodes:
        target = nodes[0]
        attack = Attack(target.address, await recorded_handshake(target.address), seed=9)
        count = len(target.of("link_refused"))
        await attack.replayed()
        told = await target.hear("link_refused", count + 1)
        assert (told["cause"], told["inbound"], told["refused_by_peer"]) == ("secret", True, False)
        await attack.say(b"\xff\xff\xff\xff")
        told = await target.hear("link_refused", count + 2)
        assert (told["cause"], told["inbound"]) == ("frame", True)
        await attack.say(b"\0\0\0\x01\xc1")
        told = await target.hear("link_refused", count + 3)
        assert told["cause"] == "decode"
