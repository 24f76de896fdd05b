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
from random import Random
from typing import Any

from covey.core.ids import Site, cluster_id, draw_site
from covey.core.ordered import OrderedSet
from covey.core.rng import derive
from covey.core.vocabulary import Cause, LoopLagged, Record, SiteContested, Stop, TurnEnded, WallOffset
from covey.engine.engine import Engine, EngineConfig
from covey.engine.gate import Persisted, PersistFailed, Store
from covey.engine.lives import next_incarnation
from covey.protocols.links.vocabulary import CloseLinks
from covey.protocols.overlay.vocabulary import LeaveOverlay, SeedsResolved
from covey.sim.disk import Disk
from covey.sim.network import Network, NetworkFaults
from covey.sim.node import SimNode
from covey.sim.sockets import Sockets
from covey.sim.watch import Watch

CLUSTER = cluster_id("simulation")
START_WALL_MS = 1_700_000_000_000
LIFE, SITE, INCARNATION = "life", b"site", b"incarnation"  # the log in which a disk names its site and its last life
LOGS = (LIFE, *Engine.durable_logs)


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
        self.sockets = Sockets(self, self.network)
        self.nodes: list[SimNode] = []
        self.listeners: list[Callable[[SimNode, Any], None]] = []
        self.watches: list[Watch] = []
        self.disk_fails = False  # every disk
        self.full_disks: OrderedSet[int] = OrderedSet()  # the disks of these nodes
        self.skew_us: dict[int, int] = {}  # by how much the wall clock of a machine is wrong
        self.calm_us: int | None = None  # since when nothing is faulty any more
        self._heap: list[tuple[int, int, int, Callable[[], None], bool]] = []
        self._number = 0
        self._lives = 0
        self._moves = 0
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

    def run_until(
        self,
        condition: Callable[[], bool],
        within_us: int,
        every_us: int = 100_000,
        after_step: Callable[[], None] | None = None,
    ) -> bool:
        """Let time pass until `condition()`; False when `within_us` is over first."""
        end_us = self.now_us + within_us
        while not condition():
            if self.now_us >= end_us:
                return False
            self.run(min(every_us, end_us - self.now_us), after_step)
        return True

    def wall_us(self, index: int) -> int:
        """What the wall clock of that machine is ahead of the world's time."""
        return START_WALL_MS * 1000 + self.skew_us.get(index, 0)

    def turn_clock(self, index: int, skew_us: int) -> None:
        """Somebody sets the wall clock of a machine wrong, or right again."""
        self.skew_us[index] = skew_us
        node = self.nodes[index]
        self.schedule(self.now_us, index, lambda: node.feed(WallOffset(self.wall_us(index))))

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

    def start_node(
        self,
        seeds: tuple[str, ...] = (),
        index: int | None = None,
        keep_site: bool = False,
        *,
        config: EngineConfig | None = None,
        disk: Disk | None = None,
        move: bool = False,
    ) -> SimNode:
        """Start a process: a new one, or the one at `index` again, with its old site where it kept its disk.

        `disk` is one to start from instead; with `move` the process listens at an address of its own from now on.
        """
        self._lives += 1
        rng = derive(self.seed, "node", self._lives)
        if index is None:
            index = len(self.nodes)
        old = self.nodes[index] if index < len(self.nodes) else None
        if disk is None:
            disk = old.disk if old is not None and keep_site else Disk(derive(self.seed, "disk", self._lives))
        address = old.address if old is not None else f"n{index}:1"
        if move:
            self._moves += 1
            address = f"n{index}:{1 + self._moves}"
        site, incarnation = self._begin_life(disk, index, rng)
        config = config or (old.config if old is not None else self.config)
        node = SimNode(self, index, address, site, incarnation, config, CLUSTER, rng, disk, self._lives)
        if old is None:
            self.nodes.append(node)
        else:
            self.nodes[index] = node
        for watch in self.watches:
            watch.started(node)
        node.feed(WallOffset(self.wall_us(index)))
        node.feed(SeedsResolved(seeds))
        return node

    def _begin_life(self, disk: Disk, index: int, rng: Random) -> tuple[Site, int]:
        """Who lives on this disk from now on, and in which life; it is on the disk before anybody hears of it."""
        life = disk.durable(LIFE)
        site = Site(life[SITE]) if SITE in life else draw_site(rng)
        logs = {log: disk.durable(log) for log in LOGS}
        stored = int.from_bytes(life.get(INCARNATION, b""), "big")
        wall_ms = (self.wall_us(index) + self.now_us) // 1000
        incarnation = next_incarnation(stored, logs, site, wall_ms)
        named = (Record(SITE, bytes(site)), Record(INCARNATION, incarnation.to_bytes(8, "big")))
        disk.write(Store(LIFE, 1, named))
        disk.sync()
        return site, incarnation

    def clone(self, node: SimNode, seeds: tuple[str, ...]) -> SimNode:
        """Another machine with a copy of a node's disk, as it stands: the same site twice."""
        disk = Disk(derive(self.seed, "copy", self._lives))
        for log in LOGS:
            records = tuple(Record(key, value) for key, value in sorted(node.disk.durable(log).items()))
            disk.write(Store(log, 1, records))
        disk.sync()
        return self.start_node(seeds, config=node.config, disk=disk)

    def meta_of(self, index: int) -> bytes | None:
        """What the process at that place says of itself."""
        return None

    def alive(self) -> list[SimNode]:
        """The nodes whose process runs."""
        return [node for node in self.nodes if node.alive]

    def running(self) -> list[SimNode]:
        """Those of them that are not stopped just now."""
        return [node for node in self.nodes if node.alive and node.paused_until_us <= self.now_us]

    def crash(self, node: SimNode, loudly: bool = True) -> None:
        """Kill the process. Loudly: the kernel resets its connections; else the machine vanishes without a word."""
        node.alive = False
        node.vanished = not loudly
        node.disk.crash()
        self.sockets.end(node, Cause.RESET if loudly else None)
        node.paused_until_us = 0
        backlog, node.backlog = node.backlog, []
        for _, action in backlog:  # nobody hears it; whoever came in vain is told
            action()

    def stop(self, node: SimNode) -> None:
        """End the process cleanly, as the runner's `close` does."""
        self._flush(node)
        for word in (TurnEnded(), Stop(), LeaveOverlay(), TurnEnded(), CloseLinks()):
            node.feed(word)
        self._flush(node)
        node.alive = False
        node.disk.crash()  # what a disk that refuses did not take
        self.sockets.end(node, Cause.CLOSED)

    def retire(self, node: SimNode) -> None:
        """End the process for good: another one lives as its site."""
        if node.alive:
            node.retired = True
            self.crash(node)

    def pause(self, node: SimNode, duration_us: int) -> None:
        """Stop the process for a while (SIGSTOP, a suspended machine); what arrives waits in its kernel."""
        until_us = self.now_us + duration_us
        if node.paused_until_us >= until_us:
            return
        if node.paused_until_us <= self.now_us:
            node.paused_since_us = self.now_us
        node.paused_until_us = until_us
        self.schedule(until_us, -1, lambda: self._wake(node))

    def _wake(self, node: SimNode) -> None:
        if not node.alive or node.paused_until_us > self.now_us:
            return
        backlog, node.backlog = node.backlog, []
        # What has arrived is read before late alarms are served: the runner's rule for late ticks.
        for is_alarm, action in backlog:
            if not is_alarm:
                action()
        node.feed(LoopLagged(self.now_us - node.paused_since_us))
        for is_alarm, action in backlog:
            if is_alarm:
                action()
        node.feed(LoopLagged(0))

    def mend(self) -> None:
        """End all cuts; what they held back arrives, in its order and before anything younger."""
        self.sockets.mend()

    def calm(self) -> None:
        """End every fault of the network and the disks."""
        self.disk_fails = False
        self.full_disks = OrderedSet()
        self.network.calm()
        self.mend()
        self.calm_us = self.now_us

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
        if self.disk_fails or node.index in self.full_disks:
            for store in node.disk.fail():
                node.feed(PersistFailed(store.log, store.position, "no space left on device"))
            return
        self._flush(node)

    def _flush(self, node: SimNode) -> None:
        """All that is queued is on the disk now, if that takes it."""
        if self.disk_fails or node.index in self.full_disks:
            return
        done = node.disk.sync()
        for store in done:
            for watch in self.watches:
                watch.stored(node, store)
        for store in done:
            node.feed(Persisted(store.log, store.position))

    def on_event(self, node: SimNode, event: Any) -> None:
        """Tell a node's event to whoever listens."""
        for listener in self.listeners:
            listener(node, event)
        for watch in self.watches:
            watch.emitted(node, event)
        if type(event) is SiteContested:
            self.schedule(self.now_us, -1, lambda: self.retire(node))


def shuffled(rng: Random, items: list[SimNode]) -> list[SimNode]:
    """A random order, drawn from `rng`."""
    copy = list(items)
    rng.shuffle(copy)
    return copy
