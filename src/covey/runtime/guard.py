"""Keeps the watchdog armed while children that need a lease run here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

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
    """

    def __init__(self, watchdog: Watch, deadline_us: Callable[[], int | None], lost: Callable[[str], None]) -> None:
        self._watchdog = watchdog
        self._deadline_us = deadline_us
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._told_us: int | None = None

    def start(self) -> None:
        """Be watched from now on. Raises `WatchdogGone` where that cannot be. Does nothing the second time."""
        if self._timer is None:
            self._watchdog.start()
            self._look()

    def need(self) -> None:
        """A copy is about to run: from before its first step on, somebody ends this process if it hangs."""
        if self._timer is not None and self._told_us is None:
            self._timer.cancel()
            self._look()

    def _look(self) -> None:
        self._timer = self._loop.call_later(LOOK_S, self._look)
        self._told_us = self._deadline_us()
        try:
            self._watchdog.arm(self._told_us)
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

    def close(self) -> None:
        """Nobody has to be watched any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._watchdog.close()
