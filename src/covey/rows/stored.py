"""Shared rows as a log keeps them: one record for each row, and two for each life that anything is known of.

A record is told by its key: what it is, the instance, and the row's key or the life.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec

from covey.core.ids import SITE_BYTES, Dot, Origin, Site
from covey.core.vocabulary import Record
from covey.rows.dots import Intervals

ROW, CONTEXT, RECEIVED, VOID = range(4)
INCARNATION_BYTES = 8

Value: TypeAlias = tuple[bytes | None, Dot, tuple[Dot, ...], bytes]
"""One dot of a row that is alive: (field, dot, births, value); no field: a birth."""

_encoder = msgspec.msgpack.Encoder()
_key_decoder = msgspec.msgpack.Decoder(tuple[int, bytes, bytes])
_row_decoder = msgspec.msgpack.Decoder(list[Value])
_context_decoder = msgspec.msgpack.Decoder(Intervals)
_received_decoder = msgspec.msgpack.Decoder(tuple[Intervals, Intervals])


class StoredRows:
    """What a log keeps of one instance: rows by key, what is known and what was received and retired of each life.

    Rows are as they were written (`values`), so that only those are taken apart that are wanted.
    `void`: the instance was let go of, and what is still here of it is on its way out.
    """

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.context: dict[Origin, Intervals] = {}
        self.received: dict[Origin, tuple[Intervals, Intervals]] = {}
        self.void = False

    def record_keys(self, instance: bytes) -> list[bytes]:
        """The keys of its records but for the mark that it is void."""
        return [
            *(record_key(ROW, instance, key) for key in self.rows),
            *(record_key(CONTEXT, instance, life_bytes(life)) for life in self.context),
            *(record_key(RECEIVED, instance, life_bytes(life)) for life in self.received),
        ]


def read(log: Mapping[bytes, bytes]) -> dict[bytes, StoredRows]:
    """All instances of a log. Raises `ValueError` for a log that no life of ours wrote."""
    instances: dict[bytes, StoredRows] = {}
    for raw, value in log.items():
        kind, instance, rest = _key_decoder.decode(raw)
        stored = instances.get(instance)
        if stored is None:
            stored = instances[instance] = StoredRows()
        if kind == ROW:
            stored.rows[rest] = value
        elif kind == CONTEXT:
            stored.context[_life(rest)] = _context_decoder.decode(value)
        elif kind == RECEIVED:
            stored.received[_life(rest)] = _received_decoder.decode(value)
        elif kind == VOID:
            stored.void = True
        else:
            raise ValueError(f"the log of shared rows has a record of the unknown kind {kind}")
    return instances


def values(raw: bytes) -> list[Value]:
    """What is alive in a row. Raises `ValueError` for a record that no life of ours wrote."""
    return _row_decoder.decode(raw)


def row_record(instance: bytes, key: bytes, alive: Sequence[Value]) -> Record:
    """All that is alive under one key; nothing: no record."""
    return Record(record_key(ROW, instance, key), _encoder.encode(alive) if alive else None)


def context_record(instance: bytes, life: Origin, known: Intervals) -> Record:
    """What is known of a life."""
    return Record(record_key(CONTEXT, instance, life_bytes(life)), _encoder.encode(known) if known else None)


def received_record(instance: bytes, life: Origin, received: Intervals, retired: Intervals) -> Record:
    """What was received of a life, and what of that is not compared any more."""
    value = _encoder.encode((received, retired)) if received or retired else None
    return Record(record_key(RECEIVED, instance, life_bytes(life)), value)


def void_record(instance: bytes, void: bool) -> Record:
    """The mark that nothing that is kept of an instance counts."""
    return Record(record_key(VOID, instance, b""), b"" if void else None)


def record_key(kind: int, instance: bytes, rest: bytes) -> bytes:
    """Under which a record is kept."""
    return _encoder.encode((kind, instance, rest))


def life_bytes(life: Origin) -> bytes:
    """A life in a record's key."""
    return life[0] + life[1].to_bytes(INCARNATION_BYTES, "big")


def _life(raw: bytes) -> Origin:
    if len(raw) != SITE_BYTES + INCARNATION_BYTES:
        raise ValueError(f"the log of shared rows names a life with {len(raw)} bytes")
    return Site(raw[:SITE_BYTES]), int.from_bytes(raw[SITE_BYTES:], "big")
