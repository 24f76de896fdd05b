"""Broadcast machines on links that a test draws: one hop takes 50 ms, and everything said goes through the codec."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Any

from covey.core.ids import Contact, Site
from covey.core.vocabulary import (
    Cause,
    Channel,
    Emit,
    MessagesReceived,
    Multicast,
    NeighborDown,
    NeighborUp,
    PeerConnected,
    PeerLost,
    Send,
    Tick,
    TurnEnded,
    WantTurn,
)
from covey.protocols.broadcast.config import BroadcastConfig
from covey.protocols.broadcast.machine import Broadcast
from covey.protocols.broadcast.vocabulary import Delivered, Spread
from covey.wire import codec

MS = 1_000
SECOND = 1_000_000
HOP = 50 * MS
T1, T2 = 500 * MS, 100 * MS
CONFIG = BroadcastConfig()


def site(name: str) -> Site:
    return Site(name.encode().rjust(16, b"\0"))


def name_of(who: Site) -> str:
    return who.lstrip(b"\0").decode()


def contact(name: str) -> Contact:
    return Contact(site(name), 1, f"{name}:1")


class Net:
    """Nodes by name. Whatever is said arrives one hop later, unless `drops` says otherwise."""

    def __init__(self, config: BroadcastConfig = CONFIG) -> None:
        self.config = config
        self.now_us = 0
        self.nodes: dict[str, Broadcast] = {}
        self.said: list[tuple[str, str, Any]] = []  # from, to, message
        self.heard: dict[str, list[tuple[str, int, bytes]]] = {}  # by node: sender, number, value
        self.drops: Callable[[str, str, Any], bool] = lambda sender, to, message: False
        self.hop: Callable[[str, str], int] = lambda sender, to: HOP
        self._queue: list[tuple[int, int, str, Any]] = []
        self._counter = 0

    def start(self, *names: str) -> Net:
        for name in names:
            self.nodes[name] = Broadcast(self.config, self.now_us, me=contact(name))
            self.heard[name] = []
        return self

    def link(self, *pairs: str) -> Net:
        """`link("ab", "bc")`: these are neighbours of each other."""
        for one, other in map(tuple, pairs):
            for a, b in ((one, other), (other, one)):
                self.feed(a, NeighborUp(contact(b)))
                self.feed(a, PeerConnected(contact(b), Channel.DATA))
        return self

    def mesh(self, *names: str) -> Net:
        """Everybody a neighbour of everybody."""
        self.start(*names)
        return self.link(*(a + b for at, a in enumerate(names) for b in names[at + 1 :]))

    def unlink(self, one: str, other: str) -> None:
        for a, b in ((one, other), (other, one)):
            if a in self.nodes:
                self.feed(a, NeighborDown(contact(b), Cause.RESET))
                self.feed(a, PeerLost(contact(b), Channel.DATA, Cause.RESET))

    def crash(self, name: str) -> None:
        """It says nothing more; nobody is told."""
        del self.nodes[name]

    def feed(self, name: str, incoming: Any) -> None:
        node = self.nodes[name]
        wants_turn = False
        for effect in node.handle(incoming, self.now_us):
            match effect:
                case Send(to, message):
                    self._say(name, to, message)
                case Multicast(to, message):
                    for one in to:
                        self._say(name, one, message)
                case Emit(Delivered(sender, _, _, first, _, values)):
                    self.heard[name] += [(name_of(sender), first + at, value) for at, value in enumerate(values)]
                case WantTurn():
                    wants_turn = True
        node.check()
        node.statistics()
        if wants_turn:
            self.feed(name, TurnEnded())

    def _say(self, name: str, to: Site, message: Any) -> None:
        (decoded,), _ = codec.decode_body(codec.join_body([codec.encode_message(message)]))
        other = name_of(to)
        self.said.append((name, other, decoded))
        if not self.drops(name, other, decoded):
            self._counter += 1
            fact = MessagesReceived(site(name), (decoded,))
            heapq.heappush(self._queue, (self.now_us + self.hop(name, other), self._counter, other, fact))

    def hear(self, to: str, sender: str, *messages: Any) -> None:
        """A message from anybody, right now."""
        self.feed(to, MessagesReceived(site(sender), messages))

    def broadcast(self, name: str, *values: bytes) -> Net:
        self.feed(name, Spread(b"news", values or (b"\x01",)))
        return self

    def run(self, us: int = 10 * SECOND) -> Net:
        """Time goes on."""
        until_us = self.now_us + us
        while True:
            alarms = [(due, name) for name, node in self.nodes.items() if (due := node.deadline()) is not None]
            alarm = min(alarms, default=None)
            arrival_us = self._queue[0][0] if self._queue else None
            if alarm is not None and alarm[0] <= until_us and (arrival_us is None or alarm[0] < arrival_us):
                self.now_us = max(self.now_us, alarm[0])
                self.feed(alarm[1], Tick())
            elif arrival_us is not None and arrival_us <= until_us:
                self.now_us, _, name, fact = heapq.heappop(self._queue)
                if name in self.nodes:
                    self.feed(name, fact)
            else:
                self.now_us = until_us
                return self

    def sent(self, kind: type, sender: str = "", to: str = "") -> list[tuple[str, str, Any]]:
        """What was said of one kind since the last `forget`."""
        return [
            said for said in self.said
            if type(said[2]) is kind and sender in ("", said[0]) and to in ("", said[1])
        ]  # fmt: skip

    def forget(self) -> Net:
        self.said.clear()
        return self

    def eager(self, name: str) -> set[str]:
        return {name_of(peer) for peer in self.nodes[name].tree.eager}

    def lazy(self, name: str) -> set[str]:
        return {name_of(peer) for peer in self.nodes[name].tree.lazy}

    def numbers(self, name: str) -> list[int]:
        """Of what one node has heard, in the order in which it did."""
        return [number for _, number, _ in self.heard[name]]

    def edges(self) -> set[frozenset[str]]:
        """Links that both ends hold eager."""
        return {
            frozenset((a, b)) for a in self.nodes for b in self.eager(a) if b in self.nodes and a in self.eager(b)
        }  # fmt: skip


def grown(names: Iterable[str], pairs: Iterable[str], config: BroadcastConfig = CONFIG) -> Net:
    """Nodes with some links, after two broadcasts: the tree stands."""
    net = Net(config).start(*names).link(*pairs)
    first = next(iter(net.nodes))
    for _ in range(2):
        net.broadcast(first).run()
    return net.forget()
