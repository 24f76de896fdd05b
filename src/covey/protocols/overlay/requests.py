"""Questions for a link that wait for their answer."""

from __future__ import annotations

from typing import Any

from covey.core.errors import invariant
from covey.core.ids import Contact, Site
from covey.core.timers import Timers
from covey.protocols.overlay.config import OverlayConfig


class Request:
    """We asked `contact` for a link and wait for its word."""

    __slots__ = ("contact", "keep", "number")

    def __init__(self, contact: Contact, number: int, keep: bool) -> None:
        self.contact = contact
        self.number = number
        self.keep = keep  # a yes is taken even if we are full by then, at the cost of another neighbour


class Requests(dict[Site, Request]):
    """By whom was asked. Invariants: at most `passive_max`; every one has a deadline, the timer `("request", site)`."""

    def __init__(self, config: OverlayConfig, timers: Timers[tuple[Any, ...]]) -> None:
        super().__init__()
        self._config = config
        self._timers = timers
        self._number = 0

    @property
    def full(self) -> bool:
        """Whether nobody else may be asked now."""
        return len(self) >= self._config.passive_max

    def begin(self, contact: Contact, keep: bool, now_us: int) -> int:
        """Wait for an answer of `contact` to the number that is returned."""
        self._number += 1
        self[contact.site] = Request(contact, self._number, keep)
        self._timers.set(("request", contact.site), now_us + self._config.request_us_max)
        return self._number

    def end(self, site: Site) -> None:
        """It answered, or nobody waits for it any more."""
        if self.pop(site, None) is not None:
            self._timers.cancel(("request", site))

    def check(self, me: Site) -> None:
        for site in self:
            invariant(("request", site) in self._timers, "every request has a deadline")
            invariant(site != me, "nobody asks themselves")
        invariant(len(self) <= self._config.passive_max, "requests are bounded")
