"""An event loop whose clock jumps, and whose tasks have an order.

looptime advances the clock to the next timer when nothing else can run. Two things more make a run repeat itself:
`TaskGroup` cancels its tasks in the order of a set, so a task's hash is the number of its creation; and threads bring
chance in, so executors are refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

import looptime

from covey.core.errors import UsageError


class _OrderedTask(asyncio.Task[Any]):
    """A task that hashes by its creation number instead of its address."""

    def __init__(self, coroutine: Any, *, number: int, **options: Any) -> None:
        self._number = number
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class _OrderedTaskFactory:
    def __init__(self) -> None:
        self._number = 0

    def __call__(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        **options: Any,
    ) -> asyncio.Task[Any]:
        self._number += 1
        return _OrderedTask(coroutine, number=self._number, loop=loop, **options)


class VirtualEventLoop(looptime.LoopTimeEventLoop, asyncio.SelectorEventLoop):
    """A selector event loop on virtual time. Sockets still work, but belong in tests of another kind."""

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]  # it never returns
        """Raises `UsageError`: there are no threads in virtual time."""
        raise UsageError("threads would make a virtual-time run differ from itself; do it on the loop, or fake it")


def new_event_loop(start: float = 1_000.0) -> asyncio.AbstractEventLoop:
    """A virtual loop whose clock starts at `start` seconds.

    Whoever waits when no timer is left waits for something that cannot come, and gets looptime's `IdleTimeoutError`.
    """
    loop = VirtualEventLoop(start=start, idle_timeout=0, noop_cycles=8)
    loop.set_task_factory(_OrderedTaskFactory())
    return loop
