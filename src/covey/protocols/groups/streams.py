"""Numbers on letters, for each pair of mailboxes, so that what is missing shows.

A number is an epoch and a place in it. Who sends forgets pairs that have long been silent and counts anew for them in a
later epoch, so a receiver that remembers more never takes a new letter for an old one.
"""

from __future__ import annotations

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.protocols.groups.vocabulary import Address

EPOCH = 1 << 32  # letters in one epoch of one pair; with 2**21 epochs a number has 53 bits

Pairs = dict[int, dict[Address, int]]


class Streams:
    """The next number between each of our mailboxes and others, in one direction.

    Law: a pair that is forgotten and used again has a greater number than it ever had. Invariant: at most `pairs_max`;
    of more, the half that was used longest ago is forgotten.
    """

    def __init__(self, pairs_max: int) -> None:
        self._half_max = max(pairs_max // 2, 1)
        self._young: Pairs = {}
        self._old: Pairs = {}  # not used since the young ones were begun
        self._young_pairs = 0
        self.epoch = 0
        self.overflowed = False  # some pairs were forgotten for want of room

    def next(self, mailbox: int, other: Address) -> int | None:
        """The next number of a pair; None for one that is not known."""
        number = self._young.get(mailbox, {}).get(other)
        return self._old.get(mailbox, {}).get(other) if number is None else number

    def draw(self, mailbox: int, other: Address) -> int:
        """The number of what is sent now."""
        pairs = self._young.get(mailbox)
        number = None if pairs is None else pairs.get(other)
        if pairs is not None and number is not None:  # nearly always
            pairs[other] = number + 1
            return number
        number = self.next(mailbox, other)
        if number is None:
            number = self.first()
        self.set(mailbox, other, number + 1)
        return number

    def take(self, mailbox: int, other: Address, number: int) -> int | None:
        """How many never came before what is received now; None if it came before itself.

        Where an epoch ended, or we had to forget what came, only what is certain is counted.
        """
        pairs = self._young.get(mailbox)
        if pairs is not None and pairs.get(other) == number:  # nearly always
            pairs[other] = number + 1
            return 0
        due = self.next(mailbox, other)
        if due is not None and number < due:
            return None
        self.set(mailbox, other, number + 1)
        if due is not None and number // EPOCH == due // EPOCH:
            return number - due
        return 0 if due is None and self.overflowed else number % EPOCH

    def first(self) -> int:
        """The number that a pair which is not known begins with."""
        return self.epoch * EPOCH

    def set(self, mailbox: int, other: Address, number: int) -> None:
        """The next number of a pair is this."""
        pairs = self._young.get(mailbox)
        if pairs is None:
            pairs = self._young[mailbox] = {}
        if other not in pairs:
            if self._young_pairs >= self._half_max:
                self._age()
                pairs = self._young[mailbox] = {}
            self._young_pairs += 1
        pairs[other] = number

    def _age(self) -> None:
        if self._old:
            self.epoch += 1
            self.overflowed = True
        self._old, self._young, self._young_pairs = self._young, {}, 0

    def closed(self, mailbox: int) -> None:
        """One of our mailboxes is closed: its number is never used again."""
        self._young_pairs -= len(self._young.pop(mailbox, ()))
        self._old.pop(mailbox, None)

    def forget(self, site: Site) -> None:
        """That site is gone, or lives another life: its mailboxes are others."""
        if _forget(self._young, site) + _forget(self._old, site):
            self.epoch += 1
            self._young_pairs = sum(map(len, self._young.values()))

    def clear(self) -> None:
        """Another life of ours: all our mailboxes have other addresses."""
        self._young, self._old, self._young_pairs = {}, {}, 0
        self.overflowed = False

    def mailboxes(self) -> frozenset[int]:
        """Which of our mailboxes have pairs."""
        return frozenset((*self._young, *self._old))

    def __len__(self) -> int:
        return sum(len(pairs) for generation in (self._young, self._old) for pairs in generation.values())

    def check(self) -> None:
        """Every invariant."""
        invariant(self._young_pairs == sum(map(len, self._young.values())), "the pairs are counted")
        invariant(self._young_pairs <= self._half_max, "the pairs in use are bounded")
        invariant(sum(map(len, self._old.values())) <= self._half_max, "the pairs of before are bounded")


def _forget(generation: Pairs, site: Site) -> int:
    """Take the pairs of a site out of one generation; returns how many there were."""
    gone = 0
    for mailbox, pairs in list(generation.items()):
        for other in [other for other in pairs if other.site == site]:
            del pairs[other]
            gone += 1
        if not pairs:
            del generation[mailbox]
    return gone
