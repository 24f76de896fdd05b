"""What one voter granted: the rule that no two majorities can break.

Two majorities share a voter. So if no voter lets a second host begin before the first one has certainly ended, no two
run at one time. A grant therefore binds for `wait`, which covers the host's lease, its time to stop, and the difference
of two clocks; for less only if the host said itself that it ended. What was granted is durable before it is said; when
it was is not, so after a restart everything is taken for granted just now.
"""

from __future__ import annotations

from itertools import islice
from typing import TypeAlias

import msgspec

from covey.core.errors import invariant
from covey.core.ids import Origin
from covey.wire.messages.claims import Id

LOOKED_AT = 16  # of those that were granted longest ago, to find one that does not bind

Freed: TypeAlias = tuple[bytes, int, int]


class Vote(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was granted last for one id, as it is stored."""

    epoch: int
    life: Origin
    released: bool
    wait_us: int


class Votes:
    """The votes of one voter.

    Law: for one id epochs only grow, and another life's is granted only where the one before was released, or `wait_us`
    has passed on our clock since it was granted and since we began. Invariants: what is forgotten lies at or below
    `floor`; at most `votes_max` ids are remembered, but for those that bind.
    """

    def __init__(self, votes_max: int, began_us: int, votes: dict[Id, Vote], floor: int) -> None:
        self._votes_max = votes_max
        self._began_us = began_us
        self._votes = dict(votes)
        self._granted_us: dict[Id, int] = {}  # those since we began
        self.floor = floor

    def get(self, id: Id) -> Vote | None:
        """What was granted last; None for what was never, or is forgotten."""
        return self._votes.get(id)

    def left_us(self, id: Id, now_us: int) -> int:
        """How long the life that has it is still protected from others."""
        vote = self._votes.get(id)
        if vote is None or vote.released:
            return 0
        return max(self._granted_us.get(id, self._began_us) + vote.wait_us - now_us, 0)

    def claim(self, id: Id, epoch: int, life: Origin, wait_us: int, now_us: int) -> bool:
        """Whether it is granted; then it binds from now on."""
        vote = self._votes.get(id)
        if vote is None:
            granted = epoch > self.floor
        elif epoch == vote.epoch:
            granted = life == vote.life and not vote.released
        else:
            granted = epoch > vote.epoch and (life == vote.life or not self.left_us(id, now_us))
        if granted:
            self._votes.pop(id, None)  # those that were granted longest ago stand first
            self._votes[id] = Vote(epoch, life, False, wait_us)
            self._granted_us[id] = now_us
        return granted

    def release(self, id: Id, freed: Freed) -> bool:
        """What this life claimed up to this epoch has ended; False where that changes nothing."""
        vote = self._votes.get(id)
        if vote is None or vote.released or vote.life != freed[:2] or vote.epoch > freed[2]:
            return False
        self._votes[id] = msgspec.structs.replace(vote, released=True)
        return True

    def forget(self, now_us: int) -> Id | None:
        """Where there are too many, one that does not bind any more: it is forgotten into the floor, and returned."""
        if len(self._votes) <= self._votes_max:
            return None
        for id, vote in islice(self._votes.items(), LOOKED_AT):
            if not self.left_us(id, now_us):
                self.floor = max(self.floor, vote.epoch)
                del self._votes[id]
                self._granted_us.pop(id, None)
                return id
        return None

    def __len__(self) -> int:
        return len(self._votes)

    def check(self) -> None:
        """Every invariant."""
        invariant(self._granted_us.keys() <= self._votes.keys(), "what was granted is remembered")
