"""HyParView: every node keeps a few links, and together they are one connected graph.

Leitão, Pereira, Rodrigues, "HyParView: a membership protocol for reliable gossip-based broadcast", DSN 2007. A small
*active* view of symmetric links, and a larger *passive* view of contacts to repair it from, mixed by shuffles. With
`active_max + 1` nodes or fewer the overlay is the full mesh.

Changed here, and why:
- nobody is a neighbour before both sides said so (the paper adds first and hopes): request, reply, then `NeighborUp`;
- neighbours affirm each other from time to time, and whoever disagrees says so: a link that only one end believes in
  (a lost message, a reply that came too late) ends within `affirm_period_us`;
- the algorithm in the paper ends a forward join at an active view of size 0, its text at size 1; we follow the text;
- a dropped neighbour is told whom it may ask instead, so a full contact can turn many newcomers away and none is lost;
- whoever finds several gone at once tells all whom it knows to look after their neighbours: where all of them are dead,
  nobody would learn of it but by a message of its own;
- parted components find each other again (`healing`), which the paper leaves open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, assert_never

import msgspec

from covey.core import vocabulary as v
from covey.core.ids import Contact, Site
from covey.core.rng import jittered
from covey.core.timers import Timers
from covey.core.vocabulary import Cause, Channel, Liveness, Send
from covey.protocols.overlay.beacons import Lowest
from covey.protocols.overlay.config import OverlayConfig
from covey.protocols.overlay.healing import AddressBook, Probes
from covey.protocols.overlay.neighbours import Neighbours
from covey.protocols.overlay.shuffling import Shuffling
from covey.protocols.overlay.vocabulary import LeaveOverlay, SeedsResolved
from covey.wire.messages.overlay import (
    Affirm,
    Beacon,
    Disconnect,
    ForwardJoin,
    Join,
    Left,
    NeighborReply,
    NeighborRequest,
    Probe,
    ProbeReply,
    Shuffle,
    ShuffleReply,
)

Effect = Any

# Somebody answered, or would have if we had needed the link: the contact is good.
_STILL_THERE = frozenset({Cause.IDLE, Cause.REPLACED, Cause.CROSSING, Cause.BUSY})


class OverlayStatistics(msgspec.Struct, frozen=True):
    """Sizes of the views, and counts since the start."""

    active: int
    passive: int
    requests: int
    addresses: int
    shuffles: int
    evictions: int
    heals: int
    lowest: bytes


class Overlay:
    """Keep a few symmetric links so that all nodes form one connected graph.

    Invariants: `len(active) <= active_max`; `active & passive == {}`; `active & requests == {}`; we are in none of
    them; every request has a deadline; what was departed from is in no view.
    """

    def __init__(self, config: OverlayConfig, rng: Random, now_us: int, *, me: Contact, solo: bool = False) -> None:
        self._config = config
        self._rng = rng
        self._timers: Timers[tuple[Any, ...]] = Timers()
        self.book = AddressBook(config)
        self._links = Neighbours(config, rng, now_us, me=me, book=self.book, timers=self._timers)
        self.active, self.passive, self.leavers = self._links.active, self._links.passive, self._links.leavers
        self._beacons = self._links.beacons
        self._shuffling = Shuffling(config, rng, self.active, self.passive, self._links.remember)
        self._probes = Probes(config)
        self._gone_us: list[int] = []  # when somebody was found to be gone, lately
        self._alarmed_us = self._affirmed_us = now_us - config.alarm_pause_us
        self._leaving = False
        self._solo = solo  # in a cluster that nobody else can be in: nobody is looked for
        self._seeds: dict[str, None] = {}
        self._heals = 0
        self._timers.set(("shuffle",), now_us + rng.randrange(config.settle_period_us) + 1)
        self._timers.set(("beacon",), now_us + jittered(rng, config.beacon_period_us))
        self._timers.set(("affirm",), now_us + jittered(rng, config.affirm_period_us))
        self._timers.set(("probe",), now_us + 1)
        self._handlers: dict[type, Callable[[Any, int], list[Effect]]] = {
            v.MessagesReceived: self._on_messages,
            v.Tick: self._on_tick,
            v.PeerConnected: self._on_connected,
            v.PeerLost: self._on_peer_lost,
            v.PeerUnreached: self._on_unreached,
            v.AddressAnswered: self._on_answered,
            v.AddressFailed: self._on_failed,
            SeedsResolved: self._on_seeds,
            v.AddressLearned: self._on_address,
            v.Flood: self._on_flood,
            v.MemberAdded: self._on_member,
            v.MemberRemoved: self._on_member_removed,
            v.LivenessChanged: self._on_liveness,
            v.ClusterChanged: self._on_cluster_changed,
            LeaveOverlay: self._on_leave,
        }
        self._on_message: dict[type, Callable[[Site, Any, int], list[Effect]]] = {
            Beacon: self._on_beacon,
            Affirm: self._on_affirm,
            Shuffle: self._on_shuffle,
            ShuffleReply: self._on_shuffle_reply,
            Join: self._links.on_join,
            ForwardJoin: self._links.on_forward_join,
            NeighborRequest: self._links.on_request,
            NeighborReply: self._links.on_reply,
            Disconnect: self._links.on_disconnect,
            Probe: self._on_probe,
            ProbeReply: self._on_probe_reply,
            Left: self._links.on_left,
        }

    # --- the machine's door -----------------------------------------------------------------------------------------

    def handle(self, incoming: Any, now_us: int) -> Sequence[Effect]:
        if self._leaving:
            return ()
        return self._handlers[type(incoming)](incoming, now_us)

    def _on_messages(self, received: v.MessagesReceived, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        for message in received.messages:
            effects += self._on_message[type(message)](received.peer, message, now_us)
        return effects

    def deadline(self) -> int | None:
        return self._timers.deadline()

    def check(self) -> None:
        self._links.check()
        self.book.check()
        self._probes.check()

    def statistics(self) -> OverlayStatistics:
        return OverlayStatistics(
            active=len(self.active),
            passive=len(self.passive),
            requests=len(self._links.requests),
            addresses=len(self.book),
            lowest=self.lowest.site,
            shuffles=self._shuffling.begun,
            evictions=self._links.evictions,
            heals=self._heals,
        )

    # --- queries ----------------------------------------------------------------------------------------------------

    @property
    def lowest(self) -> Lowest:
        """The name of our component."""
        return self._beacons.lowest

    def neighbours(self) -> list[Contact]:
        """The active view, in the order in which the links came up."""
        return list(self.active)

    def contact(self, site: Site) -> Contact | None:
        """What the views know of `site`."""
        return self._links.contact(site)

    # --- what the engine hands us -----------------------------------------------------------------------------------

    def _on_flood(self, flood: v.Flood, now_us: int) -> list[Effect]:
        others = self.active.sites(but=flood.but)
        return [v.Multicast(others, flood.message)] if others else []

    def _on_address(self, fact: v.AddressLearned, now_us: int) -> list[Effect]:
        self._links.me = Contact(self._links.me.site, self._links.me.incarnation, fact.address)
        return []

    # --- asking for links -------------------------------------------------------------------------------------------

    # --- the active view --------------------------------------------------------------------------------------------

    def _on_peer_lost(self, fact: v.PeerLost, now_us: int) -> list[Effect]:
        if fact.channel is not Channel.CONTROL:
            return []
        contact, cause = fact.contact, fact.cause
        site, gone = contact.site, cause not in _STILL_THERE
        self._probes.answered(site)
        if gone and not self._solo:  # a link of the cluster that we are out of is no loss
            self.book.lost(contact.address, now_us)
        self._timers.set_earlier(("probe",), now_us + self._config.probe_backoff_us_min)
        self._links.refused.pop(site, None)
        if site in self._links.requests and gone:
            self._links.requests.end(site)
            self.passive.discard(site)  # as one that does not answer; the address book goes on
        was_neighbour = site in self.active
        effects = self._links.lower(site, cause, now_us)
        if gone:
            return [*effects, *self._alarm(now_us), *self._links.promote(now_us)]
        if was_neighbour:
            self._links.remember(contact)
            effects += self._links.promote(now_us)
        return effects

    def _on_unreached(self, fact: v.PeerUnreached, now_us: int) -> list[Effect]:
        if fact.channel is not Channel.CONTROL:
            return []
        site, cause = fact.site, fact.cause
        self._probes.answered(site)
        self._links.requests.end(site)
        if cause is Cause.BUSY or cause is Cause.NO_ADDRESS:  # said at once by our own links: not again in this step
            self._timers.set_earlier(("promote",), now_us + self._config.promote_period_us)
            return []
        if cause in _STILL_THERE:
            return self._links.promote(now_us)
        self.passive.discard(site)
        return [*self._alarm(now_us), *self._links.promote(now_us)]

    def _alarm(self, now_us: int) -> list[Effect]:
        """One more is gone. Were it several lately, more are: look after our neighbours, and tell all we know to."""
        lately_us = now_us - self._config.settle_us
        self._gone_us = [gone_us for gone_us in self._gone_us if gone_us > lately_us] + [now_us]
        if len(self._gone_us) < self._config.alarm_after or now_us < self._alarmed_us + self._config.alarm_pause_us:
            return []
        self._alarmed_us = now_us
        return [*self._affirm(now_us), *[self._probe(contact, now_us, is_alarm=True) for contact in self.passive]]

    # --- symmetry ---------------------------------------------------------------------------------------------------

    def _affirm(self, now_us: int) -> list[Effect]:
        """Say to the neighbours that they are."""
        self._affirmed_us = now_us
        return [v.Multicast(self.active.sites(), Affirm())] if self.active else []

    def _on_affirm(self, peer: Site, _: Affirm, now_us: int) -> list[Effect]:
        """`peer` believes we are neighbours. If we don't, say so."""
        if peer in self.active or peer in self._links.requests:
            return []
        return [Send(peer, Disconnect(True, self._links.instead(peer)))]

    # --- shuffles ---------------------------------------------------------------------------------------------------

    def _shuffle(self, now_us: int) -> list[Effect]:
        self.leavers.expire(now_us)
        settling = now_us - self._links.changed_us < self._config.settle_us
        period = self._config.settle_period_us if settling else self._config.shuffle_period_us
        self._timers.set(("shuffle",), now_us + jittered(self._rng, period))
        return self._shuffling.begin(self._links.me)

    def _on_shuffle(self, peer: Site, shuffle: Shuffle, now_us: int) -> list[Effect]:
        if shuffle.origin.site == self._links.me.site:
            return []
        effects = self._shuffling.on_shuffle(peer, shuffle)
        return effects + self._links.promote(now_us)

    def _on_shuffle_reply(self, peer: Site, reply: ShuffleReply, now_us: int) -> list[Effect]:
        self._shuffling.on_reply(reply)
        return self._links.promote(now_us)

    # --- healing ----------------------------------------------------------------------------------------------------

    def _on_beacon(self, peer: Site, beacon: Beacon, now_us: int) -> list[Effect]:
        return self._beacons.on_beacon(peer, beacon, now_us)

    def _on_beacon_timer(self, now_us: int) -> list[Effect]:
        self._timers.set(("beacon",), now_us + jittered(self._rng, self._config.beacon_period_us))
        return self._beacons.shine(self._links.me, now_us)

    def _probe_next(self, now_us: int, count: int = 1) -> list[Effect]:
        """Find out who is at one address that none of our neighbours answers at. Who is alone is in a hurry."""
        period_us = self._config.probe_period_us if self.active else self._config.probe_period_us // 4
        self._timers.set(("probe",), now_us + jittered(self._rng, period_us))
        addresses = self.book.take_due(now_us, frozenset(self.active.sites()), self._links.me.address, count)
        self._probes.dial(*addresses)
        return [v.Dial(address) for address in addresses]

    def _reached(self, address: str, site: Site, now_us: int) -> list[Effect]:
        """Where one is reached that was not for a while, others may be, too: a split has healed."""
        count = self._config.probes_at_once
        return self._probe_next(now_us, count) if self.book.answered(address, site, now_us) else []

    def _on_connected(self, fact: v.PeerConnected, now_us: int) -> list[Effect]:
        contact, control = fact.contact, fact.channel is Channel.CONTROL
        return self._reached(contact.address, contact.site, now_us) if control else []

    def _on_failed(self, fact: v.AddressFailed, now_us: int) -> list[Effect]:
        self._probes.ended(fact.address)
        self.book.failed(fact.address, now_us)
        return []

    def _on_answered(self, fact: v.AddressAnswered, now_us: int) -> list[Effect]:
        address, contact = fact.address, fact.contact
        others = self._reached(address, contact.site, now_us)
        if not self._probes.ended(address) or contact.site == self._links.me.site or contact.site in self.active:
            return others
        self.leavers.back(contact.site)
        reachable = contact if contact.address else Contact(contact.site, contact.incarnation, address)
        if not self.active:
            return others + self._links.ask(reachable, True, now_us, join=True)
        return [*others, self._probe(reachable, now_us)]

    def _probe(self, contact: Contact, now_us: int, is_alarm: bool = False) -> Effect:
        """Ask somebody for the name of its component."""
        self._probes.ask(contact)
        probe = Probe(self._links.me, self._beacons.name(now_us), is_alarm)
        return Send(contact.site, probe, contact.address)

    def _on_probe(self, peer: Site, probe: Probe, now_us: int) -> list[Effect]:
        if probe.sender.site == peer:
            self._links.remember(probe.sender)
        reply = Send(peer, ProbeReply(self._beacons.name(now_us)))
        return [reply, *self._on_alarm(probe, now_us), *self._links.promote(now_us)]

    def _on_alarm(self, probe: Probe, now_us: int) -> list[Effect]:
        """Whoever is dead is found out by being spoken to; of many alarms, by the first."""
        if not probe.is_alarm or now_us < self._affirmed_us + self._config.alarm_pause_us:
            return []
        return self._affirm(now_us)

    def _on_probe_reply(self, peer: Site, reply: ProbeReply, now_us: int) -> list[Effect]:
        """Another lowest site: another component, or news that is still on its way. A link mends both."""
        contact = self._probes.answered(peer)
        if contact is None or peer in self.active:
            return []
        self._links.remember(contact)
        if reply.lowest == self._beacons.name(now_us):
            return self._links.promote(now_us)
        self._heals += 1
        return self._links.ask(contact, True, now_us)

    # --- what membership and the detector say -----------------------------------------------------------------------

    def _on_member(self, fact: v.MemberAdded, now_us: int) -> list[Effect]:
        """A member is somebody to fall back on; one that is only stored may be all that we know of the cluster."""
        contact = fact.contact
        if contact.site == self._links.me.site or not contact.address:
            return []
        self.leavers.back(contact.site)
        if not fact.observed:
            self.book.add(contact.address, now_us)
            self._timers.set_earlier(("probe",), now_us)
        self._links.remember(contact)
        return self._links.promote(now_us) if not self.active.full else []

    def _on_member_removed(self, fact: v.MemberRemoved, now_us: int) -> list[Effect]:
        """Who does not belong is in no view. Its link stays until it is idle: the verdict goes that way."""
        site = fact.site
        contact = self.contact(site)
        told = [Send(site, Disconnect(True, ()))] if site in self.active else []
        effects = self._links.lower(site, Cause.GOODBYE, now_us)
        self._links.requests.end(site)
        self.passive.discard(site)
        if contact is not None:
            self.book.remove(contact.address)
            self.leavers.add(site, contact.incarnation, now_us)
        return [*told, *effects, *self._links.promote(now_us)]

    def _on_liveness(self, fact: v.LivenessChanged, now_us: int) -> list[Effect]:
        """A dead member's address is asked for ever: it may be the other side of a split. A living one's is not."""
        contact = fact.contact
        match fact.state:
            case Liveness.DOWN:
                self.passive.discard(contact.site)
                self.book.lost(contact.address, now_us)
            case Liveness.ALIVE:
                self.book.answered(contact.address, contact.site, now_us)
                if contact.address:
                    self._links.remember(contact)
            case Liveness.STOPPED:
                self.passive.discard(contact.site)
                self.book.remove(contact.address)
        return []

    def _on_cluster_changed(self, fact: v.ClusterChanged, now_us: int) -> list[Effect]:
        """Another cluster, or another life: all contacts were the old one's. Alone, nobody is to be looked for."""
        effects: list[Effect] = []
        for contact in list(self.active):
            effects += self._links.lower(contact.site, Cause.GOODBYE, now_us)
        for site in list(self._links.requests):
            self._links.requests.end(site)
        self._links.me = Contact(self._links.me.site, fact.incarnation, self._links.me.address)
        self.passive.clear()
        self.book.clear()
        self.leavers.clear()
        self._probes.clear()
        self._links.refused.clear()
        self._solo = fact.solo
        self._beacons.restart(now_us)
        return [*effects, *self._ask_seeds(now_us)]

    def _on_seeds(self, fact: SeedsResolved, now_us: int) -> list[Effect]:
        self._seeds.update(dict.fromkeys(fact.addresses))
        while len(self._seeds) > self._config.addresses_max:
            del self._seeds[next(iter(self._seeds))]
        return self._ask_seeds(now_us)

    def _ask_seeds(self, now_us: int) -> list[Effect]:
        if not self._solo:
            for address in self._seeds:
                self.book.add(address, now_us, is_seed=True)
            self._timers.set_earlier(("probe",), now_us)
        return []

    # --- timers and leaving -----------------------------------------------------------------------------------------

    def _on_tick(self, _: v.Tick, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        for what, *which in self._timers.pop_due(now_us):
            match what:
                case "request":
                    effects += self._links.on_timeout(which[0], now_us)
                case "shuffle":
                    effects += self._shuffle(now_us)
                case "affirm":
                    self._timers.set(("affirm",), now_us + jittered(self._rng, self._config.affirm_period_us))
                    effects += self._affirm(now_us)
                case "beacon":
                    effects += self._on_beacon_timer(now_us)
                case "promote":
                    self._links.refused.clear()
                    effects += self._links.promote(now_us)
                case "probe":
                    effects += self._probe_next(now_us)
                case _:
                    assert_never(what)
        return effects

    def _on_leave(self, _: LeaveOverlay, now_us: int) -> list[Effect]:
        """Each neighbour gets the names of others before we go."""
        neighbours = list(self.active)
        effects: list[Effect] = [
            Send(other.site, Disconnect(False, self._links.instead(other.site))) for other in neighbours
        ]
        for contact in neighbours:
            effects += self._links.lower(contact.site, Cause.GOODBYE, now_us)
        self._leaving = True
        self._links.requests.clear()
        self._timers = Timers()
        return effects
