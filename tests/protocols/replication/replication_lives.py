"""Nodes that have a row of the first one, and all that can still be said of its first life."""

from __future__ import annotations

from typing import Any

from covey.protocols.replication.vocabulary import SYSTEM
from covey.wire.messages.rows import OwnedOps, OwnedPart, OwnedPositions, OwnedPull
from tests.protocols.replication.replication_net import QUIET, I, Node, pair

VALUE = {b"key": b"value"}


def written(count: int = 2, config: Any = QUIET) -> tuple[Any, ...]:
    """A net whose nodes all hold `I`, and the first wrote a row there."""
    net, a, *others = pair(config, count)
    a.write((b"key", b"value"))
    net.run()
    assert all(other.shows(a) == VALUE for other in others)
    net.carried.clear()
    return (net, a, *others)


def late(a: Node) -> list[Any]:
    """All that can still be said of its first life."""
    return [
        OwnedOps(I, a.site, 1, 1, ((b"key", b"value"),), False),
        OwnedOps(I, a.site, 1, 2, ((b"late", b"value"),), False),
        OwnedOps(SYSTEM, a.site, 1, 2, ((b"late", b""),), False),
        OwnedPart(I, a.site, 1, 9, None, ((b"part", b"value"),), True),
        OwnedPositions(((I, ((a.site, 1, 99),)), (SYSTEM, ((a.site, 1, 99),))), True),
        OwnedPull(I, a.site, 1, 0),
    ]
