"""One membership machine, its clock told, and the effects it is expected to say."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec

from covey.core.ids import Contact
from covey.core.vocabulary import (
    Channel,
    DigestsChanged,
    MessagesReceived,
    PeerConnected,
    Persist,
    Record,
    Tick,
    WallOffset,
)
from covey.protocols.membership.machine import LOG, Membership
from covey.protocols.membership.record import HOST, MEM, encode_key, encode_op, key_of
from covey.wire.messages.membership import Op, Sync
from tests.protocols.membership.membership_net import DURABLE, NEVER, SHARED, START_WALL_US, mem, op, site

CONFIG = msgspec.structs.replace(DURABLE, digest_period_us=NEVER, cleanup_period_us=NEVER)
ME, PEER = site(1), site(2)
CLOCK_NOW = (START_WALL_US // 1000) << 16
BOOTED = CLOCK_NOW  # the stamp of our address
PEER_LIFE = Contact(PEER, 4, "n2:1")
NOW_MS = START_WALL_US // 1000


def machine(**changes: Any) -> Membership:
    """Started, with the clock told."""
    made = Membership(
        msgspec.structs.replace(CONFIG, **changes), Random(1), 0, me=Contact(ME, 5, "n1:1"), shared=SHARED
    )
    made.handle(WallOffset(START_WALL_US), 0)
    made.handle(Tick(), 0)
    return made


def own(kind: int, target: int, clock: int, value: int | bytes, magic: int = 5) -> Op:
    return Op(ME, kind, site(target), clock, magic, value, NOW_MS)


def stored(*ops: Op) -> Persist:
    return Persist(LOG, tuple(Record(encode_key(key_of(each)), encode_op(each)) for each in ops))


def told(made: Membership) -> DigestsChanged:
    return DigestsChanged(made.record.digest + made.record.kicked_digest)


DEFAULT = Op(ME, MEM, ME, 0, 5, 1, 0)
HELLO = (mem(2, 0, 1, origin=2, magic=4), op(HOST, 2, 7, b"n2:1", origin=2, magic=4))
NOBODY = bytes(8)


def joined(**changes: Any) -> Membership:
    """We and the peer, equal and linked."""
    made = machine(**changes)
    made.handle(PeerConnected(PEER_LIFE, Channel.CONTROL), 0)
    made.handle(MessagesReceived(PEER, [Sync(0, 0, 1, HELLO, NOBODY, False)]), 0)
    made.handle(MessagesReceived(PEER, [Sync(1, 2, 2, (), made.record.digest, False)]), 0)
    return made
