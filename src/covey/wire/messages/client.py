"""What a client asks of one node, and what it is answered, on a connection of its own. Tags 96-111."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from covey.wire.limits import FRAME_AIM_BYTES

WHAT_LENGTH_MAX = 64
ARGUMENTS_BYTES_MAX = 4096
ERROR_LENGTH_MAX = 2000
PART_BYTES_MAX = FRAME_AIM_BYTES - 4096  # so that a part and its message's fields fit in what a frame aims at

Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Ask(msgspec.Struct, frozen=True, array_like=True, tag=96, gc=False):
    """Do or tell `what`. `arguments` is a msgpack map; empty for none. The next one comes behind its answer."""

    number: Number
    what: Annotated[str, msgspec.Meta(max_length=WHAT_LENGTH_MAX)]
    arguments: Annotated[bytes, msgspec.Meta(max_length=ARGUMENTS_BYTES_MAX)]


class Answer(msgspec.Struct, frozen=True, array_like=True, tag=97, gc=False):
    """One part of the answer to ask `number`, in order; the last one has `more` false.

    All parts together are msgpack. `error` is empty, or the name of an error, a colon and its text; then nothing was
    answered, and `part` is empty.
    """

    number: Number
    part: Annotated[bytes, msgspec.Meta(max_length=PART_BYTES_MAX)]
    more: bool
    error: Annotated[str, msgspec.Meta(max_length=ERROR_LENGTH_MAX)]


ClientMessage = Ask | Answer
