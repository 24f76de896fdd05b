"""A child in a task of the event loop: users' code runs here, with its context."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from covey.core.ids import Site
from covey.runtime.children.context import Context
from covey.runtime.children.copies import Run, Told
from covey.runtime.children.starts import Start, is_class
from covey.wire.keys import Key
from covey.wire.payloads import decode_payload


class TaskBody:
    """One copy that is built: a coroutine that has not begun, or an object of a class with `run`.

    Raises what users' code raises when it is built.
    """

    __slots__ = ("_context", "_made", "_run", "starts_itself")

    def __init__(
        self, run: Run, start: Start[...], id: Key, hub: Any, arguments: list[Any], named: dict[str, Any]
    ) -> None:  # fmt: skip
        self._run = run
        self._context = Context(id, hub, run)
        self._made = start.call(self._context, *arguments, **named)
        self.starts_itself = is_class(start.call) and getattr(self._made, "start", None) is not None

    def run(self, token: int, handed_over: bytes | None) -> Coroutine[Any, Any, Any]:
        """What its task does. Raises `DecodeError` for a state that nobody can read."""
        self._context._hear_token(token)
        if handed_over is not None:
            self._context.handed_over = decode_payload(handed_over)
        made, self._made = self._made, None
        if self.starts_itself:
            return _start_and_run(self._run, made)
        coroutine: Coroutine[Any, Any, Any] = made if isinstance(made, Coroutine) else made.run()
        return coroutine

    def throw_away(self) -> None:
        """A coroutine that never began is closed; an object is only forgotten."""
        if isinstance(self._made, Coroutine):
            self._made.close()

    def hear_letter(self, call: int, sender: Site, payload: bytes) -> None:
        """The letter that it asked for."""
        self._context.mailbox._put(call, sender, payload)

    def hear_token(self, token: int) -> None:
        """Its fencing token from now on."""
        self._context._hear_token(token)

    def hear_end(self, reason: str, winner: Site | None, deposed: bool, grace_us: int) -> None:
        """It is to end."""
        self._context._hear_end(reason, winner, deposed)


async def _start_and_run(run: Run, made: Any) -> Any:
    """It has started once `start` has returned; if it was told to stop meanwhile, it never runs."""
    await made.start()
    if run.told is Told.STOP:
        return None
    run.has_begun()
    return await made.run()
