"""What still has to ride on pings and acks.

SWIM's infection-style dissemination (DSN 2002, section 4.1): each rumour rides lambda * log n times, those that rode
least first. Here floods do most of the work; the rides reach whom a flood missed.
"""

from __future__ import annotations

import heapq
import math

from covey.core.ids import Site
from covey.core.vocabulary import Liveness
from covey.wire.messages.detector import Rumour


def rides_max(multiplier: int, nodes: int) -> int:
    """How often one rumour rides in a cluster of `nodes`: 4 up to 9 nodes, 8 up to 99, 12 up to 999 at 4."""
    return multiplier * math.ceil(math.log10(nodes + 1))


class _Entry:
    __slots__ = ("number", "rides", "rumour")

    def __init__(self, rumour: Rumour, number: int) -> None:
        self.rumour = rumour
        self.number = number
        self.rides = 0


class RumourQueue:
    """The latest rumour about each site that has not ridden often enough.

    Invariant: at most one entry per site, so it is bounded by the table (and ourselves).
    """

    def __init__(self) -> None:
        self._entries: dict[Site, _Entry] = {}
        self._number = 0

    def put(self, rumour: Rumour) -> None:
        """Take in a fresh rumour, instead of an older one about its site."""
        self._number += 1
        self._entries[rumour.site] = _Entry(rumour, self._number)

    def forget(self, site: Site) -> None:
        """Let nothing about `site` ride any more."""
        self._entries.pop(site, None)

    def drop_alive(self) -> None:
        """Forget whom we called alive: we have not heard them lately."""
        self._entries = {s: e for s, e in self._entries.items() if e.rumour.state is not Liveness.ALIVE}

    def clear(self) -> None:
        """Let nothing ride any more."""
        self._entries.clear()

    def take(self, count_max: int, rides: int, but: Site) -> list[Rumour]:
        """Up to `count_max` rumours for one ride, fresh ones first; nothing about `but`, who will be the reader."""
        riding = heapq.nsmallest(
            count_max,
            (entry for site, entry in self._entries.items() if site != but),
            key=lambda entry: (entry.rides, -entry.number),
        )
        for entry in riding:
            entry.rides += 1
            if entry.rides >= rides:
                del self._entries[entry.rumour.site]
        return [entry.rumour for entry in riding]

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, site: object) -> bool:
        return site in self._entries
