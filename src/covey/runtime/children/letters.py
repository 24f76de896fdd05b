"""A child's mailbox, and what is in it: calls, whose sender waits for an answer, and casts, whose sender does not.

Letters wait with the machine that hosts the child, where they can be forwarded; the mailbox asks for one when the
child wants one, and never holds more than that one.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol, TypeAlias

from covey.core.errors import ClosedError, DecodeError, UsageError
from covey.core.ids import Site, short
from covey.wire.limits import FRAME_BYTES_MAX
from covey.wire.payloads import decode_payload, encode_payload

log = logging.getLogger("covey.runtime.children")

REPLY_BYTES_MAX = FRAME_BYTES_MAX - 65_536  # a reply travels with the hub's key and more; as mail of groups
REASON_MAX = 1_000  # characters of the reason why a call failed, as in groups
IN_A_ROW_MAX = 32  # letters taken without a turn of the event loop; guess: below a millisecond of small ones


class Outside(Protocol):
    """What a copy of a child can say to whoever runs it."""

    @property
    def is_over(self) -> bool:
        """Whether the copy has ended."""
        ...

    def receives(self) -> None:
        """It wants its next letter."""
        ...

    def replied(self, call: int, failed: bool, payload: bytes) -> None:
        """It answered a call."""
        ...

    def may_run(self) -> bool:
        """Whether its lease goes on, where it needs one."""
        ...


class Cast:
    """A value whose sender waits for nothing. `sender` is the site of the node that it comes from."""

    __slots__ = ("payload", "sender")

    def __init__(self, payload: Any, sender: Site) -> None:
        self.payload = payload
        self.sender = sender

    def reply(self, value: Any = None) -> None:
        """Does nothing, as nobody waits: a child that answers whatever comes need not ask what it is."""

    def fail(self, reason: str) -> None:
        """Does nothing, likewise."""

    def __repr__(self) -> str:
        return f"Cast({self.payload!r}, sender={short(self.sender)})"


class Call:
    """A value whose sender waits for an answer: `reply` or `fail`, once.

    Who gets neither hears that the child ended before it answered, as soon as it has.
    """

    __slots__ = ("_number", "_outside", "payload", "sender")

    def __init__(self, payload: Any, sender: Site, outside: Outside, number: int) -> None:
        self.payload = payload
        self.sender = sender
        self._outside = outside
        self._number = number

    def reply(self, value: Any = None) -> None:
        """Give the caller `value`.

        Raises `UsageError` the second time, `ClosedError` when the child has ended, and `UsageError` or `ValueTooLarge`
        for what cannot be sent; then the caller hears that, and not for ever nothing.
        """
        number = self._take()
        try:
            encoded = encode_payload(value, "reply", REPLY_BYTES_MAX, "the caller was told so")
        except UsageError as error:
            self._outside.replied(number, True, encode_reason(f"its reply could not be sent: {error}"))
            raise
        self._outside.replied(number, False, encoded)

    def fail(self, reason: str) -> None:
        """Tell the caller that there will be no value, and why. Raises `UsageError` and `ClosedError` likewise."""
        self._outside.replied(self._take(), True, encode_reason(reason))

    def _take(self) -> int:
        """Its number, once."""
        if not self._number:
            raise UsageError("this call was answered already; nothing was sent")
        if self._outside.is_over:
            raise ClosedError("the child has ended, and the caller knows that; nothing was sent")
        number, self._number = self._number, 0
        return number

    def __repr__(self) -> str:
        answered = "" if self._number else ", answered"
        return f"Call({self.payload!r}, sender={short(self.sender)}{answered})"


Letter: TypeAlias = Call | Cast


def clean(text: str, length_max: int = REASON_MAX) -> str:
    """A text as it travels: valid, and not too long."""
    return str(text)[:length_max].encode("utf-8", "replace").decode()


def encode_reason(reason: str) -> bytes:
    """The payload of an answer that says why there is none."""
    return encode_payload(clean(reason))


class Mailbox:
    """What others send to a child: read it with `async for letter in ctx.mailbox`, or with `await ctx.mailbox.get()`.

    Law: each letter that was asked for is given out once, also if whoever waited for it was cancelled; between two
    of them the next one is asked for once. It closes when the child is asked to end: then the loop falls through.
    """

    __slots__ = ("_asked", "_in_a_row", "_is_closed", "_letter", "_outside", "_waiter")

    def __init__(self, outside: Outside) -> None:
        self._outside = outside
        self._letter: Letter | None = None
        self._asked = False
        self._is_closed = False
        self._in_a_row = 0
        self._waiter: asyncio.Future[None] | None = None

    def __aiter__(self) -> Mailbox:
        return self

    async def __anext__(self) -> Letter:
        letter = await self._next()
        if letter is None:
            raise StopAsyncIteration
        return letter

    async def get(self) -> Letter:
        """The next letter. Raises `ClosedError` when the child is to end, `UsageError` where another task waits."""
        letter = await self._next()
        if letter is None:
            raise ClosedError("the child is to end, so it gets no letters any more; see ctx.stopping")
        return letter

    async def _next(self) -> Letter | None:
        if self._waiter is not None:
            raise UsageError("two tasks read one mailbox; read it in one, and pass on what it gets")
        if self._in_a_row >= IN_A_ROW_MAX:  # others want to run as well
            await self._wait(True)
        while (letter := self._letter) is None:
            if self._is_closed:
                return None
            if not self._asked:
                self._asked = True
                self._outside.receives()
                if not self._asked or self._is_closed:  # something came at once
                    continue
            await self._wait(False)
        self._letter = None
        self._in_a_row += 1
        return letter

    async def _wait(self, for_a_turn: bool) -> None:
        """Until there is something new, or a turn of the event loop has passed."""
        self._in_a_row = 0
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        if for_a_turn:
            loop.call_soon(self._wake)
        try:
            await waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _put(self, number: int, sender: Site, payload: bytes) -> None:
        """The letter that was asked for; one that nobody understands is answered, and the next one asked for."""
        self._asked = False
        try:
            value = decode_payload(payload)
        except DecodeError as error:
            if number:
                self._outside.replied(number, True, encode_reason("the payload could not be decoded"))
            log.warning("event=letter_dropped sender=%s reason=%r", short(sender), str(error))
        else:
            self._letter = Call(value, sender, self._outside, number) if number else Cast(value, sender)
        self._wake()

    def _close(self, deposed: bool) -> None:
        """Give out no more but what is here already, and not even that without the right to serve."""
        self._is_closed = True
        if deposed:
            self._letter = None
        self._wake()

    def __repr__(self) -> str:
        return f"<covey child's mailbox{', closed' if self._is_closed else ''}>"


def in_a_line(error: BaseException) -> str:
    """What was raised, in a line, also where it has no words of its own."""
    try:
        text = str(error).strip()
    except Exception:
        text = ""
    name = type(error).__name__
    line = text.split("\n", 1)[0]
    return clean(f"{name}: {line}" if line else name)
