"""Groups: `node.group(key)`, its members wherever they are, and mail between them."""

from __future__ import annotations

import asyncio
import random
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from covey.api.events import EventHub, Subscription
from covey.api.group_values import CallFailed, GroupEvent, GroupMember, events_of, member_of
from covey.api.mailboxes import MAILBOX_MAX, Mailbox, encode_meta
from covey.core.errors import (
    ClosedError,
    ConfigError,
    DeadlineExceeded,
    DecodeError,
    PeerUnreachable,
    UsageError,
)
from covey.core.ids import Site, short
from covey.core.rendezvous import highest
from covey.core.vocabulary import Abandon
from covey.protocols.groups import vocabulary as g
from covey.protocols.groups.machine import Groups as Machine
from covey.protocols.groups.rows import SCOPE_BYTES_MAX
from covey.wire.keys import Key, KeyBytes, decode_key, encode_key
from covey.wire.payloads import decode_payload

if TYPE_CHECKING:
    from covey.runtime.runner import Runner

Place = tuple[bytes, bytes]


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

    def group(self, key: Key, scope: str) -> Group:
        """The handle of one group. Raises `ConfigError` for what is no key or no name of a scope."""
        encoded, name = encode_key(key), encode_scope(scope)
        self.feed(g.HoldScope(name))
        return Group(self, key, encoded, scope, name)

    def keys(self, scope: str) -> list[Key]:
        """The keys of all groups of a scope that have a member."""
        name = encode_scope(scope)
        self.feed(g.HoldScope(name))
        return [decode_key(group) for group in self._machine.groups(name)]

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
            if letter.kind is g.Kind.REPLY or letter.kind is g.Kind.FAILURE:
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
        else:
            future.set_exception(CallFailed(str(payload)))

    def answer(self, sender: int, to: g.Address, kind: g.Kind, number: int, payload: bytes) -> None:
        """The answer to a call; nobody waits until it is on its way."""
        self.feed(g.SendMail(0, sender, to.site, to.incarnation, (to.mailbox,), kind, number, payload))

    async def send(self, sender: int, to: GroupMember, payload: bytes, timeout: float | None) -> None:
        """One letter, when there is room for it on the way."""
        seconds = self._seconds(timeout)
        post = _Post(self._live(False), sender, to.life, (to.mailbox,), g.Kind.VALUE, 0, payload)
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
        post: _Post | None = None
        try:
            post = _Post(self._live(False), sender, to.life, (to.mailbox,), g.Kind.CALL, number, payload)
            async with asyncio.timeout(seconds):
                await post.outcome
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
        runner, posts, sent = self._live(False), list[_Post](), 0
        try:
            for life, mailboxes in _by_node(targets).items():
                posts.append(_Post(runner, sender, life, tuple(mailboxes), g.Kind.VALUE, 0, payload))
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
        for life, mailboxes in _by_node(targets).items():
            self.feed(g.SendMail(0, sender, *life, tuple(mailboxes), g.Kind.VALUE, 0, payload))

    def _seconds(self, timeout: float | None) -> float:
        seconds = self._send_timeout if timeout is None else timeout
        if type(seconds) not in (int, float) or not seconds > 0:
            raise UsageError(f"timeout must be a number of seconds above 0, not {timeout!r}; nothing was sent")
        return seconds


class _Post:
    """One letter to mailboxes of one life of a node, and its outcome."""

    def __init__(
        self,
        runner: Runner,
        sender: int,
        life: tuple[Site, int],
        mailboxes: tuple[int, ...],
        kind: g.Kind,
        number: int,
        payload: bytes,
    ) -> None:
        self._runner = runner
        self._mailboxes = len(mailboxes)
        self._request, self.outcome = runner.request()
        try:
            runner.feed(g.SendMail(self._request, sender, *life, mailboxes, kind, number, payload))
        except BaseException:
            runner.forget_request(self._request)
            raise

    def end(self) -> int:
        """Nobody waits any more: what is not on its way is taken back. Returns to how many mailboxes it is."""
        self._runner.forget_request(self._request)
        if self.outcome.done() and not self.outcome.cancelled():
            return 0 if self.outcome.exception() else self._mailboxes
        if self._runner.is_open:
            self._runner.feed(Abandon(self._request))
        return 0


class Group:
    """All members of `key`, on every node. Cheap: ask for it whenever it is needed.

    `members` has one that joined n times n times; `peers`, `random_peers`, `pick` and `broadcast` are about distinct
    ones. A member that has just died may still be among them.
    """

    def __init__(self, groups: Groups, key: Key, encoded: KeyBytes, scope: str, scope_encoded: bytes) -> None:
        self.key = key
        self.scope = scope
        self._groups = groups
        self._encoded = encoded
        self._scope = scope_encoded

    def join(self, meta: Any = None, member: Mailbox | None = None, mailbox_max: int = MAILBOX_MAX) -> Mailbox:
        """Become a member, with a mailbox: use it as `async with group.join() as me:`.

        It leaves at the end of the block, of the task that entered it, or of the node. `meta` is what all others see.
        With `member`, a mailbox that is open already joins (once more): n joins need n leaves; without `meta` then,
        what it said stays. Raises `UsageError` for metadata that cannot be serialised, `ValueTooLarge` above 64 KiB
        of it, `ClosedError` for a mailbox that is not open.
        """
        if member is None:
            return Mailbox(self._groups, self, encode_meta(meta), mailbox_max)
        _check_mailbox(member, "member")
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
        view = self._view()
        left_out = None
        if exclude is not None and _check_mailbox(exclude, "exclude")._groups is self._groups:
            left_out = self._groups.machine.address(exclude._number)
        return [member_of(entry) for address, entry in view.items() if address != left_out]

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
        encoded, view = encode_key(key), self._view()
        if not view:
            raise PeerUnreachable(f"group {self.key!r} has no member; try again when it has")
        by_name = {b"%b%d.%d" % (a.site, a.incarnation, a.mailbox): entry for a, entry in view.items()}
        return member_of(by_name[highest(encoded, list(by_name))])

    def events(self, events_max: int | None = None) -> Subscription[tuple[GroupMember, ...], GroupEvent]:
        """A stream of `GroupJoined`, `GroupLeft` and `GroupUpdated`; `snapshot` has the members it starts from."""
        return self._groups.events((self._scope, self._encoded), events_max)

    def _view(self) -> dict[g.Address, g.GroupEntry]:
        return self._groups.machine.view(self._scope, self._encoded)

    def __repr__(self) -> str:
        return f"<covey.Group {self.key!r}>"


def encode_scope(scope: str) -> bytes:
    """The name of a scope as it travels. Raises `ConfigError`."""
    try:
        encoded = scope.encode() if isinstance(scope, str) else None
    except UnicodeEncodeError:
        encoded = None
    if encoded is None or len(encoded) > SCOPE_BYTES_MAX:
        raise ConfigError(f"scope must be a str of at most {SCOPE_BYTES_MAX} bytes, not {scope!r:.60}")
    return encoded


def _by_node(targets: list[GroupMember]) -> dict[tuple[Site, int], list[int]]:
    nodes: dict[tuple[Site, int], list[int]] = {}
    for member in targets:
        nodes.setdefault(member.life, []).append(member.mailbox)
    return nodes


def _check_mailbox(mailbox: Mailbox, what: str) -> Mailbox:
    if not isinstance(mailbox, Mailbox):
        raise UsageError(f"{what} must be a Mailbox, what `join` gave, not {mailbox!r:.60}; nothing was changed")
    return mailbox


def _fail(future: asyncio.Future[Any], why: str, cause: BaseException | None = None) -> None:
    if not future.done():
        error = ClosedError(why)
        error.__cause__ = cause
        future.set_exception(error)
        future.exception()  # whoever waits may have heard it elsewhere
