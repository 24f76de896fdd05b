"""Numbers on letters, for each pair of mailboxes, so that what is missing shows."""

from __future__ import annotations

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.protocols.groups.vocabulary import Address


class Streams:
    """The next number between each of our mailboxes and others, in one direction.

    Invariant: at most `pairs_max`; the mailbox that first used its pairs longest ago begins anew.
    """

    def __init__(self, pairs_max: int) -> None:
        self._pairs_max = pairs_max
        self._next: dict[int, dict[Address, int]] = {}
        self._pairs = 0

    def get(self, mailbox: int, other: Address) -> int:
        """The next number of a pair."""
        return self._next.get(mailbox, {}).get(other, 0)

    def set(self, mailbox: int, other: Address, number: int) -> None:
        """The next number of a pair is this."""
        pairs = self._next.setdefault(mailbox, {})
        if other not in pairs:
            self._pairs += 1
        pairs[other] = number
        if self._pairs > self._pairs_max:
            self.closed(next(iter(self._next)))

    def closed(self, mailbox: int) -> None:
        """One of our mailboxes is closed."""
        self._pairs -= len(self._next.pop(mailbox, ()))

    def forget(self, site: Site) -> None:
        """Another life of that site: its mailboxes are others."""
        for pairs in self._next.values():
            for other in [other for other in pairs if other.site == site]:
                del pairs[other]
                self._pairs -= 1

    def clear(self) -> None:
        """Another life of ours."""
        self._next.clear()
        self._pairs = 0

    def check(self) -> None:
        invariant(self._pairs == sum(map(len, self._next.values())), "the pairs are counted")
        invariant(self._pairs <= self._pairs_max, "the pairs are bounded")
