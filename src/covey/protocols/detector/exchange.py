"""Whole tables, exchanged where digests differ.

Floods and pings carry news; a table repairs what both missed, and joins what a split kept apart. A part covers a range
of sites whole, so the receiver can tell what the sender lacks, and sends back just that.
"""

from __future__ import annotations

from typing import Any

from covey.core.ids import Site
from covey.core.vocabulary import Send
from covey.protocols.detector.config import DetectorConfig
from covey.protocols.detector.opinions import Opinions
from covey.protocols.detector.record import Evidence, evidence_of
from covey.wire.messages.detector import TABLE_RECORDS_MAX, Rumour, Table

Effect = Any

_FIRST = b""
_LAST = b"\xff" * 16


class Exchange:
    """Begin exchanges, and answer them.

    Law: between two exchanges begun here lies a pause that doubles while they change nothing.
    """

    def __init__(self, config: DetectorConfig, opinions: Opinions, now_us: int) -> None:
        self._config = config
        self._opinions = opinions
        self._pause_us = config.exchange_pause_us_min
        self._begun_us = now_us - config.exchange_pause_us_max  # the first one need not wait
        self._changed_us = now_us
        self.begun = 0

    def compare(self, peer: Site, digest: bytes, now_us: int, fresh_link: bool = False) -> list[Effect]:
        """A peer's digest. Where it differs, send our table and ask for the difference.

        A ping's digest that differs just after a change is news on its way; a new link does not wait for that.
        """
        config, opinions = self._config, self._opinions
        if digest == opinions.digest_bytes:
            return []
        if opinions.changed_us != self._changed_us:
            self._changed_us = opinions.changed_us
            self._pause_us = config.exchange_pause_us_min
        since_us = now_us - self._begun_us
        if since_us < self._pause_us:
            return []
        settling = now_us - opinions.changed_us < config.settle_us
        if settling and not fresh_link and since_us < 10 * config.exchange_pause_us_min:
            return []
        self._begun_us = now_us
        self._pause_us = min(2 * self._pause_us, config.exchange_pause_us_max)
        self.begun += 1
        return [Send(peer, part) for part in self.parts()]

    def parts(self) -> list[Table]:
        """Our table, in parts whose ranges follow one another."""
        opinions = self._opinions
        records = sorted(
            [opinions.own_rumour, *(opinions.rumour(m) for m in opinions.members.values() if opinions.may_teach(m))],
            key=lambda rumour: rumour.site,
        )
        chunks = [records[at : at + TABLE_RECORDS_MAX] for at in range(0, len(records), TABLE_RECORDS_MAX)]
        parts: list[Table] = []
        low = _FIRST
        for chunk in chunks:
            high = _LAST if chunk is chunks[-1] else chunk[-1].site
            parts.append(Table(low, high, tuple(chunk), True))
            low = high
        return parts

    def difference(self, table: Table) -> list[Table]:
        """What we hold that is later than a part of a peer's table, or not in it."""
        opinions = self._opinions
        theirs: dict[Site, Evidence] = {record.site: evidence_of(record) for record in table.records}
        later: list[Rumour] = []
        if table.low < opinions.me.site <= table.high and _later(opinions.own_evidence, theirs.get(opinions.me.site)):
            later.append(opinions.own_rumour)
        for site, member in opinions.members.items():
            within = table.low < site <= table.high
            if within and opinions.may_teach(member) and _later(member.evidence, theirs.get(site)):
                later.append(opinions.rumour(member))
        later = later[:TABLE_RECORDS_MAX]  # a hostile range; an honest one has no more unless thousands are new
        return [Table(table.low, table.high, tuple(later), False)] if later else []


def _later(ours: Evidence, theirs: Evidence | None) -> bool:
    return theirs is None or ours.rank > theirs.rank
