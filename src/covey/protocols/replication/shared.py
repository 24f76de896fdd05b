"""Shared rows, kept alike: what everybody does to them goes to all holders once, and what did not arrive is found.

    WriteShared ─▶ the table ─▶ SharedOps to every holder, at the end of the turn
    digests differ ─▶ SharedSums ─▶ SharedHave both ways ─▶ SharedPull ─▶ SharedOps …, SharedDone
                                                      └▶ (no log goes back so far, or: received the same, yet not alike)
                            SharedCompare ─▶ SharedSummary ─▶ for each bucket that differs: SharedPartPull ─▶ SharedPart

Whose life is over does not matter here: what it did to rows stays, until nothing of it is alive (`retiring`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from covey.core.errors import CoveyError, Overloaded, UnknownName, ValueTooLarge, invariant
from covey.core.ids import Origin, Site
from covey.core.rows import Put, Remove, SharedChanged, SharedRefused, SharedWrite, Start, WriteShared
from covey.core.timers import Timers
from covey.core.vocabulary import Channel, Emit, WantTurn
from covey.protocols.replication.audience import Audience
from covey.protocols.replication.config import ReplicationConfig
from covey.protocols.replication.exchanges import Exchanges, changed
from covey.protocols.replication.pieces import shared_in_pieces, sums_in_pieces, tellable
from covey.protocols.replication.retiring import Retiring
from covey.protocols.replication.saving import Saving
from covey.protocols.replication.vocabulary import RowsDiffer, SharedStatistics
from covey.rows.dots import Told
from covey.rows.op_log import Op
from covey.rows.shared import SharedTable
from covey.wire.limits import KEY_BYTES_MAX
from covey.wire.messages import rows as wire

Effect = Any
Ops = list[tuple[int, Op]]


class Shared:
    """The shared rows of all instances that are held here.

    Law: the fold of `SharedChanged` is what is shown; when nothing is lost any more, all holders have received the same
    and show the same. Invariants: those of the tables and exchanges; what waits for the end of the turn is ours.
    """

    def __init__(
        self,
        config: ReplicationConfig,
        timers: Timers[tuple[Any, ...]],
        audience: Audience,
        stored: Mapping[bytes, bytes] | None = None,
    ) -> None:
        self._config = config
        self._audience = audience
        self.saving = Saving(config, stored)
        self.tables: dict[bytes, SharedTable] = {}
        self._checked: dict[bytes, tuple[int, ...]] = {}  # as they were when they were checked last
        self._minted: dict[bytes, int] = {}  # our numbers in this life, also in instances that we have let go of
        self._minted_before = 0  # at least as high as any number in those that `_minted` had no room for
        self._unsaid: dict[bytes, Ops] = {}
        self.exchanges = Exchanges(config, timers, audience, self.tables, self.clip)
        self.retiring = Retiring(config, audience, self.tables)
        self._alike: dict[tuple[bytes, Site], tuple[int, int]] = {}  # (version, how often) they should have been alike
        self.counts = dict.fromkeys(("written", "applied", "differing", "overfull"), 0)
        self.handlers: dict[type, Callable[[Site, Any, int], list[Effect]]] = {
            wire.SharedOps: self._on_ops,
            wire.SharedSums: self._on_sums,
            wire.SharedHave: self._on_have,
            **self.exchanges.handlers,
        }

    def check(self) -> None:
        """Every invariant."""
        for instance, table in self.tables.items():
            if self._checked.get(instance) != table.stamp:  # to look at all rows after every step would take for ever
                table.check()
                self._checked[instance] = table.stamp
        self.exchanges.check()
        for instance, ops in self._unsaid.items():
            numbers = [number for number, _ in ops]
            invariant(numbers == list(range(numbers[0], numbers[0] + len(ops))), "what waits is in order")
            invariant(numbers[-1] == self._minted[instance], "what waits is the last that we did")
        invariant(len(self._minted) <= self._config.instances_max, "numbers are bounded")
        self.retiring.check()
        self.saving.check()

    def statistics(self) -> SharedStatistics:
        """What is held, and counts since the start."""
        tables = self.tables.values()
        rows, log_bytes = sum(map(len, tables)), sum(table.log.bytes for table in tables)
        under_way = self.exchanges
        return SharedStatistics(
            rows,
            log_bytes,
            len(under_way),
            pulls=under_way.pulls,
            comparisons=under_way.comparisons,
            retired=self.retiring.retired,
            stored=self.saving.records,
            **self.counts,
        )

    # --- instances --------------------------------------------------------------------------------------------------

    def open(self, instance: bytes, durable: bool, now_us: int) -> list[Effect]:
        """This node holds an instance from now on, and shows what its disk kept of it."""
        table = self.tables[instance] = self.saving.open(instance, durable)
        self.retiring.open(instance, table, now_us)
        return changed(instance, table)

    def close(self, instance: bytes, keep: bool) -> list[Effect]:
        """It does not any more: nothing of it is shown. Those who hold it are told the last of what we did."""
        effects = self._say(instance, self._unsaid.pop(instance, []))
        table = self.tables.pop(instance)
        self.saving.close(instance, keep)
        self.exchanges.close(instance)
        self.retiring.close(instance)
        self._alike = {key: seen for key, seen in self._alike.items() if key[0] != instance}
        gone = tuple((key, None) for key in table.view())
        table.untell()
        return [*effects, SharedChanged(instance, gone)] if gone else effects

    def greet(self, instance: bytes, peer: Site) -> list[Effect]:
        """Say to another holder at once what we have received."""
        return [self._audience.send(peer, self._have(instance, True), Channel.CONTROL)]

    def new_life(self) -> None:
        """A new life of ours numbers what it does anew; what was done before stays as it is."""
        self._minted.clear()
        self._minted_before = 0
        self._unsaid.clear()
        self.retiring.new_life()
        self.exchanges.lost(None)

    # --- our own operations -----------------------------------------------------------------------------------------

    def write(self, command: WriteShared) -> list[Effect]:
        """Change rows: at once here, at the end of the turn elsewhere."""
        instance, table = command.instance, self.tables.get(command.instance)
        if table is None:
            raise UnknownName(f"this node does not hold the instance {instance!r}; nothing was written")
        wanted = not self._unsaid
        ops = self._unsaid.setdefault(instance, [])
        number = self._minted.get(instance, self._minted_before)
        refused: list[tuple[SharedWrite, CoveyError]] = []
        for change in command.changes:
            error = self._why_not(table, instance, change)
            if error is not None:
                refused.append((change, error))
                continue
            for op in self._operations(table, change):
                number += 1
                table.apply((*self._me, number), op)
                ops.append((number, op))
        self.counts["written"] += len(command.changes) - len(refused)
        told: list[Effect] = [SharedRefused(instance, tuple(refused))] if refused else []
        if not ops:
            del self._unsaid[instance]
            return told
        self._minted[instance] = number
        self._bound_minted()
        return ([WantTurn()] if wanted else []) + changed(instance, table) + told

    def _operations(self, table: SharedTable, change: SharedWrite) -> list[Op]:
        match change:
            case Start(key, value):
                return [table.birth(key, value)]
            case Remove(key, births):
                return table.removals(key, births)
            case Put(key, field, value):
                op = table.write(key, field, value)
                return [] if op is None else [op]

    def _why_not(self, table: SharedTable, instance: bytes, change: SharedWrite) -> CoveyError | None:
        key, kind = change.key, type(change)
        value = b"" if isinstance(change, Remove) else change.value
        field = change.field if isinstance(change, Put) else b""
        if len(key) > wire.ROW_KEY_BYTES_MAX or len(value) > wire.ROW_VALUE_BYTES_MAX or len(field) > KEY_BYTES_MAX:
            return ValueTooLarge(
                f"a row has at most {wire.ROW_KEY_BYTES_MAX} bytes of key, {KEY_BYTES_MAX} of a field's name and "
                f"{wire.ROW_VALUE_BYTES_MAX} of value, not {len(key)}, {len(field)} and {len(value)}; nothing was "
                "written"
            )
        size = table.bytes + len(value)
        if size > self._config.shared_bytes_max and value:
            return Overloaded(
                f"the shared rows of {instance!r} would take {size} bytes, the bound is "
                f"{self._config.shared_bytes_max}; nothing was written: remove some"
            )
        if kind is Start and (times := table.births(key)) >= wire.NAMES_MAX:
            return Overloaded(f"the row {key!r} was started {times} times; nothing was written: remove it")
        return None

    def _bound_minted(self) -> None:
        for instance in list(self._minted):
            if len(self._minted) <= self._config.instances_max:
                return
            if instance not in self.tables:
                self._minted_before = max(self._minted_before, self._minted.pop(instance))

    @property
    def _me(self) -> Origin:
        return self._audience.me.site, self._audience.me.incarnation

    def on_turn_ended(self) -> list[Effect]:
        """What was done in this turn goes to all who hold it."""
        effects: list[Effect] = []
        unsaid, self._unsaid = self._unsaid, {}
        for instance, ops in unsaid.items():
            effects += self._say(instance, ops)
        return effects

    def _say(self, instance: bytes, ops: Ops) -> list[Effect]:
        effects: list[Effect] = []
        first, done = ops[0][0] if ops else 0, [op for _, op in ops]
        for message in shared_in_pieces(instance, self._me, first, done, self._config.bytes_aim):
            effects += self._audience.push(instance, message, self._me[0], None)
        return effects

    # --- others' operations -----------------------------------------------------------------------------------------

    def _on_ops(self, peer: Site, message: wire.SharedOps, now_us: int) -> list[Effect]:
        table = self.tables.get(message.instance)
        life = message.site, message.incarnation
        if table is None or not all(map(sensible, message.ops)):
            return []
        last = message.first + len(message.ops) - 1
        if last > wire.SEQ_MAX or self.invented(message.instance, life, last) or self.overfull(table):
            return []
        fresh = 0
        for at, op in enumerate(message.ops):
            fresh += table.apply((*life, message.first + at), op)
        self.counts["applied"] += fresh
        effects = changed(message.instance, table)
        asked = self.exchanges.peer(message.instance)
        if asked == peer:
            return effects  # the answer
        if fresh:
            effects += self._audience.push(message.instance, message, message.site, peer)
        driven = message.instance in self._audience.driven
        if asked is None and not driven and table.lacks([(*life, ((1, last),))]):
            effects += self.exchanges.pull(message.instance, peer, ((*life, ((1, last),)),), now_us)
        return effects

    def overfull(self, table: SharedTable) -> bool:
        """Whether there is more than anybody may write: then nothing is taken until there is less."""
        full = table.bytes > 2 * self._config.shared_bytes_max
        self.counts["overfull"] += full
        return full

    def invented(self, instance: bytes, life: Origin, last: int) -> bool:
        """Whether somebody tells of operations of this life of ours that we never did."""
        return life == self._me and last > self._minted.get(instance, self._minted_before)

    def clip(self, instance: bytes, told: Iterable[Told]) -> tuple[Told, ...]:
        """What somebody told, without what we know better."""
        clipped: list[Told] = []
        for site, incarnation, intervals in told:
            if self.invented(instance, (site, incarnation), max((last for _, last in intervals), default=0)):
                most = self._minted.get(instance, self._minted_before)
                intervals = tuple((first, min(last, most)) for first, last in intervals if first <= most)
            sound = tuple((first, last) for first, last in intervals if first <= last)
            if sound:
                clipped.append((site, incarnation, sound))
        return tuple(clipped)

    # --- comparing --------------------------------------------------------------------------------------------------

    def sums(self, instances: Iterable[bytes]) -> list[wire.SharedSums]:
        """The digests of those that have any shared rows, for who has other ones."""
        messages: list[wire.SharedSums] = []
        told = [(instance, self.digest(instance)) for instance in instances if instance in self.tables]
        told = [(instance, digest) for instance, digest in told if digest != bytes(8)]
        for saved in (True, False):
            some = [(instance, digest) for instance, digest in told if self.saving.saved(instance) is saved]
            messages += sums_in_pieces(some, saved, self._config.bytes_aim)
        return messages

    def digest(self, instance: bytes) -> bytes:
        """64 bits of all that was received and is alive in an instance; zeros where there never was anything."""
        table = self.tables.get(instance)
        return bytes(8) if table is None else table.digest.to_bytes(8, "big")

    def _on_sums(self, peer: Site, message: wire.SharedSums, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        for instance, digest in message.sums:
            if instance not in self.tables:
                continue
            if self.digest(instance) != digest:
                effects.append(self._audience.send(peer, self._have(instance, True), Channel.CONTROL))
            elif message.saved and self._audience.lives.incarnation(peer):
                self.retiring.has_all(peer, instance)
        return effects

    def _have(self, instance: bytes, answer: bool) -> wire.SharedHave:
        table = self.tables[instance]
        alive = table.alive_digest.to_bytes(8, "big")
        received, retired = tellable(table.received.told()), tellable(table.retired.told())
        return wire.SharedHave(instance, received, retired, alive, answer, self.saving.saved(instance))

    def _on_have(self, peer: Site, message: wire.SharedHave, now_us: int) -> list[Effect]:
        instance, table = message.instance, self.tables.get(message.instance)
        if table is None or instance in self._audience.driven:
            return []
        told = self.clip(instance, message.received)
        theirs = {(site, incarnation): intervals for site, incarnation, intervals in (*message.retired, *told)}
        effects: list[Effect] = []
        missing = table.lacks(told)
        more = not all(
            self._covers(theirs.get(life, ()), table.received.intervals(life)) for life in table.received.lives()
        )
        if message.saved and not more and self._audience.lives.incarnation(peer):
            self.retiring.has_all(peer, instance)
        unlike = not missing and not more and message.alive != table.alive_digest.to_bytes(8, "big")
        if self.exchanges.peer(instance) is None:
            if unlike:
                effects += self._differ(instance, table, peer, now_us)
            elif missing:
                effects += self.exchanges.pull(instance, peer, told, now_us)
        if message.answer:
            effects.append(self._audience.send(peer, self._have(instance, False), Channel.CONTROL))
        return effects

    @staticmethod
    def _covers(theirs: Sequence[tuple[int, int]], ours: Sequence[tuple[int, int]]) -> bool:
        return all(any(low <= first and last <= high for low, high in theirs) for first, last in ours)

    def _differ(self, instance: bytes, table: SharedTable, peer: Site, now_us: int) -> list[Effect]:
        """Received the same, and not alike: it happens where a comparison was given up. It is mended; where it comes
        back again and again though nothing is written, something is wrong, and said."""
        version, times = self._alike.pop((instance, peer), (0, 0))
        times = times + 1 if version == table.version else 1
        while len(self._alike) >= self._config.instances_max:
            self._alike.pop(next(iter(self._alike)))
        effects = self.exchanges.compare(instance, peer, now_us)
        self._alike[instance, peer] = table.version, times
        if times == self._config.differing_alarm:
            self.counts["differing"] += 1
            effects.append(Emit(RowsDiffer(instance, peer)))
        return effects


def sensible(op: Op) -> bool:
    """Whether it is a birth, a value of a field that names births, or a removal of births."""
    _, field, value, births, replaced = op
    if field is None:
        return not replaced and bool(births) == (value is None)
    return value is not None and bool(births)
