"""Detectors joined by an in-memory network, in virtual time, from one seed.

A link stands for a TCP connection: it is dialled by the first `Send` with an address, and what is sent on it arrives
unless it is lost, or the pair is blackholed. A silent death leaves its links standing; a kill closes them and refuses
new ones. What a paused node is sent waits, and is read before its overdue timers fire, as in the real world.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from covey.core.ids import Contact, Site
from covey.core.rng import derive
from covey.core.vocabulary import (
    Cause,
    Channel,
    DigestsHeard,
    Emit,
    Flood,
    Liveness,
    LivenessChanged,
    LoopLagged,
    MemberAdded,
    MessagesReceived,
    PeerConnected,
    PeerLost,
    PeerProbed,
    PeerUnreached,
    Send,
    Tick,
)
from covey.protocols.detector.config import DetectorConfig
from covey.protocols.detector.machine import Detector
from covey.wire.messages.detector import DetectorMessage

SECOND = 1_000_000
LAN = DetectorConfig()
FRAME_OVERHEAD = 5  # four bytes of length, one of the list's head
DIAL_TIMEOUT_US = 3 * SECOND  # LinksConfig.connect_us_max

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(DetectorMessage)


def site_of(index: int) -> Site:
    return Site(index.to_bytes(2, "big") + bytes(14))


def contact_of(index: int, incarnation: int = 1) -> Contact:
    return Contact(site_of(index), incarnation, f"n{index}:1")


class DetectorNode:
    """One process. A restart makes a new one in its place."""

    def __init__(self, world: DetectorWorld, index: int, incarnation: int) -> None:
        self.index = index
        self.contact = contact_of(index, incarnation)
        rng = derive(world.seed, "node", index, incarnation)
        self.machine = Detector(world.config, rng, world.now_us, me=self.contact)
        self.up = True
        self.refusing = False  # dead, and its host says so
        self.paused = False
        self.backlog: list[Any] = []
        self.alarm_us: int | None = None
        self.events: list[Any] = []
        self.facts: list[tuple[int, LivenessChanged]] = []
        self.sent: Counter[type] = Counter()
        self.sent_bytes = 0
        self.longest_bytes = 0

    def state(self, index: int) -> Liveness | None:
        return self.machine.state(site_of(index))


class DetectorWorld:
    def __init__(
        self,
        seed: int,
        count: int,
        config: DetectorConfig = LAN,
        *,
        loss: float = 0.0,
        latency_us: tuple[int, int] = (1_800, 2_200),
        degree: int = 5,
        encoded: bool = False,
        check_every: int = 1,
        acquainted: bool = True,
        linked: bool = True,
        wall_us: int = 100 * SECOND,
    ) -> None:
        self.seed = seed
        self.config = config
        self.loss = loss
        self.latency_us = latency_us
        self.encoded = encoded
        self.check_every = check_every
        self.now_us = wall_us
        self.rng = derive(seed, "world")
        self.blocked: set[tuple[int, int]] = set()
        self.links: set[tuple[int, int]] = set()
        self.steps = 0
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0
        self._waiting: dict[tuple[int, int], list[Any]] = {}
        self.neighbours: list[set[int]] = [set() for _ in range(count)]
        self._draw_overlay(count, degree)
        self.nodes = [DetectorNode(self, index, 1) for index in range(count)]
        for node in self.nodes:
            self._set_alarm(node)
        if acquainted:
            for node in self.nodes:
                self.acquaint(node.index, range(count))
        if linked:
            for a in range(count):
                for b in sorted(self.neighbours[a]):
                    if a < b:
                        self.connect(a, b)

    def _draw_overlay(self, count: int, degree: int) -> None:
        for a in range(count):
            others = [b for b in range(count) if b != a]
            for b in others if count <= degree + 1 else self.rng.sample(others, degree):
                self.neighbours[a].add(b)
                self.neighbours[b].add(a)

    def acquaint(self, index: int, others: Iterable[int], observed: bool = True, ephemeral: bool = False) -> None:
        for other in others:
            self.feed(self.nodes[index], MemberAdded(self.nodes[other].contact, ephemeral, observed))

    # --- time -------------------------------------------------------------------------------------------------------

    def later(self, delay_us: int, action: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._heap, (self.now_us + delay_us, self._number, action))

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass; True as soon as `until` holds (looked at after every step)."""
        end_us = self.now_us + round(seconds * SECOND)
        while self._heap and self._heap[0][0] <= end_us:
            self.now_us, _, action = heapq.heappop(self._heap)
            action()
            if until is not None and until():
                return True
        self.now_us = end_us
        return False

    def feed(self, node: DetectorNode, incoming: Any) -> None:
        if not node.up:
            return
        if node.paused:
            node.backlog.append(incoming)
            return
        effects = node.machine.handle(incoming, self.now_us)
        self.steps += 1
        for effect in effects:
            self._execute(node, effect)
        if self.steps % self.check_every == 0:
            node.machine.check()
        self._set_alarm(node)

    def _set_alarm(self, node: DetectorNode) -> None:
        due_us = node.machine.deadline()
        if due_us is None or (node.alarm_us is not None and node.alarm_us <= due_us):
            return
        node.alarm_us = due_us
        self.later(max(due_us - self.now_us, 0), lambda: self._ring(node))

    def _ring(self, node: DetectorNode) -> None:
        if node.paused or not node.up or node.alarm_us is None or node.alarm_us > self.now_us:
            return
        node.alarm_us = None
        due_us = node.machine.deadline()
        if due_us is not None and due_us <= self.now_us:
            self.feed(node, Tick())
        else:
            self._set_alarm(node)

    # --- effects ----------------------------------------------------------------------------------------------------

    def _execute(self, node: DetectorNode, effect: Any) -> None:
        match effect:
            case Send(to, message, address):
                self._send(node, int.from_bytes(to[:2], "big"), message, address)
            case Flood(message, but):
                for other in sorted(self.neighbours[node.index]):
                    if site_of(other) != but and self.linked(node.index, other):
                        self._send(node, other, message, "")
            case LivenessChanged():
                node.facts.append((self.now_us, effect))
            case Emit(event):
                node.events.append(event)
            case DigestsHeard() | PeerProbed():
                pass
            case _:
                raise AssertionError(f"the world does not know {effect!r}")

    def linked(self, a: int, b: int) -> bool:
        return (min(a, b), max(a, b)) in self.links

    def _latency(self) -> int:
        return self.rng.randint(*self.latency_us)

    def _send(self, node: DetectorNode, to: int, message: Any, address: str) -> None:
        node.sent[type(message)] += 1
        size = len(_encoder.encode(message)) + FRAME_OVERHEAD
        node.sent_bytes += size
        node.longest_bytes = max(node.longest_bytes, size)
        if self.encoded:
            message = _decoder.decode(_encoder.encode(message))
        if self.linked(node.index, to):
            self._deliver(node.index, to, message)
            return
        pair = (node.index, to)
        if not address:
            self.later(0, lambda: self._unreached(node, to, Cause.NO_ADDRESS))
        elif pair in self._waiting:
            self._waiting[pair].append(message)
        else:
            self._waiting[pair] = [message]
            self._dial(node, to)

    def _deliver(self, source: int, to: int, message: Any) -> None:
        if (source, to) in self.blocked or self.rng.random() < self.loss:
            return
        received = MessagesReceived(site_of(source), [message])
        target = self.nodes[to]
        self.later(self._latency(), lambda: self.feed(target, received))

    def _unreached(self, node: DetectorNode, to: int, cause: Cause) -> None:
        self._waiting.pop((node.index, to), None)
        self.feed(node, PeerUnreached(site_of(to), Channel.CONTROL, cause))

    def _dial(self, node: DetectorNode, to: int) -> None:
        target = self.nodes[to]
        silent = (node.index, to) in self.blocked or (to, node.index) in self.blocked
        if silent or (not target.up and not target.refusing) or target.paused:
            self.later(DIAL_TIMEOUT_US, lambda: self._unreached(node, to, Cause.TIMEOUT))
        elif not target.up:
            self.later(2 * self._latency(), lambda: self._unreached(node, to, Cause.REFUSED))
        else:
            self.later(3 * self._latency(), lambda: self.connect(node.index, to))

    def connect(self, a: int, b: int) -> None:
        """A link is up between two, and what waited for it leaves."""
        one, other = self.nodes[a], self.nodes[b]
        if one.up and other.up:
            if not self.linked(a, b):
                self.links.add((min(a, b), max(a, b)))
                self.feed(one, PeerConnected(other.contact, Channel.CONTROL))
                self.feed(other, PeerConnected(one.contact, Channel.CONTROL))
            for source, to in ((a, b), (b, a)):
                for message in self._waiting.pop((source, to), ()):
                    self._deliver(source, to, message)

    # --- faults -----------------------------------------------------------------------------------------------------

    def die_silently(self, index: int) -> None:
        """The host is gone, or its cable."""
        self.nodes[index].up = False

    def close_link(self, a: int, b: int, cause: Cause = Cause.RESET) -> None:
        """A link breaks; both ends hear of it."""
        self.links.discard((min(a, b), max(a, b)))
        for here, there in ((a, b), (b, a)):
            fact = PeerLost(self.nodes[there].contact, Channel.CONTROL, cause)
            target = self.nodes[here]
            self.later(self._latency(), lambda target=target, fact=fact: self.feed(target, fact))  # type: ignore[misc]

    def kill(self, index: int, cause: Cause = Cause.RESET) -> None:
        """SIGKILL: the host closes the links and refuses new ones."""
        node = self.nodes[index]
        node.up, node.refusing = False, True
        for a, b in sorted(self.links):
            if index in (a, b):
                self.close_link(a, b, cause)

    def restart(self, index: int, incarnation: int, linked: bool = True) -> DetectorNode:
        """A new process in its place, which has met nobody yet."""
        node = self.nodes[index] = DetectorNode(self, index, incarnation)
        self._set_alarm(node)
        return node

    def pause(self, index: int, us: int) -> None:
        """The process does not run for `us`, whatever arrives."""
        node = self.nodes[index]
        if not node.up or node.paused:
            return
        node.paused = True
        self.later(us, lambda: self._resume(node, us))

    def _resume(self, node: DetectorNode, us: int) -> None:
        node.paused = False
        backlog, node.backlog = node.backlog, []
        for incoming in backlog:
            self.feed(node, incoming)
        self.feed(node, LoopLagged(us))
        node.alarm_us = None
        self.feed(node, Tick())
        self.feed(node, LoopLagged(0))

    def blackhole(self, a: int, b: int) -> None:
        """Nothing passes between two, either way."""
        self.blocked |= {(a, b), (b, a)}

    # --- what tests ask ---------------------------------------------------------------------------------------------

    def states(self, about: int) -> Counter[Liveness | None]:
        """What everybody else that is up holds of one node."""
        return Counter(node.state(about) for node in self.nodes if node.up and node.index != about)

    def all_hold(self, about: int, state: Liveness) -> bool:
        return all(node.state(about) is state for node in self.nodes if node.up and node.index != about)

    def times(self, about: int, state: Liveness) -> list[int]:
        """When each node came to hold that of it."""
        return sorted(
            at
            for node in self.nodes
            for at, fact in node.facts
            if fact.contact.site == site_of(about) and fact.state is state
        )

    def ever(self, state: Liveness) -> list[tuple[int, int, str]]:
        """`(holder, about, why)` of everything that was ever held."""
        return [
            (node.index, int.from_bytes(fact.contact.site[:2], "big"), fact.why)
            for node in self.nodes
            for _, fact in node.facts
            if fact.state is state
        ]
