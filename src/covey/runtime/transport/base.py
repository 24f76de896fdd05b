"""What carries bytes: the seam between the machines and the outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

Sink = Callable[[Any], None]
"""Takes the facts of `protocols.links.vocabulary`; called on the event loop's thread."""


class Transport(Protocol):
    """Connections named by ints. Nothing here blocks or raises for the network's troubles: they come back as facts."""

    sink: Sink
    reads: int  # how many times bytes arrived
    local_host: Callable[[str], None]  # told our own end of each connection, before anything else about it

    async def listen(self, address: str) -> str:
        """Accept connections at `host:port`, or at the first free port of `host:first-last`; returns `host:port`.

        Raises `ConfigError` when none is free. Accepted connections are named by negative ints.
        """
        ...

    def open(self, connection: int, address: str) -> None:
        """Connect; answers `ConnectionOpened` or `ConnectionFailed` later."""
        ...

    def write(self, connection: int, data: bytes) -> None:
        """Write, without waiting."""
        ...

    def close(self, connection: int) -> None:
        """Close behind what was written; no more facts about this connection."""
        ...

    def pause_reading(self) -> None:
        """Take nothing more in: the node is full."""
        ...

    def resume_reading(self) -> None:
        """Go on taking in."""
        ...

    async def aclose(self) -> None:
        """Stop accepting, and wait shortly until what was written is out."""
        ...
