"""What a host gives back: it says so until every voter knows. One that never hears it frees the id by itself."""

from __future__ import annotations

from typing import Any

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.core.timers import Timers
from covey.wire.messages.claims import Freed, Id, Release, Released

Said = list[tuple[Site, Release]]


class _Untold:
    __slots__ = ("freed", "left", "until_us")

    def __init__(self, freed: Freed, voters: tuple[Site, ...], until_us: int) -> None:
        self.freed = freed
        self.left = dict.fromkeys(voters)  # who does not know yet
        self.until_us = until_us


class Releases:
    """Claims of this life that have ended, each by its id and its epoch.

    Invariant: each is said again at some time.
    """

    def __init__(self, every_us: int, timers: Timers[tuple[Any, ...]]) -> None:
        self._every_us = every_us
        self._timers = timers
        self._untold: dict[tuple[Id, int], _Untold] = {}

    def begin(self, id: Id, freed: Freed, voters: tuple[Site, ...], until_us: int, now_us: int) -> Said:
        """Tell all voters from now on, until they free it by themselves."""
        self._untold[id, freed[2]] = _Untold(freed, voters, until_us)
        return self.say(id, freed[2], now_us)

    def say(self, id: Id, epoch: int, now_us: int) -> Said:
        """Say it to those who do not know."""
        untold = self._untold[id, epoch]
        if now_us >= untold.until_us:
            del self._untold[id, epoch]
            return []
        self._timers.set(("give", id, epoch), now_us + self._every_us)
        return [(voter, Release(id, untold.freed)) for voter in untold.left]

    def heard(self, voter: Site, message: Released) -> None:
        """One voter knows."""
        key = message.id, message.freed[2]
        untold = self._untold.get(key)
        if untold is None or untold.freed != message.freed:
            return
        untold.left.pop(voter, None)
        if not untold.left:
            del self._untold[key]
            self._timers.cancel(("give", *key))

    def below(self, id: Id, epoch: int) -> bool:
        """Whether all that is given back of an id lies below this epoch."""
        return all(given < epoch for of, given in self._untold if of == id)

    def check(self) -> None:
        """The invariant."""
        invariant(all(("give", *key) in self._timers for key in self._untold), "it is said again at some time")
