"""Children started from here: what is waited for, and what comes of it.

Nobody is asked to start anything. A child's row says that it is wanted, its place says by whom, and that it runs is
shown by a row again; so a batch only writes rows and watches. What fails as it starts is told by its host.
"""

from __future__ import annotations

from collections import deque

import msgspec

from covey.core.errors import CoveyError, DeadlineExceeded
from covey.core.ids import Origin, Site
from covey.core.vocabulary import Refuse, Resolve
from covey.protocols.registry import rows
from covey.protocols.registry.asking import Asking
from covey.protocols.registry.ground import Ground
from covey.protocols.registry.placement import can_run
from covey.protocols.registry.rows import RUNS, State
from covey.protocols.registry.vocabulary import ChildError, NewChild, Place, StartChildren, StartOutcome, Trouble
from covey.protocols.registry.waiting import Waiting
from covey.protocols.registry.watching import Watching
from covey.wire.messages.rows import ROW_VALUE_BYTES_MAX


class Batch:
    """Children that are to start together."""

    __slots__ = (
        "asks",
        "births",
        "command",
        "doubted",
        "errors",
        "missing",
        "over",
        "started",
        "taking_back",
        "unwritten",
    )

    def __init__(self, command: StartChildren) -> None:
        self.command = command
        self.unwritten: deque[NewChild] = deque()
        self.births: dict[bytes, int] = {}  # the epochs of those that were written
        self.doubted: dict[bytes, NewChild] = {}  # there, as it seems: their hosts are asked
        self.over: dict[bytes, tuple[int, ...]] = {}  # births that are shown yet, and over
        self.missing: dict[bytes, Site | None] = {}  # who is to start each
        self.started: dict[bytes, Place] = {}
        self.errors: list[ChildError] = []
        self.taking_back = False
        self.asks = False  # the others are asked whether they show them


class Starting:
    """What this node was told to start.

    Law: every command has one outcome, by its deadline. Invariants: what is missing is waited for, and by whom.
    """

    def __init__(self, ground: Ground, asking: Asking) -> None:
        self._ground = ground
        self._asking = asking
        self._batches: dict[int, Batch] = {}
        self._waiting = Waiting()
        self.watching = Watching(ground, self._end)

    def check(self) -> None:
        """Every invariant."""
        self.watching.check()
        self._waiting.check({request: batch.missing for request, batch in self._batches.items()})

    @property
    def is_writing(self) -> bool:
        """Whether some children are still to be written."""
        return any(batch.unwritten for batch in self._batches.values())

    # --- writing ----------------------------------------------------------------------------------------------------

    def start(self, command: StartChildren, now_us: int) -> None:
        """Start what is not there."""
        if command.request in self._batches:
            return  # said twice
        batch = self._batches[command.request] = Batch(command)
        seen: dict[bytes, None] = {}
        hosts: list[tuple[bytes, Origin]] = []
        for new in command.children:
            if new.id in seen:
                batch.errors.append(self._exists(new.id))
            elif self._is_there(new.id, batch):
                host = self._asking.host(new.id)
                if host is None or host == self._ground.me:
                    batch.errors.append(self._exists(new.id))
                else:
                    batch.doubted[new.id] = new
                    hosts.append((new.id, host))
            else:
                batch.unwritten.append(new)
            seen[new.id] = None
        self._asking.ask(hosts, lambda ids, absent: self._told(command.request, ids, absent))
        self._ground.alarm("starting", command.request, now_us + command.timeout_us)
        self.write_more(now_us)
        self._look(command.request)

    def _told(self, request: int, ids: tuple[bytes, ...], absent: tuple[bytes, ...]) -> None:
        """A host says which of those that seemed to be there are over: these are started."""
        batch = self._batches.get(request)
        if batch is None:
            return
        for id in ids:
            new, child = batch.doubted.pop(id, None), self._ground.book.children.get(id)
            if new is None:
                continue
            if id not in absent:
                batch.errors.append(self._exists(id))
                continue
            batch.over[id] = () if child is None else child.begun
            batch.unwritten.append(new)
        self._look(request)

    def _is_there(self, id: bytes, batch: Batch) -> bool:
        book, over = self._ground.book, batch.over.get(id, ())
        child, copies = book.children.get(id), book.copies(id).values()
        if batch.command.unchecked:
            is_there = any(one.birth not in over for one in copies)
        else:
            is_there = child is not None and not set(child.begun) <= set(over)
        return is_there or id in self._ground.begun

    def _exists(self, id: bytes, reason: str = "it is there already") -> ChildError:
        life = next(iter(self._ground.book.copies(id)), None)
        return ChildError(id, None if life is None else life[0], Trouble.EXISTS, reason)

    def write_more(self, now_us: int) -> None:
        """Write the rows of some more children."""
        left = self._ground.config.births_max
        for request, batch in list(self._batches.items()):
            while batch.unwritten and left:
                left -= 1
                new = batch.unwritten.popleft()
                if self._is_there(new.id, batch):  # by now
                    batch.errors.append(self._exists(new.id))
                    continue
                birth = self.give_birth(new, now_us)
                if isinstance(birth, ChildError):
                    batch.errors.append(birth)
                else:
                    batch.births[new.id] = birth
                    batch.missing[new.id] = None  # its row, once it is shown, tells who is to start it
                    self._waiting.add(new.id, request)
            if batch.errors and not batch.unwritten:
                self._look(request)

    def give_birth(self, new: NewChild, now_us: int) -> int | ChildError:
        """Write that a child is wanted, where anybody can run it; returns the epoch of its birth, or why not."""
        ground = self._ground
        host = ground.places.expect(new.id, new.spec.start)
        if host is None and ground.places.view.hosts:
            able = [one for one in ground.places.view.hosts if can_run(one.starts, new.spec.start)]
            reason = f"no node of this hub runs {new.spec.start!r}: pass it to `children` where it is to run"
            if able:
                reason = f"all nodes that run {new.spec.start!r} have weight 0: give one of them more"
            return ChildError(new.id, None, Trouble.NO_HOST, reason)
        first = None if host is None else (bytes(host.site), host.incarnation)
        epoch = ground.epoch(0, now_us)
        birth = rows.encode(rows.Birth(new.spec, new.meta, epoch, first))
        if len(birth) > ROW_VALUE_BYTES_MAX:
            reason = f"its arguments and metadata have {len(birth)} bytes, a row has {ROW_VALUE_BYTES_MAX}: say less"
            return ChildError(new.id, None, Trouble.REFUSED, reason)
        ground.begin(new.id, birth)
        return epoch

    # --- what is shown ----------------------------------------------------------------------------------------------

    def touched(self, id: bytes, now_us: int) -> None:
        """A child is shown otherwise."""
        for request in self._waiting.of(id):
            self._touched(request, self._batches[request], id, now_us)
            self._look(request)

    def _touched(self, request: int, batch: Batch, id: bytes, now_us: int) -> None:
        book = self._ground.book
        if batch.taking_back:
            if self._is_taken_back(batch, id):
                self._waiting.found(request, batch.missing, id)
            return
        child, birth, over = book.children.get(id), batch.births[id], batch.over.get(id, ())
        copies = {
            life: one
            for life, one in book.running(id).items()
            if one.birth == birth or (child is not None and one.birth in child.begun and one.birth not in over)
        }
        place = next((Place(id, life, one) for life, one in copies.items() if one.state in RUNS), None)
        if place is not None:
            batch.started[id] = place
            batch.missing[id] = place.life[0]
        elif child is not None:
            batch.missing[id] = self._ground.places.host(id)
            failed = next((life for life, one in copies.items() if one.state is State.FAILED), None)
            if failed is None:
                return
            reason = copies[failed].error or "it failed too often"
            batch.errors.append(ChildError(id, failed[0], Trouble.RAISED, reason))
        else:  # stopped, or over: its host tells which
            self._ground.alarm("gone", (request, id), now_us + self._ground.config.retry_us)
            return
        self._waiting.found(request, batch.missing, id)

    def stopped(self, request: int, id: bytes) -> None:
        """It is no child any more for a while, and its host did not say that it ran."""
        batch = self._batches.get(request)
        if batch is not None and id in batch.missing and id not in self._ground.book.children:
            batch.errors.append(ChildError(id, batch.missing[id], Trouble.GONE, "it was stopped before it ran"))
            self._waiting.found(request, batch.missing, id)
            self._look(request)

    def ended(self, place: Place, error: str) -> None:
        """The host of a child says that it failed as it started, or that it ran and is over."""
        id = place.id
        for request in self._waiting.of(id):
            batch = self._batches[request]
            if batch.taking_back or batch.births[id] != place.running.birth:
                continue
            if error:
                batch.errors.append(ChildError(id, place.life[0], Trouble.RAISED, error))
            else:
                batch.started[id] = place
            self._waiting.found(request, batch.missing, id)
            self._look(request)

    def refused(self, id: bytes, error: CoveyError) -> None:
        """The row of a child could not be written."""
        for request in self._waiting.of(id) if id not in self._ground.book.children else ():
            batch = self._batches[request]
            batch.errors.append(ChildError(id, None, Trouble.REFUSED, str(error)))
            self._waiting.found(request, batch.missing, id)
            self._look(request)

    # --- ends -------------------------------------------------------------------------------------------------------

    def _look(self, request: int) -> None:
        """Whether a batch has its outcome."""
        batch = self._batches.get(request)
        if batch is None or batch.unwritten:
            return
        if batch.doubted and not (batch.errors and batch.command.rollback):
            return
        if batch.errors and batch.command.rollback and not batch.taking_back:
            self._take_back(request, batch)
        if batch.missing:
            return
        if batch.command.everywhere and batch.started and not batch.taking_back:
            if not batch.asks:
                batch.asks = True
                self.watching.ask(request, batch.started)
            return
        self._end(request)

    def _end(self, request: int) -> None:
        batch = self._batches.pop(request)
        self._ground.cancel("starting", request)
        if batch.asks:
            self.watching.forget(request)
        errors = tuple([_with_host(error, batch.started) for error in batch.errors])
        outcome = StartOutcome(tuple(batch.started.values()), errors, batch.taking_back)
        self._ground.say(Resolve(request, outcome))

    def _take_back(self, request: int, batch: Batch) -> None:
        """One failed, so all end, wherever they run, but for those that somebody else started too."""
        batch.taking_back = True
        batch.unwritten.clear()
        batch.doubted.clear()
        if batch.asks:  # that the others show them is no outcome any more
            batch.asks = False
            self.watching.forget(request)
        for id in batch.started:
            if id not in batch.missing:
                batch.missing[id] = None
                self._waiting.add(id, request)
        for id in list(batch.missing):
            if self._ground.take_back(id, batch.births[id]):
                batch.started.pop(id, None)
                batch.errors.append(self._exists(id, "somebody else started it too, so it stays"))
                self._waiting.found(request, batch.missing, id)
            elif self._is_taken_back(batch, id):  # over already, or written in this turn: then it is never shown
                self._waiting.found(request, batch.missing, id)

    def _is_taken_back(self, batch: Batch, id: bytes) -> bool:
        book, birth = self._ground.book, batch.births[id]
        child = book.children.get(id)
        is_shown = child is not None and birth in child.begun
        return not is_shown and all(one.birth != birth for one in book.running(id).values())

    def expired(self, request: int) -> None:
        """Its deadline has come: who was not heard of is named."""
        batch = self._batches.get(request)
        if batch is None:
            return
        for new in batch.unwritten:
            reason = "there was no time to start it, and it is not started"
            batch.errors.append(ChildError(new.id, None, Trouble.NO_RESPONSE, reason))
        batch.unwritten.clear()
        batch.errors += [self._exists(id) for id in batch.doubted]
        batch.doubted.clear()
        if not batch.taking_back:
            for id, known in batch.missing.items():
                batch.errors.append(self._silent(id, known))
            for id, site in self.watching.who(request):
                batch.errors.append(ChildError(id, site, Trouble.NO_RESPONSE, "it is not shown there yet"))
            if batch.errors and batch.command.rollback:
                self._take_back(request, batch)
        self._waiting.give_up(request, batch.missing)
        self._end(request)

    def _silent(self, id: bytes, known: Site | None) -> ChildError:
        book = self._ground.book
        before = next(iter([life for life in book.running(id) if life not in book.copies(id)]), None)
        if before is not None:
            reason = "one of the same id that was stopped has not ended there yet; this one starts once it has"
            return ChildError(id, before[0], Trouble.NO_RESPONSE, reason)
        site = self._ground.places.host(id) or known
        return ChildError(id, site, Trouble.NO_RESPONSE, "nothing was heard of it in time")

    def abandon(self, request: int) -> None:
        """Nobody waits any more: a batch that is taken back if it fails, is; any other one goes on unheard."""
        batch = self._batches.get(request)
        if batch is not None and batch.command.rollback and not batch.taking_back:
            self._take_back(request, batch)
            if not batch.missing:
                self._end(request)

    def close(self) -> None:
        """This node takes part no more."""
        for request in self._batches:
            error = DeadlineExceeded("the hub was closed; what was asked for may still happen")
            self._ground.say(Refuse(request, error))
            self._ground.cancel("starting", request)
        self._batches.clear()
        self._waiting.clear()
        self.watching.close()


def _with_host(error: ChildError, started: dict[bytes, Place]) -> ChildError:
    """Who runs a child that one batch named twice is known only when it runs."""
    place = started.get(error.id) if error.trouble is Trouble.EXISTS and error.site is None else None
    return error if place is None else msgspec.structs.replace(error, site=place.life[0])
