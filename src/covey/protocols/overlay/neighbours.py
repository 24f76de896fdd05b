"""HyParView's two views: how a link is asked for, taken, given up and replaced (DSN 2007, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from covey.core import vocabulary as v
from covey.core.errors import invariant
from covey.core.ids import INCARNATION_MAX, Contact, Site
from covey.core.rng import jittered
from covey.core.timers import Timers
from covey.core.vocabulary import Cause, Send
from covey.protocols.overlay.beacons import Beacons
from covey.protocols.overlay.config import OverlayConfig
from covey.protocols.overlay.healing import AddressBook
from covey.protocols.overlay.leavers import Leavers
from covey.protocols.overlay.requests import Requests
from covey.protocols.overlay.views import ActiveView, PassiveView
from covey.wire.messages.overlay import (
    Disconnect,
    ForwardJoin,
    Join,
    Left,
    NeighborReply,
    NeighborRequest,
)

Effect = Any


class Neighbours:
    """The active view and the passive one, and who is being asked.

    Invariants: `active & passive == {}`; `active & requests == {}`; we are in none of them; every request has a
    deadline; what was departed from is in no view.
    """

    def __init__(
        self, config: OverlayConfig, rng: Random, now_us: int, *, me: Contact, book: AddressBook,
        timers: Timers[tuple[Any, ...]],
    ) -> None:  # fmt: skip
        self._config = config
        self._rng = rng
        self.me = me
        self.active = ActiveView(me.site, config.active_max)
        self.passive = PassiveView(me.site, config.passive_max)
        self.leavers = Leavers(config)
        self.requests = Requests(config, timers)
        self.refused: dict[Site, None] = {}  # who refused us in this round of asking
        self.beacons = Beacons(config, me, self.active, now_us)
        self.changed_us = now_us
        self.evictions = 0
        self._book = book
        self._timers = timers

    # --- asking for links ---------------------------------------------------------------------------------------------

    def ask(self, contact: Contact, urgent: bool, now_us: int, join: bool = False, keep: bool = False) -> list[Effect]:
        """Ask for a link. `join` also starts the newcomer's random walks."""
        if contact.site in self.requests or contact.site in self.active or contact.site == self.me.site:
            return []
        if self.requests.full:
            return []
        number = self.requests.begin(contact, urgent or join or keep, now_us)
        message = Join(self.me, number) if join else NeighborRequest(self.me, number, urgent)
        return [Send(contact.site, message, contact.address)]

    def promote(self, now_us: int) -> list[Effect]:
        """Fill the active view from the passive one: ask as many as there are free places (DSN 2007, 4.3)."""
        effects: list[Effect] = []
        free = self.active.size_max - len(self.active) - len(self.requests)
        while free > 0:
            candidates = [c for c in self.passive if c.site not in self.requests and c.site not in self.refused]
            if not candidates:
                break
            # The paper's high priority: only who has no neighbour at all may not be refused.
            urgent = len(self.active) == 0
            effects += self.ask(self._rng.choice(candidates), urgent, now_us)
            free -= 1
        if not self.active.full:
            pause_us = self._config.promote_pause_us(now_us - self.changed_us)
            self._timers.set_earlier(("promote",), now_us + pause_us)
        if not self.active and not self.requests:
            self._book.hurry(now_us)
            self._timers.set_earlier(("probe",), now_us + self._config.probe_period_us // 4)
        return effects

    def on_timeout(self, site: Site, now_us: int) -> list[Effect]:
        """No answer: not a good contact. The address book goes on trying it."""
        self.requests.end(site)
        self.passive.discard(site)
        return self.promote(now_us)

    # --- being asked --------------------------------------------------------------------------------------------------

    def on_join(self, peer: Site, join: Join, now_us: int) -> list[Effect]:
        """A contact never refuses a newcomer, and sends its name on a walk from every other neighbour."""
        if join.sender.site != peer:
            return []
        effects = self._accept(join.sender, join.number, now_us)
        walk = ForwardJoin(join.sender, self._config.active_walk)
        others = self.active.sites(but=peer)
        return [*effects, v.Multicast(others, walk)] if others else effects

    def on_forward_join(self, peer: Site, walk: ForwardJoin, now_us: int) -> list[Effect]:
        """A walk that offers a newcomer: at its end it is asked for a link, on its way it is remembered once."""
        joiner = walk.joiner
        if joiner.site == self.me.site or self.leavers.has(joiner):
            return []
        hops_left = min(walk.hops_left, self._config.active_walk)
        onward = self.active.choose(self._rng, but=peer)
        if onward is not None and onward.site == joiner.site:
            others = [c for c in self.active if c.site not in (peer, joiner.site)]
            onward = self._rng.choice(others) if others else None
        if hops_left == 0 or onward is None or len(self.active) <= 1:
            return [] if joiner.site in self.active else self.ask(joiner, False, now_us, keep=True)
        if hops_left == self._config.passive_walk:
            self.remember(joiner)
        return [Send(onward.site, ForwardJoin(joiner, hops_left - 1))]

    def on_request(self, peer: Site, request: NeighborRequest, now_us: int) -> list[Effect]:
        """Taken where there is room, or where the other side has nobody else."""
        if request.sender.site != peer:
            return []
        if request.urgent or not self.active.full or peer in self.active:
            return self._accept(request.sender, request.number, now_us)
        self.remember(request.sender)
        return [Send(peer, NeighborReply(request.number, False), request.sender.address)]

    def _accept(self, contact: Contact, number: int, now_us: int) -> list[Effect]:
        reply = Send(contact.site, NeighborReply(number, True), contact.address)
        self.leavers.back(contact.site)
        return [reply, *self._raise(contact, now_us)]

    def on_reply(self, peer: Site, reply: NeighborReply, now_us: int) -> list[Effect]:
        """What somebody says whom we asked. Too late, or with no room left, the link is given back."""
        request = self.requests.get(peer)
        if request is None or request.number != reply.number:
            if reply.accepted and request is None and peer not in self.active:  # too late: we stopped waiting
                return [Send(peer, Disconnect(True, ()))]
            return []
        self.requests.end(peer)
        if not reply.accepted:
            self.refused[peer] = None
            return self.promote(now_us)
        if self.active.full and not request.keep and peer not in self.active:
            self.remember(request.contact)
            return [Send(peer, Disconnect(True, ()))]
        return self._raise(request.contact, now_us)

    # --- the active view ----------------------------------------------------------------------------------------------

    def _raise(self, contact: Contact, now_us: int) -> list[Effect]:
        """Make `contact` a neighbour, dropping a random one where the view is full."""
        known = self.active.get(contact.site)
        if known is not None:
            if known.incarnation >= contact.incarnation:
                return []
            effects = self.lower(contact.site, Cause.REPLACED, now_us)
        else:
            effects = []
            self.passive.discard(contact.site)
            if self.active.full:
                victim = self.active.choose(self._rng)
                assert victim is not None
                self.evictions += 1
                effects.append(Send(victim.site, Disconnect(True, self.instead(victim.site, contact))))
                effects += self.lower(victim.site, Cause.REPLACED, now_us)
                self.remember(victim)
        self.requests.end(contact.site)
        self.passive.discard(contact.site)
        self.refused.clear()
        self.active.add(contact)
        self._changed(now_us)
        up = v.NeighborUp(contact)
        effects += [v.Pin(contact.site), up, v.Emit(up)]
        return effects + self.beacons.greet(contact, self.me, now_us)

    def lower(self, site: Site, cause: Cause, now_us: int) -> list[Effect]:
        """`site` is a neighbour no more."""
        contact = self.active.discard(site)
        if contact is None:
            return []
        self.refused.clear()
        self._changed(now_us)
        down = v.NeighborDown(contact, cause)
        return [v.Unpin(site), down, v.Emit(down)]

    def _changed(self, now_us: int) -> None:
        self.changed_us = now_us
        self._timers.set_earlier(("shuffle",), now_us + jittered(self._rng, self._config.settle_period_us))

    def instead(self, victim: Site, newcomer: Contact | None = None) -> tuple[Contact, ...]:
        """Whom a dropped neighbour may ask: the newcomer that took its place, some neighbours, some others."""
        contacts = self.active.sample(self._rng, 2, but=victim) + self.passive.sample(self._rng, 2)
        if newcomer is not None:
            contacts.insert(0, newcomer)
        return tuple(contact for contact in contacts if contact.site != victim and contact.address)

    # --- who goes -----------------------------------------------------------------------------------------------------

    def on_disconnect(self, peer: Site, message: Disconnect, now_us: int) -> list[Effect]:
        """A neighbour gives us up, or goes; it says whom we may ask instead."""
        contact = self.active.get(peer)
        effects = self.lower(peer, Cause.REPLACED if message.alive else Cause.GOODBYE, now_us)
        if not message.alive:
            known = contact or self.passive.get(peer)
            effects += self._depart(peer, known.incarnation if known is not None else INCARNATION_MAX, peer, now_us)
        elif contact is not None:
            self.remember(contact)
            self.refused[peer] = None  # it has just dropped us; ask the others first
        for other in message.instead:
            self.remember(other)
        return effects + self.promote(now_us)

    def on_left(self, peer: Site, left: Left, now_us: int) -> list[Effect]:
        """Somebody has gone: nobody is to be offered it any more."""
        if left.site == self.me.site or self.leavers.knows(left.site, left.incarnation):
            return []
        contact = self.contact(left.site)
        if contact is not None and contact.incarnation > left.incarnation:
            return []  # an earlier life
        effects = self.lower(left.site, Cause.GOODBYE, now_us)
        return effects + self._depart(left.site, left.incarnation, peer, now_us) + self.promote(now_us)

    def _depart(self, site: Site, incarnation: int, teller: Site, now_us: int) -> list[Effect]:
        """This life of `site` has gone: shuffles still under way must not bring it back. A later life may come."""
        self.requests.end(site)
        self.passive.discard(site)
        room = self.leavers.add(site, incarnation, now_us)
        others = [other for other in self.active.sites(but=teller) if other != site]
        if not (others and room) or incarnation == INCARNATION_MAX:
            return []  # without room, a name that was just forgotten would go round for ever
        return [v.Multicast(tuple(others), Left(site, incarnation))]

    def remember(self, contact: Contact, drop_first: Sequence[Site] = ()) -> None:
        """A contact for later. Where there is no room, one of `drop_first` makes it, or any."""
        if contact.site not in self.active and not self.leavers.has(contact):
            self.passive.add(contact, self._rng, drop_first)

    def contact(self, site: Site) -> Contact | None:
        """What the views know of `site`."""
        return self.active.get(site) or self.passive.get(site)

    def check(self) -> None:
        """Every invariant."""
        self.active.check()
        self.passive.check()
        for contact in self.active:
            invariant(contact.site not in self.passive, "a neighbour is not in the passive view")
            invariant(contact.site not in self.requests, "a neighbour is not being asked")
        self.requests.check(self.me.site)
        for site in self.leavers.sites():
            seen = self.contact(site)
            invariant(seen is None or not self.leavers.has(seen), "leavers are in no view")
        self.beacons.check()
        self.leavers.check()
