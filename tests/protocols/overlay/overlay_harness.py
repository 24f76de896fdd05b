"""Overlays without a network: one alone, whose test is its network, and a flock whose links are perfect.

Links, bytes and handshakes are left out: a `Send` with an address makes the link, a dial is answered at once. Time
moves only when a test says so. Every step is checked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from covey.core.ids import Contact, Site
from covey.core.vocabulary import (
    AddressAnswered,
    AddressFailed,
    Cause,
    Channel,
    Dial,
    Emit,
    MessagesReceived,
    Multicast,
    NeighborDown,
    NeighborUp,
    PeerConnected,
    PeerLost,
    PeerUnreached,
    Pin,
    Send,
    Tick,
    Unpin,
)
from covey.protocols.overlay.config import OverlayConfig
from covey.protocols.overlay.machine import Overlay
from covey.protocols.overlay.vocabulary import SeedsResolved
from covey.wire import codec
from covey.wire.messages.overlay import Join

SECOND_US = 1_000_000
CONFIG = OverlayConfig()
CONTROL = Channel.CONTROL


def site(number: int) -> Site:
    """Sites are ordered as the numbers are."""
    return Site(number.to_bytes(16, "big"))


def contact(number: int, incarnation: int = 1) -> Contact:
    return Contact(site(number), incarnation, f"n{number}:1")


def contacts(*numbers: int) -> tuple[Contact, ...]:
    return tuple(contact(number) for number in numbers)


def number_of(who: Site) -> int:
    return int.from_bytes(who, "big")


def numbers(found: Iterable[Contact]) -> list[int]:
    """The numbers of some contacts, in order of size."""
    return sorted(number_of(one.site) for one in found)


def sent(effects: Iterable[Any], kind: type) -> list[tuple[int, Any]]:
    """To whom messages of one kind were sent, and the messages."""
    found: list[tuple[int, Any]] = []
    for effect in effects:
        if isinstance(effect, Send) and isinstance(effect.message, kind):
            found.append((number_of(effect.to), effect.message))
        elif isinstance(effect, Multicast) and isinstance(effect.message, kind):
            found += [(number_of(to), effect.message) for to in effect.to]
    return found


def without_facts(effects: list[Any]) -> list[Any]:
    """All but what broadcast is told of neighbours, which is what users are told."""
    facts = [effect for effect in effects if isinstance(effect, (NeighborUp, NeighborDown))]
    events = [effect.event for effect in effects if isinstance(effect, Emit)]
    assert facts == [event for event in events if isinstance(event, (NeighborUp, NeighborDown))]
    return [effect for effect in effects if not isinstance(effect, (NeighborUp, NeighborDown))]


def up(number: int, incarnation: int = 1) -> Emit:
    return Emit(NeighborUp(contact(number, incarnation)))


def down(number: int, cause: Cause, incarnation: int = 1) -> Emit:
    return Emit(NeighborDown(contact(number, incarnation), cause))


def pinned(number: int) -> Pin:
    return Pin(site(number))


def unpinned(number: int) -> Unpin:
    return Unpin(site(number))


class Bare:
    """One overlay: node 5, unless told otherwise."""

    def __init__(self, number: int = 5, config: OverlayConfig = CONFIG, seed: int = 1) -> None:
        self.now_us = 0
        self.config = config
        self.overlay = Overlay(config, Random(seed), 0, me=contact(number))

    def feed(self, incoming: Any) -> list[Any]:
        effects = list(self.overlay.handle(incoming, self.now_us))
        self.overlay.check()
        self.overlay.statistics()
        for effect in effects:
            if isinstance(effect, (Send, Multicast)):
                codec.encode_message(effect.message)
        return without_facts(effects)

    def hear(self, sender: int, *messages: Any) -> list[Any]:
        """Node `sender` says something, which survives the wire."""
        decoded, unknown = codec.decode_body(codec.join_body([codec.encode_message(m) for m in messages]))
        assert decoded == list(messages) and not unknown
        return self.feed(MessagesReceived(site(sender), decoded))

    def at(self, now_us: int) -> list[Any]:
        """The alarm rings at a time."""
        self.now_us = now_us
        return self.feed(Tick())

    def until(self, now_us: int) -> list[Any]:
        """Every alarm rings when it is due; all that was said until then."""
        effects: list[Any] = []
        while (due_us := self.overlay.deadline()) is not None and due_us <= now_us:
            effects += self.at(max(due_us, self.now_us))
        self.now_us = now_us
        return effects

    def befriend(self, *others: int) -> Bare:
        """These become neighbours."""
        for other in others:
            self.hear(other, Join(contact(other), 1))
        return self

    def remember(self, *others: int) -> Bare:
        """These come into the passive view, if there is room and they are not neighbours."""
        for other in others:
            self.overlay.passive.add(contact(other), Random(0))
        return self

    def lose(self, other: int, cause: Cause = Cause.RESET) -> list[Any]:
        return self.feed(PeerLost(contact(other), CONTROL, cause))

    def unreached(self, other: int, cause: Cause = Cause.TIMEOUT) -> list[Any]:
        return self.feed(PeerUnreached(site(other), CONTROL, cause))

    @property
    def active(self) -> list[int]:
        return numbers(self.overlay.active)

    @property
    def passive(self) -> list[int]:
        return numbers(self.overlay.passive)


class Flock:
    """Overlays that reach each other at once, in the order in which they speak."""

    def __init__(self, config: OverlayConfig = CONFIG, seed: int = 1) -> None:
        self.config = config
        self.seed = seed
        self.now_us = 0
        self.nodes: dict[int, Bare] = {}
        self.links: dict[frozenset[int], None] = {}
        self.said: list[tuple[int, int, Any]] = []  # from, to, message
        self.said_max = 10_000_000  # more is a flood without end
        self.events: dict[int, list[Any]] = {}
        self.loses: Callable[[int, int, Any], bool] = lambda sender, to, message: False
        self._inbox: deque[tuple[int, Any]] = deque()

    def start(self, *which: int, seeds: Iterable[int] = ()) -> Flock:
        """Start nodes, one by one, that know the addresses of `seeds`."""
        addresses = tuple(f"n{seed}:1" for seed in seeds)
        for number in which:
            node = Bare(number, self.config, seed=self.seed * 1000 + number)
            node.now_us = self.now_us
            node.overlay = Overlay(self.config, Random(self.seed * 1000 + number), self.now_us, me=contact(number))
            self.nodes[number] = node
            self.events[number] = []
            self.feed(number, SeedsResolved(addresses))
            self.wait(2)
        return self

    def kill(self, number: int) -> None:
        """A process ends; the others hear of it."""
        del self.nodes[number]
        for link in [link for link in self.links if number in link]:
            self._break(link, number, Cause.RESET)
        self.run()

    def _break(self, link: frozenset[int], dead: int, cause: Cause) -> None:
        del self.links[link]
        (other,) = link - {dead}
        self._inbox.append((other, PeerLost(contact(dead), CONTROL, cause)))

    def feed(self, number: int, incoming: Any) -> list[Any]:
        node = self.nodes.get(number)
        if node is None:
            return []
        node.now_us = self.now_us
        effects = node.feed(incoming)
        for effect in effects:
            self._carry_out(number, effect)
        self.run()
        return effects

    def _carry_out(self, number: int, effect: Any) -> None:
        match effect:
            case Send(to, message, address):
                self._send(number, number_of(to), message, address)
            case Multicast(to, message):
                for one in to:
                    self._send(number, number_of(one), message, "")
            case Dial(address):
                target = int(address[1:].removesuffix(":1"))
                known = self.nodes.get(target)
                answer = AddressFailed(address, Cause.REFUSED)
                if known is not None:
                    self._link(number, target)
                self._inbox.append((number, AddressAnswered(address, contact(target)) if known else answer))
            case Emit(event):
                self.events[number].append(event)

    def _link(self, number: int, other: int) -> bool:
        link = frozenset((number, other))
        if number == other or other not in self.nodes:
            return False
        if link not in self.links:
            self.links[link] = None
            self._inbox.append((number, PeerConnected(contact(other), CONTROL)))
            self._inbox.append((other, PeerConnected(contact(number), CONTROL)))
        return True

    def _send(self, number: int, to: int, message: Any, address: str) -> None:
        if frozenset((number, to)) not in self.links and not (address and self._link(number, to)):
            self._inbox.append((number, PeerUnreached(site(to), CONTROL, Cause.REFUSED)))
            return
        self.said.append((number, to, message))
        assert len(self.said) < self.said_max, "they talk for ever"
        if not self.loses(number, to, message):
            self._inbox.append((to, MessagesReceived(site(number), [message])))

    def run(self) -> None:
        """Deliver all that was said, what follows from it included."""
        while self._inbox:
            inbox, self._inbox = self._inbox, deque()
            for number, incoming in inbox:
                node = self.nodes.get(number)
                if node is not None:
                    node.now_us = self.now_us
                    for effect in node.feed(incoming):
                        self._carry_out(number, effect)

    def wait(self, us: int) -> Flock:
        """Let time pass; every alarm rings when it is due."""
        until_us = self.now_us + us
        self.run()
        while True:
            due = [(node.overlay.deadline(), number) for number, node in self.nodes.items()]
            due_us, number = min(((at, n) for at, n in due if at is not None), default=(until_us + 1, 0))
            if due_us > until_us:
                break
            self.now_us = max(self.now_us, due_us)
            self.feed(number, Tick())
        self.now_us = until_us
        return self

    # --- what tests ask of a flock ----------------------------------------------------------------------------------

    def active(self, number: int) -> list[int]:
        return self.nodes[number].active

    def passive(self, number: int) -> list[int]:
        return self.nodes[number].passive

    def asymmetric(self) -> list[tuple[int, int]]:
        """Links that only one end believes in."""
        return [(a, b) for a in self.nodes for b in self.active(a) if a not in self.active(b)]

    def components(self) -> list[list[int]]:
        """The islands of the graph of neighbours."""
        left = dict.fromkeys(self.nodes)
        islands: list[list[int]] = []
        while left:
            frontier = [next(iter(left))]
            island: dict[int, None] = {}
            while frontier:
                one = frontier.pop()
                if one not in island:
                    island[one] = None
                    left.pop(one, None)
                    frontier += self.active(one)
            islands.append(sorted(island))
        return islands
