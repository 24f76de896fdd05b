"""The sockets of the simulated world: connections between processes, and what their kernels hold."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from covey.core.vocabulary import Cause
from covey.protocols.links.vocabulary import (
    BytesReceived,
    ConnectionAccepted,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionOpened,
    ConnectionPaused,
    ConnectionResumed,
)
from covey.sim.network import SOCKET_BYTES, Network, Pipe
from covey.sim.node import SimNode

if TYPE_CHECKING:
    from covey.sim.world import World

REFUSE_US = 300  # a closed port answers at once


class Sockets:
    """Carries out what nodes say to the network, and tells them what comes of it.

    Law: what one end writes arrives in order or not at all, as long as the profile does not ask for worse; the end of
    a connection is told behind what was written on it.
    """

    def __init__(self, world: World, network: Network) -> None:
        self._world = world
        self._network = network
        self.pipes: dict[tuple[int, int], Pipe] = {}  # (node, its name for the connection)
        self._accepted = 0

    def open(self, node: SimNode, connection: int, address: str) -> None:
        """Connect a node to an address, as far as the network and the other side allow."""
        target = next((other for other in self._world.nodes if other.address == address), None)
        if target is None:
            self._fail(node, connection, Cause.REFUSED, REFUSE_US)
            return
        if self._network.blocked(node.index, target.index) or self._network.blocked(target.index, node.index):
            return  # the caller's own timer ends it
        latency_us = self._network.latency_us(node.index, target.index)

        def arrive() -> None:
            goal = self._world.nodes[target.index]
            if goal.vanished:
                return
            if not goal.alive:
                self._fail(node, connection, Cause.REFUSED, latency_us)
                return
            if not node.alive:
                return
            self._accepted -= 1
            pipe = Pipe(node.index, goal.index, connection, self._accepted)
            self.pipes[node.index, connection] = pipe
            self.pipes[goal.index, self._accepted] = pipe
            self._later(latency_us, node, ConnectionOpened(connection))
            goal.feed(ConnectionAccepted(self._accepted, node.address))

        self._world.schedule(self._world.now_us + latency_us, target.index, arrive)

    def _fail(self, node: SimNode, connection: int, cause: Cause, after_us: int) -> None:
        self._later(after_us, node, ConnectionFailed(connection, cause))

    def _later(self, after_us: int, node: SimNode, fact: Any) -> None:
        self._world.schedule(self._world.now_us + after_us, node.index, lambda: node.feed(fact))

    def write(self, node: SimNode, connection: int, data: bytes) -> None:
        """Send bytes on their way to the other end."""
        pipe = self.pipes.get((node.index, connection))
        if pipe is None or not pipe.open[node.index]:
            return
        target = pipe.other(node.index)
        pipe.in_flight[target] += len(data)
        if pipe.in_flight[target] > SOCKET_BYTES and not pipe.paused[node.index]:
            pipe.paused[node.index] = True
            self._later(0, node, ConnectionPaused(connection))
        arrivals = self._network.arrivals(pipe, target, self._world.now_us)
        if not arrivals:
            self._taken(pipe, target, len(data))
        for copy, at_us in enumerate(arrivals):
            self._world.schedule(at_us, target, partial(self._deliver, pipe, target, data, copy))

    def _deliver(self, pipe: Pipe, target: int, data: bytes, copy: int) -> None:
        if self._held_back(pipe, target):
            pipe.stalled.append((target, data, copy))
            return
        if copy == 0:
            self._taken(pipe, target, len(data))
        if pipe.open[target]:
            self._world.nodes[target].feed(BytesReceived(pipe.connections[target], data))

    def _held_back(self, pipe: Pipe, target: int) -> bool:
        """Whether what arrives at `target` has to wait: for a cut to be mended, or behind what waits already."""
        stalled = any(towards == target for towards, _, _ in pipe.stalled)
        return stalled or self._network.blocked(pipe.other(target), target)

    def _taken(self, pipe: Pipe, target: int, size: int) -> None:
        """The reader took bytes, or they were lost: the writer has room again."""
        writer = pipe.other(target)
        pipe.in_flight[target] -= size
        if pipe.paused[writer] and pipe.in_flight[target] <= SOCKET_BYTES // 2:
            pipe.paused[writer] = False
            if pipe.open[writer]:
                self._later(0, self._world.nodes[writer], ConnectionResumed(pipe.connections[writer]))

    def close(self, node: SimNode, connection: int) -> None:
        """End a connection; the other end hears of it behind what was written."""
        pipe = self.pipes.pop((node.index, connection), None)
        if pipe is None or not pipe.open[node.index]:
            return
        pipe.open[node.index] = False
        self._tell_closed(pipe, pipe.other(node.index), Cause.CLOSED)

    def _tell_closed(self, pipe: Pipe, target: int, cause: Cause) -> None:
        at_us = max(self._world.now_us + self._network.latency_us(pipe.other(target), target), pipe.ready_us[target])
        self._world.schedule(at_us, target, lambda: self._closed(pipe, target, cause))

    def _closed(self, pipe: Pipe, target: int, cause: Cause) -> None:
        if self._held_back(pipe, target):
            pipe.stalled.append((target, cause, 0))
        elif pipe.open[target]:
            pipe.open[target] = False
            self.pipes.pop((target, pipe.connections[target]), None)
            self._world.nodes[target].feed(ConnectionClosed(pipe.connections[target], cause))

    def mend(self) -> None:
        """End all cuts; what they held back arrives, in its order and before anything younger."""
        self._network.mend()
        seen: dict[int, None] = {}
        mail: dict[int, list[tuple[bool, Callable[[], None]]]] = {}
        for pipe in list(self.pipes.values()):
            if id(pipe) in seen:
                continue
            seen[id(pipe)] = None
            stalled, pipe.stalled = pipe.stalled, []
            for target, what, copy in stalled:
                let_go = partial(self._let_go, pipe, target, what, copy)
                node = self._world.nodes[target]
                if node.paused_until_us > self._world.now_us:
                    mail[target] = [*mail.get(target, []), (False, let_go)]
                else:
                    let_go()
        for target, actions in mail.items():  # older than all that reached the stopped process meanwhile
            self._world.nodes[target].backlog[:0] = actions

    def _let_go(self, pipe: Pipe, target: int, what: bytes | Cause, copy: int) -> None:
        if isinstance(what, Cause):
            self._closed(pipe, target, what)
        else:
            self._deliver(pipe, target, what, copy)

    def end(self, node: SimNode, cause: Cause | None) -> None:
        """The process is gone, and its kernel says so to the other ends; or not, where `cause` is None."""
        for key in [key for key in self.pipes if key[0] == node.index]:
            pipe = self.pipes.pop(key)
            pipe.open[node.index] = False
            if cause is not None:
                self._tell_closed(pipe, pipe.other(node.index), cause)
