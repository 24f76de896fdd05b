"""Who has gone: shuffles still under way must not bring a leaver back into the views."""

from __future__ import annotations

from covey.core.errors import invariant
from covey.core.ids import Contact, Site
from covey.protocols.overlay.config import OverlayConfig


class Leavers:
    """The lives that have said goodbye, for a while.

    Law: a life that left stays out until its time is over, a later life of the site may come at once.
    Invariant: at most `departed_max`; the one whose time is over first goes.
    """

    def __init__(self, config: OverlayConfig) -> None:
        self._config = config
        self._left: dict[Site, tuple[int, int]] = {}  # (the life that left, out until)

    def add(self, site: Site, incarnation: int, now_us: int) -> bool:
        """This life of `site` has gone. False if there was no room: a name would be told round for ever then."""
        room = site in self._left or len(self._left) < self._config.departed_max
        self._left[site] = (incarnation, now_us + self._config.departed_us)
        if len(self._left) > self._config.departed_max:
            del self._left[min(self._left, key=lambda s: self._left[s][1])]
        return room

    def knows(self, site: Site, incarnation: int) -> bool:
        """Whether this life, or a later one, has gone."""
        left = self._left.get(site)
        return left is not None and incarnation <= left[0]

    def has(self, contact: Contact) -> bool:
        """Whether what `contact` names has gone."""
        return self.knows(contact.site, contact.incarnation)

    def back(self, site: Site) -> None:
        """It spoke to us, or belongs again."""
        self._left.pop(site, None)

    def expire(self, now_us: int) -> None:
        """Forget those whose time is over."""
        for site in [site for site, (_, until_us) in self._left.items() if until_us <= now_us]:
            del self._left[site]

    def clear(self) -> None:
        """Another cluster."""
        self._left.clear()

    def sites(self) -> list[Site]:
        """All that are remembered."""
        return list(self._left)

    def check(self) -> None:
        invariant(len(self._left) <= self._config.departed_max, "leavers remembered are bounded")
