"""One simulated process: the shipped engine, gate and pump, with the world's hands."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.core.vocabulary import Emit, Refuse, Resolve, Tick, TurnEnded, WantTurn
from covey.engine.engine import Engine, EngineConfig
from covey.engine.gate import Gate, Store
from covey.engine.pump import Pump
from covey.observe.stories import Stories
from covey.protocols.links.handshake import Identity
from covey.protocols.links.vocabulary import CloseConnection, OpenConnection, Write
from covey.sim.disk import Disk

if TYPE_CHECKING:
    from covey.sim.world import World


class SimNode:
    """A process in the simulated world. It is replaced by a new object when it restarts; its index stays."""

    def __init__(
        self,
        world: World,
        index: int,
        address: str,
        site: Site,
        incarnation: int,
        config: EngineConfig,
        cluster: bytes,
        rng: Random,
        disk: Disk,
        number: int,
    ) -> None:
        self.world = world
        self.index = index
        self.address = address
        self.config = config
        self.number = number  # of the process, in the order of starting
        self.identity = Identity(cluster, site, incarnation, rng.randbytes(16), b"simulated")  # type: ignore[arg-type]
        self.disk = disk
        self.alive = True
        self.retired = False  # ended for good
        self.vanished = False  # ended without a word, and the machine with it
        self.started_us = world.now_us
        self.paused_since_us = 0
        self.paused_until_us = 0
        self.syncing = False  # a transaction is under way
        self.backlog: list[tuple[bool, Callable[[], None]]] = []  # (is an alarm, what to do) for a stopped process
        self.events: list[Any] = []
        self.outcomes: dict[int, Any] = {}
        self.hands: dict[type, Callable[[Any], None]] = {}  # of whoever runs children here
        self.stories = Stories(lines_max=200)
        logs = {log: disk.durable(log) for log in Engine.durable_logs}
        self.engine = Engine(config, self.identity, self.address, rng, rng, world.now_us, logs, world.meta_of(index))
        self.gate = Gate(config.gate)
        self.pump = Pump(self.engine, self.gate, self.execute, self._observe)
        self._touched: dict[str, None] = {}
        self._alarm_us: int | None = None
        self._turn_wanted = False

    @property
    def site(self) -> Site:
        return self.identity.site

    @property
    def incarnation(self) -> int:
        """The life it leads just now: a site that joins again begins a later one while it runs."""
        return self.engine.membership.me.incarnation

    @property
    def durable(self) -> bool:
        """Whether it keeps its site when it starts again."""
        return not self.config.membership.ephemeral

    def well(self, since_us: int) -> bool:
        """Whether its process has run without a pause since then."""
        return self.alive and self.started_us <= since_us and self.paused_until_us <= since_us

    def feed(self, incoming: Any) -> None:
        """Give the node a fact now, and check whatever it touched."""
        if not self.alive:
            return
        self.world.trace(self.index, incoming)
        self.pump.feed(incoming, self.world.now_us)
        for name in self._touched:
            self.engine.machines[name].check()
        self._touched.clear()
        self.gate.check()
        self._set_alarm()

    def execute(self, effect: Any) -> None:
        """The world's side of the pump."""
        match effect:
            case Write(connection, data):
                self.world.sockets.write(self, connection, data)
            case WantTurn():
                if not self._turn_wanted:
                    self._turn_wanted = True
                    self.world.schedule(self.world.now_us, self.index, self._end_turn)
            case OpenConnection(connection, address):
                self.world.sockets.open(self, connection, address)
            case CloseConnection(connection):
                self.world.sockets.close(self, connection)
            case Emit(event):
                self.events.append(event)
                self.world.on_event(self, event)
            case Resolve(request, value):
                invariant(request not in self.outcomes, "every request has one outcome")
                self.outcomes[request] = value
            case Refuse(request, error):
                invariant(request not in self.outcomes, "every request has one outcome")
                self.outcomes[request] = error
            case Store():
                self.world.store(self, effect)
            case _ if type(effect) in self.hands:
                self.hands[type(effect)](effect)
            case _:
                raise AssertionError(f"the world does not know the effect {effect!r}")

    def _end_turn(self) -> None:
        self._turn_wanted = False
        self.feed(TurnEnded())

    def _observe(self, now_us: int, machine: str, incoming: Any, effects: Any) -> None:
        if effects or type(incoming) is not Tick:  # all hear a Tick; who has nothing to say had nothing due
            self._touched[machine] = None
        for watch in self.world.watches:
            watch.observed(self, machine, incoming, effects)
        if self.world.telling:
            self.stories.observe(now_us, machine, incoming, effects)

    def _set_alarm(self) -> None:
        due_us = self.pump.deadline()
        if due_us is None or (self._alarm_us is not None and self._alarm_us <= due_us):
            return
        self._alarm_us = due_us
        self.world.schedule(max(due_us, self.world.now_us), self.index, self._ring, is_alarm=True)

    def _ring(self) -> None:
        self._alarm_us = None
        due_us = self.pump.deadline()
        if due_us is not None and due_us <= self.world.now_us:
            self.feed(Tick())
        else:
            self._set_alarm()
