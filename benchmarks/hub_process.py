"""One node of a cluster with a hub, steered by lines on its input; it answers each with a JSON line.

Its only argument and its first line are those of `member_process`. Then, each with the event that answers it:

- `hub COUNT WEIGHT STRATEGY`: take part with that weight, until COUNT nodes do: `in`. `out`: take part no more: `out`;
- `start COUNT`: that many children, in batches of 10,000: `started`. `drop`: stop them all: `dropped`;
- `see COUNT`: `looking`, and `seen` when so many run somewhere; `whole COUNT`: the same on COUNT nodes: `whole`;
- `look COUNT`: look one child up so often, and find one by its tag: `looked`;
- `ping COUNT`: so many calls of a child here, and of one elsewhere, one after the other: `rtt`;
- `flood COUNT`: so many calls of children anywhere, 100 at a time: `flooded`;
- `note`: remember how long after its start each child is shown here: `noting`; `noted`: these times: `times`;
- `one COUNT`: start so many, one after the other: `ones`. `busy`: call without pause until `calm`: `calm`.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import Any

import msgspec

import covey
from benchmarks.member_process import Covey, Orders, say, serve
from benchmarks.processes import percentile, run

BATCH = 10_000
WHO, TAGS = 100, 1_000  # at a time; each tag is borne by one child in a thousand
LONG_S = 300.0
STRATEGIES = {"Delta": covey.Delta, "PubSub": covey.PubSub, "Gossip": covey.Gossip}


async def child(ctx: covey.Context) -> None:
    """Answers what it is asked."""
    async for call in ctx.mailbox:
        call.reply(call.payload)


class HubNode(Covey):
    """A node, and what it is told to do."""

    def __init__(self, orders: Orders) -> None:
        super().__init__(orders)
        self._hub: Any = None
        self._ids: list[str] = []
        self._noting: asyncio.Task[None] | None = None
        self._times: list[float] = []
        self._busy: asyncio.Task[None] | None = None

    async def obey(self, line: str) -> None:
        """Do what a line says."""
        command, *words = line.split()
        await getattr(self, f"do_{command}")(*(int(word) if word.isdecimal() else word for word in words))

    # --- children ---------------------------------------------------------------------------------------------------

    async def do_hub(self, count: int, weight: int, strategy: str) -> None:
        begin_s, synchronization = time.monotonic(), STRATEGIES[strategy]()
        hub = self.node.hub(
            "benchmark", children=[child], on_split="both", weight=weight, synchronization=synchronization
        )
        self._hub = await hub.start()
        async with self._hub.events(1_000_000) as events:
            while len(self._hub.nodes()) < count:
                await anext(events)
        say("in", seconds=time.monotonic() - begin_s)

    async def do_out(self) -> None:
        await self._hub.aclose()
        say("out")

    def _spec(self, id: str, number: int) -> covey.ChildSpec[Any]:
        return covey.ChildSpec(id, child).with_options(metadata={"tag": f"t{number % TAGS}", "at": time.monotonic()})

    async def do_start(self, count: int) -> None:
        begin_s, first = time.monotonic(), len(self._ids)
        for at in range(first, first + count, BATCH):
            specs = [self._spec(f"child-{number}", number) for number in range(at, min(at + BATCH, first + count))]
            (await self._hub.start_children(specs, timeout=LONG_S)).raise_for_errors()
            self._ids += [str(spec.id) for spec in specs]
        say("started", seconds=time.monotonic() - begin_s)

    async def do_drop(self) -> None:
        begin_s = time.monotonic()
        (await self._hub.stop_children(self._ids, timeout=LONG_S)).raise_for_errors()
        self._ids.clear()
        say("dropped", seconds=time.monotonic() - begin_s)

    async def do_see(self, count: int) -> None:
        say("looking")
        await self._until(lambda: self._running() >= count)
        say("seen")

    async def do_whole(self, nodes: int) -> None:
        count = len(self._hub.children())
        say("watching")
        await self._until(lambda: len(self._hub.nodes()) == nodes and self._running() == count)
        say("whole", children=count)

    def _running(self) -> int:
        book = self._hub._open().machine.book
        return sum(1 for id in book.children if book.running(id))

    async def _until(self, holds: Any) -> None:
        async with self._hub.events(1_000_000) as events:
            while not holds():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.02):  # many events are one look
                        while True:
                            await anext(events)

    # --- asking -----------------------------------------------------------------------------------------------------

    async def do_look(self, count: int) -> None:
        hub, id = self._hub, str(self._hub.children()[0])
        hub.lookup(id)
        begin_s = time.perf_counter()
        for _ in range(count):
            hub.lookup(id)
        lookup_s = (time.perf_counter() - begin_s) / count
        begin_s = time.perf_counter()
        for number in range(100):
            hub.find(tag=f"t{number}")
        say("looked", lookup_ns=lookup_s * 1e9, find_us=(time.perf_counter() - begin_s) / 100 * 1e6)

    async def do_ping(self, count: int) -> None:
        figures: dict[str, float] = {}
        for where in ("local", "remote"):
            here = where == "local"
            ids = [one.id for one in self._hub.dump().values() if (one.site == self.node.site) is here]
            times = await self._ping(ids[0], count)
            figures |= {f"{where}_p50": percentile(times, 0.5), f"{where}_p99": percentile(times, 0.99)}
        say("rtt", **figures)

    async def _ping(self, id: Any, count: int) -> list[float]:
        times: list[float] = []
        for number in range(count):
            begin_s = time.perf_counter()
            await self._hub.call(id, number)
            times.append((time.perf_counter() - begin_s) * 1e6)
        return sorted(times)

    async def do_flood(self, count: int) -> None:
        ids = self._hub.children()[:1_000]

        async def some(first: int) -> None:
            for number in range(first, count, WHO):
                await self._hub.call(ids[number % len(ids)], number, timeout=60)

        begin_s = time.monotonic()
        await asyncio.gather(*[some(number) for number in range(WHO)])
        say("flooded", seconds=time.monotonic() - begin_s)

    async def do_busy(self) -> None:
        id, times = self._hub.children()[0], self._times
        times.clear()

        async def ask() -> None:
            while True:
                begin_s = time.monotonic()
                await self._hub.call(id, 0)
                times.append((time.monotonic() - begin_s) * 1e3)
                await asyncio.sleep(0.005)  # it asks how long a call takes, and is not to be the load itself

        self._busy = asyncio.create_task(ask(), name="busy")
        say("busy")

    async def do_calm(self) -> None:
        assert self._busy is not None
        self._busy.cancel()
        self._times.sort()
        say("calm", p99_ms=percentile(self._times, 0.99), calls=len(self._times))

    # --- how soon others see it -------------------------------------------------------------------------------------

    async def do_note(self) -> None:
        self._times.clear()
        ready = asyncio.Event()

        async def note() -> None:
            async with self._hub.events(1_000_000) as events:
                ready.set()
                async for event in events:
                    if isinstance(event, covey.ChildRegistered):
                        self._times.append((time.monotonic() - event.child.metadata["at"]) * 1e3)

        self._noting = asyncio.create_task(note(), name="note")
        await ready.wait()
        say("noting")

    async def do_noted(self) -> None:
        assert self._noting is not None
        self._noting.cancel()
        say("times", times=self._times)

    async def do_one(self, count: int) -> None:
        for number in range(count):
            await self._hub.start_child(self._spec(f"one-{number}", number))
            await asyncio.sleep(0.002)  # each start by itself: what waits in one turn would be measured together
        say("ones")


if __name__ == "__main__":
    orders = msgspec.json.decode(sys.argv[1], type=Orders)
    node = HubNode(orders)
    run(serve(node, node.obey))
