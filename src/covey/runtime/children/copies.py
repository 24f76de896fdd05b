"""One copy of a child here: what its code can say, how it is ended, and what is known of it until it has ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol

from covey.core.children import ChildReceives, ChildReplied, ChildStarted, ChildStuck, Copy
from covey.core.ids import Site
from covey.runtime.children.crashes import words

if TYPE_CHECKING:
    from covey.runtime.children.children import Children

log = logging.getLogger("covey.runtime.children")

SECONDS_MAX = 1e9  # event loops take no more


class Told(IntEnum):
    """What a copy was told about its end."""

    NOTHING = 0
    LEAVE = 1  # end, and leave a state
    STOP = 2


class Inside(Protocol):
    """A copy that is built: here that is its context and its coroutine, or a process of its own and the pipe to it."""

    starts_itself: bool
    """Whether it says itself that it has started; else it has once its first step is taken."""

    def run(self, token: int, handed_over: bytes | None) -> Coroutine[Any, Any, Any] | None:
        """What its task is to do; None where it has one. Raises `DecodeError` for a state that nobody can read."""
        ...

    def throw_away(self) -> None:
        """It will not run."""
        ...

    def hear_letter(self, call: int, sender: Site, payload: bytes) -> None:
        """The letter that it asked for."""
        ...

    def hear_token(self, token: int) -> None:
        """Its fencing token from now on."""
        ...

    def hear_end(self, reason: str, winner: Site | None, deposed: bool, grace_us: int) -> None:
        """It is to end, and will be ended after `grace_us`."""
        ...


class Run:
    """One copy, from the moment it is to be built until it has ended.

    Law: nothing is said in its name once it `is_over`. Invariant: once it was told to end and has a task, a timer
    runs until it is over.
    """

    __slots__ = (
        "_children", "arguments", "began", "copy", "cuts", "due_us", "handed_over", "inside", "is_over", "is_wanted",
        "start", "task", "timer", "token", "told", "went",
    )  # fmt: skip

    def __init__(self, children: Children, copy: Copy, start: str, arguments: bytes) -> None:
        self._children = children
        self.copy = copy
        self.start = start
        self.arguments = arguments
        self.inside: Inside | None = None  # there once it is built
        self.task: asyncio.Task[Any] | None = None  # there once it runs
        self.is_wanted = False  # it is to run, and not only to be built
        self.went = False  # it was given what it needs to run
        self.token = 0
        self.handed_over: bytes | None = None
        self.began = False  # that was said
        self.told = Told.NOTHING
        self.due_us = 0  # when it is ended, once it was told
        self.timer: asyncio.TimerHandle | None = None
        self.cuts = 0  # how often it was cancelled
        self.is_over = False

    @property
    def names(self) -> tuple[str, str, str]:
        """Its hub, its id and its start, as people read them."""
        return words(self.copy.hub), words(self.copy.id), self.start

    @property
    def is_stuck(self) -> bool:
        """Whether it was cancelled, and runs on."""
        return self.cuts > 1

    # --- what its code says -----------------------------------------------------------------------------------------

    def receives(self) -> None:
        """It wants its next letter."""
        if not self.is_over:
            self._children.say(ChildReceives(self.copy))

    def replied(self, call: int, failed: bool, payload: bytes) -> None:
        """It answered a call."""
        if not self.is_over:
            self._children.say(ChildReplied(self.copy, call, failed, payload))

    def may_run(self) -> bool:
        """Whether its lease goes on."""
        return not self.is_over and self._children.may_run(self.copy)

    def has_begun(self) -> None:
        """It has started."""
        if not self.began and not self.is_over:
            self.began = True
            self._children.say(ChildStarted(self.copy))

    def done(self, _: asyncio.Task[Any]) -> None:
        """Its task has ended."""
        self._children.ended(self)

    # --- its end ----------------------------------------------------------------------------------------------------

    def end(self, told: Told, reason: str, grace_us: int, winner: Site | None = None, deposed: bool = False) -> None:
        """Tell it to end, and cancel it after its grace; of two graces the sooner counts."""
        children = self._children
        self.told = max(self.told, told)
        if self.inside is not None:
            self.inside.hear_end(reason, winner, deposed, grace_us)
        due_us = children.clock_us() + grace_us
        if self.task is None:
            children.births.throw_away(self)
        elif not self.cuts and (self.timer is None or due_us < self.due_us):
            self.due_us = due_us
            self.calm()
            if grace_us <= 0:
                self._cut()
            else:
                self.timer = children.loop.call_later(min(grace_us / 1e6, SECONDS_MAX), self._cut)

    def calm(self) -> None:
        """Nothing more happens to it in time."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _cut(self) -> None:
        """Its grace is over."""
        assert self.task is not None
        config = self._children.config
        self.cuts += 1
        self.task.cancel()
        after_us = config.stuck_after_us if self.cuts == 1 else config.cancel_every_us
        self.timer = self._children.loop.call_later(after_us / 1e6, self._nag)

    def _nag(self) -> None:
        """It was cancelled, and runs on."""
        assert self.task is not None
        if self.cuts == 1:
            log.warning("event=child_stuck hub=%s id=%s start=%s at=%s", *self.names, _where(self.task))
            self._children.say(ChildStuck(self.copy))
        if not self.is_over:
            self._cut()


def _where(task: asyncio.Task[Any]) -> str:
    """Where a task stands, for whoever has to find out why it does not end."""
    for frame in task.get_stack(limit=1):
        return f"{frame.f_code.co_filename}:{frame.f_lineno}"
    return "?"
