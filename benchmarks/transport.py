"""What one link carries: two processes on loopback, 128-byte payloads, beside the raw floor measured in the same run.

    python -m benchmarks.transport --json

`floor` is the least this design could cost: length-prefixed msgspec frames of 32 messages on bare event-loop protocols,
no machines, no identities. `link` drives the engine through its runner, so decoding, machines, effects and coalescing
are all in it; `node` goes through the public API (`send_nowait`, events). CPU is user and system time of both
processes, a message. `rtt` is one message there and back through the public API.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import click
import msgspec

import covey
from benchmarks.processes import hear, median, percentile, run, say, start_child
from covey.core.vocabulary import Channel
from covey.protocols.direct.machine import PayloadsReceived, SendPayloads

PAYLOAD = bytes(range(128))
SECRET = "benchmarks are not secret"


# --- the floor ------------------------------------------------------------------------------------------------------


class FloorMessage(msgspec.Struct, array_like=True, tag=1, gc=False):
    value: bytes


class _FloorReceiver(asyncio.Protocol):
    def __init__(self, expected: int) -> None:
        self.buffer = b""
        self.left = expected
        self.decoder = msgspec.msgpack.Decoder(list[FloorMessage])
        self.cpu_s = time.process_time()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        data = self.buffer + data if self.buffer else data
        at, end = 0, len(data)
        while end - at >= 4:
            stop = at + 4 + int.from_bytes(data[at : at + 4], "big")
            if stop > end:
                break
            self.left -= len(self.decoder.decode(data[at + 4 : stop]))
            at = stop
        self.buffer = data[at:]
        if self.left <= 0:
            self.transport.write(b"done")
            say(cpu_s=time.process_time() - self.cpu_s)


class _FloorSender(asyncio.Protocol):
    def __init__(self) -> None:
        self.room = asyncio.Event()
        self.room.set()
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def pause_writing(self) -> None:
        self.room.clear()

    def resume_writing(self) -> None:
        self.room.set()

    def data_received(self, data: bytes) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def serve_floor(count: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _FloorReceiver(count), "127.0.0.1", 0)
    say(port=server.sockets[0].getsockname()[1])
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def drive_floor(child: asyncio.subprocess.Process, count: int) -> dict[str, float]:
    port = (await hear(child))["port"]
    _, sender = await asyncio.get_running_loop().create_connection(_FloorSender, "127.0.0.1", port)
    encoder = msgspec.msgpack.Encoder()
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    for start in range(0, count, 32):
        body = encoder.encode([FloorMessage(PAYLOAD) for _ in range(min(32, count - start))])
        sender.transport.write(len(body).to_bytes(4, "big") + body)
        if not sender.room.is_set():
            await sender.room.wait()
    await sender.done
    return await _sum_up(child, count, cpu_s, wall_s)


async def _sum_up(child: asyncio.subprocess.Process, count: int, cpu_s: float, wall_s: float) -> dict[str, float]:
    wall_s = time.perf_counter() - wall_s
    cpu_s = time.process_time() - cpu_s
    heard = await hear(child)
    return {
        "msgs_per_s": count / wall_s,
        "cpu_us_per_msg": (cpu_s + heard["cpu_s"]) / count * 1e6,
        "cpu_us_sending": cpu_s / count * 1e6,
        "cpu_us_receiving": heard["cpu_s"] / count * 1e6,
    }


# --- covey ----------------------------------------------------------------------------------------------------------


def make_node(seeds: list[str], tls: bool) -> covey.Node:
    """A node on loopback; with TLS, as it would speak beyond."""
    node = covey.Node("benchmark", listen="127.0.0.1:0", seeds=seeds, secret=SECRET, config=covey.Config.laptop())
    if tls:
        node._options = msgspec.structs.replace(node._options, encrypt=True)  # as it would be beyond loopback
    return node


async def serve_link(count: int, tls: bool) -> None:
    """Count what arrives straight behind the engine."""
    node = make_node([], tls)
    await node.start()
    runner: Any = node._runner
    left = count
    cpu_s = 0.0

    def on_event(event: Any) -> None:
        nonlocal left, cpu_s
        if type(event) is PayloadsReceived:
            if left == count:
                cpu_s = time.process_time()
            left -= len(event.values)
            if left <= 0:
                say(cpu_s=time.process_time() - cpu_s)
                runner.feed(SendPayloads(0, event.sender, "", (b"\xc0",)))

    runner._on_event = on_event
    say(address=node.address)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await node.close()


async def drive_link(child: asyncio.subprocess.Process, count: int, tls: bool) -> dict[str, float]:
    node = make_node([(await hear(child))["address"]], tls)
    await node.start()
    peer = (await node.wait_neighbours(1))[0]
    runner: Any = node._runner
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_event(event: Any) -> None:
        if type(event) is PayloadsReceived:
            done.set_result(None)

    runner._on_event = on_event
    engine: Any = node._engine
    value = msgspec.msgpack.encode(PAYLOAD)
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    sent = 0
    while sent < count:
        runner.feed(SendPayloads(0, peer.site, peer.address, (value,) * min(32, count - sent)))
        sent += 32
        await asyncio.sleep(0)
        while engine.links.congested(peer.site, Channel.DATA):  # noqa: ASYNC110
            await asyncio.sleep(0.0005)  # below the API there is nothing to wait on
    await done
    figures = await _sum_up(child, count, cpu_s, wall_s)
    await node.close()
    return figures


async def serve_node(count: int, tls: bool) -> None:
    """Count what arrives through the public API, and echo pings."""
    async with make_node([], tls) as node, node.events(events_max=1_000_000) as events:
        say(address=node.address)
        left = count
        cpu_s = 0.0
        async for event in events:
            if type(event) is not covey.Message:
                continue
            if event.payload == "ping":
                node.send_nowait(event.sender, "pong")
            elif event.payload == "end":
                return
            else:
                if left == count:
                    cpu_s = time.process_time()
                left -= 1
                if left == 0:
                    say(cpu_s=time.process_time() - cpu_s)
                    node.send_nowait(event.sender, "done")


async def drive_node(child: asyncio.subprocess.Process, count: int, tls: bool) -> dict[str, float]:
    async with make_node([(await hear(child))["address"]], tls) as node, node.events() as events:
        peer = (await node.wait_neighbours(1))[0]

        async def answer() -> None:
            async for event in events:
                if type(event) is covey.Message:
                    return

        await node.send(peer.site, "ping")
        await answer()
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        sent = 0
        while sent < count:
            await node.send(peer.site, PAYLOAD)  # waits where the receiver is behind
            for _ in range(min(31, count - sent - 1)):
                node.send_nowait(peer.site, PAYLOAD)
            sent += 32
            await asyncio.sleep(0)
        await answer()
        figures = await _sum_up(child, count, cpu_s, wall_s)
        times: list[float] = []
        for _ in range(3_000):
            start_s = time.perf_counter()
            node.send_nowait(peer.site, "ping")
            await answer()
            times.append((time.perf_counter() - start_s) * 1e6)
        times.sort()
        figures["rtt_us_p50"] = percentile(times, 0.5)
        figures["rtt_us_p99"] = percentile(times, 0.99)
        await node.send(peer.site, "end")
        return figures


# --- the command ----------------------------------------------------------------------------------------------------

SERVERS: dict[str, Callable[[int], Awaitable[None]]] = {
    "floor": serve_floor,
    "link": lambda count: serve_link(count, False),
    "link-tls": lambda count: serve_link(count, True),
    "node": lambda count: serve_node(count, False),
    "node-tls": lambda count: serve_node(count, True),
}
DRIVERS: dict[str, Callable[[asyncio.subprocess.Process, int], Awaitable[dict[str, float]]]] = {
    "floor": drive_floor,
    "link": lambda child, count: drive_link(child, count, False),
    "link-tls": lambda child, count: drive_link(child, count, True),
    "node": lambda child, count: drive_node(child, count, False),
    "node-tls": lambda child, count: drive_node(child, count, True),
}


async def measure(kind: str, count: int) -> dict[str, float]:
    """One run of one kind in two processes."""
    child = await start_child("benchmarks.transport", "--serve", kind, "--messages", str(count))
    try:
        return await DRIVERS[kind](child, count)
    finally:
        assert child.stdin is not None
        child.stdin.close()
        try:
            await asyncio.wait_for(child.wait(), 10)
        except TimeoutError:
            child.kill()


def import_ms() -> float:
    """Milliseconds of `import covey` in a fresh interpreter, asyncio included; the least of five."""
    code = "import time; t = time.perf_counter(); import covey; print((time.perf_counter() - t) * 1000)"
    command = [sys.executable, "-c", code]
    return min(float(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(5))


@click.command()
@click.option("--json", "as_json", is_flag=True)
@click.option("--messages", default=200_000, show_default=True)
@click.option("--runs", default=3, show_default=True, help="Medians of this many runs.")
@click.option("--only", multiple=True, type=click.Choice(sorted(DRIVERS)), help="Measure these kinds only.")
@click.option("--serve", hidden=True)
def main(as_json: bool, messages: int, runs: int, only: tuple[str, ...], serve: str | None) -> None:
    """Measure what one link carries."""
    if serve is not None:
        run(SERVERS[serve](messages))
        return
    kinds = list(only) or list(DRIVERS)
    results: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for _ in range(runs):
        for kind in kinds:
            results[kind].append(run(measure(kind, messages)))
    figures: dict[str, Any] = {kind: median(found) for kind, found in results.items()}
    if "floor" in figures:
        for kind in kinds:
            ratio = figures[kind]["cpu_us_per_msg"] / figures["floor"]["cpu_us_per_msg"]
            figures[kind]["times_floor"] = round(ratio, 2)
    figures["core_import_ms"] = round(import_ms(), 1)
    if as_json:
        print(json.dumps(figures))
        return
    for kind, found in figures.items():
        print(f"{kind:16} {found}")


if __name__ == "__main__":
    main()
