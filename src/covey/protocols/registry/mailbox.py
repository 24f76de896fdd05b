"""The letters of one child: what it has not taken yet, and what it answered, should somebody ask again.

A caller that lost its link says the same letter again; that is no second letter. So a mailbox remembers each by the
life of its sender and its number, until that life says that it asks about none so low any more, or nobody waits for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import Enum

import msgspec

from covey.core.errors import invariant
from covey.core.ids import Origin
from covey.protocols.registry.config import RegistryConfig
from covey.wire.messages.registry import CALL, GONE

LETTER_BYTES = 64  # of a letter around its payload, about


class Letter(msgspec.Struct, frozen=True, gc=False):
    """One letter. After `until_us` nobody waits for its answer, and the child does not get it."""

    sender: Origin
    number: int
    until_us: int
    kind: int
    payload: bytes
    attempt: int = 0  # with which it came

    @property
    def key(self) -> tuple[Origin, int]:
        """What tells letters apart."""
        return self.sender, self.number


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What a letter was answered."""

    kind: int
    payload: bytes
    until_us: int


class Put(Enum):
    """What became of a letter."""

    TAKEN = 0
    AGAIN = 1  # it is here already, and not answered
    OLD = 2  # its sender does not ask about it any more
    FULL = 3


class Mailbox:
    """One child's letters, in the order in which they came.

    Law: a letter is taken out once, however often it is put in. Invariants: what waits is known and not answered;
    `bytes` counts what waits; both are bounded.
    """

    __slots__ = ("_config", "_known", "_lows", "bytes", "queue")

    def __init__(self, config: RegistryConfig) -> None:
        self._config = config
        self.queue: deque[Letter] = deque()
        self.bytes = 0
        self._known: dict[tuple[Origin, int], Reply | None] = {}  # None: it waits, or the child has it
        self._lows: dict[Origin, int] = {}

    def put(self, letter: Letter, low: int, now_us: int) -> Put | Reply:
        """A letter comes; returns what it was answered, where it was."""
        known = self._lows.get(letter.sender, 0)
        if low > known:
            self._lower(letter.sender, known, low)
        if letter.number < max(known, low):
            return Put.OLD
        key = letter.key
        if key in self._known:
            return self._known[key] or Put.AGAIN
        if len(self._known) >= self._config.answers_max:
            self._forget(now_us)
        if self._is_full(letter):
            return Put.FULL
        self._known[key] = None
        self.queue.append(letter)
        self.bytes += len(letter.payload) + LETTER_BYTES
        return Put.TAKEN

    def _is_full(self, letter: Letter) -> bool:
        size = self.bytes + len(letter.payload) + LETTER_BYTES
        if len(self._known) >= self._config.answers_max:  # else one that is forgotten could be taken twice
            return True
        return len(self.queue) >= self._config.mailbox_max or (
            bool(self.queue) and size > self._config.mailbox_bytes_max
        )

    def _lower(self, sender: Origin, known: int, low: int) -> None:
        """It asks about none below `low` any more. Its letters came nearly in order, so few numbers are looked at."""
        self._lows.pop(sender, None)
        self._lows[sender] = low
        if known and low - known <= len(self._known):
            numbers: Iterator[int] = iter(range(known, low))
        else:
            numbers = iter([number for of, number in self._known if of == sender and number < low])
        for number in numbers:
            if self._known.get((sender, number)) is not None:
                del self._known[sender, number]

    def _forget(self, now_us: int) -> None:
        """Answers that nobody has waited for for so long that no attempt is on its way any more."""
        over_us = now_us - self._config.remember_us
        for key in [key for key, reply in self._known.items() if reply is not None and reply.until_us <= over_us]:
            del self._known[key]

    def take(self, now_us: int) -> Letter | None:
        """The next letter that somebody still waits for; None where there is none. Casts wait for nobody."""
        while self.queue:
            letter = self.queue.popleft()
            self.bytes -= len(letter.payload) + LETTER_BYTES
            if letter.until_us > now_us:
                if letter.kind != CALL:
                    self._known[letter.key] = Reply(letter.kind, b"", letter.until_us)
                return letter
            self._known[letter.key] = Reply(GONE, b"\xc0", letter.until_us)
        return None

    def answered(self, letter: Letter, reply: Reply) -> None:
        """The child is done with a letter."""
        if letter.key in self._known:
            self._known[letter.key] = reply

    def forget(self, sender: Origin) -> None:
        """That life is over, and asks about nothing."""
        self._lows.pop(sender, None)
        for key in [key for key, reply in self._known.items() if key[0] == sender and reply is not None]:
            del self._known[key]

    def empty(self) -> list[Letter]:
        """All that waits, for another host, or to be sent back."""
        letters = list(self.queue)
        self.queue.clear()
        self.bytes = 0
        for letter in letters:
            self._known.pop(letter.key, None)
        return letters

    def answers(self, now_us: int) -> list[tuple[tuple[Origin, int], Reply]]:
        """What was answered and may be asked again."""
        return [(key, reply) for key, reply in self._known.items() if reply is not None and reply.until_us > now_us]

    def know(self, key: tuple[Origin, int], reply: Reply) -> None:
        """The host before answered this."""
        self._known.setdefault(key, reply)

    def check(self) -> None:
        """Every invariant."""
        invariant(all(self._known.get(letter.key, 0) is None for letter in self.queue), "what waits is not answered")
        size = sum(len(letter.payload) + LETTER_BYTES for letter in self.queue)
        invariant(self.bytes == size, "bytes counts what waits")
        invariant(len(self.queue) <= self._config.mailbox_max, "what waits is bounded")
