"""The children that run here: started, fed, ended, and started again when they fail.

look ─▶ (claim) ─▶ StartChild ─▶ ChildStarted ─▶ our row says that it runs
                                     │ ChildExited: it failed            │ told to end, or to leave
                                     ▼                                   ▼
               a pause, (claim), StartChild; or given up          ChildExited ─▶ our row goes
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from covey.core import children as c
from covey.core.errors import invariant
from covey.core.ids import Origin, Site
from covey.core.vocabulary import Emit
from covey.protocols.registry import rows
from covey.protocols.registry.copies import STATES, Hosted, Move, Phase
from covey.protocols.registry.ground import Ground
from covey.protocols.registry.mailbox import Letter, Mailbox, Put, Reply
from covey.protocols.registry.rows import EPOCH, Child, Restart, State
from covey.protocols.registry.vocabulary import CopyEnded, HandoverLost, Place
from covey.wire.messages import registry as wire

LIVE = (Phase.STARTING, Phase.RUNNING, Phase.LEAVING, Phase.ENDING, Phase.MERGING)  # the world has a copy


class Hosting:
    """The host's side of one hub.

    Law: of each child there is at most one copy here, and what comes of another one means nothing. Invariants: a copy
    that waits for a letter has none waiting; our row says of each what its phase is.
    """

    def __init__(
        self,
        ground: Ground,
        answer: Callable[[Letter, int, bytes, Site | None], None],
        seek: Callable[[Hosted, Any], None],
        relinquish: Callable[[bytes], Any],
    ) -> None:
        self._ground = ground
        self._answer = answer
        self._seek = seek
        self._relinquish = relinquish
        # What others do when something happens here; `Moves` and the hub put it in.
        self.left: Callable[[Hosted, int], None]  # a copy that was to leave has ended
        self.cancel: Callable[[Hosted], None]  # a child does not move any more
        self.turn_back: Callable[[Hosted], None]  # a child that came here is not run
        self.ended: Callable[[Place, str, Origin, int], None]  # whoever started a child is to hear how it ended
        self.hosted: dict[bytes, Hosted] = {}
        self._tops: dict[bytes, int] = {}  # the tokens of those that were here: a birth may not have heard of them
        self._top = ground.seen  # the highest of those that are forgotten
        self.counts = dict.fromkeys(("started", "restarted", "stuck", "fenced", "given_up"), 0)

    def check(self) -> None:
        """Every invariant."""
        for id, hosted in self.hosted.items():
            invariant(hosted.id == id, "a child is filed under its id")
            hosted.mailbox.check()
            feeds = hosted.phase is Phase.RUNNING and hosted.waits and not self._ground.fenced
            invariant(not feeds or not hosted.mailbox.queue, "a copy that waits for a letter has none waiting")
            if hosted.phase in (Phase.RUNNING, Phase.FAILED):
                invariant(hosted.announced is not None, "our row says that it is here")

    def copy(self, id: bytes) -> c.Copy:
        """The number of a new copy."""
        return c.Copy(self._ground.hub, id, self._ground.wires.number())

    # --- beginning --------------------------------------------------------------------------------------------------

    def begin(self, child: Child, *, first: bool = False, copy: c.Copy | None = None) -> Hosted:
        """A child is to run here. Call `run` for it, once what it comes with is put into it."""
        ground = self._ground
        invariant(child.id not in self.hosted, "of each child at most one is here")
        mailbox = Mailbox(ground.config, ground.draw())
        hosted = Hosted(child.id, child.spec, child.births, copy or self.copy(child.id), mailbox)
        hosted.first, hosted.birth = first, child.begun[-1]
        self.hosted[child.id] = hosted
        return hosted

    def run(self, hosted: Hosted, child: Child, now_us: int, freed: Any = None) -> None:
        """Start it, or first claim it."""
        ground = self._ground
        top = max(hosted.epoch, self._tops.get(child.id, self._top))  # of copies before
        first = hosted.first and child.epoch > top
        above = max(child.epoch, top)
        if ground.fenced:
            hosted.phase = Phase.CLAIMING
            hosted.epoch = ground.first_epoch(above, now_us) if first else ground.epoch(above, now_us)
            self._seek(hosted, freed)
            return
        if first:
            hosted.epoch = child.epoch
        else:
            hosted.epoch = ground.epoch(above, now_us)
            ground.put(child.id, EPOCH, rows.encode(hosted.epoch))
        self._start(hosted, now_us)

    def run_next(self, hosted: Hosted, now_us: int) -> None:
        """Another copy of what ran here, under a higher token: what was claimed counted for the copy before."""
        child = self._ground.book.children.get(hosted.id)
        if child is None:
            self._over(hosted)
            return
        hosted.copy = self.copy(hosted.id)
        self._relinquish(hosted.id)
        self.run(hosted, child, now_us)
        if hosted.phase is Phase.CLAIMING and hosted.announced is not None:
            self.announce(hosted)

    def won(self, id: bytes, token: int, now_us: int) -> None:
        """The claim is granted."""
        hosted = self.hosted.get(id)
        if hosted is None or hosted.phase is not Phase.CLAIMING:
            self._relinquish(id)
            return
        hosted.epoch = token
        child = self._ground.book.children.get(id)
        if child is not None and child.epoch < token:
            self._ground.put(id, EPOCH, rows.encode(token))
        self._start(hosted, now_us)

    def _start(self, hosted: Hosted, now_us: int) -> None:
        ground, spec = self._ground, hosted.spec
        hosted.phase = Phase.STARTING
        hosted.until_us = 0
        hosted.started_us = hosted.active_us = now_us
        hosted.waits = False
        self.counts["started"] += 1
        ground.say(c.StartChild(hosted.copy, spec.start, spec.arguments, hosted.epoch, hosted.state))
        ground.alarm("announce", hosted.id, now_us + ground.config.announce_us)

    def announce(self, hosted: Hosted) -> None:
        """Say in our row how it is."""
        state = State.STUCK if hosted.stuck else STATES.get(hosted.phase)
        if state is None:
            return
        hosted.announced = state
        names = hosted.mailbox.names
        said = rows.Running(hosted.epoch, hosted.copy.number, state, hosted.error, names, hosted.birth)
        self._ground.write(rows.running_key(hosted.id), rows.encode(said))

    def announce_late(self, id: bytes) -> None:
        """It takes its time to start: show that."""
        hosted = self.hosted.get(id)
        if hosted is not None and hosted.phase is Phase.STARTING and hosted.announced is None:
            self.announce(hosted)

    def serve(self, hosted: Hosted, child: Child) -> None:
        """Its child has these births now, and at least one of those that it was started for."""
        hosted.births, hosted.spec = child.births, child.spec
        if hosted.birth not in child.begun:
            hosted.birth = child.begun[-1]
            if hosted.announced is not None:
                self.announce(hosted)
        self.raise_epoch(hosted, child)

    def raise_epoch(self, hosted: Hosted, child: Child) -> None:
        """A row must not lie below what runs."""
        if child.epoch < hosted.epoch:
            self._ground.put(child.id, EPOCH, rows.encode(hosted.epoch))

    def raise_token(self, hosted: Hosted, above: int, now_us: int) -> None:
        """Another copy ran under a higher token, and is over: this one gets one above it."""
        ground = self._ground
        token = hosted.epoch if ground.fenced or hosted.epoch > above else ground.epoch(above, now_us)
        if token <= hosted.epoch or hosted.phase is not Phase.RUNNING:
            return
        hosted.epoch = token
        ground.put(hosted.id, EPOCH, rows.encode(hosted.epoch))
        ground.say(c.TellToken(hosted.copy, hosted.epoch))
        self.announce(hosted)

    # --- what the world says ----------------------------------------------------------------------------------------

    def of(self, copy: c.Copy) -> Hosted | None:
        """The child of a copy, if it is the copy that runs now."""
        hosted = self.hosted.get(copy.id)
        return hosted if hosted is not None and hosted.copy == copy else None

    def on_started(self, fact: c.ChildStarted, now_us: int) -> None:
        """It runs: show it."""
        hosted = self.of(fact.copy)
        if hosted is None or hosted.phase is not Phase.STARTING:
            return
        hosted.phase = Phase.RUNNING
        hosted.fresh = False
        hosted.state = None if hosted.arrived is None else hosted.state
        self._ground.cancel("announce", hosted.id)
        self.announce(hosted)
        self._watch_idle(hosted, now_us)
        self.feed(hosted, now_us)

    def on_receives(self, fact: c.ChildReceives, now_us: int) -> None:
        """It wants its next letter."""
        hosted = self.of(fact.copy)
        if hosted is not None and hosted.phase in (Phase.STARTING, Phase.RUNNING):
            hosted.waits = True
            self.feed(hosted, now_us)

    def on_replied(self, fact: c.ChildReplied, now_us: int) -> None:
        """It answered; nobody hears it if it has no right to serve any more."""
        hosted = self.of(fact.copy)
        letter = None if hosted is None else hosted.delivered.pop(fact.call, None)
        if hosted is None or letter is None:
            return
        hosted.active_us = now_us
        kind = wire.FAILURE if fact.failed else wire.REPLY
        if not self._ground.leased(hosted.id, now_us):
            kind = wire.GONE
        self._reply(hosted, letter, kind, fact.payload if kind != wire.GONE else wire.NIL)

    def _reply(self, hosted: Hosted, letter: Letter, kind: int, payload: bytes) -> None:
        hosted.mailbox.answered(letter, Reply(kind, payload, letter.until_us))
        self._answer(letter, kind, payload, None)

    def on_handover(self, fact: c.HandoverGiven) -> None:
        """It leaves a state."""
        hosted = self.of(fact.copy)
        if hosted is not None and hosted.phase in LIVE:
            hosted.state = fact.state
            if fact.error and hosted.phase is not Phase.ENDING:
                self._ground.say(Emit(HandoverLost(self._ground.hub, hosted.id, fact.error[: wire.TEXT_MAX])))

    def on_stuck(self, fact: c.ChildStuck) -> None:
        """It does not end: show that."""
        hosted = self.of(fact.copy)
        if hosted is not None and not hosted.stuck:
            hosted.stuck = True
            self.counts["stuck"] += 1
            self.announce(hosted)

    def on_exited(self, fact: c.ChildExited, now_us: int) -> None:
        """It has ended, one way or another."""
        hosted = self.of(fact.copy)
        if hosted is None or hosted.phase not in LIVE:
            return
        phase, hosted.waits = hosted.phase, False
        for letter in hosted.delivered.values():
            self._reply(hosted, letter, wire.GONE, wire.NIL)
        hosted.delivered.clear()
        self._ground.cancel("announce", hosted.id)
        self._ground.cancel("idle", hosted.id)
        hosted.stuck = False
        if fact.error:
            hosted.error = (fact.trace or fact.error)[-wire.TEXT_MAX :]
        if phase is Phase.LEAVING:
            self.left(hosted, now_us)
        elif phase is Phase.MERGING:
            hosted.phase = Phase.RESOLVING
            self._ground.say(c.AskResolver(hosted.copy, hosted.state, hosted.theirs))
        elif phase is Phase.ENDING:
            self._over(hosted)
        elif hosted.arrived is not None and phase is Phase.STARTING and fact.ending is not c.Ending.RETURNED:
            self.left(hosted, now_us)
        else:
            self._judge(hosted, fact, phase is Phase.STARTING, now_us)

    def _judge(self, hosted: Hosted, fact: c.ChildExited, starting: bool, now_us: int) -> None:
        """It ended by itself: for good, or it is started again."""
        self.cancel(hosted)
        raised = fact.ending is not c.Ending.RETURNED
        spec = hosted.spec
        child = self._ground.book.children.get(hosted.id)
        child = child if child is not None and hosted.birth in child.begun else None  # it is of one that was stopped
        said = rows.Running(hosted.epoch, hosted.copy.number, State.RUNNING, birth=hosted.birth)
        place = Place(hosted.id, self._ground.me, said)
        if raised and starting and hosted.first and hosted.fresh:
            if child is not None:
                self.ended(place, (fact.error or "it failed")[: wire.TEXT_MAX], child.author, now_us)
            if fact.ending is c.Ending.REFUSED:
                self.tell_ended(hosted, "refused")
            self._remove(hosted)
        elif fact.ending is c.Ending.REFUSED:
            self._give_up(hosted, "refused")
        elif spec.restart is Restart.TEMPORARY or (spec.restart is Restart.TRANSIENT and not raised):
            if child is not None and hosted.first and not hosted.restarts:
                self.ended(place, "", child.author, now_us)
            self._remove(hosted)
        elif raised and not hosted.may_restart(self._ground.config, now_us):
            self._give_up(hosted, "gave up")
        else:
            self.counts["restarted"] += 1
            hosted.phase = Phase.RESTING
            pause_us = hosted.pause_us(self._ground.config, now_us)
            if pause_us:
                self._ground.alarm("restart", hosted.id, now_us + pause_us)
            else:
                self.run_next(hosted, now_us)

    def _give_up(self, hosted: Hosted, why: str) -> None:
        """It is not started again, and stays to be seen."""
        self.counts["given_up"] += 1
        hosted.phase = Phase.FAILED
        self._relinquish(hosted.id)
        self.announce(hosted)
        self._send_back(hosted)
        self.tell_ended(hosted, why)

    def restart(self, id: bytes, now_us: int) -> None:
        """Its pause is over."""
        hosted = self.hosted.get(id)
        if hosted is not None and hosted.phase is Phase.RESTING:
            self.run_next(hosted, now_us)

    def tell_ended(self, hosted: Hosted, why: str, winner: Site | None = None, error: str = "") -> None:
        """The event: this copy did not end by its own will."""
        ground, id = self._ground, hosted.id
        copies = len({*ground.book.running(id), ground.me})
        ground.say(Emit(CopyEnded(ground.hub, id, hosted.epoch, why, winner, error or hosted.error, copies)))

    # --- ending -----------------------------------------------------------------------------------------------------

    def end(self, hosted: Hosted, now_us: int, *, for_good: bool = False) -> None:
        """Have it end, and go from here; `for_good`: it is no child any more then."""
        hosted.ends = hosted.ends or for_good
        if hosted.phase is Phase.ENDING:
            return
        self.cancel(hosted)
        if hosted.phase in LIVE:
            hosted.phase = Phase.ENDING
            self._ground.say(c.StopChild(hosted.copy, hosted.spec.shutdown_us))
        else:
            self._over(hosted)

    def fence(self, id: bytes, ended_us: int, now_us: int) -> None:
        """Its lease has ended: it may not serve any more, and has only what is left of its grace."""
        hosted = self.hosted.get(id)
        if hosted is None:
            self._relinquish(id)
            return
        if hosted.phase is Phase.CLAIMING:
            self._relinquish(id)
            self._seek(hosted, None)
            return
        self.counts["fenced"] += 1
        if hosted.phase in LIVE:
            hosted.phase = Phase.ENDING
            self.cancel(hosted)
            hosted.until_us = ended_us + self._ground.config.stop_grace_us
            grace_us = max(hosted.until_us - now_us, 0) // 2  # whoever has not ended by then is cancelled, and ends
            self._ground.say(c.StopChild(hosted.copy, grace_us, True))
            self.tell_ended(hosted, "fenced")
        elif hosted.phase is Phase.RESTING:
            self.tell_ended(hosted, "fenced")
            self._over(hosted)
        else:
            self._relinquish(id)

    def _remove(self, hosted: Hosted) -> None:
        """It is no child any more."""
        hosted.ends = True
        self._over(hosted)

    def _over(self, hosted: Hosted) -> None:
        """It is not here any more."""
        child = self._ground.book.children.get(hosted.id)
        if hosted.ends and child is not None and set(child.births) & set(hosted.births):
            self._ground.remove(hosted.id)
        self.drop(hosted, None)

    def drop(self, hosted: Hosted, target: Site | None) -> None:
        """Forget it, and send its letters back to where they came from."""
        id = hosted.id
        self.cancel(hosted)
        if hosted.arrived is not None:
            self.turn_back(hosted)
        del self.hosted[id]
        self._remember(hosted)
        for what in ("announce", "restart", "idle", "duplicate", "unread"):
            self._ground.cancel(what, id)
        if hosted.announced is not None:
            self._ground.write(rows.running_key(id), None)
        self._relinquish(id)
        self._send_back(hosted, target)
        self._ground.looks[id] = None

    def _remember(self, hosted: Hosted) -> None:
        """The next copy here has a higher token, whoever starts it."""
        self._tops[hosted.id] = max(hosted.epoch, self._tops.pop(hosted.id, 0))
        if len(self._tops) > self._ground.config.hints_max:
            self._top = max(self._top, self._tops.pop(next(iter(self._tops))))

    def _send_back(self, hosted: Hosted, target: Site | None = None) -> None:
        """It does not get its letters. Of what was handed over, and may run there already, nobody can say that."""
        kind = wire.GONE if hosted.phase is Phase.SENDING else wire.ELSEWHERE
        for letter in hosted.mailbox.empty():
            if hosted.carried.get(letter.key) != letter.attempt:
                self._answer(letter, kind, wire.NIL, target)

    def turn_away(self, letter: Letter) -> None:
        """Nobody has this letter any more, and nobody got it."""
        self._answer(letter, wire.ELSEWHERE, wire.NIL, None)

    def ends_us(self) -> list[int]:
        """By when each copy that runs must have ended, unless its lease goes on."""
        ground = self._ground
        return [
            hosted.until_us or ground.lease_us(id) + ground.config.stop_grace_us
            for id, hosted in self.hosted.items()
            if hosted.phase in LIVE
        ]

    # --- letters ----------------------------------------------------------------------------------------------------

    def deliver(self, id: bytes, letter: Letter, low: int, now_us: int, mailbox: int | None = None) -> bool:
        """A letter for a child of ours; False where it is none of ours, is about to go, or has another mailbox."""
        hosted = self.hosted.get(id)
        if hosted is None or hosted.phase in (Phase.FAILED, Phase.SENDING):
            return False
        put = hosted.mailbox.put(letter, low, now_us, mailbox)
        if put is Put.OTHER:
            return False
        if put is Put.TAKEN:
            self.feed(hosted, now_us)
            if letter.key in hosted.mailbox.queue:
                self._ground.alarm_unless_sooner("unread", id, letter.until_us)
        elif put is Put.FULL:
            self._answer(letter, wire.FULL, wire.NIL, None)
        elif isinstance(put, Reply):
            self._answer(letter, put.kind, put.payload, None)
        return True

    def feed(self, hosted: Hosted, now_us: int) -> None:
        """Give a copy that waits its next letter, if it may serve."""
        if not hosted.waits or hosted.phase is not Phase.RUNNING or not self._ground.leased(hosted.id, now_us):
            return
        if hosted.mailbox.is_late(now_us):
            self.expire(hosted.id, now_us)
        letter = hosted.mailbox.take(now_us)
        if letter is None:
            return
        hosted.waits = False
        hosted.active_us = now_us
        call = 0
        if letter.kind == wire.CALL:
            hosted.calls = call = hosted.calls + 1
            hosted.delivered[call] = letter
        else:
            self._answer(letter, wire.REPLY, wire.NIL, None)
        self._ground.say(c.DeliverToChild(hosted.copy, call, letter.sender[0], letter.payload))

    def _answers_alone(self, hosted: Hosted) -> bool:
        """Whether nobody else may have the letters that wait here."""
        return hosted.phase is not Phase.SENDING and hosted.arrived is None and len(hosted.mailbox.names) == 1

    def expire(self, id: bytes, now_us: int) -> None:
        """Letters that nobody waits for any more are not read."""
        hosted = self.hosted.get(id)
        if hosted is None or not self._answers_alone(hosted):
            return
        for letter in hosted.mailbox.expire(now_us):
            self._answer(letter, wire.UNREAD, wire.NIL, None)
        if hosted.mailbox.queue:
            until_us = min(letter.until_us for letter in hosted.mailbox.queue.values())
            self._ground.alarm("unread", id, max(until_us, now_us + self._ground.config.announce_us))

    def withdraw(self, id: bytes, number: int) -> list[Letter]:
        """Nobody here waits for a letter any more: returns its attempts, if its child never got it, and never will."""
        hosted = self.hosted.get(id)
        if hosted is None or not self._answers_alone(hosted):
            return []
        return hosted.mailbox.withdraw((self._ground.me, number))

    # --- idleness ---------------------------------------------------------------------------------------------------

    def _watch_idle(self, hosted: Hosted, now_us: int) -> None:
        if hosted.spec.idle_us:
            self._ground.alarm("idle", hosted.id, now_us + hosted.spec.idle_us)

    def idle(self, id: bytes, now_us: int) -> None:
        """Look whether it had nothing to do for long enough: then it ends, and is no child any more."""
        hosted = self.hosted.get(id)
        if hosted is None or hosted.phase is not Phase.RUNNING:
            return
        due_us = hosted.active_us + hosted.spec.idle_us
        if hosted.is_quiet and due_us <= now_us:
            self.end(hosted, now_us, for_good=True)
        else:
            self._ground.alarm("idle", id, max(due_us, now_us + hosted.spec.idle_us if not hosted.is_quiet else due_us))

    def forget(self, site: Site, before: int) -> None:
        """The lives of a site before that one are over: they ask for no answer again."""
        for hosted in self.hosted.values():
            hosted.mailbox.forget(site, before)

    # --- moves ------------------------------------------------------------------------------------------------------

    def ask_to_leave(self, hosted: Hosted, move: Move) -> None:
        """Have it end, and leave what the next copy needs."""
        hosted.move = move
        hosted.phase = Phase.LEAVING
        hosted.waits = False
        self._ground.say(c.AskHandover(hosted.copy, hosted.spec.shutdown_us, move.target[0], move.merges))

    def hide(self, hosted: Hosted) -> None:
        """Show it no more: the other copy of it stays."""
        hosted.announced = None
        self._ground.write(rows.running_key(hosted.id), None)

    def free(self, id: bytes) -> Any:
        """Give its claim back; returns what the next host shows the voters for it."""
        return self._relinquish(id)

    def ask_to_merge(self, hosted: Hosted, theirs: bytes) -> None:
        """A duplicate left a state: have ours end and leave its own, and the user make one of both."""
        hosted.theirs = theirs
        hosted.phase = Phase.MERGING
        self.tell_ended(hosted, "merged", self._ground.me[0])
        hosted.waits = False
        self._ground.say(c.AskHandover(hosted.copy, hosted.spec.shutdown_us, self._ground.me[0], True))

    def on_resolved(self, fact: c.StatesResolved, now_us: int) -> None:
        """The user made one state of two, or could not: then ours stays."""
        hosted = self.of(fact.copy)
        if hosted is None or hosted.phase is not Phase.RESOLVING:
            return
        if fact.error:
            why = f"the states of two copies were not made one: {fact.error}"
            self.tell_ended(hosted, why, self._ground.me[0], fact.error)
        else:
            hosted.state = fact.state
        hosted.theirs = None
        self.run_again(hosted, now_us)

    def run_again(self, hosted: Hosted, now_us: int) -> None:
        """It stays after all: start it anew with what it left."""
        hosted.move = None
        hosted.arrived = None
        hosted.first = False
        self.run_next(hosted, now_us)
