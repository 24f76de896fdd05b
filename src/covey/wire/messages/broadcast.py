"""Plumtree's messages (Leitão, Pereira, Rodrigues, SRDS 2007). Tags 192-207.

What is broadcast travels in *runs*: messages of one stream whose numbers follow each other. A stream is what one life
says under one name. A run's values stay encoded, all of them in one piece, so a relay copies bytes and never looks.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from covey.core.ids import IncarnationField, SiteField
from covey.wire.limits import KEY_BYTES_MAX

STREAM_BYTES_MAX = KEY_BYTES_MAX + 64
SEQ_MAX = 2**53
RUN_MAX = 65_536  # messages in one run
ROUND_MAX = 65_535  # hops
STREAMS_MAX = 4_096  # streams in one message
RUNS_MAX = 16_384  # runs of one stream in one message

Stream: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=STREAM_BYTES_MAX)]
Seq: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=SEQ_MAX)]
Round: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=ROUND_MAX)]
Runs: TypeAlias = Annotated[tuple[tuple[Seq, Seq], ...], msgspec.Meta(max_length=RUNS_MAX)]
RunsHad: TypeAlias = Annotated[tuple[tuple[Seq, Seq, Round], ...], msgspec.Meta(max_length=RUNS_MAX)]

# Of each stream (its site, incarnation and name) some runs; `RunsHad` tell how many hops they had come.
Named: TypeAlias = Annotated[
    tuple[tuple[SiteField, IncarnationField, Stream, Runs], ...], msgspec.Meta(max_length=STREAMS_MAX)
]
Announced: TypeAlias = Annotated[
    tuple[tuple[SiteField, IncarnationField, Stream, RunsHad], ...], msgspec.Meta(max_length=STREAMS_MAX)
]


class Gossip(msgspec.Struct, frozen=True, array_like=True, tag=192, gc=False):
    """Messages `first`, `first + 1`, … of a stream, `count` of them; `body` is the encoded array of what they say.

    `round`: how many hops they have come with this one: 1 from their sender.
    """

    site: SiteField
    incarnation: IncarnationField
    stream: Stream
    first: Seq
    count: Annotated[int, msgspec.Meta(ge=1, le=RUN_MAX)]
    round: Round
    body: msgspec.Raw


class IHave(msgspec.Struct, frozen=True, array_like=True, tag=193, gc=False):
    """These can be had from the sender."""

    runs: Announced


class Graft(msgspec.Struct, frozen=True, array_like=True, tag=194, gc=False):
    """Send me these now, and whatever comes from now on; without any, only what comes."""

    runs: Named


class Prune(msgspec.Struct, frozen=True, array_like=True, tag=195, gc=False):
    """Send me no more what I have not asked for; tell me what you have."""


class NotHeld(msgspec.Struct, frozen=True, array_like=True, tag=196, gc=False):
    """The answer to `Graft`, for what the sender does not keep (any more): ask somebody else."""

    runs: Named


BroadcastMessage = Gossip | IHave | Graft | Prune | NotHeld
