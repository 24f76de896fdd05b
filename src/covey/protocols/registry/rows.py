"""What the rows of a hub say.

Shared rows are the children: the key is the encoded id, the value of a birth says what to start and with what. Who
starts a child writes the birth, who stops it removes the births; everything that changes later is a field, and a field
never revives what was stopped. What a birth says of metadata and epoch saves 10,000 new children 20,000 fields.

Owned rows are who takes part, and which children run where: they are shown while their node is there.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum

import msgspec

from covey.core.clock import STAMP_MAX
from covey.core.ids import SITE_BYTES, Dot, Origin, Site
from covey.core.rows import SharedRow
from covey.protocols.registry.placement import Participant
from covey.wire.keys import is_key
from covey.wire.messages.registry import Mailboxes

PREFIX = b"hub:"  # of the instances that hold the rows of hubs
PARTICIPANT = b"p"  # the key of the row by which a node takes part
BEGUN = b"s"  # the key of the row that says which of the declared children ran once, as far as a node knows
BEGUN_BYTES = 8  # for each of them
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
    MOVING = 3  # it has ended, and what it left is on its way to another host
    FAILED = 4  # it ended too often, and is not started again


RUNS = (State.RUNNING, State.MOVING, State.STUCK)


class Spec(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What to start: `start` names a callable that the host allows, `arguments` are encoded (positional, by name)."""

    start: str
    arguments: bytes
    restart: Restart
    shutdown_us: int
    idle_us: int  # 0: it is never too long idle


class Birth(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The value of a birth: the child as whoever starts it wants it.

    `epoch`: the starter's time, under which `first`, the life it was placed at, may run it once. Any other start is
    under a higher epoch.
    """

    spec: Spec
    meta: bytes
    epoch: int
    first: tuple[bytes, int] | None


class Running(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A child runs here: under which epoch, which start in this life of the host it is, and how it is.

    `error`: the last lines of what it raised when it ended last. `mailboxes`: the names of its mailbox; letters are
    taken under the first one. `birth`: the epoch of the birth that it was started for: one that was stopped and has not
    ended is none of the child that was started after it.
    """

    epoch: int
    instance: int
    state: State
    error: str = ""
    mailboxes: Mailboxes = ()
    birth: int = 0


class Child(msgspec.Struct, frozen=True, gc=False):
    """A child as its shared row has it. `births` are more than one where it was started on both sides of a split.

    `begun`: the epoch of each of them, by which copies say what they were started for.
    """

    id: bytes
    spec: Spec
    meta: bytes
    assigned: Site | None
    epoch: int
    first: Origin | None
    births: tuple[Dot, ...]
    begun: tuple[int, ...]
    raised: bool = False  # somebody raised the epoch: whoever starts it now is not the first

    @property
    def author(self) -> Origin:
        """The life that started it, in the birth that counts."""
        return self.births[-1][:2]


_birth_decoder = msgspec.msgpack.Decoder(Birth)
_running_decoder = msgspec.msgpack.Decoder(Running)
_epoch_decoder = msgspec.msgpack.Decoder(int)


def encode(said: Birth | Running | Participant | int) -> bytes:
    """A value of a row or of a field."""
    return _encoder.encode(said)


def digest_of(settings: str) -> bytes:
    """What all must have alike, in 8 bytes."""
    return hashlib.blake2b(settings.encode(), digest_size=8, person=b"covey.hub").digest()


def running_key(id: bytes) -> bytes:
    """The key of the owned row that says that a child runs here."""
    return _RUNNING + id


def read_child(id: bytes, row: SharedRow) -> Child | None:
    """A child from its shared row; None for what no covey writes. Of fields that make no sense the default counts."""
    births = row.births if len(row.births) == 1 else tuple([one for one in row.births if _birth(one[1]) is not None])
    birth = _birth(births[-1][1]) if births else None
    if birth is None or not is_key(id):
        return None
    first = None if birth.first is None else (Site(birth.first[0]), birth.first[1])
    if len(births) == 1 and not row.fields:  # nearly always
        epoch = _bounded(birth.epoch)
        return Child(id, birth.spec, birth.meta, None, epoch, first, (births[0][0],), (epoch,))
    assigned = row.get(ASSIGNED)
    site = Site(assigned) if assigned is not None and len(assigned) == SITE_BYTES else None
    meta = row.get(META)
    raised = [_epoch(value) for value in row.values(EPOCH)]
    begun = tuple([0 if (one := _birth(value)) is None else _bounded(one.epoch) for _, value in births])
    dots = tuple([dot for dot, _ in births])
    meta = birth.meta if meta is None else meta
    return Child(id, birth.spec, meta, site, max([*begun, *raised]), first, dots, begun, bool(raised))


def _birth(value: bytes) -> Birth | None:
    try:
        return _birth_decoder.decode(value)
    except (ValueError, RecursionError):
        return None


def read_participant(value: bytes, site: Site, incarnation: int) -> Participant | None:
    """Who takes part, from its own row; None for nonsense. Nobody speaks for another."""
    try:
        said = _participant_decoder.decode(value)
    except (ValueError, RecursionError):
        return None
    return said if (said.site, said.incarnation) == (site, incarnation) else None


def read_running(key: bytes, value: bytes, known: bool = False) -> Running | None:
    """What runs, from the owned row of a child; None for another kind of row, and for nonsense.

    `known`: the id behind the key is one.
    """
    if not key.startswith(_RUNNING) or not (known or is_key(key[1:])):
        return None
    try:
        return _running_decoder.decode(value)
    except (ValueError, RecursionError):
        return None


def _epoch(value: bytes) -> int:
    try:
        return _bounded(_epoch_decoder.decode(value))
    except (ValueError, RecursionError):
        return 0


def _bounded(epoch: int) -> int:
    return epoch if 0 <= epoch < STAMP_MAX else 0
