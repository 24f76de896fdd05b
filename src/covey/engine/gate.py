"""The gate: nobody learns from us what our disk might forget.

A machine changes its state at once and emits `Persist(log, records)`, then whatever depends on it. The gate stands
behind the machine: it numbers the Persists of each owner and holds everything that owner says later (sends, events,
outcomes and facts for other machines), in order, until `Persisted` for that number. Holding *behind* the machine, not
inside it, is what makes it tight: other inputs of the machine read the undurable state too, and their effects are held
as well. Owners never wait for one another.

On `PersistFailed` it keeps holding, asks again with growing pauses, and says so once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from covey.core.errors import invariant
from covey.core.timers import Timers
from covey.core.vocabulary import Emit, Persist, Record


class Store(msgspec.Struct, frozen=True, gc=False):
    """For the world: apply these records to the log in one transaction with everything queued; answer `Persisted`."""

    log: str
    position: int
    records: tuple[Record, ...]


class Persisted(msgspec.Struct, frozen=True, gc=False):
    """The log is durable up to and including `position`."""

    log: str
    position: int


class PersistFailed(msgspec.Struct, frozen=True, gc=False):
    """The log is not durable from `position` on."""

    log: str
    position: int
    reason: str


class StorageTrouble(msgspec.Struct, frozen=True, gc=False):
    """The event: the disk refuses; what depends on it is held back, and we keep trying."""

    log: str
    reason: str
    held: int


class StorageRecovered(msgspec.Struct, frozen=True, gc=False):
    """The event: the disk took everything that was held back."""

    log: str


class GateConfig(msgspec.Struct, frozen=True):
    """Bounds of the gate, and its pauses when the disk refuses."""

    held_max: int = 100_000  # effects; above it the world reads no more from the network. Guess: about 50 MB
    retry_us_min: int = 100_000  # guess
    retry_us_max: int = 5_000_000  # guess: a full disk is mended by people


class GateStatistics(msgspec.Struct, frozen=True):
    """Effects held back, and stores that are not durable."""

    held: int
    unsaved: int


class _Log:
    __slots__ = ("asked", "durable", "failed", "held", "position", "retry_us", "troubled", "unsaved")

    def __init__(self) -> None:
        self.position = 0  # of the last Persist
        self.asked = 0  # the world was told to store up to here
        self.durable = 0
        self.failed = 0  # the first position that failed since the last time of asking; 0: none
        self.held: deque[tuple[int, Any]] = deque()  # (the position it waits for, effect)
        self.unsaved: deque[Store] = deque()
        self.retry_us = 0
        self.troubled = False


class Gate:
    """Hold what a machine says behind what it must not forget.

    Law: an effect leaves only after every Persist its owner made before it is durable, and in order.
    Invariants: `durable <= position`; an effect is held only while something is unsaved;
    `held` is sorted by position; `unsaved` holds exactly the positions `durable + 1 … position`.
    """

    def __init__(self, config: GateConfig) -> None:
        self._config = config
        self._logs: dict[str, _Log] = {}
        self._timers: Timers[str] = Timers()
        self._held = 0

    @property
    def full(self) -> bool:
        """True when the world should take in nothing more from outside."""
        return self._held > self._config.held_max

    def admit(self, owner: str, effects: Sequence[Any]) -> Sequence[Any]:
        """Those of an owner's new effects that may go now; the rest is held."""
        log = self._logs.get(owner)
        if log is None:
            if not any(type(effect) is Persist for effect in effects):
                return effects
            log = self._logs[owner] = _Log()
        elif log.durable == log.position and not any(type(effect) is Persist for effect in effects):
            return effects
        out: list[Any] = []
        for effect in effects:
            if type(effect) is Persist:
                log.position += 1
                store = Store(owner, log.position, effect.records)
                log.unsaved.append(store)
                if not log.troubled:
                    log.asked = log.position
                    out.append(store)
            elif log.durable < log.position:
                log.held.append((log.position, effect))
                self._held += 1
            else:
                out.append(effect)
        return out

    def persisted(self, fact: Persisted) -> list[Any]:
        """Let out what waited for this position."""
        log = self._logs[fact.log]
        if fact.position <= log.durable:
            return []
        invariant(fact.position <= log.position, "only what was asked for becomes durable")
        log.durable = fact.position
        while log.unsaved and log.unsaved[0].position <= fact.position:
            log.unsaved.popleft()
        out: list[Any] = []
        while log.held and log.held[0][0] <= fact.position:
            out.append(log.held.popleft()[1])
            self._held -= 1
        if log.troubled and not log.failed > fact.position:
            log.failed = log.retry_us = 0
            log.troubled = False
            self._timers.cancel(fact.log)
            out.append(Emit(StorageRecovered(fact.log)))
            out += [store for store in log.unsaved if store.position > log.asked]
            log.asked = log.position
        return out

    def failed(self, fact: PersistFailed, now_us: int) -> list[Any]:
        """Keep holding; ask again after a pause."""
        log = self._logs[fact.log]
        if fact.position <= log.durable:
            return []
        if log.failed:  # one transaction may report each of its stores
            log.failed = min(log.failed, fact.position)
            return []
        log.failed = fact.position
        config = self._config
        log.retry_us = min(max(2 * log.retry_us, config.retry_us_min), config.retry_us_max)
        self._timers.set(fact.log, now_us + log.retry_us)
        if log.troubled:
            return []
        log.troubled = True
        return [Emit(StorageTrouble(fact.log, fact.reason, len(log.held)))]

    def tick(self, now_us: int) -> list[Any]:
        """Ask the disk again for all that is unsaved."""
        stores: list[Any] = []
        for name in self._timers.pop_due(now_us):
            log = self._logs[name]
            log.asked = log.position
            log.failed = 0
            stores += log.unsaved
        return stores

    def deadline(self) -> int | None:
        return self._timers.deadline()

    def check(self) -> None:
        invariant(self._held == sum(len(log.held) for log in self._logs.values()), "held counts what is held")
        for log in self._logs.values():
            invariant(log.durable <= log.asked <= log.position, "durable, asked and said come in this order")
            positions = [store.position for store in log.unsaved]
            invariant(positions == list(range(log.durable + 1, log.position + 1)), "unsaved is the gap, in order")
            waits = [position for position, _ in log.held]
            invariant(waits == sorted(waits) and all(w > log.durable for w in waits), "held waits in order")

    def statistics(self) -> GateStatistics:
        return GateStatistics(self._held, sum(len(log.unsaved) for log in self._logs.values()))
