"""Groups: `node.group(key)`, its members wherever they are, and mail between them."""

from __future__ import annotations

import asyncio
import random
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from covey.api.events import EventHub, Lost, Subscription
from covey.core.errors import (
    ClosedError,
    ConfigError,
    DeadlineExceeded,
    PeerError,
    PeerUnreachable,
    UsageError,
)
from covey.core.ids import Site, short
from covey.core.rendezvous import highest
from covey.protocols.groups import vocabulary as g
from covey.protocols.groups.machine import Groups as Machine
from covey.wire.keys import Key, KeyBytes, decode_key, encode_key
from covey.wire.payloads import decode_payload, encode_payload

if TYPE_CHECKING:
    from covey.runtime.runner import Runner

MAILBOX_MAX = 10_000  # unread messages of one mailbox. Guess: about 5 MB of small ones


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


class GroupMessage(msgspec.Struct, frozen=True):
    """A value that a member sent to this mailbox."""

    sender: GroupMember
    payload: Any


class CallFailed(PeerError):
    """The callee answered that it could not: it raised, refused, or closed its mailbox. The text is its own."""


class GroupCall(msgspec.Struct, frozen=True):
    """A value whose sender waits for an answer: `reply` or `fail`, once."""

    sender: GroupMember
    payload: Any
    _answer: Callable[[g.Kind, Any], None]

    def reply(self, value: Any = None) -> None:
        """Give the caller `value`. Raises `UsageError` the second time, and for what cannot be sent."""
        self._answer(g.Kind.REPLY, value)

    def fail(self, reason: str) -> None:
        """Tell the caller that there will be no value: it gets `CallFailed(reason)`."""
        self._answer(g.Kind.FAILURE, reason)


class Groups:
    """What a node has to do with groups: its handles, its mailboxes, and the way in and out of the machine."""

    def __init__(self, runner: Runner, machine: Machine, rng: random.Random, events_max: int) -> None:
        self._runner = runner
        self.machine = machine
        self.rng = rng
        self.events_max = events_max
        self._mailboxes: weakref.WeakValueDictionary[int, Mailbox] = weakref.WeakValueDictionary()
        self._hubs: dict[tuple[bytes, bytes], EventHub[tuple[GroupMember, ...], GroupEvent]] = {}
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._call = 0

    def group(self, key: Key, scope: str) -> Group:
        """The handle of one group."""
        if not isinstance(scope, str):
            raise ConfigError(f"scope: must be a str, not {scope!r}")
        return Group(self, key, encode_key(key), scope)

    def keys(self, scope: str) -> list[Key]:
        """The keys of all groups of a scope that have a member."""
        return [decode_key(group) for group in self.machine.groups(scope.encode())]

    def hold(self, scope: bytes) -> None:
        """Know the groups of a scope from now on."""
        self.feed(g.HoldScope(scope))

    def feed(self, command: Any) -> None:
        """Give the machine a command that has no outcome."""
        self._runner.feed(command)

    def open(self, mailbox: Mailbox) -> g.Address:
        """A new mailbox of this life."""
        request, outcome = self._runner.request()
        self._runner.feed(g.OpenMailbox(request))
        address: g.Address = outcome.result()
        self._mailboxes[address.mailbox] = mailbox
        return address

    def closed(self, number: int) -> None:
        """A mailbox is closed: nothing more is delivered to it."""
        self._mailboxes.pop(number, None)
        if self._runner.is_open:
            self._runner.feed(g.CloseMailbox(number))

    # --- events -----------------------------------------------------------------------------------------------------

    def events(self, scope: bytes, group: bytes, events_max: int | None) -> Subscription[Any, GroupEvent]:
        """A stream of one group's events, from its members as of now."""
        hub = self._hubs.get((scope, group))
        if hub is None:
            hub = self._hubs[scope, group] = EventHub(lambda: tuple(self.members(scope, group)))
        return hub.subscription(self.events_max if events_max is None else events_max)

    def members(self, scope: bytes, group: bytes) -> list[GroupMember]:
        """Every member as often as it joined, in the order in which they came here."""
        members: list[GroupMember] = []
        for entry in self.machine.view(scope, group).values():
            members += [member_of(entry)] * entry.count
        return members

    def on_changed(self, event: g.GroupChanged) -> None:
        """Members of one group came, went or changed."""
        hub = self._hubs.get((event.scope, event.group))
        if hub is None:
            return
        for before, after in event.changes:
            for told in _events(before, after):
                hub.publish(told)
        if not hub and not self.machine.view(event.scope, event.group):
            del self._hubs[event.scope, event.group]

    def close(self, cause: BaseException | None) -> None:
        """The node ends."""
        for hub in self._hubs.values():
            hub.close(cause)
        for mailbox in list(self._mailboxes.values()):
            mailbox._end(cause)
        for future in self._calls.values():
            if not future.done():
                future.set_exception(ClosedError("the node was closed; whether the call was answered is not known"))

    # --- mail -------------------------------------------------------------------------------------------------------

    def on_mail(self, event: g.MailReceived) -> None:
        """Letters for our mailboxes."""
        for letter in event.letters:
            mailbox = self._mailboxes.get(letter.mailbox)
            if letter.kind in (g.Kind.REPLY, g.Kind.FAILURE):
                self._on_answer(letter)
            elif mailbox is not None:
                mailbox._put(letter)

    def _on_answer(self, letter: g.Letter) -> None:
        future = self._calls.pop(letter.number, None)
        if future is None or future.done():
            return
        payload = decode_payload(letter.payload)
        if letter.kind is g.Kind.REPLY:
            future.set_result(payload)
        else:
            future.set_exception(CallFailed(str(payload)))

    def post(self, sender: int, to: GroupMember, kind: g.Kind, number: int, payload: bytes, request: int = 0) -> None:
        """One letter."""
        self._runner.feed(g.SendMail(request, sender, to.site, to.incarnation, (to.mailbox,), kind, number, payload))

    async def send(self, sender: int, to: GroupMember, kind: g.Kind, number: int, payload: bytes) -> None:
        """One letter, when there is room for it on the way."""
        request, outcome = self._runner.request()
        try:
            self.post(sender, to, kind, number, payload, request)
            await outcome
        finally:
            self._runner.forget_request(request)

    async def call(self, sender: int, to: GroupMember, payload: bytes, timeout: float) -> Any:
        """One letter and its answer."""
        self._call += 1
        number = self._call
        future = self._calls[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                await self.send(sender, to, g.Kind.CALL, number, payload)
                return await future
        except TimeoutError:
            raise DeadlineExceeded(f"site {short(to.site)} gave no answer in {timeout} s; it may have acted") from None
        finally:
            self._calls.pop(number, None)

    async def broadcast(self, sender: int, targets: list[GroupMember], payload: bytes) -> int:
        """One letter to many, one message for each node; returns to how many it is on its way."""
        nodes: dict[tuple[Site, int], list[int]] = {}
        for member in targets:
            nodes.setdefault((member.site, member.incarnation), []).append(member.mailbox)
        waiting: list[tuple[int, asyncio.Future[Any], int]] = []
        sent = 0
        for (site, incarnation), mailboxes in nodes.items():
            if self._runner.ready(site):
                self._runner.feed(g.SendMail(0, sender, site, incarnation, tuple(mailboxes), g.Kind.VALUE, 0, payload))
                sent += len(mailboxes)
                continue
            request, outcome = self._runner.request()
            self._runner.feed(
                g.SendMail(request, sender, site, incarnation, tuple(mailboxes), g.Kind.VALUE, 0, payload)
            )
            waiting.append((request, outcome, len(mailboxes)))
        try:
            for _, outcome, count in waiting:
                try:
                    await outcome
                    sent += count
                except PeerUnreachable:
                    pass
        finally:
            for request, _, _ in waiting:
                self._runner.forget_request(request)
        return sent


class Group:
    """All members of `key`, on every node. Cheap: ask for it whenever it is needed.

    `members` has one that joined n times n times; `peers`, `random_peers`, `pick` and `broadcast` are about distinct
    ones. A member that has just died may still be among them.
    """

    def __init__(self, groups: Groups, key: Key, encoded: KeyBytes, scope: str) -> None:
        self.key = key
        self.scope = scope
        self._groups = groups
        self._encoded = encoded
        self._scope = scope.encode()
        groups.hold(self._scope)

    def join(self, meta: Any = None, member: Mailbox | None = None, mailbox_max: int = MAILBOX_MAX) -> Mailbox:
        """Become a member, with a mailbox: use it as `async with group.join() as me:`.

        It leaves at the end of the block, of the task that entered it, or of the node. `meta` is what all others see.
        With `member`, a mailbox that is open already joins (once more): n joins need n leaves.
        Raises `UsageError` for metadata that cannot be serialised, or a closed mailbox.
        """
        if member is not None:
            member._join(self, None if meta is None else encode_payload(meta, "meta"))
            return member
        return Mailbox(self._groups, self, encode_payload(meta, "meta"), mailbox_max)

    def members(self) -> list[GroupMember]:
        """Every member, as often as it joined, in the order in which they came to be known here."""
        return self._groups.members(self._scope, self._encoded)

    def member_count(self) -> int:
        """How many `members` has."""
        return sum(entry.count for entry in self._view().values())

    def peers(self, exclude: Mailbox | None = None) -> list[GroupMember]:
        """Every distinct member but `exclude`."""
        return [
            member_of(entry)
            for address, entry in self._view().items()
            if exclude is None or address != exclude._address
        ]

    def random_peers(self, count: int, exclude: Mailbox | None = None) -> list[GroupMember]:
        """Up to `count` distinct members but `exclude`, each as likely as any other. Raises `UsageError` below 1."""
        if type(count) is not int or count < 1:
            raise UsageError(f"count must be an int of at least 1, not {count!r}")
        peers = self.peers(exclude)
        return self._groups.rng.sample(peers, min(count, len(peers)))

    def pick(self, key: Key) -> GroupMember:
        """The member that `key` belongs to: the same for all who see the same members (rendezvous hashing).

        When one goes, only its keys move. Raises `PeerUnreachable` where there is no member.
        """
        view = self._view()
        if not view:
            raise PeerUnreachable(f"group {self.key!r} has no member")
        by_name = {b"%b%d.%d" % (a.site, a.incarnation, a.mailbox): entry for a, entry in view.items()}
        return member_of(by_name[highest(encode_key(key), list(by_name))])

    def events(self, events_max: int | None = None) -> Subscription[tuple[GroupMember, ...], GroupEvent]:
        """A stream of `GroupJoined`, `GroupLeft` and `GroupUpdated`; `snapshot` has the members it starts from."""
        return self._groups.events(self._scope, self._encoded, events_max)

    def _view(self) -> dict[g.Address, g.GroupEntry]:
        return self._groups.machine.view(self._scope, self._encoded)

    def __repr__(self) -> str:
        return f"<covey.Group {self.key!r} members={self.member_count()}>"


class Mailbox:
    """A member of a group, here: what others send to it is read with `async for message in me`.

    Messages are `GroupMessage`, `GroupCall`, and `Lost(n)` where n did not come: their link broke, or nobody read.
    """

    def __init__(self, groups: Groups, group: Group, meta: bytes, mailbox_max: int) -> None:
        if type(mailbox_max) is not int or mailbox_max < 1:
            raise ConfigError(f"mailbox_max must be an int of at least 1, not {mailbox_max!r}")
        self.group = group
        self._groups = groups
        self._meta = meta
        self._max = mailbox_max
        self._queue: deque[GroupMessage | GroupCall | Lost] = deque()
        self._dropped = 0
        self._waiter: asyncio.Future[None] | None = None
        self._state = "new"
        self._cause: BaseException | None = None
        self._address: g.Address | None = None
        self._unanswered: dict[tuple[g.Address, int], None] = {}

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> Mailbox:
        """Open the mailbox and join."""
        if self._state != "new":
            raise UsageError(f"this mailbox is {self._state}; ask the group for another one")
        self._address = self._groups.open(self)
        self._state = "open"
        self._join(self.group, self._meta)
        return self

    async def __aenter__(self) -> Mailbox:
        await self.start()
        task = asyncio.current_task()
        if task is not None:
            closing = weakref.WeakMethod(self.close)
            task.add_done_callback(lambda _: (close := closing()) and close())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave every group. Whoever waits for an answer hears that there is none. Idempotent."""
        if self._state != "open":
            return
        for sender, number in list(self._unanswered):
            self._reply(sender, number, g.Kind.FAILURE, encode_payload("the mailbox was closed"))
        assert self._address is not None
        self._groups.closed(self._address.mailbox)
        self._end(None)

    def _end(self, cause: BaseException | None) -> None:
        self._state, self._cause = "closed", cause
        self._wake()

    def _join(self, group: Group, meta: bytes | None) -> None:
        self._groups.feed(g.JoinGroup(self._open(), group._scope, group._encoded, meta))

    def _open(self) -> int:
        if self._state != "open" or self._address is None:
            raise ClosedError(f"the mailbox is {self._state}; nothing was done")
        return self._address.mailbox

    @property
    def member(self) -> GroupMember:
        """This member, as others see it."""
        self._open()
        assert self._address is not None
        address = self._address
        return GroupMember(address.site, address.incarnation, address.mailbox, decode_payload(self._meta))

    def update_meta(self, meta: Any) -> None:
        """Say something else of this member. n joins stay n."""
        self._meta = encode_payload(meta, "meta")
        number = self._open()
        group = self.group
        self._groups.feed(g.UpdateMeta(number, group._scope, group._encoded, self._meta))

    def leave(self, count: int = 1, group: Group | None = None) -> bool:
        """Be a member `count` times fewer. False if it was none. The mailbox stays open until the block ends."""
        if type(count) is not int or count < 1:
            raise UsageError(f"count must be an int of at least 1, not {count!r}")
        number, group = self._open(), group or self.group
        joined = self._groups.machine.joined(number, group._scope, group._encoded)
        self._groups.feed(g.LeaveGroup(number, group._scope, group._encoded, count))
        return joined > 0

    # --- mail -------------------------------------------------------------------------------------------------------

    def peers(self) -> list[GroupMember]:
        """Every distinct member of the group but this one."""
        return self.group.peers(exclude=self)

    async def send(self, to: GroupMember, payload: Any) -> None:
        """Send to one member: at most once, in order. Returns when it is on its way; waits while that is congested.

        Raises `PeerUnreachable` where the member is gone or no link can be made, `UsageError` or `ValueTooLarge` for
        what cannot be sent.
        """
        await self._groups.send(self._open(), _check(to), g.Kind.VALUE, 0, encode_payload(payload))

    async def broadcast(self, payload: Any) -> int:
        """Send to every other distinct member; returns to how many it is on its way."""
        number = self._open()
        return await self._groups.broadcast(number, self.peers(), encode_payload(payload))

    async def call(self, to: GroupMember, payload: Any, timeout: float = 5.0) -> Any:
        """Send to one member and wait for its answer.

        Raises `CallFailed` with its reason if it answers that it cannot, `DeadlineExceeded` after `timeout` seconds
        (it may have acted), `PeerUnreachable` if it was not reached.
        """
        if type(timeout) not in (int, float) or not timeout > 0:
            raise UsageError(f"timeout must be a number of seconds above 0, not {timeout!r}")
        return await self._groups.call(self._open(), _check(to), encode_payload(payload), timeout)

    async def serve(self, handler: Callable[[Any, GroupMember], Awaitable[Any]]) -> None:
        """Answer every call with what `await handler(payload, sender)` returns, or with what it raises, for ever.

        What was only sent is handed to it too, and its value dropped.
        """
        async for message in self:
            if isinstance(message, GroupCall):
                try:
                    message.reply(await handler(message.payload, message.sender))
                except Exception as error:
                    message.fail(f"{type(error).__name__}: {error}")
            elif isinstance(message, GroupMessage):
                await handler(message.payload, message.sender)

    def __aiter__(self) -> Mailbox:
        return self

    async def __anext__(self) -> GroupMessage | GroupCall | Lost:
        """The next message. Ends when the mailbox is closed; raises `ClosedError` when the node died."""
        while not self._queue:
            if self._dropped:
                lost, self._dropped = self._dropped, 0
                return Lost(lost)
            if self._state == "closed":
                if self._cause is not None:
                    raise ClosedError("the node ended, and with it this mailbox") from self._cause
                raise StopAsyncIteration
            if self._state == "new":
                raise UsageError("messages are read inside `async with group.join() as me`")
            if self._waiter is not None:
                raise UsageError("two tasks read one mailbox; open one for each")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._queue.popleft()

    def _put(self, letter: g.Letter) -> None:
        if letter.lost:
            self._queue.append(Lost(letter.lost))
        if len(self._queue) >= self._max or self._dropped:
            if self._dropped == 0 or self._queue:
                self._dropped += 1
                return
        sender = GroupMember(letter.sender.site, letter.sender.incarnation, letter.sender.mailbox)
        payload = decode_payload(letter.payload)
        if letter.kind is g.Kind.CALL:
            self._unanswered[letter.sender, letter.number] = None

            def answer(kind: g.Kind, value: Any) -> None:
                self._answer(letter.sender, letter.number, kind, encode_payload(value, "reply"))

            self._queue.append(GroupCall(sender, payload, answer))
        else:
            self._queue.append(GroupMessage(sender, payload))
        self._wake()

    def _answer(self, to: g.Address, number: int, kind: g.Kind, payload: bytes) -> None:
        if (to, number) not in self._unanswered:
            raise UsageError("this call was answered already; nothing was sent")
        self._reply(to, number, kind, payload)

    def _reply(self, to: g.Address, number: int, kind: g.Kind, payload: bytes) -> None:
        self._unanswered.pop((to, number), None)
        member = GroupMember(to.site, to.incarnation, to.mailbox)
        self._groups.post(self._open(), member, kind, number, payload)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __repr__(self) -> str:
        return f"<covey.Mailbox {self._state} in {self.group.key!r}>"


def member_of(entry: g.GroupEntry) -> GroupMember:
    """One member as users see it; what it says and nobody understands is None."""
    address = entry.address
    try:
        meta = decode_payload(entry.meta) if entry.meta else None
    except PeerError:
        meta = None
    return GroupMember(address.site, address.incarnation, address.mailbox, meta)


def _events(before: g.GroupEntry | None, after: g.GroupEntry | None) -> list[GroupEvent]:
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


def _check(to: GroupMember) -> GroupMember:
    if not isinstance(to, GroupMember):
        raise UsageError(f"to must be a GroupMember (of peers(), members() or Message.sender), not {to!r:.60}")
    return to
