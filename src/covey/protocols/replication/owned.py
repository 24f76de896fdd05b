"""Owned rows, kept alike: each operation of an owner goes to all holders once, and what did not arrive is found.

WriteRows ─▶ the table ─▶ OwnedOps to every holder, at the end of the turn
digests differ ─▶ OwnedPositions both ways ─▶ OwnedPull ─▶ OwnedOps … or, where no log goes back so far, OwnedPart …
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from covey.core.errors import Overloaded, invariant
from covey.core.ids import Site
from covey.core.timers import Timers
from covey.core.vocabulary import Channel, WantTurn
from covey.protocols.replication.anew import Anew
from covey.protocols.replication.audience import Audience
from covey.protocols.replication.config import ReplicationConfig
from covey.protocols.replication.facts import Facts
from covey.protocols.replication.logs import Logs
from covey.protocols.replication.pieces import operations_in_pieces, positions_in_pieces
from covey.protocols.replication.pulls import Pull, Pulls
from covey.protocols.replication.tellings import Tellings
from covey.rows.owned import OwnedTable, Position
from covey.rows.owner import Change, change_bytes
from covey.wire.messages.rows import SEQ_MAX, OwnedOps, OwnedPart, OwnedPositions, OwnedPull

Effect = Any


class Owned:
    """The owned rows of all instances that are held here, and what is asked of other holders.

    `changed` is told what is shown otherwise. Invariants: those of the tables and the pulls; what waits for the end of
    the turn is ours.
    """

    def __init__(
        self,
        config: ReplicationConfig,
        timers: Timers[tuple[Any, ...]],
        audience: Audience,
        facts: Facts,
        changed: Callable[..., list[Effect]],
    ) -> None:
        self._config = config
        self._audience = audience
        self._facts = facts
        self._changed = changed
        self.pulls = Pulls(config, timers)
        self._tellings = Tellings(config)
        self.tables: dict[bytes, OwnedTable] = {}
        self.logs = Logs(config, self.tables, audience)
        self._checked: dict[bytes, tuple[int, ...]] = {}  # as they were when they were checked last
        self.anew = Anew()
        self._unsaid: dict[bytes, tuple[int, list[Change]]] = {}  # instance: (first, operations) of this turn
        self.counts = dict.fromkeys(("pushed", "applied", "gaps", "parts", "early", "overfull", "put_off"), 0)
        self.handlers: dict[type, Callable[[Site, Any, int], list[Effect]]] = {
            OwnedOps: self._on_ops,
            OwnedPull: self._on_pull,
            OwnedPart: self._on_part,
            OwnedPositions: self._on_positions,
        }

    def check(self) -> None:
        """Every invariant."""
        me = self._audience.me
        for instance, table in self.tables.items():
            if self._checked.get(instance) != table.stamp:  # to look at all rows after every step would take for ever
                table.check()
                self._checked[instance] = table.stamp
            invariant(table.knows(me.site, me.incarnation), "our own rows are those of this life")
            invariant(instance not in self._unsaid or bool(self._unsaid[instance][1]), "what waits is something")
        self.anew.check()
        self._tellings.check()
        self.logs.check()
        self.pulls.check()

    # --- our own rows -----------------------------------------------------------------------------------------------

    def write(self, instance: bytes, changes: list[Change]) -> list[Effect]:
        """Operations of our own: applied at once, pushed when the turn ends."""
        size = self.tables[instance].bytes_of(self._audience.me.site) + sum(map(change_bytes, changes))
        size += self.anew.bytes_of(instance)
        if size > self._config.owner_bytes_max and any(value is not None for _, value in changes):
            raise Overloaded(
                f"this node's rows in {instance!r} would take {size} bytes, the bound is "
                f"{self._config.owner_bytes_max}; nothing was written: remove some"
            )
        self.anew.overtaken(instance, changes)
        return self._write(instance, changes)

    def _write(self, instance: bytes, changes: list[Change]) -> list[Effect]:
        table, me = self.tables[instance], self._audience.me
        first = table.position(me.site).seq + 1
        changed = table.apply(me.site, first, changes)
        assert changed is not None
        effects: list[Effect] = [] if self._unsaid else [WantTurn()]
        self._unsaid.setdefault(instance, (first, []))[1].extend(changes)
        return effects + self._changed(instance, me.site, me.incarnation, changed, at_once=True)

    def new_life(self) -> None:
        """Nothing of the life before is pushed any more; put its rows into `anew`, and then call `write_anew`."""
        self._unsaid.clear()

    def write_anew(self) -> list[Effect]:
        """Some of what is to be written again; the rest at the ends of the next turns."""
        effects: list[Effect] = []
        for instance, rows in self.anew.next(self._config.changes_max):
            effects += self._write(instance, rows)
        return [*effects, WantTurn()] if self.anew else effects

    def on_turn_ended(self, now_us: int) -> list[Effect]:
        """What was done in this turn goes to all who hold it."""
        self._tellings.expire(now_us)
        effects = [*self.logs.on_turn_ended(), *self.write_anew()]
        me = self._audience.me
        unsaid, self._unsaid = self._unsaid, {}
        for instance, (first, ops) in unsaid.items():
            for at, chunk in operations_in_pieces(ops, self._config.bytes_aim):
                message = OwnedOps(instance, me.site, me.incarnation, first + at, tuple(chunk), False)
                self.counts["pushed"] += 1
                effects += self._audience.push(instance, message, me.site, None)
        return effects

    # --- others' rows -----------------------------------------------------------------------------------------------

    def _on_ops(self, peer: Site, message: OwnedOps, now_us: int) -> list[Effect]:
        table, owner = self._table(message), message.owner
        if table is None or message.first + len(message.ops) > SEQ_MAX:
            return []
        if self._facts.full:  # as if it were lost: the next digest asks for it
            self.counts["put_off"] += 1
            return []
        pull = self.pulls.get(message.instance, owner)
        if pull is not None and pull.holder != peer:
            pull = None
        if pull is not None and pull.staged and message.first == pull.next_seq:
            return self._on_tail(table, pull, message, now_us)
        if self._overfull(table.bytes_of(owner) + sum(map(change_bytes, message.ops))):
            return self.end_pull(message.instance, owner)
        before = table.position(owner).seq
        changes = table.apply(owner, message.first, message.ops)
        if changes is None:
            self.counts["gaps"] += 1
            return self._pull(message.instance, owner, peer, now_us)
        after = table.position(owner).seq
        self.counts["applied"] += after - before
        effects = self._changed(message.instance, owner, message.incarnation, changes)
        if pull is not None and message.first == pull.after + 1:  # the answer, or as good as that
            self.end_pull(message.instance, owner)
            if message.more:
                effects += self._pull(message.instance, owner, peer, now_us)
        elif after > before:
            self.counts["pushed"] += 1
            effects += self._audience.push(message.instance, message, owner, peer)
        return effects

    def _overfull(self, size: int) -> bool:
        """Whether an owner has more rows than anybody may: then no more of them are taken."""
        full = size > 2 * self._config.owner_bytes_max  # operations count whole, whatever they replace
        self.counts["overfull"] += full
        return full

    def _table(self, message: OwnedOps | OwnedPart | OwnedPull) -> OwnedTable | None:
        """Where a message belongs, if the life it is about counts here; what is said of ourselves we know better."""
        table = self.tables.get(message.instance)
        if table is None:
            return None
        if not table.knows(message.owner, message.incarnation):
            self.counts["early"] += 1
            return None
        if message.owner == self._audience.me.site and type(message) is not OwnedPull:
            return None
        return table

    def _pull(self, instance: bytes, owner: Site, holder: Site, now_us: int) -> list[Effect]:
        """Ask one holder for what is missing of one owner, unless that is under way."""
        if instance in self._audience.driven or self.pulls.get(instance, owner) is not None or self.pulls.full:
            return []
        position = self.tables[instance].position(owner)
        self.pulls.begin(instance, owner, holder, position.seq, now_us)
        return [self._audience.send(holder, OwnedPull(instance, owner, position.incarnation, position.seq))]

    def _on_pull(self, peer: Site, pull: OwnedPull, now_us: int) -> list[Effect]:
        table = self._table(pull)
        if table is None or pull.after > (position := table.position(pull.owner)).seq:
            return []
        if not pull.parts:
            ops = table.after(pull.owner, pull.after, self._config.bytes_aim)
            if ops is not None:
                more = pull.after + len(ops) < position.seq
                answer = OwnedOps(pull.instance, pull.owner, pull.incarnation, pull.after + 1, tuple(ops), more)
                return [self._audience.send(peer, answer)]
        self.counts["parts"] += 1
        told = self._tellings.part(table, peer, pull, now_us)
        if told is None:
            return []
        cursor, (rows, last) = told
        part = OwnedPart(pull.instance, pull.owner, pull.incarnation, position.seq, cursor, tuple(rows), last)
        return [self._audience.send(peer, part)]

    def _on_part(self, peer: Site, part: OwnedPart, now_us: int) -> list[Effect]:
        """A whole owner arrives, because its log does not go back to where we are."""
        table, owner = self._table(part), part.owner
        pull = self.pulls.get(part.instance, owner)
        if table is None or pull is None or pull.holder != peer:
            return []
        staging = table.stage(owner, part.seq, part.cursor, part.rows)
        if staging is None:
            return []  # told twice, or late; the right one comes, or the pull's time ends
        if self._overfull(staging.told):
            return self.end_pull(part.instance, owner)
        base, pull.staged = staging.base, False
        if not part.last:
            if not part.rows:
                return self.end_pull(part.instance, owner)
            self.pulls.renew(pull, now_us)
            return [
                self._audience.send(peer, OwnedPull(part.instance, owner, part.incarnation, base, True, staging.cursor))
            ]
        self.pulls.renew(pull, now_us)
        pull.stage(base, staging.until)
        if staging.until == base:
            return self._finish(table, pull, part.incarnation)
        return [self._audience.send(peer, OwnedPull(part.instance, owner, part.incarnation, base))]

    def _on_tail(self, table: OwnedTable, pull: Pull, message: OwnedOps, now_us: int) -> list[Effect]:
        """What the owner did while its rows were told, in order behind the first part, at least up to the last."""
        pull.follow(message.ops)
        if self._overfull(pull.tail_bytes):
            return self.end_pull(pull.instance, pull.owner)
        if message.more or pull.next_seq <= pull.until:
            if not message.ops:
                return self.end_pull(pull.instance, pull.owner)  # it had more before, and has it no more
            self.pulls.renew(pull, now_us)
            after = pull.next_seq - 1
            return [self._audience.send(pull.holder, OwnedPull(pull.instance, pull.owner, message.incarnation, after))]
        return self._finish(table, pull, message.incarnation)

    def _finish(self, table: OwnedTable, pull: Pull, incarnation: int) -> list[Effect]:
        changes = table.finish(pull.owner, pull.tail)
        self.pulls.end(pull.instance, pull.owner)
        return self._changed(pull.instance, pull.owner, incarnation, changes)

    def end_pull(self, instance: bytes, owner: Site) -> list[Effect]:
        """It is answered; or this holder does not answer, or not to the point: the next digest finds another."""
        self.pulls.end(instance, owner)
        if instance in self.tables:
            self.tables[instance].unstage(owner)
        return []

    # --- comparing --------------------------------------------------------------------------------------------------

    def compare(self, peer: Site, told: list[tuple[bytes, list[Position]]], answer: bool) -> list[Effect]:
        """Tell positions, in as many messages as it takes."""
        messages = positions_in_pieces(told, self._config.positions_max)
        return [self._audience.send(peer, OwnedPositions(tuple(some), answer), Channel.CONTROL) for some in messages]

    def _on_positions(self, peer: Site, message: OwnedPositions, now_us: int) -> list[Effect]:
        """Ask for what the peer has more of, and tell what we have more of."""
        effects: list[Effect] = []
        ours: list[tuple[bytes, list[Position]]] = []
        for instance, positions in message.instances:
            table = self.tables.get(instance)
            if table is None:
                continue
            theirs = {(owner, incarnation): seq for owner, incarnation, seq in positions}
            for (owner, incarnation), seq in theirs.items():
                known = owner != self._audience.me.site and table.knows(owner, incarnation)
                if known and seq > table.position(owner).seq:
                    effects += self._pull(instance, owner, peer, now_us)
            more = [p for p in table.positions() if p.seq > theirs.get((p.owner, p.incarnation), 0)]
            if more and message.answer:
                ours.append((instance, more))
        return effects + self.compare(peer, ours, False)

    # --- ends -------------------------------------------------------------------------------------------------------

    def unlink(self, peer: Site) -> None:
        """Nothing that this holder was asked for will be answered, and it asks for nothing more."""
        self._tellings.end(lambda _, other: other == peer)
        for pull in self.pulls.of_holder(peer):
            self.end_pull(pull.instance, pull.owner)

    def close(self, instance: bytes) -> OwnedTable:
        """This node does not hold an instance any more."""
        self._unsaid.pop(instance, None)
        self.anew.close(instance)
        self._tellings.end(lambda held, _: held == instance)
        for owner in self.pulls.owners(instance):
            self.pulls.end(instance, owner)
        self.logs.close(instance)
        return self.tables.pop(instance)
