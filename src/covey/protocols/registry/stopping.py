"""Children stopped from here: their rows go, and who ran them shows that they run no more."""

from __future__ import annotations

from covey.core.errors import DeadlineExceeded
from covey.core.ids import Site
from covey.core.vocabulary import Refuse, Resolve
from covey.protocols.registry.ground import Ground
from covey.protocols.registry.vocabulary import ChildError, StopChildren, StopOutcome, Trouble
from covey.protocols.registry.waiting import Waiting


class Batch:
    """Children that are to end together."""

    __slots__ = ("errors", "missing", "stopped")

    def __init__(self) -> None:
        self.missing: dict[bytes, tuple[Site, ...]] = {}  # who ran each
        self.stopped: list[tuple[bytes, tuple[Site, ...]]] = []
        self.errors: list[ChildError] = []


class Stopping:
    """What this node was told to stop.

    Law: every command has one outcome, by its deadline. Invariants: what is missing is waited for, and by whom.
    """

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._batches: dict[int, Batch] = {}
        self._waiting = Waiting()

    def check(self) -> None:
        """Every invariant."""
        self._waiting.check({request: batch.missing for request, batch in self._batches.items()})

    def stop(self, command: StopChildren, now_us: int) -> None:
        """End what is there."""
        book = self._ground.book
        batch = self._batches[command.request] = Batch()
        for id in dict.fromkeys(command.ids):
            runs = tuple(life[0] for life in book.running(id))
            if id in book.children:
                self._ground.remove(id)
            elif not runs:
                batch.errors.append(ChildError(id, None, Trouble.NOT_FOUND, "there is no such child"))
                continue
            if runs:
                batch.missing[id] = runs
                self._waiting.add(id, command.request)
            else:  # it runs nowhere, and its row goes at once
                batch.stopped.append((id, ()))
        self._ground.alarm("stopping", command.request, now_us + command.timeout_us)
        self._look(command.request, batch)

    def touched(self, id: bytes) -> None:
        """A child is shown otherwise."""
        book = self._ground.book
        for request in self._waiting.of(id):
            if not book.running(id) or id in book.children:  # in that case somebody started it anew meanwhile
                batch = self._batches[request]
                batch.stopped.append((id, batch.missing[id]))
                self._waiting.found(request, batch.missing, id)
                self._look(request, batch)

    def expired(self, request: int) -> None:
        """Its deadline has come: who was not heard of is named."""
        batch = self._batches.get(request)
        if batch is None:
            return
        for id, sites in batch.missing.items():
            batch.errors.append(ChildError(id, sites[0], Trouble.NO_RESPONSE, "it has not ended in time"))
        self._waiting.give_up(request, batch.missing)
        self._look(request, batch)

    def _look(self, request: int, batch: Batch) -> None:
        if not batch.missing:
            del self._batches[request]
            self._ground.cancel("stopping", request)
            self._ground.say(Resolve(request, StopOutcome(tuple(batch.stopped), tuple(batch.errors))))

    def close(self) -> None:
        """This node takes part no more."""
        for request in self._batches:
            error = DeadlineExceeded("the hub was closed; what was asked for may still happen")
            self._ground.say(Refuse(request, error))
            self._ground.cancel("stopping", request)
        self._batches.clear()
        self._waiting.clear()
