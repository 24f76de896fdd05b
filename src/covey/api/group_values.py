"""What users see of groups: members, what happens to them, and what they are sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from covey.core.errors import PeerError, UsageError
from covey.core.ids import SITE_BYTES, Site
from covey.protocols.groups import vocabulary as g
from covey.protocols.groups.rows import MAILBOX_MAX as NUMBER_MAX
from covey.protocols.groups.rows import META_BYTES_MAX
from covey.wire.keys import Key
from covey.wire.limits import FRAME_BYTES_MAX
from covey.wire.payloads import decode_payload, encode_payload

MAILBOX_MAX = 10_000  # unread messages of one mailbox. Guess: about 5 MB of small ones
MAILBOX_BYTES_MAX = 64 << 20  # of unread messages, encoded: they are decoded when they are read. Guess
MAIL_BYTES_MAX = FRAME_BYTES_MAX - 65_536  # a frame also names its receivers, up to 3,000 mailboxes of one node
REASON_MAX = 1_000  # characters of the reason why a call failed. Guess


class GroupMember(msgspec.Struct, frozen=True):
    """A member of a group: one mailbox of one life of one node. It is the same member while its address is the same."""

    site: Site
    incarnation: int
    mailbox: int
    meta: Any = None

    @property
    def address(self) -> tuple[Site, int, int]:
        """What tells members apart."""
        return self.site, self.incarnation, self.mailbox

    @property
    def life(self) -> tuple[Site, int]:
        """The life of the node that it lives on."""
        return self.site, self.incarnation

    def __hash__(self) -> int:
        return hash(self.address)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GroupMember) and self.address == other.address


class GroupJoined(msgspec.Struct, frozen=True):
    """`member` is a member `count` more times."""

    member: GroupMember
    count: int


class GroupLeft(msgspec.Struct, frozen=True):
    """`member` is a member `count` fewer times: it left, ended, or its node did or is held for down."""

    member: GroupMember
    count: int


class GroupUpdated(msgspec.Struct, frozen=True):
    """`member` says something else of itself."""

    member: GroupMember


GroupEvent = GroupJoined | GroupLeft | GroupUpdated


class ScopeEvent(msgspec.Struct, frozen=True):
    """What happened in the group of `key`: `event` is what that group's own stream has."""

    key: Key
    event: GroupEvent


class GroupMessage(msgspec.Struct, frozen=True):
    """A value that a member sent to this mailbox. `sender.meta` is None: what it says of itself is in `members()`."""

    sender: GroupMember
    payload: Any


class CallFailed(PeerError):
    """The callee answered that it could not: it raised, refused, or has too much unread.

    The text is its own.
    """


class GroupCall(msgspec.Struct, frozen=True):
    """A value whose sender waits for an answer: `reply` or `fail`, once."""

    sender: GroupMember
    payload: Any
    _answer: Callable[[g.Kind, Any], None]

    def reply(self, value: Any = None) -> None:
        """Give the caller `value`. Raises `UsageError` the second time, and for what cannot be sent."""
        self._answer(g.Kind.REPLY, value)

    def fail(self, reason: str) -> None:
        """Tell the caller that there will be no value: it gets `CallFailed(reason)`. Raises `UsageError` likewise."""
        self._answer(g.Kind.FAILURE, clean(reason))


def member_of(entry: g.GroupEntry) -> GroupMember:
    """One member as users see it; what it says and nobody understands is None."""
    address = entry.address
    try:
        meta = decode_payload(entry.meta) if entry.meta else None
    except PeerError:
        meta = None
    return GroupMember(address.site, address.incarnation, address.mailbox, meta)


def events_of(before: g.GroupEntry | None, after: g.GroupEntry | None) -> list[GroupEvent]:
    """What one change is to users."""
    had, has = (0 if entry is None else entry.count for entry in (before, after))
    entry = after or before
    assert entry is not None
    member = member_of(entry)
    events: list[GroupEvent] = []
    if has > had:
        events.append(GroupJoined(member, has - had))
    elif has < had:
        events.append(GroupLeft(member, had - has))
    if before is not None and after is not None and before.meta != after.meta:
        events.append(GroupUpdated(member))
    return events


def check_member(to: GroupMember) -> GroupMember:
    """`to`, if it is a member. Raises `UsageError`."""
    if not isinstance(to, GroupMember):
        raise UsageError(f"to must be a GroupMember (of peers(), members() or GroupMessage.sender), not {to!r:.60}")
    site, incarnation, mailbox = to.address
    of_a_member = type(site) is bytes and len(site) == SITE_BYTES and type(incarnation) is int and type(mailbox) is int
    if not of_a_member or not 0 < mailbox <= NUMBER_MAX:
        raise UsageError(f"to has the address of nobody, {to.address!r:.120}; nothing was sent: take it from peers()")
    return to


def told(error: BaseException) -> str:
    """What was raised, in words, also where it has none of its own."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


def clean(reason: str) -> str:
    """A reason as it travels: text that is valid, and not too long."""
    return str(reason)[:REASON_MAX].encode("utf-8", "replace").decode()


def encode_mail(payload: Any, what: str = "payload") -> bytes:
    """A payload as it travels in mail. Raises `UsageError`, or `ValueTooLarge` above 983,040 bytes."""
    return encode_payload(payload, what, MAIL_BYTES_MAX)


def encode_meta(meta: Any) -> bytes:
    """What a member says of itself. Raises `UsageError`, or `ValueTooLarge` above 64 KiB."""
    return encode_payload(meta, "meta", META_BYTES_MAX, "nothing was changed", "say less")
