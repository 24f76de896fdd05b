"""Links machines joined by perfect byte pipes. Nothing moves until a test says so, and each step is checked.

A `Net` holds nodes and pipes. What a machine writes waits in the pipe until it is delivered: `net.run()` delivers all of
it, `net.take(choice)` one piece, `explore` tries every order that a node could tell apart. Time moves by `net.wait` only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from covey.core.ids import Contact, Site, cluster_id
from covey.core.vocabulary import Cause, Channel, Dial, Emit, MessagesReceived, Pin, Send, Tick
from covey.protocols.links.config import LinksConfig
from covey.protocols.links.connection import Stage
from covey.protocols.links.handshake import Identity
from covey.protocols.links.machine import Links
from covey.protocols.links.vocabulary import (
    BytesReceived,
    CloseConnection,
    ConnectionAccepted,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionOpened,
    OpenConnection,
    TurnEnded,
    WantTurn,
    Write,
)
from covey.wire.messages.direct import Payload

CLUSTER = cluster_id("flock")
SECRET = b"the secret of the flock"
SECOND_US = 1_000_000
WORLDLY = (OpenConnection, CloseConnection, WantTurn, Write)


def note(text: str) -> Payload:
    """A message that a test can tell from others."""
    return Payload(msgspec.Raw(msgspec.msgpack.encode(text)))


def identity(number: int, incarnation: int = 1, boot: int = 0, secret: bytes = SECRET, cluster: str = "flock") -> Identity:
    """Who node `number` is: sites are ordered as the numbers are."""
    site = Site(bytes([number]) * 16)
    return Identity(cluster_id(cluster), site, incarnation, bytes([boot]) * 16, secret)


class End:
    """One end of a pipe: what waits to be told to the node there."""

    def __init__(self, node: Node, label: tuple[str, int, str]) -> None:
        self.node = node
        self.label = label  # the dialler's name and number, and which end: the same in every order of events
        self.number = 0
        self.inbox: deque[Any] = deque()
        self.alive = True
        self.other: End


class Node:
    """One machine, what it wrote to the world and what it said to its siblings."""

    def __init__(self, net: Net, name: str, me: Identity, address: str, config: LinksConfig) -> None:
        self.net = net
        self.name = name
        self.me = me
        self.address = address
        self.links = Links(config, Random(f"{name} {me.boot!r}"), net.now_us, identity=me, address=address)
        self.said: list[Any] = []  # facts for other machines and events, in order, messages left out
        self.read: list[tuple[Site, str]] = []
        self.ends: dict[int, End] = {}
        self.script: deque[Callable[[], None]] = deque()
        self.turn_wanted = False
        self.accepted = 0
        self.history: tuple[str, ...] = ()

    @property
    def site(self) -> Site:
        return self.me.site

    @property
    def contact(self) -> Contact:
        return Contact(self.site, self.me.incarnation, self.address)

    def feed(self, incoming: Any) -> list[Any]:
        """Handle one fact or command, check the machine, carry out what it says, and return it."""
        effects = self.links.handle(incoming, self.net.now_us)
        self.links.check()
        self.links.statistics()
        for effect in effects:
            self._carry_out(effect)
        self.net.after_step()
        return effects

    def _carry_out(self, effect: Any) -> None:
        match effect:
            case OpenConnection(number, address):
                self.net.connect(self, number, address)
            case Write(number, data):
                end = self.ends.get(number)
                if end is not None and end.alive and end.other.alive:
                    end.other.inbox.append(data)
            case CloseConnection(number):
                end = self.ends.pop(number)
                end.alive = False
                end.inbox.clear()
                end.other.inbox.append(Cause.CLOSED)
            case WantTurn():
                self.turn_wanted = True
            case MessagesReceived(peer, messages):
                self.read += [(peer, msgspec.msgpack.decode(message.value)) for message in messages]
            case _:
                self.said.append(effect)

    def state(self) -> Any:
        labels = {number: end.label for number, end in self.ends.items()}
        links = self.links
        return (
            len(self.script),
            self.turn_wanted,
            tuple(self.read),
            tuple(self.said),
            tuple((labels[n], c.stage, c.expected, tuple(c.queue), c.splitter.limit) for n, c in links._connections.items()),
            tuple((place, labels[c.number]) for table in (links._links, links._dials) for place, c in table.items()),
            tuple((place, tuple(w.messages), w.tries) for place, w in links._waiting.items()),
            tuple(labels[c.number] for c in links._searches.values()),
            tuple(labels[n] for n in links._turn),
        )

    # --- what tests ask of a node ---------------------------------------------------------------------------------------

    def send(self, to: Node, text: str, channel: Channel = Channel.CONTROL, address: str | None = None) -> list[Any]:
        return self.feed(Send(to.site, note(text), to.address if address is None else address, channel))

    def dial(self, to: Node | str) -> list[Any]:
        return self.feed(Dial(to if isinstance(to, str) else to.address))

    def pin(self, *others: Node) -> None:
        for other in others:
            self.feed(Pin(other.site))

    def heard(self, sender: Node) -> list[str]:
        """The notes of `sender`, in order."""
        return [text for site, text in self.read if site == sender.site]

    def events(self) -> list[Any]:
        return [effect.event for effect in self.said if isinstance(effect, Emit)]

    def facts(self, kind: type) -> list[Any]:
        return [effect for effect in self.said if isinstance(effect, kind)]

    def end(self, other: Node, channel: Channel = Channel.CONTROL) -> End:
        """Our end of the link to `other`."""
        return self.ends[self.links._links[other.site, channel].number]

    def tick(self) -> list[Any]:
        return self.feed(Tick())


class Net:
    """Nodes, pipes and a clock."""

    def __init__(self) -> None:
        self.now_us = 0
        self.nodes: dict[str, Node] = {}
        self.by_address: dict[str, Node] = {}
        self.pipes: list[End] = []  # the dialling ends, in order
        self.open_pipes_max = 0  # how many different pipes were open at one end or both, at any one time
        self.proved: dict[tuple[str, int, str], None] = {}  # pipes whose dialler sent its proof
        self.cut: Callable[[bytes], list[bytes]] = lambda data: [data]
        self.silent: dict[str, None] = {}  # addresses that never answer
        self.refusing: dict[str, Cause] = {}

    def node(self, name: str, me: Identity | int, address: str = "", config: LinksConfig | None = None) -> Node:
        """Start a node. Who starts at an address takes it over."""
        me = identity(me) if isinstance(me, int) else me
        node = Node(self, name, me, address or f"{name}:1", config or LinksConfig())
        self.nodes[name] = self.by_address[node.address] = node
        return node

    def connect(self, node: Node, number: int, address: str) -> None:
        target = self.by_address.get(address)
        ours = End(node, (node.name, number, "dialler"))
        ours.number = number
        node.ends[number] = ours
        self.pipes.append(ours)
        ours.other = theirs = End(target or node, (node.name, number, "acceptor"))
        theirs.other = ours
        theirs.alive = target is not None
        if address in self.silent:
            theirs.alive = False
        elif address in self.refusing or target is None:
            theirs.alive = False
            ours.inbox.append(self.refusing.get(address, Cause.REFUSED))
        else:
            ours.inbox.append("opened")
            theirs.inbox.append("accepted")

    # --- moving ---------------------------------------------------------------------------------------------------------

    def choices(self) -> list[tuple[str, Any]]:
        """What could happen next, in a fixed order."""
        ends = [end for pipe in self.pipes for end in (pipe, pipe.other)]
        found: list[tuple[str, Any]] = [("deliver", end) for end in ends if end.alive and end.inbox]
        found += [("turn", node) for node in self.nodes.values() if node.turn_wanted]
        found += [("act", node) for node in self.nodes.values() if node.script]
        return found

    def take(self, choice: tuple[str, Any]) -> None:
        """Let one of the choices happen."""
        what, where = choice
        if what == "deliver":
            self._deliver(where)
        elif what == "turn":
            where.turn_wanted = False
            where.history += ("turn",)
            where.feed(TurnEnded())
        else:
            where.history += ("act",)
            where.script.popleft()()

    def _deliver(self, end: End) -> None:
        what = end.inbox.popleft()
        node = end.node
        node.history += (f"{end.label} {type(what).__name__} {what if isinstance(what, str) else ''}",)
        if what == "accepted":
            node.accepted -= 1
            end.number = node.accepted
            node.ends[end.number] = end
            node.feed(ConnectionAccepted(end.number, f"from {end.other.node.name}"))
        elif what == "opened":
            node.feed(ConnectionOpened(end.number))
        elif isinstance(what, Cause):
            failed = end.label[2] == "dialler" and not end.other.alive and end.number and what is not Cause.CLOSED
            node.ends.pop(end.number, None)
            end.alive = False
            if end.number:
                node.feed((ConnectionFailed if failed else ConnectionClosed)(end.number, what))
        else:
            for piece in self.cut(what):
                if end.alive:
                    node.feed(BytesReceived(end.number, piece))

    def after_step(self) -> None:
        open_pipes: dict[tuple[str, int], None] = {}
        for pipe in self.pipes:
            for end in (pipe, pipe.other):
                connection = end.node.links._connections.get(end.number) if end.alive else None
                if connection is not None and connection.stage is Stage.OPEN:
                    open_pipes[pipe.label[:2]] = None
                if connection is not None and connection.stage is Stage.PROVED:
                    self.proved[pipe.label] = None
        self.open_pipes_max = max(self.open_pipes_max, len(open_pipes))

    def state(self) -> Any:
        """All that decides what can still happen, and all that a test may ask afterwards: keys and nonces left out."""
        return (
            self.open_pipes_max,
            tuple(self.proved),
            tuple(node.state() for node in self.nodes.values()),
            tuple(
                (end.label, end.alive, tuple(len(what) if isinstance(what, bytes) else what for what in end.inbox))
                for pipe in self.pipes
                for end in (pipe, pipe.other)
            ),
        )

    def run(self, rng: Random | None = None) -> Net:
        """Let everything happen that needs no time, oldest pipe first or in a random order."""
        while choices := self.choices():
            self.take(choices[0] if rng is None else rng.choice(choices))
        return self

    def wait(self, us: int) -> Net:
        """Let time pass; every alarm rings when it is due."""
        until_us = self.now_us + us
        self.run()
        while True:
            due = [(node.links.deadline(), name) for name, node in self.nodes.items()]
            due_us, name = min(((at, name) for at, name in due if at is not None), default=(until_us + 1, ""))
            if due_us > until_us:
                break
            self.now_us = max(self.now_us, due_us)
            self.nodes[name].tick()
            self.run()
        self.now_us = until_us
        return self


def explore(build: Callable[[], Net], examine: Callable[[Net], None]) -> int:
    """Run `build()` in every order of events, and `examine` each way it can end. How many states there are.

    Orders that lead to the same state are followed from there once.
    """
    seen: set[Any] = set()
    stack: list[tuple[int, ...]] = [()]
    while stack:
        prefix = stack.pop()
        net = build()
        for index in prefix:
            net.take(net.choices()[index])
        while True:
            state = net.state()
            if state in seen:
                break
            seen.add(state)
            choices = net.choices()
            if not choices:
                examine(net)
                break
            stack += [(*prefix, index) for index in range(1, len(choices))]
            prefix = (*prefix, 0)
            net.take(choices[0])
    return len(seen)
