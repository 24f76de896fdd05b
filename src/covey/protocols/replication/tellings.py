"""Whole owners on their way to those who asked for them, in parts."""

from __future__ import annotations

from collections.abc import Callable

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.protocols.replication.config import ReplicationConfig
from covey.rows.owned import OwnedTable
from covey.rows.parts import Part, Telling
from covey.wire.messages.rows import OwnedPull


class Tellings:
    """What is told to whom. Who does not ask for the next part in time is told anew from the first one.

    Invariant: the one that was asked for longest ago stands first. Bounds: of each owner in each instance one for each
    peer, 8 bytes for each row.
    """

    def __init__(self, config: ReplicationConfig) -> None:
        self._config = config
        self._tellings: dict[tuple[bytes, Site, Site], tuple[Telling, int]] = {}  # (instance, owner, peer): until when

    def part(self, table: OwnedTable, peer: Site, pull: OwnedPull, now_us: int) -> tuple[bytes | None, Part] | None:
        """The part that a peer asks for, and the key behind which it begins. None: it is of another telling, or told.

        It is the first one, without such a key, where that is asked for, or nothing is being told any more.
        """
        key = (pull.instance, pull.owner, peer)
        telling, _ = self._tellings.pop(key, (None, 0))
        if telling is None or not pull.parts or not table.tells(telling, pull.owner):
            telling = table.tell(pull.owner)
        elif (telling.base, telling.cursor) != (pull.after, pull.cursor):
            self._tellings[key] = telling, now_us + self._config.telling_us_max
            return None
        cursor = telling.cursor
        part = telling.part(self._config.bytes_aim)
        if not part[1]:
            self._tellings[key] = telling, now_us + self._config.telling_us_max
        return cursor, part

    def end(self, ends: Callable[[bytes, Site], bool]) -> None:
        """Those with this instance and this peer are told no more."""
        for key in [key for key in self._tellings if ends(key[0], key[2])]:
            del self._tellings[key]

    def expire(self, now_us: int) -> None:
        """Who did not ask for the next part in time is told no more."""
        while self._tellings:
            key = next(iter(self._tellings))
            if self._tellings[key][1] > now_us:
                break
            del self._tellings[key]

    def check(self) -> None:
        """The invariant."""
        untils = [until_us for _, until_us in self._tellings.values()]
        invariant(untils == sorted(untils), "the one that was asked for longest ago stands first")

    def __len__(self) -> int:
        return len(self._tellings)
