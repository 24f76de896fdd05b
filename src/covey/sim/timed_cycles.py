"""The papers' world with time: a latency of each link, and the timers of broadcast as they are shipped."""

from __future__ import annotations

import heapq
from typing import Any

from covey.protocols.broadcast.config import BroadcastConfig
from covey.protocols.overlay.config import OverlayConfig
from covey.sim.cycles import TICK, Flock, Sent


class TimedFlock(Flock):
    """The same with a latency of each link, drawn once, and timers that ring while messages are under way."""

    def __init__(
        self, seed: int, overlay: OverlayConfig, broadcast: BroadcastConfig, least_us: int, most_us: int
    ) -> None:
        super().__init__(seed, overlay, broadcast)
        self._least_us, self._most_us = least_us, most_us
        self._latencies: dict[tuple[int, int], int] = {}
        self._due: list[tuple[int, int, int, Any]] = []  # when, order, number, what it hears on its tree
        self._order = 0
        self.began_us = 0
        self.slowest_us = 0  # of the last broadcast: until the last node got it

    def timed_broadcast(self, number: int) -> Sent:
        """One message from one node, until nothing is under way and nobody waits for anything."""
        self.began_us, self.slowest_us = self.now_us, 0
        self._say_anew(number)
        sent = self.sent
        while True:
            self._take_round()
            if not self._due:
                return sent
            self.now_us, _, number, incoming = heapq.heappop(self._due)
            before = sent.delivered
            self._feed(number, self.broadcasts[number], incoming)
            if sent.delivered > before:
                self.slowest_us = self.now_us - self.began_us
            due_us = self.broadcasts[number].tree.next_word()
            if due_us is not None:
                self._put(max(due_us, self.now_us), number, TICK)

    def _take_round(self) -> None:
        """What was said just now arrives when its link lets it."""
        heard, self._round = self._round, []
        for number, _, incoming in heard:
            sender = self._sites[incoming.peer]
            link = (min(sender, number), max(sender, number))
            latency_us = self._latencies.get(link)
            if latency_us is None:
                latency_us = self._latencies[link] = self.rng.randrange(self._least_us, self._most_us + 1)
            self._put(self.now_us + latency_us, number, incoming)

    def _put(self, at_us: int, number: int, incoming: Any) -> None:
        self._order += 1
        heapq.heappush(self._due, (at_us, self._order, number, incoming))
