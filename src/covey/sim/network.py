"""The simulated network: connections that behave like TCP on a bad day.

A pipe joins two nodes. Bytes arrive in the order they were written, after the link's latency. A cut stalls what crosses
it, closings included, until it is mended: so one side may go on believing. Where the profile asks for it whole writes
are also lost, doubled or overtaken, which TCP never does; the protocols must live with it all the same.
"""

from __future__ import annotations

from random import Random

import msgspec

from covey.core.ordered import OrderedSet
from covey.core.vocabulary import Cause

SOCKET_BYTES = 256 * 1024  # what the two kernels hold for a reader that does not read


class NetworkFaults(msgspec.Struct, frozen=True):
    """Chances per write and latencies, in parts of one and microseconds."""

    latency_us_min: int = 100
    latency_us_max: int = 2_000
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    slow_link: float = 0.0  # share of links whose latency is a hundred times longer


class LinkFaults(msgspec.Struct, frozen=True):
    """What is wrong with one direction between two nodes: chances per write, and a delay added to each."""

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay_us_max: int = 0


GOOD = LinkFaults()


class Pipe:
    """One connection between two nodes."""

    __slots__ = ("acceptor", "connections", "dialler", "in_flight", "open", "paused", "ready_us", "stalled")

    def __init__(self, dialler: int, acceptor: int, dialler_connection: int, acceptor_connection: int) -> None:
        self.dialler = dialler
        self.acceptor = acceptor
        self.connections = {dialler: dialler_connection, acceptor: acceptor_connection}
        self.open = {dialler: True, acceptor: True}
        self.ready_us = {dialler: 0, acceptor: 0}  # when the last write towards that end arrives
        self.in_flight = {dialler: 0, acceptor: 0}  # bytes on their way to that end, unread ones included
        self.paused = {dialler: False, acceptor: False}  # whether the writer at that end was told to wait
        self.stalled: list[tuple[int, bytes | Cause, int]] = []  # (towards, what, copy) held back by a cut, in order

    def other(self, end: int) -> int:
        """The node at the other end."""
        return self.acceptor if end == self.dialler else self.dialler


class Network:
    """Who can reach whom, and how long it takes."""

    def __init__(self, rng: Random, faults: NetworkFaults) -> None:
        self._rng = rng
        self.faults = faults
        self.cuts: OrderedSet[tuple[int, int]] = OrderedSet()  # (from, to): nothing passes
        self._slow: dict[tuple[int, int], bool] = {}
        self.ill: dict[tuple[int, int], LinkFaults] = {}  # (from, to)

    def blocked(self, source: int, target: int) -> bool:
        """Whether nothing passes from `source` to `target`."""
        return (source, target) in self.cuts

    def cut(self, source: int, target: int) -> None:
        """Let nothing pass from `source` to `target` any more."""
        self.cuts.add((source, target))

    def mend(self) -> None:
        """End all cuts."""
        self.cuts = OrderedSet()

    def good(self, one: int, other: int) -> bool:
        """Whether all that two nodes say to each other arrives, in time and order."""
        faults = self.faults
        if faults.loss or faults.duplicate or faults.reorder or faults.slow_link:
            return False
        pairs = ((one, other), (other, one))
        return not any(pair in self.cuts or pair in self.ill for pair in pairs)

    def latency_us(self, source: int, target: int) -> int:
        """How long one write takes between the two."""
        faults = self.faults
        latency = self._rng.randint(faults.latency_us_min, faults.latency_us_max)
        pair = (min(source, target), max(source, target))
        if faults.slow_link:
            if pair not in self._slow:
                self._slow[pair] = self._rng.random() < faults.slow_link
            if self._slow[pair]:
                latency *= 100
        ill = self.ill.get((source, target))
        return latency + self._rng.randint(0, ill.delay_us_max) if ill is not None and ill.delay_us_max else latency

    def arrivals(self, pipe: Pipe, target: int, now_us: int) -> list[int]:
        """When a write towards `target` arrives: usually once and in order; with faults never, twice or early."""
        faults, rng = self.faults, self._rng
        ill = self.ill.get((pipe.other(target), target), GOOD)
        loss, reorder = max(faults.loss, ill.loss), max(faults.reorder, ill.reorder)
        duplicate = max(faults.duplicate, ill.duplicate)
        latency = self.latency_us(pipe.other(target), target)
        if loss and rng.random() < loss:
            return []
        at_us = now_us + latency
        if not (reorder and rng.random() < reorder):
            at_us = max(at_us, pipe.ready_us[target])
        pipe.ready_us[target] = max(at_us, pipe.ready_us[target])
        if duplicate and rng.random() < duplicate:
            return [at_us, at_us + self.latency_us(pipe.other(target), target)]
        return [at_us]

    def calm(self) -> None:
        """End all faults."""
        self.faults = NetworkFaults(self.faults.latency_us_min, self.faults.latency_us_max)
        self._slow.clear()
        self.ill.clear()
        self.mend()
