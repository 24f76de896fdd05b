"""Nodes of one test: real `Node` objects over the memory transport, with cuts and kills at will."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from covey.api.config import Config
from covey.api.node import Node
from covey.core.rng import derive
from covey.runtime.guard import Watch
from covey.runtime.transport.memory import MemoryNetwork
from covey.runtime.transport.tcp import Tls
from covey.testing.loop import new_event_loop

R = TypeVar("R")

WALL_START_US = 1_700_000_000_000_000


class _VirtualEnvironment:
    """The outside of one node in a test."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self._cluster = cluster
        self._number = number

    def monotonic_us(self) -> int:
        return int(asyncio.get_running_loop().time() * 1e6)

    def wall_us(self) -> int:
        return WALL_START_US + self.monotonic_us() + self._number * 1000

    def rng(self) -> random.Random:
        return derive(self._cluster.seed, "rng", self._number)

    def nonces(self) -> random.Random:
        return derive(self._cluster.seed, "nonces", self._number)

    def transport(self, tls: Tls | None) -> Any:
        return self._cluster.network.transport()

    def watchdog(self) -> Watch:
        return _NoWatchdog()


class _NoWatchdog:
    """Virtual time stands still while code runs, so nothing outlives its lease unseen."""

    def start(self) -> None:
        pass

    def arm(self, deadline_us: int | None) -> None:
        pass

    def close(self) -> None:
        pass


class Cluster:
    """The nodes of one virtual-time test, and the network between them."""

    def __init__(self, seed: int = 0, latency_s: float = 0.0005) -> None:
        self.seed = seed
        self.network = MemoryNetwork(latency_s)
        self._nodes: list[Node] = []

    def node(self, cluster: str = "test", /, **options: Any) -> Node:
        """A node that is not started yet. It finds the others through the first one's address by default."""
        options.setdefault("config", Config.laptop())
        options.setdefault("secret", "only for a test of covey")
        options.setdefault("listen", "127.0.0.1:0")
        if "seeds" not in options:
            options["seeds"] = [node.address for node in self._nodes[:1]]
        node = Node(cluster, _environment=_VirtualEnvironment(self, len(self._nodes)), **options)
        self._nodes.append(node)
        return node

    async def start(self, count: int, **options: Any) -> list[Node]:
        """Start `count` nodes, one after the other."""
        nodes = []
        for _ in range(count):
            node = self.node(**options)
            await node.start()
            nodes.append(node)
        return nodes

    async def kill(self, node: Node) -> None:
        """What SIGKILL does: no goodbye, connections reset, the port refuses."""
        runner = node._runner
        assert runner is not None
        transport: Any = runner._transport
        transport.crash()
        await node._abort()

    def partition(self, *islands: list[Node]) -> None:
        """Nothing passes between nodes of different islands until `heal`."""
        self.network.partition(*([node.address for node in island] for island in islands))

    def heal(self) -> None:
        """End the partition. Connections that were cut stay silent until their ends notice, as after a lost route."""
        self.network.heal()

    async def close(self) -> None:
        """Close all nodes, one after the other."""
        for node in self._nodes:
            await node.close()


def run(test: Callable[[Cluster], Awaitable[R]], *, seed: int = 0, latency_s: float = 0.0005) -> R:
    """Run `test(cluster)` on a virtual clock, close what it left open, and give its result."""

    async def main() -> R:
        cluster = Cluster(seed, latency_s)
        try:
            return await test(cluster)
        finally:
            await cluster.close()

    loop = new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main())
    finally:
        asyncio.set_event_loop(None)
        loop.close()
