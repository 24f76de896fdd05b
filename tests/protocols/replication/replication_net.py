"""Row machines joined by a net that a test controls. Messages travel as objects, and after each step:

- the folds of `RowsChanged`, with those that wait, and of `SharedChanged` are what is shown, and each change changes
  something;
- the machine's own `check()`.

Nothing is delivered before `run` or `wait`; time moves by `wait` only. Turns end when `run` begins and after each
message. A test tells who belongs, who is alive and who is linked; `Net.mesh` tells all of that to all.
"""

from __future__ import annotations

from random import Random
from typing import Any

from covey.core.ids import ClusterId, Contact, Site
from covey.core.rows import (
    HoldInstance,
    Put,
    ReleaseInstance,
    Remove,
    RowsChanged,
    RowsToTell,
    SharedChanged,
    SharedRefused,
    SharedRow,
    SharedWrite,
    Start,
    WriteRows,
    WriteShared,
)
from covey.core.vocabulary import (
    Cause,
    Channel,
    ClusterChanged,
    Emit,
    Flood,
    Liveness,
    LivenessChanged,
    MemberAdded,
    MemberRemoved,
    MessagesReceived,
    Multicast,
    PeerConnected,
    PeerLost,
    Send,
    Tick,
    TurnEnded,
    WantTurn,
)
from covey.protocols.replication.config import ReplicationConfig
from covey.protocols.replication.machine import Replication
from covey.protocols.replication.vocabulary import RowsStored, StoreRows
from covey.rows.shared import SharedTable

SECOND = 1_000_000
NEVER = 10**15
K, F = b"key", b"field"
I = b"instance"  # noqa: E741
CONFIG = ReplicationConfig()
QUIET = ReplicationConfig(digest_period_us=NEVER)  # nothing is found but by what is pushed
SMALL = ReplicationConfig(digest_period_us=NEVER, bytes_aim=120, log_bytes_min=100)  # two rows in a message


def site(number: int) -> Site:
    """Sites are ordered as the numbers are."""
    return Site(bytes([number]) * 16)


class Node:
    """One machine, what it shows as a user folds it, and what it said."""

    def __init__(
        self, net: Net, number: int, incarnation: int, config: ReplicationConfig, disk: dict[bytes, bytes] | None = None
    ) -> None:
        self.net = net
        self.number = number
        self.site = site(number)
        self.address = f"n{number}:1"
        self.me = Contact(self.site, incarnation, self.address)
        self.disk = disk  # what the shelf keeps; None: there is no disk
        self.disk_takes = True  # or what belongs on it waits in `unstored`
        self.unstored: list[StoreRows] = []
        rng = Random(f"{net.seed} {number} {incarnation}")
        self.machine = Replication(config, rng, net.now_us, me=self.me, stored=disk)
        self.life = (self.site, incarnation)
        self.alive = True
        self.wants_turn = False
        self.folded: dict[tuple[bytes, Site, int, bytes], bytes] = {}
        self.facts: list[RowsChanged] = []
        self.shared: dict[bytes, dict[bytes, SharedRow]] = {}
        self.events: list[Any] = []
        self.to_tell: list[Any] = []  # of what is driven

    def feed(self, fact: Any) -> list[Any]:
        effects = list(self.machine.handle(fact, self.net.now_us))
        for effect in effects:
            self._execute(effect)
        self.machine.check()
        shown = {
            (instance, owner, incarnation, key): value
            for instance, table in self.machine.tables.items()
            for owner, incarnation, key, value in table.view()
        }
        told = dict(self.folded)
        for waiting in self.machine.facts.waiting():
            self._fold(told, waiting)
        assert shown == told
        tables = self.machine.shared.tables
        views = {instance: view for instance, table in tables.items() if (view := table.view())}
        assert views == {instance: rows for instance, rows in self.shared.items() if rows}
        return effects

    def _execute(self, effect: Any) -> None:
        net = self.net
        match effect:
            case WantTurn():
                self.wants_turn = True
            case SharedRefused():
                pass
            case StoreRows():
                self.unstored.append(effect)
            case RowsChanged():
                self.facts.append(effect)
                self._fold(self.folded, effect)
            case SharedChanged(instance, rows):
                assert rows
                shared = self.shared.setdefault(instance, {})
                for key, row in rows:
                    assert shared.get(key) != row
                    if row is None:
                        del shared[key]
                    else:
                        shared[key] = row
            case Emit(event):
                self.events.append(event)
            case RowsToTell(_, operations):
                self.to_tell += operations
            case Send(to, message, _, channel):
                net.send(self.site, to, message, channel)
            case Multicast(sites, message, channel):
                for to in sites:
                    net.send(self.site, to, message, channel)
            case Flood(message, but):
                for number in net.neighbours.get(self.number, ()):
                    if site(number) != but:
                        net.send(self.site, site(number), message, Channel.CONTROL)
            case _:
                raise AssertionError(f"nobody does {effect!r}")

    def _fold(self, shown: dict[tuple[bytes, Site, int, bytes], bytes], fact: RowsChanged) -> None:
        assert fact.changes
        for key, value in fact.changes:
            row = fact.instance, fact.owner, fact.incarnation, key
            assert shown.get(row) != value
            if value is None:
                del shown[row]
            else:
                shown[row] = value

    # --- what a test says and asks ----------------------------------------------------------------------------------

    def hold(self, instance: bytes = I, durable: bool = False) -> None:
        self.feed(HoldInstance(instance, durable))

    def store(self, pieces: int | None = None) -> None:
        """The disk takes what waits for it, or so many pieces."""
        taken, self.unstored = self.unstored[:pieces], [] if pieces is None else self.unstored[pieces:]
        for piece in taken:
            assert self.disk is not None
            for record in piece.records:
                if record.value is None:
                    self.disk.pop(record.key, None)
                else:
                    self.disk[record.key] = record.value
            self.feed(RowsStored(piece.number))

    def release(self, instance: bytes = I) -> None:
        self.feed(ReleaseInstance(instance))

    def write(self, *changes: tuple[bytes, bytes | None], instance: bytes = I) -> None:
        self.feed(WriteRows(instance, changes))

    def write_in_turns(self, *changes: tuple[bytes, bytes | None]) -> None:
        """Each in a turn of its own."""
        for change in changes:
            self.write(change)
            self.end_turn()

    def do(self, *changes: SharedWrite, instance: bytes = I) -> list[Any]:
        """Change shared rows."""
        return self.feed(WriteShared(instance, changes))

    def start(self, key: bytes, value: bytes = b"", instance: bytes = I) -> None:
        self.do(Start(key, value), instance=instance)

    def put(self, key: bytes, field: bytes, value: bytes, instance: bytes = I) -> None:
        self.do(Put(key, field, value), instance=instance)

    def remove(self, key: bytes, instance: bytes = I) -> None:
        self.do(Remove(key), instance=instance)

    def table(self, instance: bytes = I) -> SharedTable:
        return self.machine.shared.tables[instance]

    def has(self, instance: bytes = I) -> dict[bytes, tuple[bytes, dict[bytes, bytes]]]:
        """The shared rows as a reader takes them: of each the value and the fields that count."""
        return {
            key: (row.value, {field: row.get(field) or b"" for field, _ in row.fields})
            for key, row in self.shared.get(instance, {}).items()
        }

    def end_turn(self) -> None:
        if self.disk_takes and self.unstored:
            self.store()
        if self.wants_turn:
            self.wants_turn = False
            self.feed(TurnEnded())

    @property
    def has_to_do(self) -> bool:
        """Whether its turn is to end, or its disk to take something."""
        return self.wants_turn or (self.disk_takes and bool(self.unstored))

    def shows(self, owner: Node, instance: bytes = I) -> dict[bytes, bytes]:
        """The rows that are shown here of one owner."""
        return {key: value for (at, of, _, key), value in self.folded.items() if (at, of) == (instance, owner.site)}

    def rows(self, owner: Node, instance: bytes = I) -> dict[bytes, bytes]:
        """What is kept here of one owner, shown or hidden."""
        return self.machine.tables[instance].rows_of(owner.site)

    def seq(self, owner: Node, instance: bytes = I) -> int:
        return self.machine.tables[instance].position(owner.site).seq

    def held(self, other: Node, state: Liveness) -> None:
        """The detector says what it holds of the other's life."""
        self.feed(LivenessChanged(other.me, state, "a test says so"))

    def removed(self, other: Node) -> None:
        self.feed(MemberRemoved(other.site))

    def hears(self, teller: Node, *messages: Any) -> list[Any]:
        """A message arrives that nobody need have sent."""
        return self.feed(MessagesReceived(teller.site, messages))

    def answers(self, teller: Node, *messages: Any) -> list[Any]:
        """What it says to the teller when it hears this."""
        effects = self.hears(teller, *messages)
        return [effect.message for effect in effects if type(effect) is Send and effect.to == teller.site]

    def begin(self, incarnation: int) -> None:
        """A new life in the same process."""
        self.me = Contact(self.site, incarnation, self.address)
        self.life = (self.site, incarnation)
        self.feed(ClusterChanged(ClusterId(b"c" * 16), incarnation, False))


class Net:
    """Nodes, the messages between them, and the time."""

    def __init__(self, count: int = 0, config: ReplicationConfig = QUIET, seed: int = 0) -> None:
        self.config = config
        self.seed = seed
        self.rng = Random(f"net {seed}")
        self.now_us = 0
        self.nodes: list[Node] = []
        self.flying: list[tuple[Site, Site, Any]] = []
        self.carried: list[tuple[int, int, Any]] = []  # every message that arrived
        self.neighbours: dict[int, list[int]] = {}
        self.cut: set[tuple[int, int]] = set()  # directed: what the first says does not arrive at the second
        self.loss = self.duplicate = 0.0
        self.reorder = False
        self.links = False  # what one says to another arrives in order, whatever `reorder` says
        for number in range(1, count + 1):
            self.add(number)
        self.mesh()

    def add(
        self,
        number: int,
        incarnation: int = 1,
        config: ReplicationConfig | None = None,
        disk: dict[bytes, bytes] | None = None,
    ) -> Node:
        node = Node(self, number, incarnation, config or self.config, disk)
        self.nodes = [*(other for other in self.nodes if other.number != number), node]
        self.nodes.sort(key=lambda other: other.number)
        return node

    def mesh(self, *nodes: Node) -> None:
        """All of them belong, are alive, linked and neighbours, and know it."""
        for node in nodes or self.nodes:
            for other in self.nodes:
                if other is not node and other.alive:
                    self.introduce(node, other)
                    self.introduce(other, node)

    def introduce(self, node: Node, other: Node) -> None:
        node.feed(MemberAdded(other.me, False, True))
        node.held(other, Liveness.ALIVE)
        self.neighbours[node.number] = sorted({*self.neighbours.get(node.number, ()), other.number})
        for channel in Channel:
            node.feed(PeerConnected(other.me, channel))

    def crash(self, node: Node) -> None:
        """The process is gone, and with it what was under way; the links break."""
        node.alive = False
        self.flying = [entry for entry in self.flying if node.site not in entry[:2]]
        for other in self.nodes:
            if other is not node and other.alive:
                for channel in Channel:
                    other.feed(PeerLost(node.me, channel, Cause.RESET))

    def send(self, source: Site, target: Site, message: Any, channel: Channel) -> None:
        if self.rng.random() < self.loss:
            return
        self.flying += [(source, target, message)] * (2 if self.rng.random() < self.duplicate else 1)

    def deliver(self) -> bool:
        """One message arrives; False if none is on its way."""
        for node in self.nodes:
            node.end_turn()
        if not self.flying:
            return False
        at = self.rng.randrange(len(self.flying)) if self.reorder else 0
        if self.links:
            at = next(first for first, entry in enumerate(self.flying) if entry[:2] == self.flying[at][:2])
        source, target, message = self.flying.pop(at)
        numbers = source[0], target[0]
        goal = next((node for node in self.nodes if node.site == target and node.alive), None)
        if goal is not None and numbers not in self.cut:
            self.carried.append((*numbers, message))
            goal.feed(MessagesReceived(source, (message,)))
        return True

    def run(self, messages_max: int = 20_000) -> None:
        """Let everything arrive, and all turns end."""
        for _ in range(messages_max):
            if not self.deliver() and not any(node.has_to_do for node in self.nodes if node.alive):
                return
        raise AssertionError("the net does not come to rest")

    def run_until(self, kind: type) -> Any:
        """Let things arrive until a message of this kind is on its way, which is taken out: (source, target, it)."""
        while True:
            for node in self.nodes:
                node.end_turn()
            at = next((at for at, entry in enumerate(self.flying) if type(entry[2]) is kind), None)
            if at is not None:
                return self.flying.pop(at)
            assert self.deliver(), f"nobody says {kind.__name__}"

    def lose(self) -> None:
        """What is said is lost."""
        for node in self.nodes:
            node.end_turn()
        self.flying.clear()

    def wait(self, duration_us: int) -> None:
        """Let time pass; alarms ring when they are due, and what is said arrives at once."""
        end_us = self.now_us + duration_us
        self.run()
        while True:
            due = [
                (at_us, node.number)
                for node in self.nodes
                if node.alive and (at_us := node.machine.deadline()) is not None
            ]
            if not due or min(due)[0] > end_us:
                break
            at_us, number = min(due)
            self.now_us = max(self.now_us, at_us)
            next(node for node in self.nodes if node.number == number).feed(Tick())
            self.run()
        self.now_us = end_us

    def said(self, kind: type) -> list[tuple[int, int]]:
        """Who said messages of this kind to whom, as they arrived."""
        return [(source, target) for source, target, message in self.carried if type(message) is kind]


def pair(config: ReplicationConfig = QUIET, count: int = 2) -> tuple[Any, ...]:
    """A net, and its nodes that all hold `I` and know it."""
    net = Net(count, config)
    for node in net.nodes:
        node.hold()
    net.run()
    net.carried.clear()
    return (net, *net.nodes)


def kept(config: ReplicationConfig = QUIET, count: int = 2) -> tuple[Any, ...]:
    """The same with disks, and they hold it durably."""
    net = Net(0, config)
    for number in range(1, count + 1):
        net.add(number, disk={})
    net.mesh()
    for node in net.nodes:
        node.hold(durable=True)
    net.run()
    net.carried.clear()
    return (net, *net.nodes)


def again(net: Net, *nodes: Node, instance: bytes = I) -> list[Node]:
    """These crash all at once, come back with what their disks have, and hold the instance again."""
    for node in nodes:
        net.crash(node)
    fresh = [net.add(node.number, node.life[1] + 1, disk=node.disk) for node in nodes]
    net.mesh(*fresh)
    for node in fresh:
        node.hold(instance, True)
    return fresh


def alike(*nodes: Node, instance: bytes = I) -> bool:
    """Whether all received and show the same of the shared rows."""
    first = nodes[0]
    return all(
        node.has(instance) == first.has(instance)
        and node.table(instance).received == first.table(instance).received
        and node.table(instance).digest == first.table(instance).digest
        for node in nodes
    )
