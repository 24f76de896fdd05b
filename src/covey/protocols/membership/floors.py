"""What each peer is known to have taken from us, and we from it: classy's `acked_out` and `acked_in`.

Volatile, and kept for one life of the peer: a floor that is lost or too low costs a retransmission, nothing else.
"""

from __future__ import annotations

from collections.abc import ItemsView

from covey.core.ids import Contact, Site
from covey.protocols.membership.record import Entry, op_bytes
from covey.wire.limits import FRAME_AIM_BYTES


class Floor:
    """How far two nodes are with each other's imports."""

    __slots__ = ("acked_in", "acked_out", "again_from_us", "futile", "futile_at", "incarnation", "kicked",
                 "paused_until_us", "stuck")  # fmt: skip

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.acked_in = 0  # of the peer's imports, those up to here were taken
        self.acked_out = 0  # of our imports, the peer has taken those up to here
        self.kicked = b""  # the kicked set the peer advertised last
        self.paused_until_us = 0  # no sync of our own accord before
        self.stuck = False  # the last exchange left us different, and neither had anything new for the other
        self.again_from_us = 0  # while stuck: when to tell everything again
        self.futile = 0  # how often that was to no avail
        self.futile_at = 0  # at this change of ours


class Floors:
    """The floors of the peers we are linked to, or were lately. Invariant: at most `peers_max`; the oldest goes."""

    def __init__(self, peers_max: int) -> None:
        self._peers_max = peers_max
        self._floors: dict[Site, Floor] = {}

    def meet(self, contact: Contact) -> Floor:
        """The floor of this life; a new life starts at zero."""
        floor = self._floors.pop(contact.site, None)
        if floor is None or floor.incarnation != contact.incarnation:
            floor = Floor(contact.incarnation)
        self._floors[contact.site] = floor
        if len(self._floors) > self._peers_max:
            del self._floors[next(iter(self._floors))]
        return floor

    def get(self, site: Site) -> Floor | None:
        """The floor of a peer, whichever life it is of; None if we did not meet it lately."""
        return self._floors.get(site)

    def has_kicked(self, site: Site, kicked: bytes) -> bool:
        """Whether this peer advertised exactly that kicked set last."""
        floor = self._floors.get(site)
        return floor is not None and floor.kicked == kicked

    def items(self) -> ItemsView[Site, Floor]:
        """All floors, the one met longest ago first."""
        return self._floors.items()

    def forget(self, site: Site) -> None:
        """Begin with this peer at zero next time."""
        self._floors.pop(site, None)

    def clear(self) -> None:
        """Another cluster."""
        self._floors.clear()

    def __len__(self) -> int:
        return len(self._floors)


def chunk(
    entries: list[Entry], imports: int, entries_max: int, bytes_aim: int = FRAME_AIM_BYTES
) -> tuple[list[Entry], int]:
    """The oldest of `entries` (sorted by import) that fit into one sync, and the import they are complete up to.

    An import is never cut: the peer acknowledges by import, and would never ask for the rest of one. So a chunk is
    larger than asked for where a single import is.
    """
    cut = size = 0
    while cut < min(len(entries), entries_max) and (size := size + op_bytes(entries[cut].op)) <= bytes_aim:
        cut += 1
    if cut == len(entries):
        return entries, imports
    while cut > 0 and entries[cut - 1].imported == entries[cut].imported:
        cut -= 1
    if cut == 0:
        while cut < len(entries) and entries[cut].imported == entries[0].imported:
            cut += 1
    return (entries[:cut], entries[cut - 1].imported) if cut < len(entries) else (entries, imports)
