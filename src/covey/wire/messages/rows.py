"""Messages that keep rows alike: operations of owners, whole owners in parts, and what to compare. Tags 112-127."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from covey.core.ids import IncarnationField, SiteField
from covey.wire.limits import KEY_BYTES_MAX

INSTANCE_BYTES_MAX = KEY_BYTES_MAX + 64
ROW_KEY_BYTES_MAX = KEY_BYTES_MAX + 64
ROW_VALUE_BYTES_MAX = 65_536
OPS_MAX = 16_384  # operations or rows in one message
POSITIONS_MAX = 4_096  # positions in one message
SEQ_MAX = 2**53  # of one owner's operations in one life

Instance: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=INSTANCE_BYTES_MAX)]
RowKey: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=ROW_KEY_BYTES_MAX)]
RowValue: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=ROW_VALUE_BYTES_MAX)]
Seq: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=SEQ_MAX)]
Digest: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
OpTuple: TypeAlias = Annotated[tuple[tuple[RowKey, RowValue | None], ...], msgspec.Meta(max_length=OPS_MAX)]
RowTuple: TypeAlias = Annotated[tuple[tuple[RowKey, RowValue], ...], msgspec.Meta(max_length=OPS_MAX)]


class OwnedOps(msgspec.Struct, frozen=True, array_like=True, tag=112, gc=False):
    """Operations `first`, `first + 1`, … of `owner` in this life. Pushed, relayed, or the answer to a pull.

    `more`: there are more of them behind; ask again.
    """

    instance: Instance
    owner: SiteField
    incarnation: IncarnationField
    first: Seq
    ops: OpTuple
    more: bool


class OwnedPull(msgspec.Struct, frozen=True, array_like=True, tag=113, gc=False):
    """Tell me the operations of `owner` behind `after`. With `parts`: its rows behind `cursor`, and then those."""

    instance: Instance
    owner: SiteField
    incarnation: IncarnationField
    after: Seq
    parts: bool = False
    cursor: RowKey | None = None


class OwnedPart(msgspec.Struct, frozen=True, array_like=True, tag=114, gc=False):
    """Rows of `owner` behind `cursor` in the order of keys, as they stood at `seq`. `last`: none come behind these."""

    instance: Instance
    owner: SiteField
    incarnation: IncarnationField
    seq: Seq
    cursor: RowKey | None
    rows: RowTuple
    last: bool


class RowSum(msgspec.Struct, frozen=True, array_like=True, tag=115, gc=False):
    """The digest of all that the sender shows of the instances it believes both of us hold."""

    digest: Digest


class OwnedPositions(msgspec.Struct, frozen=True, array_like=True, tag=116, gc=False):
    """What the sender has of each owner, for all instances that it believes both of us hold.

    `answer`: the receiver tells back what it has more of, so that the sender can ask for it.
    """

    instances: Annotated[
        tuple[
            tuple[
                Instance,
                Annotated[tuple[tuple[SiteField, IncarnationField, Seq], ...], msgspec.Meta(max_length=POSITIONS_MAX)],
            ],
            ...,
        ],
        msgspec.Meta(max_length=POSITIONS_MAX),
    ]
    answer: bool


RowsMessage = OwnedOps | OwnedPull | OwnedPart | RowSum | OwnedPositions
