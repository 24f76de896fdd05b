"""One process's user in the hub profile: starts, stops and calls children, and folds what its node tells of them."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from covey.core.errors import UsageError, invariant
from covey.core.ids import Dot
from covey.core.vocabulary import Abandon
from covey.protocols.registry import vocabulary as h
from covey.protocols.registry.rows import PREFIX, Restart, Spec
from covey.sim.hub_children import COUNT, ONCE, STARTS, SimChildren
from covey.sim.node import SimNode
from covey.wire.keys import encode_key

if TYPE_CHECKING:
    from covey.sim.hub import HubWorld

SECOND_US = 1_000_000
HUB = PREFIX + encode_key("h")
IDS = tuple(encode_key(f"c{number}") for number in range(8))
STATIC = tuple(encode_key(f"s{number}") for number in range(3))  # what hubs declare: nobody stops these
NO_ARGUMENTS, NO_METADATA = b"\x92\x90\x80", b"\x80"
STATIC_SPEC = Spec(COUNT, NO_ARGUMENTS, Restart.PERMANENT, 500_000, 0)
DOINGS = {"start": 8, "stop": 4, "call": 40, "demand": 8, "cast": 4, "crash": 6, "update": 2, "reopen": 1, "abandon": 1}


class HubUser:
    """What one process's user did, and what it was told."""

    def __init__(self, world: HubWorld, node: SimNode) -> None:
        self.world = world
        self.node = node
        self.children = SimChildren(world, node)
        self.shown: dict[bytes, h.Shown] = {}
        self.calls: dict[int, tuple[int, bytes]] = {}  # operations without an outcome: request, child
        self.batches: dict[int, h.StartChildren | h.StopChildren] = {}
        self.counts: dict[int, int] = {}  # what children answered
        self.untold: dict[tuple[bytes, str], int] = {}  # copies that were ended, and why: less those it was told of
        self.stopped: dict[Dot, None] = {}  # births of children that are shown no more
        self.is_open = False
        self.declared: dict[bytes, None] = {}  # and not failed as it was to start
        self._opening = 0
        self._name = ""
        self._requests = 1 << 33

    def request(self) -> int:
        """A number that nobody else uses."""
        self._requests += 1
        return self._requests

    # --- what it does -----------------------------------------------------------------------------------------------

    def open(self, name: str) -> None:
        """Take part."""
        self._name = name
        world = self.world
        options = h.HubOptions(
            name, STARTS, world.settings, world.voters, world.resolves, synchronization=world.strategy
        )
        self.is_open = True
        self.shown.clear()
        self.stopped.clear()  # who comes anew hears it from others, of whom some may not know
        self.declared = dict.fromkeys(self.world.chance.sample(STATIC, self.world.chance.choice((0, 1, 3))))
        static = tuple(h.NewChild(id, STATIC_SPEC, NO_METADATA) for id in self.declared)
        self._opening = self.request()
        self.node.feed(h.OpenHub(self._opening, HUB, options, static))

    def close(self) -> None:
        """Take part no more, and again a little later."""
        if self.is_open:
            self.is_open = False
            self.node.feed(h.CloseHub(self.request(), HUB))

    def _spec(self, start: str, rng: Random) -> Spec:
        restart = Restart.TRANSIENT if start == ONCE else rng.choice((Restart.PERMANENT, Restart.TRANSIENT))
        return Spec(start, NO_ARGUMENTS, restart, rng.choice((0, 500_000, 5 * SECOND_US)), 0)

    def start(self, rng: Random) -> None:
        """Some children."""
        names = rng.sample(IDS, rng.choice((1, 1, 2, 4)))
        new = tuple(h.NewChild(id, self._spec(rng.choice(STARTS), rng), NO_METADATA) for id in names)
        timeout_us = rng.choice((0, SECOND_US, 10 * SECOND_US))
        flags = rng.random() < 0.2, rng.random() < 0.3, rng.random() < 0.3
        command = h.StartChildren(self.request(), HUB, new, timeout_us, *flags)
        self._give(command)

    def stop(self, rng: Random) -> None:
        """Some children, known or not."""
        command = h.StopChildren(self.request(), HUB, tuple(rng.sample(IDS, 2)), rng.choice((0, 5 * SECOND_US)))
        self._give(command)

    def _give(self, command: h.StartChildren | h.StopChildren) -> None:
        self.batches[command.request] = command
        self.node.feed(command)
        self._read()

    def call(self, id: bytes, start: h.NewChild | None = None, timeout_us: int = 5 * SECOND_US) -> int:
        """Have a child do something; returns which operation that is."""
        work, request = self.world.work(), self.request()
        self.calls[work] = request, id
        try:
            self.node.feed(h.CallChild(request, HUB, id, msgspec.msgpack.encode(work), timeout_us, start))
        except UsageError:
            del self.calls[work]
        self._read()
        return work

    def act(self, rng: Random) -> None:
        """Something at random."""
        doing = rng.choices(list(DOINGS), list(DOINGS.values()))[0]
        if not self.is_open:
            if HUB not in self.node.engine.registry.hubs:
                self.open(self._name)
            return
        id = rng.choice(IDS)
        match doing:
            case "start":
                self.start(rng)
            case "stop":
                self.stop(rng)
            case "call":
                self.call(id, timeout_us=rng.choice((SECOND_US, 5 * SECOND_US)))
            case "demand":
                self.call(id, h.NewChild(id, self._spec(COUNT, rng), NO_METADATA))
            case "cast":
                self.node.feed(h.CallChild(0, HUB, id, msgspec.msgpack.encode(self.world.work()), SECOND_US))
            case "crash":
                self.children.crash_one()
            case "update" if id in self.shown and self.shown[id].child is not None:
                self.node.feed(h.UpdateChild(0, HUB, id, msgspec.msgpack.encode({"v": self.world.work()})))
            case "reopen" if self.world.calm_us is None:
                self.close()
            case "abandon" if self.batches:
                request = rng.choice(list(self.batches))
                del self.batches[request]
                self.node.feed(Abandon(request))
        self._read()

    def stay(self) -> None:
        """From now on it takes part, as soon as it can."""
        if not self.is_open and HUB not in self.node.engine.registry.hubs:
            self.open(self._name)
        if not self.is_open and self.node.alive:
            self.world.schedule(self.world.now_us + SECOND_US, self.node.index, self.stay)

    # --- what it hears ----------------------------------------------------------------------------------------------

    def emitted(self, event: Any) -> None:
        """Its node tells it something."""
        if isinstance(event, h.ChildChanged):
            invariant(self.shown.get(event.id) == event.before and event.before != event.after, "a change fits")
            if event.after is None:
                del self.shown[event.id]
            else:
                self.shown[event.id] = event.after
            before, after = (
                () if one is None or one.child is None else one.child.births for one in (event.before, event.after)
            )
            self.stopped |= dict.fromkeys(birth for birth in before if birth not in after)
            back = any(birth in self.stopped for birth in after)
            invariant(not back, f"a child that was stopped stays so, and {event.id!r} is back")
        elif isinstance(event, h.CopyEnded) and event.why in ("fenced", "duplicate"):
            self.owe(event.id, event.why, -1)

    def owe(self, id: bytes, why: str, events: int = 1) -> None:
        """A copy is ended by its lease or for another one: that is to be told, or is."""
        self.untold[id, why] = self.untold.get((id, why), 0) + events

    def _read(self) -> None:
        """What became of what it asked for."""
        outcomes = self.node.outcomes
        if self._opening in outcomes:
            outcome = outcomes.pop(self._opening)
            self._opening = 0
            for error in outcome.errors if outcome is not None else ():
                del self.declared[error.id]
        for work, (request, id) in list(self.calls.items()):
            if request in outcomes:
                outcome = outcomes.pop(request)
                del self.calls[work]
                self.world.told(work, outcome, id)
                if isinstance(outcome, h.Answer):
                    self.counts[work] = msgspec.msgpack.decode(outcome.payload, type=int)
        for request, command in list(self.batches.items()):
            if request in outcomes:
                del self.batches[request]
                self._judge(command, outcomes.pop(request))

    def _judge(self, command: h.StartChildren | h.StopChildren, outcome: Any) -> None:
        """Each child of a batch is accounted for, once."""
        if isinstance(outcome, h.StartOutcome) and isinstance(command, h.StartChildren):
            ids = [new.id for new in command.children]
            told = {place.id for place in outcome.started} | {error.id for error in outcome.errors}
            invariant(outcome.rolled_back or told == set(ids), "every child of a batch is accounted for")
            invariant(outcome.rolled_back <= command.rollback, "only what was to be taken back is")
        elif isinstance(outcome, h.StopOutcome) and isinstance(command, h.StopChildren):
            told = {id for id, _ in outcome.stopped} | {error.id for error in outcome.errors}
            invariant(told == set(command.ids), "every child of a batch is accounted for")

    @property
    def is_opening(self) -> bool:
        """Whether what it declares is not seen to yet."""
        self._read()
        return self._opening > 0

    def waits(self, work: int) -> bool:
        """Whether an operation has no outcome yet."""
        self._read()
        return work in self.calls

    def check(self) -> None:
        """What it was told is what there is."""
        self._read()
        hub = self.node.engine.registry.hubs.get(HUB)
        if hub is None:
            self.shown.clear()
            return
        book = hub.book
        ids = dict.fromkeys([*book.children, *book.ids_running()])
        there = {id: h.Shown(book.children.get(id), tuple(book.running(id).items())) for id in ids}
        invariant(self.shown == there, "the fold of the events is the book")
