"""What one holder asks another one for, of shared rows: operations by their numbers, or all rows that are not alike.

At most one is under way for an instance. It ends with an answer, with a deadline or with the link; what is missing then
is found again by the next digest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.core.rows import SharedChanged
from covey.core.timers import Timers
from covey.protocols.replication.audience import Audience
from covey.protocols.replication.config import ReplicationConfig
from covey.protocols.replication.pieces import shared_in_pieces, tellable
from covey.rows.dots import Told
from covey.rows.op_log import op_bytes
from covey.rows.reconciling import Reconciliation
from covey.rows.shared import SharedTable
from covey.wire.messages import rows as wire

Effect = Any
Clip = Callable[[bytes, Iterable[Told]], tuple[Told, ...]]


class Exchange:
    """We asked a holder: for operations, or (`comparison`) for rows.

    `told`: what it said it has received; `missing`: how many of these operations were missing here.
    """

    __slots__ = ("comparison", "missing", "peer", "told")

    def __init__(self, peer: Site, told: tuple[Told, ...], missing: int, comparison: Reconciliation | None) -> None:
        self.peer = peer
        self.told = told
        self.missing = missing
        self.comparison = comparison


class Exchanges:
    """All that are under way, and the answers to those of others.

    `clip` takes out of what somebody told what we know better. Invariants: about tables that are held; each has a
    deadline; a table knows of its comparison.
    """

    def __init__(
        self,
        config: ReplicationConfig,
        timers: Timers[tuple[Any, ...]],
        audience: Audience,
        tables: dict[bytes, SharedTable],
        clip: Clip,
    ) -> None:
        self._config = config
        self._timers = timers
        self._audience = audience
        self._tables = tables
        self._clip = clip
        self._exchanges: dict[bytes, Exchange] = {}
        self._summed: dict[tuple[bytes, Site], None] = {}  # to whom we told the sums of a table: its rows go with them
        self.pulls = 0
        self.comparisons = 0
        self.handlers: dict[type, Callable[[Site, Any, int], list[Effect]]] = {
            wire.SharedPull: self._on_pull,
            wire.SharedDone: self._on_done,
            wire.SharedCompare: self._on_compare,
            wire.SharedSummary: self._on_summary,
            wire.SharedPartPull: self._on_part_pull,
            wire.SharedPart: self._on_part,
        }

    def peer(self, instance: bytes) -> Site | None:
        """Who was asked and has not answered to the end yet."""
        exchange = self._exchanges.get(instance)
        return None if exchange is None else exchange.peer

    def __len__(self) -> int:
        return len(self._exchanges)

    def check(self) -> None:
        """Every invariant."""
        for instance, exchange in self._exchanges.items():
            invariant(instance in self._tables, "exchanges are about what is held")
            invariant(("exchange", instance) in self._timers, "every exchange has a deadline")
            invariant(self._tables[instance].witness is exchange.comparison, "a table knows of its comparison")
        invariant(all(instance in self._tables for instance, _ in self._summed), "sums are of what is held")

    # --- operations -------------------------------------------------------------------------------------------------

    def pull(
        self, instance: bytes, peer: Site, told: tuple[Told, ...], now_us: int, left: int | None = None
    ) -> list[Effect]:
        """Ask for what is missing of what a holder has received; for rows, where that is too much to tell again.

        `left`: so much was missing the last time; where it did not become less another holder is asked later.
        """
        lacks = self._tables[instance].lacks(told)
        missing = sum(last - first + 1 for _, first, last in lacks)
        if not missing or (left is not None and missing >= left):
            return []
        if missing > self._config.pull_ops_max:
            return self.compare(instance, peer, now_us)
        self.pulls += 1
        self._exchanges[instance] = Exchange(peer, told, missing, None)
        self._renew(instance, now_us)
        ranges = tuple((*life, first, last) for life, first, last in lacks[: wire.RANGES_MAX])
        return [self._audience.send(peer, wire.SharedPull(instance, ranges))]

    def _on_pull(self, peer: Site, message: wire.SharedPull, now_us: int) -> list[Effect]:
        instance, table = message.instance, self._tables.get(message.instance)
        if table is None:
            return []
        effects: list[Effect] = []
        left, gone, more = self._config.bytes_aim, False, False
        for site, incarnation, first, last in message.ranges:
            if left <= 0:
                more = True
                break
            life = site, incarnation
            ops = table.log.run(life, first, last, left)
            left -= sum(map(op_bytes, ops))
            for answer in shared_in_pieces(instance, life, first, ops, self._config.bytes_aim):
                effects.append(self._audience.send(peer, answer))
            upto = site, incarnation, first + len(ops)
            if upto[2] <= last and upto in table.received:
                more, gone = more or table.log.has(upto), gone or not table.log.has(upto)
        return [*effects, self._audience.send(peer, wire.SharedDone(instance, more, gone))]

    def _on_done(self, peer: Site, message: wire.SharedDone, now_us: int) -> list[Effect]:
        exchange = self._exchanges.get(message.instance)
        if exchange is None or exchange.peer != peer or exchange.comparison is not None:
            return []
        self.end(message.instance)
        if message.gone:
            return self.compare(message.instance, peer, now_us)
        if message.more:
            return self.pull(message.instance, peer, exchange.told, now_us, exchange.missing)
        return []

    # --- rows -------------------------------------------------------------------------------------------------------

    def compare(self, instance: bytes, peer: Site, now_us: int) -> list[Effect]:
        """Go through all rows that are not alike."""
        self.end(instance)
        self.comparisons += 1
        self._exchanges[instance] = Exchange(peer, (), 0, Reconciliation(self._tables[instance]))
        self._renew(instance, now_us)
        return [self._audience.send(peer, wire.SharedCompare(instance))]

    def _on_compare(self, peer: Site, message: wire.SharedCompare, now_us: int) -> list[Effect]:
        table = self._tables.get(message.instance)
        if table is None:
            return []
        received = tellable((*table.received.told(), *table.retired.told()))
        summary = wire.SharedSummary(message.instance, received, tellable(table.context.told()), table.bucket_sums())
        self._summed[message.instance, peer] = None
        return [self._audience.send(peer, summary)]

    def _comparison(self, instance: bytes, peer: Site) -> Reconciliation | None:
        exchange = self._exchanges.get(instance)
        return exchange.comparison if exchange is not None and exchange.peer == peer else None

    def _on_summary(self, peer: Site, message: wire.SharedSummary, now_us: int) -> list[Effect]:
        comparison = self._comparison(message.instance, peer)
        if comparison is None or comparison.begun:
            return []
        received = self._clip(message.instance, message.received)
        comparison.begin(message.sums, received, self._clip(message.instance, message.context))
        return self._go_on(message.instance, comparison, peer, now_us)

    def _go_on(self, instance: bytes, comparison: Reconciliation, peer: Site, now_us: int) -> list[Effect]:
        wanted = comparison.wanted
        if wanted is not None:
            self._renew(instance, now_us)
            return [self._audience.send(peer, wire.SharedPartPull(instance, *wanted))]
        comparison.finish()
        self.end(instance)
        return changed(instance, self._tables[instance])

    def _on_part_pull(self, peer: Site, message: wire.SharedPartPull, now_us: int) -> list[Effect]:
        table = self._tables.get(message.instance)
        if table is None or (message.instance, peer) not in self._summed:
            return []  # let go of and held again: this table is another one, and did not remove what it never had
        entries, last = table.part(message.bucket, message.cursor, self._config.bytes_aim)
        part = wire.SharedPart(message.instance, message.bucket, message.cursor, tuple(entries), last)
        return [self._audience.send(peer, part)]

    def _on_part(self, peer: Site, message: wire.SharedPart, now_us: int) -> list[Effect]:
        comparison = self._comparison(message.instance, peer)
        if comparison is None or not comparison.take(message.bucket, message.cursor, message.entries, message.last):
            return []
        effects = changed(message.instance, self._tables[message.instance])
        return effects + self._go_on(message.instance, comparison, peer, now_us)

    # --- ends -------------------------------------------------------------------------------------------------------

    def _renew(self, instance: bytes, now_us: int) -> None:
        self._timers.set(("exchange", instance), now_us + self._config.pull_us_max)

    def end(self, instance: bytes) -> None:
        """It is answered, given up, or took too long. A comparison that was not finished leaves what came."""
        exchange = self._exchanges.pop(instance, None)
        if exchange is None:
            return
        self._timers.cancel(("exchange", instance))
        if exchange.comparison is not None:
            exchange.comparison.abandon()

    def close(self, instance: bytes) -> None:
        """It is not held any more."""
        self.end(instance)
        for told in [told for told in self._summed if told[0] == instance]:
            del self._summed[told]

    def lost(self, peer: Site | None) -> None:
        """A holder is not linked any more, or not the same; None: all of them."""
        for told in [told for told in self._summed if peer in (None, told[1])]:
            del self._summed[told]
        for instance, exchange in list(self._exchanges.items()):
            if peer is None or exchange.peer == peer:
                self.end(instance)


def changed(instance: bytes, table: SharedTable) -> list[Effect]:
    """What is shown otherwise since it was asked last."""
    changes = table.changes()
    return [SharedChanged(instance, tuple(changes))] if changes else []
