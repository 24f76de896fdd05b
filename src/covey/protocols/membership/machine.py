"""Membership: who belongs to the cluster, decided by people and durable.

The record is classy's (see `record`); it travels three ways. A fresh operation floods to the neighbours. Members
compare digests, and where they differ even out by `Sync`: everything imported since the peer's last acknowledgement,
with gap detection. And whoever speaks without belonging gets the verdict on the link it came by.

Whether a member is alive is the detector's opinion and stands elsewhere.

Durability: every accepted operation is persisted before anything that depends on it leaves (`engine.gate`), so what a
peer or an event saw is on this disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, assert_never

import msgspec

from covey.core.errors import UsageError, invariant
from covey.core.ids import ClusterId, Contact, Site
from covey.core.rng import jittered
from covey.core.timers import Timers, earliest
from covey.core.vocabulary import (
    AddressAnswered,
    AddressFailed,
    AddressLearned,
    Channel,
    ClusterEntered,
    DigestsChanged,
    DigestsHeard,
    Emit,
    LivenessChanged,
    MessagesReceived,
    PeerConnected,
    PeerLost,
    Persist,
    Refuse,
    Send,
    Superseded,
    Tick,
    WallOffset,
)
from covey.protocols.membership.by_hand import ByHand
from covey.protocols.membership.commands import Commands, consequences
from covey.protocols.membership.config import MembershipConfig
from covey.protocols.membership.exchange import Exchange
from covey.protocols.membership.forgetting import Forgetting
from covey.protocols.membership.ledger import Ledger
from covey.protocols.membership.passage import Passage
from covey.protocols.membership.record import IS_MEMBER, MEM, Entry
from covey.protocols.membership.vocabulary import (
    Cleanup,
    ClockSkew,
    Flush,
    GetData,
    Join,
    Kick,
    Kicked,
    Leave,
    ReceiveSync,
    SelfChanged,
    SetMember,
    SetMeta,
    Wipe,
)
from covey.protocols.membership.waits import Waits
from covey.wire.messages.membership import Digests, Forgotten, News, Op, Sync

Effect = Any
LOG = "membership"


class MembershipStatistics(msgspec.Struct, frozen=True):
    """Sizes of the record and of what is kept per peer, and counts since the start.

    `imports` is the number of the last one; a stray is a message from a peer without a link, or of the cluster before.
    """

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
    Invariants: those of the ledger, the exchange, the waits and the passage; once started, we are in our own record;
    the sites whose clocks were reported are bounded.
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
        meta: bytes | None = None,
    ) -> None:
        self._config = config
        self._rng = rng
        self.ledger = Ledger(config, me, shared, stored or {}, now_us, meta)
        self.record = self.ledger.record
        self.exchange = Exchange(config, self.ledger, rng, now_us)
        self._skewed: dict[Site, None] = {}  # sites whose clock was reported
        self._told_digests = b""
        self._told_self = self._said()
        self._verdicts = self._strays = 0
        self._timers: Timers[tuple[Any, ...]] = Timers()
        self._waits = Waits(config, self.ledger, self.exchange, self._timers)
        self._forgetting = Forgetting(config, self.ledger, self.exchange.floors, self._timers)
        self.passage = Passage(config, rng, self.ledger, self.exchange, self._waits, self._timers, shared)
        self._commands = Commands(self.ledger, self.exchange, self._waits, self._forgetting, self.passage)
        self._by_hand = ByHand(self.ledger, self.exchange, self._waits, self._import)
        self._returning = self.passage.come_back()
        self._timers.set(("boot",), now_us)
        self._timers.set(("cleanup",), now_us + jittered(rng, config.cleanup_period_us))
        self._handlers: dict[type, Callable[[Any, int], list[Effect]]] = {
            MessagesReceived: self._on_messages,
            Tick: self._on_tick,
            PeerConnected: self._on_connected,
            PeerLost: self._on_lost,
            DigestsHeard: self._on_digests_heard,
            LivenessChanged: self._forgetting.liveness,
            WallOffset: self._on_offset,
            AddressLearned: self._on_address,
            AddressAnswered: self.passage.answered,
            AddressFailed: self.passage.failed,
            ClusterEntered: self.passage.entered,
            Superseded: self.passage.superseded,
            SetMember: self._commands.set_member,
            SetMeta: self._commands.set_meta,
            Kick: self._commands.kick,
            Leave: self._commands.leave,
            Join: self.passage.join,
            Flush: self._commands.flush,
            Cleanup: self._commands.cleanup,
            GetData: self._by_hand.get_data,
            ReceiveSync: self._by_hand.receive,
            Wipe: self._by_hand.wipe,
        }

    # --- the machine's door -----------------------------------------------------------------------------------------

    def handle(self, incoming: Any, now_us: int) -> Sequence[Effect]:
        cluster = self.cluster
        try:
            effects = self._handlers[type(incoming)](incoming, now_us)
        except UsageError as error:  # only commands raise it, before they have changed anything
            effects = [Refuse(incoming.request, error)]
        if self.cluster != cluster:
            self._forgetting.clear()
        digests = self.record.digest + self.record.kicked_digest
        if digests != self._told_digests:
            self._told_digests = digests
            effects.append(DigestsChanged(digests))
        if (said := self._said()) != self._told_self:
            self._told_self = said
            effects.append(Emit(said))
        records = self.ledger.drain()
        return [Persist(LOG, records), *effects] if records else effects

    def deadline(self) -> int | None:
        return earliest(self._timers.deadline(), self.exchange.deadline())

    def check(self) -> None:
        self.ledger.check()
        self.exchange.check()
        invariant(("boot",) in self._timers or self.record.knows(self.me.site), "we are in our own record")
        self._waits.check()
        self.passage.check()
        invariant(len(self._skewed) <= self._config.members_max, "the sites whose clocks were reported are bounded")

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
            strays=self._strays + self._by_hand.refused,
        )

    def _said(self) -> SelfChanged:
        return SelfChanged(self.ledger.me, self.ledger.meta or b"")

    # --- queries ----------------------------------------------------------------------------------------------------

    @property
    def me(self) -> Contact:
        """We, in this life, at the address that is known so far."""
        return self.ledger.me

    @property
    def cluster(self) -> ClusterId:
        """The cluster we are in: the shared one, or one of our own."""
        return self.ledger.cluster

    @property
    def solo(self) -> bool:
        """Whether we were thrown out, or left, and go on alone."""
        return self.passage.solo

    def members(self) -> list[Site]:
        """Those that belong, ourselves included, in the order of their sites."""
        return self.record.members()

    def contact(self, site: Site) -> Contact | None:
        """Where a recorded site is, and in which life, as far as it said so itself."""
        return self.record.contact(site)

    def dump(self) -> list[Entry]:
        """Everything recorded, for people."""
        return self.record.since(0)

    # --- starting ---------------------------------------------------------------------------------------------------

    def _boot(self, now_us: int) -> list[Effect]:
        """Tell who was stored, and write that we belong where nothing else is written."""
        me = self.me.site
        effects = self.passage.introduce()
        out = self.ledger.verdict
        if self.solo and out is not None and out.origin != me:
            effects.append(Emit(Kicked(out.origin, out.wall_ms)))
        if self._returning:
            self.ledger.write_again(now_us)
        elif not self.record.knows(me):
            self.ledger.write_default(now_us)
        elif (own := self._verdict()) is not None:
            return effects + self.passage.go_alone(own, now_us)
        return effects + self.exchange.flood(self.ledger.write_details(now_us))

    def _verdict(self) -> Op | None:
        """What says that we do not belong to the cluster we are in, if anything does."""
        return None if self.solo else self.ledger.out()

    # --- operations -------------------------------------------------------------------------------------------------

    def _import(self, ops: Sequence[Op], sender: Site, now_us: int) -> list[Effect]:
        """A peer's operations, and what follows from them: they flood on where they are news."""
        news, ahead_ms = self.ledger.take_all(ops, now_us)
        effects: list[Effect] = []
        if ahead_ms:
            worst = next(op for op in ops if self.ledger.lead_ms(op, now_us) == ahead_ms)
            effects += self._report_skew(worst.origin, ahead_ms)
        for op, belonged in news:
            effects += consequences(self.record, self.me.site, op, belonged)
        verdict = self._verdict()
        me = self.me.site
        if verdict is not None and not (verdict.origin == me and self._waits.leaving):
            if verdict.origin != me or not self.ledger.can_write(MEM, me):
                return effects + self.passage.go_alone(verdict, now_us)
            effects += self._commands.write(MEM, me, self.ledger.own_flags(), now_us)  # an earlier life of ours left
        effects += self.exchange.flood([op for op, _ in news], sender)
        if any(op.target == self.me.site for op, _ in news):
            effects += self.exchange.flood(self.ledger.write_details(now_us))
        return effects

    def _report_skew(self, site: Site, ahead_ms: int) -> list[Effect]:
        """Once for each site; the one that was reported longest ago may be reported again."""
        if site in self._skewed:
            return []
        self._skewed[site] = None
        if len(self._skewed) > self._config.members_max:
            del self._skewed[next(iter(self._skewed))]
        return [Emit(ClockSkew(site, ahead_ms))]

    # --- messages ---------------------------------------------------------------------------------------------------

    def _on_messages(self, received: MessagesReceived, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        peer = received.peer
        for message in received.messages:
            if self.passage.closed or peer not in self.exchange.links:  # said in a cluster that we have left meanwhile
                self._strays += 1
                continue
            match message:
                case Sync():
                    effects += self._on_sync(peer, message, now_us)
                case News(ops):
                    if any(self.ledger.is_news(op) for op in ops):
                        self.ledger.begin_import()
                    effects += self._import(ops, peer, now_us)
                case Digests(record, kicked):
                    effects += self.exchange.compare(peer, record, kicked, now_us)
                case Forgotten():
                    effects += self._on_forgotten(message, now_us)
                case _:
                    assert_never(message)
            effects += self._judge(peer)
        return effects

    def _on_sync(self, peer: Site, sync: Sync, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        cluster, acked = self.cluster, self.exchange.floor(peer).acked_out
        answers = self.exchange.receive(
            peer, sync, lambda: effects.extend(self._import(sync.ops, peer, now_us)), now_us
        )
        if self.cluster != cluster:
            return effects
        effects += [*self._waits.acknowledged(peer, now_us), *self.passage.exchanged(peer)]
        if self._waits.awaits(peer) and self.exchange.floor(peer).acked_out != acked:
            return effects + self.exchange.sync(peer, True, now_us)  # nearer, but not all of it yet
        return effects + answers

    def _on_forgotten(self, forgotten: Forgotten, now_us: int) -> list[Effect]:
        """Others held us down for long, and we are not: our own newer word makes us a member again."""
        own = self.record.get(MEM, self.me.site)
        if own is None or not self.record.is_member(self.me.site):
            return []
        if (own.clock, own.magic) > (forgotten.clock, forgotten.magic) or not self.ledger.can_write(MEM, self.me.site):
            return []
        return self._commands.write(MEM, self.me.site, self.ledger.own_flags(), now_us)

    def _judge(self, peer: Site) -> list[Effect]:
        """Whoever speaks without belonging is told so, on the link it came by."""
        op = self.ledger.last_word(peer)
        if op is None or self.record.is_member(peer) or self.solo:
            return []
        self._verdicts += 1
        if int(op.value) & IS_MEMBER:  # nobody threw it out
            return [Send(peer, Forgotten(op.clock, op.magic))]
        return [Send(peer, News((op,)))]

    def _on_digests_heard(self, fact: DigestsHeard, now_us: int) -> list[Effect]:
        if len(fact.digests) < 16 or self.passage.closed:
            return []
        return self.exchange.overheard(fact.site, fact.digests[:8], fact.digests[8:16], now_us)

    def _on_connected(self, fact: PeerConnected, now_us: int) -> list[Effect]:
        if fact.channel is not Channel.CONTROL or self.passage.closed:
            return []
        return self.passage.connected(fact.contact, now_us)

    def _on_lost(self, fact: PeerLost, now_us: int) -> list[Effect]:
        if fact.channel is Channel.CONTROL:
            self.exchange.lost(fact.contact.site)
        return []

    # --- time -------------------------------------------------------------------------------------------------------

    def _on_tick(self, _: Tick, now_us: int) -> list[Effect]:
        effects = self.exchange.tick(now_us)
        for what, *which in self._timers.pop_due(now_us):
            match what:
                case "boot":
                    effects += self._boot(now_us)
                case "wait":
                    effects += self._waits.overdue(which[0], now_us)
                case "join":
                    effects += self.passage.overdue(now_us)
                case "alone":
                    if (verdict := self._verdict()) is not None:
                        effects += self.passage.go_alone(verdict, now_us)
                case "vanished":
                    effects += self._forgetting.vanished(which[0], now_us)
                case "cleanup":
                    self._forgetting.clean(self._config.forget_after_us, now_us)
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
        return self.exchange.flood(self.ledger.write_details(now_us))
