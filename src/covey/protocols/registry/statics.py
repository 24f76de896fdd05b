"""The children that a hub declares: every node that opens it sees to it that they are there, and starts the missing.

Whoever comes later may declare more than those before it, and those before it may be gone before they started
anything; so none of them is in charge. They take turns in the order of their sites, to not write one birth twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import islice

from covey.core.errors import CoveyError, invariant
from covey.protocols.registry.ground import Ground
from covey.protocols.registry.rows import BEGUN, BEGUN_BYTES, RUNS, State
from covey.protocols.registry.vocabulary import ChildError, NewChild, Place, Trouble

PATIENCE_US = 60 * 1_000_000  # what a hub declares and has not run by then is an error, and the hub opens. Guess
RANKS_MAX = 10  # whoever would have to wait for more nodes than that waits no longer. Guess


class Statics:
    """What is declared on this node, and whether it has begun: whether it ran once, wherever.

    Law: what is declared and has not begun, as far as anybody shows who takes part, is a child, or will be. What has
    begun and is no child any more was stopped, or is done: it comes back once nobody takes part who knows of it.
    Invariant: what is not seen to is declared, and an alarm looks after it.
    """

    def __init__(
        self,
        ground: Ground,
        give_birth: Callable[[NewChild, int], int | ChildError],
        opened: Callable[[tuple[ChildError, ...]], None],
    ) -> None:
        self._ground = ground
        self._give_birth = give_birth
        self._opened = opened
        self._declared: dict[bytes, NewChild] = {}
        self._missing: dict[bytes, int] = {}  # what is not seen to yet, and when it is our turn to start it
        self._begun: dict[bytes, None] = {}  # what of it ran once, shortened
        self._told = 0  # how many of these others know of
        self._errors: list[ChildError] = []
        self._ends_us = 0
        self._looks = False

    def check(self) -> None:
        """Every invariant."""
        invariant(self._missing.keys() <= self._declared.keys(), "what is missing is declared")
        waits = self._missing and self._ground.ready and not self._ground.closing
        invariant(self._looks or not waits, "somebody looks after what is missing")

    def declare(self, children: tuple[NewChild, ...]) -> None:
        """These are to be there, before the hub counts as open."""
        self._declared = {new.id: new for new in children}
        self._missing = dict.fromkeys(self._declared, 0)

    def begin(self, now_us: int) -> None:
        """This node places children from now on: see what is there, and start the rest when it is our turn."""
        self._ends_us = now_us + PATIENCE_US
        due_us = self._turn_us(now_us)
        for id in list(self._missing):
            self._missing[id] = due_us
            self._see(id)
        self.look(now_us)

    def _turn_us(self, now_us: int) -> int:
        """When whoever comes before us has had its turn."""
        ground = self._ground
        before = sum(site < ground.me[0] for site in ground.book.participants)
        return now_us + min(before, RANKS_MAX) * ground.config.turn_us

    # --- what is shown ----------------------------------------------------------------------------------------------

    def touched(self, id: bytes, now_us: int) -> None:
        """A child is shown otherwise."""
        if id not in self._missing:
            return
        book = self._ground.book
        if id not in book.children and not book.running(id):  # its host tells whoever started it why
            self._missing[id] = self._turn_us(now_us + self._ground.config.retry_us)
        self._see(id)
        self._soon(now_us)

    def heard(self, now_us: int) -> None:
        """Another node says otherwise what it knows to have begun."""
        if self._missing:
            for id in list(self._missing):
                self._see(id)
            self._soon(now_us)

    def ended(self, place: Place, error: str, now_us: int) -> None:
        """The host of a child that we started says that it failed as it started, or that it ran and is over."""
        if place.id not in self._missing:
            return
        if error:
            self._fails(ChildError(place.id, place.life[0], Trouble.RAISED, error))
        else:
            self._finds(place.id)
        self._soon(now_us)

    def refused(self, id: bytes, error: CoveyError, now_us: int) -> None:
        """The row of a child could not be written."""
        if id in self._missing and id not in self._ground.book.children:
            self._fails(ChildError(id, None, Trouble.REFUSED, str(error)))
            self._soon(now_us)

    def _see(self, id: bytes) -> None:
        """Whether one of those that are missing is seen to."""
        book, begun = self._ground.book, self._has_begun(id)
        running = book.running(id)
        failed = next((life for life, one in running.items() if one.state is State.FAILED), None)
        child = id in book.children  # what runs and has no row here may lose it before we hear of it
        if (child and any(one.state in RUNS for one in running.values())) or (begun and (failed or not child)):
            self._finds(id)
        elif failed is not None:
            reason = running[failed].error or "it failed too often"
            self._fails(ChildError(id, failed[0], Trouble.RAISED, reason))

    def _has_begun(self, id: bytes) -> bool:
        short = shortened(id)
        return short in self._begun or any(short in theirs for theirs in self._ground.book.begun.values())

    def _finds(self, id: bytes) -> None:
        del self._missing[id]
        self._begun[shortened(id)] = None

    def _fails(self, error: ChildError) -> None:
        del self._missing[error.id]
        self._errors.append(error)

    # --- time -------------------------------------------------------------------------------------------------------

    def _soon(self, now_us: int) -> None:
        """Look at all that came about meanwhile together."""
        if self._ground.ready:
            self._looks = True
            self._ground.alarm_unless_sooner("statics", None, now_us + self._ground.config.announce_us)

    def look(self, now_us: int) -> None:
        """Start what is missing and due, say what has begun, and open the hub once nothing is missing."""
        ground = self._ground
        self._looks = False
        if ground.closing or not ground.ready:
            return
        if now_us >= self._ends_us:
            self._give_up()
        self._start_some(now_us)
        if len(self._begun) > self._told:
            self._told = len(self._begun)
            ground.write(BEGUN, b"".join(self._begun))
        if self._missing:
            self._looks = True
            absent = [due_us for id, due_us in self._missing.items() if id not in ground.book.children]
            ground.alarm("statics", None, max(min([*absent, self._ends_us]), now_us + ground.config.announce_us))
        else:
            errors, self._errors = tuple(self._errors), []
            self._opened(errors)

    def _start_some(self, now_us: int) -> None:
        ground = self._ground
        if not self._missing or not ground.is_complete():
            return
        book = ground.book
        absent = (id for id in self._missing if id not in book.children and not book.running(id))
        due = [id for id in absent if self._missing[id] <= now_us]
        for id in islice(due, ground.config.births_max):
            self._missing[id] = now_us + ground.config.retry_us
            birth = self._give_birth(self._declared[id], now_us)
            if isinstance(birth, ChildError):
                self._fails(birth)

    def _give_up(self) -> None:
        """What has begun may be on its way from one host to another; what has not is told."""
        for id in list(self._missing):
            if self._has_begun(id):
                self._finds(id)
            else:
                site = self._ground.places.host(id)
                self._fails(ChildError(id, site, Trouble.NO_RESPONSE, "nothing was heard of it in time"))


def shortened(id: bytes) -> bytes:
    """What stands for an id in the row that says what has begun."""
    return hashlib.blake2b(id, digest_size=BEGUN_BYTES, person=b"covey.static").digest()
