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
- parted components find each other again (`healing`), which the paper leaves open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, assert_never

import msgspec

from covey.core import vocabulary as v
from covey.core.errors import invariant
from covey.core.ids import INCARNATION_MAX, Contact, Site
from covey.core.rng import jittered
from covey.core.timers import Timers
from covey.core.vocabulary import Cause, Channel, Liveness, Send
from covey.protocols.overlay.beacons import Beacons, Lowest
from covey.protocols.overlay.config import OverlayConfig
from covey.protocols.overlay.healing import AddressBook, Probes
from covey.protocols.overlay.leavers import Leavers
from covey.protocols.overlay.requests import Requests
from covey.protocols.overlay.shuffling import Shuffling
from covey.protocols.overlay.views import ActiveView, PassiveView
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
        self._me = me
        self.active = ActiveView(me.site, config.active_max)
        self.passive = PassiveView(me.site, config.passive_max)
        self.book = AddressBook(config)
        self._beacons = Beacons(config, me, self.active, now_us)
        self._refused: dict[Site, None] = {}  # who refused us in this round of asking
        self.leavers = Leavers(config)
        self._shuffling = Shuffling(config, rng, self.active, self.passive, self._remember)
        self._probes = Probes(config)
        self._changed_us = now_us
        self._leaving = False
        self._solo = solo  # in a cluster that nobody else can be in: nobody is looked for
        self._seeds: dict[str, None] = {}
        self._timers: Timers[tuple[Any, ...]] = Timers()
        self._requests = Requests(config, self._timers)
        self._counts = {"evictions": 0, "heals": 0}
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
            Join: self._on_join,
            ForwardJoin: self._on_forward_join,
            NeighborRequest: self._on_neighbor_request,
            NeighborReply: self._on_neighbor_reply,
            Disconnect: self._on_disconnect,
            Probe: self._on_probe,
            ProbeReply: self._on_probe_reply,
            Left: self._on_left,
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
        self.active.check()
        self.passive.check()
        self.book.check()
        for contact in self.active:
            invariant(contact.site not in self.passive, "a neighbour is not in the passive view")
            invariant(contact.site not in self._requests, "a neighbour is not being asked")
        self._requests.check(self._me.site)
        for site in self.leavers.sites():
            seen = self.contact(site)
            invariant(seen is None or not self.leavers.has(seen), "leavers are in no view")
        self._probes.check()
        self._beacons.check()
        self.leavers.check()

    def statistics(self) -> OverlayStatistics:
        return OverlayStatistics(
            active=len(self.active),
            passive=len(self.passive),
            requests=len(self._requests),
            addresses=len(self.book),
            lowest=self.lowest.site,
            shuffles=self._shuffling.begun,
            **self._counts,
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
        return self.active.get(site) or self.passive.get(site)

    # --- what the engine hands us -----------------------------------------------------------------------------------

    def _on_flood(self, flood: v.Flood, now_us: int) -> list[Effect]:
        others = self.active.sites(but=flood.but)
        return [v.Multicast(others, flood.message)] if others else []

    def _on_address(self, fact: v.AddressLearned, now_us: int) -> list[Effect]:
        self._me = Contact(self._me.site, self._me.incarnation, fact.address)
        return []

    # --- asking for links -------------------------------------------------------------------------------------------

    def _ask(self, contact: Contact, urgent: bool, now_us: int, join: bool = False, keep: bool = False) -> list[Effect]:
        """Ask for a link. `join` also starts the newcomer's random walks."""
        if contact.site in self._requests or contact.site in self.active or contact.site == self._me.site:
            return []
        if self._requests.full:
            return []
        number = self._requests.begin(contact, urgent or join or keep, now_us)
        message = Join(self._me, number) if join else NeighborRequest(self._me, number, urgent)
        return [Send(contact.site, message, contact.address)]

    def _promote(self, now_us: int) -> list[Effect]:
        """Fill the active view from the passive one: ask as many as there are free places (DSN 2007, 4.3)."""
        effects: list[Effect] = []
        free = self.active.size_max - len(self.active) - len(self._requests)
        while free > 0:
            candidates = [c for c in self.passive if c.site not in self._requests and c.site not in self._refused]
            if not candidates:
                break
            # The paper's high priority: only who has no neighbour at all may not be refused.
            urgent = len(self.active) == 0
            effects += self._ask(self._rng.choice(candidates), urgent, now_us)
            free -= 1
        if not self.active.full:
            pause_us = self._config.promote_pause_us(now_us - self._changed_us)
            self._timers.set_earlier(("promote",), now_us + pause_us)
        if not self.active and not self._requests:
            self.book.hurry(now_us)
            self._timers.set_earlier(("probe",), now_us + self._config.probe_period_us // 4)
        return effects

    def _on_join(self, peer: Site, join: Join, now_us: int) -> list[Effect]:
        """A contact never refuses a newcomer, and sends its name on a walk from every other neighbour."""
        if join.sender.site != peer:
            return []
        effects = self._accept(join.sender, join.number, now_us)
        walk = ForwardJoin(join.sender, self._config.active_walk)
        others = self.active.sites(but=peer)
        return [*effects, v.Multicast(others, walk)] if others else effects

    def _on_forward_join(self, peer: Site, walk: ForwardJoin, now_us: int) -> list[Effect]:
        joiner = walk.joiner
        if joiner.site == self._me.site or self.leavers.has(joiner):
            return []
        hops_left = min(walk.hops_left, self._config.active_walk)
        onward = self.active.choose(self._rng, but=peer)
        if onward is not None and onward.site == joiner.site:
            others = [c for c in self.active if c.site not in (peer, joiner.site)]
            onward = self._rng.choice(others) if others else None
        if hops_left == 0 or onward is None or len(self.active) <= 1:
            return [] if joiner.site in self.active else self._ask(joiner, False, now_us, keep=True)
        if hops_left == self._config.passive_walk:
            self._remember(joiner)
        return [Send(onward.site, ForwardJoin(joiner, hops_left - 1))]

    def _on_neighbor_request(self, peer: Site, request: NeighborRequest, now_us: int) -> list[Effect]:
        if request.sender.site != peer:
            return []
        if request.urgent or not self.active.full or peer in self.active:
            return self._accept(request.sender, request.number, now_us)
        self._remember(request.sender)
        return [Send(peer, NeighborReply(request.number, False), request.sender.address), *self._affirm()]

    def _accept(self, contact: Contact, number: int, now_us: int) -> list[Effect]:
        reply = Send(contact.site, NeighborReply(number, True), contact.address)
        self.leavers.back(contact.site)
        return [reply, *self._raise(contact, now_us)]

    def _on_neighbor_reply(self, peer: Site, reply: NeighborReply, now_us: int) -> list[Effect]:
        request = self._requests.get(peer)
        if request is None or request.number != reply.number:
            if reply.accepted and request is None and peer not in self.active:  # too late: we stopped waiting
                return [Send(peer, Disconnect(True, ()))]
            return []
        self._requests.end(peer)
        if not reply.accepted:
            self._refused[peer] = None
            return self._promote(now_us)
        if self.active.full and not request.keep and peer not in self.active:
            self._remember(request.contact)
            return [Send(peer, Disconnect(True, ()))]
        return self._raise(request.contact, now_us)

    def _on_request_timeout(self, site: Site, now_us: int) -> list[Effect]:
        """No answer: not a good contact. The address book goes on trying it."""
        self._requests.end(site)
        self.passive.discard(site)
        return self._promote(now_us)

    # --- the active view --------------------------------------------------------------------------------------------

    def _raise(self, contact: Contact, now_us: int) -> list[Effect]:
        """Make `contact` a neighbour, dropping a random one where the view is full."""
        known = self.active.get(contact.site)
        if known is not None:
            if known.incarnation >= contact.incarnation:
                return []
            effects = self._lower(contact.site, Cause.REPLACED, now_us)
        else:
            effects = []
            self.passive.discard(contact.site)
            if self.active.full:
                victim = self.active.choose(self._rng)
                assert victim is not None
                self._counts["evictions"] += 1
                effects.append(Send(victim.site, Disconnect(True, self._instead(victim.site, contact))))
                effects += self._lower(victim.site, Cause.REPLACED, now_us)
                self._remember(victim)
        self._requests.end(contact.site)
        self.passive.discard(contact.site)
        self._refused.clear()
        self.active.add(contact)
        self._changed(now_us)
        effects += [v.Pin(contact.site), v.Emit(v.NeighborUp(contact))]
        return effects + self._beacons.greet(contact, self._me, now_us)

    def _lower(self, site: Site, cause: Cause, now_us: int) -> list[Effect]:
        """`site` is a neighbour no more."""
        contact = self.active.discard(site)
        if contact is None:
            return []
        self._refused.clear()
        self._changed(now_us)
        return [v.Unpin(site), v.Emit(v.NeighborDown(contact, cause))]

    def _changed(self, now_us: int) -> None:
        self._changed_us = now_us
        self._timers.set_earlier(("shuffle",), now_us + jittered(self._rng, self._config.settle_period_us))

    def _instead(self, victim: Site, newcomer: Contact | None = None) -> tuple[Contact, ...]:
        """Whom a dropped neighbour may ask: the newcomer that took its place, some neighbours, some others."""
        contacts = self.active.sample(self._rng, 2, but=victim) + self.passive.sample(self._rng, 2)
        if newcomer is not None:
            contacts.insert(0, newcomer)
        return tuple(contact for contact in contacts if contact.site != victim and contact.address)

    def _on_disconnect(self, peer: Site, message: Disconnect, now_us: int) -> list[Effect]:
        contact = self.active.get(peer)
        effects = self._lower(peer, Cause.REPLACED if message.alive else Cause.GOODBYE, now_us)
        if not message.alive:
            known = contact or self.passive.get(peer)
            effects += self._depart(peer, known.incarnation if known is not None else INCARNATION_MAX, peer, now_us)
        elif contact is not None:
            self._remember(contact)
            self._refused[peer] = None  # it has just dropped us; ask the others first
        for other in message.instead:
            self._remember(other)
        return effects + self._promote(now_us)

    def _on_left(self, peer: Site, left: Left, now_us: int) -> list[Effect]:
        if left.site == self._me.site or self.leavers.knows(left.site, left.incarnation):
            return []
        contact = self.contact(left.site)
        if contact is not None and contact.incarnation > left.incarnation:
            return []  # an earlier life
        effects = self._lower(left.site, Cause.GOODBYE, now_us)
        return effects + self._depart(left.site, left.incarnation, peer, now_us) + self._promote(now_us)

    def _depart(self, site: Site, incarnation: int, teller: Site, now_us: int) -> list[Effect]:
        """This life of `site` has gone: shuffles still under way must not bring it back. A later life may come."""
        self._requests.end(site)
        self.passive.discard(site)
        room = self.leavers.add(site, incarnation, now_us)
        others = [other for other in self.active.sites(but=teller) if other != site]
        if not (others and room) or incarnation == INCARNATION_MAX:
            return []  # without room, a name that was just forgotten would go round for ever
        return [v.Multicast(tuple(others), Left(site, incarnation))]

    def _on_peer_lost(self, fact: v.PeerLost, now_us: int) -> list[Effect]:
        if fact.channel is not Channel.CONTROL:
            return []
        contact, cause = fact.contact, fact.cause
        site = contact.site
        self._probes.answered(site)
        if cause not in _STILL_THERE and not self._solo:  # a link of the cluster that we are out of is no loss
            self.book.lost(contact.address, now_us)
        self._timers.set_earlier(("probe",), now_us + self._config.probe_backoff_us_min)
        self._refused.pop(site, None)
        if site in self._requests and cause not in _STILL_THERE:
            self._requests.end(site)
            self.passive.discard(site)  # as one that does not answer; the address book goes on
        if site not in self.active:
            return self._promote(now_us) if cause not in _STILL_THERE else []
        effects = self._lower(site, cause, now_us)
        if cause in _STILL_THERE:
            self._remember(contact)
        return effects + self._promote(now_us)

    def _on_unreached(self, fact: v.PeerUnreached, now_us: int) -> list[Effect]:
        if fact.channel is not Channel.CONTROL:
            return []
        site, cause = fact.site, fact.cause
        self._probes.answered(site)
        if cause not in _STILL_THERE and cause is not Cause.NO_ADDRESS:
            self.passive.discard(site)
        self._requests.end(site)
        if cause is Cause.BUSY or cause is Cause.NO_ADDRESS:  # said at once by our own links: not again in this step
            self._timers.set_earlier(("promote",), now_us + self._config.promote_period_us)
            return []
        return self._promote(now_us)

    def _remember(self, contact: Contact, drop_first: Sequence[Site] = ()) -> None:
        if contact.site not in self.active and not self.leavers.has(contact):
            self.passive.add(contact, self._rng, drop_first)

    # --- symmetry ---------------------------------------------------------------------------------------------------

    def _affirm(self) -> list[Effect]:
        """Say to the neighbours that they are; whoever is dead is found out by that."""
        return [v.Multicast(self.active.sites(), Affirm())] if self.active else []

    def _on_affirm(self, peer: Site, _: Affirm, now_us: int) -> list[Effect]:
        """`peer` believes we are neighbours. If we don't, say so."""
        if peer in self.active or peer in self._requests:
            return []
        return [Send(peer, Disconnect(True, self._instead(peer)))]

    # --- shuffles ---------------------------------------------------------------------------------------------------

    def _shuffle(self, now_us: int) -> list[Effect]:
        self.leavers.expire(now_us)
        settling = now_us - self._changed_us < self._config.settle_us
        period = self._config.settle_period_us if settling else self._config.shuffle_period_us
        self._timers.set(("shuffle",), now_us + jittered(self._rng, period))
        return self._shuffling.begin(self._me)

    def _on_shuffle(self, peer: Site, shuffle: Shuffle, now_us: int) -> list[Effect]:
        if shuffle.origin.site == self._me.site:
            return []
        effects = self._shuffling.on_shuffle(peer, shuffle)
        return effects + self._promote(now_us)

    def _on_shuffle_reply(self, peer: Site, reply: ShuffleReply, now_us: int) -> list[Effect]:
        self._shuffling.on_reply(reply)
        return self._promote(now_us)

    # --- healing ----------------------------------------------------------------------------------------------------

    def _on_beacon(self, peer: Site, beacon: Beacon, now_us: int) -> list[Effect]:
        return self._beacons.on_beacon(peer, beacon, now_us)

    def _on_beacon_timer(self, now_us: int) -> list[Effect]:
        self._timers.set(("beacon",), now_us + jittered(self._rng, self._config.beacon_period_us))
        return self._beacons.shine(self._me, now_us)

    def _probe_next(self, now_us: int, count: int = 1) -> list[Effect]:
        """Find out who is at one address that none of our neighbours answers at. Who is alone is in a hurry."""
        period_us = self._config.probe_period_us if self.active else self._config.probe_period_us // 4
        self._timers.set(("probe",), now_us + jittered(self._rng, period_us))
        addresses = self.book.take_due(now_us, frozenset(self.active.sites()), self._me.address, count)
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
        if not self._probes.ended(address) or contact.site == self._me.site or contact.site in self.active:
            return others
        self.leavers.back(contact.site)
        reachable = contact if contact.address else Contact(contact.site, contact.incarnation, address)
        if not self.active:
            return others + self._ask(reachable, True, now_us, join=True)
        self._probes.ask(reachable)
        return [*others, Send(contact.site, Probe(self._me, self._beacons.name(now_us)), reachable.address)]

    def _on_probe(self, peer: Site, probe: Probe, now_us: int) -> list[Effect]:
        if probe.sender.site == peer:
            self._remember(probe.sender)
        return [Send(peer, ProbeReply(self._beacons.name(now_us))), *self._promote(now_us)]

    def _on_probe_reply(self, peer: Site, reply: ProbeReply, now_us: int) -> list[Effect]:
        """Another lowest site: another component, or news that is still on its way. A link mends both."""
        contact = self._probes.answered(peer)
        if contact is None or peer in self.active:
            return []
        self._remember(contact)
        if reply.lowest == self._beacons.name(now_us):
            return self._promote(now_us)
        self._counts["heals"] += 1
        return self._ask(contact, True, now_us)

    # --- what membership and the detector say -----------------------------------------------------------------------

    def _on_member(self, fact: v.MemberAdded, now_us: int) -> list[Effect]:
        """A member is somebody to fall back on; one that is only stored may be all that we know of the cluster."""
        contact = fact.contact
        if contact.site == self._me.site or not contact.address:
            return []
        self.leavers.back(contact.site)
        if not fact.observed:
            self.book.add(contact.address, now_us)
            self._timers.set_earlier(("probe",), now_us)
        self._remember(contact)
        return self._promote(now_us) if not self.active.full else []

    def _on_member_removed(self, fact: v.MemberRemoved, now_us: int) -> list[Effect]:
        """Who does not belong is in no view. Its link stays until it is idle: the verdict goes that way."""
        site = fact.site
        contact = self.contact(site)
        told = [Send(site, Disconnect(True, ()))] if site in self.active else []
        effects = self._lower(site, Cause.GOODBYE, now_us)
        self._requests.end(site)
        self.passive.discard(site)
        if contact is not None:
            self.book.remove(contact.address)
            self.leavers.add(site, contact.incarnation, now_us)
        return [*told, *effects, *self._promote(now_us)]

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
                    self._remember(contact)
            case Liveness.STOPPED:
                self.passive.discard(contact.site)
                self.book.remove(contact.address)
        return []

    def _on_cluster_changed(self, fact: v.ClusterChanged, now_us: int) -> list[Effect]:
        """Another cluster, or another life: all contacts were the old one's. Alone, nobody is to be looked for."""
        effects: list[Effect] = []
        for contact in list(self.active):
            effects += self._lower(contact.site, Cause.GOODBYE, now_us)
        for site in list(self._requests):
            self._requests.end(site)
        self._me = Contact(self._me.site, fact.incarnation, self._me.address)
        self.passive.clear()
        self.book.clear()
        self.leavers.clear()
        self._probes.clear()
        self._refused.clear()
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
                    effects += self._on_request_timeout(which[0], now_us)
                case "shuffle":
                    effects += self._shuffle(now_us)
                case "affirm":
                    self._timers.set(("affirm",), now_us + jittered(self._rng, self._config.affirm_period_us))
                    effects += self._affirm()
                case "beacon":
                    effects += self._on_beacon_timer(now_us)
                case "promote":
                    self._refused.clear()
                    effects += self._promote(now_us)
                case "probe":
                    effects += self._probe_next(now_us)
                case _:
                    assert_never(what)
        return effects

    def _on_leave(self, _: LeaveOverlay, now_us: int) -> list[Effect]:
        """Each neighbour gets the names of others before we go."""
        neighbours = list(self.active)
        effects: list[Effect] = [Send(other.site, Disconnect(False, self._instead(other.site))) for other in neighbours]
        for contact in neighbours:
            effects += self._lower(contact.site, Cause.GOODBYE, now_us)
        self._leaving = True
        self._requests.clear()
        self._timers = Timers()
        return effects
