"""The letters of one child: what it has not taken yet, and what it answered, should somebody ask again.

A caller that lost its link says the same letter again; that is no second letter. So a mailbox remembers each by the
life of its sender and its number, until that life says that it asks about none so low any more, or nobody waits for it.

What it remembers goes where it goes, and so does its name, which a letter says: who has another mailbox of the same
child cannot know whether the letter was taken before, and does not take it.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

import msgspec

from covey.core.errors import invariant
from covey.core.ids import Origin, Site
from covey.protocols.registry.config import RegistryConfig
from covey.wire.messages.registry import CALL, GONE, MAILBOXES_MAX, NIL

LETTER_BYTES = 64  # of a letter around its payload, about
AGAIN_MAX = 32  # attempts of one letter that are known apart: one each second


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
    OTHER = 4  # it is for another mailbox


class Mailbox:
    """One child's letters, in the order in which they came.

    Law: a letter is taken out once, however often it is put in. Under the first of its names it takes letters; under
    the others it knows each that was ever taken, and takes no more. Invariants: what waits is known and not answered;
    `bytes` counts what waits; both are bounded.
    """

    __slots__ = ("_again", "_config", "_known", "_lows", "bytes", "names", "queue")

    def __init__(self, config: RegistryConfig, name: int) -> None:
        self._config = config
        self.names: tuple[int, ...] = (name,)
        self.queue: dict[tuple[Origin, int], Letter] = {}
        self.bytes = 0
        self._known: dict[tuple[Origin, int], Reply | None] = {}  # None: it waits, or the child has it
        self._again: dict[tuple[Origin, int], list[int]] = {}  # further attempts of what is not answered
        self._lows: dict[Origin, int] = {}

    def put(self, letter: Letter, low: int, now_us: int, name: int | None = None) -> Put | Reply:
        """A letter comes, for the mailbox of that name; returns what it was answered, where it was."""
        if name is not None and name != self.names[0] and (name not in self.names or letter.key not in self._known):
            return Put.OTHER
        known = self._lows.get(letter.sender, 0)
        if low > known:
            self._lower(letter.sender, known, low)
        if letter.number < max(known, low):
            return Put.OLD
        key = letter.key
        if key in self._known:
            if (reply := self._known[key]) is not None:
                return reply
            again = self._again.setdefault(key, [])
            if len(again) < AGAIN_MAX:
                again.append(letter.attempt)
            return Put.AGAIN
        if len(self._known) >= self._config.answers_max:
            self._forget(now_us)
        if self._is_full(letter):
            return Put.FULL
        self._known[key] = None
        self.queue[key] = letter
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
            letter = self.queue.pop(next(iter(self.queue)))
            self.bytes -= len(letter.payload) + LETTER_BYTES
            if letter.until_us > now_us:
                if letter.kind != CALL:
                    self.answered(letter, Reply(letter.kind, b"", letter.until_us))
                return letter
            self.answered(letter, Reply(GONE, NIL, letter.until_us))
        return None

    def answered(self, letter: Letter, reply: Reply) -> None:
        """The child is done with a letter."""
        if letter.key in self._known:
            self._again.pop(letter.key, None)
            if letter.number < self._lows.get(letter.sender, 0):
                del self._known[letter.key]
            else:
                self._known[letter.key] = reply

    def forget(self, site: Site, before: int) -> None:
        """The lives of a site before that one are over, and ask about nothing."""
        for life in [life for life in self._lows if life[0] == site and life[1] < before]:
            del self._lows[life]
        over = [key for key, reply in self._known.items() if reply and key[0][0] == site and key[0][1] < before]
        for key in over:
            del self._known[key]

    def empty(self) -> list[Letter]:
        """All that waits, to be sent back: once for each attempt that came."""
        return [letter for key in list(self.queue) for letter in self.withdraw(key)]

    def withdraw(self, key: tuple[Origin, int]) -> list[Letter]:
        """One that waits does not any more: it, once for each attempt that came; nothing if it does not wait."""
        letter = self.queue.pop(key, None)
        if letter is None:
            return []
        del self._known[key]
        self.bytes -= len(letter.payload) + LETTER_BYTES
        again = self._again.pop(key, ())
        return [letter, *[msgspec.structs.replace(letter, attempt=attempt) for attempt in again]]

    def expire(self, now_us: int) -> list[Letter]:
        """What nobody waits for any more makes room: the same for each of these."""
        over = [key for key, letter in self.queue.items() if letter.until_us <= now_us]
        return [letter for key in over for letter in self.withdraw(key)]

    def is_late(self, now_us: int) -> bool:
        """Whether nobody waits for the next one any more."""
        return bool(self.queue) and next(iter(self.queue.values())).until_us <= now_us

    # --- names ------------------------------------------------------------------------------------------------------

    def renew(self, name: int) -> None:
        """Take letters under a new name: somebody else may go on with all that is here, under the one so far."""
        self.names = (name, *self.names)[:MAILBOXES_MAX]

    def join(self, names: tuple[int, ...]) -> None:
        """All that a mailbox of these names knew is known here now."""
        first, *rest = self.names
        self.names = tuple(dict.fromkeys((first, *names, *rest)))[:MAILBOXES_MAX]

    def answers(self, now_us: int) -> list[tuple[tuple[Origin, int], Reply]]:
        """What was answered and may be asked again: an attempt may be on its way when nobody waits any more."""
        over_us = now_us - self._config.remember_us
        return [(key, reply) for key, reply in self._known.items() if reply is not None and reply.until_us > over_us]

    def know(self, key: tuple[Origin, int], reply: Reply) -> None:
        """The host before answered this."""
        self._known.setdefault(key, reply)

    def check(self) -> None:
        """Every invariant."""
        invariant(all(self._known.get(key, 0) is None for key in self.queue), "what waits is not answered")
        size = sum(len(letter.payload) + LETTER_BYTES for letter in self.queue.values())
        invariant(self.bytes == size, "bytes counts what waits")
        invariant(len(self.queue) <= self._config.mailbox_max, "what waits is bounded")
        unanswered = all(self._known.get(key, 0) is None for key in self._again)
        invariant(unanswered, "what came again is not answered")
        invariant(0 < len(self.names) <= MAILBOXES_MAX, "it has a name")
