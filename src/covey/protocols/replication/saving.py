"""Shared rows that are kept on disk: what is written when, what was found there, and what of it goes again.

    a turn ends ─▶ StoreRows(n, some records) ─▶ the shelf ─▶ Persist ─▶ the disk
         ▲                                                                 │
         └── there is more ◀── RowsStored(n) ◀── through the gate ◀────────┘

One piece is under way at a time, so a slow disk is given fewer and larger ones, and what waits for it are the names of
what changed. A node that ends gives it everything that is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from covey.core.errors import invariant
from covey.core.vocabulary import Record
from covey.protocols.replication.config import ReplicationConfig
from covey.protocols.replication.vocabulary import RowsStored, StoreRows
from covey.rows.keeping import Keeping
from covey.rows.shared import SharedTable
from covey.rows.stored import read, void_record

Effect = Any


class _Void:
    """Records of an instance that was let go of. They do not count from the moment when that is `marked`."""

    __slots__ = ("keys", "marked")

    def __init__(self, keys: list[bytes], marked: bool) -> None:
        self.keys = keys
        self.marked = marked


class Saving:
    """What is kept of all instances, held or not.

    Law: a table is `saved` only when the disk has all of it; what the disk keeps of an instance is a table that this
    node had, and tells nothing false; of an instance that was let go of it keeps nothing, in the end.
    Invariants: those of what is kept; what is held is kept or not, and nothing is both kept and found.
    """

    def __init__(self, config: ReplicationConfig, stored: Mapping[bytes, bytes] | None) -> None:
        """`stored` is what the disk keeps; None where there is no disk, and nothing is kept."""
        self._config = config
        self._able = stored is not None
        self._found: dict[bytes, Keeping] = {}  # on the disk, and not held in this life
        self._kept: dict[bytes, Keeping] = {}
        self._resting: dict[bytes, None] = {}  # of these, what is kept and not held
        self._void: dict[bytes, _Void] = {}
        self._under_way: dict[bytes, int] = {}  # by instance: the last piece that has anything of it
        self._asked = self._stored = 0  # pieces
        self._turn_wanted = False
        self._ending = False
        self.records = 0
        for instance, rows in read(stored or {}).items():
            if rows.void:
                self._void[instance] = _Void(rows.record_keys(instance), True)
            else:
                self._found[instance] = Keeping(instance, rows)

    def check(self) -> None:
        """Every invariant."""
        for instance, keeping in self._kept.items():
            keeping.check()
            invariant(instance not in self._found, "what is held was found before, or not at all")
        invariant(self._resting.keys() <= self._kept.keys(), "what rests is kept")
        invariant(self._stored <= self._asked, "only what was asked for is stored")

    # --- instances --------------------------------------------------------------------------------------------------

    def open(self, instance: bytes, durable: bool) -> SharedTable:
        """The table of an instance that is held from now on: as it was found, or a new one."""
        found = self._found.pop(instance, None)
        if instance in self._resting:
            del self._resting[instance]
            found = self._kept.pop(instance)
        if not (self._able and durable):
            if found is not None:
                self._let_go(found)
            return SharedTable()
        keeping = self._kept[instance] = found or Keeping(instance)
        return keeping.table

    def close(self, instance: bytes, keep: bool) -> None:
        """It is not held any more: what is kept of it goes, or stays as it is for whoever holds it again."""
        keeping = self._kept.get(instance)
        if keeping is not None and keep:
            self._resting[instance] = None
        elif keeping is not None:
            del self._kept[instance]
            self._let_go(keeping)

    def _let_go(self, keeping: Keeping) -> None:
        if keys := keeping.record_keys():  # where a former one is still on its way out nothing was written of this one
            self._void[keeping.instance] = _Void(keys, False)

    def stop(self) -> None:
        """This node ends: from now on everything goes to the disk at once."""
        self._ending = True

    def saved(self, instance: bytes) -> bool:
        """Whether all of a table is on the disk, or nothing is to be."""
        keeping = self._kept.get(instance)
        if keeping is None:
            return True
        return keeping.clean and instance not in self._void and self._under_way.get(instance, 0) <= self._stored

    # --- pieces -----------------------------------------------------------------------------------------------------

    def wants_turn(self) -> bool:
        """Whether something is to be written that nobody has asked a turn for: the turn is asked for with that."""
        if self._turn_wanted or (self._asked > self._stored and not self._ending):
            return False
        self._turn_wanted = bool(self._void) or any(not keeping.clean for keeping in self._kept.values())
        return self._turn_wanted

    def on_turn_ended(self) -> list[Effect]:
        """The next piece, if the last one is stored; all of them where the node ends."""
        self._turn_wanted = False
        effects: list[Effect] = []
        while (self._asked == self._stored or self._ending) and (records := self._piece()):
            self._asked += 1
            self.records += len(records)
            effects.append(StoreRows(self._asked, tuple(records)))
        if not effects:
            for keeping in self._kept.values():
                keeping.prune()
        return effects

    def _piece(self) -> list[Record]:
        records: list[Record] = []
        records_max, bytes_left = self._config.stored_max, self._config.stored_bytes_max
        for instance in list(self._void):
            gone = self._voided(instance, records_max - len(records))
            if gone:
                records += gone
                self._under_way[instance] = self._asked + 1
        for instance, keeping in list(self._kept.items()):
            if len(records) >= records_max or bytes_left <= 0:
                break
            if instance not in self._void and not keeping.clean:
                some = keeping.take(records_max - len(records), bytes_left)
                bytes_left -= sum(len(record.key) + len(record.value or b"") for record in some)
                if some:
                    records += some
                    self._under_way[instance] = self._asked + 1
                    self._kept[instance] = self._kept.pop(instance)  # they take turns
        return records

    def _voided(self, instance: bytes, records_max: int) -> list[Record]:
        """Some records of what was let go of go: first of all that they do not count, and with the last that mark."""
        void = self._void[instance]
        if records_max <= 0:
            return []
        if len(void.keys) <= records_max:
            del self._void[instance]
            records = [Record(key, None) for key in void.keys]
            return [*records, void_record(instance, False)] if void.marked else records
        records = [] if void.marked else [void_record(instance, True)]
        void.marked = True
        some = void.keys[len(void.keys) - max(records_max - len(records), 0) :]
        del void.keys[len(void.keys) - len(some) :]
        return records + [Record(key, None) for key in some]

    def on_stored(self, fact: RowsStored) -> None:
        """A piece is on the disk."""
        self._stored = max(self._stored, min(fact.number, self._asked))
        for instance in [at for at, number in self._under_way.items() if number <= self._stored]:
            del self._under_way[instance]
