"""Membership: who belongs to the cluster, decided by people and durable.

The record is classy's (see `record`); it travels three ways. A fresh operation floods to the neighbours. Members
compare digests, and where they differ even out by `Sync`: everything imported since the peer's last acknowledgement,
with gap detection. And whoever speaks without belonging gets the verdict on the link it came by.

Whether a member is alive is the detector's opinion and stands elsewhere.

Durability: every accepted operation is persisted before anything that depends on it leaves (`engine.gate`), so what a
peer or an event saw is on this disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Any

import msgspec

from covey.core.clock import HybridClock
from covey.core.errors import JoinFailed, UnknownName, invariant
from covey.core.ids import ClusterId, Contact, Site, short
from covey.core.rng import jittered
from covey.core.timers import Timers
from covey.core.vocabulary import (
    AddressAnswered,
    AddressFailed,
    AddressLearned,
    Channel,
    ClusterChanged,
    Dial,
    DigestsChanged,
    DigestsHeard,
    Emit,
    Flood,
    Liveness,
    LivenessChanged,
    MemberAdded,
    MemberRemoved,
    MessagesReceived,
    PeerConnected,
    PeerLost,
    Persist,
    Refuse,
    Resolve,
    Send,
    Tick,
    WallOffset,
)
from covey.core.vocabulary import (
    Record as LogRecord,
)
from covey.protocols.membership.config import MembershipConfig
from covey.protocols.membership.floors import Floor, Floors, chunk
from covey.protocols.membership.record import (
    HOST,
    IS_EPHEMERAL,
    IS_MEMBER,
    MEM,
    META,
    Entry,
    Key,
    Record,
    decode_op,
    encode_key,
    encode_op,
    key_of,
    well_formed,
)
from covey.protocols.membership.vocabulary import (
    Cleanup,
    ClockSkew,
    Flush,
    Join,
    Kick,
    Kicked,
    Leave,
    MemberJoined,
    MemberLeft,
    Outcome,
    SetMember,
    SetMeta,
)
from covey.protocols.membership.waits import Wait
from covey.wire.messages.membership import Digests, News, Op, Sync

Effect = Any
LOG = "membership"

_CLUSTER, _CLOCK, _REJOIN = b"cluster", b"clock", b"rejoin"  # keys on disk beside the operations


class MembershipStatistics(msgspec.Struct, frozen=True):
    members: int
    operations: int
    imports: int
    floors: int
    syncs_sent: int
    syncs_received: int
    gaps: int
    operations_refused: int
    verdicts: int
    strays: int


class Membership:
    """The replicated, durable record of who belongs.

    Law: two nodes that hold the same operations show the same members; a command given later wins, also across a split;
    a site that was thrown out appears again only by an operation with a later stamp.
    Invariants: the digests are those of the entries; imports only grow; floors and waits are bounded; we are always in
    our own record.
    """

    def __init__(
        self,
        config: MembershipConfig,
        rng: Random,
        now_us: int,
        *,
        me: Contact,
        shared: ClusterId,
        stored: Mapping[bytes, bytes] | None = None,
    ) -> None:
        self._config = config
        self._rng = rng
        self._me = me
        self._shared = shared
        self.cluster = shared
        self.record = Record()
        self.imports = 0
        self._rejoin_clock = 0  # of the operation that threw us out: a rejoin must beat it
        self._clock = HybridClock(config.drift_ms_max)
        self._floors = Floors(config.members_max)
        self._links: dict[Site, Contact] = {}
        self._waits: dict[int, Wait] = {}
        self._joining: Join | None = None
        self._was_solo = ClusterId(b"")
        self._vanished: dict[Site, int] = {}  # ephemeral members held down, since when
        self._forgotten: dict[Site, tuple[int, int]] = {}  # ephemeral lives that are gone: (incarnation, until)
        self._skewed: dict[Site, None] = {}
        self._told_digests = b""
        self._dirty: dict[bytes, bytes | None] = {}
        self._timers: Timers[tuple[Any, ...]] = Timers()
        counted = ("syncs_sent", "syncs_received", "gaps", "operations_refused", "verdicts", "strays")
        self._counts = dict.fromkeys(counted, 0)
        self._load(stored or {}, now_us)
        self._timers.set(("boot",), now_us)
        self._timers.set(("digest",), now_us + jittered(rng, config.digest_period_us))
        self._timers.set(("cleanup",), now_us + jittered(rng, config.cleanup_period_us))
        self._handlers: dict[type, Callable[[Any, int], list[Effect]]] = {
            MessagesReceived: self._on_messages,
            Tick: self._on_tick,
            PeerConnected: self._on_connected,
            PeerLost: self._on_lost,
            DigestsHeard: self._on_digests_heard,
            LivenessChanged: self._on_liveness,
            WallOffset: self._on_offset,
            AddressLearned: self._on_address,
            AddressAnswered: lambda fact, now_us: [],
            AddressFailed: self._on_address_failed,
            SetMember: self._on_set_member,
            SetMeta: self._on_set_meta,
            Kick: self._on_kick,
            Leave: self._on_leave,
            Join: self._on_join,
            Flush: self._on_flush,
            Cleanup: self._on_cleanup,
        }

    # --- the machine's door -----------------------------------------------------------------------------------------

    def handle(self, incoming: Any, now_us: int) -> Sequence[Effect]:
        effects = self._handlers[type(incoming)](incoming, now_us)
        digests = self.record.digest + self.record.kicked_digest
        if digests != self._told_digests:
            self._told_digests = digests
            effects.append(DigestsChanged(digests))
        if self._dirty:
            records = tuple(LogRecord(key, value) for key, value in self._dirty.items())
            self._dirty = {}
            effects.insert(0, Persist(LOG, records))
        return effects

    def deadline(self) -> int | None:
        return self._timers.deadline()

    def check(self) -> None:
        self.record.check()
        invariant(len(self._floors) <= self._config.members_max, "floors are bounded")
        invariant(("boot",) in self._timers or self.record.knows(self._me.site), "we are in our own record")
        for request in self._waits:
            invariant(("wait", request) in self._timers, "every wait has a deadline")
        for entry in self.record.entries():
            invariant(0 <= entry.imported <= self.imports, "nothing was imported in the future")

    def statistics(self) -> MembershipStatistics:
        return MembershipStatistics(
            members=len(self.record.members()),
            operations=len(self.record),
            imports=self.imports,
            floors=len(self._floors),
            **self._counts,
        )

    # --- queries ----------------------------------------------------------------------------------------------------

    @property
    def solo(self) -> bool:
        """Whether we were thrown out, or left, and go on alone."""
        return self.cluster != self._shared

    def members(self) -> list[Site]:
        return self.record.members()

    def contact(self, site: Site) -> Contact | None:
        """Where a recorded site is, and in which life, as far as it said so itself."""
        if not self.record.knows(site):
            return None
        own = [op for kind in (MEM, HOST) if (op := self.record.get(kind, site)) is not None and op.origin == site]
        return Contact(site, max((op.magic for op in own), default=0), self.record.address(site))

    # --- starting ---------------------------------------------------------------------------------------------------

    def _load(self, stored: Mapping[bytes, bytes], now_us: int) -> None:
        self.cluster = ClusterId(stored.get(_CLUSTER, self._shared))
        self._rejoin_clock = int.from_bytes(stored.get(_REJOIN, b""), "big")
        last = int.from_bytes(stored.get(_CLOCK, b""), "big")
        for key in sorted(stored):
            if key in (_CLUSTER, _CLOCK, _REJOIN):
                continue
            op = decode_op(stored[key])
            self.imports += 1
            self.record.merge(op, self.imports, now_us)
            if op.origin == self._me.site:
                last = max(last, op.clock)
        self._clock = HybridClock(self._config.drift_ms_max, last)

    def _boot(self, now_us: int) -> list[Effect]:
        """Write that we belong, as a default that beats nothing: who was thrown out while it was down stays out."""
        me = self._me.site
        effects: list[Effect] = []
        for site in self.record.members():
            contact = self.contact(site)
            if contact is not None and site != me:
                effects.append(MemberAdded(contact, self.record.is_ephemeral(site), False))
        if not self.record.knows(me):
            self._take(Op(me, MEM, me, 0, self._me.incarnation, self._membership_flags(), 0), now_us)
        elif not self.record.is_member(me) and not self.solo:
            effects += self._go_alone(self.record.get(MEM, me), now_us)
        return effects + self._write_address(now_us)

    def _membership_flags(self) -> int:
        return IS_MEMBER | (IS_EPHEMERAL if self._config.ephemeral else 0)

    def _write_address(self, now_us: int) -> list[Effect]:
        op = self.record.get(HOST, self._me.site)
        if not self._me.address or not self.record.knows(self._me.site):
            return []
        if op is not None and op.value == self._me.address.encode() and op.magic == self._me.incarnation:
            return []
        return self._write(HOST, self._me.site, self._me.address.encode(), now_us)

    # --- operations -------------------------------------------------------------------------------------------------

    def _write(self, kind: int, target: Site, value: int | bytes, now_us: int) -> list[Effect]:
        """An operation of our own: it always wins here, and never drags the clock beyond its bound."""
        clock = self._clock.stamp(now_us)
        known = self.record.get(kind, target)
        if known is not None and known.clock >= clock:
            clock = known.clock + 1
            self._clock.accept(clock, now_us)
        wall_ms = self._clock.wall_ms(now_us)
        op = Op(self._me.site, kind, target, clock, self._me.incarnation, value, wall_ms)
        self.imports += 1
        before = self.record.is_member(target)
        self._take(op, now_us)
        effects = self._consequences(op, before)
        if self._config.flood:
            effects.append(Flood(News((op,))))
        return effects

    def _take(self, op: Op, now_us: int) -> bool:
        """Merge one operation and mark it for the disk."""
        if not self.record.merge(op, self.imports, now_us):
            return False
        self._dirty[encode_key(key_of(op))] = encode_op(op)
        return True

    def _import(self, ops: Sequence[Op], sender: Site, now_us: int) -> tuple[list[Op], list[Effect]]:
        """Merge a peer's operations: those that were news, and what follows from them."""
        news: list[Op] = []
        effects: list[Effect] = []
        verdict: Op | None = None
        for op in sorted(ops, key=lambda op: op.kind):  # who belongs comes before where it is
            if not self._acceptable(op, now_us):
                self._counts["operations_refused"] += 1
                continue
            if not self._clock.accept(op.clock, now_us) and sender not in self._skewed:
                self._skewed[sender] = None
                ahead_ms = (op.clock >> 16) - self._clock.wall_ms(now_us)
                effects.append(Emit(ClockSkew(sender, ahead_ms)))
            before = self.record.is_member(op.target)
            if not self._take(op, now_us):
                continue
            news.append(op)
            effects += self._consequences(op, before)
            if op.kind == MEM and op.target == self._me.site and not self.record.is_member(op.target):
                verdict = op
        if verdict is not None and not self.solo:
            effects += self._go_alone(verdict, now_us)
        return news, effects

    def _acceptable(self, op: Op, now_us: int) -> bool:
        if not well_formed(op):
            return False
        known = self.record.knows(op.target)
        if op.kind == MEM:
            flags = int(op.value)
            gone = self._forgotten.get(op.target)
            if gone is not None and op.magic <= gone[0]:
                return False
            if flags == IS_EPHEMERAL and not known:
                return False  # the farewell of an ephemeral site we never met
            return known or len(self.record) < 3 * self._config.members_max
        # What was forgotten does not come back piecemeal.
        return self.record.is_member(op.target) or self.record.get(op.kind, op.target) is not None

    def _consequences(self, op: Op, was_member: bool) -> list[Effect]:
        """What an accepted operation means to the other machines and to the user."""
        target = op.target
        is_member = self.record.is_member(target)
        effects: list[Effect] = []
        if op.kind == MEM and is_member != was_member:
            event = MemberJoined(target, op.origin) if is_member else MemberLeft(target, op.origin)
            effects.append(Emit(event))
            if not is_member:
                self._vanished.pop(target, None)
                effects.append(MemberRemoved(target))
        if is_member and target != self._me.site and op.kind != META:
            contact = self.contact(target)
            assert contact is not None
            effects.append(MemberAdded(contact, self.record.is_ephemeral(target), op.origin == target))
        return effects

    # --- messages ---------------------------------------------------------------------------------------------------

    def _on_messages(self, received: MessagesReceived, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        for message in received.messages:
            if received.peer not in self._links:  # said in a cluster that we have left meanwhile
                self._counts["strays"] += 1
                continue
            match message:
                case Sync():
                    effects += self._on_sync(received.peer, message, now_us)
                case News(ops):
                    effects += self._on_news(received.peer, ops, now_us)
                case Digests(record, kicked):
                    effects += self._compare(received.peer, record, kicked, now_us)
        return effects

    def _on_news(self, peer: Site, ops: Sequence[Op], now_us: int) -> list[Effect]:
        if any(self._is_new(op) for op in ops):
            self.imports += 1
        cluster = self.cluster
        news, effects = self._import(ops, peer, now_us)
        if news and self._config.flood and self.cluster == cluster:
            effects.append(Flood(News(tuple(news)), peer))
        return effects + self._judge(peer)

    def _is_new(self, op: Op) -> bool:
        known = self.record.get(op.kind, op.target)
        return known is None or (op.clock, op.magic, op.origin) > (known.clock, known.magic, known.origin)

    def _on_sync(self, peer: Site, sync: Sync, now_us: int) -> list[Effect]:
        floor = self._floor(peer)
        self._counts["syncs_received"] += 1
        effects: list[Effect] = []
        floor.acked_out = sync.acked
        if floor.acked_in < sync.since:  # a gap: our answer tells the truth, and the peer goes back to it
            self._counts["gaps"] += 1
            return [*self._acknowledged(peer, floor), *self._sync(peer, False, now_us)]
        self.imports += 1
        cluster = self.cluster
        news, effects = self._import(sync.ops, peer, now_us)
        if self.cluster != cluster:  # it was our verdict: nothing of the old cluster concerns us any more
            return effects
        floor.acked_in = sync.imports
        if news and self._config.flood:
            effects.append(Flood(News(tuple(news)), peer))
        effects += self._acknowledged(peer, floor)
        effects += self._joined(peer)
        if sync.answer or sync.digest != self.record.digest:
            effects += self._sync(peer, False, now_us) if sync.answer else self._sync_soon(peer, floor, now_us)
        return effects + self._judge(peer)

    def _judge(self, peer: Site) -> list[Effect]:
        """Whoever speaks without belonging is told so, on the link it came by."""
        op = self.record.get(MEM, peer)
        if op is None or self.record.is_member(peer) or self.solo:
            return []
        self._counts["verdicts"] += 1
        return [Send(peer, News((op,)))]

    def _sync(self, site: Site, answer: bool, now_us: int) -> list[Effect]:
        """All that we imported since the peer's acknowledgement, or the oldest part of it."""
        floor = self._floor(site)
        floor.paused_until_us = now_us + self._config.sync_pause_us
        entries, imports = chunk(self.record.since(floor.acked_out), self.imports, self._config.sync_ops_max)
        ops = tuple(entry.op for entry in entries)
        self._counts["syncs_sent"] += 1
        message = Sync(floor.acked_out, floor.acked_in, imports, ops, self.record.digest, answer)
        return [Send(site, message, self.record.address(site))]

    def _sync_soon(self, site: Site, floor: Floor, now_us: int) -> list[Effect]:
        """Sync now, or when the pause after the last one is over."""
        if floor.paused_until_us <= now_us:
            return self._sync(site, False, now_us)
        self._timers.set_earlier(("sync", site), floor.paused_until_us)
        return []

    def _compare(self, peer: Site, record: bytes, kicked: bytes, now_us: int) -> list[Effect]:
        """A peer's digests: even out where they differ, and learn who has seen which kick."""
        floor = self._floor(peer)
        floor.kicked = kicked
        effects = self._judge(peer)
        if record != self.record.digest:
            effects += self._sync_soon(peer, floor, now_us)
        return effects

    def _on_digests_heard(self, fact: DigestsHeard, now_us: int) -> list[Effect]:
        if len(fact.digests) < 16:
            return []
        return self._compare(fact.site, fact.digests[:8], fact.digests[8:16], now_us)

    def _floor(self, site: Site) -> Floor:
        contact = self._links.get(site) or Contact(site, 0, "")
        floor = self._floors.get(site)
        if floor is not None and (site not in self._links or floor.incarnation == contact.incarnation):
            return floor
        return self._floors.meet(contact)

    def _on_connected(self, fact: PeerConnected, now_us: int) -> list[Effect]:
        if fact.channel is not Channel.CONTROL:
            return []
        self._links[fact.contact.site] = fact.contact
        self._floors.meet(fact.contact)
        return [Send(fact.contact.site, Digests(self.record.digest, self.record.kicked_digest))]

    def _on_lost(self, fact: PeerLost, now_us: int) -> list[Effect]:
        if fact.channel is Channel.CONTROL:
            self._links.pop(fact.contact.site, None)
            self._timers.cancel(("sync", fact.contact.site))
        return []

    # --- commands ---------------------------------------------------------------------------------------------------

    def _on_set_member(self, command: SetMember, now_us: int) -> list[Effect]:
        ephemeral = IS_EPHEMERAL if self.record.is_ephemeral(command.target) else 0
        effects = self._write(MEM, command.target, ephemeral | (IS_MEMBER if command.member else 0), now_us)
        op = self.record.get(MEM, command.target)
        assert op is not None
        effects.append(Resolve(command.request, op.clock))
        if command.target == self._me.site and not command.member and not self.solo:
            effects += self._go_alone(op, now_us)
        return effects

    def _on_set_meta(self, command: SetMeta, now_us: int) -> list[Effect]:
        effects = self._write(META, self._me.site, command.meta, now_us)
        return [*effects, Resolve(command.request)]

    def _on_kick(self, command: Kick, now_us: int) -> list[Effect]:
        if not self.record.knows(command.target):
            detail = f"site {short(command.target)} was never a member here; nothing was changed"
            return [Refuse(command.request, UnknownName(detail))]
        ephemeral = IS_EPHEMERAL if self.record.is_ephemeral(command.target) else 0
        others = [site for site in self.members() if site not in (self._me.site, command.target)]
        effects = self._write(MEM, command.target, ephemeral, now_us)
        return effects + self._ask_all(command.request, [*others, command.target], others, False, now_us)

    def _on_flush(self, command: Flush, now_us: int) -> list[Effect]:
        others = [site for site in self.members() if site != self._me.site]
        return self._ask_all(command.request, others, others, False, now_us)

    def _on_leave(self, command: Leave, now_us: int) -> list[Effect]:
        others = [site for site in self.members() if site != self._me.site]
        if self.solo:
            return [Resolve(command.request, Outcome((), ()))]
        flags = IS_EPHEMERAL if self._config.ephemeral else 0
        effects = self._write(MEM, self._me.site, flags, now_us)
        return effects + self._ask_all(command.request, others, others, True, now_us)

    def _ask_all(
        self, request: int, told: Iterable[Site], awaited: Iterable[Site], leaving: bool, now_us: int
    ) -> list[Effect]:
        """Sync with all of them at once, and wait until those that matter have acknowledged."""
        wait = self._waits[request] = Wait(request, self.imports, awaited, leaving)
        self._timers.set(("wait", request), now_us + self._config.answer_us_max)
        effects: list[Effect] = []
        for site in told:
            effects += self._sync(site, True, now_us)
        return effects if not wait.over else effects + self._end_wait(wait, now_us)

    def _acknowledged(self, peer: Site, floor: Floor) -> list[Effect]:
        effects: list[Effect] = []
        for wait in list(self._waits.values()):
            if peer in wait.missing and floor.acked_out >= wait.imported:
                del wait.missing[peer]
                wait.acknowledged[peer] = None
                if wait.over:
                    effects += self._end_wait(wait, None)
        return effects

    def _end_wait(self, wait: Wait, now_us: int | None) -> list[Effect]:
        self._waits.pop(wait.request, None)
        self._timers.cancel(("wait", wait.request))
        effects: list[Effect] = [Resolve(wait.request, wait.outcome())]
        if wait.leaving:
            self._timers.set(("alone",), 0 if now_us is None else now_us)
        return effects

    # --- joining, and going alone -----------------------------------------------------------------------------------

    def _on_join(self, command: Join, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        self._joining = command
        self._was_solo = self.cluster if self.solo else ClusterId(b"")
        if self.solo:
            self._reset(self._shared, now_us)
            incarnation = max(self._me.incarnation + 1, self._clock.wall_ms(now_us))
            self._me = Contact(self._me.site, incarnation, self._me.address)
            clock = max(self._clock.stamp(now_us), self._rejoin_clock + 1)
            self.imports += 1
            me, wall_ms = self._me.site, self._clock.wall_ms(now_us)
            self._take(Op(me, MEM, me, clock, incarnation, self._membership_flags(), wall_ms), now_us)
            effects.append(ClusterChanged(self.cluster, incarnation))
            effects += self._write_address(now_us)
        return [*effects, Dial(command.address)]

    def _joined(self, peer: Site) -> list[Effect]:
        """The first exchange with anybody of the cluster completes a join."""
        if self._joining is None:
            return []
        joining, self._joining = self._joining, None
        return [Resolve(joining.request, self.contact(peer))]

    def _on_address_failed(self, fact: AddressFailed, now_us: int) -> list[Effect]:
        joining = self._joining
        if joining is None or joining.address != fact.address:
            return []
        self._joining = None
        detail = f"nobody of this cluster answers at {fact.address} ({fact.cause.name.lower()}); nothing was joined"
        effects: list[Effect] = [Refuse(joining.request, JoinFailed(detail))]
        if self._was_solo:
            self._reset(self._was_solo, now_us)
            self._take_default(now_us)
            effects.append(ClusterChanged(self.cluster, self._me.incarnation))
        return effects

    def _go_alone(self, verdict: Op | None, now_us: int) -> list[Effect]:
        """We do not belong any more: a new cluster of our own, which can never be merged back by accident."""
        assert verdict is not None
        effects: list[Effect] = [MemberRemoved(site) for site in self.members() if site != self._me.site]
        effects += [Resolve(wait.request, wait.outcome()) for wait in self._waits.values()]
        for request in self._waits:
            self._timers.cancel(("wait", request))
        self._waits.clear()
        self._rejoin_clock = max(self._rejoin_clock, verdict.clock)
        if verdict.origin != self._me.site:
            effects.append(Emit(Kicked(verdict.origin, verdict.wall_ms)))
        self._reset(ClusterId(self._rng.randbytes(16)), now_us)
        self._take_default(now_us)
        return [*effects, ClusterChanged(self.cluster, self._me.incarnation)]

    def _take_default(self, now_us: int) -> None:
        me = self._me.site
        self._take(Op(me, MEM, me, 0, self._me.incarnation, self._membership_flags(), 0), now_us)

    def _reset(self, cluster: ClusterId, now_us: int) -> None:
        """Another cluster: nothing but the clocks is kept."""
        for entry in list(self.record.entries()):
            self._forget(key_of(entry.op))
        self.cluster = cluster
        self._floors.clear()
        self._links.clear()
        self._vanished.clear()
        self._dirty[_CLUSTER] = bytes(cluster)
        self._dirty[_CLOCK] = self._clock.last.to_bytes(8, "big")
        self._dirty[_REJOIN] = self._rejoin_clock.to_bytes(8, "big")

    def _forget(self, key: Key) -> None:
        if self.record.forget(key):
            self._dirty[encode_key(key)] = None

    # --- forgetting -------------------------------------------------------------------------------------------------

    def _on_cleanup(self, command: Cleanup, now_us: int) -> list[Effect]:
        return [Resolve(command.request, tuple(self._clean(command.forget_after_us, now_us)))]

    def _clean(self, forget_after_us: int, now_us: int) -> list[Site]:
        """Forget where a thrown-out site was, once everybody has seen the kick. The kick itself stays for ever."""
        forgotten: list[Site] = []
        durable = [s for s in self.members() if s != self._me.site and not self.record.is_ephemeral(s)]
        everybody_knows = all(self._floors.has_kicked(s, self.record.kicked_digest) for s in durable)
        for site in self.record.sites():
            entry = self.record.entry(MEM, site)
            if entry is None or self.record.is_member(site) or site == self._me.site:
                continue
            if self.record.is_ephemeral(site):
                if now_us - entry.at_us >= min(self._config.forget_ephemeral_us, forget_after_us):
                    self._forget_ephemeral(site, entry.op.magic, now_us)
                    forgotten.append(site)
            elif everybody_knows and now_us - entry.at_us > forget_after_us and self.record.has_details(site):
                self._forget((HOST, site))
                self._forget((META, site))
                forgotten.append(site)
        return forgotten

    def _forget_ephemeral(self, site: Site, incarnation: int, now_us: int) -> None:
        for kind in (MEM, HOST, META):
            self._forget((kind, site))
        self._forgotten[site] = (incarnation, now_us + 2 * self._config.forget_ephemeral_us)
        if len(self._forgotten) > self._config.members_max:
            del self._forgotten[next(iter(self._forgotten))]

    def _on_liveness(self, fact: LivenessChanged, now_us: int) -> list[Effect]:
        site = fact.contact.site
        if fact.state is Liveness.DOWN and self.record.is_ephemeral(site):
            self._vanished.setdefault(site, now_us)
            self._timers.set(("vanished", site), now_us + self._config.forget_ephemeral_us)
        elif fact.state is not Liveness.DOWN:
            self._vanished.pop(site, None)
            self._timers.cancel(("vanished", site))
        return []

    # --- time -------------------------------------------------------------------------------------------------------

    def _on_tick(self, _: Tick, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        for what, *which in self._timers.pop_due(now_us):
            match what:
                case "boot":
                    effects += self._boot(now_us)
                case "digest":
                    effects += self._tell_digests(now_us)
                case "sync":
                    if which[0] in self._links:
                        effects += self._sync(which[0], False, now_us)
                case "wait":
                    effects += self._end_wait(self._waits[which[0]], now_us)
                case "alone":
                    if not self.solo:
                        effects += self._go_alone(self.record.get(MEM, self._me.site), now_us)
                case "vanished":
                    effects += self._on_vanished(which[0], now_us)
                case _:
                    self._clean(self._config.forget_after_us, now_us)
                    self._forgotten = {s: gone for s, gone in self._forgotten.items() if gone[1] > now_us}
                    self._timers.set(("cleanup",), now_us + jittered(self._rng, self._config.cleanup_period_us))
        return effects

    def _tell_digests(self, now_us: int) -> list[Effect]:
        """Compare with one linked member."""
        self._timers.set(("digest",), now_us + jittered(self._rng, self._config.digest_period_us))
        if not self._links:
            return []
        peer = self._rng.choice(list(self._links))
        return [Send(peer, Digests(self.record.digest, self.record.kicked_digest))]

    def _on_vanished(self, site: Site, now_us: int) -> list[Effect]:
        """An ephemeral member has been down for long: forgotten without a vote."""
        op = self.record.get(MEM, site)
        if site not in self._vanished or op is None:
            return []
        del self._vanished[site]
        self._forget_ephemeral(site, op.magic, now_us)
        return [Emit(MemberLeft(site, site)), MemberRemoved(site)]

    def _on_offset(self, fact: WallOffset, now_us: int) -> list[Effect]:
        self._clock.set_offset(fact.offset_us)
        return []

    def _on_address(self, fact: AddressLearned, now_us: int) -> list[Effect]:
        self._me = Contact(self._me.site, self._me.incarnation, fact.address)
        return self._write_address(now_us)

    def dump(self) -> list[Entry]:
        """Everything recorded, for people."""
        return self.record.since(0)
