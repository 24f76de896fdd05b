"""Waiting until members have taken an operation of ours: what makes kick and leave answer who knows of it."""

from __future__ import annotations

from collections.abc import Iterable

from covey.core.ids import Site
from covey.protocols.membership.vocabulary import Outcome


class Wait:
    """Somebody waits until members have taken our import `imported`."""

    __slots__ = ("acknowledged", "imported", "leaving", "missing", "request")

    def __init__(self, request: int, imported: int, missing: Iterable[Site], leaving: bool) -> None:
        self.request = request
        self.imported = imported
        self.missing: dict[Site, None] = dict.fromkeys(missing)
        self.acknowledged: dict[Site, None] = {}
        self.leaving = leaving

    @property
    def over(self) -> bool:
        return not self.missing or (self.leaving and bool(self.acknowledged))

    def acknowledge(self, site: Site) -> None:
        del self.missing[site]
        self.acknowledged[site] = None

    def outcome(self) -> Outcome:
        return Outcome(tuple(self.acknowledged), tuple(self.missing))
