"""Direct: a user's value, or another machine's data, from one node to one node.

At most once, in order per sender and receiver, on the `data` channel. The sender waits while the receiver's link is
being made or is congested, so memory at the sender is bounded and nothing is dropped there without an error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, assert_never

import msgspec

from covey.core.errors import Overloaded, PeerUnreachable, invariant
from covey.core.ids import Site, short
from covey.core.vocabulary import (
    Abandon,
    Cause,
    Channel,
    Emit,
    MessagesReceived,
    PeerCongested,
    PeerConnected,
    PeerDrained,
    PeerLost,
    PeerUnreached,
    Refuse,
    Resolve,
    Send,
    SendData,
    SendMany,
)
from covey.wire.messages.direct import Payload
from covey.wire.messages.links import KeepAlive


class SendPayloads(msgspec.Struct, frozen=True, gc=False):
    """Send encoded values. Resolved once they are on the link; refused when they cannot be, and then none was sent.

    Request 0 asks for no outcome.
    """

    request: int
    to: Site
    address: str
    values: tuple[bytes, ...]

    @property
    def bytes(self) -> int:
        """The size of all values together."""
        return sum(map(len, self.values))

    @property
    def messages(self) -> tuple[Payload, ...]:
        """The values as they travel."""
        return tuple([Payload(msgspec.Raw(value)) for value in self.values])


Command = SendPayloads | SendData


class PayloadsReceived(msgspec.Struct, frozen=True, gc=False):
    """The event: a node sent us these values (still encoded), in this order."""

    sender: Site
    values: tuple[bytes, ...]


class DirectConfig(msgspec.Struct, frozen=True):
    """Bounds on what waits for a receiver."""

    waiting_bytes_max: int = 16 << 20  # guess: for one receiver
    waiting_count_max: int = 65_536  # guess: for one receiver


class DirectStatistics(msgspec.Struct, frozen=True):
    """Values sent and received, commands refused and waiting."""

    sent: int
    received: int
    refused: int
    waiting: int


class _Outbox:
    """What waits for one receiver's link, oldest first."""

    __slots__ = ("bytes", "dialling", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Command] = deque()
        self.bytes = 0
        self.dialling: list[int] = []  # requests whose value lies with the dial


class Direct:
    """One node speaks to one node.

    Law: values reach the link in the order of their commands, and each command has exactly one outcome.
    Invariants: an outbox exists iff something waits in it; `outbox.bytes == sum(w.bytes)`; within both bounds.
    """

    def __init__(self, config: DirectConfig, me: Site) -> None:
        self._config = config
        self._me = me
        self._open: dict[Site, bool] = {}  # receivers with a data link: True while it is congested
        self._outboxes: dict[Site, _Outbox] = {}
        self._sent = self._received = self._refused = 0

    def handle(self, incoming: Any, now_us: int) -> Sequence[Any]:
        kind = type(incoming)
        if kind is MessagesReceived:
            peer, messages = incoming.peer, incoming.messages
            self._received += len(messages)
            return (Emit(PayloadsReceived(peer, tuple([bytes(message.value) for message in messages]))),)
        if kind is SendPayloads or kind is SendData:
            return self._on_send(incoming)
        match incoming:
            case PeerConnected() | PeerLost() | PeerUnreached() | PeerCongested() | PeerDrained():
                return self._on_link(incoming) if incoming.channel is Channel.DATA else ()
            case Abandon(request):
                return self._on_abandon(request)
            case _:
                assert_never(incoming)

    def deadline(self) -> int | None:
        return None

    def check(self) -> None:
        for site, outbox in self._outboxes.items():
            invariant(bool(outbox.waiting or outbox.dialling), "an outbox holds something")
            invariant(outbox.bytes == sum(w.bytes for w in outbox.waiting), "bytes counts what waits")
            invariant(len(outbox.waiting) <= self._config.waiting_count_max, "waiting is bounded in number")
            invariant(outbox.bytes <= self._config.waiting_bytes_max, "waiting is bounded in bytes")
            invariant(self._open.get(site) is not False, "nothing waits for a link that is open and drained")

    def statistics(self) -> DirectStatistics:
        waiting = sum(len(o.waiting) + len(o.dialling) for o in self._outboxes.values())
        return DirectStatistics(self._sent, self._received, self._refused, waiting)

    def ready(self, site: Site) -> bool:
        """Whether a value for `site` would be on its link at once."""
        return self._open.get(site) is False

    def congested(self, site: Site) -> bool:
        """Whether `site` has a link and reads too slowly."""
        return self._open.get(site) is True

    def _on_send(self, command: Command) -> Sequence[Any]:
        congested = self._open.get(command.to)
        if congested is False:
            return self._hand_over(command)
        if command.to == self._me and isinstance(command, SendPayloads):
            self._sent += len(command.values)
            self._received += len(command.values)
            received = Emit(PayloadsReceived(self._me, command.values))
            return (Resolve(command.request), received) if command.request else (received,)
        dial: Sequence[Any] = ()
        outbox = self._outboxes.get(command.to)
        if outbox is None:
            outbox = self._outboxes[command.to] = _Outbox()
            messages = command.messages
            if congested is None and len(messages) == 1:  # the first value goes with the dial
                outbox.dialling.append(command.request)
                return [Send(command.to, messages[0], command.address, Channel.DATA)]
            if congested is None:  # several are sent whole or not at all, so a word without meaning makes the link
                dial = [Send(command.to, KeepAlive(), command.address, Channel.DATA)]
        if (
            len(outbox.waiting) >= self._config.waiting_count_max
            or outbox.bytes + command.bytes > self._config.waiting_bytes_max
        ):
            self._refused += 1
            if not outbox.waiting and not outbox.dialling:
                del self._outboxes[command.to]
            if not command.request:
                return ()
            detail = (
                f"{len(outbox.waiting)} values already wait for site {short(command.to)}; nothing was sent: slow down"
            )
            return (Refuse(command.request, Overloaded(detail)),)
        outbox.waiting.append(command)
        outbox.bytes += command.bytes
        return dial

    def _hand_over(self, command: Command) -> Sequence[Any]:
        messages = command.messages
        self._sent += len(messages)
        if len(messages) == 1:
            send: Any = Send(command.to, messages[0], "", Channel.DATA)
        else:
            send = SendMany(command.to, messages, Channel.DATA)
        return (send, Resolve(command.request)) if command.request else (send,)

    def _on_link(self, fact: PeerConnected | PeerLost | PeerUnreached | PeerCongested | PeerDrained) -> Sequence[Any]:
        match fact:
            case PeerConnected(contact):
                self._open[contact.site] = False
                return self._flush(contact.site)
            case PeerCongested(site):
                if site in self._open:
                    self._open[site] = True
                return ()
            case PeerDrained(site):
                if site in self._open:
                    self._open[site] = False
                return self._flush(site)
            case PeerLost(contact, _, cause):
                self._open.pop(contact.site, None)
                return self._fail(contact.site, cause)
            case PeerUnreached(site, _, cause):
                return self._fail(site, cause)

    def _flush(self, site: Site) -> Sequence[Any]:
        outbox = self._outboxes.pop(site, None)
        if outbox is None:
            return ()
        self._sent += len(outbox.dialling)
        effects: list[Any] = [Resolve(request) for request in outbox.dialling if request]
        for command in outbox.waiting:
            effects += self._hand_over(command)
        return effects

    def _fail(self, site: Site, cause: Cause) -> Sequence[Any]:
        outbox = self._outboxes.pop(site, None)
        if outbox is None:
            return ()
        requests = [*outbox.dialling, *(command.request for command in outbox.waiting)]
        self._refused += len(requests)
        detail = f"no link to site {short(site)} ({cause.name.lower()}); the value was not delivered: try again later"
        return [Refuse(request, PeerUnreachable(detail)) for request in requests if request]

    def _on_abandon(self, request: int) -> Sequence[Any]:
        """Nobody waits: what has not been handed to the link is taken back."""
        for site, outbox in list(self._outboxes.items()):
            for command in outbox.waiting:
                if command.request == request:
                    outbox.waiting.remove(command)
                    outbox.bytes -= command.bytes
                    break
            if not outbox.waiting and not outbox.dialling:
                del self._outboxes[site]
        return ()
