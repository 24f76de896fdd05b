"""Waiting on the virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import covey


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait, on the virtual clock, until `condition()` holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def meshed(nodes: Sequence[covey.Node]) -> bool:
    """Whether every node has all the others for neighbours, and nobody else."""
    sites = {node.site for node in nodes}
    return all({peer.site for peer in node.neighbours()} == sites - {node.site} for node in nodes)
