"""What the rooms of one hub stand on: its rows, its view, time, and the way out."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Protocol

import msgspec

from covey.core.clock import EPOCH_MAX, STAMP_MAX, HybridClock
from covey.core.ids import Contact, Origin, Site
from covey.core.rows import Put, Remove, SharedWrite, Start, WriteRows, WriteShared
from covey.core.timers import Timers
from covey.protocols.registry.book import Book
from covey.protocols.registry.config import RegistryConfig
from covey.protocols.registry.places import Places
from covey.protocols.registry.strategies.strategy import Member
from covey.protocols.registry.synchronizing import WholeView
from covey.protocols.registry.vocabulary import HubOptions
from covey.wire.messages.registry import NIL, ChildAnswer

Effect = Any


class RowsView(Protocol):
    """What a hub may ask the row machine."""

    def holders(self, instance: bytes) -> list[Site]:
        """Who holds an instance, as far as is shown here, we included."""
        ...

    def is_told(self, instance: bytes) -> bool:
        """Whether all that is shown of an instance has been told in `RowsChanged`."""
        ...

    @property
    def driven(self) -> WholeView:
        """What it can tell where a strategy says when and to whom."""
        ...


class Wires:
    """What this node says to others about any hub: gathered, and sent at the end of the turn."""

    def __init__(self, me: Contact) -> None:
        self.me = me
        self.lives: dict[Site, Contact] = {}  # the latest that is known of each site
        self.linked: dict[Site, int] = {}  # the life on the other end of a data link
        self.doubted: dict[Origin, int] = {}  # lives that others hold for down and we are linked to; until when
        self._unsent: dict[Site, list[tuple[Any, int]]] = {}
        self._number = 0

    def number(self) -> int:
        """One that was not drawn before in this process, whatever hubs were closed and opened again."""
        self._number += 1
        return self._number

    @property
    def life(self) -> Origin:
        """Ours."""
        return self.me.site, self.me.incarnation

    def is_doubtful(self, now_us: int) -> bool:
        """Whether somebody was just said to be down whose link says otherwise: if it lives, it is about to say so.

        After a split has healed, each side hears of the other that those around it are down.
        """
        self.doubted = {life: until_us for life, until_us in self.doubted.items() if until_us > now_us}
        return bool(self.doubted)

    def is_over(self, life: Origin) -> bool:
        """Whether a later life of its site is known, or the site belongs no more."""
        known = self.lives.get(life[0])
        return known is None or known.incarnation > life[1]

    @property
    def unsent(self) -> bool:
        """Whether something is to be said."""
        return bool(self._unsent)

    def put(self, site: Site, message: Any, size: int) -> None:
        """Say this to a node at the end of the turn."""
        self._unsent.setdefault(site, []).append((message, size))

    def take(self) -> dict[Site, list[tuple[Any, int]]]:
        """Everything that was gathered."""
        unsent, self._unsent = self._unsent, {}
        return unsent


class Ground:
    """One hub's rows, view, clock and ways out; its rooms change what they own and say what follows through it.

    Effects come out in the order in which they were said; rows are written together, before what waits for them.
    """

    def __init__(
        self,
        config: RegistryConfig,
        hub: bytes,
        options: HubOptions,
        *,
        rng: Random,
        clock: HybridClock,
        timers: Timers[tuple[Any, ...]],
        wires: Wires,
        rows: RowsView,
        leases: Callable[[tuple[bytes, bytes]], int],
        seen: int = 0,
    ) -> None:
        self.config = config
        self.hub = hub
        self.options = options
        self.rng = rng
        self.wires = wires
        self.rows = rows
        self.book = Book()
        self.places = Places()
        self.effects: list[Effect] = []
        self.looks: dict[bytes, None] = {}  # children to be looked at: something about them changed
        self.begun: dict[bytes, None] = {}  # children whose rows began here and are not shown yet
        self.removed: dict[bytes, None] = {}  # children whose rows were removed from here and are shown yet
        self.closing = 0  # the request to close, or -1 for one that nobody waits for
        self.opened_us = 0
        self.now_us = 0  # of what is handled
        self.ready = False  # this node places children
        self._clock = clock
        self.highest = seen  # epoch of this hub that was seen or drawn
        self.seen = seen  # the same when this life had it open before: what was born by then it may have run
        self._timers = timers
        self._leases = leases
        self._owned: list[tuple[bytes, bytes | None]] = []
        self._shared: list[SharedWrite] = []

    @property
    def me(self) -> Origin:
        """Our life."""
        return self.wires.life

    @property
    def fenced(self) -> bool:
        """Whether a child runs only with a claim."""
        return bool(self.options.voters)

    # --- out --------------------------------------------------------------------------------------------------------

    def say(self, effect: Effect) -> None:
        """An effect, behind those that were said before."""
        self.effects.append(effect)

    def send(self, site: Site, message: Any, size: int = 128) -> None:
        """A message to another node of this hub, at the end of the turn."""
        self.wires.put(site, message, size)

    def answer(
        self, to: Origin, number: int, attempt: int, kind: int, payload: bytes = NIL, host: Site | None = None
    ) -> None:
        """Tell a caller elsewhere what became of its letter."""
        message = ChildAnswer(self.hub, to[1], number, attempt, kind, msgspec.Raw(payload), host)
        self.send(to[0], message, len(payload) + 64)

    def write(self, key: bytes, value: bytes | None) -> None:
        """Change a row of our own."""
        self._owned.append((key, value))

    def begin(self, id: bytes, value: bytes) -> None:
        """A child's row begins."""
        self.begun[id] = None
        self._shared.append(Start(id, value))

    def put(self, id: bytes, field: bytes, value: bytes) -> None:
        """A field of a child's row is this from now on."""
        self._shared.append(Put(id, field, value))

    def remove(self, id: bytes) -> None:
        """A child's row goes."""
        self.removed[id] = None
        self.begun.pop(id, None)
        self._shared.append(Remove(id))

    def take_back(self, id: bytes, birth: int) -> bool:
        """What was started from here under this epoch goes; returns whether others want a child of this id too."""
        child = self.book.children.get(id)
        if child is None:
            self.remove(id)
            return False
        births = zip(child.births, child.begun, strict=True)
        ours = tuple([dot for dot, epoch in births if epoch == birth and dot[:2] == self.me])
        if len(ours) == len(child.births):
            self.remove(id)
            return False
        if ours:
            self._shared.append(Remove(id, ours))
        return True

    def flush(self) -> list[Effect]:
        """All that was said, the rows first: what others hear of a child they can find."""
        effects: list[Effect] = []
        if self._shared:
            effects.append(WriteShared(self.hub, tuple(self._shared)))
            self._shared = []
        if self._owned:
            effects.append(WriteRows(self.hub, tuple(self._owned)))
            self._owned = []
        if self.effects:
            effects += self.effects
            self.effects = []
        return effects

    def draw(self) -> int:
        """A number that nobody else has."""
        return 1 + self.rng.getrandbits(52)

    # --- time -------------------------------------------------------------------------------------------------------

    def alarm(self, what: str, key: Any, at_us: int) -> None:
        """Have `what` happen to `key` at that time."""
        self._timers.set((self.hub, what, key), at_us)

    def alarm_unless_sooner(self, what: str, key: Any, at_us: int) -> None:
        """The same, unless it happens sooner already."""
        self._timers.set_earlier((self.hub, what, key), at_us)

    def cancel(self, what: str, key: Any) -> None:
        """It does not happen."""
        self._timers.cancel((self.hub, what, key))

    def epoch(self, above: int, now_us: int) -> int:
        """A new fencing token, above `above` and all that were seen.

        However far these lie above our clock, and whoever wrote them. But where voters have the last word they know
        what was, and grant nothing that lies far ahead.
        """
        self.heed(above, now_us)
        stamp = self._clock.stamp(now_us)
        if self.fenced:
            return stamp
        self.highest = max(stamp, self.highest + 1)
        return min(max(self.highest, above + 1), STAMP_MAX - 1)

    def first_epoch(self, epoch: int, now_us: int) -> int:
        """The token of whoever runs a child first: that of its birth, unless voters would grant no such one."""
        return self.epoch(0, now_us) if self.fenced and not self._clock.accept(epoch, now_us) else epoch

    def heed(self, epoch: int, now_us: int) -> None:
        """An epoch was seen: those of ours lie above it, unless that leaves no room for higher ones."""
        self._clock.accept(epoch, now_us)
        if epoch <= EPOCH_MAX:
            self.highest = max(self.highest, epoch)

    def leased(self, id: bytes, now_us: int) -> bool:
        """Whether a child may be served at this moment."""
        return not self.fenced or self.lease_us(id) > now_us

    def lease_us(self, id: bytes) -> int:
        """Until when, on our clock, a child may be served."""
        return self._leases((self.hub, id))

    # --- the view ---------------------------------------------------------------------------------------------------

    def is_here(self, life: Origin) -> bool:
        """Whether a life takes part, as far as is shown."""
        known = self.book.participants.get(life[0])
        return known is not None and known.incarnation == life[1]

    def life_of(self, site: Site) -> Origin | None:
        """The life of a site that takes part."""
        known = self.book.participants.get(site)
        return None if known is None else (known.site, known.incarnation)

    def members(self) -> tuple[Member, ...]:
        """The others who hold the rows of this hub, in order, with the names they are known by."""
        return tuple(self._member(site) for site in sorted(self.rows.holders(self.hub)) if site != self.me[0])

    def myself(self) -> Member:
        """This node."""
        return Member(self.me[0], self.options.name)

    def _member(self, site: Site) -> Member:
        known = self.book.participants.get(site)
        return Member(site, "" if known is None else known.name)

    def is_complete(self) -> bool:
        """Whether we know of everybody who holds the rows of this hub what it runs, as far as it can be known.

        Rows of one owner come all at once, or in the order in which it wrote them, and the first says that it takes
        part: so whoever takes part was heard out.
        """
        if not self.rows.is_told(self.hub) or self.wires.is_doubtful(self.now_us):
            return False
        return all(site in self.book.participants for site in self.rows.holders(self.hub))
