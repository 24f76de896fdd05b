"""What a node has to do with groups: its mailboxes, its calls, and the way in and out of the machine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from covey.api.events import EventHub, Subscription
from covey.api.group_values import (
    CallFailed,
    GroupEvent,
    GroupMember,
    ScopeEvent,
    encode_mail,
    events_of,
    member_of,
)
from covey.api.mailboxes import Mailbox
from covey.api.posting import Posting, Targets
from covey.core.errors import ClosedError, ConfigError, CoveyError, DecodeError, PeerUnreachable, UsageError
from covey.core.ids import short
from covey.protocols.groups import vocabulary as g
from covey.protocols.groups.machine import Groups as Machine
from covey.protocols.groups.rows import SCOPE_BYTES_MAX
from covey.wire.keys import Key, decode_key
from covey.wire.payloads import decode_payload

if TYPE_CHECKING:
    from covey.runtime.runner import Runner

log = logging.getLogger(__name__)

Place = tuple[bytes, bytes | None]
"""A scope and a group; None: all groups of the scope."""

_DROPPED = encode_mail("its mailbox was dropped before it answered; it may have acted")
_VALUE, _CALL = g.Kind.VALUE, g.Kind.CALL
_UNCHANGING = (bytes, str, int, float, bool, type(None))


class Groups:
    """What a node has to do with groups: its handles, its mailboxes, and the way in and out of the machine.

    `live(closing)` gives the runner, or raises what a call on a node that is not open raises.
    """

    def __init__(
        self,
        live: Callable[[bool], Runner],
        machine: Machine,
        rng: random.Random,
        events_max: int,
        send_timeout: float,
    ) -> None:
        self._live = live
        self._machine = machine
        self.posting = Posting(live, machine, send_timeout)
        self.rng = rng
        self.events_max = events_max
        self.undecodable = 0
        self._mailboxes: dict[int, _MailboxRef] = {}
        self._hubs: weakref.WeakValueDictionary[Place, EventHub[Any, Any]] = weakref.WeakValueDictionary()
        self.loop = asyncio.get_running_loop()
        self._calls: dict[int, tuple[asyncio.Future[Any], int, g.Address]] = {}  # caller's mailbox, callee
        self._asked: dict[int, dict[int, None]] = {}  # the calls of each mailbox
        self._call = 0
        self._encoded: bytes | None = None  # the last payload that cannot be changed, and what it says
        self._decoded: Any = None

    @property
    def machine(self) -> Machine:
        """The machine, to be asked. Raises `ClosedError` when the node is not open."""
        self._live(True)
        return self._machine

    def keys(self, scope: bytes) -> list[Key]:
        """The keys of all groups of a scope that have a member."""
        return [decode_key(group) for group in self.machine.groups(scope)]

    def hold(self, scope: bytes) -> None:
        """Know the groups of a scope from now on."""
        if not self.machine.holds(scope):
            self.feed(g.HoldScope(scope))

    def given(self, group: Any) -> Any:
        """A group of this node that is given, or none. Raises `UsageError`."""
        if group is not None and getattr(group, "_groups", None) is not self:
            raise UsageError(f"group must be what `group` of this node gave, not {group!r:.60}; nothing was changed")
        return group

    def feed(self, command: Any) -> None:
        """Give the machine a command that has no outcome."""
        self.posting.feed(command)

    def open(self, mailbox: Mailbox, command: g.OpenMailbox) -> int:
        """The number of a new mailbox."""
        self.feed(command)
        number = self._machine.newest
        reference = self._mailboxes[number] = _MailboxRef(mailbox, self._on_dropped)
        reference.number, reference.unanswered = number, mailbox._unanswered
        return number

    def _on_dropped(self, reference: weakref.ref[Mailbox]) -> None:
        """Nothing refers to a mailbox any more. This may be any thread, in the middle of anything."""
        assert isinstance(reference, _MailboxRef)
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._dropped, reference.number, reference.unanswered)

    def _dropped(self, number: int, unanswered: dict[tuple[g.Address, int], None]) -> None:
        """Nobody closed it, and nobody can: whoever waits for an answer hears that there is none."""
        if number not in self._mailboxes:
            return
        for to, call in unanswered:
            try:
                self.posting.answer(number, to, g.Kind.GONE, call, _DROPPED)
            except CoveyError:
                break  # the node is closed
        self.closed(number)

    def closed(self, number: int) -> None:
        """A mailbox is closed: nothing more is delivered to it, and nobody waits for its calls."""
        with contextlib.suppress(ClosedError):
            self.feed(g.CloseMailbox(number))  # refused on another thread; then it stays open
        self._mailboxes.pop(number, None)
        for call in self._asked.get(number, ()):
            _fail(self._calls[call][0], "the mailbox was closed; whether the call was answered is not known")

    # --- events -----------------------------------------------------------------------------------------------------

    def events(self, scope: bytes, group: bytes, events_max: int | None) -> Subscription[Any, GroupEvent]:
        """A stream of one group's events, from its members as of now."""
        return self._stream((scope, group), lambda: tuple(self.members(scope, group)), events_max)

    def scope_events(self, scope: bytes, events_max: int | None) -> Subscription[Any, ScopeEvent]:
        """A stream of the events of all groups of a scope, from their members as of now."""
        return self._stream((scope, None), lambda: self._everybody(scope), events_max)

    def _everybody(self, scope: bytes) -> tuple[tuple[Key, tuple[GroupMember, ...]], ...]:
        machine = self.machine
        return tuple((decode_key(group), tuple(self.members(scope, group))) for group in machine.groups(scope))

    def _stream(self, place: Place, snapshot: Callable[[], Any], events_max: int | None) -> Subscription[Any, Any]:
        self._live(True)
        hub = self._hubs.get(place)
        if hub is None:
            hub = self._hubs[place] = EventHub(snapshot)  # the stream holds it
        return hub.subscription(self.events_max if events_max is None else events_max)

    def without(self, mailbox: int, targets: Targets) -> Targets:
        """The same without one mailbox of ours."""
        me = self._machine.address(mailbox)
        left = {life: tuple([to for to in addresses if to != me]) for life, addresses in targets.items()}
        return {life: addresses for life, addresses in left.items() if addresses}

    def members(self, scope: bytes, group: bytes) -> list[GroupMember]:
        """Every member as often as it joined, in the order in which they came here."""
        members: list[GroupMember] = []
        for entry in self.machine.view(scope, group).values():
            members += [member_of(entry)] * entry.count
        return members

    def on_changed(self, event: g.GroupChanged) -> None:
        """Members of one group came, went or changed."""
        if not self._hubs:
            return
        hub, scope_hub = self._hubs.get((event.scope, event.group)), self._hubs.get((event.scope, None))
        if not hub and not scope_hub:
            return
        events = [told for before, after in event.changes for told in events_of(before, after)]
        if hub is not None:
            for told in events:
                hub.publish(told)
        if scope_hub:
            key = decode_key(event.group)
            for told in events:
                scope_hub.publish(ScopeEvent(key, told))

    def turn_away(self) -> None:
        """The node is about to end: whoever waits for an answer of ours hears that there is none."""
        for mailbox in self._open_mailboxes():
            mailbox._turn_away("its node ends")

    def _open_mailboxes(self) -> list[Mailbox]:
        return [mailbox for reference in list(self._mailboxes.values()) if (mailbox := reference()) is not None]

    def close(self, cause: BaseException | None) -> None:
        """The node has ended."""
        for hub in list(self._hubs.values()):
            hub.close(cause)
        for mailbox in self._open_mailboxes():
            mailbox._end(cause)
        for future, _, _ in self._calls.values():
            _fail(future, "the node is closed; whether the call was answered is not known", cause)

    # --- mail -------------------------------------------------------------------------------------------------------

    def on_mail(self, event: g.MailReceived) -> None:
        """Letters for our mailboxes."""
        for letter in event.letters:
            kind = letter.kind
            if kind is not _VALUE and kind is not _CALL:
                self._on_answer(letter)
                continue
            reference = self._mailboxes.get(letter.mailbox)
            mailbox = None if reference is None else reference()
            if mailbox is not None:
                mailbox._put(letter)

    def decode(self, letter: g.Letter) -> Any:
        """What a letter says. What cannot be changed is decoded once for all mailboxes that it is for.

        Raises `DecodeError`, and counts it.
        """
        encoded = letter.payload
        if encoded is self._encoded:
            return self._decoded
        try:
            payload = decode_payload(encoded)
        except DecodeError as error:
            log.warning("event=payload_undecodable sender=%s reason=%r", short(letter.sender.site), str(error))
            self.undecodable += 1
            raise
        if type(payload) in _UNCHANGING:
            self._encoded, self._decoded = encoded, payload
        return payload

    def _on_answer(self, letter: g.Letter) -> None:
        """Only who was asked can answer, and once."""
        future, caller, callee = self._calls.get(letter.number, (None, 0, None))
        if future is None or future.done() or (letter.mailbox, letter.sender) != (caller, callee):
            return
        try:
            payload = decode_payload(letter.payload)
        except DecodeError as error:
            self.undecodable += 1
            future.set_exception(error)
            return
        if letter.kind is g.Kind.REPLY:
            future.set_result(payload)
        elif letter.kind is g.Kind.FAILURE:
            future.set_exception(CallFailed(str(payload)))
        else:
            future.set_exception(PeerUnreachable(f"the member at site {short(letter.sender.site)}: {payload}"))

    def on_life_ended(self, event: g.LifeEnded) -> None:
        """Nobody waits for an answer from there; it may have acted on what it was asked."""
        self.posting.flush()  # nothing goes behind what this turn sent there: it would be dropped unheard
        for future, _, callee in self._calls.values():
            if (callee.site, callee.incarnation) == (event.site, event.incarnation) and not future.done():
                future.set_exception(PeerUnreachable(f"site {short(event.site)} {event.why}; it may have acted"))
                future.exception()  # whoever waits may have heard it elsewhere

    async def call(self, sender: int, to: GroupMember, payload: bytes, timeout: float) -> Any:
        """One letter and its answer."""
        self._call += 1
        number = self._call
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls[number] = answer, sender, g.Address(*to.address)
        self._asked.setdefault(sender, {})[number] = None
        try:
            return await self.posting.ask(sender, to, number, payload, answer, timeout)
        finally:
            del self._calls[number], self._asked[sender][number]
            if not self._asked[sender]:
                del self._asked[sender]


class _MailboxRef(weakref.ref[Mailbox]):
    """A mailbox that is closed when nothing refers to it any more, and its number."""

    __slots__ = ("number", "unanswered")

    number: int
    unanswered: dict[tuple[g.Address, int], None]


def encode_scope(scope: str) -> bytes:
    """The name of a scope as it travels. Raises `ConfigError`."""
    try:
        encoded = scope.encode() if isinstance(scope, str) else None
    except UnicodeEncodeError:
        encoded = None
    if encoded is None or len(encoded) > SCOPE_BYTES_MAX:
        raise ConfigError(f"scope must be a str of at most {SCOPE_BYTES_MAX} bytes, not {scope!r:.60}")
    return encoded


def _fail(future: asyncio.Future[Any], why: str, cause: BaseException | None = None) -> None:
    if not future.done():
        error = ClosedError(why)
        error.__cause__ = cause
        future.set_exception(error)
        future.exception()  # whoever waits may have heard it elsewhere
