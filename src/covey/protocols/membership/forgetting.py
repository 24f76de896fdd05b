"""Forgetting: a thrown-out site leaves a small tombstone for ever, an ephemeral one leaves nothing.

classy forgets a site as soon as everybody has acknowledged the kick; one that returns later is met by silence and
believes for ever that it belongs (reference 1.7). Here its address and metadata go, and the kick itself stays, so it
always gets a verdict. An ephemeral site does not return under its name, so all of it goes, without a vote; for a while
its last word is kept aside, against late echoes.
"""

from __future__ import annotations

from typing import Any

from covey.core.ids import Site
from covey.core.timers import Timers
from covey.core.vocabulary import Emit, Liveness, LivenessChanged, MemberRemoved
from covey.protocols.membership.config import MembershipConfig
from covey.protocols.membership.floors import Floors
from covey.protocols.membership.ledger import Ledger
from covey.protocols.membership.record import HOST, MEM, META
from covey.protocols.membership.vocabulary import MemberLeft

Effect = Any


class Forgetting:
    """What may be dropped, and when.

    Law: the address and metadata of a durable site go only after `forget_after_us` of our own time since we heard that
    it is out, and after every other durable member has shown that it knows; a kick itself never goes.
    """

    def __init__(
        self, config: MembershipConfig, ledger: Ledger, floors: Floors, timers: Timers[tuple[Any, ...]]
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._floors = floors
        self._timers = timers
        self._vanished: dict[Site, None] = {}  # ephemeral members held down

    def clean(self, forget_after_us: int, now_us: int) -> list[Site]:
        """Forget what may be forgotten, and say whom it concerned."""
        ledger, record = self._ledger, self._ledger.record
        me = ledger.me.site
        forgotten: list[Site] = []
        durable = [site for site in record.members() if site != me and not record.is_ephemeral(site)]
        everybody_knows = all(self._floors.has_kicked(site, record.kicked_digest) for site in durable)
        for site in record.sites():
            entry = record.entry(MEM, site)
            if entry is None or record.is_member(site) or site == me:
                continue
            age_us = now_us - entry.at_us
            if record.is_ephemeral(site):
                if age_us >= min(self._config.forget_ephemeral_us, forget_after_us):
                    ledger.forget_ephemeral(site, now_us)
                    forgotten.append(site)
            elif everybody_knows and age_us > forget_after_us and record.has_details(site):
                ledger.forget((HOST, site))
                ledger.forget((META, site))
                forgotten.append(site)
        return forgotten

    def liveness(self, fact: LivenessChanged, now_us: int) -> list[Effect]:
        """An ephemeral member that is down has some time to come back."""
        site = fact.contact.site
        if fact.state is Liveness.STOPPED and self._ledger.record.is_ephemeral(site):
            return self.vanished(site, now_us)  # an ephemeral node leaves when it stops
        if fact.state is Liveness.DOWN and self._ledger.record.is_ephemeral(site):
            self._vanished[site] = None
            self._timers.set(("vanished", site), now_us + self._config.forget_ephemeral_us)
        elif fact.state is not Liveness.DOWN:
            self.found(site)
        return []

    def vanished(self, site: Site, now_us: int) -> list[Effect]:
        """An ephemeral member has been down for long: forgotten without a vote."""
        self.found(site)
        if not self._ledger.record.is_member(site):
            return []
        self._ledger.forget_ephemeral(site, now_us)
        return [Emit(MemberLeft(site, site)), MemberRemoved(site, site)]

    def found(self, site: Site) -> None:
        """It is not missing any more, or nobody misses it."""
        self._vanished.pop(site, None)
        self._timers.cancel(("vanished", site))

    def clear(self) -> None:
        """Another cluster."""
        for site in list(self._vanished):
            self.found(site)
