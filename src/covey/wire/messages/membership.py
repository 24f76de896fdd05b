"""Membership's messages: operations on the replicated record of who belongs, and how two members even out.

The record and its exchange follow classy (emqx/classy, `classy_membership`); see `protocols.membership`.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from covey.core.ids import IncarnationField, SiteField

Clock: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Import: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Digest: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
BLOB_BYTES_MAX = 4096
OP_BYTES = 72  # an operation without its blob, at most
Blob: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=BLOB_BYTES_MAX)]
Flags: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=255)]


class Op(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One write of `origin`: what `kind` of fact about `target` is from now on.

    The value's type goes with the kind: flags for `MEM`, an address in UTF-8 for `HOST`, encoded
    metadata for `META`.
    """

    origin: SiteField
    kind: Annotated[int, msgspec.Meta(ge=0, le=2)]
    target: SiteField
    clock: Clock
    magic: IncarnationField
    value: Flags | Blob
    wall_ms: Clock


OPS_MAX = 16_384
Ops: TypeAlias = Annotated[tuple[Op, ...], msgspec.Meta(max_length=OPS_MAX)]


class Sync(msgspec.Struct, frozen=True, array_like=True, tag=64, gc=False):
    """All that the sender imported from `since` on. `acked` is what it took from the receiver, in the life `of`."""

    since: Import
    acked: Import
    imports: Import
    ops: Ops
    digest: Digest
    answer: bool  # the sender wants to hear what was taken
    of: IncarnationField = 0  # 0: not said


class News(msgspec.Struct, frozen=True, array_like=True, tag=65, gc=False):
    """Fresh operations, flooded; also the verdict for a sender that does not belong."""

    ops: Ops


class Digests(msgspec.Struct, frozen=True, array_like=True, tag=66, gc=False):
    """What the sender's record hashes to, and its kicked set."""

    record: Digest
    kicked: Digest


class Forgotten(msgspec.Struct, frozen=True, array_like=True, tag=67, gc=False):
    """To an ephemeral site that speaks: its membership of this stamp was forgotten here; it may write it anew."""

    clock: Clock
    magic: IncarnationField


MembershipMessage = Sync | News | Digests | Forgotten
