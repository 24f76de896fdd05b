"""What people decide: who belongs, what is said of ourselves, and that everybody has heard it."""

from __future__ import annotations

from typing import Any

from covey.core.errors import UnknownName, ValueTooLarge
from covey.core.ids import Site, short
from covey.core.vocabulary import Emit, MemberAdded, MemberRemoved, Refuse, Resolve
from covey.protocols.membership.exchange import Exchange
from covey.protocols.membership.forgetting import Forgetting
from covey.protocols.membership.ledger import Ledger
from covey.protocols.membership.passage import Passage
from covey.protocols.membership.record import IS_EPHEMERAL, IS_MEMBER, MEM, META, Record
from covey.protocols.membership.vocabulary import (
    Cleanup,
    Flush,
    Kick,
    Leave,
    MemberJoined,
    MemberLeft,
    SetMember,
    SetMeta,
)
from covey.protocols.membership.waits import Waits
from covey.wire.messages.membership import BLOB_BYTES_MAX, Op

Effect = Any


def consequences(record: Record, me: Site, op: Op, belonged: bool) -> list[Effect]:
    """What an operation that was taken means to the other machines and to the user."""
    target = op.target
    belongs = record.is_member(target)
    effects: list[Effect] = []
    if op.kind == MEM and belongs != belonged:
        effects.append(Emit(MemberJoined(target, op.origin) if belongs else MemberLeft(target, op.origin)))
        if not belongs:
            effects.append(MemberRemoved(target, op.origin))
    if belongs and target != me:
        contact = record.contact(target)
        assert contact is not None
        effects.append(MemberAdded(contact, record.is_ephemeral(target), op.origin == target, record.meta(target)))
    return effects


class Commands:
    """The commands about the record, one method each; `Passage` has the one that is about ourselves alone, `Join`.

    Law: a command writes first, so one that cannot write (`UsageError`) has changed nothing; each has one outcome.
    """

    def __init__(
        self, ledger: Ledger, exchange: Exchange, waits: Waits, forgetting: Forgetting, passage: Passage
    ) -> None:
        self._ledger = ledger
        self._exchange = exchange
        self._waits = waits
        self._forgetting = forgetting
        self._passage = passage

    def write(self, kind: int, target: Site, value: int | bytes, now_us: int) -> list[Effect]:
        """An operation of our own, and what follows from it."""
        ledger = self._ledger
        belonged = ledger.record.is_member(target)
        op = ledger.write(kind, target, value, now_us)
        return [*consequences(ledger.record, ledger.me.site, op, belonged), *self._exchange.flood((op,))]

    def set_member(self, command: SetMember, now_us: int) -> list[Effect]:
        """Write that a site belongs or not, whoever it is; who says it of itself leaves, when a member has taken it."""
        record, target = self._ledger.record, command.target
        ephemeral = IS_EPHEMERAL if record.is_ephemeral(target) else 0
        effects = self.write(MEM, target, ephemeral | (IS_MEMBER if command.member else 0), now_us)
        op = record.get(MEM, target)
        assert op is not None
        if target == self._ledger.me.site and not command.member and not self._passage.solo:
            others = self._others()
            return effects + self._waits.ask(command.request, others, others, True, now_us, op.clock)
        return [*effects, Resolve(command.request, op.clock)]

    def set_meta(self, command: SetMeta, now_us: int) -> list[Effect]:
        """Write what we say of ourselves; what is too large is refused, and nothing is changed."""
        size = len(command.meta)
        if size > BLOB_BYTES_MAX:
            detail = f"metadata has {size} bytes, at most {BLOB_BYTES_MAX} are allowed; nothing was changed"
            return [Refuse(command.request, ValueTooLarge(detail))]
        effects = self.write(META, self._ledger.me.site, command.meta, now_us)
        self._ledger.meta = command.meta
        return [*effects, Resolve(command.request)]

    def kick(self, command: Kick, now_us: int) -> list[Effect]:
        """Throw somebody out and wait until the others know it; ourselves means to leave."""
        record, target = self._ledger.record, command.target
        if not record.knows(target):
            detail = f"site {short(target)} was never a member here; nothing was changed"
            return [Refuse(command.request, UnknownName(detail))]
        if target == self._ledger.me.site:
            return self.leave(Leave(command.request), now_us)
        effects = self.write(MEM, target, IS_EPHEMERAL if record.is_ephemeral(target) else 0, now_us)
        others = self._others()
        return effects + self._waits.ask(command.request, [*others, target], others, False, now_us)

    def flush(self, command: Flush, now_us: int) -> list[Effect]:
        """Sync with all others and wait until they have taken what we have."""
        others = self._others()
        return self._waits.ask(command.request, others, others, False, now_us)

    def leave(self, command: Leave, now_us: int) -> list[Effect]:
        """Write that we do not belong, and go alone as soon as one member has taken it, or in time without."""
        effects: list[Effect] = []
        others: list[Site] = []
        if not self._passage.solo:
            me = self._ledger.me.site
            effects = self.write(MEM, me, self._ledger.own_flags() & ~IS_MEMBER, now_us)
            others = self._others()
        return effects + self._waits.ask(command.request, others, others, True, now_us)

    def cleanup(self, command: Cleanup, now_us: int) -> list[Effect]:
        """Forget what is older than the window that the command gives."""
        return [Resolve(command.request, tuple(self._forgetting.clean(command.forget_after_us, now_us)))]

    def _others(self) -> list[Site]:
        return [site for site in self._ledger.record.members() if site != self._ledger.me.site]
