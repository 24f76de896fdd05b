"""Shown everywhere: who started children asks all others who take part when they show them, and is told once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from covey.core.ids import Origin, Site
from covey.protocols.registry.ground import Ground
from covey.protocols.registry.rows import RUNS, Running
from covey.protocols.registry.vocabulary import Place
from covey.wire.messages.registry import LETTERS_MAX, Watch, Watched

WATCHES_MAX = 1_024  # of others: the oldest is forgotten, and its batch ends with its deadline. Guess


class Watching:
    """What we ask others to show, and what they ask us.

    Law: each request of ours is told once that all who take part show its children, unless it ends before.
    """

    def __init__(self, ground: Ground, shown: Callable[[int], None]) -> None:
        self._ground = ground
        self._shown = shown
        self._asked: dict[int, dict[Site, None]] = {}  # requests of ours, and who does not show all of it yet
        self._watches: dict[tuple[Origin, int], dict[bytes, None]] = {}  # what others want to know

    # --- we ask -----------------------------------------------------------------------------------------------------

    def ask(self, request: int, children: Iterable[bytes]) -> None:
        """Ask everybody else who takes part now, once; who leaves is not waited for."""
        ground = self._ground
        asked = self._asked[request] = {site: None for site in ground.book.participants if site != ground.me[0]}
        ids = tuple(children)
        parts = [ids[at : at + LETTERS_MAX] for at in range(0, len(ids), LETTERS_MAX)]
        for site in asked:
            for at, part in enumerate(parts):
                last = at == len(parts) - 1
                ground.send(site, Watch(ground.hub, request if last else 0, part), sum(map(len, part)) + 64)
        self._look(request)

    def who(self, request: int) -> list[Site]:
        """Who does not show what a request of ours asked for."""
        return list(self._asked.get(request, ()))

    def forget(self, request: int) -> None:
        """It waits no more."""
        self._asked.pop(request, None)

    def on_watched(self, site: Site, number: int) -> None:
        """One participant shows a batch."""
        if number in self._asked:
            self._asked[number].pop(site, None)
            self._look(number)

    def _look(self, request: int) -> None:
        asked = self._asked[request]
        for site in [site for site in asked if site not in self._ground.book.participants]:
            del asked[site]
        if not asked:
            del self._asked[request]
            self._shown(request)

    # --- others ask -------------------------------------------------------------------------------------------------

    def on_watch(self, peer: Origin, message: Watch) -> None:
        """Somebody wants to know when these are shown here. What comes in parts is told for the last, in order."""
        book, key = self._ground.book, (peer, message.number)
        ids = {id: None for id in message.ids if not runs(id, book.running(id))}
        waiting = self._watches.pop((peer, 0), {}) | ids
        if len(self._watches) >= WATCHES_MAX:
            del self._watches[next(iter(self._watches))]
        if not message.number:
            self._watches[peer, 0] = waiting
        elif waiting:
            self._watches[key] = waiting
        else:
            self._ground.send(peer[0], Watched(self._ground.hub, message.number))

    def touched(self, id: bytes) -> None:
        """A child is shown otherwise."""
        if self._watches and (id not in self._ground.book.children or runs(id, self._ground.book.running(id))):
            for watch in [watch for watch, ids in self._watches.items() if id in ids]:
                self._look_at_watch(watch, id)

    def _look_at_watch(self, watch: tuple[Origin, int], id: bytes) -> None:
        ids = self._watches[watch]
        del ids[id]
        peer, number = watch
        if not ids and number:
            del self._watches[watch]
            self._ground.send(peer[0], Watched(self._ground.hub, number))

    # --- both -------------------------------------------------------------------------------------------------------

    def gone(self, life: Origin) -> None:
        """A participant is gone: it is not waited for, and wants to know nothing."""
        for watch in [watch for watch in self._watches if watch[0] == life]:
            del self._watches[watch]
        for request in list(self._asked):
            self._look(request)

    def close(self) -> None:
        """This node takes part no more."""
        self._asked.clear()
        self._watches.clear()


def runs(id: bytes, running: dict[Origin, Running]) -> Place | None:
    """Where a child runs, if it does."""
    return next((Place(id, life, one) for life, one in running.items() if one.state in RUNS), None)
