"""Membership machines joined by links that a test controls. Messages travel as objects, and after each step:

- `Persist` stands first, once, and the disk holds every operation that the rest of the list mentions;
- the disk holds exactly the record;
- the fold of `MemberJoined` and `MemberLeft` is `members()`, another cluster leaving nobody but ourselves;
- no stamp on one key ever carries two values, in the whole net;
- the machine's own `check()`.

Nothing is delivered before `run`, `deliver` or `wait`; time moves by `wait` only.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

from covey.core.ids import Site
from covey.core.vocabulary import (
    AddressAnswered,
    AddressFailed,
    Cause,
    Channel,
    MessagesReceived,
    PeerConnected,
    PeerLost,
    Tick,
    WallOffset,
)
from covey.protocols.membership.config import MembershipConfig
from covey.protocols.membership.record import Key, Stamp, key_of, stamp
from covey.wire.messages.membership import Op, Sync
from tests.protocols.membership.membership_node import (
    DURABLE,
    NEVER,
    SECOND,
    SHARED,
    START_WALL_US,
    Node,
    mem,
    op,
    site,
)

__all__ = [
    "DURABLE",
    "NEVER",
    "SECOND",
    "SHARED",
    "START_WALL_US",
    "Net",
    "Node",
    "agree",
    "mem",
    "op",
    "record_of",
    "site",
    "three",
]


class Link:
    """What is on its way between two lives, in each direction."""

    def __init__(self, a: Node, b: Node) -> None:
        self.ends = (a, b)
        self.flying: list[tuple[Node, Node, Any]] = []

    def other(self, node: Node) -> Node:
        return self.ends[1] if node is self.ends[0] else self.ends[0]


class Net:
    """Nodes, links and the time."""

    def __init__(self, config: MembershipConfig = DURABLE, seed: int = 0, strict: bool = True) -> None:
        self.config = config
        self.seed = seed
        self.strict = strict
        self.rng = Random(f"net {seed}")
        self.now_us = 0
        self.nodes: list[Node] = []
        self.links: list[Link] = []
        self.requests = 0
        self.loss = self.duplicate = 0.0
        self.reorder = False
        self.cut: set[tuple[int, int]] = set()  # directed: what the first says does not arrive at the second
        self.carried: list[tuple[int, int, Any]] = []  # every message that arrived
        self.seen: dict[tuple[Stamp, Key], Op] = {}

    def add(self, number: int, config: MembershipConfig | None = None, skew_us: int = 0) -> Node:
        """A fresh node, linked to nobody."""
        node = Node.__new__(Node)
        self.nodes.append(node)
        node.__init__(self, number, config or self.config, self.incarnation(), {})  # type: ignore[misc]
        if skew_us:
            node.skew_us = skew_us
            node.feed(WallOffset(START_WALL_US + skew_us))
        return node

    def incarnation(self) -> int:
        return (START_WALL_US + self.now_us) // 1000

    def next_incarnation(self, node: Node) -> int:
        """`max(stored + 1, wall clock)`, what the runtime does."""
        return max(node.machine.me.incarnation + 1, self.incarnation() + node.skew_us // 1000)

    def see(self, op: Op) -> None:
        known = self.seen.setdefault((stamp(op), key_of(op)), op)
        assert known == op, "one stamp on one key carries one value"

    # --- links ------------------------------------------------------------------------------------------------------

    def link(self, a: Node, b: Node) -> None:
        """A link comes up between two that are in one cluster; both are told."""
        assert a.machine.cluster == b.machine.cluster
        if any({a, b} == set(link.ends) for link in self.links):
            return
        contacts = {node: node.machine.me for node in (a, b)}
        self.links.append(Link(a, b))
        a.feed(PeerConnected(contacts[b], Channel.CONTROL))
        b.feed(PeerConnected(contacts[a], Channel.CONTROL))

    def mesh(self, *nodes: Node) -> None:
        """Link all of them, where they are of one cluster."""
        chosen = [node for node in (nodes or tuple(self.nodes)) if node.alive]
        for at, a in enumerate(chosen):
            for b in chosen[at + 1 :]:
                if a.machine.cluster == b.machine.cluster:
                    self.link(a, b)

    def unlink(self, a: Node, b: Node) -> None:
        for link in [link for link in self.links if set(link.ends) == {a, b}]:
            self._break(link)

    def isolate(self, node: Node, others: Iterable[Node] | None = None) -> None:
        """Nothing passes between `node` and the others (all, if none are named), and no link can be made."""
        for other in [other for other in (self.nodes if others is None else others) if other is not node]:
            self.unlink(node, other)
            self.cut |= {(node.number, other.number), (other.number, node.number)}

    def blocked(self, a: Node, b: Node) -> bool:
        return (a.number, b.number) in self.cut or (b.number, a.number) in self.cut

    def unlink_all(self, node: Node) -> None:
        for link in [link for link in self.links if node in link.ends]:
            self._break(link)

    def _break(self, link: Link) -> None:
        self.links.remove(link)
        a, b = link.ends
        a.feed(PeerLost(b.machine.me, Channel.CONTROL, Cause.RESET))
        b.feed(PeerLost(a.machine.me, Channel.CONTROL, Cause.RESET))

    def dial(self, node: Node, address: str) -> None:
        target = next((other for other in self.nodes if other.address == address and other.alive), None)
        if target is None or self.blocked(node, target):
            node.feed(AddressFailed(address, Cause.REFUSED))
        elif target.machine.cluster != node.machine.cluster:
            node.feed(AddressFailed(address, Cause.CLUSTER))
        else:
            if target is not node:
                self.link(node, target)
            node.feed(AddressAnswered(address, target.machine.me))

    def send(self, node: Node, to: Site, message: Any, address: str) -> None:
        link = next((link for link in self.links if node in link.ends and link.other(node).site == to), None)
        if link is None and address:
            target = next((other for other in self.nodes if other.address == address and other.alive), None)
            there = target is not None and target is not node and target.machine.cluster == node.machine.cluster
            if target is not None and there and not self.blocked(node, target):
                self.link(node, target)
                link = self.links[-1]
        if link is None or self.rng.random() < self.loss:
            return
        copies = 2 if self.rng.random() < self.duplicate else 1
        link.flying += [(node, link.other(node), message)] * copies

    # --- time -------------------------------------------------------------------------------------------------------

    def deliver(self) -> bool:
        """One message arrives; False if none is on its way."""
        links = [link for link in self.links if link.flying]
        if not links:
            return False
        link = self.rng.choice(links) if self.reorder else links[0]
        source, target, message = link.flying.pop(self.rng.randrange(len(link.flying)) if self.reorder else 0)
        if (source.number, target.number) not in self.cut:
            self.carried.append((source.number, target.number, message))
            target.feed(MessagesReceived(source.site, [message]))
        return True

    def run(self, messages_max: int = 10_000) -> None:
        """Let everything arrive."""
        for _ in range(messages_max):
            if not self.deliver():
                return
        raise AssertionError("the net does not come to rest")

    def wait(self, duration_us: int) -> None:
        """Let time pass; alarms ring when they are due, and what is said arrives at once."""
        end_us = self.now_us + duration_us
        self.run()
        while True:
            due = {node: node.machine.deadline() for node in self.nodes if node.alive}
            times = [(at_us, node.number, node) for node, at_us in due.items() if at_us is not None]
            if not times or (first := min(times, key=lambda entry: entry[:2]))[0] > end_us:
                break
            at_us, _, node = first
            self.now_us = max(self.now_us, at_us)
            node.feed(Tick())
            self.run()
        self.now_us = end_us

    def sync(self, source: Node, target: Node) -> Sync:
        """`source` says a sync to `target`, and whatever that causes is lost: classy's `cast_sync`, step by step."""
        (send,) = source.machine.exchange.sync(target.site, False, self.now_us)
        for link in self.links:
            link.flying.clear()
        target.feed(MessagesReceived(source.site, [send.message]))
        for link in self.links:
            link.flying.clear()
        message: Sync = send.message
        return message


def record_of(node: Node) -> dict[Key, Op]:
    """All that a node knows."""
    return {key_of(entry.op): entry.op for entry in node.machine.record.entries()}


def agree(*nodes: Node) -> bool:
    """Whether all hold one record and show the same members."""
    return len({node.machine.record.digest for node in nodes}) == 1 and all(
        node.members == nodes[0].members for node in nodes
    )


def three(config: MembershipConfig = DURABLE) -> tuple[Net, Node, Node, Node]:
    """Three members, fully linked and in step."""
    net = Net(config)
    a, b, c = net.add(1), net.add(2), net.add(3)
    net.mesh()
    net.wait(3 * SECOND)
    assert a.members == [1, 2, 3]
    assert agree(a, b, c)
    return net, a, b, c
