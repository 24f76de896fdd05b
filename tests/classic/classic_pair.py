"""classy's functions over nodes of a test."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

import covey
from covey.classic import Membership
from covey.testing import Cluster

NEVER = 10**15


async def durable(cluster: Cluster, count: int) -> list[Membership]:
    """Members with a storage each that hold each other alive."""
    nodes = [(await cluster.start(1, storage=covey.MemoryStorage()))[0] for _ in range(count)]
    for node in nodes:
        await node.wait_members(count)
    return [Membership(node) for node in nodes]


async def unlinked(cluster: Cluster, count: int, **options: Any) -> list[Membership]:
    """Fresh sites of one cluster that no packet passes between: what one knows of another was handed over."""
    config = covey.Config.laptop()
    membership = msgspec.structs.replace(config.engine.membership, flood=False, digest_period_us=NEVER)
    config = msgspec.structs.replace(config, engine=msgspec.structs.replace(config.engine, membership=membership))
    nodes = []
    for _ in range(count):
        nodes += await cluster.start(1, config=config, seeds=[], storage=covey.MemoryStorage(), **options)
    cluster.partition(*([node] for node in nodes))
    return [Membership(node) for node in nodes]


def functions() -> set[str]:
    """The public functions of the facade."""
    return {name for name, _ in inspect.getmembers(Membership, inspect.isfunction) if not name.startswith("_")}
