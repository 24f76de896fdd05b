"""How mail of our mailboxes gets on its way: nearly always with the rest of what this turn of the event loop sends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from covey.api.group_values import GroupMember
from covey.core.errors import ClosedError, DeadlineExceeded, Overloaded, UsageError
from covey.core.ids import Site, short
from covey.core.vocabulary import Abandon
from covey.protocols.groups import vocabulary as g
from covey.protocols.groups.machine import Groups as Machine

if TYPE_CHECKING:
    from covey.runtime.runner import Runner

Life = tuple[Site, int]
Targets = Mapping[Life, tuple[g.Address, ...]]

LETTERS_MAX = 256  # letters of one turn for one node that go to the machines at once; guess: a frame of small ones
BYTES_MAX = 65_536  # and of all nodes together: what a frame aims at
SECONDS_MAX = 1e9  # to wait, about thirty years: whoever says more means for ever, and clocks take no such number

_VALUE, _CALL = g.Kind.VALUE, g.Kind.CALL


class Posting:
    """What our mailboxes send.

    Law: letters from one mailbox to another go in the order in which they were sent, whichever way they take.
    """

    def __init__(self, live: Callable[[bool], Runner], machine: Machine, send_timeout: float) -> None:
        self._live = live
        self._machine = machine
        self._send_timeout = send_timeout
        self._outgoing: dict[Life, list[g.Outgoing]] = {}  # of this turn of the event loop
        self._bytes = 0
        self._booked = False  # the end of this turn will flush

    def feed(self, command: Any) -> None:
        """Give the machine a command that has no outcome, behind all that was sent before."""
        runner = self._live(False)
        self.flush()
        runner.feed(command)

    def flush(self) -> None:
        """What this turn has sent so far goes to the machines, one command for each node."""
        if not self._outgoing:
            return
        outgoing, self._outgoing, self._bytes = self._outgoing, {}, 0
        try:
            runner = self._live(True)
        except ClosedError:  # the node ended in between, and with it what waited
            return
        for (site, incarnation), letters in outgoing.items():
            runner.feed(g.SendLetters(site, incarnation, tuple(letters)))

    def _end_turn(self) -> None:
        self._booked = False
        self.flush()

    def _at_once(self, runner: Runner, life: Life, letter: g.Outgoing) -> bool:
        """The short way: the link is open, the receiver keeps up, and its life is the one that is known."""
        waiting = self._outgoing.get(life)
        if waiting is None:  # else all this was so when this turn's first letter went there
            if not (runner.engine.direct.ready(life[0]) and self._machine.reaches(life)):
                return False
            self._outgoing[life] = [letter]
            if not self._booked:
                self._booked = True
                runner.at_end_of_turn(self._end_turn)
        else:
            waiting.append(letter)
        self._bytes += len(letter.payload) + 20 * len(letter.to)
        if self._bytes >= BYTES_MAX or (waiting is not None and len(waiting) >= LETTERS_MAX):
            self.flush()
        return True

    # --- one letter -------------------------------------------------------------------------------------------------

    async def send(self, sender: int, to: GroupMember, payload: bytes, timeout: float | None) -> None:
        """One letter, when there is room for it on the way."""
        seconds = self._seconds(timeout)
        letter = g.Outgoing(sender, (g.Address(*to.address),), _VALUE, 0, payload)
        runner = self._live(False)
        if self._at_once(runner, to.life, letter):
            return
        post = self._post(runner, to.life, letter)
        try:
            if not post.outcome.done():
                async with asyncio.timeout(seconds):
                    await post.outcome
            post.outcome.result()
        except TimeoutError:
            raise DeadlineExceeded(f"site {short(to.site)} took nothing for {seconds} s; it may be sent") from None
        finally:
            post.end()

    def send_nowait(self, sender: int, to: GroupMember, payload: bytes) -> None:
        """One letter, if there is room for it now; where there is no link yet, it goes with the first word."""
        letter = g.Outgoing(sender, (g.Address(*to.address),), _VALUE, 0, payload)
        runner = self._live(False)
        if self._at_once(runner, to.life, letter):
            return
        if runner.engine.direct.congested(to.site):
            raise Overloaded(
                f"site {short(to.site)} reads too slowly; nothing was sent: use `await send`, or try again"
            )
        post = self._post(runner, to.life, letter)
        if post.outcome.done():
            post.outcome.result()
        post.leave()

    async def ask(self, sender: int, to: GroupMember, number: int, payload: bytes, answer: asyncio.Future[Any],
                  timeout: float) -> Any:  # fmt: skip
        """One letter and its answer."""
        seconds = self._seconds(timeout)
        letter = g.Outgoing(sender, (g.Address(*to.address),), _CALL, number, payload)
        runner = self._live(False)
        if self._at_once(runner, to.life, letter):
            alarm = asyncio.get_running_loop().call_later(seconds, _time_out, answer)
            try:
                return await answer
            except TimeoutError:
                raise _no_answer(to, seconds) from None
            finally:
                alarm.cancel()
        post = self._post(runner, to.life, letter)
        try:
            async with asyncio.timeout(seconds):
                if not post.outcome.done():
                    await asyncio.wait((post.outcome, answer), return_when=asyncio.FIRST_COMPLETED)
                if post.outcome.done():
                    post.outcome.result()
                return await answer
        except TimeoutError:
            raise _no_answer(to, seconds) from None
        finally:
            post.end()

    def answer(self, sender: int, to: g.Address, kind: g.Kind, number: int, payload: bytes) -> None:
        """The answer to a call; nobody waits until it is on its way."""
        letter = g.Outgoing(sender, (to,), kind, number, payload)
        if not self._at_once(self._live(False), (to.site, to.incarnation), letter):
            self.feed(g.SendMail(0, sender, to.site, to.incarnation, (to.mailbox,), kind, number, payload))

    # --- one letter to many -----------------------------------------------------------------------------------------

    async def broadcast(self, sender: int, targets: Targets, payload: bytes, timeout: float | None) -> int:
        """One letter to many, one message for each node; returns to how many it is on its way."""
        seconds = self._seconds(timeout)
        runner = self._live(False)
        sent, slow = self._to_many(runner, sender, targets, payload)
        if not slow:
            return sent
        posts: list[_Post] = []
        try:
            for life, letter in slow:
                posts.append(self._post(runner, life, letter))
            async with asyncio.timeout(seconds):
                await asyncio.gather(
                    *[post.outcome for post in posts if not post.outcome.done()], return_exceptions=True
                )
        except TimeoutError:
            pass
        finally:
            for post in posts:
                sent += post.end()
        self._live(True)
        return sent

    def broadcast_nowait(self, sender: int, targets: Targets, payload: bytes) -> int:
        """The same without waiting: who does not keep up is passed over. Returns to how many it is on its way."""
        runner = self._live(False)
        sent, slow = self._to_many(runner, sender, targets, payload)
        for life, letter in slow:
            if not runner.engine.direct.congested(life[0]):
                post = self._post(runner, life, letter)
                sent += post.leave()
        return sent

    def tell(self, sender: int, targets: Targets, payload: bytes) -> None:
        """The same, but who does not keep up gets it later, and nobody hears what became of it."""
        for life, letter in self._to_many(self._live(False), sender, targets, payload)[1]:
            self.feed(_command(0, life, letter))

    def _to_many(
        self, runner: Runner, sender: int, targets: Targets, payload: bytes
    ) -> tuple[int, list[tuple[Life, g.Outgoing]]]:
        """To those whose links are ready; returns how many these are, and what is left to be sent."""
        sent = 0
        slow: list[tuple[Life, g.Outgoing]] = []
        for life, addresses in targets.items():
            letter = g.Outgoing(sender, addresses, _VALUE, 0, payload)
            if self._at_once(runner, life, letter):
                sent += len(addresses)
            else:
                slow.append((life, letter))
        return sent, slow

    def _post(self, runner: Runner, life: Life, letter: g.Outgoing) -> _Post:
        """The long way, behind all that was sent before."""
        self.flush()
        return _Post(runner, life, letter)

    def _seconds(self, timeout: float | None) -> float:
        seconds = self._send_timeout if timeout is None else timeout
        if type(seconds) not in (int, float) or not seconds > 0:
            raise UsageError(f"timeout must be a number of seconds above 0, not {timeout!r}; nothing was sent")
        return min(seconds, SECONDS_MAX)


class _Post:
    """One letter to mailboxes of one life of a node, and its outcome."""

    def __init__(self, runner: Runner, life: Life, letter: g.Outgoing) -> None:
        self._runner = runner
        self._mailboxes = len(letter.to)
        self._request, self.outcome = runner.request()
        try:
            runner.feed(_command(self._request, life, letter))
        except BaseException:
            runner.forget_request(self._request)
            raise

    def end(self) -> int:
        """Nobody waits any more: what is not on its way is taken back. Returns to how many mailboxes it is."""
        self._runner.forget_request(self._request)
        if self.outcome.done() and not self.outcome.cancelled():
            return 0 if self.outcome.exception() else self._mailboxes
        if self._runner.is_open:
            self._runner.feed(Abandon(self._request))
        return 0

    def leave(self) -> int:
        """Nobody waits any more, and what goes with the first word goes on. Returns to how many mailboxes it is."""
        self._runner.forget_request(self._request)
        return 0 if self.outcome.done() and self.outcome.exception() else self._mailboxes


def _command(request: int, life: Life, letter: g.Outgoing) -> g.SendMail:
    mailboxes = tuple([to.mailbox for to in letter.to])
    return g.SendMail(request, letter.sender, *life, mailboxes, letter.kind, letter.number, letter.payload)


def _time_out(answer: asyncio.Future[Any]) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())


def _no_answer(to: GroupMember, seconds: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"site {short(to.site)} gave no answer in {seconds} s; it may have acted")
