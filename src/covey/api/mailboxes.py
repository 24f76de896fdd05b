"""`Mailbox`: a member of a group that lives here, what it is sent, and what it sends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from covey.api.events import Lost
from covey.api.group_values import (
    MAILBOX_BYTES_MAX,
    GroupCall,
    GroupMember,
    GroupMessage,
    check_member,
    clean,
    encode_mail,
    encode_meta,
    member_of,
    told,
)
from covey.core.errors import ClosedError, ConfigError, DecodeError, UsageError
from covey.protocols.groups import vocabulary as g

if TYPE_CHECKING:
    from covey.api.group_node import Groups
    from covey.api.groups import Group
    from covey.api.posting import Targets

log = logging.getLogger(__name__)

_CALL = g.Kind.CALL


class Mailbox:
    """A member of a group, here: what others send to it is read with `async for message in me`.

    Messages are `GroupMessage`, `GroupCall`, and `Lost(n)` where n did not come: their link broke, or nobody read.
    Beyond `mailbox_max` unread ones, what comes is lost too; calls are refused then.
    """

    def __init__(self, groups: Groups, group: Group, meta: bytes, mailbox_max: int) -> None:
        if type(mailbox_max) is not int or mailbox_max < 1:
            raise ConfigError(f"mailbox_max must be an int of at least 1, not {mailbox_max!r}")
        self.group = group
        self._groups = groups
        self._meta = meta
        self._max = mailbox_max
        # Letters are decoded when they are read.
        self._queue: deque[g.Letter | GroupMessage | GroupCall | Lost] = deque()
        self._unread = 0  # messages in the queue; between two of them stands at most one `Lost`
        self._unread_bytes = 0
        self._unread_calls = 0
        self._waiter: asyncio.Future[None] | None = None
        self._state = "new"
        self._cause: BaseException | None = None
        self._number = 0
        self._owner: tuple[asyncio.Task[Any], Callable[[asyncio.Task[Any]], object]] | None = None  # it ends with that
        self._unanswered: dict[tuple[g.Address, int], None] = {}
        self._targets: Targets | None = None  # the members of the group at the last broadcast, this one among them
        self._targets_but_us: Targets = {}  # the same without this one
        self._from: GroupMember | None = None  # who sent the last message
        self._from_address: g.Address | None = None

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> Mailbox:
        """Open the mailbox and join. It ends with `close`, with the node, or when nothing refers to it any more."""
        group = self.group
        self._begin(g.OpenMailbox(0, group._scope, group._encoded, self._meta))
        return self

    def _begin(self, command: g.OpenMailbox) -> None:
        if self._state != "new":
            raise UsageError(f"this mailbox is {self._state}; ask the group for another one")
        self._number = self._groups.open(self, command)
        self._state = "open"

    async def __aenter__(self) -> Mailbox:
        await self.start()
        self._end_with(asyncio.current_task())
        return self

    def _end_with(self, task: asyncio.Task[Any] | None) -> None:
        if task is not None:
            closing = weakref.WeakMethod(self.close)
            self._owner = task, lambda _: (close := closing()) and close()
            task.add_done_callback(self._owner[1])

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave every group. Whoever waits for an answer hears that there is none. Idempotent.

        Of thousands of groups it leaves 500 in each turn of the event loop; it is closed at once.
        """
        if self._state != "open":
            return
        self._turn_away("its mailbox was closed")
        self._groups.closed(self._number)
        self._end(None)

    def _turn_away(self, reason: str) -> None:
        """Whoever waits for an answer gets none."""
        for sender, number in list(self._unanswered):
            self._refuse(sender, number, f"{reason} before it answered; it may have acted", g.Kind.GONE)

    def _end(self, cause: BaseException | None) -> None:
        if self._state != "closed":
            self._state, self._cause = "closed", cause
            self._unanswered.clear()
            if self._owner is not None:  # who opens one after the other keeps nothing of them
                self._owner[0].remove_done_callback(self._owner[1])
                self._owner = None
            self._wake()

    def _open(self) -> int:
        if self._state != "open":
            if self._cause is not None:
                raise ClosedError("the node ended, and with it this mailbox; nothing was done") from self._cause
            raise ClosedError(f"the mailbox is {self._state}; nothing was done")
        return self._number

    # --- membership -------------------------------------------------------------------------------------------------

    def _join(self, group: Group, meta: bytes | None) -> None:
        number = self._open()
        if group._groups is not self._groups:
            raise UsageError("the mailbox belongs to another node; nothing was changed: join with one of this node")
        self._groups.feed(g.JoinGroup(number, group._scope, group._encoded, meta))

    @property
    def member(self) -> GroupMember:
        """This member, as others see it. Its metadata is None while it is in the group no more."""
        number, group = self._open(), self.group
        return member_of(self._groups.machine.joined(number, group._scope, group._encoded))

    def update_meta(self, meta: Any, group: Group | None = None) -> None:
        """Say something else of this member. n joins stay n. Raises `UsageError` where it is no member."""
        encoded = encode_meta(meta)
        number, group = self._open(), self._groups.given(group) or self.group
        self._groups.feed(g.UpdateMeta(number, group._scope, group._encoded, encoded))

    def leave(self, count: int = 1, group: Group | None = None) -> bool:
        """Be a member `count` times fewer. False if it was none. The mailbox stays open until the block ends."""
        if type(count) is not int or count < 1:
            raise UsageError(f"count must be an int of at least 1, not {count!r}")
        number, group = self._open(), self._groups.given(group) or self.group
        joined = self._groups.machine.joined(number, group._scope, group._encoded).count
        self._groups.feed(g.LeaveGroup(number, group._scope, group._encoded, count))
        return joined > 0

    # --- out --------------------------------------------------------------------------------------------------------

    def peers(self) -> list[GroupMember]:
        """Every distinct member of the group but this one."""
        return self.group.peers(exclude=self)

    async def send(self, to: GroupMember, payload: Any, timeout: float | None = None) -> None:
        """Send to one member: at most once, in order. Returns when it is on its way.

        Waits while the link is being made or the member's node reads too slowly, up to `timeout` seconds (default
        `config.send_timeout`). Raises `PeerUnreachable` where the member's life is over or no link can be made,
        `UsageError` or `ValueTooLarge` for what cannot be sent, `Overloaded` when too much waits already,
        `DeadlineExceeded`. Except after `DeadlineExceeded`, an error means that it was not delivered.
        """
        await self._groups.posting.send(self._open(), check_member(to), encode_mail(payload), timeout)

    def send_nowait(self, to: GroupMember, payload: Any) -> None:
        """Like `send`, without waiting: `Overloaded` when the member's node reads too slowly, and nothing is sent.

        Where there is no link yet one is made, and the value goes with it.
        """
        self._groups.posting.send_nowait(self._open(), check_member(to), encode_mail(payload))

    async def broadcast(self, payload: Any, timeout: float | None = None) -> int:
        """Send to every other distinct member; returns to how many it is on its way.

        Members that cannot be reached in `timeout` seconds (default `config.send_timeout`) do not count.
        """
        encoded, number = encode_mail(payload), self._open()
        return await self._groups.posting.broadcast(number, self._others(), encoded, timeout)

    def broadcast_nowait(self, payload: Any) -> int:
        """Like `broadcast`, without waiting; members whose nodes read too slowly get nothing and do not count."""
        encoded, number = encode_mail(payload), self._open()
        return self._groups.posting.broadcast_nowait(number, self._others(), encoded)

    def _others(self) -> Targets:
        """Every distinct member of the group but this one, by the life that it belongs to."""
        group = self.group
        targets = self._groups.machine.targets(group._scope, group._encoded)
        if targets is not self._targets:
            self._targets = targets
            self._targets_but_us = self._groups.without(self._number, targets)
        return self._targets_but_us

    async def call(self, to: GroupMember, payload: Any, timeout: float = 5.0) -> Any:
        """Send to one member and wait for its answer.

        Raises `CallFailed` with its reason if it answers that it cannot, `DeadlineExceeded` after `timeout` seconds
        (it may have acted), `PeerUnreachable` if it was not reached, and as soon as its mailbox is closed, or its node
        down, out or in another life, before it answered (it may have acted).
        """
        return await self._groups.call(self._open(), check_member(to), encode_mail(payload), timeout)

    async def serve(self, handler: Callable[[Any, GroupMember], Awaitable[Any]]) -> None:
        """Answer every call with what `await handler(payload, sender)` returns, or with what it raises, for ever.

        One after the other: while the handler is at work the next ones wait unread. What was only sent is handed to it
        too; its value is dropped, and what it raises is logged.
        """
        async for message in self:
            if isinstance(message, Lost):
                continue
            try:
                value = await handler(message.payload, message.sender)
                if isinstance(message, GroupCall):
                    message.reply(value)
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(message, GroupMessage):
                    log.error("event=handler_failed group=%r reason=%r", self.group.key, told(error), exc_info=error)
                else:
                    with contextlib.suppress(UsageError):  # it was answered already, or the mailbox ended
                        message.fail(told(error))
                task = asyncio.current_task()
                if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling()):
                    raise  # it is we who are cancelled, and not only something that the handler waited for

    # --- in ---------------------------------------------------------------------------------------------------------

    def __aiter__(self) -> Mailbox:
        return self

    async def __anext__(self) -> GroupMessage | GroupCall | Lost:
        """The next message. Ends when the mailbox is closed; raises `ClosedError` when the node died."""
        while (message := self._take()) is None:
            if self._state == "closed":
                if self._cause is not None:
                    raise ClosedError("the node ended, and with it this mailbox") from self._cause
                raise StopAsyncIteration
            if self._state == "new":
                raise UsageError("messages are read inside `async with group.join() as me`")
            if self._waiter is not None:
                raise UsageError("two tasks read one mailbox; open one for each")
            self._waiter = self._groups.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return message

    def _take(self) -> GroupMessage | GroupCall | Lost | None:
        """The next message; what nobody understands is part of the gap before it."""
        lost = 0
        queue = self._queue
        while queue:
            message = queue.popleft()
            if type(message) is g.Letter:
                self._unread -= 1
                self._unread_bytes -= len(message.payload)
                decoded = self._decode(message)
                if decoded is None:
                    lost += 1
                    continue
                message = decoded
            elif type(message) is Lost:
                lost += message.count
                continue
            assert not isinstance(message, (g.Letter, Lost))
            if not lost:
                return message
            queue.appendleft(message)
            break
        return Lost(lost) if lost else None

    def _decode(self, letter: g.Letter) -> GroupMessage | GroupCall | None:
        sender, number = letter.sender, letter.number
        is_call = letter.kind is _CALL
        if is_call:
            self._unread_calls -= 1
            if len(self._unanswered) - self._unread_calls > self._max:
                self._refuse(*next(iter(self._unanswered)), "too many calls after it wait for an answer too")
        try:
            payload = self._groups.decode(letter)
        except DecodeError:
            if is_call and self._state == "open":
                self._refuse(sender, number, "the payload could not be decoded")
            return None
        if self._from is None or sender is not self._from_address:
            self._from_address = sender
            self._from = GroupMember(sender.site, sender.incarnation, sender.mailbox)
        if not is_call:
            return GroupMessage(self._from, payload)

        def answer(kind: g.Kind, value: Any) -> None:
            self._answer(sender, number, kind, value)

        return GroupCall(self._from, payload, answer)

    def _put(self, letter: g.Letter) -> None:
        """One letter arrives: at the end, with what is missing before it; counted as lost where there is no room."""
        if letter.lost:
            self._lose(letter.lost)
        size = len(letter.payload)
        if self._unread >= self._max:
            self._turn_down(letter, f"{self._unread} messages wait there unread, as many as may; try again later")
            return
        if self._unread and self._unread_bytes + size > MAILBOX_BYTES_MAX:
            self._turn_down(letter, f"{self._unread_bytes} bytes wait there unread; try again later")
            return
        if letter.kind is _CALL:
            self._unanswered[letter.sender, letter.number] = None
            self._unread_calls += 1
        self._queue.append(letter)
        self._unread += 1
        self._unread_bytes += size
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _turn_down(self, letter: g.Letter, reason: str) -> None:
        self._lose(1)
        if letter.kind is g.Kind.CALL:
            self._refuse(letter.sender, letter.number, reason)

    def _lose(self, count: int) -> None:
        """So many are missing here."""
        if self._queue and isinstance(last := self._queue[-1], Lost):
            self._queue[-1] = Lost(last.count + count)
        else:
            self._queue.append(Lost(count))
        self._wake()

    def _answer(self, to: g.Address, number: int, kind: g.Kind, value: Any) -> None:
        self._open()
        if (to, number) not in self._unanswered:
            raise UsageError("this call was answered already; nothing was sent")
        self._groups.posting.answer(self._number, to, kind, number, encode_mail(value, "reply"))
        self._unanswered.pop((to, number), None)

    def _refuse(self, to: g.Address, number: int, reason: str, kind: g.Kind = g.Kind.FAILURE) -> None:
        self._unanswered.pop((to, number), None)
        with contextlib.suppress(ClosedError):  # the node says goodbye: that ends the call too
            self._groups.posting.answer(self._number, to, kind, number, encode_mail(clean(reason)))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __repr__(self) -> str:
        return f"<covey.Mailbox {self._state} in {self.group.key!r}>"
