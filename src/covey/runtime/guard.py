"""Keeps the watchdog armed while children that need a lease run here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from covey.runtime.watchdog import WatchdogGone

log = logging.getLogger(__name__)

LOOK_S = 0.1  # a lease is renewed five times in four seconds. Guess: an eighth of that


class Watch(Protocol):
    """What kills this process when a deadline passes: `Watchdog`, or nobody where time is virtual."""

    def start(self) -> None:
        """Begin."""

    def arm(self, deadline_us: int | None) -> None:
        """The deadline from now on."""

    def close(self) -> None:
        """End."""


class Guard:
    """Tells the watchdog, as long as the event loop turns, that all is well until then.

    `deadline_us()` is when the earliest copy must have ended that is not granted more time; None where none runs.
    `lost` is called where no watchdog can be had: nothing that needs a lease may run then.
    Law: from `need(end_us)` on the watchdog knows of no later deadline than that, until a look finds a later one.
    """

    def __init__(self, watchdog: Watch, deadline_us: Callable[[], int | None], lost: Callable[[str], None]) -> None:
        self._watchdog = watchdog
        self._deadline_us = deadline_us
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._told_us: int | None = None
        self._left: dict[asyncio.Task[Any], int] | None = None  # what runs on here though everything is closed

    def start(self) -> None:
        """Be watched from now on. Raises `WatchdogGone` where that cannot be. Does nothing the second time."""
        if self._timer is None:
            self._watchdog.start()
            self._look()

    def need(self, end_us: int) -> None:
        """A copy must have ended by then: from now on, and not from the next look on, somebody sees to that."""
        if self._timer is not None and (self._told_us is None or end_us < self._told_us):
            self._tell(end_us)

    def _look(self) -> None:
        if self._left is not None and not self._still_here():
            self.close()
            return
        self._timer = self._loop.call_later(LOOK_S, self._look)
        self._tell(self._deadline_us())

    def _tell(self, deadline_us: int | None) -> None:
        self._told_us = deadline_us
        try:
            self._watchdog.arm(deadline_us)
        except WatchdogGone as error:
            self._revive(str(error))

    def _revive(self, why: str) -> None:
        """It was killed: another one takes its place, or nothing goes on."""
        log.error("event=watchdog_gone reason=%r", why)
        try:
            self._watchdog.close()
            self._watchdog.start()
            self._watchdog.arm(self._told_us)
        except WatchdogGone as error:
            self.close()
            self._lost(str(error))

    def close(self, left: Mapping[asyncio.Task[Any], int] | None = None) -> None:
        """Nobody has to be watched any more but what is `left` running, each until it is over or must have ended."""
        if self._timer is None:
            return
        self._timer.cancel()
        if left:
            self._left = dict(left)
            self._deadline_us = lambda: min(self._still_here(), default=None)
            self._look()
        else:
            self._timer = None
            self._watchdog.close()

    def _still_here(self) -> list[int]:
        return [end_us for task, end_us in (self._left or {}).items() if not task.done()]
