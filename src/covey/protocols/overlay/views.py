"""The two partial views of HyParView, as pure data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random

from covey.core.errors import invariant
from covey.core.ids import Contact, Site
from covey.core.ordered import OrderedSet


class PassiveView:
    """Contacts to fall back on.

    Invariants: at most `size_max`; never ourselves; of one site only the newest life, and only with an address.
    """

    def __init__(self, me: Site, size_max: int) -> None:
        self._me = me
        self._size_max = size_max
        self._sites: OrderedSet[Site] = OrderedSet()
        self._contacts: dict[Site, Contact] = {}

    def add(self, contact: Contact, rng: Random, drop_first: Iterable[Site] = ()) -> None:
        """Take in `contact`; at the bound one of `drop_first` goes, else a random one."""
        if contact.site == self._me or not contact.address:
            return
        known = self._contacts.get(contact.site)
        if known is not None:
            if contact.incarnation >= known.incarnation:
                self._contacts[contact.site] = contact
            return
        if len(self._sites) >= self._size_max:
            victim = next((site for site in drop_first if site in self._sites), None)
            self.discard(victim if victim is not None else self._sites.choose(rng))
        self._sites.add(contact.site)
        self._contacts[contact.site] = contact

    def discard(self, site: Site) -> Contact | None:
        """Take out and return the contact of `site`, if it is here."""
        self._sites.discard(site)
        return self._contacts.pop(site, None)

    def clear(self) -> None:
        """Forget every candidate: another cluster."""
        self._sites = OrderedSet()
        self._contacts.clear()

    def sample(self, rng: Random, count: int) -> list[Contact]:
        """Up to `count` random contacts."""
        return [self._contacts[site] for site in self._sites.sample(rng, count)]

    def get(self, site: Site) -> Contact | None:
        """The contact of `site`, if it is here."""
        return self._contacts.get(site)

    def __contains__(self, site: object) -> bool:
        return site in self._contacts

    def __iter__(self) -> Iterator[Contact]:
        return (self._contacts[site] for site in self._sites)

    def __len__(self) -> int:
        return len(self._sites)

    def check(self) -> None:
        invariant(len(self._sites) <= self._size_max, "the passive view is bounded")
        invariant(self._me not in self._contacts, "nobody is in their own passive view")
        invariant(set(self._sites) == set(self._contacts), "the passive view's two halves agree")


class ActiveView:
    """The neighbours: contacts with a symmetric link, in the order in which the links came up.

    Invariants: at most `size_max`; never ourselves.
    """

    def __init__(self, me: Site, size_max: int) -> None:
        self._me = me
        self.size_max = size_max
        self._contacts: dict[Site, Contact] = {}

    @property
    def full(self) -> bool:
        return len(self._contacts) >= self.size_max

    def add(self, contact: Contact) -> None:
        """Take in a neighbour; the caller has made room."""
        self._contacts[contact.site] = contact

    def discard(self, site: Site) -> Contact | None:
        """Take out and return the contact of `site`, if it is here."""
        return self._contacts.pop(site, None)

    def get(self, site: Site) -> Contact | None:
        """The contact of `site`, if it is here."""
        return self._contacts.get(site)

    def choose(self, rng: Random, but: Site | None = None) -> Contact | None:
        """A random neighbour other than `but`, if there is one."""
        others = self.sites(but)
        return self._contacts[rng.choice(others)] if others else None

    def sample(self, rng: Random, count: int, but: Site | None = None) -> list[Contact]:
        """Up to `count` random neighbours other than `but`."""
        others = self.sites(but)
        return [self._contacts[site] for site in rng.sample(others, min(count, len(others)))]

    def sites(self, but: Site | None = None) -> tuple[Site, ...]:
        """The neighbours' sites, without `but`."""
        return tuple(site for site in self._contacts if site != but)

    def __contains__(self, site: object) -> bool:
        return site in self._contacts

    def __iter__(self) -> Iterator[Contact]:
        return iter(self._contacts.values())

    def __len__(self) -> int:
        return len(self._contacts)

    def check(self) -> None:
        invariant(len(self._contacts) <= self.size_max, "the active view is bounded")
        invariant(self._me not in self._contacts, "nobody is their own neighbour")
