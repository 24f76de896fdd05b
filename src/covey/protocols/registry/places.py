"""Where every child of a hub belongs, kept while participants and children come and go.

To place 100,000 children takes a second of hashing. So what a change of participants touches is looked at again some
each turn, those first whose host is gone: they have nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.protocols.registry.placement import Participant, View


class Places:
    """Children, and the host of each.

    Law: once nothing is due, the host of each child is whom the view places it at. Invariants: what is due is a child;
    the children of a host are those that are placed there.
    """

    def __init__(self) -> None:
        self.view = View(())
        self._children: dict[bytes, tuple[str, Site | None]] = {}  # what it starts, and whom it is assigned to
        self._hosts: dict[bytes, Site | None] = {}
        self._at: dict[Site, dict[bytes, None]] = {}
        self._orphans: dict[bytes, None] = {}  # due at once
        self._due: dict[bytes, None] = {}
        self._expected: dict[bytes, tuple[str, Participant | None]] = {}  # in this view

    def __len__(self) -> int:
        return len(self._children)

    @property
    def is_settled(self) -> bool:
        """Whether nothing is to be looked at again."""
        return not self._orphans and not self._due

    def host(self, id: bytes) -> Site | None:
        """Who has to run a child, as it was placed last; None for nobody, and for what is no child."""
        return self._hosts.get(id)

    def at(self, site: Site) -> list[bytes]:
        """What a host has to run."""
        return list(self._at.get(site, ()))

    def expect(self, id: bytes, start: str) -> Participant | None:
        """Who is to run a child that is about to be put: it is not placed twice then."""
        host = self.view.place(id, start)
        self._expected[id] = start, host
        return host

    def put(self, id: bytes, start: str, assigned: Site | None) -> bool:
        """A child is there, or is another; returns whether its host changed. It is placed at once."""
        self._children[id] = start, assigned
        return self._place(id)

    def drop(self, id: bytes) -> None:
        """It is no child any more."""
        if self._children.pop(id, None) is not None:
            self._move(id, None)
            del self._hosts[id]
            self._orphans.pop(id, None)
            self._due.pop(id, None)

    def see(self, participants: Iterable[Participant]) -> None:
        """These take part from now on. What may belong elsewhere is due."""
        before, self.view = self.view, View(participants)
        self._expected.clear()
        old = {one.site: one for one in before.hosts}
        new = {one.site: one for one in self.view.hosts}
        less = [site for site, one in old.items() if site not in new or _gives_up(one, new[site])]
        more = [site for site, one in new.items() if site not in old or _gives_up(one, old[site])]
        for site in less:
            self._orphans |= self._at.get(site, {})
        if more or any(one.draining for one in before.hosts):  # where all were draining, that one goes may free others
            self._due |= dict.fromkeys(self._children)

    def look(self, count: int) -> list[bytes]:
        """Place so many that are due; returns those whose host changed."""
        changed: list[bytes] = []
        for due in (self._orphans, self._due):
            for id in list(islice(due, count)):
                count -= 1
                self._orphans.pop(id, None)
                self._due.pop(id, None)
                if self._place(id):
                    changed.append(id)
        return changed

    def place_anew(self, id: bytes) -> Site | None:
        """Place one child in the view as it is, due or not; returns who has to run it."""
        if id in self._children:
            self._orphans.pop(id, None)
            self._due.pop(id, None)
            self._place(id)
        return self._hosts.get(id)

    def _place(self, id: bytes) -> bool:
        start, assigned = self._children[id]
        expected = self._expected.pop(id, None)
        if expected is not None and expected[0] == start and assigned is None:
            host = expected[1]
        else:
            host = self.view.place(id, start, assigned)
        return self._move(id, None if host is None else host.site)

    def _move(self, id: bytes, site: Site | None) -> bool:
        before = self._hosts.get(id)
        self._hosts[id] = site
        if before == site:
            return False
        if before is not None:
            del self._at[before][id]
            if not self._at[before]:
                del self._at[before]
        if site is not None:
            self._at.setdefault(site, {})[id] = None
        return True

    def check(self) -> None:
        """Every invariant, and the law where nothing is due."""
        self.view.check()
        invariant(self._hosts.keys() == self._children.keys(), "every child is placed, or nowhere")
        invariant(self._orphans.keys() | self._due.keys() <= self._children.keys(), "what is due is a child")
        at = {(site, id) for site, ids in self._at.items() for id in ids}
        invariant(
            at == {(site, id) for id, site in self._hosts.items() if site is not None}, "hosts have their children"
        )


def _gives_up(one: Participant, other: Participant) -> bool:
    """Whether the second may run less than the first: then what is there may belong elsewhere."""
    return other.weight < one.weight or other.draining > one.draining or not set(one.starts) <= set(other.starts)
