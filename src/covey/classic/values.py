"""What classy's functions give and take: dumps of a record, and sync messages that somebody has carried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from covey.api.members import decode_meta
from covey.core.errors import UsageError
from covey.core.ids import Site
from covey.protocols.membership.machine import Membership as Machine
from covey.protocols.membership.record import HOST, IS_MEMBER, MEM, Entry, decode_address
from covey.protocols.membership.vocabulary import SyncMessage

_KEYS = ("mem", "host", "meta")  # by kind
_decoder = msgspec.msgpack.Decoder(SyncMessage)


class Recorded(msgspec.Struct, frozen=True):
    """One entry of the record. `value` is a bool (`mem`), an address (`host`) or `(name, metadata)` (`meta`)."""

    value: Any
    origin: Site  # who wrote it
    ltime: int  # the stamp of its hybrid clock
    magic: int  # the life it was in
    wtime: int  # its wall time, in ms since 1970
    ltime_imported: int  # the import that brought it here


class Dump(msgspec.Struct, frozen=True):
    """All that one pair holds. classy's hook cursor is missing: events are not replayed."""

    peers: Mapping[Site, Mapping[str, Recorded]]  # by site, then by `mem`, `host` and `meta`
    acked_in: Mapping[Site, int]  # of a peer's imports, those up to here were taken
    acked_out: Mapping[Site, int]  # of ours, the peer has taken those up to here
    clock: int
    imports: int


def dump_of(machine: Machine) -> Dump:
    """All that a node's membership holds."""
    peers: dict[Site, dict[str, Recorded]] = {}
    for entry in machine.dump():
        peers.setdefault(entry.op.target, {})[_KEYS[entry.op.kind]] = _recorded(entry)
    floors = dict(machine.exchange.floors.items())
    return Dump(
        peers,
        {site: floor.acked_in for site, floor in floors.items()},
        {site: floor.acked_out for site, floor in floors.items()},
        machine.ledger.clock.last,
        machine.ledger.imports,
    )


def checked_message(message: SyncMessage) -> SyncMessage:
    """The message as it would arrive over a wire, so that no field has what no peer could send."""
    if not isinstance(message, SyncMessage):
        raise UsageError(
            f"a sync message is a covey.classic.SyncMessage, not {type(message).__name__}; nothing was taken"
        )
    try:
        return _decoder.decode(msgspec.msgpack.encode(message))
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"no peer sends such a sync message: {error}; nothing was taken") from None


def _recorded(entry: Entry) -> Recorded:
    op = entry.op
    value: Any = bool(int(op.value) & IS_MEMBER) if op.kind == MEM else decode_address(op.value)
    if op.kind not in (MEM, HOST):
        value = decode_meta(op.value if isinstance(op.value, bytes) else b"")
    return Recorded(value, op.origin, op.clock, op.magic, op.wall_ms, entry.imported)
