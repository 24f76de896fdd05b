"""Links machines joined by perfect byte pipes. Nothing moves until a test says so, and each step is checked.

A `Net` holds nodes and pipes. What a machine writes waits in the pipe until it is delivered: `net.run()` delivers all
of it, `net.take(choice)` one piece, `explore` tries every order. Time moves by `net.wait` and `net.jump` only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from covey.core.ids import Contact, Site, cluster_id
from covey.core.timers import Timers
from covey.core.vocabulary import (
    Cause,
    Channel,
    Dial,
    Emit,
    MessagesReceived,
    PeerConnected,
    PeerLost,
    Pin,
    Send,
    Tick,
    TurnEnded,
    WantTurn,
)
from covey.protocols.links.config import LinksConfig
from covey.protocols.links.handshake import Dialler, Identity
from covey.protocols.links.machine import Links
from covey.protocols.links.vocabulary import (
    BytesReceived,
    CloseConnection,
    ConnectionAccepted,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionOpened,
    OpenConnection,
    Write,
)
from covey.wire.framing import Splitter, frame
from covey.wire.messages.direct import Payload

SECRET = b"the secret of the flock"
SECOND_US = 1_000_000
SILENCE = "silence"  # an address that never answers

Choice = tuple[str, Any]


def note(text: str) -> Payload:
    """A message that a test can tell from others."""
    return Payload(msgspec.Raw(msgspec.msgpack.encode(text)))


def identity(
    number: int, incarnation: int = 1, boot: int = 0, secret: bytes = SECRET, cluster: str = "flock"
) -> Identity:
    """Who node `number` is: sites are ordered as the numbers are."""
    site = Site(bytes([number]) * 16)
    return Identity(cluster_id(cluster), site, incarnation, bytes([boot]) * 16, secret)


class End:
    """One end of a pipe, and what waits to be told to the node there: a fact's type, a closing or bytes."""

    def __init__(self, node: Node, label: tuple[str, int, str]) -> None:
        self.node = node
        self.label = label  # the dialler's name and number, and which end: the same in every order of events
        self.number = 0
        self.inbox: deque[type | tuple[type, Cause] | bytes] = deque()
        self.alive = True
        self.writes = 0
        self.other: End


class Node:
    """One machine, and what it said to its siblings."""

    def __init__(self, net: Net, name: str, me: Identity, address: str, config: LinksConfig) -> None:
        self.net = net
        self.name = name
        self.me = me
        self.address = address
        self.links = Links(config, Random(f"{name} {me.boot!r}"), net.now_us, identity=me, address=address)
        self.said: list[Any] = []  # facts for other machines and events, in order, messages left out
        self.read: list[tuple[Site, str]] = []
        self.ends: dict[int, End] = {}
        self.open: dict[tuple[Site, Channel], End] = {}  # the ends that it told its siblings of
        self.script: deque[Callable[[], Any]] = deque()  # what it does at a time that is a choice
        self.turn_wanted = False
        self.accepted = 0

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
            if isinstance(effect, PeerConnected):
                self.open[effect.contact.site, effect.channel] = self.ends[incoming.connection]
            elif isinstance(effect, PeerLost):
                del self.open[effect.contact.site, effect.channel]
            self._carry_out(effect)
        self.net.after_step()
        return effects

    def _carry_out(self, effect: Any) -> None:
        match effect:
            case OpenConnection(number, address):
                self.net.connect(self, number, address)
            case Write(number, data):
                end = self.ends[number]
                end.writes += 1
                if end.other.alive:
                    end.other.inbox.append(data)
            case CloseConnection(number):
                end = self.ends.pop(number)
                end.alive = False
                end.inbox.clear()
                end.other.inbox.append((ConnectionClosed, Cause.CLOSED))
            case WantTurn():
                self.turn_wanted = True
            case MessagesReceived(peer, messages):
                self.read += [(peer, msgspec.msgpack.decode(message.value)) for message in messages]
            case _:
                self.said.append(effect)

    # --- what tests ask of a node -----------------------------------------------------------------------------------

    def send(self, to: Node, text: str, channel: Channel = Channel.CONTROL, address: str | None = None) -> list[Any]:
        return self.feed(Send(to.site, note(text), to.address if address is None else address, channel))

    def dial(self, to: Node | str) -> list[Any]:
        return self.feed(Dial(to if isinstance(to, str) else to.address))

    def pin(self, *others: Node) -> None:
        for other in others:
            self.feed(Pin(other.site))

    def tick(self) -> list[Any]:
        return self.feed(Tick())

    def heard(self, sender: Node) -> list[str]:
        """The notes of `sender`, in order."""
        return [text for site, text in self.read if site == sender.site]

    def events(self) -> list[Any]:
        return [effect.event for effect in self.said if isinstance(effect, Emit)]

    def facts(self, *kinds: type) -> list[Any]:
        return [effect for effect in self.said if isinstance(effect, kinds)]

    def end(self, other: Node, channel: Channel = Channel.CONTROL) -> End:
        """Our end of the link to `other`."""
        return self.open[other.site, channel]


class Bare:
    """One machine without a world: the test is its network."""

    def __init__(self, me: Identity | int = 1, config: LinksConfig | None = None) -> None:
        self.me = identity(me) if isinstance(me, int) else me
        self.links = Links(config or LinksConfig(), Random(1), 0, identity=self.me, address="bare:1")
        self.now_us = 0

    def feed(self, incoming: Any) -> list[Any]:
        effects = self.links.handle(incoming, self.now_us)
        self.links.check()
        self.links.statistics()
        return effects

    def read(self, number: int, *bodies: bytes) -> list[Any]:
        """Frames arrive in one read."""
        return self.feed(BytesReceived(number, b"".join(map(frame, bodies))))

    def admit(
        self, number: int, me: Identity, address: str = "peer:1", channel: Channel = Channel.CONTROL
    ) -> list[Any]:
        """A whole handshake with a peer that dials us; what its proof brought about."""
        dialler = Dialler(me, address, channel, Random(f"{me.boot!r} {number}"))
        self.feed(ConnectionAccepted(number, "somewhere"))
        (written,) = self.read(number, dialler.opening())
        for body in Splitter().feed(written.data):
            dialler.receive(body)
        return self.read(number, dialler.proof())


class Net:
    """Nodes, pipes and a clock."""

    def __init__(self) -> None:
        self.now_us = 0
        self.nodes: dict[str, Node] = {}
        self.by_address: dict[str, Node] = {}
        self.pipes: list[End] = []  # the dialling ends, in order
        self.eager: tuple[Any, ...] = ()  # what happens at once instead of being a choice: "turn", or a fact's type
        self.cut: Callable[[bytes], list[bytes]] = lambda data: [data]  # how a write arrives
        self.open_at_once = 0  # how many different pipes were open, at one end at least, at any one time

    def node(self, name: str, me: Identity | int, address: str = "", config: LinksConfig | None = None) -> Node:
        """Start a node. Who starts at an address takes it over."""
        me = identity(me) if isinstance(me, int) else me
        node = Node(self, name, me, address or f"{name}:1", config or LinksConfig())
        self.nodes[name] = self.by_address[node.address] = node
        return node

    def kill(self, node: Node) -> None:
        """End a process: the others' ends of its pipes are reset, and nobody answers at its address."""
        del self.nodes[node.name]
        self.by_address = {address: other for address, other in self.by_address.items() if other is not node}
        for end in [end for pipe in self.pipes for end in (pipe, pipe.other) if end.node is node and end.alive]:
            end.alive = False
            end.other.inbox.append((ConnectionClosed, Cause.RESET))
        node.ends.clear()
        node.turn_wanted = False

    def connect(self, node: Node, number: int, address: str) -> None:
        target = self.by_address.get(address)
        ours = End(node, (node.name, number, "dialler"))
        theirs = End(target or node, (node.name, number, "acceptor"))
        ours.other, theirs.other = theirs, ours
        ours.number = number
        node.ends[number] = ours
        self.pipes.append(ours)
        if target is not None:
            ours.inbox.append(ConnectionOpened)
            theirs.inbox.append(ConnectionAccepted)
        else:
            theirs.alive = False
            if address != SILENCE:
                ours.inbox.append((ConnectionFailed, Cause.REFUSED))

    # --- moving -----------------------------------------------------------------------------------------------------

    def choices(self) -> list[Choice]:
        """What could happen next, in a fixed order; only the first of what is eager, if there is any."""
        ends = [end for pipe in self.pipes for end in (pipe, pipe.other)]
        running = {id(node) for node in self.nodes.values()}
        found: list[Choice] = [("deliver", end) for end in ends if end.alive and end.inbox and id(end.node) in running]
        found += [("turn", node) for node in self.nodes.values() if node.turn_wanted]
        found += [("act", node) for node in self.nodes.values() if node.script]
        for what, where in found:
            if (where.inbox[0] if what == "deliver" else what) in self.eager:
                return [(what, where)]
        return found

    def take(self, choice: Choice) -> None:
        """Let one of the choices happen."""
        what, where = choice
        if what == "deliver":
            self.deliver(where)
        elif what == "turn":
            where.turn_wanted = False
            where.feed(TurnEnded())
        else:
            where.script.popleft()()

    def deliver(self, end: End) -> None:
        """Tell a node the next thing that waits at its end of a pipe."""
        what = end.inbox.popleft()
        node = end.node
        if what is ConnectionAccepted:
            node.accepted -= 1
            end.number = node.accepted
            node.ends[end.number] = end
            node.feed(ConnectionAccepted(end.number, f"from {end.other.node.name}"))
        elif what is ConnectionOpened:
            node.feed(ConnectionOpened(end.number))
        elif isinstance(what, tuple):
            fact, cause = what
            end.alive = False
            if node.ends.pop(end.number, None) is end:
                node.feed(fact(end.number, cause))
        elif isinstance(what, bytes):
            for piece in self.cut(what):
                if end.alive:
                    node.feed(BytesReceived(end.number, piece))

    def after_step(self) -> None:
        open_pipes = {end.label[:2]: None for node in self.nodes.values() for end in node.open.values()}
        self.open_at_once = max(self.open_at_once, len(open_pipes))

    def proved(self) -> list[str]:
        """Who dialled and went as far as its proof."""
        return [pipe.label[0] for pipe in self.pipes if pipe.writes > 1]

    def run(self, rng: Random | None = None) -> Net:
        """Let everything happen that needs no time, the oldest pipe first or in a random order."""
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

    def jump(self, us: int) -> Net:
        """Let time pass at once, as over a suspended machine: nobody's alarm has rung yet."""
        self.now_us += us
        return self


def explore(build: Callable[[], Net], examine: Callable[[Net], None]) -> int:
    """Run `build()` in every order of events, and `examine` each way it can end. How many states there are.

    Orders that lead to the same state are followed from there once.
    """
    seen: set[Any] = set()
    stack: list[tuple[int, ...]] = [()]
    while stack:
        taken = stack.pop()
        net = build()
        for index in taken:
            net.take(net.choices()[index])
        while (state := shape(net, {})) not in seen:
            seen.add(state)
            choices = net.choices()
            if not choices:
                examine(net)
                break
            stack += [(*taken, index) for index in range(1, len(choices))]
            taken = (*taken, 0)
            net.take(choices[0])
    return len(seen)


def shape(value: Any, met: dict[int, int]) -> Any:
    """All that decides what `value` will do, without keys, nonces and counts: of bytes only the length."""
    if value is None or isinstance(value, (int, str)):
        return value
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, (tuple, list, deque)):
        return tuple(shape(part, met) for part in value)
    if isinstance(value, (Random, msgspec.Struct, type)) or callable(value):
        return type(value).__name__
    if id(value) in met:
        return met[id(value)]
    met[id(value)] = len(met)
    if isinstance(value, dict):
        return tuple((shape(key, met), shape(part, met)) for key, part in value.items())
    if isinstance(value, Timers):
        return frozenset((shape(key, met), value.due_at(key)) for key in value._live)
    names = [name for name in getattr(value, "__slots__", ()) or vars(value) if not name.endswith("counts")]
    return tuple(shape(getattr(value, name, None), met) for name in names)
