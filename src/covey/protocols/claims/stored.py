"""What a voter keeps on its disk: votes, their floor, and who sits for which list."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from covey.core.ids import Site
from covey.core.vocabulary import Record
from covey.protocols.claims.votes import Vote
from covey.wire.messages.claims import Id

LOG = "voter"
_FLOOR, _SEATING = b"", b"seats"  # keys of votes are msgpack arrays: they begin with 0x92

_encoder = msgspec.msgpack.Encoder()
_id_decoder = msgspec.msgpack.Decoder(tuple[bytes, bytes])
_vote_decoder = msgspec.msgpack.Decoder(Vote)
_int_decoder = msgspec.msgpack.Decoder(int)


class Seating(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Who sits for the names of a list: promised, and whether all of them have promised."""

    names: tuple[str, ...]
    sites: tuple[Site, ...]
    seated: bool


_seating_decoder = msgspec.msgpack.Decoder(Seating)


class Stored(msgspec.Struct, frozen=True):
    """All of it."""

    votes: dict[Id, Vote]
    floor: int
    seatings: dict[bytes, Seating]


def read(stored: Mapping[bytes, bytes]) -> Stored:
    """What a log says; nothing, for an empty one."""
    votes: dict[Id, Vote] = {}
    seatings: dict[bytes, Seating] = {}
    for key, value in stored.items():
        if key.startswith(_SEATING):
            seatings[key.removeprefix(_SEATING)] = _seating_decoder.decode(value)
        elif key != _FLOOR:
            votes[_id_decoder.decode(key)] = _vote_decoder.decode(value)
    floor = _int_decoder.decode(stored[_FLOOR]) if _FLOOR in stored else 0
    return Stored(votes, floor, seatings)


def vote_record(id: Id, vote: Vote | None) -> Record:
    """What was granted last for an id; None: it is forgotten."""
    return Record(_encoder.encode(id), None if vote is None else _encoder.encode(vote))


def floor_record(floor: int) -> Record:
    """Ids that are not stored need an epoch above this."""
    return Record(_FLOOR, _encoder.encode(floor))


def seating_record(digest: bytes, seating: Seating) -> Record:
    """Who sits for a list."""
    return Record(_SEATING + digest, _encoder.encode(seating))
