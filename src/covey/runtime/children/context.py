"""What a child gets when it starts, and may return when it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from covey.core.errors import Deposed
from covey.core.ids import Site, short
from covey.runtime.children.letters import Mailbox, Outside
from covey.wire.keys import Key


class Handover(msgspec.Struct, frozen=True):
    """Return this from a child that is asked to end: the next copy of it finds `state` in `ctx.handed_over`.

    `state` travels as a payload does: what msgpack can say, about 900 kB of it at most.
    """

    state: Any = None


class Stopping:
    """Whether a child is to end, and why. `reason` is "" until it is, then one of these, and the last one counts:

    "stop": it is no child any more, or its node closes. "move": `winner` runs it next. "duplicate": `winner` runs it
    too, and this copy is the one too many, or it is `winner` and starts anew with what both left. "fenced": its lease
    ended, and it has no right to run any more.
    """

    __slots__ = ("_event", "reason", "winner")

    def __init__(self) -> None:
        self.reason = ""
        self.winner: Site | None = None  # who runs it instead, where that is known
        self._event: asyncio.Event | None = (
            None  # made for the first who waits: most children have a mailbox to wait at
        )

    def is_set(self) -> bool:
        """Whether the child is to end."""
        return bool(self.reason)

    async def wait(self) -> None:
        """Wait until the child is to end."""
        if not self.reason:
            if self._event is None:
                self._event = asyncio.Event()
            await self._event.wait()

    def _set(self, reason: str, winner: Site | None) -> None:
        self.reason = reason
        self.winner = winner
        if self._event is not None:
            self._event.set()

    def __repr__(self) -> str:
        if not self.reason:
            return "<covey child goes on>"
        winner = "" if self.winner is None else f", {short(self.winner)} runs it"
        return f"<covey child ends: {self.reason}{winner}>"


class Context:
    """One copy of a child, as its own code sees it.

    `id` is what whoever started it called it; `hub` is the handle of the hub that it belongs to (it raises `UsageError`
    in a process of its own). `handed_over` is the state that the copy before left, or None. A child that moves is built
    before that is known, so it is there from `start` or `run` on, not in `__init__`.
    """

    __slots__ = ("_is_deposed", "_outside", "_token", "handed_over", "hub", "id", "mailbox", "stopping")

    def __init__(self, id: Key, hub: Any, outside: Outside) -> None:
        self.id = id
        self.hub = hub
        self.handed_over: Any = None
        self.mailbox = Mailbox(outside)
        self.stopping = Stopping()
        self._outside = outside
        self._token = 0
        self._is_deposed = False

    @property
    def fencing_token(self) -> int:
        """A number that is higher for each copy that runs later, also after a crash; 0 before the child runs.

        With `on_split="both"` that is so of the copies that a host could hear of: two sides of a split count apart.
        Send it along with what the child writes elsewhere, and have that refused where a higher one was seen. It may
        rise while the child runs. Raises `Deposed` as `check` does.
        """
        if self._token:
            self.check()
        return self._token

    def check(self) -> None:
        """Raises `Deposed` when this copy has no right to run: its lease is or was over. Cheap: ask before each use."""
        if self._is_deposed or not self._outside.may_run():
            raise Deposed(
                f"the lease of child {self.id!r} is over, so others may run it: do nothing more in its name, and end"
            )

    def _hear_letter(self, call: int, sender: Site, payload: bytes) -> None:
        self.mailbox._put(call, sender, payload)

    def _hear_token(self, token: int) -> None:
        self._token = token

    def _hear_end(self, reason: str, winner: Site | None, deposed: bool) -> None:
        self._is_deposed = self._is_deposed or deposed
        self.stopping._set(reason, winner)
        self.mailbox._close(deposed)

    def __repr__(self) -> str:
        return f"<covey.Context of child {self.id!r}>"
