"""Which life of a site begins now. One life never comes back, whatever clocks and disks do."""

from __future__ import annotations

from collections.abc import Mapping

from covey.core.ids import Site
from covey.protocols.membership.ledger import last_life


def next_incarnation(stored: int, logs: Mapping[str, Mapping[bytes, bytes]], site: Site, wall_ms: int) -> int:
    """`max(stored + 1, last life in its own log + 1, wall clock in milliseconds)`, to be stored before its first use.

    A life can begin without a start: who joins again after it was thrown out takes a new one, which only its log knows.
    """
    return max(stored + 1, last_life(logs.get("membership", {}), site) + 1, wall_ms)
