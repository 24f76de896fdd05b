"""Letters from here to children, wherever they are: found, sent again, and never left without an outcome.

A letter waits here while its child runs nowhere. Once it was said to a host it belongs to the mailbox that the child
has there: what became of it is known only where that mailbox is, for it does not take a letter twice, and it is said to
nobody else, unless the host says of each attempt that it did not get it. A mailbox moves with its child, and rows show
who has it. When it is gone, as with a host that died, nobody can know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from covey.core.errors import (
    CoveyError,
    DeadlineExceeded,
    Overloaded,
    PeerUnreachable,
    UnknownName,
    invariant,
)
from covey.core.ids import Origin, Site, short
from covey.core.vocabulary import Refuse, Resolve
from covey.protocols.registry.ground import Ground
from covey.protocols.registry.hosting import Hosting
from covey.protocols.registry.mailbox import Letter
from covey.protocols.registry.rows import Running, State
from covey.protocols.registry.vocabulary import Answer, CallChild, NewChild
from covey.wire.messages import registry as wire

CALL_BYTES = 96  # of a message around its payload, about


class Pending:
    """One letter that has no outcome. `said_to` is the life that answers for it.

    `unknown`: the attempts of which nobody said that they were not delivered; all were for `mailbox`.
    """

    __slots__ = (
        "attempt", "begun", "command", "deadline_us", "failed", "hint", "lost_us", "mailbox", "number", "said_to",
        "tries", "unknown", "waits_us",
    )  # fmt: skip

    def __init__(self, command: CallChild, number: int, deadline_us: int) -> None:
        self.command = command
        self.number = number
        self.deadline_us = deadline_us
        self.said_to: Origin | None = None
        self.hint: Site | None = None
        self.tries = 0
        self.attempt = 0
        self.unknown: dict[int, None] = {}
        self.mailbox = 0  # the last one that it was for
        self.lost_us = 0  # by when somebody must show that one; 0: somebody does
        self.begun = False  # its child was started from here, and not seen to run
        self.waits_us = 0  # until when its host may say why it did not start, before it is started again
        self.failed = ""  # why it did not


class Calls:
    """What was asked here of children.

    Law: each call has one outcome, by its deadline; `DeadlineExceeded` where it may have run, `PeerUnreachable` where
    it did not. Invariants: who waits for a child is filed under it; numbers grow; what a host answers for may have run.
    """

    def __init__(
        self,
        ground: Ground,
        hosting: Hosting,
        start: Callable[[NewChild, int], CoveyError | None],
    ) -> None:
        self._ground = ground
        self._hosting = hosting
        self._start = start
        self._pending: dict[int, Pending] = {}  # by number, oldest first
        self._by_child: dict[bytes, dict[int, None]] = {}
        self._requests: dict[int, int] = {}
        self._number = 0  # the last
        self._reaches: dict[Origin, dict[int, None]] = {}  # who answers for what

    def __len__(self) -> int:
        return len(self._pending)

    def check(self) -> None:
        """Every invariant."""
        filed = {number for numbers in self._by_child.values() for number in numbers}
        invariant(filed == set(self._pending), "every letter is filed under its child")
        said = {(life, number) for life, numbers in self._reaches.items() for number in numbers}
        invariant(
            said == {(pending.said_to, number) for number, pending in self._pending.items() if pending.said_to},
            "who answers for what is known",
        )
        may = all(one.unknown and one.mailbox for one in self._pending.values() if one.said_to)
        invariant(may, "what a host answers for may have run")

    @property
    def low(self) -> int:
        """No number below this is asked about any more."""
        return next(iter(self._pending), self._number + 1)

    # --- commands ---------------------------------------------------------------------------------------------------

    def begin(self, command: CallChild, now_us: int) -> None:
        """One letter more."""
        if len(self._pending) >= self._ground.config.waiting_max:
            self._refuse(command, Overloaded(f"{len(self._pending)} calls wait already; this one was not made"))
            return
        if command.id not in self._ground.book.children and command.start is None:
            self._refuse(command, UnknownName("there is no such child; nothing was sent: start it, or give `start`"))
            return
        self._number = self._ground.wires.number()
        pending = Pending(command, self._number, now_us + command.timeout_us)
        self._pending[pending.number] = pending
        self._by_child.setdefault(command.id, {})[pending.number] = None
        if command.request:
            self._requests[command.request] = pending.number
        self._ground.alarm("deadline", pending.number, pending.deadline_us)
        self._route(pending, now_us)

    def abandon(self, request: int) -> None:
        """Nobody waits for it. What was said to a host it may still do."""
        pending = self._pending.get(self._requests.get(request, 0))
        if pending is not None:
            self._end(pending)

    # --- where it is ------------------------------------------------------------------------------------------------

    def touched(self, id: bytes, now_us: int) -> None:
        """A child is shown otherwise: who waits for it may find it, or whoever has its mailbox now."""
        for pending in self._waiting_for(id):
            if pending.said_to is None:
                self._route(pending, now_us)
            elif pending.said_to != self._ground.me and (heir := self._heir(pending)) is not None:
                self._inherited(pending, heir, now_us)

    def _waiting_for(self, id: bytes) -> Iterator[Pending]:
        """The letters for a child; one may have its outcome by the time that those before it are seen to."""
        for number in list(self._by_child.get(id, ())):
            if (pending := self._pending.get(number)) is not None:
                yield pending

    def _route(self, pending: Pending, now_us: int) -> None:
        """Say it to whoever runs its child, or is to."""
        if pending.command.id not in self._ground.book.children:
            self._without_child(pending, now_us)
        elif (why := self._given_up(pending.command.id)) is not None:
            error = f"the child failed too often and is not started again: {why}; the call was not delivered: stop it"
            self._not_delivered(pending, PeerUnreachable(error))
        elif (found := self._host(pending)) is None:
            self._without_host(pending, now_us)
        elif found[0] == self._ground.me:
            self._say_here(pending, found[1], now_us)
        else:
            self._say(pending, *found, now_us)

    def _given_up(self, id: bytes) -> str | None:
        """What a child raised last that is shown to run nowhere any more because of that."""
        copies = self._ground.book.copies(id).values()
        if not copies or any(one.state is not State.FAILED for one in copies):
            return None
        return next(iter(copies)).error.strip().rsplit("\n", 1)[-1] or "it ended"

    def _without_child(self, pending: Pending, now_us: int) -> None:
        """There is none: it is started if that is wanted, but not for what another one may have got."""
        ground, new = self._ground, pending.command.start
        error: CoveyError | None = UnknownName("the child was stopped; the call was not delivered")
        if pending.failed:
            error = PeerUnreachable(f"{pending.failed}; the call was not delivered")
        elif new is not None and not pending.unknown:
            if pending.begun:  # and it is gone: its host tells why
                pending.begun, pending.waits_us = False, now_us + ground.config.retry_us
            if now_us < pending.waits_us:
                ground.alarm_unless_sooner("again", pending.number, pending.waits_us)
                return
            pending.begun = True
            error = self._start(new, now_us)
        if error is not None:
            self._not_delivered(pending, error)
        else:
            ground.alarm_unless_sooner("again", pending.number, now_us + ground.config.retry_us)

    def _without_host(self, pending: Pending, now_us: int) -> None:
        """It runs nowhere, or not with the mailbox that may have the letter: then only a move can bring that back."""
        pending.begun = self._ground.book.children[pending.command.id].author == self._ground.me
        if not pending.unknown or self._keepers(pending):
            pending.lost_us = 0
        elif not pending.lost_us:
            pending.lost_us = now_us + self._ground.config.retry_us
        elif now_us >= pending.lost_us:
            self._lost(pending, None, "nobody is left who knows whether the child got it")
            return
        self._later(pending, now_us)

    def _host(self, pending: Pending) -> tuple[Origin, int] | None:
        """Who runs a child, and the mailbox that it has there; of several whom it belongs to, or else the lowest. Or
        where it went.

        Another node that is to run it hears nothing before it shows that it does: it may not know of it yet, and
        whatever it turns away would arrive after what is sent later.
        """
        ground, id = self._ground, pending.command.id
        bound = pending.mailbox if pending.unknown else 0
        placed = ground.places.host(id)
        runs = {life: one for life, one in self._keepers(pending).items() if one.state is not State.MOVING}
        hosted, child = self._hosting.hosted.get(id), ground.book.children.get(id)
        if hosted is not None and not bound and (child is None or hosted.birth not in child.begun):
            hosted = None  # it was stopped, and another one of this id comes when it has ended
        if runs:
            life = next((life for life in runs if life[0] == placed), min(runs))
            if life != ground.me or hosted is None:
                return life, bound or runs[life].mailboxes[0]
        if hosted is not None and (not bound or bound in hosted.mailbox.names):
            return ground.me, bound or hosted.mailbox.names[0]
        if pending.hint is not None and (hinted := ground.life_of(pending.hint)) is not None:
            return hinted, pending.mailbox
        return None

    def _keepers(self, pending: Pending) -> dict[Origin, Running]:
        """Who shows that it has the mailbox that the letter is for, or any if it is for none yet."""
        ground, bound, id = self._ground, pending.mailbox if pending.unknown else 0, pending.command.id
        return {
            life: one for life, one in (ground.book.running(id) if bound else ground.book.copies(id)).items()
            if one.state is not State.FAILED and one.mailboxes and (not bound or bound in one.mailboxes)
            and (life == ground.me or ground.is_here(life))
        }  # fmt: skip

    def _heir(self, pending: Pending) -> Origin | None:
        """Who took over the mailbox of a letter from whoever answered for it."""
        keepers = self._keepers(pending)
        if pending.said_to in keepers:
            return None
        return next((life for life, one in keepers.items() if one.state is not State.MOVING), None)

    def _inherited(self, pending: Pending, heir: Origin, now_us: int) -> None:
        """It moved there with its child, as far as it came. It is said again, in case that it did not."""
        if heir == self._ground.me:
            self._unsaid(pending)
            self._route(pending, now_us)
        else:
            self._answers_for(pending, heir)
            self._ground.alarm("again", pending.number, now_us + self._ground.config.retry_us)

    def _later(self, pending: Pending, now_us: int) -> None:
        config = self._ground.config
        pause_us = min(config.tries_us_min << min(pending.tries, 10), config.tries_us_max)
        pending.tries += 1
        self._ground.alarm("again", pending.number, now_us + pause_us)

    def _say_here(self, pending: Pending, mailbox: int, now_us: int) -> None:
        ground, command = self._ground, pending.command
        kind = wire.CALL if command.request else wire.CAST
        self._said(pending, ground.me, mailbox)
        ground.cancel("again", pending.number)  # what is here is not lost
        letter = Letter(ground.me, pending.number, pending.deadline_us, kind, command.payload, pending.attempt)
        if not self._hosting.deliver(command.id, letter, self.low, now_us, mailbox):
            self._unsaid(pending)
            pending.unknown.pop(pending.attempt, None)
            self._later(pending, now_us)

    def _say(self, pending: Pending, host: Origin, mailbox: int, now_us: int) -> None:
        ground, command = self._ground, pending.command
        left_us = pending.deadline_us - now_us
        if left_us <= 0:
            return
        self._said(pending, host, mailbox)
        kind = wire.CALL if command.request else wire.CAST
        message = wire.ChildCall(
            ground.hub, host[1], command.id, pending.number, pending.attempt, self.low, left_us, kind,
            msgspec.Raw(command.payload), mailbox,
        )  # fmt: skip
        ground.send(host[0], message, len(command.payload) + CALL_BYTES)
        if kind == wire.CAST:
            self._end(pending)
        else:
            ground.alarm("again", pending.number, now_us + ground.config.retry_us)

    def _said(self, pending: Pending, host: Origin, mailbox: int) -> None:
        invariant(not pending.unknown or mailbox == pending.mailbox, "a letter is for one mailbox")
        self._answers_for(pending, host)
        pending.attempt += 1
        pending.unknown[pending.attempt] = None
        pending.mailbox = mailbox
        pending.lost_us = 0
        pending.failed = ""

    def _answers_for(self, pending: Pending, host: Origin) -> None:
        self._unsaid(pending)
        pending.said_to = host
        self._reaches.setdefault(host, {})[pending.number] = None

    def _unsaid(self, pending: Pending) -> None:
        if pending.said_to is not None:
            numbers = self._reaches[pending.said_to]
            del numbers[pending.number]
            if not numbers:
                del self._reaches[pending.said_to]
            pending.said_to = None

    # --- what comes of it -------------------------------------------------------------------------------------------

    def answered(
        self, number: int, attempt: int, kind: int, payload: bytes, host: Site | None, by: Origin, now_us: int
    ) -> None:
        """A host says what became of a letter."""
        pending = self._pending.get(number)
        if pending is None:
            return
        request = pending.command.request
        if kind in (wire.ELSEWHERE, wire.FULL, wire.UNREAD):
            pending.unknown.pop(attempt, None)
            if attempt != pending.attempt:
                return  # it was said again since
            self._unsaid(pending)
            pending.hint = host
            if kind == wire.ELSEWHERE and pending.command.id in self._ground.book.children:
                self._later(pending, now_us)
            elif kind == wire.ELSEWHERE:
                self._route(pending, now_us)
            elif kind == wire.UNREAD:
                self._not_delivered(pending, _unread(pending))
            else:
                full = "the child has too many letters unread; it did not get this one: slow down"
                self._not_delivered(pending, Overloaded(full))
            return
        if kind == wire.GONE:
            self._refuse(pending.command, _may_have_run(by, "the child ended before it answered"))
        elif request:
            self._ground.say(Resolve(request, Answer(kind == wire.FAILURE, payload)))
        self._end(pending)

    def _not_delivered(self, pending: Pending, error: CoveyError) -> None:
        """Give up: with this error, unless an attempt may still be on its way."""
        if pending.unknown:
            error = DeadlineExceeded(f"{error}; but an earlier attempt may have been delivered: the call may have run")
        self._refuse(pending.command, error)
        self._end(pending)

    def failed(self, id: bytes, why: str, now_us: int) -> None:
        """A child that was started here did not start: who waits for that hears it, once it is shown no more."""
        for pending in self._waiting_for(id):
            pending.failed = why
            if pending.said_to is None:
                self._route(pending, now_us)

    def gone(self, life: Origin, now_us: int, *, left: bool = False) -> None:
        """A host is over or held for down: of what was said to it nobody knows, unless somebody has the mailbox.

        `left`: it was closing, and so has handed over what it could; whoever has it may not show it yet.
        """
        for number in list(self._reaches.get(life, ())):
            pending = self._pending[number]
            self._unsaid(pending)
            if left or self._keepers(pending):
                self._route(pending, now_us)
            else:
                self._lost(pending, life, "its host went away")

    def _lost(self, pending: Pending, life: Origin | None, why: str) -> None:
        self._refuse(pending.command, _may_have_run(life, why))
        self._end(pending)

    def new_life(self) -> None:
        """This node is another life from now on: whoever was asked by the one before knows this one as new."""
        for pending in list(self._pending.values()):
            if pending.unknown:
                self._lost(pending, None, "this node began another life before the answer came")

    def moved(self, number: int, host: Origin, now_us: int) -> None:
        """A letter that waited here for a child went with it to another host, which answers for it now."""
        pending = self._pending.get(number)
        if pending is not None:
            self._answers_for(pending, host)
            self._ground.alarm("again", number, now_us + self._ground.config.retry_us)

    def again(self, number: int, now_us: int) -> None:
        """Say it once more: to the same host where there is one, which does not take it twice."""
        pending = self._pending.get(number)
        if pending is None:
            return
        if pending.said_to is None:
            self._route(pending, now_us)
        elif pending.said_to != self._ground.me:
            self._say(pending, pending.said_to, pending.mailbox, now_us)

    def relinked(self, life: Origin, now_us: int) -> None:
        """The link to a host broke or is new: what was on it may be lost."""
        for number in list(self._reaches.get(life, ())):
            self._ground.alarm_unless_sooner("again", number, now_us + self._ground.config.tries_us_min)

    def expired(self, number: int) -> None:
        """Its deadline has come."""
        pending = self._pending.get(number)
        if pending is None:
            return
        seconds = pending.command.timeout_us / 1e6
        if pending.said_to == self._ground.me and pending.unknown:
            withdrawn = self._hosting.withdraw(pending.command.id, number)
            for letter in withdrawn:
                pending.unknown.pop(letter.attempt, None)
            if withdrawn and not pending.unknown:
                self._not_delivered(pending, _unread(pending))
                return
        if pending.unknown:
            self._lost(pending, pending.said_to, f"no answer in {seconds:g} s")
            return
        why = pending.failed or f"the child ran nowhere for {seconds:g} s"
        self._not_delivered(pending, PeerUnreachable(f"{why}; the call was not delivered: try again"))

    def close(self) -> None:
        """This node takes part no more."""
        for pending in list(self._pending.values()):
            self._not_delivered(pending, PeerUnreachable("the hub was closed; the call was not delivered"))

    def _refuse(self, command: CallChild, error: CoveyError) -> None:
        if command.request:
            self._ground.say(Refuse(command.request, error))

    def _end(self, pending: Pending) -> None:
        number, id = pending.number, pending.command.id
        self._unsaid(pending)
        if self._pending.pop(number, None) is None:
            return
        numbers = self._by_child[id]
        del numbers[number]
        if not numbers:
            del self._by_child[id]
        self._requests.pop(pending.command.request, None)
        self._ground.cancel("deadline", number)
        self._ground.cancel("again", number)


def _unread(pending: Pending) -> PeerUnreachable:
    seconds = pending.command.timeout_us / 1e6
    return PeerUnreachable(f"the child did not come to read it in {seconds:g} s; it never will: try again")


def _may_have_run(life: Origin | None, why: str) -> DeadlineExceeded:
    where = "" if life is None else f" (site {short(life[0])})"
    return DeadlineExceeded(f"{why}{where}; the call may have run")
