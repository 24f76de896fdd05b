"""What a node has to do with groups: its mailboxes, its calls, and the way in and out of the machine."""

from __future__ import annotations

import asyncio
import random
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from covey.api.events import EventHub, Subscription
from covey.api.group_posts import Post, by_node
from covey.api.group_values import CallFailed, GroupEvent, GroupMember, events_of, member_of
from covey.api.mailboxes import Mailbox
from covey.core.errors import (
    ClosedError,
    ConfigError,
    CoveyError,
    DeadlineExceeded,
    DecodeError,
    PeerUnreachable,
    UsageError,
)
from covey.core.ids import short
from covey.protocols.groups import vocabulary as g
from covey.protocols.groups.machine import Groups as Machine
from covey.protocols.groups.rows import SCOPE_BYTES_MAX
from covey.wire.keys import Key, decode_key
from covey.wire.payloads import decode_payload, encode_payload

if TYPE_CHECKING:
    from covey.runtime.runner import Runner

Place = tuple[bytes, bytes]
DROPPED = encode_payload("its mailbox was dropped before it answered; it may have acted", "payload", 1_000)


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
        self.rng = rng
        self.events_max = events_max
        self.undecodable = 0
        self._send_timeout = send_timeout
        self._mailboxes: weakref.WeakValueDictionary[int, Mailbox] = weakref.WeakValueDictionary()
        self._hubs: weakref.WeakValueDictionary[Place, EventHub[tuple[GroupMember, ...], GroupEvent]] = (
            weakref.WeakValueDictionary()  # a stream holds its hub
        )
        self._calls: dict[int, tuple[asyncio.Future[Any], int, g.Address]] = {}  # caller's mailbox, callee
        self._call = 0

    @property
    def machine(self) -> Machine:
        """The machine, to be asked. Raises `ClosedError` when the node is not open."""
        self._live(True)
        return self._machine

    def keys(self, scope: str) -> list[Key]:
        """The keys of all groups of a scope that have a member."""
        name = encode_scope(scope)
        self.hold(name)
        return [decode_key(group) for group in self._machine.groups(name)]

    def hold(self, scope: bytes) -> None:
        """Know the groups of a scope from now on."""
        self.feed(g.HoldScope(scope))

    def feed(self, command: Any) -> None:
        """Give the machine a command that has no outcome."""
        self._live(False).feed(command)

    def open(self, mailbox: Mailbox) -> int:
        """The number of a new mailbox."""
        runner = self._live(False)
        request, outcome = runner.request()
        try:
            runner.feed(g.OpenMailbox(request))
            number: int = outcome.result()
        finally:
            runner.forget_request(request)
        self._mailboxes[number] = mailbox
        return number

    def dropped(self, number: int, unanswered: Iterable[tuple[g.Address, int]]) -> None:
        """Nothing refers to a mailbox any more, and nobody closed it."""
        for to, call in list(unanswered):
            try:
                self.answer(number, to, g.Kind.GONE, call, DROPPED)
            except CoveyError:
                break  # the node is closed
        self.closed(number)

    def closed(self, number: int) -> None:
        """A mailbox is closed: nothing more is delivered to it, and nobody waits for its calls."""
        self._mailboxes.pop(number, None)
        for future, caller, _ in self._calls.values():
            if caller == number:
                _fail(future, "the mailbox was closed; whether the call was answered is not known")
        try:
            self.feed(g.CloseMailbox(number))
        except ClosedError:
            pass

    # --- events -----------------------------------------------------------------------------------------------------

    def events(self, place: Place, events_max: int | None) -> Subscription[Any, GroupEvent]:
        """A stream of one group's events, from its members as of now."""
        self._live(True)
        hub = self._hubs.get(place)
        if hub is None:
            hub = self._hubs[place] = EventHub(lambda: tuple(self.members(*place)))
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
            for told in events_of(before, after):
                hub.publish(told)

    def turn_away(self) -> None:
        """The node is about to end: whoever waits for an answer of ours hears that there is none."""
        for mailbox in list(self._mailboxes.values()):
            mailbox._turn_away("its node ends")

    def close(self, cause: BaseException | None) -> None:
        """The node has ended."""
        for hub in list(self._hubs.values()):
            hub.close(cause)
        for mailbox in list(self._mailboxes.values()):
            mailbox._end(cause)
        for future, _, _ in self._calls.values():
            _fail(future, "the node is closed; whether the call was answered is not known", cause)

    # --- mail -------------------------------------------------------------------------------------------------------

    def on_mail(self, event: g.MailReceived) -> None:
        """Letters for our mailboxes."""
        for letter in event.letters:
            if letter.kind >= g.Kind.REPLY:
                self._on_answer(letter)
            elif (mailbox := self._mailboxes.get(letter.mailbox)) is not None:
                mailbox._put(letter)

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
        for future, _, callee in self._calls.values():
            if (callee.site, callee.incarnation) == (event.site, event.incarnation) and not future.done():
                future.set_exception(PeerUnreachable(f"site {short(event.site)} {event.why}; it may have acted"))
                future.exception()  # whoever waits may have heard it elsewhere

    def answer(self, sender: int, to: g.Address, kind: g.Kind, number: int, payload: bytes) -> None:
        """The answer to a call; nobody waits until it is on its way."""
        self.feed(g.SendMail(0, sender, to.site, to.incarnation, (to.mailbox,), kind, number, payload))

    async def send(self, sender: int, to: GroupMember, payload: bytes, timeout: float | None) -> None:
        """One letter, when there is room for it on the way."""
        seconds = self._seconds(timeout)
        post = Post(self._live(False), sender, to.life, (to.mailbox,), g.Kind.VALUE, 0, payload)
        try:
            if not post.outcome.done():
                async with asyncio.timeout(seconds):
                    await post.outcome
            post.outcome.result()
        except TimeoutError:
            raise DeadlineExceeded(f"site {short(to.site)} took nothing for {seconds} s; it may be sent") from None
        finally:
            post.end()

    async def call(self, sender: int, to: GroupMember, payload: bytes, timeout: float) -> Any:
        """One letter and its answer."""
        seconds = self._seconds(timeout)
        self._call += 1
        number = self._call
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls[number] = future, sender, g.Address(*to.address)
        post: Post | None = None
        try:
            post = Post(self._live(False), sender, to.life, (to.mailbox,), g.Kind.CALL, number, payload)
            async with asyncio.timeout(seconds):
                if not post.outcome.done():
                    await asyncio.wait((post.outcome, future), return_when=asyncio.FIRST_COMPLETED)
                if post.outcome.done():
                    post.outcome.result()
                return await future
        except TimeoutError:
            raise DeadlineExceeded(f"site {short(to.site)} gave no answer in {seconds} s; it may have acted") from None
        finally:
            del self._calls[number]
            if post is not None:
                post.end()

    async def broadcast(self, sender: int, targets: list[GroupMember], payload: bytes, timeout: float | None) -> int:
        """One letter to many, one message for each node; returns to how many it is on its way."""
        seconds = self._seconds(timeout)
        runner, posts, sent = self._live(False), list[Post](), 0
        try:
            for life, mailboxes in by_node(targets).items():
                posts.append(Post(runner, sender, life, tuple(mailboxes), g.Kind.VALUE, 0, payload))
            async with asyncio.timeout(seconds):
                await asyncio.gather(
                    *[post.outcome for post in posts if not post.outcome.done()], return_exceptions=True
                )
        except TimeoutError:
            pass
        finally:
            for post in posts:
                sent += post.end()
        self._live(True)
        return sent

    def tell(self, sender: int, targets: list[GroupMember], payload: bytes) -> None:
        """The same without waiting, and nobody hears what became of it."""
        for life, mailboxes in by_node(targets).items():
            self.feed(g.SendMail(0, sender, *life, tuple(mailboxes), g.Kind.VALUE, 0, payload))

    def _seconds(self, timeout: float | None) -> float:
        seconds = self._send_timeout if timeout is None else timeout
        if type(seconds) not in (int, float) or not seconds > 0:
            raise UsageError(f"timeout must be a number of seconds above 0, not {timeout!r}; nothing was sent")
        return seconds


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
