"""Thousands of crashes through the real gate and pump: nobody ever saw what a disk lost.

A toy ledger keeps facts and tells them to its peers, and it answers *other* inputs too: a question about all it holds
is answered from a state that may not be durable yet. That is what makes holding inside a machine leak, and what the
gate is for. The same crashes without it lose facts, so the simulation can see what it looks for.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec
import pytest

from covey.core.rng import derive
from covey.core.vocabulary import Emit, Machine, MessagesReceived, Persist, Record, Tick
from covey.engine.gate import Gate, GateConfig, Persisted, PersistFailed, Store
from covey.engine.pump import Pump
from covey.sim.disk import Disk


class Add(msgspec.Struct, frozen=True):
    """A user's new fact."""

    fact: bytes


class Told(msgspec.Struct, frozen=True):
    """A peer tells one fact, or all it holds."""

    sender: int
    facts: tuple[bytes, ...]


class Asked(msgspec.Struct, frozen=True):
    """A peer wants to know all we hold."""

    sender: int


class Say(msgspec.Struct, frozen=True):
    """The effect: one message to one peer."""

    to: int
    message: Told | Asked


class Nothing(msgspec.Struct, frozen=True):
    pass


class Ledger:
    """Holds facts. Says nothing that it has not asked to persist; whether that is enough is the question."""

    def __init__(self, me: int, peers: tuple[int, ...]) -> None:
        self.me = me
        self.peers = peers
        self.facts: dict[bytes, None] = {}

    def handle(self, incoming: Add | Told | Asked | Tick, now_us: int) -> Sequence[Any]:
        match incoming:
            case Add(fact):
                self.facts[fact] = None
                told = [Say(peer, Told(self.me, (fact,))) for peer in self.peers]
                return [Persist("ledger", (Record(fact, b""),)), Emit(fact), *told]
            case Told(sender, facts):
                new = tuple(fact for fact in facts if fact not in self.facts)
                if not new:
                    return []
                self.facts.update(dict.fromkeys(new))
                acknowledged = Say(sender, Told(self.me, new))
                return [Persist("ledger", tuple(Record(fact, b"") for fact in new)), acknowledged, *map(Emit, new)]
            case Asked(sender):
                return [Say(sender, Told(self.me, tuple(self.facts)))]
            case Tick():
                return []

    def deadline(self) -> int | None:
        return None

    def check(self) -> None:
        pass

    def statistics(self) -> Nothing:
        return Nothing()


class OnlyLedger:
    """The composition of one machine."""

    def __init__(self, ledger: Ledger) -> None:
        self.machines: dict[str, Machine] = {"ledger": ledger}
        hearers = (("ledger", self.machines["ledger"]),)
        self.routes: dict[type, tuple[tuple[str, Machine], ...]] = {kind: hearers for kind in (Add, Told, Asked, Tick)}
        self.durable = frozenset(self.machines)

    def split(self, incoming: MessagesReceived) -> Sequence[tuple[str, Machine, Any]]:
        raise NotImplementedError("a ledger is not spoken to in frames")


class Open(Gate):
    """No gate at all: everything goes at once."""

    def admit(self, owner: str, effects: Sequence[Any]) -> Sequence[Any]:
        stores = [effect for effect in super().admit(owner, effects) if isinstance(effect, Store)]
        return [*stores, *(effect for effect in effects if not isinstance(effect, Persist))]

    def persisted(self, fact: Persisted) -> list[Any]:
        return [effect for effect in super().persisted(fact) if isinstance(effect, Store)]


class HoldingInside(Gate):
    """Only what a handle says behind its own Persist waits, as if the machine itself held it."""

    def admit(self, owner: str, effects: Sequence[Any]) -> Sequence[Any]:
        if not any(isinstance(effect, Persist) for effect in effects):
            return effects
        return super().admit(owner, effects)


class Crashes:
    """Some ledgers, one of which loses power at a random moment."""

    def __init__(self, seed: int, make_gate: Callable[[GateConfig], Gate]) -> None:
        self.rng = derive(seed, "gate crashes")
        self.now_us = 0
        self.heap: list[tuple[int, int, Callable[[], None]]] = []
        self.number = 0
        count = self.rng.choice((2, 2, 3))
        self.disks = [Disk(Random(self.rng.getrandbits(64))) for _ in range(count)]
        self.seen: list[dict[bytes, None]] = [{} for _ in range(count)]  # what anybody learnt from this node
        self.syncing = [False] * count
        self.disk_us_max = self.rng.choice((200, 1_000, 4_000))
        self.disk_fails = self.rng.choice((0.0, 0.0, 0.3))
        config = GateConfig(retry_us_min=200, retry_us_max=400)
        self.pumps: list[Pump] = []
        for me in range(count):
            ledger = Ledger(me, tuple(peer for peer in range(count) if peer != me))
            gate = make_gate(config)
            self.pumps.append(Pump(OnlyLedger(ledger), gate, lambda effect, me=me: self.execute(me, effect)))  # type: ignore[misc]

    def later(self, delay_us: int, action: Callable[[], None]) -> None:
        self.number += 1
        heapq.heappush(self.heap, (self.now_us + delay_us, self.number, action))

    def feed(self, node: int, fact: Any) -> None:
        self.pumps[node].feed(fact, self.now_us)
        due_us = self.pumps[node].deadline()
        if due_us is not None and not isinstance(fact, Tick):
            self.later(max(0, due_us - self.now_us), lambda: self.feed(node, Tick()))

    def execute(self, node: int, effect: Any) -> None:
        match effect:
            case Store():
                self.disks[node].write(effect)
                if not self.syncing[node]:
                    self.syncing[node] = True
                    self.later(self.rng.randint(1, self.disk_us_max), lambda: self.sync(node))
            case Emit(bytes(fact)):
                self.seen[node][fact] = None
            case Say(to, message):
                if isinstance(message, Told):
                    self.seen[node].update(dict.fromkeys(message.facts))
                self.later(self.rng.randint(1, 300), lambda: self.feed(to, message))

    def sync(self, node: int) -> None:
        self.syncing[node] = False
        if self.rng.random() < self.disk_fails:
            for store in self.disks[node].fail():
                self.feed(node, PersistFailed(store.log, store.position, "full"))
        else:
            for store in self.disks[node].sync():
                self.feed(node, Persisted(store.log, store.position))

    def run(self) -> bool:
        """True if somebody saw a fact of the crashed node that its disk has not."""
        rng = self.rng
        for number in range(rng.randint(1, 10)):
            node = rng.randrange(len(self.pumps))
            fact = b"%d" % number
            self.later(rng.randint(0, 2_000), lambda node=node, fact=fact: self.feed(node, Add(fact)))  # type: ignore[misc]
        for _ in range(rng.randint(1, 20)):
            asker, asked = rng.sample(range(len(self.pumps)), 2)
            self.later(rng.randint(0, 3_000), lambda a=asker, b=asked: self.feed(b, Asked(a)))  # type: ignore[misc]
        crash_us = rng.randint(200, 4_000)
        while self.heap and self.heap[0][0] <= crash_us:
            self.now_us, _, action = heapq.heappop(self.heap)
            action()
        crashed = rng.randrange(len(self.pumps))
        self.disks[crashed].crash()
        kept = dict.fromkeys(self.disks[crashed].durable("ledger"))
        return any(fact not in kept for fact in self.seen[crashed])


def lost(seeds: range, make_gate: Callable[[GateConfig], Gate]) -> list[int]:
    """The seeds whose crash took what somebody had seen."""
    runs = {seed: Crashes(seed, make_gate) for seed in seeds}
    losers = [seed for seed, crashes in runs.items() if crashes.run()]
    assert sum(len(seen) for crashes in runs.values() for seen in crashes.seen) > 3 * len(runs)  # something happened
    return losers


@pytest.mark.parametrize("first", [0, *[pytest.param(first, marks=pytest.mark.slow) for first in (500, 1_000, 1_500)]])
def test_no_peer_ever_saw_what_the_disk_lost(first):
    assert lost(range(first, first + 500), Gate) == []


@pytest.mark.parametrize("leaky", [Open, pytest.param(HoldingInside, marks=pytest.mark.slow)])
def test_the_same_crashes_lose_facts_without_the_gate(leaky):
    assert len(lost(range(400), leaky)) >= 20
