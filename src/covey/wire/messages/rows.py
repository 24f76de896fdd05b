"""Messages that keep rows alike. Tags 112-127.

Owned rows (112-116): operations of owners, whole owners in parts, what to compare. Shared rows (117-125): operations of
anybody, what was received of whom, rows compared bucket by bucket.
"""

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
    """Tell me the operations of `owner` behind `after`, or its rows in parts where you do not know these any more.

    With `parts`: go on with the parts that began at `after`, behind the last key that I have, `cursor`.
    """

    instance: Instance
    owner: SiteField
    incarnation: IncarnationField
    after: Seq
    parts: bool = False
    cursor: RowKey | None = None


class OwnedPart(msgspec.Struct, frozen=True, array_like=True, tag=114, gc=False):
    """Rows of `owner` behind those that were told, up to `cursor`, as they stood at `seq`. `last`: these are all."""

    instance: Instance
    owner: SiteField
    incarnation: IncarnationField
    seq: Seq
    cursor: RowKey | None
    rows: RowTuple
    last: bool


class RowSum(msgspec.Struct, frozen=True, array_like=True, tag=115, gc=False):
    """The digest of all that the sender shows of the instances it believes both of us hold.

    `saved`: what it is to keep of their shared rows is on its disk; else who has the same does not count on it.
    """

    digest: Digest
    saved: bool = True


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


# --- shared rows ----------------------------------------------------------------------------------------------------

NAMES_MAX = 256  # dots that one operation names
LIVES_MAX = 8_192  # lives in one message
INTERVALS_MAX = 4_096  # of one life
RANGES_MAX = 1_024  # asked for at once
BUCKETS = 256
SUMS_BYTES = 8 * BUCKETS

DotField: TypeAlias = tuple[SiteField, IncarnationField, Annotated[int, msgspec.Meta(ge=1, le=SEQ_MAX)]]
DotTuple: TypeAlias = Annotated[tuple[DotField, ...], msgspec.Meta(max_length=NAMES_MAX)]
FieldName: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=KEY_BYTES_MAX)]
SharedOp: TypeAlias = tuple[RowKey, FieldName | None, RowValue | None, DotTuple, DotTuple]
Number: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=SEQ_MAX)]
ToldLife: TypeAlias = tuple[
    SiteField,
    IncarnationField,
    Annotated[tuple[tuple[Number, Number], ...], msgspec.Meta(max_length=INTERVALS_MAX)],
]
ToldTuple: TypeAlias = Annotated[tuple[ToldLife, ...], msgspec.Meta(max_length=LIVES_MAX)]
SharedEntry: TypeAlias = tuple[RowKey, FieldName | None, DotField, DotTuple, RowValue]
SharedEntries: TypeAlias = Annotated[tuple[SharedEntry, ...], msgspec.Meta(max_length=OPS_MAX)]
SharedPlace: TypeAlias = tuple[RowKey, DotField]
Bucket: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=BUCKETS - 1)]


class SharedOps(msgspec.Struct, frozen=True, array_like=True, tag=117, gc=False):
    """Operations `first`, `first + 1`, … of one life. Pushed, relayed, or part of the answer to a pull."""

    instance: Instance
    site: SiteField
    incarnation: IncarnationField
    first: Number
    ops: Annotated[tuple[SharedOp, ...], msgspec.Meta(max_length=OPS_MAX)]


class SharedSums(msgspec.Struct, frozen=True, array_like=True, tag=118, gc=False):
    """The digests of instances' shared rows. Who has another one says what it has received there.

    `saved`: as in `RowSum`.
    """

    sums: Annotated[tuple[tuple[Instance, Digest], ...], msgspec.Meta(max_length=POSITIONS_MAX)]
    saved: bool = True


class SharedHave(msgspec.Struct, frozen=True, array_like=True, tag=119, gc=False):
    """What the sender has received, also of lives that retired, and the digest of what is alive.

    `answer`: the receiver tells back what it has, if that is more or other. `saved`: as in `RowSum`; else what is told
    can be asked for, and is not acknowledged.
    """

    instance: Instance
    received: ToldTuple
    retired: ToldTuple
    alive: Digest
    answer: bool
    saved: bool = True


class SharedPull(msgspec.Struct, frozen=True, array_like=True, tag=120, gc=False):
    """Tell me these operations: of each life from the first to the last."""

    instance: Instance
    ranges: Annotated[
        tuple[tuple[SiteField, IncarnationField, Number, Number], ...], msgspec.Meta(max_length=RANGES_MAX)
    ]


class SharedDone(msgspec.Struct, frozen=True, array_like=True, tag=121, gc=False):
    """The end of an answer to a pull. `more`: ask again; `gone`: some of it is in no log any more, compare rows."""

    instance: Instance
    more: bool
    gone: bool


class SharedCompare(msgspec.Struct, frozen=True, array_like=True, tag=122, gc=False):
    """I want to compare all rows of an instance with yours."""

    instance: Instance


class SharedSummary(msgspec.Struct, frozen=True, array_like=True, tag=123, gc=False):
    """What the sender has received (also of lives that retired), what it knows of, and the sums of its buckets."""

    instance: Instance
    received: ToldTuple
    context: ToldTuple
    sums: Annotated[bytes, msgspec.Meta(min_length=SUMS_BYTES, max_length=SUMS_BYTES)]


class SharedPartPull(msgspec.Struct, frozen=True, array_like=True, tag=124, gc=False):
    """Tell me what is alive in this bucket behind `cursor`."""

    instance: Instance
    bucket: Bucket
    cursor: SharedPlace | None


class SharedPart(msgspec.Struct, frozen=True, array_like=True, tag=125, gc=False):
    """What is alive in a bucket behind `cursor`, by key and then by dot. `last`: nothing comes behind."""

    instance: Instance
    bucket: Bucket
    cursor: SharedPlace | None
    entries: SharedEntries
    last: bool


RowsMessage = (
    OwnedOps
    | OwnedPull
    | OwnedPart
    | RowSum
    | OwnedPositions
    | SharedOps
    | SharedSums
    | SharedHave
    | SharedPull
    | SharedDone
    | SharedCompare
    | SharedSummary
    | SharedPartPull
    | SharedPart
)
