"""One host's claims for one id: sought, held, or given back."""

from __future__ import annotations

from covey.core.clock import EPOCH_MAX
from covey.core.ids import Origin
from covey.protocols.claims.electorate import Electorate
from covey.wire.messages.claims import Freed, Id


class Bid:
    """What this life of this host wants of one id.

    `epoch` is 0 while nothing is claimed; `token` is 0 until it is won. `granted` has, for each seat, when the latest
    claim was *sent* that its voter granted: an answer that comes late says nothing about the time since.
    """

    __slots__ = (
        "electorate",
        "epoch",
        "freed",
        "granted",
        "heard",
        "id",
        "life",
        "losses",
        "sent_us",
        "token",
        "told_us",
    )  # fmt: skip

    def __init__(self, id: Id, electorate: Electorate, life: Origin, epoch: int, freed: Freed | None) -> None:
        self.id = id
        self.electorate = electorate
        self.freed = freed
        self.life = life  # in which the last claim was sent
        self.heard = min(epoch, EPOCH_MAX) - 1  # every claim of ours is above this
        self.epoch = 0
        self.token = 0
        self.granted: dict[int, int] = {}
        self.sent_us = 0  # when the last claim was sent
        self.losses = 0  # duels in a row that ended without a majority
        self.told_us = 0  # until when a voter told us, in this duel, that somebody is protected

    def lease_us(self, fence_after_us: int) -> int:
        """Until when it may be served, on our clock; 0 without a majority."""
        needed = self.electorate.needed
        if len(self.granted) < needed:
            return 0
        return sorted(self.granted.values(), reverse=True)[needed - 1] + fence_after_us

    def hears(self, epoch: int) -> None:
        """Some voter has granted, or forgotten, as high an epoch."""
        self.heard = max(self.heard, epoch)
