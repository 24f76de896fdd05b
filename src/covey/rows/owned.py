"""Owned rows: a row has one writer, the life that owns it, so there is nothing to merge and nothing can diverge.

Each owner numbers its operations, removes included, and everybody applies them in that order and without a gap. So all
that a node has of an owner is one number, and two nodes with the same number hold the same rows. What was missed is
told again from a log; where the log is too short, the rows themselves are told in parts, and shown once they are whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache

import msgspec

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.rows.owner import Change, OwnerRows, Row, change_bytes
from covey.rows.parts import Staging, Telling

DIGEST_MODULUS = 1 << 64


class Position(msgspec.Struct, frozen=True, order=True, gc=False):
    """What is had of one owner: everything up to `seq` of this life."""

    owner: Site
    incarnation: int
    seq: int


@lru_cache(maxsize=1024)  # what is taken out of a digest is what was put in last
def fingerprint(owner: Site, incarnation: int, seq: int) -> int:
    """64 bits of a position. A table's digest is the sum of these."""
    if not seq:
        return 0
    hashed = hashlib.blake2b(owner, digest_size=8, person=b"covey.rows")
    hashed.update(incarnation.to_bytes(8, "big"))
    hashed.update(seq.to_bytes(8, "big"))
    return int.from_bytes(hashed.digest(), "big")


class OwnedTable:
    """All owned rows of one instance.

    Law: the fold of the changes returned so far is `view()`. Invariants: at most one life of each owner; `digest` is
    the sum of the fingerprints of what is shown.
    """

    def __init__(self) -> None:
        self._owners: dict[Site, OwnerRows] = {}
        self._staging: dict[Site, Staging] = {}
        self.digest = 0
        self.version = 0  # counts applications; orders what was applied by when it came here

    # --- queries ----------------------------------------------------------------------------------------------------

    def position(self, owner: Site) -> Position:
        """What is had of an owner; (owner, 0, 0) of one that is not known."""
        rows = self._owners.get(owner)
        return Position(owner, 0, 0) if rows is None else Position(owner, rows.incarnation, rows.seq)

    def owners(self) -> list[Site]:
        """Everybody of whom a life counts, shown or hidden."""
        return list(self._owners)

    def positions(self) -> list[Position]:
        """What is had of every owner that is shown and has ever written, in order."""
        return sorted(
            Position(owner, rows.incarnation, rows.seq)
            for owner, rows in self._owners.items()
            if rows.shown and rows.seq
        )

    def is_shown(self, owner: Site) -> bool:
        """Whether an owner's rows are shown; hidden ones are kept, and go on being applied."""
        rows = self._owners.get(owner)
        return rows is not None and rows.shown

    def get(self, owner: Site, key: bytes) -> bytes | None:
        """One row as it is shown."""
        rows = self._owners.get(owner)
        return rows.rows.get(key) if rows is not None and rows.shown else None

    def kept(self, owner: Site, key: bytes) -> bytes | None:
        """One row, shown or hidden."""
        rows = self._owners.get(owner)
        return None if rows is None else rows.rows.get(key)

    def bytes_of(self, owner: Site) -> int:
        """What an owner's rows take, shown or hidden, about."""
        rows = self._owners.get(owner)
        return 0 if rows is None else rows.bytes

    def view(self) -> Iterator[tuple[Site, int, bytes, bytes]]:
        """Every row that is shown: owner, its life, key, value."""
        for owner, rows in self._owners.items():
            if rows.shown:
                for key, value in rows.rows.items():
                    yield owner, rows.incarnation, key, value

    def rows_of(self, owner: Site) -> dict[bytes, bytes]:
        """A copy of one owner's rows, shown or not."""
        rows = self._owners.get(owner)
        return {} if rows is None else dict(rows.rows)

    @property
    def stamp(self) -> tuple[int, int, int, int]:
        """Another one after every change of rows and of whose rows count."""
        staged = sum(staging.told for staging in self._staging.values())
        return self.version, self.digest, len(self._owners), staged

    # --- whose rows count -------------------------------------------------------------------------------------------

    def admit(self, owner: Site, incarnation: int, shown: bool) -> list[Change]:
        """This life of an owner counts from now on, shown or hidden; returns what that changes for who looks.

        Rows of an earlier life are void.
        """
        rows = self._owners.get(owner)
        if rows is not None and rows.incarnation == incarnation:
            return self._show(owner, rows, shown)
        changes = self.drop(owner)
        self._owners[owner] = OwnerRows(incarnation, shown)
        return changes

    def drop(self, owner: Site) -> list[Change]:
        """Nothing of this owner counts any more."""
        rows = self._owners.pop(owner, None)
        self._staging.pop(owner, None)
        if rows is None or not rows.shown:
            return []
        self._toggle(owner, rows)
        return [(key, None) for key in rows.rows]

    def void(self, owner: Site, seq: int) -> list[Change]:
        """Everything that an owner did up to `seq` is void, whether it came here or not; what it did later stands."""
        rows = self._owners[owner]
        if seq < rows.seq:
            return []
        return self._replace(owner, rows, {}, 0, seq)

    def _show(self, owner: Site, rows: OwnerRows, shown: bool) -> list[Change]:
        if rows.shown is shown:
            return []
        if rows.shown:
            self._toggle(owner, rows)
        rows.shown = shown
        if not shown:
            return [(key, None) for key in rows.rows]
        self._toggle(owner, rows, +1)
        return list(rows.rows.items())

    # --- operations -------------------------------------------------------------------------------------------------

    def knows(self, owner: Site, incarnation: int) -> bool:
        """Whether this life counts here."""
        rows = self._owners.get(owner)
        return rows is not None and rows.incarnation == incarnation

    def apply(self, owner: Site, first: int, ops: Sequence[Change]) -> list[Change] | None:
        """Apply operations `first`, `first + 1`, …; None if something before them is missing. Old ones are skipped."""
        rows = self._owners[owner]
        if first > rows.seq + 1:
            return None
        fresh = ops[rows.seq + 1 - first :]
        if not fresh:
            return []
        self.version += 1
        if rows.shown:
            self._toggle(owner, rows)
        changes = rows.apply(fresh, self.version)
        if not rows.shown:
            return []
        self._toggle(owner, rows, +1)
        return changes

    def trim(self, owner: Site, bytes_max: int, version_min: int, ops_max: int) -> int:
        """Bound an owner's log: what everybody has goes, and what the rows themselves would tell more cheaply.

        Returns how many operations went: at most `ops_max`.
        """
        rows = self._owners.get(owner)
        return 0 if rows is None else rows.trim(max(bytes_max, rows.bytes), version_min, ops_max)

    def after(self, owner: Site, seq: int, bytes_max: int) -> list[Change] | None:
        """An owner's operations behind `seq`, as many as fit; None if the log is too short."""
        return self._owners[owner].after(seq, bytes_max)

    # --- whole owners, in parts -------------------------------------------------------------------------------------

    def tell(self, owner: Site) -> Telling:
        """Begin to tell an owner's rows in parts."""
        return Telling(self._owners[owner])

    def tells(self, telling: Telling, owner: Site) -> bool:
        """Whether what is told are still this owner's rows, and not those that counted before."""
        return self._owners.get(owner) is telling.rows

    def stage(self, owner: Site, seq: int, cursor: bytes | None, rows: Sequence[Row]) -> Staging | None:
        """Put one part aside; None: it does not go on where the last one ended, or is older than the first.

        A part without a cursor begins anew.
        """
        incarnation = self._owners[owner].incarnation
        if cursor is None:
            staging = self._staging[owner] = Staging(incarnation, seq)
        else:
            known = self._staging.get(owner)
            if known is None or known.incarnation != incarnation or known.cursor != cursor or seq < known.base:
                return None
            staging = known
        if rows:
            staging.cursor = rows[-1][0]
        staging.until = max(staging.until, seq)
        staging.take(rows)
        return staging

    def finish(self, owner: Site, ops: Sequence[Change]) -> list[Change]:
        """The last part is here, and the operations since the first one: show it all, if it is newer than what is here.

        The parts were told one after the other, and each may hold what an operation behind the first part did; applying
        all of these operations again, in order, leaves exactly what the owner has.
        """
        staging = self._staging.pop(owner)
        rows = self._owners[owner]
        seq = staging.base + len(ops)
        if staging.incarnation != rows.incarnation or seq <= rows.seq or seq < staging.until:
            return []
        staging.take(ops)
        return self._replace(owner, rows, staging.rows, staging.bytes, seq)

    def unstage(self, owner: Site) -> None:
        """Whoever told the parts does not go on."""
        self._staging.pop(owner, None)

    def _replace(self, owner: Site, rows: OwnerRows, new: dict[bytes, bytes], size: int, seq: int) -> list[Change]:
        """From now on `new`, of so many bytes, is what the operations up to `seq` left behind."""
        old = rows.rows
        changes: list[Change] = [(key, None) for key in old if key not in new]
        changes += [change for change in new.items() if old.get(change[0]) != change[1]] if old else new.items()
        self.version += 1
        if rows.shown:
            self._toggle(owner, rows)
        rows.rows, rows.seq = new, seq
        rows.bytes = size
        rows.log.clear()
        rows.log_bytes = 0
        if not rows.shown:
            return []
        self._toggle(owner, rows, +1)
        return changes

    def _toggle(self, owner: Site, rows: OwnerRows, sign: int = -1) -> None:
        """Take what is shown of an owner out of the digest, or put it in."""
        self.digest = (self.digest + sign * fingerprint(owner, rows.incarnation, rows.seq)) % DIGEST_MODULUS

    def __len__(self) -> int:
        return sum(len(rows.rows) for rows in self._owners.values())

    def check(self) -> None:
        """Every invariant."""
        total = 0
        for owner, rows in self._owners.items():
            invariant(len(rows.log) <= rows.seq, "the log holds no more than there was")
            invariant(rows.log_bytes == sum(change_bytes(op) for op, _ in rows.log), "the log's bytes are counted")
            invariant(rows.bytes == sum(change_bytes(row) for row in rows.rows.items()), "the rows' bytes are counted")
            if rows.shown:
                total += fingerprint(owner, rows.incarnation, rows.seq)
        invariant(total % DIGEST_MODULUS == self.digest, "the digest is the sum of what is shown")
        for owner, staging in self._staging.items():
            rows_of_life = self._owners.get(owner)
            invariant(
                rows_of_life is not None and rows_of_life.incarnation == staging.incarnation,
                "only rows of lives that count are staged",
            )
            invariant(0 <= staging.base <= staging.until, "parts are told as of the first one or later")
            invariant(staging.bytes == sum(map(change_bytes, staging.rows.items())), "the staged bytes are counted")
