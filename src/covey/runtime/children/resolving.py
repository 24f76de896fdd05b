"""Two copies of a child left a state each: the user's function makes one of them."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from covey.core.children import AskResolver, StatesResolved
from covey.core.errors import CoveyError
from covey.runtime.children.crashes import words
from covey.runtime.children.letters import in_a_line
from covey.wire.keys import Key, decode_key
from covey.wire.payloads import decode_payload, encode_payload

log = logging.getLogger("covey.runtime.children")

Resolve: TypeAlias = Callable[[Key, Any, Any], Any | Awaitable[Any]]
"""`resolve(id, ours, theirs)`: the state that is handed to the copy that stays."""


class Resolving:
    """Law: each question is answered once, whatever the user's function does, and within the time limit."""

    def __init__(self, say: Callable[[Any], None], limit_us: int) -> None:
        self._say = say
        self._limit_us = limit_us
        self._tasks: dict[asyncio.Task[None], None] = {}

    def ask(self, resolve: Resolve | None, effect: AskResolver) -> None:
        """Begin; the answer is said later."""
        task = asyncio.get_running_loop().create_task(self._answer(resolve, effect))
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

    def close(self) -> None:
        """Whoever is at it is cancelled."""
        for task in list(self._tasks):
            task.cancel()

    async def _answer(self, resolve: Resolve | None, effect: AskResolver) -> None:
        state, error = None, "the hub has no resolve"
        try:
            if resolve is not None:
                state = encode_payload(await self._call(resolve, effect), "resolved state", undone="ours stays")
                error = ""
        except CoveyError as refused:
            error = in_a_line(refused)
        except Exception as raised:
            error = in_a_line(raised)
            id = words(effect.copy.id)
            log.error("event=resolve_failed hub=%s id=%s reason=%r", words(effect.copy.hub), id, error, exc_info=raised)
        self._say(StatesResolved(effect.copy, state, error))

    async def _call(self, resolve: Resolve, effect: AskResolver) -> Any:
        ours, theirs = (None if one is None else decode_payload(one) for one in (effect.ours, effect.theirs))
        value = resolve(decode_key(effect.copy.id), ours, theirs)
        if not inspect.isawaitable(value):
            return value
        answer = asyncio.ensure_future(value)
        try:
            done, _ = await asyncio.wait((answer,), timeout=self._limit_us / 1e6)
        except asyncio.CancelledError:
            answer.cancel()
            raise
        if not done:  # it may ignore that it is cancelled: nobody waits for it
            answer.cancel()
            raise TimeoutError(f"resolve took more than {self._limit_us / 1e6:g} s")
        if answer.cancelled():
            raise RuntimeError("resolve was cancelled")
        return answer.result()
