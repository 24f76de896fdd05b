"""One process with one member of a cluster, covey's or another's; it tells in JSON lines whom it holds for alive.

Its only argument is a JSON object (`Orders`). It says `ready` when everything is imported, waits for a line, starts,
and then says `alive` with the number of members alive, itself included, each time that changes, and `down` with the
name of each that it gives up. `at` is CLOCK_MONOTONIC, which all processes of a machine share. A line `count` asks for
its counters; the end of its input ends it, in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import msgspec

from benchmarks.processes import run

SECRET = "benchmarks are not secret"
KINSHIP_KEY = b"benchmarks are not secret, honest"[:32]


class Orders(msgspec.Struct, frozen=True):
    """What one member is to be. `seeds` are addresses, `storage` is the path of a file (covey's only)."""

    peer: str
    name: str
    listen: str
    seeds: list[str]
    profile: str = "lan"
    storage: str | None = None
    metrics: bool = False


class Seen(msgspec.Struct, frozen=True):
    """Something changed: how many are alive now, and who is down, if it was that."""

    alive: int
    down: str = ""
    cause: str = ""


class Peer(Protocol):
    """A member of whatever kind."""

    async def start(self) -> None: ...
    def changes(self) -> AsyncIterator[Seen]: ...
    def counters(self) -> dict[str, Any]: ...
    async def close(self) -> None: ...


class Covey:
    """A `covey.Node` with the defaults of a profile. With a storage, it counts what is handed to it to be stored."""

    def __init__(self, orders: Orders) -> None:
        import covey
        from covey.runtime.storage import SqliteStorage

        self._covey = covey
        self._storage_kind = SqliteStorage
        self._orders = orders
        self.stores = 0
        self.node = self.make()

    def make(self) -> Any:
        """A node as it was ordered."""
        orders = self._orders
        storage: Any = None
        if orders.storage is not None:
            storage = self._storage_kind(orders.storage)
            store = storage.store

            def counted(item: Any) -> None:
                self.stores += 1
                store(item)

            storage.store = counted
        config = getattr(self._covey.Config, orders.profile)(metrics=orders.metrics)
        return self._covey.Node(
            "benchmark", name=orders.name, listen=orders.listen, seeds=orders.seeds, secret=SECRET, storage=storage,
            config=config,
        )  # fmt: skip

    async def start(self) -> None:
        await self.node.start()

    async def changes(self) -> AsyncIterator[Seen]:
        async with self.node.events() as events:
            yield Seen(self._alive())
            async for event in events:
                if type(event) is self._covey.MemberDown:
                    yield Seen(self._alive(), event.member.name, event.cause)
                elif isinstance(event, (self._covey.MemberUp, self._covey.MemberUpdated, self._covey.MemberLeft)):
                    yield Seen(self._alive())

    def _alive(self) -> int:
        return sum(member.status == "alive" for member in self.node.members())

    def counters(self) -> dict[str, Any]:
        found = self.node.statistics()
        machines = {name: msgspec.structs.asdict(part) for name, part in found.machines.items()}
        return {"stores": self.stores, "machines": machines, "heard": found.heard, "said": found.said}

    async def close(self) -> None:
        await self.node.close()


class Kinship:
    """A `kinship.Cluster`, with its preset of the same name and a key."""

    def __init__(self, orders: Orders) -> None:
        kinship: Any = importlib.import_module("kinship")
        self._kinship = kinship
        preset = "local" if orders.profile == "laptop" else "lan"
        config = getattr(kinship.Config, preset)(
            name=orders.name, bind=orders.listen, seeds=orders.seeds, cluster="benchmark", keys=[KINSHIP_KEY]
        )
        self._cluster = kinship.Cluster(config)

    async def start(self) -> None:
        await self._cluster.start()

    async def changes(self) -> AsyncIterator[Seen]:
        events = self._cluster.events()
        yield Seen(self._alive())
        async for event in events:
            dead = type(event) is self._kinship.MemberDead
            yield Seen(self._alive(), event.member.name if dead else "")

    def _alive(self) -> int:
        return sum(member.state is self._kinship.State.ALIVE for member in self._cluster.members())

    def counters(self) -> dict[str, Any]:
        return {}

    async def close(self) -> None:
        await self._cluster.leave()
        await self._cluster.close()


class Serf:
    """A `serf agent`, read from what it logs: members joined, failed and left."""

    EVENT = re.compile(rb"serf: Event(MemberJoin|MemberFailed|MemberLeave): (\S+)")

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._process: asyncio.subprocess.Process | None = None
        self._alive: set[str] = set()

    async def start(self) -> None:
        orders = self._orders
        host, _, port = orders.listen.rpartition(":")
        rpc = f"127.0.0.1:{int(port) + 10_000}"
        profile = "local" if orders.profile == "laptop" else "lan"
        joins = [f"-retry-join={seed}" for seed in orders.seeds]
        self._process = await asyncio.create_subprocess_exec(
            "serf", "agent", f"-node={orders.name}", f"-bind={host}:{port}", f"-rpc-addr={rpc}", f"-profile={profile}",
            "-encrypt=YmVuY2htYXJrcyBub3Qgc2VjcmV0ISEhISEhISEhISE=", "-retry-interval=1s", "-log-level=info", *joins,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            preexec_fn=die_with_parent,
        )  # fmt: skip

    async def changes(self) -> AsyncIterator[Seen]:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            if (found := self.EVENT.search(line)) is None:
                continue
            what, name = found[1], found[2].decode()
            (self._alive.add if what == b"MemberJoin" else self._alive.discard)(name)
            yield Seen(len(self._alive), name if what == b"MemberFailed" else "")

    def counters(self) -> dict[str, Any]:
        return {}

    async def close(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            await self._process.wait()


def die_with_parent() -> None:
    """The kernel kills this process when the thread that started it is gone (prctl 1: PR_SET_PDEATHSIG)."""
    import ctypes

    ctypes.CDLL(None).prctl(1, 9)


PEERS: dict[str, Callable[[Orders], Peer]] = {"covey": Covey, "kinship": Kinship, "serf": Serf}


def say(event: str, **values: Any) -> None:
    """One JSON line to the parent."""
    print(msgspec.json.encode({"event": event, "at": time.monotonic(), **values}).decode(), flush=True)


async def serve(peer: Peer, obey: Callable[[str], Awaitable[None]] | None = None) -> None:
    """Be one member until the input ends; `obey` does what its other lines say, one after the other."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    say("ready", pid=os.getpid())
    if not await reader.readline():
        return
    await peer.start()
    say("started")
    telling = asyncio.create_task(_tell(peer))
    while line := await reader.readline():
        if line == b"count\n":
            say("counters", **peer.counters())
        elif obey is not None:
            await obey(line.decode())
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    await peer.close()
    say("ended")


async def _tell(peer: Peer) -> None:
    alive = 0
    async for seen in peer.changes():
        if seen.down:
            say("down", name=seen.down, cause=seen.cause)
        if seen.alive != alive:
            alive = seen.alive
            say("alive", count=alive)


if __name__ == "__main__":
    found = msgspec.json.decode(sys.argv[1], type=Orders)
    run(serve(PEERS[found.peer](found)))
