"""Shared rows: anybody may start, change and remove one, and all end with the same, whatever came in which order.

A row is there while one of its *births* is: the dots that started it. Each of its fields is a dot too, which names the
births it was written to, takes the place of those dots of the field that it saw, and counts while one of its births is
there. A removal names births and nothing else. So a removal wins over what was written to what it removed, a row that
was started again in the meantime stays, and nothing that was removed comes back; and there are no tombstones.

Two sets of dots say what is known. `received` has the operations that were applied here: what is missing in it, is
asked for. `context` has more, what a removal or a later value told us of without its being here: a dot in the context
that is not alive was removed. One set for both would take what it never got for received.

Where logs do not go back far enough, or tables differ though they received the same, rows are compared by the hashes of
256 buckets of keys and told again (`covey.rows.reconciling`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeAlias

import msgspec

from covey.core.errors import invariant
from covey.core.ids import Dot, Origin, rank
from covey.core.rows import SharedRow
from covey.rows.dots import MODULUS, DotSet, Told, hash64
from covey.rows.op_log import DOT_BYTES, OP_BYTES, Op, OpLog

BUCKETS = 256
NAMES_MAX = 256  # births and dots that one operation names
SUM_BYTES = 8
Entry: TypeAlias = tuple[bytes, bytes | None, Dot, tuple[Dot, ...], bytes]
"""One dot that is alive: (key, field, dot, births, value); no field: a birth."""

Place: TypeAlias = tuple[bytes, Dot]
"""Where an entry stands in the order in which a bucket is told: by key, and then by dot."""

Change: TypeAlias = tuple[bytes, SharedRow | None]

_encoder = msgspec.msgpack.Encoder()


class _Value(msgspec.Struct, frozen=True, gc=False):  # there are very many: the collector need not look at them
    """A dot that is alive. `births`: those it was written to; none for a birth."""

    births: tuple[Dot, ...]
    value: bytes
    size: int
    print: int


class _Row(msgspec.Struct, gc=False):
    """What is alive under one key, told or not: fields may come before the births they name."""

    bucket: int
    births: dict[Dot, _Value]
    fields: dict[bytes, dict[Dot, _Value]]

    def view(self) -> SharedRow | None:
        """What readers see: None where no birth is here."""
        if not self.births:
            return None
        if not self.fields and len(self.births) == 1:  # nearly always
            ((dot, alive),) = self.births.items()
            return SharedRow(((dot, alive.value),), ())
        births = tuple((dot, self.births[dot].value) for dot in sorted(self.births, key=rank))
        fields: list[tuple[bytes, tuple[tuple[Dot, bytes], ...]]] = []
        for field in sorted(self.fields):
            dots = self.fields[field]
            shown = [dot for dot in sorted(dots, key=rank) if any(birth in self.births for birth in dots[dot].births)]
            if shown:
                fields.append((field, tuple((dot, dots[dot].value) for dot in shown)))
        return SharedRow(births, tuple(fields))

    def names(self, birth: Dot) -> bool:
        """Whether a field names this birth."""
        return any(birth in value.births for values in self.fields.values() for value in values.values())

    def dots(self) -> list[tuple[bytes | None, Dot]]:
        """Every dot that is alive, with its field; None for a birth."""
        dots: list[tuple[bytes | None, Dot]] = [(None, dot) for dot in self.births]
        return dots + [(field, dot) for field, values in self.fields.items() for dot in values]


class Witness(Protocol):
    """Who has to know of every dot that comes to life: a reconciliation under way."""

    def added(self, key: bytes, field: bytes | None, bucket: int, dot: Dot) -> None:
        """A dot comes to life; no field: a birth."""
        ...


class SharedTable:
    """All shared rows of one instance.

    Law: two tables that received the same operations, in whatever order and however often, are equal; the fold of
    `changes()` is `view()`. Invariants: `received` is part of `context`; what is alive is in the context; a field's dot
    has a birth that is here or was never heard of; `digest` is the sum of what is received and what is alive.
    """

    def __init__(self) -> None:
        self.received = DotSet()
        self.context = DotSet()
        self.log = OpLog()
        self.retired = DotSet()  # received of lives that are over and of which nothing is alive: not compared any more
        self.version = 0  # counts what came; orders it by when it came here
        self.sums = [0] * BUCKETS  # of what is alive
        self.bytes = 0  # what that takes, about
        self.witness: Witness | None = None
        self.changed: dict[bytes, None] | None = None  # whoever stores it puts a dict here: keys of rows that changed
        self.buried: DotSet | None = None  # and a set here: births that are dead for good and took fields with them
        self.touched: dict[Origin, int] = {}  # when of a life something was received last, or the last of it went
        self._rows: dict[bytes, _Row] = {}
        self._buckets: list[dict[bytes, None]] = [{} for _ in range(BUCKETS)]
        self._alive: dict[Origin, int] = {}  # how many dots of each life are
        self._awaited: dict[Dot, dict[bytes, None]] = {}  # births never heard of, and keys whose fields name them
        self._before: dict[bytes, SharedRow | None] = {}  # what was shown of rows that were touched since

    # --- queries ----------------------------------------------------------------------------------------------------

    @property
    def alive_digest(self) -> int:
        """64 bits of what is alive: tables that received the same have the same."""
        return sum(self.sums) % MODULUS

    @property
    def digest(self) -> int:
        """64 bits of what was received and what is alive."""
        return (self.received.digest + self.alive_digest) % MODULUS

    def get(self, key: bytes) -> SharedRow | None:
        """One row as it is shown."""
        row = self._rows.get(key)
        return None if row is None else row.view()

    def births(self, key: bytes) -> int:
        """How often a row was started."""
        row = self._rows.get(key)
        return 0 if row is None else len(row.births)

    def view(self) -> dict[bytes, SharedRow]:
        """Every row that is shown."""
        views = ((key, row.view()) for key, row in self._rows.items())
        return {key: view for key, view in views if view is not None}

    @property
    def stamp(self) -> tuple[int, int, int]:
        """Another one after every change."""
        return self.version, self.digest, self.log.bytes

    def has_alive(self, life: Origin) -> bool:
        """Whether a dot of this life is alive."""
        return life in self._alive

    def dots(self) -> Iterator[tuple[bytes, bytes | None, Dot]]:
        """Every dot that is alive, with its key and field."""
        for key, row in self._rows.items():
            for field, dot in row.dots():
                yield key, field, dot

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: bytes) -> bool:
        return key in self._rows

    # --- operations -------------------------------------------------------------------------------------------------

    def birth(self, key: bytes, value: bytes) -> Op:
        """The operation that starts a row."""
        return key, None, value, (), ()

    def removals(self, key: bytes, only: tuple[Dot, ...] = ()) -> list[Op]:
        """The operations that remove a row as it is here, or `only` these births of it: one, unless they are many."""
        row = self._rows.get(key)
        births = sorted(birth for birth in row.births if not only or birth in only) if row is not None else []
        return [(key, None, None, tuple(births[at : at + NAMES_MAX]), ()) for at in range(0, len(births), NAMES_MAX)]

    def write(self, key: bytes, field: bytes, value: bytes) -> Op | None:
        """The operation that writes a field of a row as it is here; None where there is no row.

        It takes the place of the dots whose births it names: not of one that was written to a birth never heard of.
        """
        row = self._rows.get(key)
        if row is None or not row.births:
            return None
        replaced = sorted(
            dot for dot, old in row.fields.get(field, {}).items() if all(birth in self.context for birth in old.births)
        )
        births = sorted(sorted(row.births, key=rank)[-NAMES_MAX:])
        return key, field, value, tuple(births), tuple(replaced[:NAMES_MAX])

    def apply(self, dot: Dot, op: Op) -> bool:
        """Apply one operation, whatever came before it; False if it was received already."""
        if dot in self.received or dot in self.retired:
            return False
        key, field, value, births, replaced = op
        life = dot[:2]
        self.recall(life)
        self.version += 1
        self.received.add(dot)
        self.touched[life] = self.version
        taken = births if value is None else replaced
        for gone in taken:
            self.kill(key, None if value is None else field, gone)
            self.context.add(gone)
        known = dot in self.context
        if not known:
            self.context.add(dot)
        if value is None:
            self.sweep(key)
        elif not known:
            self.revive(key, field, dot, births, value)
        self.heard((*taken, dot))
        self.log.add(self.version, dot, op)
        return True

    def changes(self) -> list[Change]:
        """What is shown otherwise since the last time of asking: keys, and the rows that they have now."""
        changes = [(key, before, self.get(key)) for key, before in self._before.items()]
        self._before.clear()
        return [(key, after) for key, before, after in changes if before != after]

    def untell(self) -> None:
        """Nobody looks any more: whoever looks next is told everything."""
        self._before = dict.fromkeys(self._rows)

    # --- single dots ------------------------------------------------------------------------------------------------

    def revive(self, key: bytes, field: bytes | None, dot: Dot, births: tuple[Dot, ...], value: bytes) -> None:
        """A dot that is in the context comes to life, unless all the births that it names are dead."""
        row = self._rows.get(key)
        if field is not None and all(self._dead(row, birth) for birth in births):
            return
        self._touch(key, row)
        self.recall(dot[:2])
        if row is None:
            bucket = bucket_of(key)
            row = self._rows[key] = _Row(bucket, {}, {})
            self._buckets[bucket][key] = None
        size = OP_BYTES + len(key) + len(field or b"") + DOT_BYTES * len(births) + len(value)
        alive = _Value(births, value, size, hash64(_encoder.encode((key, field, dot, births, value))))
        if field is None:
            row.births[dot] = alive
        else:
            row.fields.setdefault(field, {})[dot] = alive
            for birth in births:
                if birth not in self.context:
                    self._awaited.setdefault(birth, {})[key] = None
        self.sums[row.bucket] = (self.sums[row.bucket] + alive.print) % MODULUS
        self.bytes += alive.size
        self._alive[dot[:2]] = self._alive.get(dot[:2], 0) + 1
        if self.witness is not None:
            self.witness.added(key, field, row.bucket, dot)

    def kill(self, key: bytes, field: bytes | None, dot: Dot) -> None:
        """A dot is not alive any more, if it was."""
        row = self._rows.get(key)
        if row is None:
            return
        values = row.births if field is None else row.fields.get(field, {})
        if dot not in values:
            return
        self._touch(key, row)
        alive = values.pop(dot)
        self.bytes -= alive.size
        self.sums[row.bucket] = (self.sums[row.bucket] - alive.print) % MODULUS
        life = dot[:2]
        self._alive[life] -= 1
        if not self._alive[life]:
            del self._alive[life]
            if life in self.touched:
                self.touched[life] = self.version
        if field is not None and not values:
            del row.fields[field]
        for birth in alive.births if self._awaited else ():
            if key in self._awaited.get(birth, ()) and not row.names(birth):
                del self._awaited[birth][key]
                if not self._awaited[birth]:
                    del self._awaited[birth]
        if not row.births and not row.fields:
            del self._rows[key], self._buckets[row.bucket][key]

    def sweep(self, key: bytes) -> None:
        """Fields go with the last of their births."""
        row = self._rows.get(key)
        if row is None:
            return
        for field, dot in row.dots():
            if field is None:
                continue
            births = row.fields[field][dot].births
            if all(self._dead(row, birth) for birth in births):
                self.kill(key, field, dot)
                if self.buried is not None:
                    for birth in births:
                        self.buried.add(birth)

    def heard(self, dots: Iterable[Dot]) -> None:
        """These are known now: fields that waited for them go, where they turn out to be dead, or of another row."""
        for dot in dots if self._awaited else ():
            for key in self._awaited.pop(dot, ()):
                self.sweep(key)

    def _dead(self, row: _Row | None, birth: Dot) -> bool:
        return birth in self.context and (row is None or birth not in row.births)

    def _touch(self, key: bytes, row: _Row | None) -> None:
        if self.changed is not None:
            self.changed[key] = None
        if key not in self._before:
            self._before[key] = None if row is None else row.view()

    # --- lives that are over ----------------------------------------------------------------------------------------

    def retire(self, life: Origin) -> None:
        """A life that is over and of which nothing is alive: out of the log and of what is compared. It stays known."""
        invariant(life not in self._alive, "nothing of a life that retires is alive")
        for first, last in self.received.intervals(life):
            self.retired.add_run(life, first, last)
        self.received.drop(life)
        self.touched.pop(life, None)
        self.log.forget(life)

    def recall(self, life: Origin) -> None:
        """Something more of it came, or it is not over after all."""
        if not self.retired.top(life):
            return
        for first, last in self.retired.intervals(life):
            self.received.add_run(life, first, last)
        self.retired.drop(life)

    def forget(self, life: Origin) -> None:
        """A life that retired long ago is not even known any more, unless a field that is alive names a birth of it."""
        self.retired.drop(life)
        if life not in self._alive and not self.received.top(life) and not self._names(life):
            self.context.drop(life)

    def _names(self, life: Origin) -> bool:
        values = (alive for row in self._rows.values() for dots in row.fields.values() for alive in dots.values())
        return any(birth[:2] == life for alive in values for birth in alive.births)

    def lacks(self, told: Iterable[Told]) -> list[tuple[Origin, int, int]]:
        """What somebody who told this has received and we have not, interval by interval."""
        return [
            (life, *gap)
            for life, first, last in self.received.lacks(told)
            for gap in self.retired.missing(life, first, last)
        ]

    # --- rows, bucket by bucket -------------------------------------------------------------------------------------

    def bucket_sums(self) -> bytes:
        """What is alive in each bucket, hashed."""
        return b"".join(number.to_bytes(SUM_BYTES, "big") for number in self.sums)

    def part(self, bucket: int, cursor: Place | None, bytes_max: int) -> tuple[list[Entry], bool]:
        """What is alive in a bucket behind `cursor`, as much as fits; and whether this is the last of it."""
        part: list[Entry] = []
        size = 0
        for key in sorted(self._buckets[bucket]):
            if cursor is not None and key < cursor[0]:
                continue
            for entry in self.entries(key):
                if cursor is not None and (key, entry[2]) <= cursor:
                    continue
                size += OP_BYTES + len(key) + len(entry[1] or b"") + DOT_BYTES * len(entry[3]) + len(entry[4])
                if part and size > bytes_max:
                    return part, False
                part.append(entry)
        return part, True

    def entries(self, key: bytes) -> list[Entry]:
        """All that is alive under one key, in order."""
        row = self._rows.get(key)
        if row is None:
            return []
        entries: list[Entry] = [(key, None, dot, (), alive.value) for dot, alive in row.births.items()]
        for field, values in row.fields.items():
            entries += [(key, field, dot, alive.births, alive.value) for dot, alive in values.items()]
        return sorted(entries, key=lambda entry: entry[2])

    def keys(self, bucket: int) -> list[bytes]:
        """The keys of a bucket."""
        return list(self._buckets[bucket])

    def join(self, received: Iterable[Told], context: Iterable[Told]) -> None:
        """What somebody else has received and knows of counts as ours from now on: all its rows were compared."""
        lacks = self.lacks(received)
        self.version += bool(lacks)  # where nothing comes, nothing is written: who looks for endless differences counts
        for life, first, last in lacks:
            self.recall(life)
            self.received.add_run(life, first, last)
            self.context.add_run(life, first, last)
            self.touched[life] = self.version
        self.context.update(DotSet(context))
        self.heard([birth for birth in self._awaited if birth in self.context])

    def check(self) -> None:
        """Every invariant."""
        self.received.check()
        self.context.check()
        for life in self.received.lives():
            invariant(self.context.covers(life, self.received.intervals(life)), "what is received is known")
        self.retired.check()
        for life in self.retired.lives():
            invariant(life not in self._alive, "nothing of a life that retired is alive")
            invariant(not self.received.top(life), "a life that retired is not compared")
        sums = [0] * BUCKETS
        size = 0
        alive: dict[Origin, int] = {}
        for key, row in self._rows.items():
            invariant(bool(row.births or row.fields), "a row has something alive")
            invariant(key in self._buckets[row.bucket], "a row is in its bucket")
            for field, dot in row.dots():
                value = row.births[dot] if field is None else row.fields[field][dot]
                invariant(dot in self.context, "what is alive is known")
                sums[row.bucket] = (sums[row.bucket] + value.print) % MODULUS
                alive[dot[:2]] = alive.get(dot[:2], 0) + 1
                size += value.size
                if field is not None:
                    invariant(
                        not all(self._dead(row, birth) for birth in value.births), "a field has a birth that may live"
                    )
                    for birth in value.births:
                        known = birth in self.context or key in self._awaited.get(birth, ())
                        invariant(known, "who waits for a birth is known")
        for birth, keys in self._awaited.items():
            invariant(bool(keys) and birth not in self.context, "a birth that is awaited was never heard of")
            invariant(all(key in self._rows and self._rows[key].names(birth) for key in keys), "who waits names it")
        invariant(sums == self.sums, "the sums are those of what is alive")
        invariant(alive == self._alive and size == self.bytes, "what is alive is counted")
        invariant(sum(len(bucket) for bucket in self._buckets) == len(self._rows), "every row is in one bucket")
        self.log.check()
        invariant(all(dot in self.received for dot in self.log.dots()), "what is in the log was received")


def bucket_of(key: bytes) -> int:
    """Where a key is compared; the same everywhere, for ever."""
    return hash64(key) % BUCKETS


def differing(sums: Sequence[int], told: bytes) -> list[int]:
    """The buckets that are not alike, by what somebody else told of all of them."""
    return [
        at for at in range(BUCKETS) if sums[at] != int.from_bytes(told[at * SUM_BYTES : (at + 1) * SUM_BYTES], "big")
    ]
