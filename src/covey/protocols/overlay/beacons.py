"""Beacons: every component of the overlay is named by its lowest living site, which says so again and again."""

from __future__ import annotations

from typing import Any

from covey.core.errors import invariant
from covey.core.ids import Contact, Site
from covey.core.vocabulary import Multicast, Send
from covey.protocols.overlay.config import OverlayConfig
from covey.protocols.overlay.views import ActiveView
from covey.wire.messages.overlay import Beacon

Effect = Any


class Lowest:
    """The lowest site heard lately: the name of our component.

    Law: `site <= me`; after `heard_us_max` without its beacon the name is ours until a lower one is heard.
    """

    def __init__(self, me: Site, heard_us_max: int, now_us: int) -> None:
        self._me = me
        self._heard_us_max = heard_us_max
        self.site = me
        self._stamp = (0, 0)
        self._heard_us = now_us

    def hear(self, site: Site, incarnation: int, sequence: int, age_us: int, now_us: int) -> bool:
        """Take in a beacon that is `age_us` old; True if it is news to pass on.

        The age matters: neighbours tell each other the beacon they know when a link comes up, and without it a dead
        site's last beacon would be young again with every new link, for ever.
        """
        if site >= self._me or site > self.site or age_us > self._heard_us_max:
            return False
        stamp = (incarnation, sequence)
        if site == self.site and stamp <= self._stamp:
            return False
        self.site, self._stamp, self._heard_us = site, stamp, now_us - age_us
        return True

    def expire(self, now_us: int) -> None:
        """Fall back on ourselves when the lowest has been silent for too long."""
        if self.site != self._me and now_us - self._heard_us > self._heard_us_max:
            self.site, self._stamp = self._me, (0, 0)

    def last(self, now_us: int) -> tuple[Site, int, int, int]:
        """The last beacon heard, with its age in milliseconds."""
        return self.site, *self._stamp, (now_us - self._heard_us) // 1000


class Beacons:
    """Tell who is the lowest, pass on what is news, and know the name of our component."""

    def __init__(self, config: OverlayConfig, me: Contact, active: ActiveView, now_us: int) -> None:
        self._config = config
        self._me = me.site
        self._active = active
        self._sequence = 0
        self.restart(now_us)

    def restart(self, now_us: int) -> None:
        """Nothing was heard yet."""
        heard_us_max = self._config.beacon_period_us * self._config.beacons_missed_max
        self.lowest = Lowest(self._me, heard_us_max, now_us)

    def name(self, now_us: int) -> Site:
        """The lowest site heard lately."""
        self.lowest.expire(now_us)
        return self.lowest.site

    def on_beacon(self, peer: Site, beacon: Beacon, now_us: int) -> list[Effect]:
        """News are passed on to all other neighbours."""
        age_us = beacon.age_ms * 1000
        if not self.lowest.hear(beacon.site, beacon.incarnation, beacon.sequence, age_us, now_us):
            return []
        others = self._active.sites(but=peer)
        return [Multicast(others, beacon)] if others else []

    def shine(self, me: Contact, now_us: int) -> list[Effect]:
        """If nobody lower is known, it is us: say so."""
        if self.name(now_us) != me.site or not self._active:
            return []
        self._sequence += 1
        return [Multicast(self._active.sites(), self._ours(me))]

    def greet(self, contact: Contact, me: Contact, now_us: int) -> list[Effect]:
        """What a new neighbour is to know at once."""
        if self.name(now_us) != me.site:
            return [Send(contact.site, Beacon(*self.lowest.last(now_us)))]
        return [Send(contact.site, self._ours(me))] if me.site < contact.site else []

    def _ours(self, me: Contact) -> Beacon:
        return Beacon(me.site, me.incarnation, self._sequence, 0)

    def check(self) -> None:
        invariant(self.lowest.site <= self._me, "the lowest site is not above us")
