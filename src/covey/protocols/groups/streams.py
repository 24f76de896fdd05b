"""Numbers on letters, for each pair of mailboxes, so that what is missing shows.

A number is an epoch and a place in it. Who sends forgets pairs that have long been silent and counts anew for them in a
later epoch of that life, so a receiver that remembers more never takes a new letter for an old one.

Pairs are filed by the other's life. So a life that is over goes at once, however many pairs it had, and a node that
invents mailboxes crowds out nobody's pairs but its own.
"""

from __future__ import annotations

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.protocols.groups.vocabulary import Address

ENDED_MAX = 10_000  # lives whose pairs were forgotten. Guess: about 1 MB
EPOCH = 1 << 32  # letters in one epoch of one pair; with 2**21 epochs a number has 53 bits

Pairs = dict[int, dict[int, int]]  # our mailbox, the other's mailbox: the next number


class _Peer:
    """The pairs with one life: those in use, and those of before."""

    __slots__ = ("epoch", "incarnation", "old", "overflowed", "young", "young_pairs")

    def __init__(self, incarnation: int, epoch: int) -> None:
        self.incarnation = incarnation
        self.epoch = epoch
        self.young: Pairs = {}
        self.old: Pairs = {}  # not used since the young ones were begun
        self.young_pairs = 0
        self.overflowed = False  # some pairs were forgotten for want of room


class Streams:
    """The next number between each of our mailboxes and others, in one direction.

    Law: a pair that is forgotten and used again has a greater number than it ever had. Invariants: of each site one
    life, with at most `pairs_max` pairs; of more, the half that was used longest ago is forgotten; at most `ENDED_MAX`
    lives are remembered as forgotten, the latest.
    """

    def __init__(self, pairs_max: int) -> None:
        self._half_max = max(pairs_max // 2, 1)
        self._peers: dict[Site, _Peer] = {}
        self._ended: dict[Site, tuple[int, int]] = {}  # the latest life whose pairs were forgotten, and its last epoch
        self._first_epoch = 0  # above that of every life that is not even remembered as forgotten

    def next(self, mailbox: int, other: Address) -> int | None:
        """The next number of a pair; None for one that is not known."""
        peer = self._peers.get(other.site)
        if peer is None or peer.incarnation != other.incarnation:
            return None
        number = peer.young.get(mailbox, {}).get(other.mailbox)
        return peer.old.get(mailbox, {}).get(other.mailbox) if number is None else number

    def draw(self, mailbox: int, other: Address) -> int:
        """The number of what is sent now."""
        peer = self._peers.get(other.site)
        if peer is not None and peer.incarnation == other.incarnation:
            pairs = peer.young.get(mailbox)
            known = None if pairs is None else pairs.get(other.mailbox)
            if pairs is not None and known is not None:  # nearly always
                pairs[other.mailbox] = known + 1
                return known
        number = self.next(mailbox, other)
        if number is None:
            number = self.first(other)
        self.set(mailbox, other, number + 1)
        return number

    def take(self, mailbox: int, other: Address, number: int) -> int | None:
        """How many never came before what is received now; None if it came before itself.

        Where an epoch ended, or we had to forget what came, only what is certain is counted.
        """
        peer = self._peers.get(other.site)
        if peer is not None and peer.incarnation == other.incarnation:
            pairs = peer.young.get(mailbox)
            if pairs is not None and pairs.get(other.mailbox) == number:  # nearly always
                pairs[other.mailbox] = number + 1
                return 0
        due = self.next(mailbox, other)
        if due is not None and number < due:
            return None
        is_new = self.is_new(other)
        self.set(mailbox, other, number + 1)
        if due is not None and number // EPOCH == due // EPOCH:
            return number - due
        return number % EPOCH if due is not None or is_new else 0

    def first(self, other: Address) -> int:
        """The number that a pair which is not known begins with."""
        peer = self._peers.get(other.site)
        known = peer is not None and peer.incarnation == other.incarnation
        return EPOCH * (peer.epoch if known and peer is not None else self._next_epoch(other))

    def _next_epoch(self, other: Address) -> int:
        """In which epoch a life begins that has no pairs."""
        incarnation, epoch = self._ended.get(other.site, (0, 0))
        return max(self._first_epoch, epoch + 1 if incarnation == other.incarnation else 0)

    def is_new(self, other: Address) -> bool:
        """Whether a pair that is not known was certainly never used: none of that life's were forgotten."""
        peer = self._peers.get(other.site)
        overflowed = peer is not None and peer.incarnation == other.incarnation and peer.overflowed
        return not overflowed and self._ended.get(other.site, (0, 0))[0] < other.incarnation

    def set(self, mailbox: int, other: Address, number: int) -> None:
        """The next number of a pair is this."""
        peer = self._peers.get(other.site)
        if peer is None or peer.incarnation != other.incarnation:
            self.forget(other.site)
            peer = self._peers[other.site] = _Peer(other.incarnation, self._next_epoch(other))
        pairs = peer.young.get(mailbox)
        if pairs is None:
            pairs = peer.young[mailbox] = {}
        if other.mailbox not in pairs:
            if peer.young_pairs >= self._half_max:
                self._age(peer)
                pairs = peer.young[mailbox] = {}
            peer.young_pairs += 1
        pairs[other.mailbox] = number

    def _age(self, peer: _Peer) -> None:
        if peer.old:
            peer.epoch += 1
            peer.overflowed = True
        peer.old, peer.young, peer.young_pairs = peer.young, {}, 0

    def closed(self, mailbox: int) -> None:
        """One of our mailboxes is closed: its number is never used again."""
        for peer in self._peers.values():
            peer.young_pairs -= len(peer.young.pop(mailbox, ()))
            peer.old.pop(mailbox, None)

    def forget(self, site: Site) -> None:
        """That site is gone, or lives another life: its mailboxes are others."""
        peer = self._peers.pop(site, None)
        if peer is None:
            return
        self._ended.pop(site, None)
        self._ended[site] = peer.incarnation, peer.epoch
        if len(self._ended) > ENDED_MAX:
            _, epoch = self._ended.pop(next(iter(self._ended)))
            self._first_epoch = max(self._first_epoch, epoch + 1)

    def clear(self, anew: bool) -> None:
        """Everybody is gone. `anew`: in another life of ours all pairs are new, and nothing is to be remembered."""
        for site in list(self._peers):
            self.forget(site)
        if anew:
            self._ended.clear()
            self._first_epoch = 0

    def mailboxes(self) -> frozenset[int]:
        """Which of our mailboxes have pairs."""
        return frozenset(mailbox for peer in self._peers.values() for mailbox in (*peer.young, *peer.old))

    def __len__(self) -> int:
        return sum(_size(peer.young) + _size(peer.old) for peer in self._peers.values())

    def check(self) -> None:
        """Every invariant."""
        invariant(len(self._ended) <= ENDED_MAX, "what is remembered of the forgotten is bounded")
        for peer in self._peers.values():
            invariant(peer.young_pairs == _size(peer.young), "the pairs are counted")
            invariant(peer.young_pairs <= self._half_max, "the pairs in use are bounded")
            invariant(_size(peer.old) <= self._half_max, "the pairs of before are bounded")


def _size(pairs: Pairs) -> int:
    return sum(map(len, pairs.values()))
