"""`node.presence(topic)`: who is there, under keys of your own, wherever they are.

A user with a phone and two browser tabs is one key with three entries, on as many nodes as it pleases. Each entry is a
member of a group (scope "presence"), so it goes with its block, its task or its node; this only folds them by key. Keys
that Python holds equal, as 1 and True, are one.
"""

from __future__ import annotations

import builtins
import contextlib
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Any

import msgspec

from covey.api.events import Lost, Subscription
from covey.api.group_values import GroupEvent, GroupJoined, GroupLeft, GroupMember, encode_meta
from covey.api.groups import Group
from covey.api.mailboxes import Mailbox
from covey.core.errors import ClosedError, DecodeError
from covey.wire.keys import Key, decode_key, encode_key

SCOPE = "presence"
Address = tuple[bytes, int, int]


class PresenceJoined(msgspec.Struct, frozen=True):
    """`key` is there from now on: its first entry came. `metas` has what its entries say."""

    key: Key
    metas: list[Any]


class PresenceChanged(msgspec.Struct, frozen=True):
    """`key` is still there: an entry of several came or went, or says something else. `metas` has what is said now."""

    key: Key
    metas: list[Any]


class PresenceLeft(msgspec.Struct, frozen=True):
    """`key` is not there any more: its last entry went. `metas` has what that said."""

    key: Key
    metas: list[Any]


PresenceEvent = PresenceJoined | PresenceChanged | PresenceLeft


class Presence:
    """Who is there under one topic. Cheap: ask for it whenever it is needed.

    Law: a key joins with its first entry and leaves with its last, wherever they are.
    """

    def __init__(self, group: Group) -> None:
        self.topic = group.key
        self._group = group

    def track(self, key: Key, meta: Any = None) -> PresenceEntry:
        """Be there as `key`: use it as `async with presence.track("ann", {"device": "phone"}) as entry:`.

        The entry goes at the end of the block, of the task that entered it, or of the node. Raises `ConfigError` for
        what is no key, `UsageError` for metadata that cannot be serialised, `ValueTooLarge` for more than 64 KiB.
        """
        encoded = encode_key(key)
        return PresenceEntry(key, encoded, self._group.join(meta=_said(encoded, meta), mailbox_max=1))

    def list(self) -> dict[Key, builtins.list[Any]]:
        """Every key that is there, with what each of its entries says, in the order in which they came here."""
        return _Fold(self._group.peers()).listed()

    def events(self, events_max: int | None = None) -> PresenceEvents:
        """A stream of `PresenceJoined`, `PresenceChanged` and `PresenceLeft`; `snapshot` has the `list` it starts from.

        After a `Lost`, ask `list` again: the events behind it count from what is there now.
        """
        return PresenceEvents(self._group, self._group.events(events_max))

    def __repr__(self) -> str:
        return f"<covey.Presence {self.topic!r}>"


class PresenceEntry:
    """One entry of a key, here."""

    def __init__(self, key: Key, encoded: bytes, mailbox: Mailbox) -> None:
        self.key = key
        self._encoded = encoded
        self._mailbox = mailbox

    async def start(self) -> PresenceEntry:
        """Be there until `close`, or until nothing refers to this any more."""
        await self._mailbox.start()
        return self

    def update(self, meta: Any) -> None:
        """Say something else. Raises `UsageError` or `ValueTooLarge`, and what was said stays."""
        self._mailbox.update_meta(_said(self._encoded, meta))

    def close(self) -> None:
        """Be there no more. Idempotent."""
        self._mailbox.close()

    async def __aenter__(self) -> PresenceEntry:
        await self._mailbox.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class PresenceEvents:
    """An open stream of one topic's events with the state it starts from.

    Law: `snapshot` folded with every event read so far, if no `Lost` came, is the list at that event.
    """

    def __init__(self, group: Group, events: Subscription[tuple[GroupMember, ...], GroupEvent]) -> None:
        self._group = group
        self._events = events
        self._fold = _Fold(())
        self._ready: deque[PresenceEvent] = deque()

    @property
    def snapshot(self) -> dict[Key, list[Any]]:
        """The list as of the last event before this stream. Raises `UsageError` outside of `async with`."""
        return _Fold(self._events.snapshot).listed()

    async def __aenter__(self) -> PresenceEvents:
        await self._events.__aenter__()
        self._fold = _Fold(self._events.snapshot)
        self._ready.clear()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._events.__aexit__(kind, error, traceback)

    def __aiter__(self) -> PresenceEvents:
        return self

    async def __anext__(self) -> PresenceEvent | Lost:
        """The next event. Ends and raises as every stream of events does."""
        while not self._ready:
            event = await anext(self._events)
            if isinstance(event, Lost):
                with contextlib.suppress(ClosedError):  # then nothing is there any more, and the stream is at its end
                    self._fold = _Fold(self._group.peers())
                return event
            self._ready += self._fold.take(event)
        return self._ready.popleft()


class _Fold:
    """Entries by their keys. Takes an event twice without harm: behind a `Lost` the stream begins in the middle."""

    def __init__(self, members: Iterable[GroupMember]) -> None:
        self._keys: dict[Address, Key] = {}
        self._metas: dict[Key, dict[Address, Any]] = {}
        for member in members:
            self._put(member)

    def listed(self) -> dict[Key, list[Any]]:
        """What each entry of each key says."""
        return {key: list(metas.values()) for key, metas in self._metas.items()}

    def take(self, event: GroupEvent) -> list[PresenceEvent]:
        """What one event of the group is to those who know keys."""
        address = event.member.address
        if isinstance(event, GroupLeft):
            return self._drop(address)
        if isinstance(event, GroupJoined) and address in self._keys:
            return []
        entry = read_entry(event.member.meta)
        moved = self._drop(address) if entry is None or self._keys.get(address, entry[0]) != entry[0] else []
        return [*moved, *self._put(event.member)]

    def _put(self, member: GroupMember) -> list[PresenceEvent]:
        entry = read_entry(member.meta)
        if entry is None:
            return []
        key, meta = entry
        new = key not in self._metas
        metas = self._metas.setdefault(key, {})
        metas[member.address] = meta
        self._keys[member.address] = key
        said = list(metas.values())
        return [PresenceJoined(key, said) if new else PresenceChanged(key, said)]

    def _drop(self, address: Address) -> list[PresenceEvent]:
        key = self._keys.pop(address, None)
        if key is None:
            return []
        metas = self._metas[key]
        last = metas.pop(address)
        if metas:
            return [PresenceChanged(key, list(metas.values()))]
        del self._metas[key]
        return [PresenceLeft(key, [last])]


def _said(encoded: bytes, meta: Any) -> list[Any]:
    """What the member of an entry says. Errors lead into `meta` alone: users know of nothing else."""
    return [encoded, msgspec.Raw(encode_meta(meta))]


def read_entry(said: Any) -> tuple[Key, Any] | None:
    """The key and metadata of an entry, from what its member says; None for a member that is none."""
    match said:
        case [bytes() as encoded, meta]:
            try:
                return decode_key(encoded), meta
            except DecodeError:
                return None
    return None
