"""Children started and stopped from here: what is waited for, and what comes of it.

Nobody is asked to start anything. A child's row says that it is wanted, its place says by whom, and that it runs is
shown by a row again; so a batch only writes rows and watches. What fails as it starts is told by its host.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from covey.core.errors import CoveyError, DeadlineExceeded, invariant
from covey.core.ids import Origin, Site
from covey.core.vocabulary import Refuse, Resolve
from covey.protocols.registry import rows
from covey.protocols.registry.ground import Ground
from covey.protocols.registry.rows import RUNS, Running, State
from covey.protocols.registry.vocabulary import (
    ChildError,
    NewChild,
    Place,
    StartChildren,
    StartOutcome,
    StopChildren,
    StopOutcome,
    Trouble,
)
from covey.wire.messages.registry import LETTERS_MAX, Watch, Watched
from covey.wire.messages.rows import ROW_VALUE_BYTES_MAX

WATCHES_MAX = 1_024  # of others: the oldest is forgotten, and its batch ends with its deadline. Guess


class Starting:
    """One batch of children that are to start."""

    __slots__ = ("command", "ends_us", "errors", "missing", "started", "taking_back", "unwritten", "watched")

    def __init__(self, command: StartChildren, ends_us: int) -> None:
        self.command = command
        self.ends_us = ends_us
        self.unwritten: deque[NewChild] = deque()
        self.missing: dict[bytes, Site | None] = {}  # who is to start each
        self.started: dict[bytes, Place] = {}
        self.errors: list[ChildError] = []
        self.taking_back = False
        self.watched: dict[Site, None] | None = None  # who does not show them all yet


class Stopping:
    """One batch of children that are to end."""

    __slots__ = ("errors", "missing", "stopped")

    def __init__(self) -> None:
        self.missing: dict[bytes, tuple[Site, ...]] = {}  # who ran each
        self.stopped: list[tuple[bytes, tuple[Site, ...]]] = []
        self.errors: list[ChildError] = []


class Batches:
    """What this node was told to start and to stop.

    Law: every command has one outcome, by its deadline. Invariants: what is missing is waited for, and by whom.
    """

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._starting: dict[int, Starting] = {}
        self._stopping: dict[int, Stopping] = {}
        self._waiting: dict[bytes, dict[int, None]] = {}  # which requests wait for a child
        self._watches: dict[tuple[Origin, int], dict[bytes, None]] = {}  # what others want to know

    def check(self) -> None:
        """Every invariant."""
        filed = {(id, request) for id, requests in self._waiting.items() for request in requests}
        missing = {(id, request) for request, batch in self._starting.items() for id in batch.missing}
        missing |= {(id, request) for request, batch in self._stopping.items() for id in batch.missing}
        invariant(filed == missing, "what is missing is waited for")

    @property
    def is_writing(self) -> bool:
        """Whether some children are still to be written."""
        return any(batch.unwritten for batch in self._starting.values())

    # --- starting ---------------------------------------------------------------------------------------------------

    def start(self, command: StartChildren, now_us: int) -> None:
        """Start what is not there."""
        batch = self._starting[command.request] = Starting(command, now_us + command.timeout_us)
        seen: dict[bytes, None] = {}
        for new in command.children:
            if new.id in seen or (not command.unchecked and new.id in self._ground.book.children):
                batch.errors.append(self._exists(new.id))
            elif command.unchecked and (running := self._ground.book.running(new.id)):
                batch.errors.append(self._exists(new.id, next(iter(running))[0]))
            else:
                batch.unwritten.append(new)
            seen[new.id] = None
        self._ground.alarm("batch", command.request, batch.ends_us)
        self.write_more(now_us)
        self._look(command.request, now_us)

    def _exists(self, id: bytes, site: Site | None = None) -> ChildError:
        runs = next(iter(self._ground.book.running(id)), None)
        return ChildError(id, runs[0] if runs is not None else site, Trouble.EXISTS, "it is there already")

    def write_more(self, now_us: int) -> None:
        """Write the rows of some more children."""
        left = self._ground.config.births_max
        for request, batch in list(self._starting.items()):
            while batch.unwritten and left:
                left -= 1
                new = batch.unwritten.popleft()
                error = self.give_birth(new, now_us)
                if error is not None:
                    batch.errors.append(error)
                else:
                    batch.missing[new.id] = None  # its row, once it is shown, tells who is to start it
                    self._waiting.setdefault(new.id, {})[request] = None
            if batch.errors and not batch.unwritten:
                self._look(request, now_us)

    def give_birth(self, new: NewChild, now_us: int) -> ChildError | None:
        """Write that a child is wanted, where anybody can run it."""
        ground = self._ground
        host = ground.places.expect(new.id, new.spec.start)
        if host is None and ground.places.view.hosts:
            reason = f"no node of this hub runs {new.spec.start!r}: pass it to `children` where it is to run"
            return ChildError(new.id, None, Trouble.NO_HOST, reason)
        first = None if host is None else (bytes(host.site), host.incarnation)
        birth = rows.encode(rows.Birth(new.spec, new.meta, ground.epoch(0, now_us), first))
        if len(birth) > ROW_VALUE_BYTES_MAX:
            reason = f"its arguments and metadata have {len(birth)} bytes, a row has {ROW_VALUE_BYTES_MAX}: say less"
            return ChildError(new.id, None, Trouble.REFUSED, reason)
        ground.begin(new.id, birth)
        return None

    # --- what is shown ----------------------------------------------------------------------------------------------

    def touched(self, id: bytes, now_us: int) -> None:
        """A child is shown otherwise."""
        if self._watches and (id not in self._ground.book.children or _runs(id, self._ground.book.running(id))):
            for watch in [watch for watch, ids in self._watches.items() if id in ids]:
                self._look_at_watch(watch, id)
        requests = self._waiting.get(id)
        if requests is None:
            return
        for request in list(requests):
            if (starting := self._starting.get(request)) is not None:
                self._touched_start(request, starting, id, now_us)
            elif request in self._stopping:
                self._touched_stop(request, self._stopping[request], id)
            self._look(request, now_us)

    def _touched_start(self, request: int, batch: Starting, id: bytes, now_us: int) -> None:
        book = self._ground.book
        if batch.taking_back:
            if not book.running(id) and id not in book.children:
                self._found(request, batch.missing, id)
            return
        place = _runs(id, book.running(id))
        if place is not None:
            batch.started[id] = place
            batch.missing[id] = place.life[0]
        elif id in book.children:
            batch.missing[id] = self._ground.places.host(id)
            failed = next((life for life, one in book.running(id).items() if one.state is State.FAILED), None)
            if failed is None:
                return
            reason = book.running(id)[failed].error or "it failed too often"
            batch.errors.append(ChildError(id, failed[0], Trouble.RAISED, reason))
        else:  # stopped, or over: its host tells which
            self._ground.alarm("gone", (request, id), now_us + self._ground.config.retry_us)
            return
        self._found(request, batch.missing, id)

    def stopped(self, request: int, id: bytes, now_us: int) -> None:
        """It is no child any more for a while, and its host did not say that it ran."""
        batch = self._starting.get(request)
        if batch is not None and id in batch.missing and id not in self._ground.book.children:
            batch.errors.append(ChildError(id, batch.missing[id], Trouble.GONE, "it was stopped before it ran"))
            self._found(request, batch.missing, id)
            self._look(request, now_us)

    def _touched_stop(self, request: int, batch: Stopping, id: bytes) -> None:
        book = self._ground.book
        if not book.running(id) or id in book.children:  # in that case somebody started it anew meanwhile
            batch.stopped.append((id, batch.missing[id]))
            self._found(request, batch.missing, id)

    def ended(self, place: Place, error: str, now_us: int) -> None:
        """The host of a child says that it failed as it started, or that it ran and is over."""
        id = place.id
        for request in list(self._waiting.get(id, ())):
            batch = self._starting.get(request)
            if batch is None or batch.taking_back:
                continue
            if error:
                batch.errors.append(ChildError(id, place.life[0], Trouble.RAISED, error))
            else:
                batch.started[id] = place
            self._found(request, batch.missing, id)
            self._look(request, now_us)

    def refused(self, ids: list[bytes], error: CoveyError, now_us: int) -> None:
        """Rows could not be written."""
        for id in ids:
            for request in list(self._waiting.get(id, ())):
                batch = self._starting.get(request)
                if batch is not None and id not in self._ground.book.children:
                    batch.errors.append(ChildError(id, None, Trouble.REFUSED, str(error)))
                    self._found(request, batch.missing, id)
                    self._look(request, now_us)

    def _found(self, request: int, missing: dict[bytes, Any], id: bytes) -> None:
        del missing[id]
        requests = self._waiting[id]
        del requests[request]
        if not requests:
            del self._waiting[id]

    # --- ends -------------------------------------------------------------------------------------------------------

    def _look(self, request: int, now_us: int) -> None:
        """Whether a batch has its outcome."""
        if (stopping := self._stopping.get(request)) is not None:
            if not stopping.missing:
                self._end_stop(request, stopping)
            return
        batch = self._starting.get(request)
        if batch is None or batch.unwritten:
            return
        if batch.errors and batch.command.rollback and not batch.taking_back:
            self._take_back(request, batch)
        if batch.missing:
            return
        if batch.command.everywhere and batch.started and not batch.taking_back:
            self._watch(request, batch)
            if batch.watched:
                return
        self._end_start(request, batch)

    def _end_start(self, request: int, batch: Starting) -> None:
        del self._starting[request]
        self._ground.calm("batch", request)
        errors = tuple([_with_host(error, batch.started) for error in batch.errors])
        outcome = StartOutcome(tuple(batch.started.values()), errors, batch.taking_back)
        self._ground.say(Resolve(request, outcome))

    def _end_stop(self, request: int, batch: Stopping) -> None:
        del self._stopping[request]
        self._ground.calm("batch", request)
        self._ground.say(Resolve(request, StopOutcome(tuple(batch.stopped), tuple(batch.errors))))

    def _take_back(self, request: int, batch: Starting) -> None:
        """One failed, so all end, wherever they run."""
        batch.taking_back = True
        batch.unwritten.clear()
        for id in [*batch.missing, *batch.started]:
            self._ground.remove(id)
        for id in batch.started:
            batch.missing.setdefault(id, None)
            self._waiting.setdefault(id, {})[request] = None

    def expired(self, request: int, now_us: int) -> None:
        """Its deadline has come: who was not heard of is named."""
        batch = self._starting.get(request)
        if batch is not None:
            for new in batch.unwritten:
                reason = "there was no time to start it, and it is not started"
                batch.errors.append(ChildError(new.id, None, Trouble.NO_RESPONSE, reason))
            batch.unwritten.clear()
            if not batch.taking_back:
                for id, known in batch.missing.items():
                    site = self._ground.places.host(id) or known
                    batch.errors.append(ChildError(id, site, Trouble.NO_RESPONSE, "nothing was heard of it in time"))
                for site in batch.watched or ():
                    for id in batch.started:
                        batch.errors.append(ChildError(id, site, Trouble.NO_RESPONSE, "it is not shown there yet"))
                if batch.errors and batch.command.rollback:
                    self._take_back(request, batch)
            self._give_up(request, batch.missing)
            self._end_start(request, batch)
        elif (stopping := self._stopping.get(request)) is not None:
            for id, sites in stopping.missing.items():
                site = sites[0] if sites else None
                stopping.errors.append(ChildError(id, site, Trouble.NO_RESPONSE, "it has not ended in time"))
            self._give_up(request, stopping.missing)
            self._end_stop(request, stopping)

    def _give_up(self, request: int, missing: dict[bytes, Any]) -> None:
        for id in list(missing):
            self._found(request, missing, id)

    def abandon(self, request: int) -> None:
        """Nobody waits any more: a batch that is taken back if it fails, is; any other one goes on unheard."""
        batch = self._starting.get(request)
        if batch is not None and batch.command.rollback and not batch.taking_back:
            self._take_back(request, batch)
            if not batch.missing:
                self._end_start(request, batch)

    def close(self) -> None:
        """This node takes part no more."""
        for request in [*self._starting, *self._stopping]:
            error = DeadlineExceeded("the hub was closed; what was asked for may still happen")
            self._ground.say(Refuse(request, error))
            self._ground.calm("batch", request)
        self._starting.clear()
        self._stopping.clear()
        self._waiting.clear()
        self._watches.clear()

    # --- stopping ---------------------------------------------------------------------------------------------------

    def stop(self, command: StopChildren, now_us: int) -> None:
        """End what is there."""
        book = self._ground.book
        batch = self._stopping[command.request] = Stopping()
        for id in dict.fromkeys(command.ids):
            runs = tuple(life[0] for life in book.running(id))
            if id in book.children:
                self._ground.remove(id)
            elif not runs:
                batch.errors.append(ChildError(id, None, Trouble.NOT_FOUND, "there is no such child"))
                continue
            batch.missing[id] = runs
            self._waiting.setdefault(id, {})[command.request] = None
        self._ground.alarm("batch", command.request, now_us + command.timeout_us)
        for id in list(batch.missing):
            if not batch.missing[id]:  # it runs nowhere, and its row goes at once
                batch.stopped.append((id, ()))
                self._found(command.request, batch.missing, id)
        self._look(command.request, now_us)

    # --- shown everywhere -------------------------------------------------------------------------------------------

    def _watch(self, request: int, batch: Starting) -> None:
        """Ask everybody else who takes part now, once; who leaves is not waited for."""
        ground = self._ground
        if batch.watched is None:
            batch.watched = {site: None for site in ground.book.participants if site != ground.me[0]}
            ids = tuple(batch.started)
            parts = [ids[at : at + LETTERS_MAX] for at in range(0, len(ids), LETTERS_MAX)]
            for site in batch.watched:
                for at, part in enumerate(parts):
                    last = at == len(parts) - 1
                    ground.send(site, Watch(ground.hub, request if last else 0, part), sum(map(len, part)) + 64)
        for site in [site for site in batch.watched if site not in ground.book.participants]:
            del batch.watched[site]

    def on_watch(self, peer: Origin, message: Watch) -> None:
        """Somebody wants to know when these are shown here. What comes in parts is told for the last, in order."""
        book, key = self._ground.book, (peer, message.number)
        ids = {id: None for id in message.ids if not _runs(id, book.running(id))}
        waiting = self._watches.pop((peer, 0), {}) | ids
        if len(self._watches) >= WATCHES_MAX:
            del self._watches[next(iter(self._watches))]
        if not message.number:
            self._watches[peer, 0] = waiting
        elif waiting:
            self._watches[key] = waiting
        else:
            self._ground.send(peer[0], Watched(self._ground.hub, message.number))

    def _look_at_watch(self, watch: tuple[Origin, int], id: bytes) -> None:
        ids = self._watches[watch]
        del ids[id]
        peer, number = watch
        if not ids and number:
            del self._watches[watch]
            self._ground.send(peer[0], Watched(self._ground.hub, number))

    def on_watched(self, site: Site, number: int, now_us: int) -> None:
        """One participant shows a batch."""
        batch = self._starting.get(number)
        if batch is not None and batch.watched is not None:
            batch.watched.pop(site, None)
            self._look(number, now_us)

    def gone(self, life: Origin, now_us: int) -> None:
        """A participant is gone: it is not waited for, and wants to know nothing."""
        for watch in [watch for watch in self._watches if watch[0] == life]:
            del self._watches[watch]
        for request, batch in list(self._starting.items()):
            if batch.watched is not None:
                self._look(request, now_us)


def _with_host(error: ChildError, started: dict[bytes, Place]) -> ChildError:
    """Who runs a child that one batch named twice is known only when it runs."""
    place = started.get(error.id) if error.trouble is Trouble.EXISTS and error.site is None else None
    return error if place is None else msgspec.structs.replace(error, site=place.life[0])


def _runs(id: bytes, running: dict[Origin, Running]) -> Place | None:
    """Where a child runs, if it does."""
    return next((Place(id, life, one) for life, one in running.items() if one.state in RUNS), None)
