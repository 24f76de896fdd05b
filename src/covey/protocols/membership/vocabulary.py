"""What only membership says and hears, and how a join fails."""

from __future__ import annotations

import msgspec

from covey.core.errors import ClusterMismatch, JoinFailed
from covey.core.ids import Contact, Site


class JoinedAnotherCluster(JoinFailed, ClusterMismatch):
    """No join, because whoever answers belongs to another cluster; both who tries contacts and who names one knows."""


# --- commands -------------------------------------------------------------------------------------------------------


class SetMember(msgspec.Struct, frozen=True, gc=False):
    """Write that `target` belongs, or does not. Always wins here; resolved with the clock once it is durable."""

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
