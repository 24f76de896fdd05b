"""Operations on shared rows, what they leave behind, and replicas that do them, hear of them and reconcile."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import strategies as st

from covey.core.ids import Dot, Origin, Site
from covey.core.rows import SharedRow
from covey.rows.op_log import Op
from covey.rows.reconciling import Reconciliation
from covey.rows.shared import SharedTable

MANY = 1 << 20
RANDOMS = st.randoms(use_true_random=False)
K, F = b"key", b"field"
Shape = dict[bytes, tuple[dict[Dot, bytes], dict[bytes, dict[Dot, bytes]]]]


def life(number: int, incarnation: int = 1) -> Origin:
    return Site(bytes([number]) * 16), incarnation


A, B, C = life(1), life(2), life(3)


def oracle(ops: dict[Dot, Op]) -> Shape:
    """What operations leave behind, whatever their order: a second, naive account of the rules."""
    dead: dict[Dot, None] = {}
    for _, _, value, births, replaced in ops.values():
        dead.update(dict.fromkeys(births if value is None else replaced))
    rows: Shape = {}
    for dot, (key, field, value, _, _) in ops.items():
        if value is not None and field is None and dot not in dead:
            rows.setdefault(key, ({}, {}))[0][dot] = value
    for dot, (key, field, value, births, _) in ops.items():
        if value is None or field is None or dot in dead or key not in rows:
            continue
        if any(birth in rows[key][0] for birth in births):
            rows[key][1].setdefault(field, {})[dot] = value
    return rows


def shape(table: SharedTable) -> Shape:
    """What a table shows, in the oracle's words."""
    return {
        key: (dict(row.births), {field: dict(values) for field, values in row.fields})
        for key, row in table.view().items()
    }


def alive(table: SharedTable) -> dict[Dot, bytes]:
    """Every dot that is alive, shown or not."""
    return {entry[2]: entry[4] for key in table._rows for entry in table.entries(key)}


def reconcile(table: SharedTable, other: SharedTable, size: int = MANY) -> int:
    """One whole pass. Returns how many parts it took."""
    pass_, parts = Reconciliation(table), 0
    pass_.begin(other.bucket_sums(), other.received.told(), other.context.told())
    while (wanted := pass_.wanted) is not None:
        assert pass_.take(*wanted, *other.part(*wanted, size))
        parts += 1
    pass_.finish()
    return parts


class Replica:
    """A table, the numbers of its life, and what a user folds of it."""

    def __init__(self, number: int) -> None:
        self.life = life(number)
        self.table = SharedTable()
        self.number = 0
        self.folded: dict[bytes, SharedRow] = {}
        self.session: tuple[Reconciliation, Replica] | None = None

    def do(self, op: Op | None) -> tuple[Dot, Op] | None:
        """An operation of its own, if there is one."""
        if op is None:
            return None
        self.number += 1
        dot = (*self.life, self.number)
        assert self.table.apply(dot, op)
        return dot, op

    def fold(self) -> None:
        """Each change changes something, and their fold is the view."""
        for key, row in self.table.changes():
            assert self.folded.get(key) != row
            if row is None:
                del self.folded[key]
            else:
                self.folded[key] = row
        assert self.folded == self.table.view()
        assert all(self.table.get(key) == row for key, row in self.folded.items())
        self.table.check()


class Play:
    """Replicas that write at random, hear of some operations in any order, and begin, go on with and give up passes."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.replicas = [Replica(number) for number in range(1, rng.choice((2, 3, 4)) + 1)]
        self.keys = [b"k%d" % number for number in range(rng.choice((1, 3, 8)))]
        self.ops: dict[Dot, Op] = {}
        self.passes = 0

    def step(self) -> None:
        rng, replica = self.rng, self.rng.choice(self.replicas)
        what = rng.random()
        if what < 0.4:
            self.write(replica)
        elif what < 0.7 and self.ops:
            new = [dot for dot in self.ops if dot not in replica.table.received]
            dot = rng.choice(new if new and rng.random() < 0.8 else list(self.ops))
            assert replica.table.apply(dot, self.ops[dot]) is (dot in new)
        else:
            self.go_on(replica)
        replica.fold()

    def write(self, replica: Replica) -> None:
        table, key, what = replica.table, self.rng.choice(self.keys), self.rng.random()
        value = b"%d" % len(self.ops)
        if what < 0.3:
            op: Op | None = table.birth(key, value)
        elif what < 0.5:
            op = next(iter(table.removals(key)), None)
        else:
            op = table.write(key, self.rng.choice((b"f", b"g")), value)
        done = replica.do(op)
        if done is not None:
            self.ops[done[0]] = done[1]

    def go_on(self, replica: Replica) -> None:
        rng = self.rng
        if replica.session is None:
            other = rng.choice([other for other in self.replicas if other is not replica])
            replica.session = Reconciliation(replica.table), other
            return
        pass_, other = replica.session
        if rng.random() < 0.1:
            pass_.abandon()
            replica.session = None
        elif not pass_.begun:
            pass_.begin(other.table.bucket_sums(), other.table.received.told(), other.table.context.told())
        else:
            before, received = alive(replica.table), replica.table.received.told()
            for _ in range(rng.choice((1, 1, 2))):
                if (wanted := pass_.wanted) is not None:
                    assert pass_.take(*wanted, *other.table.part(*wanted, rng.choice((1, 400))))
            after = alive(replica.table)
            assert all(dot in after for dot in before), "before its end a pass takes nothing away"
            assert replica.table.received.told() == received, "before its end a pass claims nothing"
            if pass_.wanted is None:
                pass_.finish()
                replica.session = None
                self.passes += 1

    def end(self, by_operations: bool) -> None:
        """Everybody gets everything, and all are what the oracle says."""
        for replica in self.replicas:
            if replica.session is not None:
                replica.session[0].abandon()
        tables = [replica.table for replica in self.replicas]
        if by_operations:
            for table in tables:
                for dot in self.rng.sample(list(self.ops), len(self.ops)):
                    table.apply(dot, self.ops[dot])
        else:
            for table, other in [(table, other) for table in tables for other in tables if table is not other] * 2:
                reconcile(table, other, self.rng.choice((1, 400)))
        wanted = oracle(self.ops)
        for replica in self.replicas:
            replica.fold()
            assert shape(replica.table) == wanted
            assert all(dot in replica.table.received for dot in self.ops)
            assert replica.table.digest == tables[0].digest
            assert replica.table.received == tables[0].received


def play(rng: Random, steps: int, by_operations: bool) -> Play:
    """One whole play: all laws hold, or an assertion fails."""
    made = Play(rng)
    for _ in range(steps):
        made.step()
    made.end(by_operations)
    return made


def state(table: SharedTable) -> Any:
    """All that an operation may change."""
    return table.view(), alive(table), table.received.told(), table.context.told(), table.digest


def three() -> tuple[Replica, Replica, Replica]:
    """Three replicas, all of which have a row that the first one started."""
    replicas = Replica(1), Replica(2), Replica(3)
    start = tell(replicas[0], replicas[0].table.birth(K, b"born"), *replicas[1:])
    assert start == (*A, 1)
    return replicas


def tell(replica: Replica, op: Op | None, *others: Replica) -> Dot:
    """It does this and the others hear of it."""
    done = replica.do(op)
    assert done is not None
    for other in others:
        assert other.table.apply(*done)
        other.fold()
    replica.fold()
    return done[0]


def history(rng: Random, steps: int) -> dict[Dot, Op]:
    """What some replicas did that heard of each other now and then."""
    made = Play(rng)
    for _ in range(steps):
        replica = rng.choice(made.replicas)
        if rng.random() < 0.6 or not made.ops:
            made.write(replica)
        else:
            dot = rng.choice(list(made.ops))
            replica.table.apply(dot, made.ops[dot])
    return made.ops
