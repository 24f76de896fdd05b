"""`Singleton`, what `node.singleton(id, fn, …)` gives: a hub with one child."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from covey.api.hub_values import Child
from covey.api.hubs import Hub
from covey.wire.keys import Key


class Singleton:
    """One child that runs on one of the nodes that name it: what `node.singleton(id, fn, …)` gives.

    Use it as `async with node.singleton("cron", run_cron, on_split=…):`. It is a hub of its own with one child.
    """

    def __init__(self, hub: Hub, id: Key) -> None:
        self.id = id
        self.hub = hub

    async def __aenter__(self) -> Singleton:
        await self.hub.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.hub.aclose()

    async def call(self, payload: Any = None, *, timeout: float = 5.0) -> Any:
        """Ask it, wherever it is; as `Hub.call`."""
        return await self.hub.call(self.id, payload, timeout=timeout)

    def lookup(self) -> Child | None:
        """Where it runs, and how."""
        return self.hub.lookup(self.id)
