"""The simulated world: many nodes of the shipped code, one heap of events, one seed.

Everything a process can meet is an entry `(at_us, number, node, action)` in one heap. The seed decides latencies,
faults and the machines' own randomness, so a run repeats itself byte for byte on every Python and under every hash
seed; the digest of its trace proves it. Bytes are really encoded, framed, proved and decoded by the machines
themselves.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from covey.core.ids import cluster_id, draw_site
from covey.core.rng import derive
from covey.core.vocabulary import Cause
from covey.engine.engine import EngineConfig
from covey.engine.gate import Persisted, PersistFailed, Store
from covey.protocols.links.vocabulary import (
    BytesReceived,
    ConnectionAccepted,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionOpened,
    ConnectionPaused,
    ConnectionResumed,
)
from covey.protocols.overlay.vocabulary import SeedsResolved
from covey.sim.disk import Disk
from covey.sim.network import SOCKET_BYTES, Network, NetworkFaults, Pipe
from covey.sim.node import SimNode

CLUSTER = cluster_id("simulation")
REFUSE_US = 300  # a closed port answers at once
START_WALL_MS = 1_700_000_000_000


class World:
    """Nodes, a network and a clock, all driven by one seed."""

    def __init__(
        self,
        seed: int,
        *,
        config: EngineConfig | None = None,
        faults: NetworkFaults | None = None,
        telling: bool = False,
    ) -> None:
        self.seed = seed
        self.config = config or EngineConfig()
        self.now_us = 0
        self.steps = 0
        self.telling = telling
        self.rng = derive(seed, "world")
        self.network = Network(derive(seed, "network"), faults or NetworkFaults())
        self.nodes: list[SimNode] = []
        self.listeners: list[Callable[[SimNode, Any], None]] = []
        self.disk_fails = False
        self._heap: list[tuple[int, int, int, Callable[[], None], bool]] = []
        self._number = 0
        self._pipes: dict[tuple[int, int], Pipe] = {}  # (node, its name for the connection)
        self._accepted = 0
        self._lives = 0
        self._digest = hashlib.blake2b(digest_size=16)

    # --- time -------------------------------------------------------------------------------------------------------

    def schedule(self, at_us: int, index: int, action: Callable[[], None], is_alarm: bool = False) -> None:
        """Run `action` at `at_us` on behalf of node `index` (-1: the world itself)."""
        self._number += 1
        heapq.heappush(self._heap, (at_us, self._number, index, action, is_alarm))

    def step(self) -> bool:
        """Run the next action; False when nothing is left."""
        if not self._heap:
            return False
        at_us, _, index, action, is_alarm = heapq.heappop(self._heap)
        self.now_us = max(self.now_us, at_us)
        self.steps += 1
        if index >= 0:
            node = self.nodes[index]
            if node.paused_until_us > self.now_us:
                node.backlog.append((is_alarm, action))
                return True
        action()
        return True

    def run(self, duration_us: int, after_step: Callable[[], None] | None = None) -> None:
        """Let `duration_us` pass."""
        end_us = self.now_us + duration_us
        while self._heap and self._heap[0][0] <= end_us:
            self.step()
            if after_step is not None:
                after_step()
        self.now_us = end_us

    def run_until(self, condition: Callable[[], bool], within_us: int, every_us: int = 100_000) -> bool:
        """Let time pass until `condition()`; False when `within_us` is over first."""
        end_us = self.now_us + within_us
        while not condition():
            if self.now_us >= end_us:
                return False
            self.run(min(every_us, end_us - self.now_us))
        return True

    # --- trace ------------------------------------------------------------------------------------------------------

    def trace(self, index: int, incoming: Any) -> None:
        """Fold a fact into the digest of this run."""
        kind = type(incoming).__name__
        self._digest.update(f"{self.now_us}|{index}|{kind}".encode())
        if kind == "BytesReceived":
            self._digest.update(incoming.data)

    def digest(self) -> str:
        """The digest of everything that happened so far."""
        return self._digest.hexdigest()

    # --- nodes ------------------------------------------------------------------------------------------------------

    def start_node(self, seeds: tuple[str, ...] = (), index: int | None = None, keep_site: bool = False) -> SimNode:
        """Start a process: a new one, or the one at `index` again, with its old site where it kept its disk."""
        self._lives += 1
        rng = derive(self.seed, "node", self._lives)
        if index is None:
            index = len(self.nodes)
        old = self.nodes[index] if index < len(self.nodes) else None
        site = old.site if old is not None and keep_site else draw_site(rng)
        disk = old.disk if old is not None and keep_site else Disk(derive(self.seed, "disk", self._lives))
        incarnation = START_WALL_MS + self.now_us // 1000 + self._lives
        node = SimNode(self, index, site, incarnation, self.config, CLUSTER, rng, disk)
        if old is None:
            self.nodes.append(node)
        else:
            self.nodes[index] = node
        node.feed(SeedsResolved(seeds))
        return node

    def alive(self) -> list[SimNode]:
        """The nodes whose process runs."""
        return [node for node in self.nodes if node.alive]

    def crash(self, node: SimNode, loudly: bool = True) -> None:
        """Kill the process. Loudly: the kernel resets its connections; else the machine vanishes without a word."""
        node.alive = False
        node.disk.crash()
        for key in [key for key in self._pipes if key[0] == node.index]:
            pipe = self._pipes.pop(key)
            pipe.open[node.index] = False
            if loudly:
                self._tell_closed(pipe, pipe.other(node.index), Cause.RESET)

    def pause(self, node: SimNode, duration_us: int) -> None:
        """Stop the process for a while (SIGSTOP, a suspended machine); what arrives waits in its kernel."""
        until_us = self.now_us + duration_us
        if node.paused_until_us >= until_us:
            return
        node.paused_until_us = until_us
        self.schedule(until_us, -1, lambda: self._wake(node))

    def _wake(self, node: SimNode) -> None:
        if node.paused_until_us > self.now_us:
            return
        backlog, node.backlog = node.backlog, []
        # What has arrived is read before late alarms are served: the runner's rule for late ticks.
        for alarms in (False, True):
            for is_alarm, action in backlog:
                if is_alarm is alarms:
                    action()

    # --- the network's side of the effects --------------------------------------------------------------------------

    def open(self, node: SimNode, connection: int, address: str) -> None:
        """Connect a node to an address, as far as the network and the other side allow."""
        target = next((other for other in self.nodes if other.address == address), None)
        if target is None:
            self._fail(node, connection, Cause.REFUSED, REFUSE_US)
            return
        if self.network.blocked(node.index, target.index) or self.network.blocked(target.index, node.index):
            return  # the caller's own timer ends it
        latency_us = self.network.latency_us(node.index, target.index)

        def arrive() -> None:
            goal = self.nodes[target.index]
            if not goal.alive:
                self._fail(node, connection, Cause.REFUSED, latency_us)
                return
            if not node.alive:
                return
            self._accepted -= 1
            pipe = Pipe(node.index, goal.index, connection, self._accepted)
            self._pipes[node.index, connection] = pipe
            self._pipes[goal.index, self._accepted] = pipe
            self._later(latency_us, node, ConnectionOpened(connection))
            goal.feed(ConnectionAccepted(self._accepted, node.address))

        self.schedule(self.now_us + latency_us, target.index, arrive)

    def _fail(self, node: SimNode, connection: int, cause: Cause, after_us: int) -> None:
        self._later(after_us, node, ConnectionFailed(connection, cause))

    def _later(self, after_us: int, node: SimNode, fact: Any) -> None:
        self.schedule(self.now_us + after_us, node.index, lambda: node.feed(fact))

    def write(self, node: SimNode, connection: int, data: bytes) -> None:
        """Send bytes on their way to the other end."""
        pipe = self._pipes.get((node.index, connection))
        if pipe is None or not pipe.open[node.index]:
            return
        target = pipe.other(node.index)
        pipe.in_flight[target] += len(data)
        if pipe.in_flight[target] > SOCKET_BYTES and not pipe.paused[node.index]:
            pipe.paused[node.index] = True
            self._later(0, node, ConnectionPaused(connection))
        arrivals = self.network.arrivals(pipe, target, self.now_us)
        if not arrivals:
            self._taken(pipe, target, len(data))
        for copy, at_us in enumerate(arrivals):
            self.schedule(at_us, target, lambda copy=copy: self._deliver(pipe, target, data, copy))  # type: ignore[misc]

    def _deliver(self, pipe: Pipe, target: int, data: bytes, copy: int) -> None:
        if self._held_back(pipe, target):
            pipe.stalled.append((target, data, copy))
            return
        if copy == 0:
            self._taken(pipe, target, len(data))
        if pipe.open[target]:
            self.nodes[target].feed(BytesReceived(pipe.connections[target], data))

    def _held_back(self, pipe: Pipe, target: int) -> bool:
        """Whether what arrives at `target` has to wait: for a cut to be mended, or behind what waits already."""
        stalled = any(towards == target for towards, _, _ in pipe.stalled)
        return stalled or self.network.blocked(pipe.other(target), target)

    def _taken(self, pipe: Pipe, target: int, size: int) -> None:
        """The reader took bytes, or they were lost: the writer has room again."""
        writer = pipe.other(target)
        pipe.in_flight[target] -= size
        if pipe.paused[writer] and pipe.in_flight[target] <= SOCKET_BYTES // 2:
            pipe.paused[writer] = False
            if pipe.open[writer]:
                self._later(0, self.nodes[writer], ConnectionResumed(pipe.connections[writer]))

    def close(self, node: SimNode, connection: int) -> None:
        """End a connection; the other end hears of it behind what was written."""
        pipe = self._pipes.pop((node.index, connection), None)
        if pipe is None or not pipe.open[node.index]:
            return
        pipe.open[node.index] = False
        self._tell_closed(pipe, pipe.other(node.index), Cause.CLOSED)

    def _tell_closed(self, pipe: Pipe, target: int, cause: Cause) -> None:
        at_us = max(self.now_us + self.network.latency_us(pipe.other(target), target), pipe.ready_us[target])
        self.schedule(at_us, target, lambda: self._closed(pipe, target, cause))

    def _closed(self, pipe: Pipe, target: int, cause: Cause) -> None:
        if self._held_back(pipe, target):
            pipe.stalled.append((target, cause, 0))
        elif pipe.open[target]:
            pipe.open[target] = False
            self._pipes.pop((target, pipe.connections[target]), None)
            self.nodes[target].feed(ConnectionClosed(pipe.connections[target], cause))

    def mend(self) -> None:
        """End all cuts; what they held back arrives, in its order and before anything younger."""
        self.network.mend()
        seen: dict[int, None] = {}
        mail: dict[int, list[tuple[bool, Callable[[], None]]]] = {}
        for pipe in list(self._pipes.values()):
            if id(pipe) in seen:
                continue
            seen[id(pipe)] = None
            stalled, pipe.stalled = pipe.stalled, []
            for target, what, copy in stalled:
                let_go = partial(self._let_go, pipe, target, what, copy)
                node = self.nodes[target]
                if node.paused_until_us > self.now_us:
                    mail[target] = [*mail.get(target, []), (False, let_go)]
                else:
                    let_go()
        for target, actions in mail.items():  # older than all that reached the stopped process meanwhile
            self.nodes[target].backlog[:0] = actions

    def _let_go(self, pipe: Pipe, target: int, what: bytes | Cause, copy: int) -> None:
        if isinstance(what, Cause):
            self._closed(pipe, target, what)
        else:
            self._deliver(pipe, target, what, copy)

    # --- disks and events -------------------------------------------------------------------------------------------

    def store(self, node: SimNode, store: Store) -> None:
        """Queue for the disk; one transaction at a time takes all that is queued."""
        node.disk.write(store)
        if not node.syncing:
            node.syncing = True
            self.schedule(self.now_us + self.rng.randint(50, 20_000), node.index, lambda: self._sync(node))

    def _sync(self, node: SimNode) -> None:
        node.syncing = False
        if not node.alive:
            return
        if self.disk_fails:
            for store in node.disk.fail():
                node.feed(PersistFailed(store.log, store.position, "no space left on device"))
            return
        for store in node.disk.sync():
            node.feed(Persisted(store.log, store.position))

    def on_event(self, node: SimNode, event: Any) -> None:
        """Tell a node's event to whoever listens."""
        for listener in self.listeners:
            listener(node, event)


def shuffled(rng: Random, items: list[SimNode]) -> list[SimNode]:
    """A random order, drawn from `rng`."""
    copy = list(items)
    rng.shuffle(copy)
    return copy
