"""Waiting on the virtual clock."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import covey


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait, on the virtual clock, until `condition()` holds."""
    async with asyncio.timeout(seconds):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


async def next_of(events: covey.Subscription[Any, Any], *kinds: type, seconds: float = 60.0) -> Any:
    """The next event of these kinds; nothing may be lost on the way to it."""
    async with asyncio.timeout(seconds):
        while True:
            event = await anext(events)
            assert not isinstance(event, covey.Lost)
            if isinstance(event, kinds):
                return event


def meshed(nodes: Sequence[covey.Node]) -> bool:
    """Whether every node has all the others for neighbours, and nobody else."""
    sites = {node.site for node in nodes}
    return all({peer.site for peer in node.neighbours()} == sites - {node.site} for node in nodes)


@contextlib.asynccontextmanager
async def running(*coroutines: Coroutine[Any, Any, Any]) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """A task for each, in order. What still runs at the end of the block is cancelled: nothing outlives a test."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
