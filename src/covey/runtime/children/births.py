"""How copies begin: all that one turn of the event loop asked for is built and started in the next one."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from covey.core.children import ChildPrepared, Ending
from covey.core.errors import DecodeError, UsageError
from covey.runtime.children.copies import Run, Told
from covey.runtime.children.crashes import words
from covey.runtime.children.letters import clean, in_a_line
from covey.runtime.children.starts import decode_arguments, name_of
from covey.runtime.children.tasks import TaskBody
from covey.wire.keys import decode_key

if TYPE_CHECKING:
    from covey.runtime.children.children import Children


class Births:
    """What is to be done with copies in the next turn, in its order.

    Law: users' code is not called from `soon`, nor one copy's first step said to be survived before it is taken. One
    that raises, even to end the process, does not keep the others from being built.
    """

    def __init__(self, children: Children) -> None:
        self._children = children
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()  # children see none of whoever happens to start them
        self._work: deque[tuple[Callable[[Run], None], Run]] = deque()
        self._born: list[Run] = []  # their first steps are about to be taken
        self.stepping: list[Run] = []  # their first steps are being taken; another thread may look
        self._booked = False

    def build(self, run: Run) -> None:
        """Build a copy, and run it where it is wanted by then."""
        self._soon(self._build, run)

    def go(self, run: Run) -> None:
        """Run a copy that is built."""
        self._soon(self._go, run)

    def throw_away(self, run: Run) -> None:
        """End a copy that is built at most."""
        self._soon(self._throw_away, run)

    # --- the turn ---------------------------------------------------------------------------------------------------

    def _soon(self, action: Callable[[Run], None], run: Run) -> None:
        self._work.append((action, run))
        self._book()

    def _book(self) -> None:
        if not self._booked:
            self._booked = True
            self._loop.call_soon(self.turn, context=self._context.copy())

    def turn(self) -> None:
        """Do what is to be done."""
        self._booked = False
        work = self._work
        try:
            for _ in range(len(work)):  # not what comes of it: that is for the turn after
                if not work:
                    break
                action, run = work.popleft()
                if not run.is_over:
                    action(run)
        finally:
            if work:
                self._book()
            if self._born:
                self.stepping, self._born = self._born, []
                self._loop.call_soon(self._look, self.stepping)  # behind the first steps of all of them

    def _look(self, born: list[Run]) -> None:
        """Their first steps are taken: say of each whether it survived."""
        self.stepping = []
        for run in born:
            task = run.task
            if run.is_over or task is None:
                continue
            if task.done():
                self._children.ended(run)
            else:
                if run.inside is None or not run.inside.starts_itself:
                    run.has_begun()
                task.add_done_callback(run.done)

    # --- one copy ---------------------------------------------------------------------------------------------------

    def _build(self, run: Run) -> None:
        children = self._children
        if run.told is not Told.NOTHING:
            children.exit(run, Ending.STOPPED)
            return
        hub = children.hubs.get(run.copy.hub)
        start = None if hub is None else hub.starts.get(run.start)
        if hub is None or start is None:
            why = "the hub is closed here"
            if hub is not None:
                why = f"this node does not run {run.start!r}: pass it to children=[...] of the hub here"
            children.exit(run, Ending.REFUSED, clean(why))
            return
        try:
            arguments, named = decode_arguments(run.arguments)
            id = decode_key(run.copy.id)
            name = name_of(start.call) if start.executor == "process" else ""
        except (DecodeError, UsageError) as error:
            children.exit(run, Ending.REFUSED, in_a_line(error))
            return
        try:
            if name:
                self._in_process(run, name)
            else:
                run.inside = TaskBody(run, start, id, hub.handle, arguments, named)
        except BaseException as error:
            children.crash(run, error)
            if isinstance(error, (SystemExit, KeyboardInterrupt)):
                raise
            return
        if run.is_wanted:
            self._go(run)
        elif run.task is None:
            children.say(ChildPrepared(run.copy))

    def _in_process(self, run: Run, name: str) -> None:
        from covey.runtime.children.process import ProcessBody  # few need it, and it needs much

        body = run.inside = ProcessBody(run, name, self._children)
        run.task = self._loop.create_task(body.live(), name=f"covey child {words(run.copy.id)}")
        run.task.add_done_callback(run.done)

    def _go(self, run: Run) -> None:
        if run.is_over or run.told is not Told.NOTHING or run.inside is None or run.went:
            return
        run.went = True
        try:
            coroutine = run.inside.run(run.token, run.handed_over)
        except DecodeError as error:
            self._children.exit(run, Ending.REFUSED, in_a_line(error))
            return
        run.handed_over, run.arguments = None, b""
        if coroutine is not None:
            run.task = self._loop.create_task(coroutine, name=f"covey child {words(run.copy.id)}")
            self._born.append(run)

    def _throw_away(self, run: Run) -> None:
        if run.task is None:
            self._children.exit(run, Ending.STOPPED)
