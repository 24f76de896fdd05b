"""All copies of children that this node runs: built, started, told, ended.

    hands (effects)            the next turn of the loop          the child's task
    PrepareChild ────────────▶ built: ChildPrepared
    StartChild ──────────────▶ built, a task ───────────────────▶ its first step
                               ChildStarted, or its end ◀──────── survived it, or not
    DeliverToChild ─────────────────────────────────────────────▶ ctx.mailbox
    AskHandover, StopChild ─────────────────────────────────────▶ ctx.stopping; after the grace it is cancelled
                               ChildExited ◀───────────────────── returned, raised, or was cancelled

Effects are carried out inside the pump, so users' code does not run there: what builds and starts it is done in the
next turn of the event loop, for all children at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from covey.core import children as c
from covey.core.children import Copy, Ending
from covey.core.errors import ClosedError, Deposed, UsageError
from covey.runtime.children.births import Births
from covey.runtime.children.context import Handover
from covey.runtime.children.copies import SECONDS_MAX, Run, Told
from covey.runtime.children.crashes import trace_of
from covey.runtime.children.letters import in_a_line
from covey.runtime.children.resolving import Resolve, Resolving
from covey.runtime.children.starts import Start
from covey.wire.payloads import encode_payload

log = logging.getLogger("covey.runtime.children")

STATE_BYTES_MAX = 1 << 26  # of a handed over state as it is encoded; how much may travel, the machine knows


class ChildrenConfig(msgspec.Struct, frozen=True):
    """Times in microseconds."""

    stuck_after_us: int = 2_000_000  # whoever was cancelled and still runs then is stuck. Guess
    cancel_every_us: int = 5_000_000  # and is cancelled again, for ever. Guess
    lapse_us: int = 600_000  # how long a process outlives its lease at most. Guess: below `stop_grace` of claims
    resolve_us: int = 5_000_000  # how long making one state of two may take. Guess


DEFAULTS = ChildrenConfig()


class Hub(msgspec.Struct, frozen=True):
    """One hub that is open here."""

    starts: Mapping[str, Start[...]]
    handle: Any
    resolve: Resolve | None


class Children:
    """Runs what the machines of hubs say, and tells them what became of it.

    `feed` takes facts, and may raise `ClosedError`. `lease_us(copy)` is until when, on the clock of `clock_us`, a copy
    may run: the end of its lease, 0 where it has none, and beyond all time where its hub needs none.

    Law: of each copy `ChildExited` is said once and last; nothing of users' code runs inside an effect.
    """

    def __init__(
        self,
        feed: Callable[[Any], None],
        clock_us: Callable[[], int],
        lease_us: Callable[[Copy], int],
        config: ChildrenConfig = DEFAULTS,
    ) -> None:
        self._feed = feed
        self.clock_us = clock_us
        self.lease_us = lease_us
        self.config = config
        self.loop = asyncio.get_running_loop()
        self.births = Births(self)
        self.hubs: dict[bytes, Hub] = {}
        self._runs: dict[Copy, Run] = {}
        self.left: dict[asyncio.Task[Any], Copy] = {}  # what ran on when all was closed, and may do so still
        self._resolving = Resolving(self.say, config.resolve_us)
        self.hands: dict[type, Callable[[Any], None]] = {
            c.PrepareChild: self._prepare,
            c.StartChild: self._start,
            c.TellToken: self._tell_token,
            c.DeliverToChild: self._deliver,
            c.AskHandover: self._ask_handover,
            c.StopChild: self._stop,
            c.AskResolver: self._ask_resolver,
        }

    def __len__(self) -> int:
        """How many copies are here that have not ended."""
        return len(self._runs)

    @property
    def stuck(self) -> int:
        """How many of these were cancelled, and run on."""
        return sum(run.is_stuck for run in self._runs.values())

    # --- hubs -------------------------------------------------------------------------------------------------------

    def open(self, hub: bytes, starts: Mapping[str, Start[...]], handle: Any, resolve: Resolve | None = None) -> None:
        """Run children of `hub`: those whose names are in `starts`, and no others.

        `resolve(id, ours, theirs)`, plain or async, makes one state of what two copies of a child left.
        """
        self.hubs[hub] = Hub(starts, handle, resolve)

    def close(self, hub: bytes) -> None:
        """Start no more children of `hub`. What still runs of it is cancelled."""
        self.hubs.pop(hub, None)
        for run in [run for run in self._runs.values() if run.copy.hub == hub]:
            run.end(Told.STOP, "stop", 0)

    async def wait_ended(self, hub: bytes) -> None:
        """Wait until nothing runs of a hub that is closed, or what runs on is stuck."""
        tasks = [run.task for run in self._runs.values() if run.copy.hub == hub and run.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=self.config.stuck_after_us / 1e6)

    async def aclose(self, grace: float = 0.0) -> int:
        """Start nothing more, and end all that runs: told first, cancelled after `grace` seconds.

        Returns how many ignored even that, `stuck_after_us` later; nothing is heard of them any more, but they are
        `left`.
        """
        self.hubs.clear()
        grace_us = int(min(grace, SECONDS_MAX) * 1e6)
        for run in list(self._runs.values()):
            run.end(Told.STOP, "stop", grace_us)
        self._resolving.close()
        # Whoever closes us may be one of the children: it cannot wait for itself.
        me = asyncio.current_task()
        tasks = [run.task for run in self._runs.values() if run.task is not None and run.task is not me]
        if tasks:
            await asyncio.wait(tasks, timeout=grace + self.config.stuck_after_us / 1e6)
        self.births.turn()
        abandoned = 0
        for run in list(self._runs.values()):
            self._forget(run)
            if run.task is not None:
                self.left[run.task] = run.copy
            if run.task is not me:
                abandoned += 1
                log.warning("event=child_abandoned hub=%s id=%s start=%s", *run.names)
        return abandoned

    # --- what the machine says --------------------------------------------------------------------------------------

    def _prepare(self, effect: c.PrepareChild) -> None:
        if effect.copy not in self._runs:
            self._add(effect.copy, effect.start, effect.arguments)

    def _start(self, effect: c.StartChild) -> None:
        run = self._runs.get(effect.copy)
        prepared = run is not None
        if run is None:
            run = self._add(effect.copy, effect.start, effect.arguments)
        run.is_wanted = True
        run.token, run.handed_over = effect.token, effect.handed_over
        if prepared:
            self.births.go(run)

    def _add(self, copy: Copy, start: str, arguments: bytes) -> Run:
        run = self._runs[copy] = Run(self, copy, start, arguments)
        self.births.build(run)
        return run

    def _tell_token(self, effect: c.TellToken) -> None:
        run = self._runs.get(effect.copy)
        if run is not None:
            run.token = effect.token
            if run.inside is not None:
                run.inside.hear_token(effect.token)

    def _deliver(self, effect: c.DeliverToChild) -> None:
        run = self._runs.get(effect.copy)
        if run is not None and run.inside is not None:
            run.inside.hear_letter(effect.call, effect.sender, effect.payload)

    def _ask_handover(self, effect: c.AskHandover) -> None:
        run = self._runs.get(effect.copy)
        if run is not None and run.told is Told.NOTHING:
            reason = "duplicate" if effect.duplicate else "move"
            run.end(Told.LEAVE, reason, effect.grace_us, effect.target)

    def _stop(self, effect: c.StopChild) -> None:
        run = self._runs.get(effect.copy)
        if run is not None:
            run.end(Told.STOP, "fenced" if effect.deposed else "stop", effect.grace_us, None, effect.deposed)

    def _ask_resolver(self, effect: c.AskResolver) -> None:
        hub = self.hubs.get(effect.copy.hub)
        self._resolving.ask(None if hub is None else hub.resolve, effect)

    # --- ending -----------------------------------------------------------------------------------------------------

    def ended(self, run: Run) -> None:
        """Its task is done: say how."""
        task = run.task
        if run.is_over or task is None:
            return
        if task.cancelled():
            self.exit(run, Ending.STOPPED)
            return
        error = task.exception()
        if error is not None:
            if isinstance(error, Deposed) and (run.told is Told.STOP or not self.may_run(run.copy)):
                self.exit(run, Ending.STOPPED)
            else:
                self.crash(run, error)
            return
        result = task.result()
        if isinstance(result, c.ChildExited):  # its process said it
            self.exit(run, result.ending, result.error, result.trace)
            return
        if run.told is not Told.STOP:
            run.has_begun()
        if isinstance(result, Handover):
            self._hand_over(run, result)
        self.exit(run, Ending.STOPPED if run.told is Told.STOP else Ending.RETURNED)

    def _hand_over(self, run: Run, handover: Handover) -> None:
        try:
            state = encode_payload(handover.state, "state", STATE_BYTES_MAX, "it is lost", "leave less")
        except UsageError as error:
            log.error("event=handover_lost hub=%s id=%s start=%s reason=%r", *run.names, str(error))
            self.say(c.HandoverGiven(run.copy, None, str(error)))
        else:
            self.say(c.HandoverGiven(run.copy, state))

    def crash(self, run: Run, error: BaseException) -> None:
        """It raised, or could not be built: that is logged, once."""
        line = in_a_line(error)
        log.error("event=child_crashed hub=%s id=%s start=%s reason=%r", *run.names, line, exc_info=error)
        self.exit(run, Ending.RAISED, line, trace_of(error))

    def exit(self, run: Run, ending: Ending, error: str = "", trace: str = "") -> None:
        """It has ended: say how, and forget it."""
        if run.is_over:
            return
        self._forget(run)
        self.say(c.ChildExited(run.copy, ending, error, trace))

    def _forget(self, run: Run) -> None:
        run.is_over = True
        run.calm()
        del self._runs[run.copy]
        if run.inside is not None and run.task is None:
            run.inside.throw_away()
        run.inside = None

    # --- what copies say --------------------------------------------------------------------------------------------

    def say(self, fact: Any) -> None:
        """Tell the machines, while there are any."""
        try:
            self._feed(fact)
        except ClosedError:
            pass

    def may_run(self, copy: Copy) -> bool:
        """Whether a copy's lease goes on."""
        return self.lease_us(copy) > self.clock_us()
