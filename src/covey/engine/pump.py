"""The pump: one way in, one order out; the same in both worlds.

There is no inbox. Whoever has a fact calls `feed`; the state changes at once, so a caller reads its own writes. What
the machines say goes through one queue that the outermost caller drains: an effect that causes another `feed` while it
is being executed does not overtake what was said before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from covey.core.errors import invariant
from covey.core.vocabulary import Machine, MessagesReceived, Tick
from covey.engine.gate import Gate, Persisted, PersistFailed

QUEUE_MAX = 1_000_000  # effects of one outermost feed; more is a loop between machines, our bug


class Composition(Protocol):
    """What the pump asks of the engine: its machines by name, and who hears which type."""

    machines: dict[str, Machine]
    routes: dict[type, tuple[tuple[str, Machine], ...]]

    durable: frozenset[str]  # those that may say `Persist`: only their effects pass the gate

    def split(self, incoming: MessagesReceived) -> Sequence[tuple[str, Machine, Any]]:
        """The parts of a frame for their owners."""
        ...


NEVER = 1 << 63  # later than any moment

_FOR_THE_GATE = frozenset({Tick, Persisted, PersistFailed})

Observer = Callable[[int, str, Any, Sequence[Any]], None]


class Pump:
    """Feed machines and carry out what they say, in order.

    Law: effects are executed in the order in which they were admitted, each exactly once, and a fact changes the state
    of the machines that hear it before `feed` returns.
    """

    def __init__(
        self,
        engine: Composition,
        gate: Gate,
        execute: Callable[[Any], None],
        observe: Observer | None = None,
    ) -> None:
        self._engine = engine
        self._routes = engine.routes
        self._durable = engine.durable
        self._gate = gate
        self._execute = execute
        self._observe = observe
        self._queue: deque[Any] = deque()
        self._draining = False
        self._now_us = 0
        self._touched: dict[str, Machine] = dict(engine.machines)  # whose deadline may be another one now
        self._deadlines: dict[str, int] = {}  # `NEVER` for none

    def feed(self, incoming: Any, now_us: int) -> None:
        """Take one fact or command. Errors that machines raise for a wrong command reach the caller."""
        self._now_us = now_us = max(now_us, self._now_us)
        self._handle(incoming, now_us)
        if self._draining:
            return
        queue, routes, execute = self._queue, self._routes, self._execute
        self._draining = True
        handled = 0
        try:
            while queue:
                effect = queue.popleft()
                if type(effect) in routes:
                    handled += 1
                    if handled >= QUEUE_MAX or len(queue) >= QUEUE_MAX:
                        invariant(False, "machines do not feed each other for ever")
                    self._handle(effect, self._now_us)
                else:
                    execute(effect)
        finally:
            self._draining = False

    def _handle(self, incoming: Any, now_us: int) -> None:
        kind = type(incoming)
        if kind is MessagesReceived:
            for name, machine, part in self._engine.split(incoming):
                self._give(name, machine, part, now_us)
            return
        if kind in _FOR_THE_GATE:
            gate = self._gate
            if kind is Tick:
                self._queue.extend(gate.tick(now_us))
            elif kind is Persisted:
                self._queue.extend(gate.persisted(incoming))
                return
            else:
                self._queue.extend(gate.failed(incoming, now_us))
                return
        for name, machine in self._routes[kind]:
            self._give(name, machine, incoming, now_us)

    def _give(self, name: str, machine: Machine, incoming: Any, now_us: int) -> None:
        self._touched[name] = machine
        effects = machine.handle(incoming, now_us)
        if effects:
            self._queue.extend(self._gate.admit(name, effects) if name in self._durable else effects)
        if self._observe is not None:
            self._observe(now_us, name, incoming, effects)

    def deadline(self) -> int | None:
        """When the world must feed a `Tick` at the latest. Only a machine that heard something has another deadline."""
        touched, deadlines = self._touched, self._deadlines
        if touched:
            for name, machine in touched.items():
                due_us = machine.deadline()
                deadlines[name] = NEVER if due_us is None else due_us
            touched.clear()
        least_us, gate_us = min(deadlines.values(), default=NEVER), self._gate.deadline()
        if gate_us is not None and gate_us < least_us:
            return gate_us
        return None if least_us == NEVER else least_us
