"""Two neighbours that send each other values, and what waits or has arrived."""

from __future__ import annotations

import asyncio
from typing import Any

import covey
from covey.testing import Cluster
from tests.testing.virtual import meshed, until


async def pair(cluster: Cluster, **options: Any) -> list[covey.Node]:
    """Two neighbours."""
    nodes = await cluster.start(2, **options)
    await until(lambda: meshed(nodes))
    return nodes


async def payloads(events: covey.Subscription, count: int, seconds: float = 10.0) -> list[Any]:
    """The payloads of the next `count` messages."""
    found: list[Any] = []
    async with asyncio.timeout(seconds):
        async for event in events:
            assert not isinstance(event, covey.Lost)
            if isinstance(event, covey.Message):
                found.append(event.payload)
                if len(found) == count:
                    break
    return found


def waiting(node: covey.Node) -> int:
    """Values that wait at the sender."""
    count: int = node.statistics().machines["direct"].waiting
    return count


def numbers(events: covey.Subscription) -> list[int]:
    """The unread messages that are ints."""
    found = [event.payload for event in events._queue if isinstance(event, covey.Message)]
    return [payload for payload in found if type(payload) is int]


def transport_of(node: covey.Node) -> Any:
    runner: Any = node._runner
    return runner._transport
