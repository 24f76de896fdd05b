"""The ledger: the record, the clock that stamps our own operations, and what of both has to reach the disk.

It says nothing to anybody; the machine decides what follows from a change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from covey.core.clock import STAMP_MAX, HybridClock, unpack
from covey.core.errors import UsageError, invariant
from covey.core.ids import INCARNATION_MAX, ClusterId, Contact, Site
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
    encode_address,
    encode_key,
    encode_op,
    key_of,
    op_bytes,
    stamp,
    well_formed,
)
from covey.wire.messages.membership import Op

# Keys on disk beside the operations.
HOME, CLUSTER, CLOCK, REJOIN, VERDICT = b"home", b"cluster", b"clock", b"rejoin", b"verdict"
BESIDE = frozenset({HOME, CLUSTER, CLOCK, REJOIN, VERDICT})


def home_of(stored: Mapping[bytes, bytes]) -> ClusterId | None:
    """The cluster whose record was stored; None if there is none yet."""
    return ClusterId(stored[HOME]) if HOME in stored else None


class Ledger:
    """What this node holds of the cluster it is in.

    Law: an operation of our own is later than all we know on its key; a peer's is taken exactly if it is later; what is
    taken is marked for the disk in the same step. The clock of a later start is not before any stamp it gave out here.
    Invariants: `imported <= changed <= imports` for every entry, and these only grow; what one import brought is
    bounded; our clock never leads the wall by more than its bound.
    """

    def __init__(
        self, config: MembershipConfig, me: Contact, shared: ClusterId, stored: Mapping[bytes, bytes], now_us: int,
        said: bytes | None = None,
    ) -> None:  # fmt: skip
        """`said`: the metadata to say from now on; None: what was stored."""
        self._config = config
        self.me = me
        self.record = Record()
        self.imports = 0
        self.changed = 0  # the last import that brought anything
        self.refused = 0
        self.cluster = ClusterId(stored.get(CLUSTER, shared))
        self.rejoin_clock = int.from_bytes(stored.get(REJOIN, b""), "big")  # of what threw us out: a rejoin beats it
        self.verdict = decode_op(stored[VERDICT]) if VERDICT in stored else None  # what threw us out, while we are out
        self._kept_verdict = self.verdict
        self._ops = self._bytes = 0  # what this import has brought
        self._dirty: dict[bytes, bytes | None] = {} if HOME in stored else {HOME: bytes(shared)}
        self._gone: dict[Site, tuple[Op, int]] = {}  # forgotten ephemeral sites: (the last word on them, until)
        last = int.from_bytes(stored.get(CLOCK, b""), "big")
        for key in sorted(key for key in stored if key not in BESIDE):
            op = decode_op(stored[key])
            self.imports += 1
            self.record.merge(op, self.imports, now_us)
            if op.origin == me.site and self._tells_clock(op):
                last = max(last, op.clock)
        self.changed = self.imports
        meta = self.record.get(META, me.site)
        stood = None if meta is None else bytes(meta.value)
        self.meta = stood if said is None else said  # what we say; None: nothing
        self.clock = HybridClock(config.drift_ms_max, last)

    # --- writing ----------------------------------------------------------------------------------------------------

    def write(self, kind: int, target: Site, value: int | bytes, now_us: int) -> Op:
        """An operation of our own: it always wins here, and never drags the clock beyond its bound.

        Raises `UsageError`, and changes nothing, where there is no later stamp.
        """
        known = self.record.get(kind, target)
        clock = self._stamp(0 if known is None else known.clock + 1, now_us)
        op = Op(self.me.site, kind, target, clock, self.me.incarnation, value, self.clock.wall_ms(now_us))
        self.begin_import()
        self.take(op, now_us)
        return op

    def can_write(self, kind: int, target: Site) -> bool:
        """Whether there is a later stamp than the one that stands."""
        known = self.record.get(kind, target)
        return known is None or known.clock < STAMP_MAX

    def write_default(self, now_us: int) -> None:
        """That we belong, at clock 0: it beats nothing, so who was thrown out while it was down stays out."""
        me = self.me
        self.take(Op(me.site, MEM, me.site, 0, me.incarnation, self.own_flags(), 0), now_us)

    def write_return(self, now_us: int) -> None:
        """That we belong again, in a new life: later than what threw us out. Raises `UsageError` like `write`."""
        self.begin_life(0, now_us)
        self.write_again(now_us)

    def begin_life(self, above: int, now_us: int) -> None:
        """A life of this site that is later than this one and than `above`."""
        incarnation = max(self.me.incarnation + 1, above + 1, self.clock.wall_ms(now_us))
        self.me = Contact(self.me.site, min(incarnation, INCARNATION_MAX), self.me.address)

    def can_begin_life(self) -> bool:
        """Whether there is a later life than this one."""
        return self.me.incarnation < INCARNATION_MAX

    def write_again(self, now_us: int) -> None:
        """That we belong again, in this life, which is a new one already. Raises `UsageError` like `write`."""
        me, clock = self.me, self._stamp(self.rejoin_clock + 1, now_us)
        self.begin_import()
        self.take(
            Op(me.site, MEM, me.site, clock, me.incarnation, self.own_flags(), self.clock.wall_ms(now_us)), now_us
        )

    def write_details(self, now_us: int) -> list[Op]:
        """Where we are and our metadata, where anything else stands: nothing, or what an earlier life wrote."""
        me = self.me
        if not self.record.knows(me.site):
            return []
        written: list[Op] = []
        host, meta = self.record.get(HOST, me.site), self.record.get(META, me.site)
        address = encode_address(me.address)
        stands = host is not None and host.value == address and host.magic == me.incarnation
        if address is not None and not stands and self.can_write(HOST, me.site):
            written.append(self.write(HOST, me.site, address, now_us))
        stands = self.meta == (meta.value if meta is not None else b"")  # who never said anything need not say nothing
        if self.meta is not None and not stands and self.can_write(META, me.site):
            written.append(self.write(META, me.site, self.meta, now_us))
        return written

    def own_flags(self) -> int:
        """The value that says that we belong, and of which kind we are."""
        return IS_MEMBER | (IS_EPHEMERAL if self._config.ephemeral else 0)

    def _stamp(self, clock_min: int, now_us: int) -> int:
        """The next stamp of the clock, or `clock_min` where that is later; the clock learns it within its bound."""
        if clock_min > STAMP_MAX:
            raise UsageError(
                "what stands there has the last stamp there is; nothing was changed, and nothing later can be written"
            )
        clock = self.clock.stamp(now_us)
        if clock < clock_min:
            clock = clock_min
            self.clock.accept(clock, now_us)
        if unpack(clock)[0] > self.clock.wall_ms(now_us) + self._config.drift_ms_max:
            self._keep_clock()
        return clock

    def _tells_clock(self, op: Op) -> bool:
        """Whether our clock was at least at `op` when we wrote it: unless the key forced it to run ahead, it was."""
        return unpack(op.clock)[0] <= op.wall_ms + self._config.drift_ms_max

    def _keep_clock(self) -> None:
        """The clock goes to the disk by itself, where none of our operations there will tell it."""
        self._dirty[CLOCK] = self.clock.last.to_bytes(8, "big")

    # --- taking -----------------------------------------------------------------------------------------------------

    def begin_import(self) -> None:
        """What is taken from now on came later than all before."""
        self.imports += 1
        self._ops = self._bytes = 0

    def take(self, op: Op, now_us: int) -> bool:
        """Merge one operation and mark it for the disk; False if it is not news."""
        if not self.is_news(op):
            return False
        size = op_bytes(op)
        if self._ops >= self._config.sync_ops_max or self._bytes + size > self._config.sync_bytes_aim:
            self.begin_import()
        self._ops += 1
        self._bytes += size
        known = self.record.get(op.kind, op.target)
        if known is not None and known.clock and known.magic == self.me.incarnation != op.magic:
            self._keep_clock()  # an operation of this life goes from the disk, and with it what it tells
        self.record.merge(op, self.imports, now_us)
        self.changed = self.imports
        self._dirty[encode_key(key_of(op))] = encode_op(op)
        if op.kind == MEM:
            self._gone.pop(op.target, None)
        return True

    def take_all(self, ops: Sequence[Op], now_us: int) -> tuple[list[tuple[Op, bool]], int]:
        """Merge a peer's operations.

        Returns those that were news, each with whether its target belonged before, and by how many milliseconds the
        worst of their stamps leads our wall clock, if that is worth a warning (else 0). A stamp that our own clock has
        reached is not: it may come from a good clock that was drawn ahead, like ours, within the bound.
        """
        news: list[tuple[Op, bool]] = []
        ahead_ms = 0
        for op in sorted(ops, key=lambda op: op.kind):  # who belongs comes before where it is
            if not self._acceptable(op):
                self.refused += 1
                continue
            if op.clock > self.clock.last and (lead_ms := self.lead_ms(op, now_us)) >= self._config.skew_ms_min:
                ahead_ms = max(ahead_ms, lead_ms)
            self.clock.accept(op.clock, now_us)
            belonged = self.record.is_member(op.target)
            if self.take(op, now_us):
                news.append((op, belonged))
        return news, ahead_ms

    def lead_ms(self, op: Op, now_us: int) -> int:
        """By how much a stamp leads our wall clock."""
        return unpack(op.clock)[0] - self.clock.wall_ms(now_us)

    def _acceptable(self, op: Op) -> bool:
        if not well_formed(op) or op.clock > STAMP_MAX:
            return False
        if op.kind != MEM:  # what was forgotten does not come back piecemeal
            return self.record.is_member(op.target) or self.record.get(op.kind, op.target) is not None
        gone = self._gone.get(op.target)
        if gone is not None and stamp(op) <= stamp(gone[0]):
            return False
        if self.record.knows(op.target):
            return True
        # The farewell of an ephemeral site we never met is not worth a record.
        return op.value != IS_EPHEMERAL and len(self.record) < 3 * self._config.members_max

    def is_news(self, op: Op) -> bool:
        """Whether `op` would change the record."""
        known = self.record.get(op.kind, op.target)
        return known is None or stamp(op) > stamp(known)

    # --- forgetting -------------------------------------------------------------------------------------------------

    def forget(self, key: Key) -> None:
        """Drop what stands under a key, here and on the disk."""
        if self.record.forget(key):
            self._dirty[encode_key(key)] = None

    def forget_ephemeral(self, site: Site, now_us: int) -> None:
        """Every trace but one: the last word on it, for a while, so that a late echo does not bring it back."""
        op = self.record.get(MEM, site)
        if op is None:
            return
        for kind in (MEM, HOST, META):
            self.forget((kind, site))
        self._gone.pop(site, None)
        self._gone[site] = (op, now_us + 2 * self._config.forget_ephemeral_us)
        if len(self._gone) > self._config.members_max:
            del self._gone[next(iter(self._gone))]

    def forget_echoes(self, now_us: int) -> None:
        """Drop the last words whose time is over."""
        self._gone = {site: gone for site, gone in self._gone.items() if gone[1] > now_us}

    def out(self) -> Op | None:
        """What says that we do not belong, in the record of this cluster."""
        op = self.record.get(MEM, self.me.site)
        return None if op is None or self.record.is_member(self.me.site) else op

    def last_word(self, site: Site) -> Op | None:
        """What stood, or stood last, about whether `site` belongs."""
        op = self.record.get(MEM, site)
        if op is None and (gone := self._gone.get(site)) is not None:
            return gone[0]
        return op

    def reset(self, cluster: ClusterId) -> None:
        """Another cluster: nothing but the clocks is kept, so that no stamp is ever used twice."""
        self._drop_all()
        self.cluster = cluster
        self._dirty[CLUSTER] = bytes(cluster)
        self._keep_clock()
        self._dirty[REJOIN] = self.rejoin_clock.to_bytes(8, "big")
        if self.verdict != self._kept_verdict:
            self._kept_verdict = self.verdict
            self._dirty[VERDICT] = None if self.verdict is None else encode_op(self.verdict)

    def wipe(self) -> None:
        """Drop all operations. The clock stays, also on the disk, where none of them will tell it any more."""
        self._drop_all()
        self._keep_clock()

    def _drop_all(self) -> None:
        for entry in list(self.record.entries()):
            self.forget(key_of(entry.op))
        self._gone.clear()

    def drain(self) -> tuple[LogRecord, ...]:
        """What has to reach the disk since the last call."""
        records = tuple(LogRecord(key, value) for key, value in self._dirty.items())
        self._dirty = {}
        return records

    def check(self) -> None:
        self.record.check()
        invariant(len(self._gone) <= self._config.members_max, "echoes remembered are bounded")
        invariant(self.changed <= self.imports, "what changed came with an import")
        brought: dict[int, list[int]] = {}
        for entry in self.record.entries():
            brought.setdefault(entry.imported, []).append(op_bytes(entry.op))
            invariant(0 <= entry.imported <= self.imports, "nothing was imported in the future")
            invariant(entry.imported <= self.changed, "no entry is later than the last change")
        for sizes in brought.values():
            small = len(sizes) <= self._config.sync_ops_max and sum(sizes) <= self._config.sync_bytes_aim
            invariant(small or len(sizes) == 1, "what one import brought is bounded")
