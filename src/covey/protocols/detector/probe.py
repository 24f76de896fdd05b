"""Whom to probe next, and one probe under way.

SWIM's round-robin (DSN 2002, section 4.3): the members are probed in a shuffled order, anew for each pass, and a
newcomer takes a random place in the rest of the pass. So a death is found within one pass of each survivor, surely.
"""

from __future__ import annotations

from random import Random

from covey.core.ids import Site


class Round:
    """A shuffled pass over the members.

    Law: between two turns of one member lie at most two passes less one.
    """

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left: list[Site] = []  # the next one last

    def add(self, site: Site, rng: Random) -> None:
        """A newcomer gets its turn in this pass."""
        self._left.insert(rng.randrange(len(self._left) + 1), site)

    def discard(self, site: Site) -> None:
        """It has no turn any more."""
        if site in self._left:
            self._left.remove(site)

    def hurry(self, site: Site) -> None:
        """If its turn in this pass is still to come, it is next."""
        if site in self._left:
            self._left.remove(site)
            self._left.append(site)

    def begin(self, sites: list[Site], rng: Random) -> None:
        """A new pass."""
        self._left = list(sites)
        rng.shuffle(self._left)

    def next(self) -> Site | None:
        """Whose turn it is; None when the pass is over. It may have gone since: the caller knows."""
        return self._left.pop() if self._left else None

    def __len__(self) -> int:
        return len(self._left)


class Probe:
    """One probe cycle: a direct ping, then indirect ones through `asked`, until an ack or the end of the interval."""

    __slots__ = ("asked", "direct_failed", "incarnation", "number", "reached", "sent_us", "site", "timeout_us")

    def __init__(self, number: int, site: Site, incarnation: int, sent_us: int, timeout_us: int) -> None:
        self.number = number
        self.site = site
        self.incarnation = incarnation
        self.sent_us = sent_us
        self.timeout_us = timeout_us
        self.direct_failed = False
        self.reached = False  # by somebody else
        self.asked: dict[Site, bool] = {}  # whom we asked to ping it for us, and whether a nack came

    @property
    def hopeless(self) -> bool:
        """Nothing can be learnt by waiting: our ping timed out, and everybody asked has no answer either."""
        return self.direct_failed and bool(self.asked) and all(self.asked.values())

    @property
    def nacks(self) -> int:
        """How many of those asked are there, but have no answer either."""
        return sum(self.asked.values())

    def health_delta(self) -> int:
        """What a failure says of us: a missed nack is +1 each; with nobody asked, the failure itself is."""
        return len(self.asked) - self.nacks if self.asked else 1


class Relay:
    """A ping that we do for somebody else."""

    __slots__ = ("number", "requester", "target")

    def __init__(self, requester: Site, number: int, target: Site) -> None:
        self.requester = requester
        self.number = number  # the requester's
        self.target = target
