"""What classy lets its callers do by hand: syncs as values, and a record that is wiped in place.

A sync that is handed over has crossed no link, so nothing has proved who sent it: its cluster and its sender are
checked here, before anything of it is taken (classy checks neither). Nor is it answered: whoever hands over values asks
for the answer with `GetData`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from covey.core.errors import ClusterMismatch, CoveyError, PeerError, UsageError
from covey.core.ids import Contact, Site, short
from covey.core.vocabulary import Emit, MemberRemoved, Refuse, Resolve, Send
from covey.protocols.membership.exchange import Exchange
from covey.protocols.membership.floors import chunk
from covey.protocols.membership.ledger import Ledger
from covey.protocols.membership.record import IS_MEMBER, MEM, stamp, well_formed
from covey.protocols.membership.vocabulary import GetData, MemberLeft, ReceiveSync, SyncMessage, Wipe
from covey.protocols.membership.waits import Waits
from covey.wire.messages.membership import BLOB_BYTES_MAX, OP_BYTES, OPS_MAX, Op, Sync

Effect = Any


class ByHand:
    """The commands that only `covey.classic` gives.

    Law: a sync that is refused changes nothing; after a wipe no stamp is given out that was given out before.
    """

    def __init__(
        self,
        ledger: Ledger,
        exchange: Exchange,
        waits: Waits,
        take_in: Callable[[Sequence[Op], Site, int], list[Effect]],
    ) -> None:
        self._ledger = ledger
        self._exchange = exchange
        self._waits = waits
        self._take_in = take_in
        self.refused = 0

    def get_data(self, command: GetData, now_us: int) -> list[Effect]:
        """All that was imported from `since` on, inclusive, or the oldest part that one message may hold."""
        ledger, me = self._ledger, self._ledger.me
        bytes_max = OPS_MAX * (OP_BYTES + BLOB_BYTES_MAX)  # any means may carry it, so only what decodes is a bound
        entries, imports = chunk(ledger.record.since(command.since), ledger.imports, OPS_MAX, bytes_max)
        ops = tuple(entry.op for entry in entries)
        sync = Sync(command.since, command.acked, imports, ops, ledger.record.digest, False)
        return [Resolve(command.request, SyncMessage(ledger.cluster, me.site, me.incarnation, sync))]

    def receive(self, command: ReceiveSync, now_us: int) -> list[Effect]:
        """Take what a member has handed over."""
        message, ledger = command.handed, self._ledger
        error = self._objection(message)
        if error is not None:
            self.refused += 1
            return [Refuse(command.request, error)]
        sender, sync, cluster = message.sender, message.sync, ledger.cluster
        floor = self._exchange.floors.meet(Contact(sender, message.incarnation, ""))
        effects: list[Effect] = []
        taken = self._exchange.accept(floor, sync, lambda: effects.extend(self._take_in(sync.ops, sender, now_us)))
        if ledger.cluster == cluster:
            effects += self._waits.acknowledged(sender, now_us)
        return [*effects, Resolve(command.request, taken)]

    def _objection(self, message: SyncMessage) -> CoveyError | None:
        ledger, sender = self._ledger, message.sender
        if message.cluster != ledger.cluster:
            return ClusterMismatch("the sync is of another cluster than this site is in; nothing of it was taken")
        if sender == ledger.me.site:
            return PeerError("the sync is our own; nothing of it was taken")
        if not (ledger.record.is_member(sender) or self._introduces_itself(message)):
            return PeerError(f"site {short(sender)} does not belong to the cluster; nothing of its sync was taken")
        known = self._exchange.links.get(sender) or ledger.record.contact(sender)
        if known is not None and message.incarnation < known.incarnation:
            return PeerError(f"site {short(sender)} lives a later life by now; nothing of its old sync was taken")
        return None

    def _introduces_itself(self, message: SyncMessage) -> bool:
        """Whether it says that its sender belongs, and nothing later is known of that."""
        known = self._ledger.last_word(message.sender)
        return any(
            op.kind == MEM
            and op.target == message.sender
            and well_formed(op)
            and bool(int(op.value) & IS_MEMBER)
            and (known is None or stamp(op) > stamp(known))
            for op in message.sync.ops
        )

    def wipe(self, command: Wipe, now_us: int) -> list[Effect]:
        """Begin again: alone in our record, with nothing acknowledged by anybody; the others tell us the rest."""
        ledger, me = self._ledger, self._ledger.me.site
        if not ledger.record.is_member(me):
            raise UsageError("this site is about to leave; nothing was wiped")
        effects: list[Effect] = []
        for site in ledger.record.members():
            if site != me:
                effects += [Emit(MemberLeft(site, me)), MemberRemoved(site)]
        ledger.wipe()
        self._exchange.forget_floors()
        ledger.begin_import()
        ledger.write_default(now_us)
        effects += self._exchange.flood(ledger.write_details(now_us))
        effects += [Send(site, self._exchange.digests()) for site in self._exchange.links]
        return [*effects, Resolve(command.request)]
