"""Whose rows count: of every site the life that membership and the detector hold for current."""

from __future__ import annotations

import msgspec

from covey.core.ids import Contact, Site
from covey.core.vocabulary import Liveness


class Life(msgspec.Struct, gc=False):
    """What is held of one site. `member`: membership says that it belongs."""

    contact: Contact
    state: Liveness
    member: bool


class Lives:
    """The current life of every other site.

    Law: a life counts from the moment the site belongs until a later one, its own last word or its removal; it is shown
    while it is not held for down.
    """

    def __init__(self) -> None:
        self._lives: dict[Site, Life] = {}

    def added(self, contact: Contact) -> int:
        """The site belongs, in this life as far as membership knows. Returns the life that counted before."""
        before = self.incarnation(contact.site)
        life = self._lives.get(contact.site)
        if life is None:
            self._lives[contact.site] = Life(contact, Liveness.UNKNOWN, True)
            return before
        life.member = True
        if contact.incarnation > life.contact.incarnation:
            life.contact, life.state = contact, Liveness.UNKNOWN
        elif contact.incarnation == life.contact.incarnation and contact.address:
            life.contact = contact
        return before

    def removed(self, site: Site) -> int:
        """The site does not belong. Returns the life that counted before."""
        before = self.incarnation(site)
        self._lives.pop(site, None)
        return before

    def heard(self, contact: Contact, state: Liveness) -> int:
        """The detector's opinion of one life. Returns the life that counted before."""
        before = self.incarnation(contact.site)
        life = self._lives.get(contact.site)
        if life is None:  # it does not belong yet; membership will say so
            self._lives[contact.site] = Life(contact, state, False)
        elif contact.incarnation == life.contact.incarnation and life.state is Liveness.STOPPED:
            return before  # irrevocable for that life
        elif contact.incarnation >= life.contact.incarnation:
            address = contact.address or life.contact.address
            life.contact = Contact(contact.site, contact.incarnation, address)
            life.state = state
        return before

    def incarnation(self, site: Site) -> int:
        """The life of a site that counts; 0 for none."""
        life = self._lives.get(site)
        if life is None or not life.member or life.state is Liveness.STOPPED:
            return 0
        return life.contact.incarnation

    def is_shown(self, site: Site) -> bool:
        """Whether there is a life that counts, and it is not held for down."""
        life = self._lives.get(site)
        return bool(self.incarnation(site)) and life is not None and life.state is not Liveness.DOWN

    def address(self, site: Site) -> str:
        """Where a site is; empty if that is not known."""
        life = self._lives.get(site)
        return "" if life is None else life.contact.address

    def sites(self) -> list[Site]:
        """All that were ever heard of and not removed."""
        return list(self._lives)

    def shown(self) -> list[Site]:
        """Those whose rows are shown."""
        return [site for site in self._lives if self.is_shown(site)]
