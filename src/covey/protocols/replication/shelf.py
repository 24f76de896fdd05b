"""The shelf: what of shared rows belongs on the disk goes through here, so that nothing else waits for it.

The gate holds whatever a machine says behind what it must not forget. Pushes, digests and pulls of rows are not to wait
for a disk, and rows need not be on it before others hear of them: a later life of ours is another origin, so it never
gives a dot twice. So the row machine keeps no log. It gives records to this machine, whose only other word is that they
are stored; the gate holds that one word until it is true.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import msgspec

from covey.core.vocabulary import Persist
from covey.protocols.replication.vocabulary import RowsStored, StoreRows

Effect = Any

LOG = "shelf"


class ShelfStatistics(msgspec.Struct, frozen=True):
    """Counts since the start."""

    pieces: int
    records: int


class Shelf:
    """Law: each `StoreRows` is answered by a `RowsStored` behind its `Persist`. It remembers nothing."""

    def __init__(self, rng: Random, now_us: int) -> None:
        self._pieces = self._records = 0

    def handle(self, incoming: StoreRows, now_us: int) -> Sequence[Effect]:
        self._pieces += 1
        self._records += len(incoming.records)
        return [Persist(LOG, incoming.records), RowsStored(incoming.number)]

    def deadline(self) -> int | None:
        return None

    def check(self) -> None:
        """There is nothing that could be wrong."""

    def statistics(self) -> ShelfStatistics:
        return ShelfStatistics(self._pieces, self._records)
