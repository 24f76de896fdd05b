"""What the row machine hears and says, shared with the machines that stand on it through `core.vocabulary`."""

from __future__ import annotations

import msgspec

from covey.core.ids import Site
from covey.core.vocabulary import Record

SYSTEM = b""  # the instance that every node holds: who holds which instance


class RowsDiffer(msgspec.Struct, frozen=True, gc=False):
    """The event: we and this peer received the same, and again and again do not show the same: a bug, here or there.

    Rows are compared and mended each time.
    """

    instance: bytes
    peer: Site


class StoreRows(msgspec.Struct, frozen=True, gc=False):
    """For the shelf: these records belong on the disk, all or none, behind those of lower numbers."""

    number: int
    records: tuple[Record, ...]


class RowsStored(msgspec.Struct, frozen=True, gc=False):
    """From the shelf, through the gate: the records of this number, and of all before, are on the disk."""

    number: int


class SharedStatistics(msgspec.Struct, frozen=True):
    """Of shared rows: what is held, and counts since the start.

    `written` here, `applied` of others; `pulls` of operations; `comparisons` of rows; `retired` lives; `differing`:
    alarms that equal tables are not alike; `overfull`: messages not taken for want of room; `stored`: records for the
    disk.
    """

    rows: int
    log_bytes: int
    exchanges: int
    written: int
    applied: int
    pulls: int
    comparisons: int
    retired: int
    differing: int
    overfull: int
    stored: int


class ReplicationStatistics(msgspec.Struct, frozen=True):
    """What is held, and counts since the start.

    `early`: messages of lives that did not count here yet; `overfull`: messages of owners that had as many rows as they
    may; `put_off`: messages that were not taken while too much waited to be told here.
    """

    instances: int
    rows: int
    pulls: int
    pushed: int
    applied: int
    gaps: int
    parts: int
    early: int
    overfull: int
    put_off: int
    mismatches: int
    shared: SharedStatistics
