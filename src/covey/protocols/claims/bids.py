"""One host's claims for one id: sought, held, or given back."""

from __future__ import annotations

from covey.core.ids import Origin, Site
from covey.protocols.claims.vocabulary import Elect
from covey.wire.messages.claims import Freed, Id


class Bid:
    """What this life of this host wants of one id.

    `epoch` is 0 while nothing is claimed; `token` is 0 until it is won. `granted` has, for each voter, when the latest
    claim was *sent* that it granted: an answer that comes late says nothing about the time since.
    """

    __slots__ = ("elect", "epoch", "freed", "granted", "heard", "id", "life", "losses", "sent_us", "token", "wait_us")

    def __init__(self, id: Id, elect: Elect, epoch: int, freed: Freed | None) -> None:
        self.id = id
        self.elect = elect
        self.freed = freed
        self.life: Origin = (elect.voters[0], 0)  # in which the last claim was sent
        self.heard = epoch - 1  # every claim of ours is above this
        self.epoch = 0
        self.token = 0
        self.granted: dict[Site, int] = {}
        self.sent_us = 0  # when the last claim was sent
        self.losses = 0  # duels in a row that ended without a majority
        self.wait_us = 0  # the longest that a voter told us to wait, in this duel

    @property
    def needed(self) -> int:
        """More than half of the voters, here or not."""
        return len(self.elect.voters) // 2 + 1

    def lease_us(self, fence_after_us: int) -> int:
        """Until when it may be served, on our clock; 0 without a majority."""
        if len(self.granted) < self.needed:
            return 0
        return sorted(self.granted.values(), reverse=True)[self.needed - 1] + fence_after_us

    def hears(self, epoch: int) -> None:
        """Some voter has granted, or forgotten, as high an epoch."""
        self.heard = max(self.heard, epoch)
