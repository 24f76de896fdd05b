"""Shown everywhere: who started children asks all others who take part when they show them, and is told once.

Rows come in no order between nodes, so who is asked cannot tell a child that is still to come from one that came and
went. Who asks can: what has ended there is not asked for any more, and what is not answered is asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from covey.core.errors import invariant
from covey.core.ids import Origin, Site
from covey.protocols.registry.ground import Ground
from covey.protocols.registry.rows import State
from covey.wire.messages.registry import LETTERS_MAX, Watch, Watched

WATCHED_MAX = 65_536  # ids that are kept for one peer; of more it hears when it asks again. Guess


class Part:
    """So many children of one request as fit into a message, and who does not show all of them yet."""

    __slots__ = ("ids", "left")

    def __init__(self, ids: Iterable[bytes], left: Iterable[Site]) -> None:
        self.ids = dict.fromkeys(ids)
        self.left = dict.fromkeys(left)


class Watching:
    """What we ask others to show, and what they ask us.

    Law: each request of ours is told once that all who take part show those of its children that have not ended, unless
    it ends before. Invariants: what is kept for others is found by child, and bounded for each of them.
    """

    def __init__(self, ground: Ground, shown: Callable[[int], None]) -> None:
        self._ground = ground
        self._shown = shown
        self._asked: dict[int, dict[int, Part]] = {}  # requests of ours, by the numbers that others know
        self._requests: dict[int, int] = {}  # of each number
        self._watches: dict[tuple[Origin, int], dict[bytes, None]] = {}  # what others want to know
        self._watchers: dict[bytes, dict[tuple[Origin, int], None]] = {}  # the same by child
        self._kept: dict[Origin, int] = {}  # how many ids that are

    def check(self) -> None:
        """Every invariant."""
        kept = [(watch, id) for watch, ids in self._watches.items() for id in ids]
        found = {(watch, id) for id, watches in self._watchers.items() for watch in watches}
        invariant(set(kept) == found, "what is kept for others is found by child")
        counts = {life: sum(watch[0] == life for watch, _ in kept) for life in self._kept}
        invariant(counts == self._kept and max(counts.values(), default=0) <= WATCHED_MAX, "it is counted and bounded")
        numbers = {number: request for request, parts in self._asked.items() for number in parts}
        invariant(numbers == self._requests, "what we asked has a number")

    # --- we ask -----------------------------------------------------------------------------------------------------

    def ask(self, request: int, children: Iterable[bytes]) -> None:
        """Ask everybody else who takes part now; who leaves is not waited for."""
        ground = self._ground
        sites = [site for site in ground.book.participants if site != ground.me[0]]
        ids = [id for id in children if id in ground.book.children]
        parts = self._asked[request] = {
            ground.wires.number(): Part(ids[at : at + LETTERS_MAX], sites) for at in range(0, len(ids), LETTERS_MAX)
        }
        self._requests |= dict.fromkeys(parts, request)
        self._ask(request)

    def ask_again(self, request: int) -> None:
        """Ask who has not answered, for what has not ended."""
        if request in self._asked:
            self._ask(request)

    def _ask(self, request: int) -> None:
        ground = self._ground
        for number, part in self._asked[request].items():
            self._say(number, part)
            if not part.ids:
                part.left.clear()
        ground.alarm("shown", request, ground.now_us + ground.config.retry_us)
        self._look(request)

    def _say(self, number: int, part: Part) -> None:
        ids = tuple(part.ids)
        for site in part.left:
            self._ground.send(site, Watch(self._ground.hub, number, ids), sum(map(len, ids)) + 64)

    def who(self, request: int) -> list[tuple[bytes, Site]]:
        """What of a request of ours is not shown, or not said to be, and by whom."""
        parts = self._asked.get(request, {}).values()
        return [(id, site) for part in parts for site in part.left for id in part.ids]

    def forget(self, request: int) -> None:
        """It waits no more: nor does anybody who was asked."""
        for number, part in self._asked.pop(request, {}).items():
            del self._requests[number]
            part.ids.clear()
            self._say(number, part)
        self._ground.cancel("shown", request)

    def on_watched(self, site: Site, number: int) -> None:
        """One participant shows one part."""
        request = self._requests.get(number)
        if request is not None:
            self._asked[request][number].left.pop(site, None)
            self._look(request)

    def _look(self, request: int) -> None:
        takes_part = self._ground.book.participants
        waits = False
        for part in self._asked[request].values():
            for site in [site for site in part.left if site not in takes_part]:
                del part.left[site]
            waits = waits or bool(part.left)
        if not waits:
            self.forget(request)
            self._shown(request)

    def _ended(self, id: bytes) -> None:
        """A child is none any more: if we asked for it, whoever has not answered is asked without it."""
        ground = self._ground
        for request, parts in self._asked.items():
            for part in parts.values():
                if id in part.ids:
                    del part.ids[id]
                    ground.alarm_unless_sooner("shown", request, ground.now_us + ground.config.announce_us)

    # --- others ask -------------------------------------------------------------------------------------------------

    def on_watch(self, peer: Origin, message: Watch) -> None:
        """Somebody wants to know when these are shown here; of one number only what was asked last."""
        watch = peer, message.number
        self._drop(watch)
        ids = {id: None for id in message.ids if not self._is_shown(id)}
        if not ids:
            self._ground.send(peer[0], Watched(self._ground.hub, message.number))
        elif self._ground.is_here(peer) and self._kept.get(peer, 0) + len(ids) <= WATCHED_MAX:
            self._watches[watch] = ids
            self._kept[peer] = self._kept.get(peer, 0) + len(ids)
            for id in ids:
                self._watchers.setdefault(id, {})[watch] = None

    def _is_shown(self, id: bytes) -> bool:
        return any([one.state is not State.STARTING for one in self._ground.book.copies(id).values()])

    def touched(self, id: bytes) -> None:
        """A child is shown otherwise."""
        if not self._asked and not self._watchers:
            return
        gone = id not in self._ground.book.children
        if gone and self._asked:
            self._ended(id)
        if id in self._watchers and (gone or self._is_shown(id)):
            for watch in list(self._watchers[id]):
                self._found(watch, id)
                if not self._watches[watch]:
                    del self._watches[watch]
                    self._ground.send(watch[0][0], Watched(self._ground.hub, watch[1]))

    def _found(self, watch: tuple[Origin, int], id: bytes) -> None:
        del self._watches[watch][id]
        del self._watchers[id][watch]
        if not self._watchers[id]:
            del self._watchers[id]
        self._kept[watch[0]] -= 1
        if not self._kept[watch[0]]:
            del self._kept[watch[0]]

    def _drop(self, watch: tuple[Origin, int]) -> None:
        for id in list(self._watches.get(watch, ())):
            self._found(watch, id)
        self._watches.pop(watch, None)

    # --- both -------------------------------------------------------------------------------------------------------

    def gone(self, life: Origin) -> None:
        """A participant is gone: it is not waited for, and wants to know nothing."""
        for watch in [watch for watch in self._watches if watch[0] == life]:
            self._drop(watch)
        for request in list(self._asked):
            self._look(request)

    def close(self) -> None:
        """This node takes part no more."""
        self._asked.clear()
        self._requests.clear()
        self._watches.clear()
        self._watchers.clear()
        self._kept.clear()
