"""The ledger: the record, the clock that stamps our own operations, and what of both has to reach the disk.

It says nothing to anybody; the machine decides what follows from a change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from covey.core.clock import HybridClock, unpack
from covey.core.errors import invariant
from covey.core.ids import ClusterId, Contact, Site
from covey.core.vocabulary import Record as LogRecord
from covey.protocols.membership.config import MembershipConfig
from covey.protocols.membership.record import (
    HOST,
    IS_EPHEMERAL,
    IS_MEMBER,
    MEM,
    META,
    Key,
    Record,
    decode_op,
    encode_key,
    encode_op,
    key_of,
    well_formed,
)
from covey.wire.messages.membership import Op

CLUSTER, CLOCK, REJOIN = b"cluster", b"clock", b"rejoin"  # keys on disk beside the operations


class Ledger:
    """What this node holds of the cluster it is in.

    Law: an operation of our own is later than all we know on its key; a peer's is taken exactly if it is later; what is
    taken is marked for the disk in the same step.
    Invariants: imports only grow, and no entry is of a later one; our clock never leads the wall by more than its
    bound.
    """

    def __init__(
        self, config: MembershipConfig, me: Contact, shared: ClusterId, stored: Mapping[bytes, bytes], now_us: int
    ) -> None:
        self._config = config
        self.me = me
        self.record = Record()
        self.imports = 0
        self.refused = 0
        self.cluster = ClusterId(stored.get(CLUSTER, shared))
        self.rejoin_clock = int.from_bytes(stored.get(REJOIN, b""), "big")  # of what threw us out: a rejoin beats it
        self._dirty: dict[bytes, bytes | None] = {}
        self._gone: dict[Site, tuple[int, int]] = {}  # ephemeral lives that are gone: (incarnation, until)
        last = int.from_bytes(stored.get(CLOCK, b""), "big")
        for key in sorted(key for key in stored if key not in (CLUSTER, CLOCK, REJOIN)):
            op = decode_op(stored[key])
            self.imports += 1
            self.record.merge(op, self.imports, now_us)
            if op.origin == me.site:
                last = max(last, op.clock)
        self.clock = HybridClock(config.drift_ms_max, last)

    # --- writing ----------------------------------------------------------------------------------------------------

    def write(self, kind: int, target: Site, value: int | bytes, now_us: int) -> Op:
        """An operation of our own: it always wins here, and never drags the clock beyond its bound."""
        clock = self.clock.stamp(now_us)
        known = self.record.get(kind, target)
        if known is not None and known.clock >= clock:
            clock = known.clock + 1
            self.clock.accept(clock, now_us)
        op = Op(self.me.site, kind, target, clock, self.me.incarnation, value, self.clock.wall_ms(now_us))
        self.imports += 1
        self.take(op, now_us)
        return op

    def write_default(self, now_us: int) -> None:
        """That we belong, at clock 0: it beats nothing, so who was thrown out while it was down stays out."""
        me = self.me
        self.take(Op(me.site, MEM, me.site, 0, me.incarnation, self.own_flags(), 0), now_us)

    def write_return(self, now_us: int) -> None:
        """That we belong again, in a new life: later than what threw us out."""
        incarnation = max(self.me.incarnation + 1, self.clock.wall_ms(now_us))
        self.me = me = Contact(self.me.site, incarnation, self.me.address)
        clock = max(self.clock.stamp(now_us), self.rejoin_clock + 1)
        self.imports += 1
        wall_ms = self.clock.wall_ms(now_us)
        self.take(Op(me.site, MEM, me.site, clock, incarnation, self.own_flags(), wall_ms), now_us)

    def own_flags(self) -> int:
        return IS_MEMBER | (IS_EPHEMERAL if self._config.ephemeral else 0)

    # --- taking -----------------------------------------------------------------------------------------------------

    def take(self, op: Op, now_us: int) -> bool:
        """Merge one operation and mark it for the disk; False if it is not news."""
        if not self.record.merge(op, self.imports, now_us):
            return False
        self._dirty[encode_key(key_of(op))] = encode_op(op)
        return True

    def take_all(self, ops: Sequence[Op], now_us: int) -> tuple[list[tuple[Op, bool]], int]:
        """Merge a peer's operations: those that were news, each with whether its target belonged before, and by how
        many milliseconds the worst of their stamps leads our clock beyond its bound (0: none)."""
        news: list[tuple[Op, bool]] = []
        ahead_ms = 0
        for op in sorted(ops, key=lambda op: op.kind):  # who belongs comes before where it is
            if not self._acceptable(op):
                self.refused += 1
                continue
            if not self.clock.accept(op.clock, now_us):
                ahead_ms = max(ahead_ms, unpack(op.clock)[0] - self.clock.wall_ms(now_us))
            belonged = self.record.is_member(op.target)
            if self.take(op, now_us):
                news.append((op, belonged))
        return news, ahead_ms

    def _acceptable(self, op: Op) -> bool:
        if not well_formed(op):
            return False
        if op.kind != MEM:  # what was forgotten does not come back piecemeal
            return self.record.is_member(op.target) or self.record.get(op.kind, op.target) is not None
        gone = self._gone.get(op.target)
        if gone is not None and op.magic <= gone[0]:
            return False
        if self.record.knows(op.target):
            return True
        # The farewell of an ephemeral site we never met is not worth a record.
        return op.value != IS_EPHEMERAL and len(self.record) < 3 * self._config.members_max

    def is_news(self, op: Op) -> bool:
        """Whether `op` would change the record."""
        known = self.record.get(op.kind, op.target)
        return known is None or (op.clock, op.magic, op.origin) > (known.clock, known.magic, known.origin)

    # --- forgetting -------------------------------------------------------------------------------------------------

    def forget(self, key: Key) -> None:
        if self.record.forget(key):
            self._dirty[encode_key(key)] = None

    def forget_ephemeral(self, site: Site, now_us: int) -> None:
        """Every trace but one: that this life is gone, so that a late echo does not bring it back."""
        op = self.record.get(MEM, site)
        if op is None:
            return
        for kind in (MEM, HOST, META):
            self.forget((kind, site))
        self._gone[site] = (op.magic, now_us + 2 * self._config.forget_ephemeral_us)
        if len(self._gone) > self._config.members_max:
            del self._gone[next(iter(self._gone))]

    def forget_echoes(self, now_us: int) -> None:
        self._gone = {site: gone for site, gone in self._gone.items() if gone[1] > now_us}

    def reset(self, cluster: ClusterId) -> None:
        """Another cluster: nothing but the clocks is kept, so that no stamp is ever used twice."""
        for entry in list(self.record.entries()):
            self.forget(key_of(entry.op))
        self.cluster = cluster
        self._dirty[CLUSTER] = bytes(cluster)
        self._dirty[CLOCK] = self.clock.last.to_bytes(8, "big")
        self._dirty[REJOIN] = self.rejoin_clock.to_bytes(8, "big")

    def drain(self) -> tuple[LogRecord, ...]:
        """What has to reach the disk since the last call."""
        records = tuple(LogRecord(key, value) for key, value in self._dirty.items())
        self._dirty = {}
        return records

    def check(self) -> None:
        self.record.check()
        invariant(len(self._gone) <= self._config.members_max, "echoes remembered are bounded")
        for entry in self.record.entries():
            invariant(0 <= entry.imported <= self.imports, "nothing was imported in the future")
