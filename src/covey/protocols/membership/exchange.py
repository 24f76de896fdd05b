"""The exchange: how two members even out, by digest first and then by what was imported since.

classy's protocol. A `Sync` carries everything imported since the peer's last acknowledgement, inclusive, so the
boundary operation is repeated until the next one. A receiver that has not taken all before `since` finds a *gap*: it
drops the operations but takes the acknowledgement, and its answer makes the sender go back. Heals in two messages each
way. Changed here: digests go first, so an idle pair says 20 bytes; and only those that differ speak.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from covey.core.errors import invariant
from covey.core.ids import Contact, Site
from covey.core.rng import jittered
from covey.core.timers import Timers
from covey.core.vocabulary import Send
from covey.protocols.membership.config import MembershipConfig
from covey.protocols.membership.floors import Floor, Floors, chunk
from covey.protocols.membership.ledger import Ledger
from covey.wire.messages.membership import Digests, Sync

Effect = Any


class Exchange:
    """Who has taken what, and what is to be said to whom.

    Law: as long as two linked members' records differ, one of them is about to say `Sync`; a lost, doubled or overtaken
    message costs a retransmission and nothing else.
    Invariants: floors are bounded; a sync is due only to a linked peer.
    """

    def __init__(self, config: MembershipConfig, ledger: Ledger, rng: Random, now_us: int) -> None:
        self._config = config
        self._ledger = ledger
        self._rng = rng
        self.floors = Floors(config.members_max)
        self.links: dict[Site, Contact] = {}
        self.syncs_sent = self.syncs_received = self.gaps = 0
        self._timers: Timers[Site | None] = Timers()
        self._timers.set(None, now_us + jittered(rng, config.digest_period_us))  # None: time to compare

    def deadline(self) -> int | None:
        return self._timers.deadline()

    def connected(self, contact: Contact) -> list[Effect]:
        self.links[contact.site] = contact
        self.floors.meet(contact)
        return [Send(contact.site, self.digests())]

    def lost(self, site: Site) -> None:
        self.links.pop(site, None)
        self._timers.cancel(site)

    def clear(self) -> None:
        """Another cluster."""
        for site in list(self.links):
            self.lost(site)
        self.floors.clear()

    def digests(self) -> Digests:
        return Digests(self._ledger.record.digest, self._ledger.record.kicked_digest)

    def tick(self, now_us: int) -> list[Effect]:
        """Compare with one linked member, and say the syncs that had to wait."""
        effects: list[Effect] = []
        for site in self._timers.pop_due(now_us):
            if site is not None:
                effects += self.sync(site, False, now_us)
                continue
            self._timers.set(None, now_us + jittered(self._rng, self._config.digest_period_us))
            if self.links:
                effects.append(Send(self._rng.choice(list(self.links)), self.digests()))
        return effects

    def sync(self, site: Site, answer: bool, now_us: int) -> list[Effect]:
        """All that we imported since the peer's acknowledgement, or the oldest part of it."""
        ledger, floor = self._ledger, self.floor(site)
        floor.paused_until_us = now_us + self._config.sync_pause_us
        entries = ledger.record.since(floor.acked_out)
        entries, imports = chunk(entries, ledger.imports, self._config.sync_ops_max)
        ops = tuple(entry.op for entry in entries)
        self.syncs_sent += 1
        message = Sync(floor.acked_out, floor.acked_in, imports, ops, ledger.record.digest, answer)
        return [Send(site, message, ledger.record.address(site))]

    def sync_soon(self, site: Site, now_us: int) -> list[Effect]:
        """Sync now, or when the pause after the last one is over."""
        floor = self.floor(site)
        if floor.paused_until_us <= now_us:
            return self.sync(site, False, now_us)
        if site in self.links:
            self._timers.set_earlier(site, floor.paused_until_us)
        return []

    def compare(self, peer: Site, record: bytes, kicked: bytes, now_us: int) -> list[Effect]:
        """A peer's digests: even out where they differ, and learn who has seen which kick."""
        self.floor(peer).kicked = kicked
        return self.sync_soon(peer, now_us) if record != self._ledger.record.digest else []

    def receive(self, peer: Site, sync: Sync, take: Callable[[], None], now_us: int) -> list[Effect]:
        """A peer's sync: `take` its operations unless something before them is missing; and what to answer."""
        floor = self.floor(peer)
        self.syncs_received += 1
        floor.acked_out = sync.acked
        if floor.acked_in < sync.since:
            self.gaps += 1
            return self.sync(peer, False, now_us)
        self._ledger.imports += 1
        cluster = self._ledger.cluster
        take()
        if self._ledger.cluster != cluster:  # it held our verdict; nothing of the old cluster concerns us any more
            return []
        floor.acked_in = sync.imports
        if sync.answer:
            return self.sync(peer, False, now_us)
        return self.sync_soon(peer, now_us) if sync.digest != self._ledger.record.digest else []

    def floor(self, site: Site) -> Floor:
        """How far we are with `site`, in the life we are linked to."""
        contact = self.links.get(site)
        floor = self.floors.get(site)
        if floor is not None and (contact is None or floor.incarnation == contact.incarnation):
            return floor
        return self.floors.meet(contact or Contact(site, 0, ""))

    def check(self) -> None:
        invariant(len(self.floors) <= self._config.members_max, "floors are bounded")
        for site in self.links:
            invariant(self.floors.get(site) is not None, "a linked peer has a floor")
