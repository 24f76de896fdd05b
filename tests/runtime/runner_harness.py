"""A runner with everything around it faked: its machine, its transport, its clocks."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from covey.core.ids import Contact, Site
from covey.core.vocabulary import (
    AddressLearned,
    LoopLagged,
    MessagesReceived,
    Stop,
    Tick,
    TurnEnded,
    WallOffset,
    WantTurn,
)
from covey.engine.gate import Gate, GateConfig, Persisted
from covey.protocols.links.vocabulary import BytesReceived, CloseLinks
from covey.protocols.overlay.vocabulary import LeaveOverlay, SeedsResolved
from covey.runtime.runner import Runner
from covey.testing import Cluster, run

SECOND_US = 1_000_000
ME = Contact(Site(bytes(16)), 1, "")


class Say(msgspec.Struct, frozen=True):
    """A command: the machine says these effects."""

    effects: tuple[Any, ...] = ()


class Fail(msgspec.Struct, frozen=True):
    """A command: the machine raises this."""

    error: Exception


HEARD = (
    Say, Fail, Tick, WallOffset, AddressLearned, BytesReceived, TurnEnded, CloseLinks, Stop, LeaveOverlay,
    SeedsResolved, Persisted, LoopLagged,
)  # fmt: skip


class Scripted:
    """A machine that writes down what it hears, and says what it is told to."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, Any]] = []
        self.due_us: int | None = None
        self.turns = 0  # how many more it wants, one after the other

    def handle(self, incoming: Any, now_us: int) -> Sequence[Any]:
        self.heard.append((now_us, incoming))
        match incoming:
            case Say(effects):
                return effects
            case Fail(error):
                raise error
            case TurnEnded() if self.turns:
                self.turns -= 1
                return (WantTurn(),)
            case Tick():
                if self.due_us is not None and self.due_us <= now_us:
                    self.due_us = None
        return ()

    def deadline(self) -> int | None:
        return self.due_us

    def check(self) -> None: ...

    def statistics(self) -> msgspec.Struct:
        return Say()

    def of(self, kind: type) -> list[Any]:
        return [incoming for _, incoming in self.heard if type(incoming) is kind]


class ScriptedEngine:
    """One machine that hears everything."""

    def __init__(self, durable: bool) -> None:
        self.machine = Scripted()
        self.machines: dict[str, Any] = {"scripted": self.machine}
        self.routes: dict[type, Any] = dict.fromkeys(HEARD, (("scripted", self.machine),))
        self.durable = frozenset({"scripted"}) if durable else frozenset[str]()

    def split(self, incoming: MessagesReceived) -> Any:
        raise NotImplementedError


class FakeTransport:
    """Writes down what it is told, and reads when a test says so."""

    def __init__(self) -> None:
        self.sink: Callable[[Any], None] = lambda fact: None
        self.local_host: Callable[[str], None] = lambda host: None
        self.reads = 0
        self.told: list[Any] = []

    async def listen(self, address: str) -> str:
        return address.replace(":0", ":7777")

    def open(self, connection: int, address: str) -> None:
        self.told.append(("open", connection, address))

    def write(self, connection: int, data: bytes) -> None:
        self.told.append(("write", connection, data))

    def close(self, connection: int) -> None:
        self.told.append(("close", connection))

    def pause_reading(self) -> None:
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")

    async def aclose(self) -> None:
        self.told.append("aclose")

    def read(self, data: bytes = b"x") -> None:
        """What the event loop does when bytes are there."""
        self.reads += 1
        self.sink(BytesReceived(1, data))


class Outside:
    """The loop's clock and a wall clock, both of which a test may move."""

    def __init__(self) -> None:
        self.stalled_us = 0
        self.wall_offset_us = 1_700_000_000_000_000

    def monotonic_us(self) -> int:
        return int(asyncio.get_running_loop().time() * 1e6) + self.stalled_us

    def wall_us(self) -> int:
        return self.monotonic_us() + self.wall_offset_us

    def rng(self) -> random.Random:
        return random.Random(0)

    def nonces(self) -> random.Random:
        return random.Random(0)

    def transport(self, tls: Any) -> Any:
        raise NotImplementedError

    def watchdog(self) -> Any:
        raise NotImplementedError


class Bench:
    """A runner with everything around it faked."""

    def __init__(self, durable: bool = False, held_max: int = 100_000) -> None:
        engine: Any = ScriptedEngine(durable)
        self.machine: Scripted = engine.machine
        self.transport = FakeTransport()
        self.outside = Outside()
        self.events: list[Any] = []
        self.runner = Runner(
            engine, Gate(GateConfig(held_max=held_max)), self.transport, contact=ME, seeds=[],
            on_event=self.events.append, environment=self.outside,
        )  # fmt: skip

    def ticks(self) -> int:
        return len(self.machine.of(Tick))


def on_bench(test: Callable[[Bench], Any], listen: str = "127.0.0.1:0", **options: Any) -> None:
    """Run `test(bench)` on the virtual clock with a runner that has started."""

    async def main(_: Cluster) -> None:
        bench = Bench(**options)
        await bench.runner.start(listen)
        await test(bench)
        await bench.runner.close()

    run(main)
