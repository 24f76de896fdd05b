"""Members as users see them: who belongs, in which state, and why; and what changes about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from covey.core.errors import ConfigError, CoveyError, DecodeError
from covey.core.ids import Contact, Site
from covey.core.vocabulary import Liveness
from covey.engine.roster import MemberChanged, RosterEntry
from covey.wire.messages.membership import BLOB_BYTES_MAX
from covey.wire.payloads import decode_payload, encode_payload


class Member(msgspec.Struct, frozen=True):
    """A site that belongs to the cluster, and what this node holds of it.

    `status` is `unknown` (known from disk or from others, not observed yet), `alive`, `suspect`, `down` or `stopped`
    (it said so itself). `ephemeral`: it has no storage, so it belongs only as long as it lives.
    """

    site: Site
    name: str
    address: str
    status: str
    incarnation: int
    meta: Mapping[str, Any]
    ephemeral: bool

    @property
    def reachable(self) -> bool:
        """Whether a message to it has a chance: it has an address, and is not held for gone."""
        return bool(self.address) and self.status in ("unknown", "alive", "suspect")


class MemberUp(msgspec.Struct, frozen=True):
    """`member` lives: it is new, or back, or has begun another life. `cause` is one word, `evidence` a sentence."""

    member: Member
    cause: str
    evidence: str


class MemberSuspect(msgspec.Struct, frozen=True):
    """`member` did not answer; it has some time to say that it lives."""

    member: Member
    cause: str
    evidence: str


class MemberDown(msgspec.Struct, frozen=True):
    """`member` is held for dead, or has stopped; it still belongs.

    `cause`: `silent` (through its whole suspicion), `refused` (its host refuses connections), `told` (by a member that
    found out), `stopped` (it said so).
    """

    member: Member
    cause: str
    evidence: str


class MemberLeft(msgspec.Struct, frozen=True):
    """`member` does not belong any more. `cause`: `left`, or `alone` where it is this node that went."""

    member: Member
    cause: str


class MemberKicked(msgspec.Struct, frozen=True):
    """`member` was thrown out by the site `by`."""

    member: Member
    by: Site


class MemberUpdated(msgspec.Struct, frozen=True):
    """Something else about `member` is known or changed: that it belongs, its address, its metadata."""

    member: Member


class Kicked(msgspec.Struct, frozen=True):
    """This node was thrown out by the site `by`, at `wall_ms` on its clock (ms since 1970), and goes on alone."""

    by: Site
    wall_ms: int


class PartitionSuspected(msgspec.Struct, frozen=True):
    """So many members fell silent that the network may be cut. Said once, until all of them are back or out."""

    silent: tuple[Site, ...]
    others: int


MemberEvent = MemberUp | MemberSuspect | MemberDown | MemberLeft | MemberKicked | MemberUpdated


def encode_meta(name: str, meta: object) -> bytes:
    """What a node says of itself, nothing for nothing. Raises `ConfigError` for what is no such thing."""
    if not isinstance(meta, Mapping) or not all(isinstance(key, str) for key in meta):
        raise ConfigError(f"meta: must be a mapping with str keys, not {meta!r:.60}")
    try:
        encoded = encode_payload([name, dict(meta)])
    except CoveyError as error:
        raise ConfigError(f"meta: {error}") from None
    if len(encoded) > BLOB_BYTES_MAX:
        raise ConfigError(f"meta: has {len(encoded)} bytes encoded, at most {BLOB_BYTES_MAX} are allowed")
    return encoded if name or meta else b""


def decode_meta(blob: bytes) -> tuple[str, Mapping[str, Any]]:
    """What another node said of itself; nothing, where it makes no sense here."""
    try:
        name, meta = decode_payload(blob) if blob else ("", {})
    except (DecodeError, TypeError, ValueError):
        return "", {}
    return (name, meta) if isinstance(name, str) and isinstance(meta, dict) else ("", {})


def member_of(contact: Contact, state: Liveness, blob: bytes, ephemeral: bool) -> Member:
    """One member, as users see it."""
    name, meta = decode_meta(blob)
    return Member(contact.site, name, contact.address, state.name.lower(), contact.incarnation, meta, ephemeral)


def member_in(entry: RosterEntry) -> Member:
    """The member of one entry of the roster."""
    return member_of(entry.contact, entry.state, entry.meta, entry.ephemeral)


def same(before: RosterEntry | None, after: RosterEntry | None) -> bool:
    """Whether both are the same member to users."""
    if before is None or after is None:
        return False
    return before == msgspec.structs.replace(after, cause=before.cause, why=before.why)


def event_of(changed: MemberChanged) -> MemberEvent:
    """What one change of the roster is to users."""
    before, after = changed.before, changed.after
    if after is None:
        assert before is not None
        if changed.by is None or changed.by == before.contact.site:
            return MemberLeft(member_in(before), "alone" if changed.by is None else "left")
        return MemberKicked(member_in(before), changed.by)
    member = member_in(after)
    same_life = before is not None and before.contact.incarnation == after.contact.incarnation
    if before is not None and before.state is after.state and (same_life or after.state is not Liveness.ALIVE):
        return MemberUpdated(member)
    match after.state:
        case Liveness.ALIVE:
            return MemberUp(member, after.cause, after.why)
        case Liveness.SUSPECT:
            return MemberSuspect(member, after.cause, after.why)
        case Liveness.DOWN | Liveness.STOPPED:
            return MemberDown(member, after.cause, after.why)
        case _:
            return MemberUpdated(member)
