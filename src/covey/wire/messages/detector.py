"""The detector's messages: SWIM's probes, rumours about lives, and tables of them. Tags 80-95."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from covey.core.ids import Contact, IncarnationField, SiteField
from covey.core.vocabulary import Liveness

REFUTATION_MAX = 2**53
RUMOURS_MAX = 64  # rumours in one message
TABLE_RECORDS_MAX = 1024  # records in one part of a table: at most 57 kB, below the 64 KiB a frame aims at
RUMOUR_BYTES_MAX = 56  # one rumour, encoded
DIGEST_BYTES = 8
DIGESTS_BYTES_MAX = 64

Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Refutation: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=REFUTATION_MAX)]
Digest: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]
Digests: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=DIGESTS_BYTES_MAX)]
Bound: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=16)]


class Rumour(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What somebody holds of one life. `by` accused it or declared it down; empty where nobody did."""

    site: SiteField
    incarnation: IncarnationField
    refutation: Refutation
    state: Liveness
    by: Bound = b""


RumourTuple: TypeAlias = Annotated[tuple[Rumour, ...], msgspec.Meta(max_length=RUMOURS_MAX)]
RecordTuple: TypeAlias = Annotated[tuple[Rumour, ...], msgspec.Meta(max_length=TABLE_RECORDS_MAX)]


class Ping(msgspec.Struct, frozen=True, array_like=True, tag=80, gc=False):
    """Are you there? The sender is, in this life, at this refutation."""

    number: Number
    incarnation: IncarnationField
    refutation: Refutation
    digest: Digest  # of the sender's liveness table
    digests: Digests  # membership's
    rumours: RumourTuple


class Ack(msgspec.Struct, frozen=True, array_like=True, tag=81, gc=False):
    """Yes, to ping `number`."""

    number: Number
    incarnation: IncarnationField
    refutation: Refutation
    digest: Digest
    digests: Digests
    rumours: RumourTuple


class PingRequest(msgspec.Struct, frozen=True, array_like=True, tag=82, gc=False):
    """Ping `target` for me: I do not reach it."""

    number: Number
    target: Contact


class IndirectAck(msgspec.Struct, frozen=True, array_like=True, tag=83, gc=False):
    """The target of request `number` answered me, in this life, at this refutation."""

    number: Number
    incarnation: IncarnationField
    refutation: Refutation


class Nack(msgspec.Struct, frozen=True, array_like=True, tag=84, gc=False):
    """I got request `number`, and the target has not answered me so far (Lifeguard, section IV-A)."""

    number: Number


class ConfirmRequest(msgspec.Struct, frozen=True, array_like=True, tag=85, gc=False):
    """`target` closed without a word and refuses me. Does it refuse you?"""

    number: Number
    target: Contact


class ConfirmReply(msgspec.Struct, frozen=True, array_like=True, tag=86, gc=False):
    """The answer to confirm request `number`."""

    number: Number
    refused: bool


class Rumours(msgspec.Struct, frozen=True, array_like=True, tag=87, gc=False):
    """News, flooded by whoever takes it in; an accusation, where it is sent to the accused."""

    rumours: RumourTuple


class Table(msgspec.Struct, frozen=True, array_like=True, tag=88, gc=False):
    """One part of the sender's table: all it holds of the sites in `low < site <= high`.

    Where `answer` is asked for, the receiver sends back what it holds of these sites that is later, or not in here.
    """

    low: Bound
    high: Bound
    records: RecordTuple
    answer: bool


class TableDigest(msgspec.Struct, frozen=True, array_like=True, tag=89, gc=False):
    """The digest of the sender's table, said when a link comes up."""

    digest: Digest


class Stopped(msgspec.Struct, frozen=True, array_like=True, tag=90, gc=False):
    """The sender's last word in this life. Relayed as a rumour."""

    incarnation: IncarnationField


DetectorMessage = (
    Ping
    | Ack
    | PingRequest
    | IndirectAck
    | Nack
    | ConfirmRequest
    | ConfirmReply
    | Rumours
    | Table
    | TableDigest
    | Stopped
)
