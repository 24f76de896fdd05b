"""Instances of which somebody else says when and to whom rows travel, and of which this machine pushes, compares and
asks for nothing.

What is done here goes to who drives it as `RowsToTell`; what others did comes back in `TakeOperations`, and what they
know in `TakeRows`. It is applied as everywhere else: an owner's operations in order and its rows whole, shared rows by
dots. So whatever comes how often and how late, nothing is undone, and nothing goes because it was not mentioned.

What arrives before what belongs in front of it waits a little (`Ahead`): who passes things on at random turns them
round. What never comes is told whole, the next time that somebody tells all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, assert_never

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.core.rows import TakeOperations, TakeRows
from covey.protocols.replication.audience import Audience
from covey.protocols.replication.config import ReplicationConfig
from covey.protocols.replication.exchanges import changed
from covey.protocols.replication.facts import Facts
from covey.protocols.replication.owned import Owned
from covey.protocols.replication.pieces import INTERVAL_BYTES, operations_in_pieces, tellable
from covey.protocols.replication.shared import Shared
from covey.rows import whole
from covey.rows.dots import DotSet
from covey.rows.owned import Position
from covey.rows.owner import Change, change_bytes
from covey.rows.reconciling import bring_to_life
from covey.rows.shared import BUCKETS, Place, SharedTable
from covey.wire.messages.registry import WholeKnown, WholeOwner, WholeRows
from covey.wire.messages.rows import OwnedOps

ENTRY_BYTES = 96  # of a row in a message, besides its key and value, about

Effect = Any
Piece = WholeOwner | WholeRows | WholeKnown


class Ahead:
    """Operations of owners that came before those in front of them. Invariant: bounded; what is not kept is lost."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[tuple[bytes, Site], dict[int, OwnedOps]] = {}
        self._count = 0

    def put(self, message: OwnedOps) -> None:
        """Keep one, unless too many wait."""
        waiting = self._waiting.get((message.instance, message.owner), {})
        if self._count < self._most or message.first in waiting:
            self._waiting[message.instance, message.owner] = waiting
            self._count += message.first not in waiting
            waiting[message.first] = message

    def next(self, instance: bytes, owner: Site, seq: int) -> OwnedOps | None:
        """One that goes on behind `seq`, or before; it waits no more."""
        waiting = self._waiting.get((instance, owner))
        if waiting is None or (first := min(waiting)) > seq + 1:
            return None
        message = waiting.pop(first)
        self._count -= 1
        if not waiting:
            del self._waiting[instance, owner]
        return message

    def forget(self, instance: bytes | None, owner: Site | None) -> None:
        """Nothing of an instance, or of an owner, is waited for any more."""
        for key in [key for key in self._waiting if instance == key[0] or owner == key[1]]:
            self._count -= len(self._waiting.pop(key))

    def check(self) -> None:
        """The invariant."""
        invariant(self._count == sum(map(len, self._waiting.values())) <= self._most, "what waits is bounded")
        invariant(all(self._waiting.values()), "what waits is something")


class Driven:
    """What is told and taken of instances that are driven.

    Law: whoever took all pieces of a telling, in whatever state it was, has whatever the teller had when it began.
    Invariants: driven instances are held; what came ahead is bounded.
    """

    def __init__(
        self,
        config: ReplicationConfig,
        audience: Audience,
        facts: Facts,
        owned: Owned,
        shared: Shared,
        changed: Callable[..., list[Effect]],
    ) -> None:
        self._config = config
        self._audience = audience
        self._facts = facts
        self._owned = owned
        self._shared = shared
        self._changed = changed
        self._ahead = Ahead(config.ahead_max)
        self._alive: dict[bytes, tuple[int, DotSet]] = {}  # what is alive of an instance, as of this digest
        self._parts: dict[tuple[bytes, Site], tuple[int, int]] = {}  # of whose telling how many parts came, in order
        self._tellings = 0

    def check(self) -> None:
        """Every invariant."""
        invariant(all(instance in self._owned.tables for instance in self._audience.driven), "what is driven is held")
        invariant(all(instance in self._owned.tables for instance, _ in self._parts), "what is taken is held")
        self._ahead.check()

    def close(self, instance: bytes) -> None:
        """It is not held any more."""
        self._audience.driven.pop(instance, None)
        self._ahead.forget(instance, None)
        self._alive.pop(instance, None)
        for key in [key for key in self._parts if key[0] == instance]:
            del self._parts[key]

    def forget(self, peer: Site) -> None:
        """That life is over, or does not belong."""
        self._ahead.forget(None, peer)
        for key in [key for key in self._parts if key[1] == peer]:
            del self._parts[key]

    # --- operations -------------------------------------------------------------------------------------------------

    def take_operations(self, command: TakeOperations, now_us: int) -> list[Effect]:
        """Apply what a peer tells that somebody did."""
        effects: list[Effect] = []
        for operation in command.operations:
            if operation.instance != command.instance:
                continue
            if isinstance(operation, OwnedOps):
                effects += self._take_owned(command.peer, operation, now_us)
            else:
                effects += self._shared.handlers[type(operation)](command.peer, operation, now_us)
        return effects

    def _take_owned(self, peer: Site, message: OwnedOps, now_us: int) -> list[Effect]:
        table, owner = self._owned.tables.get(message.instance), message.owner
        if table is None or not table.knows(owner, message.incarnation) or owner == self._audience.me.site:
            return []
        if message.first > table.position(owner).seq + 1 and message.instance in self._audience.driven:
            self._ahead.put(message)
            return []
        take = self._owned.handlers[OwnedOps]
        return [*take(peer, message, now_us), *self._go_on(message.instance, owner, peer, now_us)]

    def _go_on(self, instance: bytes, owner: Site, peer: Site, now_us: int) -> list[Effect]:
        """Apply what came before its time, as far as it has come."""
        effects: list[Effect] = []
        table, take = self._owned.tables[instance], self._owned.handlers[OwnedOps]
        while (message := self._ahead.next(instance, owner, table.position(owner).seq)) is not None:
            effects += take(peer, message, now_us)
        return effects

    # --- all that is known ------------------------------------------------------------------------------------------

    def telling(self, instance: bytes, relayed: bool, joins: bool, note: bytes) -> Iterator[tuple[Piece, int]]:
        """All that is known here, in pieces, each with its size, about; they are made as they are asked for.

        `relayed`: others' rows, too, as far as they are shown; else, besides the shared ones, only our own life's.
        """
        table, shared, me = self._owned.tables[instance], self._shared.tables[instance], self._audience.me
        owners = [me.site, *(at.owner for at in table.positions() if at.owner != me.site)] if relayed else [me.site]
        told = [(at, table.rows_of(owner)) for owner in owners if (at := table.position(owner)).seq]  # of one moment
        for at, rows in told:
            yield from self._owner(instance, at, list(rows.items()))
        yield from self._rows(instance, shared)
        yield from self._known(instance, shared, joins, note)

    def _owner(self, instance: bytes, at: Position, rows: list[Change]) -> Iterator[tuple[Piece, int]]:
        pieces = [some for _, some in operations_in_pieces(rows, self._config.bytes_aim)] or [[]]
        cursor: bytes | None = None
        for number, some in enumerate(pieces):
            told = tuple((key, value) for key, value in some if value is not None)
            last = number + 1 == len(pieces)
            piece = WholeOwner(instance, at.owner, at.incarnation, at.seq, cursor, told, last)
            yield piece, sum(map(change_bytes, some))
            cursor = some[-1][0] if some else None

    def _rows(self, instance: bytes, table: SharedTable) -> Iterator[tuple[Piece, int]]:
        """Small buckets together: where there are few rows they go in one piece."""
        some: list[Any] = []
        size, aim = 0, self._config.bytes_aim
        for bucket in range(BUCKETS):
            cursor: Place | None = None
            last = False
            while not last:
                entries, last = table.part(bucket, cursor, aim)
                size += sum(ENTRY_BYTES + len(entry[0]) + len(entry[4]) for entry in entries)
                some += entries
                if entries:
                    cursor = entries[-1][0], entries[-1][2]
                if size >= aim:
                    yield WholeRows(instance, tuple(some)), size
                    some, size = [], 0
        if some:
            yield WholeRows(instance, tuple(some)), size

    def _known(self, instance: bytes, table: SharedTable, joins: bool, note: bytes) -> Iterator[tuple[Piece, int]]:
        self._tellings += 1
        number, most = self._tellings, max(self._config.bytes_aim // INTERVAL_BYTES, 1)
        pieces = list(whole.dead_of(table, self._alive_of(instance, table), most))
        for part, dead in enumerate(pieces):
            yield WholeKnown(instance, number, part, dead, False), self._config.bytes_aim
        received = tellable((*table.received.told(), *table.retired.told()))
        alive, saved = table.alive_digest.to_bytes(8, "big"), self._shared.saving.saved(instance)
        last = WholeKnown(instance, number, len(pieces), (), True, received, alive, saved, joins, note)
        yield last, 1_024 + len(note)

    def _alive_of(self, instance: bytes, table: SharedTable) -> DotSet:
        digest, alive = self._alive.get(instance, (-1, DotSet()))
        if digest != table.alive_digest:
            alive = whole.alive_of(table)
            self._alive[instance] = table.alive_digest, alive
        return alive

    def take(self, command: TakeRows, now_us: int) -> list[Effect]:
        """Apply one piece of what a peer knows."""
        table = self._shared.tables.get(command.instance)
        if table is None:
            return []
        piece: Piece = command.piece
        match piece:
            case WholeOwner():
                return self._take_owner(command.peer, piece, now_us)
            case WholeRows():
                return self._take_rows(piece, table)
            case WholeKnown():
                return self._take_known(command.peer, piece, table)
            case _:
                assert_never(piece)

    def _take_owner(self, peer: Site, piece: WholeOwner, now_us: int) -> list[Effect]:
        table, owner = self._owned.tables[piece.hub], piece.owner
        if not table.knows(owner, piece.incarnation) or owner == self._audience.me.site or self._facts.full:
            return []
        if piece.seq <= table.position(owner).seq:
            return []
        staging = table.stage(owner, piece.seq, piece.cursor, piece.rows)
        if staging is None:
            return []
        if staging.told > 2 * self._config.owner_bytes_max:
            return self._owned.end_pull(piece.hub, owner)
        if not piece.last:
            return []
        changes = table.finish(owner, ())
        shown = self._changed(piece.hub, owner, piece.incarnation, changes)
        return shown + self._go_on(piece.hub, owner, peer, now_us)

    def _take_rows(self, piece: WholeRows, table: SharedTable) -> list[Effect]:
        if self._shared.overfull(table):
            return []
        bring_to_life(table, [entry for entry in piece.entries if self._sound(piece.hub, entry)])
        return changed(piece.hub, table)

    def _sound(self, instance: bytes, entry: Any) -> bool:
        """Whether a row can be so: a field names births, and of our own operations there are those that we did."""
        _, field, dot, births, _ = entry
        return (field is None or bool(births)) and not self._shared.invented(instance, dot[:2], dot[2])

    def _take_known(self, peer: Site, piece: WholeKnown, table: SharedTable) -> list[Effect]:
        instance, shared = piece.hub, self._shared
        whole.bury(table, shared.clip(instance, piece.dead), self._alive_of(instance, table))
        number, parts = self._parts.pop((instance, peer), (piece.number, 0))
        if piece.part == 0:
            number, parts = piece.number, 0
        if (number, parts) == (piece.number, piece.part):
            if piece.last:
                self._finish(peer, piece, table)
            else:
                self._parts[instance, peer] = number, parts + 1
        return changed(instance, table)

    def _finish(self, peer: Site, piece: WholeKnown, table: SharedTable) -> None:
        """All of it came, if rows did: what was received there is received here, and what we have may be there, too."""
        received = self._shared.clip(piece.hub, piece.received)
        whole.receive(table, received)
        alike = piece.alive == table.alive_digest.to_bytes(8, "big")
        if alike and piece.saved and self._audience.lives.incarnation(peer):
            theirs = DotSet(received)
            if all(theirs.covers(life, table.received.intervals(life)) for life in table.received.lives()):
                self._shared.retiring.has_all(peer, piece.hub)
