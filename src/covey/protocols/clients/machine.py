"""Clients: somebody who holds the secret and is no node asks this node one thing at a time.

What is asked is carried out above the machines; this one sees to it that asking stays small. A client waits for its
answer before it asks again, all of them together have a bounded number of asks under way, and a long answer leaves in
parts, no faster than the client reads.

::

    idle ──Ask──▶ asked ──AnswerClient──▶ answering ──last part──▶ idle
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import msgspec

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.core.timers import Timers
from covey.core.vocabulary import (
    Cause,
    Channel,
    Disconnect,
    Emit,
    MessagesReceived,
    PeerCongested,
    PeerConnected,
    PeerDrained,
    PeerLost,
    ProtocolViolation,
    Send,
    Tick,
)
from covey.wire.messages.client import ERROR_LENGTH_MAX, PART_BYTES_MAX, Answer, Ask


class AnswerClient(msgspec.Struct, frozen=True, gc=False):
    """The answer to a `ClientAsked`: `body`, or an `error`. It is dropped where the client has gone meanwhile."""

    client: Site
    number: int
    body: bytes = b""
    error: str = ""


class ClientAsked(msgspec.Struct, frozen=True, gc=False):
    """The event: a client asks for `what`, with these encoded arguments. It waits for one `AnswerClient`."""

    client: Site
    number: int
    what: str
    arguments: bytes


class ClientsConfig(msgspec.Struct, frozen=True):
    """Bounds on what is asked and answered."""

    asks_max: int = 32  # under way at one time: one for each client that links let in by default
    answer_bytes_max: int = 16 << 20  # guess: a record of 50,000 sites
    burst_bytes: int = 1 << 19  # of one answer at once; an eighth of what links queue behind one peer
    burst_us_wait: int = 1_000  # between bursts, so that links can say that the client does not keep up


class ClientsStatistics(msgspec.Struct, frozen=True):
    """Clients now and their asks under way; then counts since the start."""

    clients: int
    asking: int
    asks: int
    answers: int
    refused: int
    violations: int


class _Client:
    """What one client waits for. `rest` is what it has not been sent yet; None until the answer is there."""

    __slots__ = ("at", "congested", "number", "rest")

    def __init__(self) -> None:
        self.number: int | None = None
        self.rest: bytes | None = None
        self.at = 0
        self.congested = False


class Clients:
    """Hear what clients ask, and send what they are answered.

    Law: an ask has at most one answer, whole and in order; nothing is answered that was not asked.
    Invariants: an answer belongs to an ask; `0 <= at <= len(rest)`; a client has a timer iff it is being answered and
    reads fast enough; at most `asks_max` asks are under way.
    """

    def __init__(self, config: ClientsConfig) -> None:
        self._config = config
        self._clients: dict[Site, _Client] = {}  # as many as the links machine lets in
        self._timers: Timers[Site] = Timers()
        self._asks = self._answers = self._refused = self._violations = 0

    def handle(self, incoming: Any, now_us: int) -> Sequence[Any]:
        match incoming:
            case MessagesReceived(peer, messages):
                return self._on_messages(peer, messages)
            case Tick():
                return [effect for site in self._timers.pop_due(now_us) for effect in self._answer_on(site, now_us)]
            case PeerConnected() | PeerLost() | PeerCongested() | PeerDrained():
                return self._on_link(incoming, now_us) if incoming.channel is Channel.CLIENT else ()
            case AnswerClient():
                return self._on_answer(incoming, now_us)
            case _:
                assert_never(incoming)

    def deadline(self) -> int | None:
        return self._timers.deadline()

    def check(self) -> None:
        for site, client in self._clients.items():
            if client.rest is None:
                invariant(client.at == 0, "nothing is sent of no answer")
            else:
                invariant(client.number is not None, "an answer belongs to an ask")
                invariant(0 <= client.at <= len(client.rest), "an answer is sent from its beginning to its end")
            on_its_way = client.rest is not None and not client.congested
            invariant((site in self._timers) == on_its_way, "who is being answered and reads has a timer")
        invariant(len(self._timers) <= len(self._clients), "only clients have timers")
        invariant(self._asking() <= self._config.asks_max, "asks are bounded")

    def statistics(self) -> ClientsStatistics:
        return ClientsStatistics(
            len(self._clients), self._asking(), self._asks, self._answers, self._refused, self._violations
        )

    def _asking(self) -> int:
        return sum(client.number is not None for client in self._clients.values())

    # --- clients ----------------------------------------------------------------------------------------------------

    def _on_link(self, fact: PeerConnected | PeerLost | PeerCongested | PeerDrained, now_us: int) -> Sequence[Any]:
        match fact:
            case PeerConnected(contact):
                self.forget(contact.site)
                self._clients[contact.site] = _Client()
            case PeerLost(contact):
                self.forget(contact.site)
            case PeerCongested(site):
                if site in self._clients:
                    self._clients[site].congested = True
                    self._timers.cancel(site)
            case PeerDrained(site):
                client = self._clients.get(site)
                if client is not None and client.congested:
                    client.congested = False
                    return self._answer_on(site, now_us) if client.rest is not None else ()
        return ()

    def forget(self, site: Site) -> None:
        """Drop all that belongs to a client."""
        self._clients.pop(site, None)
        self._timers.cancel(site)

    def _on_messages(self, peer: Site, messages: Sequence[Any]) -> Sequence[Any]:
        client = self._clients.get(peer)
        effects: list[Any] = []
        for message in messages:
            if client is None:
                return [*effects, *self._violation(peer, f"{type(message).__name__} from one that is no client")]
            if type(message) is not Ask:
                return [*effects, *self._violation(peer, "a client may only ask")]
            if client.number is not None:
                return [*effects, *self._violation(peer, "it asks again before it was answered")]
            effects.append(self._on_ask(peer, client, message))
        return effects

    def _on_ask(self, peer: Site, client: _Client, ask: Ask) -> Any:
        self._asks += 1
        if self._asking() >= self._config.asks_max:
            self._refused += 1
            error = f"Overloaded: {self._config.asks_max} asks are under way here; nothing was done: try again"
            return Send(peer, Answer(ask.number, b"", False, error), channel=Channel.CLIENT)
        client.number = ask.number
        return Emit(ClientAsked(peer, ask.number, ask.what, ask.arguments))

    def _violation(self, site: Site, detail: str) -> Sequence[Any]:
        self._violations += 1
        return Emit(ProtocolViolation(site, Cause.VIOLATION, detail)), Disconnect(site, Cause.VIOLATION, detail)

    # --- answers ----------------------------------------------------------------------------------------------------

    def _on_answer(self, answer: AnswerClient, now_us: int) -> Sequence[Any]:
        client = self._clients.get(answer.client)
        if client is None or client.number != answer.number or client.rest is not None:
            return ()
        error, size = answer.error, len(answer.body)
        if size > self._config.answer_bytes_max:
            error = f"ValueTooLarge: the answer has {size} bytes, {self._config.answer_bytes_max} are allowed"
        if error:
            self._answers += 1
            client.number = None
            message = Answer(answer.number, b"", False, error[:ERROR_LENGTH_MAX])
            return (Send(answer.client, message, channel=Channel.CLIENT),)
        client.rest, client.at = answer.body, 0
        return () if client.congested else self._answer_on(answer.client, now_us)

    def _answer_on(self, site: Site, now_us: int) -> Sequence[Any]:
        """The next burst of an answer."""
        client = self._clients[site]
        assert client.number is not None
        assert client.rest is not None
        effects: list[Any] = []
        more, until = True, client.at + self._config.burst_bytes
        while more and client.at < until:
            part = client.rest[client.at : client.at + PART_BYTES_MAX]
            client.at += len(part)
            more = client.at < len(client.rest)
            effects.append(Send(site, Answer(client.number, part, more, ""), channel=Channel.CLIENT))
        if more:
            self._timers.set(site, now_us + self._config.burst_us_wait)
        else:
            self._answers += 1
            self._timers.cancel(site)
            client.number = client.rest = None
            client.at = 0
        return effects
