"""`Group`, what `node.group(key)` gives: its members, wherever they are."""

from __future__ import annotations

from typing import Any

from covey.api.events import Subscription
from covey.api.group_node import Groups, encode_scope
from covey.api.group_values import MAILBOX_MAX, GroupEvent, GroupMember, encode_meta, member_of
from covey.api.mailboxes import Mailbox
from covey.core.errors import PeerUnreachable, UsageError
from covey.core.rendezvous import highest
from covey.protocols.groups import vocabulary as g
from covey.wire.keys import Key, encode_key

Place = tuple[bytes, bytes]


class Group:
    """All members of `key`, on every node. Cheap: ask for it whenever it is needed.

    `members` has one that joined n times n times; `peers`, `random_peers`, `pick` and `broadcast` are about distinct
    ones. A member that has just died may still be among them.
    """

    def __init__(self, groups: Groups, key: Key, scope: str) -> None:
        self.key = key
        self.scope = scope
        self._groups = groups
        self._encoded = encode_key(key)
        self._scope = encode_scope(scope)
        groups.hold(self._scope)

    def join(self, meta: Any = None, member: Mailbox | None = None, mailbox_max: int = MAILBOX_MAX) -> Mailbox:
        """Become a member, with a mailbox: use it as `async with group.join() as me:`.

        It leaves at the end of the block, of the task that entered it, or of the node. `meta` is what all others see.
        With `member`, a mailbox that is open already joins (once more): n joins need n leaves; without `meta` then,
        what it said stays. Raises `UsageError` for metadata that cannot be serialised, `ValueTooLarge` above 64 KiB
        of it, `ClosedError` for a mailbox that is not open.
        """
        if member is None:
            return Mailbox(self._groups, self, encode_meta(meta), mailbox_max)
        check_mailbox(member, "member")
        member._join(self, None if meta is None else encode_meta(meta))
        return member

    def members(self) -> list[GroupMember]:
        """Every member, as often as it joined, in the order in which they came to be known here."""
        return self._groups.members(self._scope, self._encoded)

    def member_count(self) -> int:
        """How many `members` has."""
        return sum(entry.count for entry in self._view().values())

    def peers(self, exclude: Mailbox | None = None) -> list[GroupMember]:
        """Every distinct member but `exclude`."""
        return [member_of(entry) for entry in self._others(exclude)]

    def _others(self, exclude: Mailbox | None) -> list[g.GroupEntry]:
        view = self._view()
        left_out = None
        if exclude is not None and check_mailbox(exclude, "exclude")._groups is self._groups:
            left_out = self._groups.machine.address(exclude._number)
        return [entry for address, entry in view.items() if address != left_out]

    def random_peers(self, count: int, exclude: Mailbox | None = None) -> list[GroupMember]:
        """Up to `count` distinct members but `exclude`, each as likely as any other. Raises `UsageError` below 1."""
        if type(count) is not int or count < 1:
            raise UsageError(f"count must be an int of at least 1, not {count!r}")
        peers = self._others(exclude)
        return [member_of(entry) for entry in self._groups.rng.sample(peers, min(count, len(peers)))]

    def pick(self, key: Key) -> GroupMember:
        """The member that `key` belongs to: the same for all who see the same members (rendezvous hashing).

        When one goes, only its keys move. Raises `PeerUnreachable` where there is no member.
        """
        encoded, view = encode_key(key), self._view()
        if not view:
            raise PeerUnreachable(f"group {self.key!r} has no member; try again when it has")
        by_name = {b"%b%d.%d" % (a.site, a.incarnation, a.mailbox): entry for a, entry in view.items()}
        return member_of(by_name[highest(encoded, list(by_name))])

    def events(self, events_max: int | None = None) -> Subscription[tuple[GroupMember, ...], GroupEvent]:
        """A stream of `GroupJoined`, `GroupLeft` and `GroupUpdated`; `snapshot` has the members it starts from."""
        return self._groups.events(self._scope, self._encoded, events_max)

    def _view(self) -> dict[g.Address, g.GroupEntry]:
        return self._groups.machine.view(self._scope, self._encoded)

    def __repr__(self) -> str:
        return f"<covey.Group {self.key!r}>"


def check_mailbox(mailbox: Mailbox, what: str) -> Mailbox:
    """`mailbox`, if it is one. Raises `UsageError`."""
    if not isinstance(mailbox, Mailbox):
        raise UsageError(f"{what} must be a Mailbox, what `join` gave, not {mailbox!r:.60}; nothing was changed")
    return mailbox
