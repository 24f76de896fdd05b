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
from typing import Any, assert_never

import msgspec

from covey.core.errors import JoinFailed, UnknownName, invariant
from covey.core.ids import ClusterId, Contact, Site, short
from covey.core.rng import jittered
from covey.core.timers import Timers, earliest
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
from covey.protocols.membership.config import MembershipConfig
from covey.protocols.membership.exchange import Exchange
from covey.protocols.membership.ledger import Ledger
from covey.protocols.membership.record import HOST, IS_EPHEMERAL, IS_MEMBER, MEM, META, Entry
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
    SetMember,
    SetMeta,
)
from covey.protocols.membership.waits import Wait
from covey.wire.messages.membership import Digests, News, Op, Sync

Effect = Any
LOG = "membership"


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
    Invariants: those of the ledger and of the exchange; every wait has a deadline; once started, we are in our own
    record.
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
        self._shared = shared
        self.ledger = Ledger(config, me, shared, stored or {}, now_us)
        self.record = self.ledger.record
        self.exchange = Exchange(config, self.ledger, rng, now_us)
        self._waits: dict[int, Wait] = {}
        self._joining: Join | None = None
        self._was_solo = ClusterId(b"")  # where a join that fails goes back to
        self._vanished: dict[Site, None] = {}  # ephemeral members held down
        self._skewed: dict[Site, None] = {}  # peers whose clock was reported
        self._told_digests = b""
        self._verdicts = self._strays = 0
        self._timers: Timers[tuple[Any, ...]] = Timers()
        self._timers.set(("boot",), now_us)
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
            AddressAnswered: self._on_address_answered,
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
        records = self.ledger.drain()
        return [Persist(LOG, records), *effects] if records else effects

    def deadline(self) -> int | None:
        return earliest(self._timers.deadline(), self.exchange.deadline())

    def check(self) -> None:
        self.ledger.check()
        self.exchange.check()
        invariant(("boot",) in self._timers or self.record.knows(self.me.site), "we are in our own record")
        for request in self._waits:
            invariant(("wait", request) in self._timers, "every wait has a deadline")

    def statistics(self) -> MembershipStatistics:
        exchange = self.exchange
        return MembershipStatistics(
            members=len(self.record.members()),
            operations=len(self.record),
            imports=self.ledger.imports,
            floors=len(exchange.floors),
            syncs_sent=exchange.syncs_sent,
            syncs_received=exchange.syncs_received,
            gaps=exchange.gaps,
            operations_refused=self.ledger.refused,
            verdicts=self._verdicts,
            strays=self._strays,
        )

    # --- queries ----------------------------------------------------------------------------------------------------

    @property
    def me(self) -> Contact:
        return self.ledger.me

    @property
    def cluster(self) -> ClusterId:
        return self.ledger.cluster

    @property
    def solo(self) -> bool:
        """Whether we were thrown out, or left, and go on alone."""
        return self.ledger.cluster != self._shared

    def members(self) -> list[Site]:
        return self.record.members()

    def contact(self, site: Site) -> Contact | None:
        """Where a recorded site is, and in which life, as far as it said so itself."""
        if not self.record.knows(site):
            return None
        own = [op for kind in (MEM, HOST) if (op := self.record.get(kind, site)) is not None and op.origin == site]
        return Contact(site, max((op.magic for op in own), default=0), self.record.address(site))

    def dump(self) -> list[Entry]:
        """Everything recorded, for people."""
        return self.record.since(0)

    # --- starting ---------------------------------------------------------------------------------------------------

    def _boot(self, now_us: int) -> list[Effect]:
        """Tell who was stored, and write that we belong where nothing else is written."""
        me = self.me.site
        effects: list[Effect] = []
        for site in self.record.members():
            contact = self.contact(site)
            if contact is not None and site != me:
                effects.append(MemberAdded(contact, self.record.is_ephemeral(site), False))
        if not self.record.knows(me):
            self.ledger.write_default(now_us)
        elif not self.record.is_member(me) and not self.solo:
            effects += self._go_alone(self.record.get(MEM, me), now_us)
        return effects + self._write_address(now_us)

    def _write_address(self, now_us: int) -> list[Effect]:
        """Where we are, in this life; only when it is not what stands there already."""
        me = self.me
        op = self.record.get(HOST, me.site)
        if not me.address or not self.record.knows(me.site):
            return []
        if op is not None and op.value == me.address.encode() and op.magic == me.incarnation:
            return []
        return self._write(HOST, me.site, me.address.encode(), now_us)

    # --- operations -------------------------------------------------------------------------------------------------

    def _write(self, kind: int, target: Site, value: int | bytes, now_us: int) -> list[Effect]:
        """An operation of our own, and what follows from it."""
        belonged = self.record.is_member(target)
        op = self.ledger.write(kind, target, value, now_us)
        effects = self._consequences(op, belonged)
        if self._config.flood:
            effects.append(Flood(News((op,))))
        return effects

    def _import(self, ops: Sequence[Op], sender: Site, now_us: int) -> list[Effect]:
        """A peer's operations, and what follows from them: they flood on where they are news."""
        news, ahead_ms = self.ledger.take_all(ops, now_us)
        effects: list[Effect] = []
        if ahead_ms and sender not in self._skewed:
            self._skewed[sender] = None
            effects.append(Emit(ClockSkew(sender, ahead_ms)))
        for op, belonged in news:
            effects += self._consequences(op, belonged)
        own = self.record.get(MEM, self.me.site)
        if own is not None and not self.solo and not self.record.is_member(self.me.site) and own in ops:
            return effects + self._go_alone(own, now_us)
        if news and self._config.flood:
            effects.append(Flood(News(tuple(op for op, _ in news)), sender))
        return effects

    def _consequences(self, op: Op, belonged: bool) -> list[Effect]:
        """What an accepted operation means to the other machines and to the user."""
        target = op.target
        belongs = self.record.is_member(target)
        effects: list[Effect] = []
        if op.kind == MEM and belongs != belonged:
            effects.append(Emit(MemberJoined(target, op.origin) if belongs else MemberLeft(target, op.origin)))
            if not belongs:
                self._vanished.pop(target, None)
                effects.append(MemberRemoved(target))
        if belongs and target != self.me.site and op.kind != META:
            contact = self.contact(target)
            assert contact is not None
            effects.append(MemberAdded(contact, self.record.is_ephemeral(target), op.origin == target))
        return effects

    # --- messages ---------------------------------------------------------------------------------------------------

    def _on_messages(self, received: MessagesReceived, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        peer = received.peer
        for message in received.messages:
            if peer not in self.exchange.links:  # said in a cluster that we have left meanwhile
                self._strays += 1
                continue
            match message:
                case Sync():
                    effects += self._on_sync(peer, message, now_us)
                case News(ops):
                    if any(self.ledger.is_news(op) for op in ops):
                        self.ledger.imports += 1
                    effects += self._import(ops, peer, now_us)
                case Digests(record, kicked):
                    effects += self.exchange.compare(peer, record, kicked, now_us)
            effects += self._judge(peer)
        return effects

    def _on_sync(self, peer: Site, sync: Sync, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        answers = self.exchange.receive(
            peer, sync, lambda: effects.extend(self._import(sync.ops, peer, now_us)), now_us
        )
        return [*effects, *self._acknowledged(peer, now_us), *self._joined(peer), *answers]

    def _judge(self, peer: Site) -> list[Effect]:
        """Whoever speaks without belonging is told so, on the link it came by."""
        op = self.record.get(MEM, peer)
        if op is None or self.record.is_member(peer) or self.solo:
            return []
        self._verdicts += 1
        return [Send(peer, News((op,)))]

    def _on_digests_heard(self, fact: DigestsHeard, now_us: int) -> list[Effect]:
        if len(fact.digests) < 16:
            return []
        return self.exchange.compare(fact.site, fact.digests[:8], fact.digests[8:16], now_us)

    def _on_connected(self, fact: PeerConnected, now_us: int) -> list[Effect]:
        return self.exchange.connected(fact.contact) if fact.channel is Channel.CONTROL else []

    def _on_lost(self, fact: PeerLost, now_us: int) -> list[Effect]:
        if fact.channel is Channel.CONTROL:
            self.exchange.lost(fact.contact.site)
        return []

    # --- commands ---------------------------------------------------------------------------------------------------

    def _on_set_member(self, command: SetMember, now_us: int) -> list[Effect]:
        ephemeral = IS_EPHEMERAL if self.record.is_ephemeral(command.target) else 0
        effects = self._write(MEM, command.target, ephemeral | (IS_MEMBER if command.member else 0), now_us)
        op = self.record.get(MEM, command.target)
        assert op is not None
        effects.append(Resolve(command.request, op.clock))
        if command.target == self.me.site and not command.member and not self.solo:
            effects += self._go_alone(op, now_us)
        return effects

    def _on_set_meta(self, command: SetMeta, now_us: int) -> list[Effect]:
        return [*self._write(META, self.me.site, command.meta, now_us), Resolve(command.request)]

    def _on_kick(self, command: Kick, now_us: int) -> list[Effect]:
        target = command.target
        if not self.record.knows(target):
            detail = f"site {short(target)} was never a member here; nothing was changed"
            return [Refuse(command.request, UnknownName(detail))]
        if target == self.me.site:
            return self._on_leave(Leave(command.request), now_us)
        others = [site for site in self._others() if site != target]
        effects = self._write(MEM, target, IS_EPHEMERAL if self.record.is_ephemeral(target) else 0, now_us)
        return effects + self._ask_all(command.request, [*others, target], others, False, now_us)

    def _on_flush(self, command: Flush, now_us: int) -> list[Effect]:
        others = self._others()
        return self._ask_all(command.request, others, others, False, now_us)

    def _on_leave(self, command: Leave, now_us: int) -> list[Effect]:
        others = [] if self.solo else self._others()
        effects: list[Effect] = []
        if not self.solo:
            effects = self._write(MEM, self.me.site, IS_EPHEMERAL if self._config.ephemeral else 0, now_us)
        return effects + self._ask_all(command.request, others, others, True, now_us)

    def _others(self) -> list[Site]:
        return [site for site in self.members() if site != self.me.site]

    def _ask_all(
        self, request: int, told: Iterable[Site], awaited: Iterable[Site], leaving: bool, now_us: int
    ) -> list[Effect]:
        """Sync with all of them at once, and wait until those that matter have acknowledged."""
        wait = self._waits[request] = Wait(request, self.ledger.imports, awaited, leaving)
        self._timers.set(("wait", request), now_us + self._config.answer_us_max)
        effects: list[Effect] = []
        for site in told:
            effects += self.exchange.sync(site, True, now_us)
        return effects + self._end_wait(wait, now_us) if wait.over else effects

    def _acknowledged(self, peer: Site, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        floor = self.exchange.floors.get(peer)
        for wait in list(self._waits.values()):
            if floor is not None and peer in wait.missing and floor.acked_out >= wait.imported:
                wait.acknowledge(peer)
                if wait.over:
                    effects += self._end_wait(wait, now_us)
        return effects

    def _end_wait(self, wait: Wait, now_us: int) -> list[Effect]:
        self._waits.pop(wait.request, None)
        self._timers.cancel(("wait", wait.request))
        if wait.leaving:
            self._timers.set(("alone",), now_us)
        return [Resolve(wait.request, wait.outcome())]

    # --- joining, and going alone -----------------------------------------------------------------------------------

    def _on_join(self, command: Join, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        self._joining = command
        self._was_solo = self.cluster if self.solo else ClusterId(b"")
        if self.solo:
            self._enter(self._shared)
            self.ledger.write_return(now_us)
            effects.append(ClusterChanged(self.cluster, self.me.incarnation))
            effects += self._write_address(now_us)
        return [*effects, Dial(command.address)]

    def _joined(self, peer: Site) -> list[Effect]:
        """The first exchange with anybody of the cluster completes a join."""
        if self._joining is None:
            return []
        joining, self._joining = self._joining, None
        return [Resolve(joining.request, self.contact(peer))]

    def _on_address_answered(self, fact: AddressAnswered, now_us: int) -> list[Effect]:
        return []  # the link, and the first exchange on it, follow

    def _on_address_failed(self, fact: AddressFailed, now_us: int) -> list[Effect]:
        joining = self._joining
        if joining is None or joining.address != fact.address:
            return []
        self._joining = None
        detail = f"nobody of this cluster answers at {fact.address} ({fact.cause.name.lower()}); nothing was joined"
        effects: list[Effect] = [Refuse(joining.request, JoinFailed(detail))]
        if self._was_solo:
            self._enter(self._was_solo)
            self.ledger.write_default(now_us)
            effects.append(ClusterChanged(self.cluster, self.me.incarnation))
        return effects

    def _go_alone(self, verdict: Op | None, now_us: int) -> list[Effect]:
        """We do not belong any more: a new cluster of our own, which can never be merged back by accident."""
        assert verdict is not None
        effects: list[Effect] = [MemberRemoved(site) for site in self._others()]
        for wait in list(self._waits.values()):
            effects += self._end_wait(wait, now_us)
        self._timers.cancel(("alone",))
        self.ledger.rejoin_clock = max(self.ledger.rejoin_clock, verdict.clock)
        if verdict.origin != self.me.site:
            effects.append(Emit(Kicked(verdict.origin, verdict.wall_ms)))
        self._enter(ClusterId(self._rng.randbytes(16)))
        self.ledger.write_default(now_us)
        return [*effects, ClusterChanged(self.cluster, self.me.incarnation), *self._write_address(now_us)]

    def _enter(self, cluster: ClusterId) -> None:
        self.ledger.reset(cluster)
        self.exchange.clear()
        self._vanished.clear()

    # --- forgetting -------------------------------------------------------------------------------------------------

    def _on_cleanup(self, command: Cleanup, now_us: int) -> list[Effect]:
        return [Resolve(command.request, tuple(self._clean(command.forget_after_us, now_us)))]

    def _clean(self, forget_after_us: int, now_us: int) -> list[Site]:
        """Forget where a thrown-out site was, once everybody has seen the kick. The kick itself stays for ever."""
        forgotten: list[Site] = []
        durable = [site for site in self._others() if not self.record.is_ephemeral(site)]
        kicked = self.record.kicked_digest
        everybody_knows = all(self.exchange.floors.has_kicked(site, kicked) for site in durable)
        for site in self.record.sites():
            entry = self.record.entry(MEM, site)
            if entry is None or self.record.is_member(site) or site == self.me.site:
                continue
            age_us = now_us - entry.at_us
            if self.record.is_ephemeral(site):
                if age_us >= min(self._config.forget_ephemeral_us, forget_after_us):
                    self.ledger.forget_ephemeral(site, now_us)
                    forgotten.append(site)
            elif everybody_knows and age_us > forget_after_us and self.record.has_details(site):
                self.ledger.forget((HOST, site))
                self.ledger.forget((META, site))
                forgotten.append(site)
        return forgotten

    def _on_liveness(self, fact: LivenessChanged, now_us: int) -> list[Effect]:
        site = fact.contact.site
        if fact.state is Liveness.DOWN and self.record.is_ephemeral(site):
            self._vanished[site] = None
            self._timers.set(("vanished", site), now_us + self._config.forget_ephemeral_us)
        elif fact.state is not Liveness.DOWN:
            self._vanished.pop(site, None)
            self._timers.cancel(("vanished", site))
        return []

    def _on_vanished(self, site: Site, now_us: int) -> list[Effect]:
        """An ephemeral member has been down for long: forgotten without a vote."""
        if site not in self._vanished or not self.record.is_member(site):
            return []
        del self._vanished[site]
        self.ledger.forget_ephemeral(site, now_us)
        return [Emit(MemberLeft(site, site)), MemberRemoved(site)]

    # --- time -------------------------------------------------------------------------------------------------------

    def _on_tick(self, _: Tick, now_us: int) -> list[Effect]:
        effects = self.exchange.tick(now_us)
        for what, *which in self._timers.pop_due(now_us):
            match what:
                case "boot":
                    effects += self._boot(now_us)
                case "wait":
                    effects += self._end_wait(self._waits[which[0]], now_us)
                case "alone":
                    if not self.solo:
                        effects += self._go_alone(self.record.get(MEM, self.me.site), now_us)
                case "vanished":
                    effects += self._on_vanished(which[0], now_us)
                case "cleanup":
                    self._clean(self._config.forget_after_us, now_us)
                    self.ledger.forget_echoes(now_us)
                    self._timers.set(("cleanup",), now_us + jittered(self._rng, self._config.cleanup_period_us))
                case _:
                    assert_never(what)
        return effects

    def _on_offset(self, fact: WallOffset, now_us: int) -> list[Effect]:
        self.ledger.clock.set_offset(fact.offset_us)
        return []

    def _on_address(self, fact: AddressLearned, now_us: int) -> list[Effect]:
        self.ledger.me = Contact(self.me.site, self.me.incarnation, fact.address)
        return self._write_address(now_us)
