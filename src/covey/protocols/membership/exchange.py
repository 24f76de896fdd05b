"""The exchange: how two members even out, by digest first and then by what was imported since.

classy's protocol. A `Sync` carries everything imported since the peer's last acknowledgement, inclusive, so the
boundary operation is repeated until the next one. A receiver that has not taken all before `since` finds a *gap*: it
drops the operations but takes the acknowledgement, and its answer makes the sender go back. Heals in two messages each
way.

Changed here. Digests go first, so an idle pair says 20 bytes; and only those that differ speak. What is long goes in
chunks, each sent when the one before is acknowledged, and then the boundary is not repeated. An acknowledgement names
the life it is for. And import numbers say what was *sent*, not what stands: a peer may have refused something it could
not place yet, or forgotten it. So where two differ and neither has anything new for the other, each tells everything
from the beginning, at once the first time and ever more rarely if that is to no avail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from covey.core.errors import invariant
from covey.core.ids import Contact, Site
from covey.core.rng import jittered
from covey.core.timers import Timers
from covey.core.vocabulary import Flood, Send
from covey.protocols.membership.config import SECOND_US, MembershipConfig
from covey.protocols.membership.floors import Floor, Floors, chunk
from covey.protocols.membership.ledger import Ledger
from covey.protocols.membership.record import Entry, op_bytes
from covey.wire.messages.membership import Digests, News, Op, Sync

Effect = Any


class Exchange:
    """Who has taken what, and what is to be said to whom.

    Law: as long as two linked members' records differ, one of them is about to say `Sync`; a lost, doubled or overtaken
    message costs a retransmission and nothing else; what one holds and the other lacks is told again until it stands or
    is refused by what stands.
    Invariants: floors are bounded, and every linked peer has one; no message has more than `sync_ops_max` operations or
    `sync_bytes_aim` bytes and the default of import 0, because no import brings more.
    """

    def __init__(self, config: MembershipConfig, ledger: Ledger, rng: Random, now_us: int) -> None:
        self._config = config
        self._ledger = ledger
        self._rng = rng
        self.floors = Floors(config.members_max)
        self.links: dict[Site, Contact] = {}
        self.syncs_sent = self.syncs_received = self.gaps = 0
        self._heard = False  # a ping or ack has carried somebody's digests since we compared last
        self._timers: Timers[Site | None] = Timers()
        self._timers.set(None, now_us + jittered(rng, config.digest_period_us))  # None: time to compare

    def deadline(self) -> int | None:
        return self._timers.deadline()

    def connected(self, contact: Contact) -> list[Effect]:
        """A link is up: say our digests, so that the peer sees whether we differ."""
        self.links[contact.site] = contact
        self.floors.meet(contact)
        return [Send(contact.site, self.digests())]

    def lost(self, site: Site) -> None:
        """The link is gone. The floor stays for a while: what was acknowledged in this life stays acknowledged."""
        self.links.pop(site, None)
        self._timers.cancel(site)

    def clear(self) -> None:
        """Another cluster."""
        for site in list(self.links):
            self.lost(site)
        self.floors.clear()

    def forget_floors(self) -> None:
        """Nobody has taken anything from us, nor we from anybody."""
        self.floors.clear()
        for contact in self.links.values():
            self.floors.meet(contact)

    # --- saying -----------------------------------------------------------------------------------------------------

    def digests(self) -> Digests:
        """What a peer compares with its own record."""
        return Digests(self._ledger.record.digest, self._ledger.record.kicked_digest)

    def flood(self, ops: Sequence[Op], but: Site | None = None) -> list[Effect]:
        """Fresh operations to all neighbours at once."""
        if not self._config.flood:
            return []
        effects: list[Effect] = []
        start = size = 0
        for at, op in enumerate(ops):
            size += op_bytes(op)
            if at > start and (size > self._config.sync_bytes_aim or at - start >= self._config.sync_ops_max):
                effects.append(Flood(News(tuple(ops[start:at])), but))
                start, size = at, op_bytes(op)
        return [*effects, Flood(News(tuple(ops[start:])), but)] if ops else []

    def tick(self, now_us: int) -> list[Effect]:
        """Compare with one linked member, and say the syncs that had to wait."""
        effects: list[Effect] = []
        for site in self._timers.pop_due(now_us):
            if site is not None:
                effects += self.sync(site, False, now_us)
                continue
            self._timers.set(None, now_us + jittered(self._rng, self._config.digest_period_us))
            heard, self._heard = self._heard, False
            if self.links and not heard:
                effects.append(Send(self._rng.choice(list(self.links)), self.digests()))
        return effects

    def sync(self, site: Site, answer: bool, now_us: int) -> list[Effect]:
        """All that we imported since the peer's acknowledgement, or the oldest part of it."""
        ledger, floor = self._ledger, self.floor(site)
        floor.paused_until_us = now_us + self._config.sync_pause_us
        if floor.stuck and not self._has_unsent(floor) and floor.again_from_us <= now_us:
            floor.acked_out = 0
            floor.stuck = False
        entries, imports = self._chunk(floor.acked_out)
        ops = tuple(entry.op for entry in entries)
        self.syncs_sent += 1
        answer = answer or imports < ledger.imports  # so that the next chunk follows at once
        digest = ledger.record.digest
        message = Sync(floor.acked_out, floor.acked_in, imports, ops, digest, answer, floor.incarnation)
        return [Send(site, message, ledger.record.address(site))]

    def _chunk(self, since: int) -> tuple[list[Entry], int]:
        """What to say of all that was imported since, and the import it is complete up to."""
        config, latest = self._config, self._ledger.imports
        entries = self._ledger.record.since(since)
        part, imports = chunk(entries, latest, config.sync_ops_max, config.sync_bytes_aim)
        if len(part) == len(entries):
            return part, imports
        boundary = sum(entry.imported == since for entry in entries)
        part, imports = chunk(entries[boundary:], latest, config.sync_ops_max, config.sync_bytes_aim)
        return (part, imports) if since else ([*entries[:boundary], *part], imports)  # import 0 is our default, alone

    def sync_soon(self, site: Site, now_us: int) -> list[Effect]:
        """Sync now, or when the pause after the last one is over."""
        floor = self.floor(site)
        due_us = max(floor.paused_until_us, floor.again_from_us if floor.stuck else 0)
        if due_us <= now_us:
            return self.sync(site, False, now_us)
        if site in self.links:
            self._timers.set_earlier(site, due_us)
        return []

    # --- hearing ----------------------------------------------------------------------------------------------------

    def compare(self, peer: Site, record: bytes, kicked: bytes, now_us: int) -> list[Effect]:
        """A peer's digests: even out where they differ, and learn who has seen which kick."""
        self.floor(peer).kicked = kicked
        return self.sync_soon(peer, now_us) if record != self._ledger.record.digest else []

    def overheard(self, peer: Site, record: bytes, kicked: bytes, now_us: int) -> list[Effect]:
        """The same, carried by a ping or an ack: the next comparison of our own need not be said."""
        self._heard = True
        return self.compare(peer, record, kicked, now_us)

    def receive(self, peer: Site, sync: Sync, take: Callable[[], None], now_us: int) -> list[Effect]:
        """A peer's sync: `take` its operations unless something before them is missing; and what to answer."""
        ledger, floor = self._ledger, self.floor(peer)
        acked_before, changed, cluster = floor.acked_out, ledger.changed, ledger.cluster
        if not self.accept(floor, sync, take):
            return self.sync(peer, False, now_us)
        if ledger.cluster != cluster:  # it held our verdict; nothing of the old cluster concerns us any more
            return []
        unsent = floor.acked_out < changed
        differ = sync.digest != ledger.record.digest
        self._note_progress(floor, differ and not unsent and ledger.changed == changed, now_us)
        if sync.answer or (differ and unsent and floor.acked_out > acked_before):
            return self.sync(peer, False, now_us)
        return self.sync_soon(peer, now_us) if differ else []

    def accept(self, floor: Floor, sync: Sync, take: Callable[[], None]) -> bool:
        """`take` what a sync brings; False at a gap, where only what it acknowledges counts."""
        ledger = self._ledger
        self.syncs_received += 1
        if sync.of in (0, ledger.me.incarnation):
            floor.acked_out = sync.acked
        if floor.acked_in < sync.since:
            self.gaps += 1
            return False
        cluster = ledger.cluster
        ledger.begin_import()
        take()
        if ledger.cluster == cluster:
            floor.acked_in = sync.imports
        return True

    def _has_unsent(self, floor: Floor) -> bool:
        """Whether we imported anything that the peer has not acknowledged."""
        return floor.acked_out < self._ledger.changed

    def _note_progress(self, floor: Floor, stuck: bool, now_us: int) -> None:
        """Notice that more of the same will not make us equal, and decide when everything is to be told again."""
        if not stuck:
            floor.stuck = False
            return
        if floor.futile_at != self._ledger.changed:
            floor.futile, floor.futile_at = 0, self._ledger.changed
        if not floor.stuck:
            wait_us = min(SECOND_US << floor.futile >> 1, self._config.again_us_max) if floor.futile else 0
            floor.again_from_us = now_us + wait_us
            floor.futile = min(floor.futile + 1, 32)
        floor.stuck = True

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
