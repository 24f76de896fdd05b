"""What the rows of a hub say.

Shared rows are the children: the key is the encoded id, the value of a birth its spec. Who starts a child writes the
birth, who stops it removes the births; everything else is a field, and a field never revives what was stopped.

Owned rows are who takes part, and which children run where: they are shown while their node is there.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from covey.core.ids import SITE_BYTES, Site
from covey.core.rows import SharedRow
from covey.protocols.registry.placement import Participant
from covey.wire.keys import is_key

PREFIX = b"hub:"  # of the instances that hold the rows of hubs
PARTICIPANT = b"p"  # the key of the row by which a node takes part
_RUNNING = b"r"  # before the id of a child that runs here
META, ASSIGNED, EPOCH = b"m", b"a", b"e"  # fields of a child's row

_encoder = msgspec.msgpack.Encoder()
_participant_decoder = msgspec.msgpack.Decoder(Participant)


class Restart(IntEnum):
    """When a child that ended is started again."""

    PERMANENT = 0  # always
    TRANSIENT = 1  # when it raised
    TEMPORARY = 2  # never


class State(IntEnum):
    """What a child that runs here is doing."""

    STARTING = 0
    RUNNING = 1
    STUCK = 2  # it was told to end, and does not


class Spec(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What to start: `start` names a callable that the host allows, `arguments` are encoded (positional, by name)."""

    start: str
    arguments: bytes
    restart: Restart
    shutdown_us: int
    idle_us: int  # 0: it is never too long idle


class Running(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A child runs here: under which epoch, its how-many-th start in this life of the host, and how it is."""

    epoch: int
    instance: int
    state: State


class Child(msgspec.Struct, frozen=True, gc=False):
    """A child as its shared row has it."""

    id: bytes
    spec: Spec
    meta: bytes
    assigned: Site | None
    epoch: int


_spec_decoder = msgspec.msgpack.Decoder(Spec)
_running_decoder = msgspec.msgpack.Decoder(Running)
_epoch_decoder = msgspec.msgpack.Decoder(int)


def encode(said: Spec | Running | Participant | int) -> bytes:
    """A value of a row or of a field."""
    return _encoder.encode(said)


def running_key(id: bytes) -> bytes:
    """The key of the owned row that says that a child runs here."""
    return _RUNNING + id


def read_child(id: bytes, row: SharedRow) -> Child | None:
    """A child from its shared row; None for what no covey writes. Of fields that make no sense the default counts."""
    try:
        spec = _spec_decoder.decode(row.value)
    except (ValueError, RecursionError):
        return None
    if not is_key(id):
        return None
    assigned = row.get(ASSIGNED)
    site = Site(assigned) if assigned is not None and len(assigned) == SITE_BYTES else None
    return Child(id, spec, row.get(META) or b"", site, max(map(_epoch, row.values(EPOCH)), default=0))


def read_participant(value: bytes, site: Site, incarnation: int) -> Participant | None:
    """Who takes part, from its own row; None for nonsense. Nobody speaks for another."""
    try:
        said = _participant_decoder.decode(value)
    except (ValueError, RecursionError):
        return None
    return said if (said.site, said.incarnation) == (site, incarnation) else None


def read_running(key: bytes, value: bytes) -> tuple[bytes, Running] | None:
    """Which child runs, from an owned row; None for another kind of row, and for nonsense."""
    if not key.startswith(_RUNNING) or not is_key(key[1:]):
        return None
    try:
        return key[1:], _running_decoder.decode(value)
    except (ValueError, RecursionError):
        return None


def _epoch(value: bytes) -> int:
    try:
        return max(_epoch_decoder.decode(value), 0)
    except (ValueError, RecursionError):
        return 0
