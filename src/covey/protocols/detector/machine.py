"""The failure detector: SWIM with Lifeguard, and an order of evidence that outlives a process.

Das, Gupta, Motivala, "SWIM: Scalable Weakly-consistent Infection-style Process Group Membership Protocol", DSN 2002:
random probes of constant load, indirect probes against broken links, suspicion before death, rumours that ride on
pings. Dadgar, Phillips, Currey, "Lifeguard: Local Health Awareness for More Accurate Failure Detection", arXiv
1707.00788: nodes that doubt themselves first.

Changed here, and why:
- messages travel over links, so a process that dies on a living host says so by closing: *refused* evidence
  (`refusals`) needs no suspicion time;
- SWIM's incarnation number is split into a durable incarnation and a volatile refutation (`record`);
- rumours are flooded to the overlay's neighbours when they are news; riding on pings is the repair, and exchanging
  tables where digests differ the repair of that (`exchange`);
- a node that did not run while its timers were due (a blocked loop, a laptop's lid) gives everybody that time back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, assert_never

import msgspec

from covey.core.errors import invariant
from covey.core.ids import Contact, Site
from covey.core.timers import Timers
from covey.core.vocabulary import (
    AddressLearned,
    Channel,
    ClusterChanged,
    DigestsChanged,
    DigestsHeard,
    Flood,
    Liveness,
    LoopLagged,
    MemberAdded,
    MemberRemoved,
    MessagesReceived,
    PeerConnected,
    PeerLost,
    PeerUnreached,
    Send,
    Stop,
    Tick,
)
from covey.protocols.detector.config import DetectorConfig
from covey.protocols.detector.defence import Defence
from covey.protocols.detector.exchange import Exchange
from covey.protocols.detector.health import Health
from covey.protocols.detector.opinions import Opinions
from covey.protocols.detector.prober import Prober
from covey.protocols.detector.refusals import Refusals
from covey.protocols.detector.speech import Speech
from covey.protocols.detector.suspicion import suspicion_us_min
from covey.protocols.detector.vocabulary import PeerSpoke
from covey.wire.messages.detector import (
    RUMOURS_MAX,
    Ack,
    ConfirmReply,
    ConfirmRequest,
    IndirectAck,
    Nack,
    Ping,
    PingRequest,
    Rumour,
    Rumours,
    Stopped,
    Table,
    TableDigest,
)

Effect = Any


class DetectorStatistics(msgspec.Struct, frozen=True):
    """The detector's gauges and, from `pings` on, its counters since it was made.

    The five states count members, apart from ourselves.
    """

    unknown: int
    alive: int
    suspect: int
    down: int
    stopped: int
    health: int  # Lifeguard's score: 0 is well
    refutation: int  # our own
    rumours: int  # that still have to ride
    relays: int  # pings that we are doing for others
    checks: int  # lives being looked into because a link closed or refused
    pings: int
    acks: int
    probes_failed: int
    exchanges: int  # of tables, begun by us
    sleeps: int  # how often our timers were late by a probe's timeout
    unwatched: int  # how often a member was not taken in, being beyond `members_max`


class Detector:
    """Find out which members live, and let nobody who lives be taken for dead for long.

    Law: a life is DOWN only after its suspicion time, on refused evidence, or because another member says so; and it
    is lifted by nothing but its own higher refutation or a higher incarnation.
    Invariants: `refutation` never falls within a life; those of `opinions`, `prober` and `refusals`;
    `0 <= health <= health_max`.
    """

    def __init__(self, config: DetectorConfig, rng: Random, now_us: int, *, me: Contact) -> None:
        self._config = config
        self._timers: Timers[tuple[Any, ...]] = Timers()
        self.health = Health(config.health_max)
        self.opinions = Opinions(config, rng, self._timers, self.health, me, now_us)
        self._speech = Speech(config, self.opinions)
        self.prober = Prober(config, rng, self._timers, self.health, self.opinions, self._speech, now_us)
        self._refusals = Refusals(config, self._timers, self.opinions, self._speech)
        self._exchange = Exchange(config, self.opinions, now_us)
        self._defence = Defence(config, self.opinions, self.health)
        self._links: dict[Site, Contact] = {}  # as many as the links machine holds
        self._stopped = False
        self._sleeps = 0
        self._last_us = now_us  # of the last input
        self._timers.set(("boot",), now_us + config.boot_grace_us)
        self._handlers: dict[type, Callable[[Any, int], list[Effect]]] = {
            MessagesReceived: self._on_messages,
            Tick: self._on_tick,
            PeerConnected: self._on_connected,
            PeerLost: self._on_lost,
            PeerUnreached: self._on_unreached,
            MemberAdded: self._on_member_added,
            MemberRemoved: self._on_member_removed,
            DigestsChanged: self._on_digests_changed,
            LoopLagged: self._on_loop_lagged,
            AddressLearned: self._on_address_learned,
            ClusterChanged: self._on_cluster_changed,
            PeerSpoke: self._on_peer_spoke,
            Stop: self._on_stop,
        }
        self._on_message: dict[type, Callable[[Site, Any, int], list[Effect]]] = {
            Ping: self._on_ping,
            Ack: self._on_ack,
            PingRequest: self.prober.on_request,
            IndirectAck: self.prober.on_indirect_ack,
            Nack: lambda peer, nack, now_us: self.prober.on_nack(peer, nack.number, now_us),
            ConfirmRequest: self._refusals.on_request,
            ConfirmReply: self._refusals.on_reply,
            Rumours: self._on_rumours,
            Table: self._on_table,
            TableDigest: self._on_table_digest,
            Stopped: self._on_stopped,
        }

    # --- the machine's door -----------------------------------------------------------------------------------------

    def handle(self, incoming: Any, now_us: int) -> Sequence[Effect]:
        if self._stopped:
            return ()
        effects = self._notice_sleep(now_us)
        self._last_us = now_us
        effects += self._handlers[type(incoming)](incoming, now_us)
        if self.opinions.news:
            but = incoming.peer if type(incoming) is MessagesReceived else None
            effects += self._flood_news(but)
        return effects

    def deadline(self) -> int | None:
        return self._timers.deadline()

    def check(self) -> None:
        if self._stopped:
            return
        invariant(0 <= self.health.score <= self.health.score_max, "the health score is within its bounds")
        self.opinions.check()
        self.prober.check()
        self._refusals.check()

    def statistics(self) -> DetectorStatistics:
        opinions = self.opinions
        return DetectorStatistics(
            unknown=opinions.count(Liveness.UNKNOWN),
            alive=opinions.count(Liveness.ALIVE),
            suspect=opinions.count(Liveness.SUSPECT),
            down=opinions.count(Liveness.DOWN),
            stopped=opinions.count(Liveness.STOPPED),
            health=self.health.score,
            refutation=opinions.refutation,
            rumours=len(opinions.queue),
            relays=self.prober.relays,
            checks=len(self._refusals),
            pings=self._speech.pings,
            acks=self._speech.acks,
            probes_failed=self.prober.failed,
            exchanges=self._exchange.begun,
            sleeps=self._sleeps,
            unwatched=opinions.unwatched,
        )

    # --- queries ----------------------------------------------------------------------------------------------------

    @property
    def stopped(self) -> bool:
        """Whether this life has said its last word."""
        return self._stopped

    def state(self, site: Site) -> Liveness | None:
        """What is held of `site`; None if it is not a member."""
        member = self.opinions.members.get(site)
        return None if member is None else member.state

    def accused(self, site: Site) -> Rumours | None:
        """What to answer any frame of `site` with, so that it can refute; None unless it is suspect or down."""
        return self._defence.accusation(site)

    def accuses(self, site: Site) -> bool:
        """Whether we hold `site` for suspect or down."""
        return self.opinions.accuses(site)

    def why(self, site: Site) -> tuple[str, ...]:
        """The story of what is held of `site`, oldest line first."""
        member = self.opinions.members.get(site)
        return () if member is None else tuple(member.story)

    # --- messages ---------------------------------------------------------------------------------------------------

    def _on_messages(self, received: MessagesReceived, now_us: int) -> list[Effect]:
        peer = received.peer
        if peer == self.opinions.me.site:
            return []
        member = self.opinions.members.get(peer)
        if member is not None:
            member.spoke_us = now_us
        effects = self.opinions.heard(peer, now_us)
        for message in received.messages:
            effects += self._on_message[type(message)](peer, message, now_us)
        return effects + self._defence.answer(peer, now_us)

    def _on_peer_spoke(self, fact: PeerSpoke, now_us: int) -> list[Effect]:
        """Somebody that we accuse said something to another machine."""
        return self._defence.answer(fact.site, now_us)

    def _on_ping(self, peer: Site, ping: Ping, now_us: int) -> list[Effect]:
        effects = self._on_greeting(peer, ping, now_us)
        effects.append(self._speech.ack(peer, ping.number))
        return effects + self._exchange.compare(peer, ping.digest, now_us)

    def _on_ack(self, peer: Site, ack: Ack, now_us: int) -> list[Effect]:
        effects = self._on_greeting(peer, ack, now_us)
        effects += self._refusals.on_reached(peer)
        effects += self.prober.on_ack(peer, ack, now_us)
        return effects + self._exchange.compare(peer, ack.digest, now_us)

    def _on_greeting(self, peer: Site, message: Ping | Ack, now_us: int) -> list[Effect]:
        """What a ping and an ack have in common: the sender lives, and what rides."""
        effects = self.opinions.learn(_alive(peer, message.incarnation, message.refutation), now_us, peer)
        for rumour in message.rumours:
            effects += self._learn(rumour, now_us, peer)
        if message.digests:
            effects.append(DigestsHeard(peer, message.digests))
        return effects

    def _on_rumours(self, peer: Site, message: Rumours, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        for rumour in message.rumours:
            effects += self._learn(rumour, now_us, peer)
        return effects

    def _on_stopped(self, peer: Site, stopped: Stopped, now_us: int) -> list[Effect]:
        return self.opinions.learn(Rumour(peer, stopped.incarnation, 0, Liveness.STOPPED, peer), now_us, peer)

    def _on_table_digest(self, peer: Site, message: TableDigest, now_us: int) -> list[Effect]:
        """Both ends of a new link say theirs; the lower site begins."""
        if peer < self.opinions.me.site:
            return []
        return self._exchange.compare(peer, message.digest, now_us, fresh_link=True)

    def _on_table(self, peer: Site, table: Table, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        if table.answer:
            effects += [Send(peer, part) for part in self._exchange.difference(table)]
        for record in table.records:
            effects += self._learn(record, now_us, peer)
        return effects

    def _learn(self, rumour: Rumour, now_us: int, peer: Site) -> list[Effect]:
        if rumour.site == self.opinions.me.site:
            return self._defence.on_own_name(rumour, peer, now_us)
        return self.opinions.learn(rumour, now_us, peer)

    def _flood_news(self, but: Site | None) -> list[Effect]:
        """All the news of this step, to all neighbours but the one it came from."""
        news, self.opinions.news = self.opinions.news, []
        for rumour in news:
            if rumour.state is Liveness.SUSPECT:
                self.prober.hurry(rumour.site)
        return [Flood(Rumours(tuple(news[at : at + RUMOURS_MAX])), but) for at in range(0, len(news), RUMOURS_MAX)]

    # --- links ------------------------------------------------------------------------------------------------------

    def _on_connected(self, fact: PeerConnected, now_us: int) -> list[Effect]:
        """A proved link: that life is there. Compare tables with it."""
        contact = fact.contact
        if fact.channel is not Channel.CONTROL:
            return []
        self._links[contact.site] = contact
        effects = self._on_linked(contact, now_us)
        effects += self._refusals.on_reached(contact.site)
        effects.append(Send(contact.site, TableDigest(self.opinions.digest_bytes)))
        return effects + self._defence.answer(contact.site, now_us)

    def _on_linked(self, contact: Contact, now_us: int) -> list[Effect]:
        """What a link proves: this life lives, at this address."""
        member = self.opinions.members.get(contact.site)
        if member is None or contact.incarnation < member.evidence.incarnation:
            return []
        member.linked = True
        if contact.address:
            member.address = contact.address
        effects = self.opinions.learn(_alive(contact.site, contact.incarnation, 0), now_us, contact.site)
        return effects + self.opinions.heard(contact.site, now_us)

    def _on_lost(self, fact: PeerLost, now_us: int) -> list[Effect]:
        if fact.channel is not Channel.CONTROL:
            return []
        if self._links.get(fact.contact.site) == fact.contact:
            del self._links[fact.contact.site]
            member = self.opinions.members.get(fact.contact.site)
            if member is not None:
                member.linked = False
        return self._refusals.on_lost(fact.contact, fact.cause, now_us)

    def _on_unreached(self, fact: PeerUnreached, now_us: int) -> list[Effect]:
        if fact.channel is not Channel.CONTROL:
            return []
        effects = self._refusals.on_unreached(fact.site, fact.cause, now_us)
        return effects + self.prober.on_unreached(fact.site, now_us)

    # --- membership and the world -----------------------------------------------------------------------------------

    def _on_member_added(self, fact: MemberAdded, now_us: int) -> list[Effect]:
        contact = fact.contact
        if contact.site == self.opinions.me.site:
            return []
        effects, new = self.opinions.add(contact, fact.ephemeral, fact.observed, now_us)
        if new:
            self.prober.added(contact.site)
        linked = self._links.get(contact.site)
        return effects if linked is None else effects + self._on_linked(linked, now_us)

    def _on_member_removed(self, fact: MemberRemoved, now_us: int) -> list[Effect]:
        self.prober.removed(fact.site)
        self._refusals.removed(fact.site)
        self.opinions.remove(fact.site, now_us)
        return []

    def _on_digests_changed(self, fact: DigestsChanged, now_us: int) -> list[Effect]:
        self._speech.digests = fact.digests
        return []

    def _on_loop_lagged(self, fact: LoopLagged, now_us: int) -> list[Effect]:
        """What we could not have answered in time says more of us than of others (reference, decision 11)."""
        if fact.lag_us >= self._config.probe_timeout_us:
            self.health.change(+1)
        return []

    def _on_address_learned(self, fact: AddressLearned, now_us: int) -> list[Effect]:
        me = self.opinions.me
        self.opinions.me = Contact(me.site, me.incarnation, fact.address)
        return []

    def _on_cluster_changed(self, fact: ClusterChanged, now_us: int) -> list[Effect]:
        for site in list(self.opinions.members):
            self._on_member_removed(MemberRemoved(site), now_us)
        self._links.clear()
        self._defence.reset()
        self.opinions.reset(fact.incarnation, now_us)
        return []

    def _on_stop(self, _: Stop, now_us: int) -> list[Effect]:
        """Our last word in this life, to the neighbours and a few others in case they do not pass it on."""
        stopped = Stopped(self.opinions.me.incarnation)
        others = self.opinions.helpers(self._config.stop_members, but=self.opinions.me.site)
        self._stopped = True
        self._timers = Timers()
        return [Flood(stopped), *(Send(contact.site, stopped, contact.address) for contact in others)]

    # --- time -------------------------------------------------------------------------------------------------------

    def _notice_sleep(self, now_us: int) -> list[Effect]:
        """If our timers are late by a probe's timeout, we did not run: what we missed is nobody else's fault.

        Once for each sleep: what is heard between waking and the next `Tick` finds the same timers late.
        """
        due_us, gap_us = self._timers.deadline(), now_us - self._last_us
        if due_us is None or min(now_us - due_us, gap_us) < self._config.probe_timeout_us:
            return []
        self._sleeps += 1
        long = gap_us > suspicion_us_min(self._config, self.opinions.nodes)
        self.opinions.forgive(gap_us, long, now_us)
        if long:
            self._refusals.clear()
        return self.prober.overslept(long, now_us)

    def _on_tick(self, _: Tick, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        for what, *which in self._timers.pop_due(now_us):
            match what:
                case "probe":
                    effects += self.prober.on_interval(now_us)
                case "ask":
                    effects += self.prober.on_ask_timer(now_us)
                case "direct":
                    effects += self.prober.on_direct_timeout(now_us)
                case "nack":
                    effects += self.prober.on_nack_timer(which[0], now_us)
                case "relay":
                    self.prober.on_relay_timer(which[0])
                case "suspicion":
                    effects += self.opinions.expire(which[0], now_us)
                case "check":
                    effects += self._refusals.on_timer(which[0], now_us)
                case "boot":
                    self.opinions.counting_unknown = True
                    self.prober.restart()
                case _:
                    assert_never(what)
        return effects


def _alive(site: Site, incarnation: int, refutation: int) -> Rumour:
    return Rumour(site, incarnation, refutation, Liveness.ALIVE)
