"""Children that nobody who takes part can run: they wait, and that is said."""

from __future__ import annotations

from covey.core.vocabulary import Emit
from covey.protocols.registry.ground import Ground
from covey.protocols.registry.vocabulary import NobodyRuns


class Unplaced:
    """Which children have no host, as far as is said.

    Law: it is said once of each, and again only when it was placed meanwhile. A node says it of what it sees itself.
    """

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._said: dict[bytes, None] = {}
        self._unsaid: list[bytes] = []

    def __contains__(self, id: bytes) -> bool:
        return id in self._said

    def look(self, id: bytes, now_us: int) -> None:
        """Something about a child changed: has it a host?"""
        ground = self._ground
        if ground.places.host(id) is not None or id not in ground.book.children:
            self._said.pop(id, None)
        elif id not in self._said and ground.ready and not ground.closing and not ground.book.running(id):
            if ground.is_complete():
                self._said[id] = None
                self._unsaid.append(id)
            else:
                ground.alarm("look", id, now_us + ground.config.announce_us)

    def say(self) -> None:
        """Say what was found in this turn."""
        if self._unsaid:
            self._ground.say(Emit(NobodyRuns(self._ground.hub, tuple(self._unsaid))))
            self._unsaid.clear()
