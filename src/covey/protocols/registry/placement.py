"""Where a child belongs: the same for all who see the same participants, and only what must move moves.

A view is what one node sees of a hub: everybody who takes part and is not held for down. Nodes whose configuration
differs would place differently, so only those of one configuration place: the one that most have, of two the lower.

Weights are whole numbers and count as so many tickets of the rendezvous hash. (The usual formula, weight / -ln(hash),
would need the same last bit of a logarithm on every machine.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.core.rendezvous import best

WEIGHT_MAX = 64  # tickets of one participant; each costs one hash, about a microsecond
WHOLE = ".*"  # behind the name of a module: everything in it, and in its submodules
STARTS_MAX = 1_024  # whose able hosts a view remembers: peers may name any. Guess


class Participant(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One life that takes part in a hub, and what it says of itself.

    `config` is a digest of what all must have alike, `settings` the same in words.
    """

    site: Site
    incarnation: int
    name: str
    weight: int
    zone: str
    draining: bool
    starts: tuple[str, ...]  # what it may run, sorted
    config: bytes
    app_version: str = ""
    settings: str = ""


Able: TypeAlias = list[tuple[Participant, tuple[bytes, ...]]]


def can_run(starts: Iterable[str], start: str) -> bool:
    """Whether somebody who says this runs `start`: by its name, or as part of a module that is allowed as a whole."""
    if start in starts:
        return True
    module = start.partition(":")[0] + "."
    return any(one.endswith(WHOLE) and module.startswith(one.removesuffix(WHOLE) + ".") for one in starts)


class View:
    """The participants as one node sees them.

    Law: `place` depends on the set of participants alone; when one goes, only what it had moves, and when one comes,
    only to it. Invariants: those who place have one configuration, and are in order.
    """

    def __init__(self, participants: Iterable[Participant]) -> None:
        everybody = sorted(participants, key=lambda one: (one.site, one.incarnation))
        counts = Counter(one.config for one in everybody)
        self.config = min(counts, key=lambda config: (-counts[config], config), default=b"")
        self.hosts = [one for one in everybody if one.config == self.config]
        self._ables: dict[str | None, Able] = {}
        self.others = [one for one in everybody if one.config != self.config]

    def place(self, id: bytes, start: str, assigned: Site | None = None) -> Participant | None:
        """Who has to run a child; None while nobody can. Whoever it was assigned to, if that is said."""
        if assigned is not None:
            return next((one for one in self.hosts if one.site == assigned), None)
        able = self._able(start)
        if len(able) < 2:
            return able[0][0] if able else None
        return max([(best(id, tickets), one.site, one) for one, tickets in able])[2]

    def ranked(self, id: bytes, start: str | None) -> list[Participant]:
        """All who can run a child, the one it belongs to first. Who is draining is only asked where nobody else is.

        Without a `start`: all who can run any.
        """
        ranked = sorted([(best(id, tickets), one.site, one) for one, tickets in self._able(start)], reverse=True)
        return [one for _, _, one in ranked]

    def _able(self, start: str | None) -> Able:
        """Who can run this, with its tickets: found once for each view."""
        known = self._ables.get(start)
        if known is None:
            able = [one for one in self.hosts if one.weight > 0 and (start is None or can_run(one.starts, start))]
            staying = [one for one in able if not one.draining]
            known = [(one, _tickets(one)) for one in staying or able]
            if len(self._ables) < STARTS_MAX:
                self._ables[start] = known
        return known

    def check(self) -> None:
        """Every invariant."""
        invariant(all(one.config == self.config for one in self.hosts), "those who place have one configuration")
        sites = [(one.site, one.incarnation) for one in self.hosts]
        invariant(sites == sorted(sites), "they are in order")


def _tickets(one: Participant) -> tuple[bytes, ...]:
    return tuple([one.site + ticket.to_bytes(1, "big") for ticket in range(min(one.weight, WEIGHT_MAX))])
