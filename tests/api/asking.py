"""Clients of the nodes of a virtual cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import covey
from covey.core.ids import cluster_id
from covey.runtime.client import Client
from covey.testing import Cluster
from tests.testing.virtual import until

SECRET = b"only for a test of covey"


@asynccontextmanager
async def asking(cluster: Cluster, address: str, number: int = 0, **options: Any) -> AsyncIterator[Client]:
    """A client that is connected to `address`."""
    name, secret = options.get("name", "test"), options.get("secret", SECRET)
    async with Client(cluster.network.transport(), address, cluster_id(name), secret, Random(number)) as client:
        await client.connect(5.0)
        yield client


async def ask(cluster: Cluster, node: covey.Node, what: str, **arguments: Any) -> Any:
    async with asking(cluster, node.address) as client:
        return await client.ask(what, arguments)


async def settled(nodes: list[covey.Node]) -> list[covey.Node]:
    """All of them see each other alive."""
    for node in nodes:
        await node.wait_members(len(nodes))
    return nodes


async def kicked(cluster: Cluster) -> list[covey.Node]:
    """Two nodes, the second of which was thrown out by the first."""
    one, other = await settled(await cluster.start(2))
    await one.kick(other.site)
    await until(lambda: other.alone)
    return [one, other]
