"""Nodes that belong together, and who belongs as each sees it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import covey
from covey.testing import Cluster
from tests.testing.virtual import until

Members = dict[covey.Site, covey.Member]


def by_site(members: Iterable[covey.Member]) -> Members:
    found = {member.site: member for member in members}
    assert len(found) == len(list(members)), "a site is a member once"
    return found


async def together(cluster: Cluster, count: int, **options: Any) -> list[covey.Node]:
    """Started nodes that hold each other alive."""
    nodes = await cluster.start(count, **options)
    for node in nodes:
        await node.wait_members(count)
    return nodes


async def durable(cluster: Cluster, count: int) -> list[covey.Node]:
    """The same, each with a storage of its own."""
    nodes = [(await cluster.start(1, storage=covey.MemoryStorage()))[0] for _ in range(count)]
    for node in nodes:
        await node.wait_members(count)
    return nodes


def sites(node: covey.Node) -> set[covey.Site]:
    """Who belongs, as `node` sees it."""
    return {member.site for member in node.members()}


def among(*nodes: covey.Node) -> bool:
    """Whether exactly these are members, and all of them see it so."""
    return all(sites(node) == {other.site for other in nodes} for node in nodes)


async def belong(*nodes: covey.Node) -> None:
    """Wait until exactly these are members."""
    await until(lambda: among(*nodes), 30)


async def start_again(cluster: Cluster, node: covey.Node) -> covey.Node:
    """A new process on the storage of one that is closed."""
    storage: Any = node._options.storage
    again = cluster.node(storage=storage)
    await again.start()
    assert again.site == node.site
    assert again.incarnation > node.incarnation
    return again


def statuses(node: covey.Node, *others: covey.Node) -> list[str]:
    """How `node` holds the others; `-` for one that does not belong."""
    members = by_site(node.members())
    return [members[other.site].status if other.site in members else "-" for other in others]
