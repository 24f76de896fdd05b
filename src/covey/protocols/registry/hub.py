"""One hub at one node: whatever changes, the children that it touches are looked at, and what must be is done.

There is one question, asked of one child at a time: is it to run here, and does it? Everything that can change the
answer (its row, who runs it, who takes part, a claim, a copy that ended) only marks the child to be looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from covey.core import children as c
from covey.core.errors import CoveyError, UnknownName, invariant
from covey.core.ids import Origin, Site
from covey.core.rows import Put, RowsChanged, SharedChanged, SharedWrite, Start
from covey.core.vocabulary import Emit, Refuse, Resolve
from covey.protocols.registry import rows
from covey.protocols.registry.agreement import PATIENCE_US, Agreement
from covey.protocols.registry.asking import Asking
from covey.protocols.registry.calls import Calls
from covey.protocols.registry.copies import Hosted, Phase
from covey.protocols.registry.duplicates import Duplicates
from covey.protocols.registry.ground import Ground
from covey.protocols.registry.hosting import Hosting
from covey.protocols.registry.mailbox import Letter
from covey.protocols.registry.moves import Moves
from covey.protocols.registry.placement import Participant
from covey.protocols.registry.rows import BEGUN, META, PARTICIPANT, Child
from covey.protocols.registry.starting import Starting
from covey.protocols.registry.statics import Statics
from covey.protocols.registry.stopping import Stopping
from covey.protocols.registry.synchronizing import Synchronizing
from covey.protocols.registry.unplaced import Unplaced
from covey.protocols.registry.vocabulary import (
    ChildChanged,
    ChildError,
    NewChild,
    OpenHub,
    ParticipantsChanged,
    Place,
    Shown,
    StartOutcome,
    UpdateChild,
)
from covey.wire.messages import registry as wire


class Hub:
    """One hub as this node sees it, and its part in it.

    Law: the fold of its `ChildChanged` is its book. Invariants: those of its rooms; who is hosted and not on its way is
    shown by a row of ours; who takes part in the view is shown.
    """

    def __init__(self, ground: Ground, seek: Callable[[Hosted, Any], None], relinquish: Callable[[bytes], Any]) -> None:
        self.ground = ground
        self.book = ground.book
        self.hosting = Hosting(ground, self._answer, seek, relinquish)
        self.calls = Calls(ground, self.hosting, self._start)
        self.moves = Moves(ground, self.hosting, self.calls)
        self.duplicates = Duplicates(ground, self.hosting, self.moves)
        self.asking = Asking(ground, lambda id: id in self.hosting.hosted)
        self.starting = Starting(ground, self.asking)
        self.stopping = Stopping(ground, self.asking)
        self.watching = self.starting.watching
        self.unplaced = Unplaced(ground)
        self.agreement = Agreement(ground)
        self.statics = Statics(ground, self.starting.give_birth, self._opened)
        self.synchronizing = Synchronizing(ground, ground.rows.driven, ground.options.synchronization)
        self.hosting.ended = self._tell_author
        self._firsts: dict[bytes, None] = {}  # children that we are to run as the first ones
        self._update: tuple[Put | None, int] = (None, 0)  # the last one, and its request: refused at once, or never
        self._opening = 0
        self._stable_us = 0  # since when the view is what it is
        self._said: Participant | None = None

    def check(self) -> None:
        """Every invariant."""
        self.book.check()
        self.hosting.check()
        self.moves.check()
        self.calls.check()
        self.starting.check()
        self.stopping.check()
        self.statics.check()
        self.synchronizing.check()
        self.ground.places.check()
        shown = {(one.site, one.incarnation) for one in self.book.participants.values()}
        view = self.ground.places.view
        invariant({(one.site, one.incarnation) for one in (*view.hosts, *view.others)} == shown, "the view is shown")

    def statistics(self) -> dict[str, int]:
        """What is there, and counts since the start."""
        hosted = self.hosting.hosted.values()
        return {
            "children": len(self.book.children), "hosted": len(self.hosting.hosted),
            "running": sum(one.phase is Phase.RUNNING for one in hosted),
            "stuck_now": sum(one.stuck for one in hosted),
            "calls": len(self.calls), "moving": len(self.moves), "nonsense": self.book.nonsense,
            "duplicates": self.duplicates.ended, **self.hosting.counts, **self.moves.counts,
        }  # fmt: skip

    # --- life -------------------------------------------------------------------------------------------------------

    def open(self, command: OpenHub, now_us: int) -> None:
        """Take part."""
        self._opening = command.request
        self.statics.declare(command.static)
        self.ground.opened_us = now_us
        self.synchronizing.open()
        self._say_participant()
        self.ground.alarm("settled", None, now_us + self.ground.config.joined_settle_us)

    def _say_participant(self) -> None:
        options, (site, incarnation) = self.ground.options, self.ground.me
        said = Participant(
            site, incarnation, options.name, options.weight, options.zone, bool(self.ground.closing),
            tuple(sorted(options.starts)), rows.digest_of(options.settings), options.app_version, options.settings,
        )  # fmt: skip
        if said != self._said:
            self._said = said
            self.ground.write(PARTICIPANT, rows.encode(said))

    def settle(self, joined_us: int | None, unknown: bool, now_us: int) -> None:
        """See whether children may be placed: who has just come may not know yet what runs."""
        ground, config = self.ground, self.ground.config
        if ground.ready or ground.closing:
            return
        due_us = ground.opened_us + config.settle_us
        if joined_us is not None:
            due_us = min(due_us, max(ground.opened_us, joined_us) + config.joined_settle_us)
        if unknown or now_us < due_us or not ground.is_complete():
            ground.alarm("settled", None, max(due_us, now_us + config.announce_us))
            if self._opening and now_us >= ground.opened_us + PATIENCE_US:
                request, self._opening = self._opening, 0
                ground.say(Refuse(request, self.agreement.silence()))
            return
        ground.ready = True
        ground.looks |= dict.fromkeys(self.book.children)
        self.statics.begin(now_us)

    def _opened(self, errors: tuple[ChildError, ...]) -> None:
        """Whoever opens it hears so, or which of the declared children failed, and closes it then."""
        if self._opening:
            request, self._opening = self._opening, 0
            self.ground.say(Resolve(request, StartOutcome((), errors) if errors else None))

    def close(self, request: int) -> None:
        """Take part no more: children move, or end."""
        self.ground.closing = request or -1
        self._say_participant()
        self.ground.looks |= dict.fromkeys(self.hosting.hosted)
        self._opened(())

    @property
    def is_over(self) -> bool:
        """Whether it closes, and nothing runs here any more."""
        return bool(self.ground.closing) and not self.hosting.hosted

    @property
    def is_busy(self) -> bool:
        """Whether something is to be done at the end of the turn."""
        ground = self.ground
        return (
            bool(ground.looks) or not ground.places.is_settled or self.starting.is_writing or self.synchronizing.is_busy
        )

    def new_life(self, now_us: int) -> None:
        """What runs here runs in another life from now on: whoever of others knows of it knows it as new.

        What the rows of the life before said is written again by the row machine, so all that is ours is looked at.
        """
        self.ground.ready = False
        self.ground.opened_us = now_us
        self._said = None
        self._say_participant()
        self.calls.new_life()
        for hosted in self.hosting.hosted.values():
            if hosted.announced is not None:
                self.hosting.announce(hosted)
        self.ground.alarm("settled", None, now_us + self.ground.config.joined_settle_us)

    def end(self) -> None:
        """Nothing is left here."""
        self.calls.close()
        self.starting.close()
        self.stopping.close()
        self.asking.close()

    # --- rows -------------------------------------------------------------------------------------------------------

    def on_shared(self, fact: SharedChanged, now_us: int) -> None:
        """Children are shown otherwise."""
        for id, row in fact.rows:
            self.ground.removed.pop(id, None)
            self.ground.begun.pop(id, None)
            before = self._shown(id)
            known = self.book.children.get(id)
            if not self.book.fold_shared(id, row):
                continue
            child = self.book.children.get(id)
            places = self.ground.places
            if child is None:
                places.drop(id)
                self._firsts.pop(id, None)
            else:
                anew = known is None or not set(known.births) & set(child.births)
                if anew and child.first == self.ground.me and child.epoch > self.ground.seen:
                    self._firsts[id] = None
                places.put(id, child.spec.start, child.assigned)
                self.ground.heed(child.epoch, now_us)
            self._changed(id, before, now_us)

    def on_owned(self, fact: RowsChanged, now_us: int) -> None:
        """Somebody runs other children, or takes part otherwise."""
        life = fact.owner, fact.incarnation
        for key, value in fact.changes:
            if key == BEGUN:
                self.book.fold_begun(value, life)
                self.statics.heard(now_us)
                continue
            if key == PARTICIPANT:
                known = self.book.participants.get(fact.owner)
                self.book.fold_participant(value, *life)
                self._on_participants(life, known, now_us)
                continue
            id = key[1:]
            before = self._shown(id)
            if self.book.fold_running(key, value, life):
                if (running := self.book.running(id).get(life)) is not None:
                    self.ground.heed(running.epoch, now_us)
                if life != self.ground.me:
                    self._firsts.pop(id, None)
                self._changed(id, before, now_us)

    def _shown(self, id: bytes) -> Shown | None:
        child, running = self.book.children.get(id), self.book.running(id)
        return None if child is None and not running else Shown(child, tuple(running.items()))

    def _changed(self, id: bytes, before: Shown | None, now_us: int) -> None:
        ground = self.ground
        ground.say(Emit(ChildChanged(ground.hub, id, before, self._shown(id))))
        host = ground.places.host(id)
        unplaced = id in self.unplaced or (host is None and id in self.book.children)
        if host == ground.me[0] or unplaced or id in self.hosting.hosted:  # else it is nothing to us
            ground.looks[id] = None
        self.watching.touched(id)
        self.starting.touched(id, now_us)
        self.stopping.touched(id)
        self.statics.touched(id, now_us)
        self.calls.touched(id, now_us)

    def _on_participants(self, life: Origin, known: Participant | None, now_us: int) -> None:
        """Others take part now: what belongs elsewhere is found some each turn."""
        ground, view = self.ground, self.ground.places.view
        before = [(one.site, one.incarnation) for one in view.hosts], [one.site for one in view.others]
        ground.places.see(self.book.participants.values())
        view = ground.places.view
        after = [(one.site, one.incarnation) for one in view.hosts], [one.site for one in view.others]
        self._stable_us = now_us
        ground.alarm("stable", None, now_us + ground.config.stable_us)
        if ground.closing:  # nothing waits for a stable view then
            ground.looks |= dict.fromkeys(self.hosting.hosted)
        if before != after:
            hosts = tuple(one.site for one in view.hosts)
            others = tuple(one.site for one in view.others)
            ground.say(Emit(ParticipantsChanged(ground.hub, hosts, others)))
        if not ground.is_here(life):
            self.calls.gone(life, now_us, left=known is not None and known.draining)
            self.moves.gone(life, now_us)
            self.watching.gone(life)
            if ground.wires.is_over(life):  # one that is only held for down may ask again
                self.hosting.forget(life[0], life[1] + 1)
        elif known is None or known.incarnation != life[1]:
            self.hosting.forget(*life)
        self.agreement.on_view()

    def refused(self, change: SharedWrite, error: CoveyError, now_us: int) -> None:
        """A row could not be written: whoever asked for it hears why."""
        if type(change) is Start:
            self.ground.begun.pop(change.key, None)
            self.starting.refused(change.key, error)
            self.statics.refused(change.key, error, now_us)
            self.calls.failed(change.key, str(error), now_us)
        elif change == self._update[0]:
            self.ground.say(Refuse(self._update[1], error))

    # --- what must be -----------------------------------------------------------------------------------------------

    def look_at_some(self, now_us: int) -> None:
        """Look at some of those that something changed about."""
        ground, places = self.ground, self.ground.places
        self.starting.write_more(now_us)
        most = ground.config.looks_max
        if not places.is_settled:
            ground.looks |= dict.fromkeys(places.look(most))
        for id in list(islice(ground.looks, most)):
            del ground.looks[id]
            self.unplaced.look(id, now_us)
            self._look(id, now_us)
        self.unplaced.say()
        self.moves.begin_some(now_us)

    def _look(self, id: bytes, now_us: int) -> None:
        """Is it to run here, and does it?"""
        ground, book = self.ground, self.book
        child, hosted = book.children.get(id), self.hosting.hosted.get(id)
        if child is None:
            if hosted is not None:
                self.hosting.end(hosted, now_us)
            return
        if hosted is None:
            if ground.places.host(id) == ground.me[0]:
                self._begin(child, now_us)
            return
        if not set(hosted.births) & set(child.births):  # stopped and started again meanwhile
            self.hosting.end(hosted, now_us)
            return
        if hosted.phase is Phase.CLAIMING and self._runs_elsewhere(id):
            self.hosting.end(hosted, now_us)
            return
        if hosted.phase is Phase.FAILED and self.duplicates.gives_way(id):
            self.hosting.end(hosted, now_us)
            return
        self.hosting.serve(hosted, child)
        self.duplicates.look(hosted, now_us)
        self._stay_or_go(child, hosted, now_us)

    def _begin(self, child: Child, now_us: int) -> None:
        ground, id = self.ground, child.id
        if not ground.ready or ground.closing:
            return
        if not ground.is_complete():
            ground.alarm("look", id, now_us + ground.config.announce_us)
            return
        if self.book.running(id) or id in ground.removed:
            return
        self.moves.forget_arrival(id)  # whoever was to hand it over shows that it runs there until it does
        first = id in self._firsts and not child.raised
        self._firsts.pop(id, None)
        hosted = self.hosting.begin(child, first=first)
        self.hosting.run(hosted, child, now_us)
        self.calls.touched(id, now_us)  # who waited for it comes before who asks next

    def _runs_elsewhere(self, id: bytes) -> bool:
        running = self.book.running(id)
        return any(life != self.ground.me and one.state is not rows.State.MOVING for life, one in running.items())

    def _stay_or_go(self, child: Child, hosted: Hosted, now_us: int) -> None:
        """What belongs elsewhere moves, once the view is stable; what cannot move ends."""
        ground = self.ground
        placed = ground.places.host(child.id)
        ours = ground.places.view.config == rows.digest_of(ground.options.settings)
        if ground.closing:
            placed = ground.places.place_anew(child.id)  # what is kept may be of the view in which we stayed
            if placed is None or ground.life_of(placed) is None or self._drains(placed):
                self.hosting.end(hosted, now_us)
                return
        if placed == ground.me[0] or (placed is None and ours):
            self.moves.unwant(child.id)
            return
        if placed is None:
            self.hosting.end(hosted, now_us)
        elif hosted.phase is Phase.CLAIMING and (hosted.state is not None or not hosted.fresh):
            pass  # it has what the copy before left: it runs here again, and then it moves
        elif hosted.phase in (Phase.RESTING, Phase.FAILED, Phase.CLAIMING):
            self.hosting.end(hosted, now_us)
        elif hosted.phase is Phase.RUNNING and hosted.move is None:
            if ground.closing or now_us >= self._stable_us + ground.config.stable_us:
                self.moves.want(child.id)
            else:
                ground.alarm_unless_sooner("stable", None, self._stable_us + ground.config.stable_us)

    def why(self, child: Child, name_of: Callable[[Site | None], str]) -> list[str]:
        """Why a child is where it is, in words."""
        ground, hosted = self.ground, self.hosting.hosted.get(child.id)
        placed, runs = ground.places.host(child.id), self.book.running(child.id)
        reasons: list[str] = []
        if child.assigned is not None:
            reasons.append(f"it is assigned to {name_of(child.assigned)}")
        if placed is None and child.assigned is not None:
            reasons.append("which does not take part")
        elif placed is None:
            reasons.append(f"no node that takes part runs {child.spec.start!r}")
        elif not runs:
            reasons.append(
                f"{name_of(placed)} is to start it" + ("" if hosted is None else f" ({hosted.phase.name.lower()})")
            )
        for (site, _), running in runs.items():
            if running.state is rows.State.STUCK:
                reasons.append(f"{name_of(site)}: it was told to end, and does not: end that process if it never does")
            elif placed is not None and site != placed:
                reasons.append(f"it runs on {name_of(site)}, and moves to {name_of(placed)} once the view is stable")
        if len(runs) > 1:
            reasons.append("it runs more than once: one of them ends")
        if ground.places.view.others:
            others = ", ".join(name_of(one.site) for one in ground.places.view.others)
            reasons.append(f"{others}: another configuration, so nothing is placed there")
        return reasons

    def _drains(self, site: Site) -> bool:
        one = self.book.participants.get(site)
        return one is None or one.draining

    # --- letters ----------------------------------------------------------------------------------------------------

    def _start(self, new: NewChild, now_us: int) -> CoveyError | None:
        """A child that is called and not there is started."""
        birth = self.starting.give_birth(new, now_us)
        return UnknownName(f"{birth.reason}; the call was not delivered") if isinstance(birth, ChildError) else None

    def _answer(self, letter: Letter, kind: int, payload: bytes, host: Site | None) -> None:
        me = self.ground.me
        if letter.sender == me:
            self.calls.answered(letter.number, letter.attempt, kind, payload, host, me, self.ground.now_us)
        elif letter.kind == wire.CALL and letter.sender[0] != me[0]:  # nobody of a life before waits here
            self.ground.answer(letter.sender, letter.number, letter.attempt, kind, payload, host)

    def on_call(self, peer: Origin, call: wire.ChildCall, now_us: int) -> None:
        """A letter for a child that may be here."""
        ground = self.ground
        if call.to != ground.me[1]:
            ground.answer(peer, call.number, call.attempt, wire.ELSEWHERE)
            return
        until_us = now_us + call.left_us - min(call.left_us // 10, ground.config.unread_us)
        letter = Letter(peer, call.number, until_us, call.kind, bytes(call.payload), call.attempt)
        if not self.hosting.deliver(call.id, letter, call.low, now_us, call.mailbox):
            ground.answer(peer, call.number, call.attempt, wire.ELSEWHERE, host=self._where(call.id))

    def _where(self, id: bytes) -> Site | None:
        running = self.book.running(id)
        life = next((life for life in running if life != self.ground.me), None)
        return life[0] if life is not None else self.moves.hints.get(id)

    def on_answer(self, peer: Origin, answer: wire.ChildAnswer, now_us: int) -> None:
        """What became of a letter of ours."""
        if answer.to == self.ground.me[1]:
            self.calls.answered(
                answer.number, answer.attempt, answer.kind, bytes(answer.payload), answer.host, peer, now_us
            )

    def _tell_author(self, place: Place, error: str, author: Origin, now_us: int) -> None:
        if author == self.ground.me:
            self._ended(place, error, now_us)
        else:
            said = place.running
            message = wire.Ended(self.ground.hub, place.id, said.instance, said.epoch, error, said.birth)
            self.ground.send(author[0], message, len(error) + 96)

    def on_ended(self, peer: Origin, message: wire.Ended, now_us: int) -> None:
        """A child that we started has ended elsewhere."""
        running = rows.Running(message.epoch, message.instance, rows.State.RUNNING, birth=message.birth)
        self._ended(Place(message.id, peer, running), message.error, now_us)

    def _ended(self, place: Place, error: str, now_us: int) -> None:
        self.starting.ended(place, error)
        self.statics.ended(place, error, now_us)
        if error:
            self.calls.failed(place.id, f"the child failed as it started: {error}", now_us)

    def update(self, command: UpdateChild) -> None:
        """Say something else of a child."""
        if command.id not in self.book.children:
            raise UnknownName("there is no such child; nothing was changed")
        self._update = Put(command.id, META, command.meta), command.request
        self.ground.put(command.id, META, command.meta)

    # --- the world --------------------------------------------------------------------------------------------------

    def on_started(self, fact: c.ChildStarted, now_us: int) -> None:
        """A copy runs."""
        self.hosting.on_started(fact, now_us)
        hosted = self.hosting.of(fact.copy)
        if hosted is not None:
            self.moves.confirm(hosted)
            self.ground.looks[hosted.id] = None

    def on_exited(self, fact: c.ChildExited, now_us: int) -> None:
        """A copy has ended, or could not be built."""
        if self.hosting.of(fact.copy) is None:
            self.moves.on_exited(fact)
        else:
            self.hosting.on_exited(fact, now_us)
            self.ground.looks[fact.copy.id] = None

    def on_stable(self) -> None:
        """The view has been the same for a while: what belongs elsewhere may go there."""
        self.agreement.on_stable()
        self.ground.looks |= dict.fromkeys(self.hosting.hosted)
