"""A child moves: built there, ended here, run there, with the state it left and the letters it had not taken.

    here                                        there
    Prepare ──────────────────────────────────▶ PrepareChild
    AskHandover ◀────────────────── Prepared ── ChildPrepared
    ChildExited: HandoverPart …, Handover ────▶ StartChild
    our row goes ◀────────────────HandedOver ── ChildStarted: its row comes

Until the other side says that it runs, what the child left is ours: if that fails, or its host goes, it is run here
again, or moved elsewhere. A duplicate goes the same way to the copy that stays, which runs already.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from covey.core import children as c
from covey.core.errors import invariant
from covey.core.ids import Origin, Site
from covey.core.vocabulary import Emit
from covey.protocols.registry.calls import Calls
from covey.protocols.registry.copies import Hosted, Move, Phase
from covey.protocols.registry.ground import Ground
from covey.protocols.registry.hosting import Hosting
from covey.protocols.registry.mailbox import Letter, Reply
from covey.protocols.registry.placement import can_run
from covey.protocols.registry.rows import Child
from covey.protocols.registry.vocabulary import MoveFailed
from covey.wire.messages import registry as wire

PART_BYTES = 65_536
ITEM_BYTES = 96  # of a letter or an answer around its payload, about


class Arriving:
    """A child that was built here and does not run yet. Only its former host can say whether it will.

    Or a duplicate of one that runs here: that one is not built.
    """

    __slots__ = ("built", "bytes", "copy", "id", "is_too_much", "parts")

    def __init__(self, id: bytes) -> None:
        self.id = id
        self.copy: c.Copy | None = None
        self.built = False
        self.parts: dict[int, wire.HandoverPart] = {}
        self.bytes = 0  # of these
        self.is_too_much = False  # what its former host sends: nothing is kept of it


Key = tuple[Origin, int]
"""A move: the life of the former host, and its number there."""


class Moves:
    """Children on their way from here and to here.

    Law: of a child that moves at most one copy runs; what it left is held by one side at least until the other runs.
    Invariants: who moves is hosted here, and within the bound; what arrives has a former host that is here.
    """

    def __init__(self, ground: Ground, hosting: Hosting, calls: Calls) -> None:
        self._ground = ground
        self._hosting = hosting
        self._calls = calls
        hosting.left = self._on_left
        hosting.cancel = self._cancel
        hosting.turn_back = self._turn_back
        self._wanted: dict[bytes, None] = {}  # belong elsewhere; not begun
        self._under_way: dict[int, bytes] = {}
        self._arriving: dict[Key, Arriving] = {}
        self._done: dict[Key, str | None] = {}  # what was answered to a handover; None: taken, and it does not run yet
        self.hints: dict[bytes, Site] = {}  # where children went that were here
        self.counts = dict.fromkeys(("moved", "arrived", "move_failed"), 0)

    def __len__(self) -> int:
        return len(self._under_way)

    def check(self) -> None:
        """Every invariant."""
        for number, id in self._under_way.items():
            hosted = self._hosting.hosted.get(id)
            moves = hosted is not None and hosted.move is not None and hosted.move.number == number
            invariant(moves, "who moves is hosted here")
        most = max(self._ground.config.leaving_moves_max, self._ground.config.moves_max)
        invariant(len(self._arriving) <= self._ground.config.arriving_max, "what arrives is bounded")
        here = all(self._ground.is_here(key[0]) for key in self._arriving)
        invariant(here, "what arrives has a former host that is here")
        for arriving in self._arriving.values():
            size = sum(_size(part) for part in arriving.parts.values())
            invariant(arriving.bytes == size, "bytes counts what has arrived")
        invariant(len(self._under_way) <= most + len(self._hosting.hosted), "moves are bounded")

    # --- here -------------------------------------------------------------------------------------------------------

    def want(self, id: bytes) -> None:
        """It belongs elsewhere: move it when there is room."""
        self._wanted[id] = None

    def unwant(self, id: bytes) -> None:
        """It belongs here."""
        self._wanted.pop(id, None)

    def begin_some(self, now_us: int) -> None:
        """Begin as many moves as may be under way at one time."""
        config = self._ground.config
        most = config.leaving_moves_max if self._ground.closing else config.moves_max
        for id in list(self._wanted):
            if len(self._under_way) >= most:
                return
            del self._wanted[id]
            hosted = self._hosting.hosted.get(id)
            if hosted is None or hosted.phase is not Phase.RUNNING or hosted.move is not None:
                continue
            target = self._target(id)
            refused, until_us = hosted.refused or (None, 0)
            if target is not None and (target != refused or now_us >= until_us):
                self._prepare(hosted, target, now_us)

    def _target(self, id: bytes) -> Origin | None:
        """Who is to run it, if that is somebody else who stays."""
        ground = self._ground
        site = ground.places.host(id)
        life = None if site is None or site == ground.me[0] else ground.life_of(site)
        return None if life is None or ground.book.participants[life[0]].draining else life

    def _begin(self, hosted: Hosted, target: Origin, merges: bool) -> Move:
        move = hosted.move = Move(self._ground.wires.number(), target, merges)
        self._under_way[move.number] = hosted.id
        return move

    def _prepare(self, hosted: Hosted, target: Origin, now_us: int) -> None:
        ground = self._ground
        move = self._begin(hosted, target, False)
        ground.send(target[0], wire.Prepare(ground.hub, move.number, hosted.id))
        ground.alarm("move", move.number, now_us + ground.config.prepare_us)

    def yield_to(self, hosted: Hosted, winner: Origin, now_us: int) -> None:
        """It runs twice, and the other copy stays: end ours, and send there what it leaves."""
        if hosted.move is not None:
            self._cancel(hosted)
        self._hosting.tell_ended(hosted, "duplicate", winner[0])
        self._hosting.ask_to_leave(hosted, self._begin(hosted, winner, True))

    def on_prepared(self, peer: Origin, message: wire.Prepared, now_us: int) -> None:
        """It is built there, or cannot be."""
        hosted = self._of(message.move, peer)
        if hosted is None or hosted.move is None or hosted.phase is not Phase.RUNNING:
            return
        self._ground.cancel("move", message.move)
        if message.error:
            self._fail(hosted, message.error, now_us)
        else:
            self._hosting.ask_to_leave(hosted, hosted.move)

    def _of(self, number: int, peer: Origin) -> Hosted | None:
        hosted = self._hosting.hosted.get(self._under_way.get(number, b""))
        return hosted if hosted is not None and hosted.move is not None and hosted.move.target == peer else None

    def _cancel(self, hosted: Hosted) -> None:
        if hosted.move is not None:
            self._ground.cancel("move", hosted.move.number)
            self._under_way.pop(hosted.move.number, None)
            hosted.move = None

    def _fail(self, hosted: Hosted, error: str, now_us: int) -> None:
        """It stays here for now, and is tried again later."""
        ground = self._ground
        assert hosted.move is not None
        self.counts["move_failed"] += 1
        target = hosted.move.target
        ground.say(Emit(MoveFailed(ground.hub, hosted.id, target[0], error)))
        self._cancel(hosted)
        # Each attempt may cost the child its time, so it stays for a while, even if it is looked at meanwhile.
        hosted.refused = target, now_us + (ground.config.retry_us if ground.closing else ground.config.prepare_us)
        ground.alarm("retry", hosted.id, hosted.refused[1])
        if hosted.phase is Phase.SENDING:
            hosted.mailbox.renew(ground.draw())  # it may run there all the same, with all that was sent
            self._hosting.run_again(hosted, now_us)

    def _on_left(self, hosted: Hosted, now_us: int) -> None:
        """A copy that was to leave has ended; or one that had come here failed as it started."""
        ground = self._ground
        if hosted.arrived is not None and hosted.phase is Phase.STARTING:
            self._refuse_arrival(hosted, now_us)
            return
        move = hosted.move
        assert move is not None
        if move.number not in self._under_way or not ground.is_here(move.target):
            self._cancel(hosted)
            self._hosting.run_again(hosted, now_us)
            return
        if hosted.state is not None and len(hosted.state) > ground.config.state_bytes_max:
            hosted.phase = Phase.SENDING
            size = f"{len(hosted.state)} bytes of state, at most {ground.config.state_bytes_max} travel"
            self._fail(hosted, size, now_us)
            return
        hosted.phase = Phase.SENDING
        if not move.merges:
            self._hosting.announce(hosted)
        elif hosted.announced is not None:  # it is one too many: its end is shown at once
            self._hosting.hide(hosted)
        move.freed = self._hosting.free(hosted.id)
        self.say(move.number, now_us)

    def say(self, number: int, now_us: int) -> None:
        """Send all that a child left, again and again until the other side runs it."""
        ground = self._ground
        hosted = self._hosting.hosted.get(self._under_way.get(number, b""))
        if hosted is None or (move := hosted.move) is None:
            return
        if hosted.phase is Phase.RUNNING:
            self._fail(hosted, "it was not built there in time", now_us)
            return
        if hosted.phase is not Phase.SENDING:
            return
        ground.alarm("move", number, now_us + ground.config.retry_us)
        if move.parts is None:
            move.parts = self._parts(hosted, number, now_us)
        for part in move.parts:
            ground.send(move.target[0], part, PART_BYTES)
        state, names = hosted.state, hosted.mailbox.names
        message = wire.Handover(
            ground.hub, number, hosted.id, hosted.epoch, state, move.merges, move.freed, len(move.parts), names
        )
        ground.send(move.target[0], message, len(state or b"") + 128)

    def _parts(self, hosted: Hosted, number: int, now_us: int) -> list[wire.HandoverPart]:
        hub, id = self._ground.hub, hosted.id
        items: list[wire.Carried | wire.Answered] = []
        for letter in hosted.mailbox.queue.values():
            left_us = letter.until_us - now_us
            if left_us > 0:
                raw = msgspec.Raw(letter.payload)
                items.append(wire.Carried(letter.sender, letter.number, letter.attempt, left_us, letter.kind, raw))
        left = self._ground.config.answers_bytes_max
        for (sender, number_), reply in hosted.mailbox.answers(now_us):
            left -= len(reply.payload)
            kind, payload = (reply.kind, reply.payload or wire.NIL) if left >= 0 else (wire.GONE, wire.NIL)
            left_us = max(reply.until_us - now_us, 0)
            items.append(wire.Answered(sender, number_, left_us, kind, msgspec.Raw(payload)))
        parts: list[wire.HandoverPart] = []
        some: list[wire.Carried | wire.Answered] = []
        size = 0
        for item in [*items, None]:
            if some and (item is None or size >= PART_BYTES or len(some) >= wire.LETTERS_MAX):
                letters = tuple(one for one in some if isinstance(one, wire.Carried))
                answered = tuple(one for one in some if isinstance(one, wire.Answered))
                parts.append(wire.HandoverPart(hub, number, id, len(parts), letters, answered))
                some, size = [], 0
            if item is not None:
                some.append(item)
                size += len(item.payload) + ITEM_BYTES
        return parts

    def on_handed_over(self, peer: Origin, message: wire.HandedOver, now_us: int) -> None:
        """It runs there; or it does not, and is ours again."""
        hosted = self._of(message.move, peer)
        if hosted is None or hosted.move is None or hosted.phase is not Phase.SENDING:
            return
        if message.error and not hosted.move.merges:
            self._fail(hosted, message.error, now_us)
            return
        self.counts["moved"] += 1
        ground = self._ground
        for letter in hosted.mailbox.empty():
            if letter.sender == ground.me:
                self._calls.moved(letter.number, peer, now_us)
        self.hints.pop(hosted.id, None)
        self.hints[hosted.id] = peer[0]
        if len(self.hints) > ground.config.hints_max:
            del self.hints[next(iter(self.hints))]
        self._hosting.drop(hosted, peer[0])

    def gone(self, life: Origin, now_us: int) -> None:
        """A host is over or held for down: what was on its way there is ours again, what it was to send never comes."""
        for number, id in list(self._under_way.items()):
            hosted = self._hosting.hosted[id]
            if hosted.move is not None and hosted.move.target == life:
                if hosted.phase is Phase.LEAVING:
                    del self._under_way[number]  # seen once it has ended
                else:
                    self._fail(hosted, "its new host went away", now_us)
        for key in [key for key in self._arriving if key[0] == life]:
            self._drop_arriving(key)
        for key in [key for key in self._done if key[0] == life]:
            del self._done[key]

    # --- there ------------------------------------------------------------------------------------------------------

    def on_prepare(self, peer: Origin, message: wire.Prepare, now_us: int) -> None:
        """A child is to come here: build it."""
        ground, key = self._ground, (peer, message.move)
        child = ground.book.children.get(message.id)
        why = ""
        if child is None:
            why = "no such child is known there yet"
        elif not ground.is_here(peer):
            why = "who runs it is not shown there"
        elif ground.closing:
            why = "it leaves"
        elif len(self._arriving) >= ground.config.arriving_max:
            why = "too many are on their way there"
        elif message.id in self._hosting.hosted:
            why = "it runs there already"
        elif not can_run(ground.options.starts, child.spec.start):
            why = f"it does not run {child.spec.start!r}"
        if why or child is None:
            ground.send(peer[0], wire.Prepared(ground.hub, message.move, message.id, why))
            return
        if key in self._arriving:
            return
        arriving = self._arriving[key] = Arriving(message.id)
        arriving.copy = self._hosting.copy(message.id)
        ground.say(c.PrepareChild(arriving.copy, child.spec.start, child.spec.arguments))
        ground.alarm("arriving", key, now_us + 2 * ground.config.prepare_us + child.spec.shutdown_us)

    def forget_arrival(self, id: bytes) -> None:
        """A child was about to come here, and does not: its former host has none any more."""
        for key in [key for key, arriving in self._arriving.items() if arriving.id == id]:
            self._drop_arriving(key)
        self._ground.looks.pop(id, None)

    def _of_copy(self, copy: c.Copy) -> Key | None:
        return next((key for key, arriving in self._arriving.items() if arriving.copy == copy), None)

    def on_built(self, fact: c.ChildPrepared) -> None:
        """It is built."""
        key = self._of_copy(fact.copy)
        if key is not None:
            self._arriving[key].built = True
            self._ground.send(key[0][0], wire.Prepared(self._ground.hub, key[1], fact.copy.id, ""))

    def on_exited(self, fact: c.ChildExited) -> None:
        """It could not be built."""
        key = self._of_copy(fact.copy)
        if key is not None:
            del self._arriving[key]
            self._ground.cancel("arriving", key)
            self._ground.looks[fact.copy.id] = None
            error = (fact.error or "it could not be built")[: wire.TEXT_MAX]
            self._ground.send(key[0][0], wire.Prepared(self._ground.hub, key[1], fact.copy.id, error))

    def arriving_late(self, key: Key) -> None:
        """Nothing was heard of it for long."""
        self._drop_arriving(key)

    def _drop_arriving(self, key: Key) -> None:
        arriving = self._arriving.pop(key, None)
        self._ground.cancel("arriving", key)
        if arriving is not None:
            if arriving.copy is not None:
                self._ground.say(c.StopChild(arriving.copy, 0))
            self._ground.looks[arriving.id] = None

    def on_part(self, peer: Origin, message: wire.HandoverPart, now_us: int) -> None:
        """Some of what it left. Nothing is kept that is not awaited, nor more of one node than has room."""
        ground, key = self._ground, (peer, message.move)
        if key in self._done:
            return
        arriving = self._arriving.get(key)
        if arriving is None:
            has_room = len(self._arriving) < ground.config.arriving_max
            if message.id not in self._hosting.hosted or not ground.is_here(peer) or not has_room:
                return  # if it is a duplicate, it is said again
            arriving = self._arriving[key] = Arriving(message.id)
            ground.alarm("arriving", key, now_us + 2 * ground.config.prepare_us)
        if arriving.is_too_much or message.part in arriving.parts or message.id != arriving.id:
            return
        size = _size(message)
        if size + sum(one.bytes for (life, _), one in self._arriving.items() if life == peer) > (
            ground.config.arriving_bytes_max
        ):
            arriving.is_too_much, arriving.bytes = True, 0
            arriving.parts.clear()
            return
        arriving.parts[message.part] = message
        arriving.bytes += size

    def on_handover(self, peer: Origin, message: wire.Handover, now_us: int) -> None:
        """It has ended there: run it here, with all that it left."""
        ground, key = self._ground, (peer, message.move)
        if key in self._done:
            if (answered := self._done[key]) is not None:
                ground.send(peer[0], wire.HandedOver(ground.hub, message.move, message.id, answered))
            return
        child, hosted = ground.book.children.get(message.id), self._hosting.hosted.get(message.id)
        arriving = self._arriving.get(key)
        if arriving is not None and arriving.id != message.id:
            return
        error = ""
        if message.merges:
            if not ground.is_here(peer):
                return
        elif child is None:
            error = "no such child is known there"
        elif arriving is None:
            error = "it is not awaited there any more"
        elif arriving.is_too_much:
            error = "it leaves more than has room there"
        elif ground.closing or hosted is not None or not can_run(ground.options.starts, child.spec.start):
            error = "it cannot run there any more"
        if error:
            self._settle(key, message.id, error)
            self._drop_arriving(key)
            return
        parts = {} if arriving is None else arriving.parts
        is_lost = message.merges and (hosted is None or (arriving is not None and arriving.is_too_much))
        if len(parts) < message.parts and not is_lost:
            return  # it is said again
        self._arriving.pop(key, None)
        ground.cancel("arriving", key)
        if message.merges:
            self._merge(key, message, hosted, parts, now_us)
        elif child is not None and arriving is not None:
            self._run(key, message, child, arriving, now_us)

    def _run(self, key: Key, message: wire.Handover, child: Child, arriving: Arriving, now_us: int) -> None:
        copy = arriving.copy if arriving.built else None
        if arriving.copy is not None and copy is None:
            self._ground.say(c.StopChild(arriving.copy, 0))
        hosted = self._hosting.begin(child, copy=copy)
        hosted.arrived, hosted.state, hosted.epoch = key, message.state, message.epoch
        hosted.mailbox.names = message.mailboxes or hosted.mailbox.names
        self._remember(key, None)
        for letter in self._left(hosted, arriving.parts, now_us):
            hosted.carried[letter.key] = letter.attempt
            hosted.mailbox.put(letter, 0, now_us)
        self.counts["arrived"] += 1
        self._hosting.run(hosted, child, now_us, message.freed)

    def _left(self, hosted: Hosted, parts: dict[int, wire.HandoverPart], now_us: int) -> Iterator[Letter]:
        """The letters that were left, once what was answered is known."""
        for at in sorted(parts):
            for known in parts[at].answered:
                reply = Reply(known.kind, bytes(known.payload), now_us + known.left_us)
                hosted.mailbox.know((known.sender, known.number), reply)
        for at in sorted(parts):
            for one in parts[at].letters:
                until_us, payload = now_us + one.left_us, bytes(one.payload)
                yield Letter(one.sender, one.number, until_us, one.kind, payload, one.attempt)

    def _merge(
        self, key: Key, message: wire.Handover, hosted: Hosted | None, parts: dict[int, wire.HandoverPart], now_us: int
    ) -> None:
        """A duplicate has ended for ours: its letters are ours, and what both left may be made one."""
        self._ground.looks[message.id] = None
        if hosted is not None:
            for letter in self._left(hosted, parts, now_us):
                if not self._hosting.deliver(hosted.id, letter, 0, now_us):
                    self._hosting.turn_away(letter)
            if len(parts) >= message.parts:
                hosted.mailbox.join(message.mailboxes)
            self._hosting.raise_token(hosted, message.epoch, now_us)
            if hosted.announced is not None:
                self._hosting.announce(hosted)
            if message.state is not None and self._ground.options.resolves and hosted.phase is Phase.RUNNING:
                self._cancel(hosted)
                self._hosting.ask_to_merge(hosted, message.state)
        self._settle(key, message.id, "")

    def _remember(self, key: Key, error: str | None) -> None:
        self._done[key] = error
        if len(self._done) > self._ground.config.hints_max:
            del self._done[next(iter(self._done))]

    def _settle(self, key: Key, id: bytes, error: str) -> None:
        """Tell the former host, now and whenever it asks again."""
        self._remember(key, error)
        self._ground.send(key[0][0], wire.HandedOver(self._ground.hub, key[1], id, error))

    def confirm(self, hosted: Hosted) -> None:
        """It runs here: its former host can forget it."""
        if hosted.arrived is not None:
            key, hosted.arrived = hosted.arrived, None
            hosted.state = None
            hosted.carried.clear()
            self._settle(key, hosted.id, "")

    def _turn_back(self, hosted: Hosted) -> None:
        """It does not run here: its former host, which still has all that it left, runs it."""
        assert hosted.arrived is not None
        key, hosted.arrived = hosted.arrived, None
        error = (hosted.error.strip().rsplit("\n", 1)[-1] or "it was ended before it ran")[: wire.TEXT_MAX]
        self._settle(key, hosted.id, error)

    def _refuse_arrival(self, hosted: Hosted, now_us: int) -> None:
        """It failed as it started. Where its former host is gone, nobody else has what it left."""
        assert hosted.arrived is not None
        life = hosted.arrived[0]
        if self._ground.is_here(life):
            self._hosting.drop(hosted, life[0])
        else:
            hosted.carried.clear()
            self._hosting.run_again(hosted, now_us)


def _size(part: wire.HandoverPart) -> int:
    """What a part costs to keep, about."""
    payloads = [one.payload for one in part.letters] + [one.payload for one in part.answered]
    return ITEM_BYTES + sum(len(payload) + ITEM_BYTES for payload in payloads)
