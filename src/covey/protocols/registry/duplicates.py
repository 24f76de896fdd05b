"""Two copies of one child: after a heal, or where two views differed for a moment.

Which one stays is a rule that depends on what is shown alone: the one where the child belongs, else that of the lowest
name. While views differ the rule may too, so nobody ends a copy before whoever runs the other one agrees.
"""

from __future__ import annotations

from covey.core.ids import Origin
from covey.protocols.registry.copies import Hosted, Phase
from covey.protocols.registry.ground import Ground
from covey.protocols.registry.hosting import Hosting
from covey.protocols.registry.moves import Moves
from covey.protocols.registry.rows import State
from covey.wire.messages.registry import Duplicate, Kept

COPIES = (State.RUNNING, State.STARTING, State.STUCK)


class Duplicates:
    """Copies of ours that are one too many.

    Law: a copy is ended for another one only while that one is shown, and its host holds that it stays.
    """

    def __init__(self, ground: Ground, hosting: Hosting, moves: Moves) -> None:
        self._ground = ground
        self._hosting = hosting
        self._moves = moves
        self.ended = 0

    def _others(self, id: bytes) -> list[Origin]:
        """Who else shows a copy."""
        ground = self._ground
        running = ground.book.running(id)
        return [life for life, one in running.items() if life != ground.me and one.state in COPIES]

    def gives_way(self, id: bytes) -> bool:
        """Whether a copy of ours that was given up is nothing any more: the child runs elsewhere, or was given up there
        as well and that one counts."""
        ground = self._ground
        if self._others(id):
            return True
        running = ground.book.running(id)
        failed = [life for life, one in running.items() if life != ground.me and one.state is State.FAILED]
        return bool(failed) and self._first(id, [ground.me, *failed]) != ground.me

    def _winner(self, id: bytes) -> Origin:
        """Whose copy stays, as far as is shown here."""
        return self._first(id, [self._ground.me, *self._others(id)])

    def _first(self, id: bytes, lives: list[Origin]) -> Origin:
        ground = self._ground
        placed = ground.places.host(id)
        people = ground.book.participants
        return min(
            lives, key=lambda life: (life[0] != placed, people[life[0]].name if life[0] in people else "~", life)
        )

    def look(self, hosted: Hosted, now_us: int) -> None:
        """A child of ours is shown otherwise: if it runs elsewhere too, see whether that stays so."""
        id = hosted.id
        if hosted.phase is Phase.RUNNING and self._others(id):
            self._ground.alarm_unless_sooner("duplicate", id, now_us + self._ground.config.duplicate_us)
        else:
            self._ground.cancel("duplicate", id)

    def due(self, id: bytes, now_us: int) -> None:
        """It stayed so: if ours is one too many, ask whether the other one stays."""
        hosted = self._hosting.hosted.get(id)
        if hosted is None or hosted.phase is not Phase.RUNNING or not self._others(id):
            return
        self._ground.alarm("duplicate", id, now_us + self._ground.config.retry_us)
        winner = self._winner(id)
        if winner != self._ground.me:
            self._ground.send(winner[0], Duplicate(self._ground.hub, id))

    def on_duplicate(self, peer: Origin, message: Duplicate) -> None:
        """Somebody would end its copy for ours."""
        hosted = self._hosting.hosted.get(message.id)
        stays = hosted is not None and hosted.phase is Phase.RUNNING and hosted.move is None
        if stays and not self._ground.closing and self._winner(message.id) == self._ground.me:
            self._ground.send(peer[0], Kept(self._ground.hub, message.id))

    def on_kept(self, peer: Origin, message: Kept, now_us: int) -> None:
        """The other copy stays."""
        hosted = self._hosting.hosted.get(message.id)
        if hosted is None or hosted.phase is not Phase.RUNNING or peer not in self._others(message.id):
            return
        if self._winner(message.id) == peer:
            self.ended += 1
            self._moves.yield_to(hosted, peer, now_us)
