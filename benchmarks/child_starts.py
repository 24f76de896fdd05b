"""What starting children costs the node that runs them: no network, no machine, only tasks and their supervisor.

    python -m benchmarks.child_starts --json

`start_us`: CPU time from the first `StartChild` of a batch until `ChildStarted` of the last, by child; each child is a
coroutine that waits for its first letter. `bare_us`: the same for `loop.create_task` alone, with a coroutine that waits
for a future: what asyncio itself takes of it. `letter_us`: one call of a child and its answer. `end_us`: CPU time
from the first `StopChild` until the last `ChildExited`. `bytes`: resident memory by child that runs, in the first run.
The others are medians of the runs.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import time
from typing import Any

import click

from benchmarks.processes import median, resident_bytes, run
from covey.core import children as c
from covey.core.children import Copy
from covey.core.ids import Site
from covey.runtime.children import Children, Context, Start, encode_arguments
from covey.wire.keys import encode_key

CHILDREN = 10_000
HUB = encode_key("sessions")
SENDER = Site(bytes(16))
PAYLOAD = encode_key("hello")


async def session(context: Context, number: int) -> None:
    """Answers whatever comes."""
    async for letter in context.mailbox:
        letter.reply(number)


class Feed:
    """Counts facts."""

    def __init__(self) -> None:
        self.counts: dict[type, int] = {}
        self._wanted: tuple[type, int] = (object, 0)
        self._reached: asyncio.Future[None] | None = None

    def __call__(self, fact: Any) -> None:
        kind = type(fact)
        count = self.counts[kind] = self.counts.get(kind, 0) + 1
        if self._reached is not None and self._wanted == (kind, count):
            self._reached.set_result(None)
            self._reached = None

    async def wait(self, kind: type, count: int) -> None:
        """Until there were so many of that kind."""
        if self.counts.get(kind, 0) < count:
            self._wanted = (kind, count)
            self._reached = asyncio.get_running_loop().create_future()
            await self._reached


async def measure(count: int) -> dict[str, float]:
    """One run, figures by child."""
    feed = Feed()
    children = Children(feed, lambda: time.monotonic_ns() // 1000, lambda copy: 1 << 63)
    children.open(HUB, {"session": Start(session)}, None)
    start, deliver, stop = (children.hands[kind] for kind in (c.StartChild, c.DeliverToChild, c.StopChild))
    effects = [
        c.StartChild(
            Copy(HUB, encode_key(f"user-{number}"), number), "session", encode_arguments((number,), {}), 1, None
        )
        for number in range(count)
    ]
    figures: dict[str, float] = {}
    gc.collect()
    before = resident_bytes(os.getpid())

    async def timed(name: str, kind: type) -> None:
        began = time.process_time()
        for effect in effects:
            if kind is c.ChildStarted:
                start(effect)
            elif kind is c.ChildReplied:
                deliver(c.DeliverToChild(effect.copy, 1, SENDER, PAYLOAD))
            else:
                stop(c.StopChild(effect.copy, 1_000_000))
        await feed.wait(kind, count)
        figures[name] = (time.process_time() - began) * 1e6 / count

    await timed("start_us", c.ChildStarted)
    figures["bytes"] = (resident_bytes(os.getpid()) - before) / count
    await timed("letter_us", c.ChildReplied)
    await timed("end_us", c.ChildExited)
    await children.aclose()
    figures["bare_us"] = await bare(count)
    return figures


async def bare(count: int) -> float:
    """What asyncio takes to begin as many tasks."""
    loop = asyncio.get_running_loop()

    async def waits() -> None:
        await loop.create_future()

    began = time.process_time()
    tasks = [loop.create_task(waits()) for _ in range(count)]
    await asyncio.sleep(0)
    cost = (time.process_time() - began) * 1e6 / count
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return cost


@click.command()
@click.option("--children", "count", default=CHILDREN, show_default=True, help="How many are started at once.")
@click.option("--runs", default=5, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
def main(count: int, runs: int, as_json: bool) -> None:
    """Measure what children cost the node that runs them."""
    results = [run(measure(count)) for _ in range(runs)]
    figures = {**median(results), "bytes": round(results[0]["bytes"])}  # later runs find memory that is there already
    if as_json:
        click.echo(json.dumps({"children": count, "runs": runs, **figures}))
    else:
        for name, value in figures.items():
            click.echo(f"{name:10} {value}")


if __name__ == "__main__":
    main()
