"""What only membership says and hears, and how a join fails."""

from __future__ import annotations

from typing import Annotated

import msgspec

from covey.core.errors import ClusterMismatch, JoinFailed
from covey.core.ids import SITE_BYTES, ClusterId, Contact, IncarnationField, Site, SiteField
from covey.wire.messages.membership import Sync

ClusterField = Annotated[ClusterId, msgspec.Meta(min_length=SITE_BYTES, max_length=SITE_BYTES)]


class JoinedAnotherCluster(JoinFailed, ClusterMismatch):
    """No join, because whoever answers belongs to another cluster; both who tries contacts and who names one knows."""


# --- commands -------------------------------------------------------------------------------------------------------


class SetMember(msgspec.Struct, frozen=True, gc=False):
    """Write that `target` belongs, or does not. Always wins here; resolved with the clock once it is durable.

    That we do not belong ourselves is leaving: resolved when a member has taken it, or nobody in time.
    """

    request: int
    target: Site
    member: bool


class SetMeta(msgspec.Struct, frozen=True, gc=False):
    """Write our own metadata (encoded). Resolved once it is durable."""

    request: int
    meta: bytes


class Kick(msgspec.Struct, frozen=True, gc=False):
    """Throw `target` out. Resolved with an `Outcome`; refused for a site nobody ever recorded."""

    request: int
    target: Site


class Leave(msgspec.Struct, frozen=True, gc=False):
    """Go. Resolved with an `Outcome` when a member has acknowledged it or the time is up; we are alone then."""

    request: int


class Join(msgspec.Struct, frozen=True, gc=False):
    """Belong to the cluster that is found at `address`. Resolved with its contact after the first exchange.

    Refused with `JoinFailed` (of another cluster: also `ClusterMismatch`) if nobody answers in time, or another join,
    a leave or a kick comes first; who was alone is alone again then, in the cluster it was in. Our own address is
    resolved with ourselves, and nothing happens.
    """

    request: int
    address: str


class Flush(msgspec.Struct, frozen=True, gc=False):
    """Make every member take what we have. Resolved with an `Outcome`."""

    request: int


class Cleanup(msgspec.Struct, frozen=True, gc=False):
    """Forget now what may be forgotten, with another window than the configured one. Resolved with the sites."""

    request: int
    forget_after_us: int


class SyncMessage(msgspec.Struct, frozen=True, array_like=True):
    """A sync as a value: it may be handed over by any means, so it says whose word it is, and in which cluster."""

    cluster: ClusterField
    sender: SiteField
    incarnation: IncarnationField
    sync: Sync


class GetData(msgspec.Struct, frozen=True, gc=False):
    """What a site lacks that has acknowledged our imports up to `since`. Resolved with a `SyncMessage`.

    `acked`: what of its imports we have taken. It changes nothing.
    """

    request: int
    since: int
    acked: int


class ReceiveSync(msgspec.Struct, frozen=True, gc=False):
    """Take a handed-over sync. Resolved with whether it was taken (else something before it is missing), once durable.

    Refused with `ClusterMismatch` if it is of another cluster, and with `PeerError` if its sender does not belong or
    lives another life by now. It is not answered.
    """

    request: int
    handed: SyncMessage


class Wipe(msgspec.Struct, frozen=True, gc=False):
    """Drop every operation and acknowledgement, but no clock, and begin again as if new in this cluster."""

    request: int


class Outcome(msgspec.Struct, frozen=True):
    """Who has acknowledged an operation, and who has not (yet)."""

    acknowledged: tuple[Site, ...]
    missing: tuple[Site, ...]


# --- events ---------------------------------------------------------------------------------------------------------


class MemberJoined(msgspec.Struct, frozen=True, gc=False):
    """A site belongs from now on; `by` wrote it."""

    site: Site
    by: Site


class MemberLeft(msgspec.Struct, frozen=True, gc=False):
    """A site does not belong any more. `by` itself: it left; another: it was kicked."""

    site: Site
    by: Site


class Kicked(msgspec.Struct, frozen=True, gc=False):
    """We were thrown out by `by`, and go on alone."""

    by: Site
    wall_ms: int


class SelfChanged(msgspec.Struct, frozen=True, gc=False):
    """What we say of ourselves from now on: in which life we are, where, and our metadata (encoded)."""

    me: Contact
    meta: bytes


class ClockSkew(msgspec.Struct, frozen=True, gc=False):
    """A site's clock leads ours by more than it should. Its operations are taken, its time only within the bound."""

    site: Site
    ahead_ms: int
