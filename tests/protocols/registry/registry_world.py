"""Machines of hubs in one small world: rows are shown to all at once, letters arrive, and children do as they are told.

What is not to happen by itself is left out of `auto` or `delivers`; every effect stays to be looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from covey.core import children as c
from covey.core.claims import Freed, Id
from covey.core.errors import CoveyError
from covey.core.ids import Contact, Origin, Site
from covey.core.rows import (
    HoldInstance,
    ReleaseInstance,
    RowsChanged,
    SharedChanged,
    SharedRefused,
    SharedRow,
    Start,
    WriteRows,
    WriteShared,
)
from covey.core.vocabulary import (
    Emit,
    Liveness,
    LivenessChanged,
    MessagesReceived,
    Refuse,
    Resolve,
    SendData,
    Tick,
    TurnEnded,
    WantTurn,
)
from covey.protocols.registry import rows
from covey.protocols.registry import vocabulary as h
from covey.protocols.registry.config import RegistryConfig
from covey.protocols.registry.hub import Hub
from covey.protocols.registry.machine import Registry
from covey.wire.keys import encode_key
from tests.protocols.registry.obedient import change_row, obey

SECOND_US = 1_000_000
HUB = rows.PREFIX + encode_key("h")
START = "app:session"
NIL = b"\xc0"
SPEC = rows.Spec(START, b"\x92\x90\x80", rows.Restart.TRANSIENT, 5 * SECOND_US, 0)


def site(letter: str) -> Site:
    return Site(letter.encode() * 16)


def child(id: Any, spec: rows.Spec = SPEC) -> h.NewChild:
    return h.NewChild(encode_key(id), spec, b"\x80")


class Claims:
    """Nobody needs one, unless a test says until when each is held."""

    def __init__(self) -> None:
        self.leases: dict[Id, int] = {}
        self.told: Freed | None = None

    def lease_us(self, id: Id) -> int:
        return self.leases.get(id, 0)

    def freed(self, id: Id) -> Freed | None:
        return self.told


class RegistryWorld:
    """So many nodes, `a`, `b` …, of one hub."""

    def __init__(self, names: str = "a", config: RegistryConfig | None = None, **options: Any) -> None:
        self.now_us = 0
        self.auto: set[type] = {
            c.PrepareChild,
            c.StartChild,
            c.AskHandover,
            c.StopChild,
            c.DeliverToChild,
            c.AskResolver,
        }
        self.hidden: dict[tuple[Site, Site], None] = {}  # who does not see whom
        self.delivers: Callable[[Site, Any], bool] = lambda to, message: True
        self.refuses: Callable[[Any], CoveyError | None] = lambda change: None  # a change of a shared row
        self.machines: dict[Site, Registry] = {}
        self.claims: dict[Site, Claims] = {}
        self.said: dict[Site, list[Any]] = {}  # to the world of children
        self.sent: list[tuple[str, str, Any]] = []
        self.events: dict[Site, list[Any]] = {}
        self.outcomes: dict[int, Any] = {}
        self.shared: dict[bytes, SharedRow] = {}
        self.owned: dict[Site, dict[bytes, bytes]] = {}
        self.state: dict[bytes, bytes] = {}  # what children hand over
        self._queue: list[tuple[Site, Any]] = []
        self._turns: dict[Site, None] = {}
        self._dots: dict[Site, int] = {}
        self.born: list[bytes] = []  # the children of which births were written
        self._busy = False
        self._late: Site | None = None
        self._missed: list[tuple[Site, Any]] = []  # by it
        self._config = config or RegistryConfig()
        self._options = options
        for name in names:
            self.add(name)
        self.advance(4)  # who hears of nobody places after 3 s

    # --- nodes ------------------------------------------------------------------------------------------------------

    def add(self, name: str, *static: h.NewChild, request: int = 0, **options: Any) -> None:
        """One node more, which opens the hub and declares these."""
        me = site(name)
        claims = self.claims[me] = Claims()
        self.machines[me] = Registry(
            self._config, Random(name), self.now_us, me=Contact(me, 1, f"{name}:1"), rows=_View(self, me), claims=claims
        )
        self.said[me], self.events[me], self.owned[me] = [], [], {}
        for other in list(self.machines):
            for one, two in ((me, other), (other, me)):
                contact = Contact(two, 1, "x:1")
                self.feed(one, LivenessChanged(contact, Liveness.ALIVE, "a test"))
        said = {"name": name, "starts": (START,), "settings": "both", **self._options, **options}
        self.feed(me, h.OpenHub(request, HUB, h.HubOptions(**said), static))

    def vanish(self, name: str) -> None:
        """A node is gone: its rows are not shown any more, and nothing reaches it."""
        gone = site(name)
        del self.machines[gone]
        changes = tuple((key, None) for key in self.owned.pop(gone))
        self._to_all(RowsChanged(HUB, gone, 1, changes))
        self.settle()

    def hide(self, name: str, by: str) -> None:
        """A node is held for down by another one."""
        self.hidden[site(by), site(name)] = None
        self.give(by, RowsChanged(HUB, site(name), 1, tuple((key, None) for key in self.owned[site(name)])))

    def show(self, name: str, by: str) -> None:
        """And it is not any more."""
        del self.hidden[site(by), site(name)]
        self.give(by, RowsChanged(HUB, site(name), 1, tuple(self.owned[site(name)].items())))

    def hub(self, name: str) -> Hub:
        return self.machines[site(name)].hubs[HUB]

    # --- time -------------------------------------------------------------------------------------------------------

    def feed(self, to: Site, fact: Any) -> None:
        """One input, and all that follows from it."""
        self._queue.append((to, fact))
        self.settle()

    def together(self, *facts: tuple[Site, Any]) -> None:
        """Several inputs, before anything that follows from them comes to others."""
        self._queue += facts
        self.settle()

    def give(self, name: str, fact: Any) -> None:
        """The same, for a node by its name."""
        self.feed(site(name), fact)

    def settle(self) -> None:
        """Until nothing is left to be handled at this moment."""
        if self._busy:
            return
        self._busy = True
        try:
            while self._queue or self._turns:
                if not self._queue:
                    self._queue = [(to, TurnEnded()) for to in self._turns]
                    self._turns.clear()
                to, fact = self._queue.pop(0)
                machine = self.machines.get(to)
                if machine is not None:
                    for effect in machine.handle(fact, self.now_us):
                        self._carry_out(to, effect)
                    machine.check()
        finally:
            self._busy = False

    def advance(self, seconds: float) -> None:
        """Let time pass, alarm by alarm."""
        end_us = self.now_us + int(seconds * SECOND_US)
        while True:
            due = [(at, to) for to, one in self.machines.items() if (at := one.deadline()) is not None and at <= end_us]
            if not due:
                self.now_us = end_us
                return
            at, to = min(due)
            self.now_us = max(self.now_us, at)
            self.feed(to, Tick())

    # --- effects ----------------------------------------------------------------------------------------------------

    def _carry_out(self, me: Site, effect: Any) -> None:
        match effect:
            case WantTurn():
                self._turns[me] = None
            case Resolve(request, value):
                self.outcomes[request] = value
            case Refuse(request, error):
                self.outcomes[request] = error
            case Emit(event):
                self.events[me].append(event)
            case SendData(_, to, _, messages):
                kept = tuple(message for message in messages if self.delivers(to, message))
                self.sent += [(me[:1].decode(), to[:1].decode(), message) for message in messages]
                if kept:
                    self._queue.append((to, MessagesReceived(me, kept)))
            case WriteRows(_, changes):
                for key, value in changes:
                    self.owned[me].pop(key, None)
                    if value is not None:
                        self.owned[me][key] = value
                self._to_all(RowsChanged(HUB, me, 1, changes))
            case WriteShared(_, changes):
                refused = tuple((change, why) for change in changes if (why := self.refuses(change)) is not None)
                before = dict(self.shared)
                for change in changes:
                    if self.refuses(change) is None:
                        self._change(me, change)
                keys = dict.fromkeys(change.key for change in changes)
                shown = [(key, self.shared.get(key)) for key in keys if self.shared.get(key) != before.get(key)]
                if shown:
                    self._to_all(SharedChanged(HUB, tuple(shown)))
                if refused:
                    self._queue.append((me, SharedRefused(HUB, refused)))
            case HoldInstance():
                for owner, theirs in self.owned.items():
                    self._queue.append((me, RowsChanged(HUB, owner, 1, tuple(theirs.items()))))
                self._queue.append((me, SharedChanged(HUB, tuple(self.shared.items()))))
            case ReleaseInstance():
                gone = tuple((key, None) for key in self.owned[me])
                self.owned[me] = {}
                self._to_all(RowsChanged(HUB, me, 1, gone))
            case _:
                self.said[me].append(effect)
                if type(effect) in self.auto:
                    self._queue += [(me, fact) for fact in obey(effect, self.state)]

    def _to_all(self, fact: Any) -> None:
        for to in self.machines:
            (self._missed if to == self._late else self._queue).append((to, fact))

    def _change(self, me: Site, change: Any) -> None:
        self.born += [change.key] if type(change) is Start else []
        self._dots[me] = self._dots.get(me, 0) + 1
        change_row(self.shared, change, (me, 1, self._dots[me]))

    def late(self, name: str) -> None:
        """What changes in rows is shown to this node only when it has `caught_up`."""
        self._late = site(name) if name else None

    def caught_up(self) -> None:
        """Whatever was not shown yet is shown."""
        self._late, late = None, self._missed
        self._missed = []
        for to, fact in late:
            self.feed(to, fact)

    # --- what a test asks -------------------------------------------------------------------------------------------

    def take(self, name: str) -> list[Any]:
        """What a node said to its children since it was asked last."""
        said, self.said[site(name)] = self.said[site(name)], []
        return said

    def passed(self, kind: type) -> list[tuple[str, str]]:
        """Who sent messages of a kind to whom."""
        return [(one, other) for one, other, message in self.sent if type(message) is kind]

    def runs(self, id: Any) -> dict[str, str]:
        """Who shows that it runs a child, and how."""
        found = {}
        for owner, theirs in self.owned.items():
            value = theirs.get(rows.running_key(encode_key(id)))
            if value is not None:
                read = rows.read_running(rows.running_key(encode_key(id)), value)
                assert read is not None
                found[owner[:1].decode()] = read.state.name
        return found

    def copy(self, name: str, id: Any) -> c.Copy:
        """The copy that a node runs now."""
        return self.hub(name).hosting.hosted[encode_key(id)].copy

    def start(self, *ids: Any, by: str = "a", request: int = 1, **options: Any) -> h.StartOutcome | None:
        """Start children; returns the outcome if there is one yet."""
        spec = options.pop("spec", SPEC)
        timeout_us = options.pop("timeout_us", 10 * SECOND_US)
        self.give(by, h.StartChildren(request, HUB, tuple(child(id, spec) for id in ids), timeout_us, **options))
        return self.outcomes.get(request)

    def call(self, id: Any, request: int = 9, by: str = "a", timeout_us: int = 5 * SECOND_US, **options: Any) -> Any:
        """Call a child; returns what came of it if something has."""
        self.give(by, h.CallChild(request, HUB, encode_key(id), b"\x01", timeout_us, **options))
        return self.outcomes.get(request)

    def home(self, node: str, count: int = 1) -> list[int]:
        """The first ids that belong to a node."""
        view = self.hub("a").ground.places.view
        found = [id for id in range(200) if view.ranked(encode_key(id), START)[0].name == node]
        return found[:count]


class _View:
    """What the row machine would show."""

    driven: Any = None  # every hub here has Delta

    def __init__(self, world: RegistryWorld, me: Site) -> None:
        self._world = world
        self._me = me

    def holders(self, instance: bytes) -> list[Site]:
        world = self._world
        return [site for site in world.machines if world.owned.get(site) and (self._me, site) not in world.hidden]

    def is_told(self, instance: bytes) -> bool:
        return True


def life(name: str) -> Origin:
    return site(name), 1
