"""Grove.Cluster.Membership's functions (Grove 0.1, Elixir), by their names, over a running node.

Grove wraps Erlang's `:pg` in a scope of its own; members are processes, and the default member is the caller. Here a
member is a `Mailbox`, and the caller is the task that calls: its mailbox is opened when it is first needed and closed
when the task ends, so it leaves its groups as a dead process does. Nothing here waits.

What Grove's text leaves open is settled so: `members` and `member_count` count one that joined n times n times, all
else is about distinct members; `random_peers` gives all, shuffled, where there are fewer than asked for; whoever is no
member of a group has all of its members for peers; `leave` is always fine, and says whether it changed anything. One
that has just died may still be seen.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

from covey.api.group_values import GroupMember, encode_mail
from covey.api.groups import Group, check_mailbox
from covey.api.mailboxes import Mailbox
from covey.api.node import Node
from covey.core.errors import UsageError
from covey.protocols.groups.vocabulary import OpenMailbox
from covey.wire.keys import Key


class Groups:
    """Process groups of one scope, seen from one node.

    Law: these are the groups of `node.group(key, scope)`; both ways to them may be used at once.
    """

    def __init__(self, node: Node, scope: str = "grove") -> None:
        self.node = node
        self._scope = scope
        self._mine: weakref.WeakKeyDictionary[asyncio.Task[Any], Mailbox] = weakref.WeakKeyDictionary()

    @property
    def scope(self) -> str:
        """The name of the scope. Groups of other scopes are not seen."""
        return self._scope

    def mailbox(self) -> Mailbox:
        """The caller's own mailbox: what `self()` is in Elixir, and its inbox. It ends with the task.

        Raises `UsageError` outside of a task.
        """
        mailbox = self._caller()
        if mailbox is None:
            task = asyncio.current_task()
            if task is None:
                raise UsageError("only a task can be a member; call it from one, or give `member`")
            mailbox = self._group("").join()  # its first group has no meaning: it joins none by this
            mailbox._begin(OpenMailbox(0))
            mailbox._end_with(task)
            self._mine[task] = mailbox
        return mailbox

    def join(self, group: Key, member: Mailbox | None = None) -> Mailbox:
        """Add `member`, or the caller, once more; n joins need n leaves. Returns the member.

        It leaves when its mailbox is closed, at the latest at the end of its task.
        """
        handle = self._group(group)
        return handle.join(member=self.mailbox() if member is None else member)

    def leave(self, group: Key, member: Mailbox | None = None) -> bool:
        """Take `member`, or the caller, out once. False where it was no member (Grove answers ok all the same)."""
        handle = self._group(group)
        member = self._caller() if member is None else check_mailbox(member, "member")
        if member is None or member._state != "open":
            return False
        return member.leave(group=handle)

    def members(self, group: Key) -> list[GroupMember]:
        """All members, the caller included, each as often as it joined."""
        return self._group(group).members()

    def peers(self, group: Key) -> list[GroupMember]:
        """All distinct members but the caller."""
        return self._group(group).peers(exclude=self._caller())

    def member_count(self, group: Key) -> int:
        """How many `members` has."""
        return self._group(group).member_count()

    def groups(self) -> list[Key]:
        """The groups of this scope that have a member."""
        return self.node.groups(self._scope)

    def random_peers(self, group: Key, n: int) -> list[GroupMember]:
        """Up to `n` of `peers`, each as likely as any other. Raises `UsageError` below 1."""
        return self._group(group).random_peers(n, exclude=self._caller())

    def broadcast(self, group: Key, message: Any) -> None:
        """Send to all distinct members but the caller, and do not wait: no acknowledgement, at most once.

        They read it in their mailboxes, as `GroupMessage`. Raises `UsageError` or `ValueTooLarge` for what cannot be
        sent.
        """
        handle, payload, sender = self._group(group), encode_mail(message), self.mailbox()
        groups, number = handle._groups, sender._open()
        others = groups.without(number, groups.machine.targets(handle._scope, handle._encoded))
        groups.posting.tell(number, others, payload)

    def _group(self, key: Key) -> Group:
        return self.node.group(key, self._scope)

    def _caller(self) -> Mailbox | None:
        """The mailbox of the task that calls, if it has one that is open."""
        try:
            task = asyncio.current_task()
        except RuntimeError:
            return None
        mailbox = self._mine.get(task) if task is not None else None
        return mailbox if mailbox is not None and mailbox._state == "open" else None
