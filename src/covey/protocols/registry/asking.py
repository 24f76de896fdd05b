"""Which children are none any more, as their hosts know it: what is stopped elsewhere is shown here a moment later.

Who is to start what seems to be there asks its host first, and who stops what nobody is shown to run asks whoever was
to run it. So a start that comes after a stop was answered starts a child, wherever both were asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from covey.core.ids import Origin
from covey.protocols.registry.ground import Ground
from covey.wire.messages.registry import LETTERS_MAX, Absent, WhichAbsent

Told = Callable[[tuple[bytes, ...], tuple[bytes, ...]], None]


class Asking:
    """What we ask others of children, and what they ask us.

    Law: each question is answered once, at the latest after `retry_us`; then nothing that was asked about is absent.
    """

    def __init__(self, ground: Ground, is_hosted: Callable[[bytes], bool]) -> None:
        self._ground = ground
        self._is_hosted = is_hosted
        self._asked: dict[int, tuple[Origin, tuple[bytes, ...], Told]] = {}  # by number

    def is_absent(self, id: bytes) -> bool:
        """Whether it is no child as this node knows it, and no copy of it is here."""
        return id not in self._ground.book.children and not self._is_hosted(id)

    def host(self, id: bytes) -> Origin | None:
        """Who knows best whether a child is there: who runs it, or is to."""
        ground = self._ground
        runs = next(iter(ground.book.copies(id)), None)
        placed = ground.places.host(id)
        life = runs if runs is not None or placed is None else ground.life_of(placed)
        return life if life is not None and ground.is_here(life) else None

    def ask(self, children: Iterable[tuple[bytes, Origin]], told: Told) -> None:
        """Ask hosts about these children of theirs; `told` hears what was asked about, and which of it is absent."""
        by_host: dict[Origin, list[bytes]] = {}
        for id, host in children:
            by_host.setdefault(host, []).append(id)
        for host, all_ids in by_host.items():
            for at in range(0, len(all_ids), LETTERS_MAX):
                ids = tuple(all_ids[at : at + LETTERS_MAX])
                number = self._ground.wires.number()
                self._asked[number] = host, ids, told
                size = sum(map(len, ids)) + 64
                self._ground.send(host[0], WhichAbsent(self._ground.hub, number, ids), size)
                self._ground.alarm("asked", number, self._ground.now_us + self._ground.config.retry_us)

    def on_which_absent(self, peer: Origin, message: WhichAbsent) -> None:
        """Somebody asks about children that it takes for ours."""
        absent = tuple([id for id in message.ids if self.is_absent(id)])
        self._ground.send(peer[0], Absent(self._ground.hub, message.number, absent), sum(map(len, absent)) + 64)

    def on_absent(self, peer: Origin, message: Absent) -> None:
        """A host says which of those that we asked about are none."""
        asked = self._asked.get(message.number)
        if asked is not None and asked[0] == peer:
            self._end(message.number, message.ids)

    def expired(self, number: int) -> None:
        """Nobody answered."""
        if number in self._asked:
            self._end(number, ())

    def _end(self, number: int, absent: tuple[bytes, ...]) -> None:
        _, ids, told = self._asked.pop(number)
        self._ground.cancel("asked", number)
        told(ids, absent)

    def close(self) -> None:
        """This node takes part no more."""
        self._asked.clear()
