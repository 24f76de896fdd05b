"""Children stopped from here: their rows go, and who ran them shows that they run no more."""

from __future__ import annotations

from covey.core.errors import DeadlineExceeded
from covey.core.ids import Origin, Site
from covey.core.vocabulary import Refuse, Resolve
from covey.protocols.registry.asking import Asking
from covey.protocols.registry.ground import Ground
from covey.protocols.registry.vocabulary import ChildError, StopChildren, StopOutcome, Trouble
from covey.protocols.registry.waiting import Waiting


class Batch:
    """Children that are to end together."""

    __slots__ = ("births", "errors", "missing", "stopped", "unsure")

    def __init__(self) -> None:
        self.missing: dict[bytes, tuple[Site, ...]] = {}  # who ran each
        self.unsure: dict[bytes, Origin] = {}  # those nobody is shown to run, and who was to
        self.births: dict[bytes, tuple[int, ...]] = {}  # of the copies that are to end
        self.stopped: list[tuple[bytes, tuple[Site, ...]]] = []
        self.errors: list[ChildError] = []


class Stopping:
    """What this node was told to stop.

    Law: every command has one outcome, by its deadline. Invariants: what is missing is waited for, and by whom.
    """

    def __init__(self, ground: Ground, asking: Asking) -> None:
        self._ground = ground
        self._asking = asking
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
            births = [one.birth for one in book.running(id).values()]
            host = self._asking.host(id)
            if (child := book.children.get(id)) is not None:
                births += child.begun
                self._ground.remove(id)
            elif not runs:
                batch.errors.append(ChildError(id, None, Trouble.NOT_FOUND, "there is no such child"))
                continue
            if not runs and host is None:  # it runs nowhere, and its row goes at once
                batch.stopped.append((id, ()))
                continue
            if not runs and host is not None:
                batch.unsure[id] = host
            batch.missing[id], batch.births[id] = runs, tuple(births)
            self._waiting.add(id, command.request)
        self._ground.alarm("stopping", command.request, now_us + command.timeout_us)
        if batch.unsure:
            self._ground.alarm("unsure", command.request, now_us)
        self._look(command.request, batch)

    def ask(self, request: int) -> None:
        """Ask whoever was to run what nobody is shown to run: it may run it all the same."""
        ground, batch = self._ground, self._batches.get(request)
        if batch is None:
            return
        ours = [id for id, host in batch.unsure.items() if host == ground.me or not ground.is_here(host)]
        absent = [id for id in ours if batch.unsure[id] != ground.me or self._asking.is_absent(id)]
        theirs = [(id, host) for id, host in batch.unsure.items() if id not in ours]
        self._asking.ask(theirs, lambda ids, absent: self._told(request, ids, absent))
        self._told(request, tuple(ours), tuple(absent))

    def _told(self, request: int, ids: tuple[bytes, ...], absent: tuple[bytes, ...]) -> None:
        """These are over where they were to run; of the rest that is asked again."""
        ground, batch = self._ground, self._batches.get(request)
        if batch is None:
            return
        for id in ids:
            if id not in batch.unsure:
                continue
            child = ground.book.children.get(id)
            is_another = child is not None and not set(child.begun) & set(batch.births[id])
            if id in absent or is_another:
                del batch.unsure[id]
                batch.stopped.append((id, ()))
                self._waiting.found(request, batch.missing, id)
            else:
                ground.alarm_unless_sooner("unsure", request, ground.now_us + ground.config.tries_us_min)
        self._look(request, batch)

    def touched(self, id: bytes) -> None:
        """A child is shown otherwise. One that somebody started anew meanwhile is another one."""
        running = self._ground.book.running(id).values()
        for request in self._waiting.of(id):
            batch = self._batches[request]
            if id not in batch.unsure and not any(one.birth in batch.births[id] for one in running):
                batch.stopped.append((id, batch.missing[id]))
                self._waiting.found(request, batch.missing, id)
                self._look(request, batch)

    def expired(self, request: int) -> None:
        """Its deadline has come: who was not heard of is named."""
        batch = self._batches.get(request)
        if batch is None:
            return
        for id, sites in batch.missing.items():
            site = sites[0] if sites else batch.unsure[id][0]
            batch.errors.append(ChildError(id, site, Trouble.NO_RESPONSE, "it has not ended in time"))
        self._waiting.give_up(request, batch.missing)
        self._look(request, batch)

    def _look(self, request: int, batch: Batch) -> None:
        if not batch.missing:
            del self._batches[request]
            self._ground.cancel("stopping", request)
            self._ground.cancel("unsure", request)
            self._ground.say(Resolve(request, StopOutcome(tuple(batch.stopped), tuple(batch.errors))))

    def close(self) -> None:
        """This node takes part no more."""
        for request in self._batches:
            error = DeadlineExceeded("the hub was closed; what was asked for may still happen")
            self._ground.say(Refuse(request, error))
            self._ground.cancel("stopping", request)
            self._ground.cancel("unsure", request)
        self._batches.clear()
        self._waiting.clear()
