"""What only groups say and hear."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from covey.core.ids import Site


class Kind(IntEnum):
    """What one piece of mail is."""

    VALUE = 0
    CALL = 1
    REPLY = 2
    FAILURE = 3
    GONE = 4  # an answer too: the mailbox closed before it answered


class Address(msgspec.Struct, frozen=True, order=True, gc=False):
    """One mailbox: the life it belongs to, and its number in that life."""

    site: Site
    incarnation: int
    mailbox: int


# --- commands: none waits, a wrong one raises `UsageError` and changes nothing --------------------------------------


class OpenMailbox(msgspec.Struct, frozen=True, gc=False):
    """Resolved at once with the number of the new mailbox; request 0 asks for no outcome.

    With a group, it is a member of it at once, as with `JoinGroup`.
    """

    request: int
    scope: bytes = b""
    group: bytes | None = None
    meta: bytes = b""


class CloseMailbox(msgspec.Struct, frozen=True, gc=False):
    """It leaves every group, and nothing is delivered to it any more. Does nothing the second time."""

    mailbox: int


class JoinGroup(msgspec.Struct, frozen=True, gc=False):
    """Once more a member; n joins need n leaves. `meta` (encoded) replaces what was said before; None leaves it."""

    mailbox: int
    scope: bytes
    group: bytes
    meta: bytes | None


class UpdateMeta(msgspec.Struct, frozen=True, gc=False):
    """A member says something else of itself from now on."""

    mailbox: int
    scope: bytes
    group: bytes
    meta: bytes


class HoldScope(msgspec.Struct, frozen=True, gc=False):
    """Know the groups of a scope from now on, without being in any."""

    scope: bytes


class LeaveGroup(msgspec.Struct, frozen=True, gc=False):
    """Up to `count` times fewer a member. Does nothing where it is none."""

    mailbox: int
    scope: bytes
    group: bytes
    count: int


class SendMail(msgspec.Struct, frozen=True, gc=False):
    """One value to mailboxes of one node. Resolved and refused like `SendData`; request 0 asks for no outcome."""

    request: int
    sender: int
    site: Site
    incarnation: int
    mailboxes: tuple[int, ...]
    kind: Kind
    number: int
    payload: bytes


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """One value on its way from one of our mailboxes to some of one node."""

    sender: int
    to: tuple[Address, ...]
    kind: Kind
    number: int
    payload: bytes


class SendLetters(msgspec.Struct, frozen=True, gc=False):
    """Values for mailboxes of one life of another node, in this order. Nobody hears what becomes of them."""

    site: Site
    incarnation: int
    letters: tuple[Outgoing, ...]


# --- events ---------------------------------------------------------------------------------------------------------


class GroupEntry(msgspec.Struct, frozen=True, gc=False):
    """One member of one group: how often it joined, and what it says of itself (encoded)."""

    address: Address
    count: int
    meta: bytes


class GroupChanged(msgspec.Struct, frozen=True, gc=False):
    """The event: members came, went or changed, each as it was before and as it is now (None: not there)."""

    scope: bytes
    group: bytes
    changes: tuple[tuple[GroupEntry | None, GroupEntry | None], ...]


class LifeEnded(msgspec.Struct, frozen=True, gc=False):
    """The event: no answer is to be waited for from a life: it is over, or held for down. `why` goes on "site x …"."""

    site: Site
    incarnation: int
    why: str


class Letter(msgspec.Struct, frozen=True, gc=False):
    """One value for one of our mailboxes. `lost`: how many before it never came."""

    mailbox: int
    sender: Address
    lost: int
    kind: Kind
    number: int
    payload: bytes


class MailReceived(msgspec.Struct, frozen=True, gc=False):
    """The event: these arrived, in this order."""

    letters: tuple[Letter, ...]
