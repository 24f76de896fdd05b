"""What one voter granted: the rule that no two majorities can break.

Two majorities share a voter. So if no voter lets a second host begin before the first one has certainly ended, no two
run at one time. A grant therefore binds for `wait`, which covers the host's lease, its time to stop, and the difference
of two clocks; for less only if the host said itself that it ended. What was granted is durable before it is said; when
it was is not, so after a restart everything is taken for granted just now.
"""

from __future__ import annotations

from itertools import islice

import msgspec

from covey.core.errors import invariant
from covey.core.ids import Origin
from covey.wire.messages.claims import Freed, Id

LOOKED_AT = 16  # of those that were granted longest ago, to find one that does not bind


class Vote(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was granted last for one id, as it is stored."""

    epoch: int
    life: Origin
    released: bool
    wait_us: int


class Votes:
    """The votes of one voter.

    Law: for one id epochs only grow, and another life's is granted only where the one before was released, or `wait_us`
    has passed on our clock since it was granted. What we remember from before our start may be an old copy of what we
    granted: until the longest wait has passed since then, only what stands there is granted again, to whom it stands
    for; and later nothing at or below `start_epoch`, our clock of then: what was claimed before the start lies below.
    Invariants: what is forgotten lies at or below `floor`; at most `votes_max` ids are remembered.
    """

    def __init__(self, votes_max: int, quiet_us: int, votes: dict[Id, Vote], floor: int) -> None:
        """Nobody relies any more, after `quiet_us`, on what was granted before our start."""
        self._votes_max = max(votes_max, len(votes))
        self._quiet_us = quiet_us
        self._votes = dict(votes)
        self._granted_us: dict[Id, int] = {}  # those since we began
        self.floor = floor
        self.start_epoch = 0  # until somebody tells the time

    def get(self, id: Id) -> Vote | None:
        """What was granted last; None for what was never, or is forgotten."""
        return self._votes.get(id)

    @property
    def full(self) -> bool:
        """Whether a new id needs one to be forgotten."""
        return len(self._votes) >= self._votes_max

    def left_us(self, id: Id, now_us: int) -> int:
        """How long nobody else is granted this id, whatever its epoch."""
        granted_us = self._granted_us.get(id)
        if granted_us is None:
            return max(self._quiet_us - now_us, 0)
        vote = self._votes[id]
        return 0 if vote.released else max(granted_us + vote.wait_us - now_us, 0)

    def least(self, id: Id) -> int:
        """What another life claims needs an epoch above this."""
        vote = self._votes.get(id)
        known = self.floor if vote is None else vote.epoch
        return known if id in self._granted_us else max(known, self.start_epoch)

    def claim(self, id: Id, epoch: int, life: Origin, wait_us: int, now_us: int) -> bool:
        """Whether it is granted; then it binds from now on."""
        vote = self._votes.get(id)
        if vote is not None and epoch == vote.epoch:
            granted = life == vote.life and not vote.released
        elif vote is not None and life == vote.life and id in self._granted_us:
            granted = epoch > vote.epoch
        else:
            granted = epoch > self.least(id) and not self.left_us(id, now_us) and (vote is not None or not self.full)
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
        """Where there is no room, one that does not bind any more: it is forgotten into the floor, and returned."""
        if not self.full:
            return None
        for id, vote in islice(self._votes.items(), LOOKED_AT):
            if not self.left_us(id, now_us):
                self.floor = max(self.floor, vote.epoch)
                del self._votes[id]
                self._granted_us.pop(id, None)
                return id
        return None

    def room_us(self, now_us: int) -> int:
        """When there may be room for a new id, at the earliest."""
        return min((self.left_us(id, now_us) for id in islice(self._votes, LOOKED_AT)), default=0)

    def __len__(self) -> int:
        return len(self._votes)

    def check(self) -> None:
        """Every invariant."""
        invariant(self._granted_us.keys() <= self._votes.keys(), "what was granted is remembered")
        invariant(len(self._votes) <= self._votes_max, "at most so many ids are remembered")
