"""How long covey keeps the event loop busy at a time where thousands of rows change at once.

    python -m benchmarks.group_steps --json

Two nodes on one event loop. One mailbox joins so many groups in one turn (`joining`: what follows from that); a node
comes late and learns of all of them (`late_joiner`); the node that has them begins a new life (`new_life`); the mailbox
is closed and leaves all groups (`closing`). Each is the longest single call that the event loop makes, in milliseconds
of CPU, without what this measurement does itself. Python's garbage collection is counted apart, since how long it takes
is a matter of the whole process: `gc_ms` is the longest one, and steps are counted without.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import click

import covey
from benchmarks.processes import median

SECRET = "for this measurement only"


class Steps:
    """The longest call of the event loop, and the longest collection within any."""

    def __init__(self) -> None:
        self.longest_s = self.collection_s = 0.0
        self._collected_s = self._began_s = 0.0
        self._handle: Any = asyncio.events.Handle  # all calls pass here
        self._run = self._handle._run

    def __enter__(self) -> Steps:
        run = self._run

        def timed(handle: Any) -> None:
            before_s, collected_s = time.thread_time(), self._collected_s
            run(handle)
            if not self._is_ours(handle):
                spent_s = time.thread_time() - before_s - (self._collected_s - collected_s)
                self.longest_s = max(self.longest_s, spent_s)

        self._handle._run = timed
        gc.callbacks.append(self._on_collection)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle._run = self._run
        gc.callbacks.remove(self._on_collection)

    def _on_collection(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._began_s = time.thread_time()
            return
        spent_s = time.thread_time() - self._began_s
        self._collected_s += spent_s
        self.collection_s = max(self.collection_s, spent_s)

    def _is_ours(self, handle: Any) -> bool:
        task = getattr(handle._callback, "__self__", None)
        return isinstance(task, asyncio.Task) and task.get_name() == "measurement"

    async def longest_ms(self, until: Awaitable[Any]) -> float:
        """The longest call from now on until then."""
        self.longest_s = 0.0
        await until
        return round(self.longest_s * 1e3, 1)


@contextlib.asynccontextmanager
async def node(seeds: list[str]) -> AsyncIterator[covey.Node]:
    """One of the cluster."""
    async with covey.Node("steps", listen="127.0.0.1:0", seeds=seeds, secret=SECRET) as made:
        yield made


class Places:
    """So many groups, spread over so many scopes."""

    def __init__(self, groups: int, scopes: int) -> None:
        self._groups = groups
        self._scopes = scopes

    def all(self, node: covey.Node) -> list[covey.Group]:
        """The groups, as a node has them."""
        return [node.group(number // self._scopes, f"{number % self._scopes}") for number in range(self._groups)]

    async def seen(self, node: covey.Node, count: int) -> None:
        """Until so many are in the last group of each scope."""
        for group in self.all(node)[-self._scopes :]:
            await counted(group, count)


async def counted(group: covey.Group, count: int) -> None:
    """Until so many are in a group."""
    async with group.events() as events:
        while group.member_count() != count:
            await anext(events)


async def measure(places: Places) -> dict[str, Any]:
    """One run."""
    figures: dict[str, Any] = {}
    with Steps() as steps:
        async with node([]) as here, here.group("all").join() as me:
            async with node([here.address]) as other:
                await other.wait_members(2, timeout=30)
                places.all(other)
                await _heard(here, other)
                for group in places.all(here):
                    group.join(member=me)
                figures["joining_ms"] = await steps.longest_ms(places.seen(other, 1))
            async with node([here.address]) as late:
                figures["late_joiner_ms"] = await steps.longest_ms(places.seen(late, 1))
                figures["new_life_ms"] = await steps.longest_ms(_new_life(here, late, places))
                me.close()
                figures["closing_ms"] = await steps.longest_ms(places.seen(late, 0))
        figures["gc_ms"] = round(steps.collection_s * 1e3, 1)
    return figures


async def _heard(here: covey.Node, other: covey.Node) -> None:
    """Until all that the other one said before, as which scopes it looks at, has come here."""
    async with other.group("heard").join():
        await counted(here.group("heard"), 1)


async def _new_life(here: covey.Node, late: covey.Node, places: Places) -> None:
    """The node with the groups is thrown out, and comes in again in a new life."""
    address = late.address
    await late.kick(here.site)
    await places.seen(late, 0)
    await here.join(address)
    await places.seen(late, 1)


async def once(groups: int, scopes: int) -> dict[str, Any]:
    """One run, in a task whose calls are not counted."""
    return await asyncio.create_task(measure(Places(groups, scopes)), name="measurement")


@click.command()
@click.option("--json", "as_json", is_flag=True)
@click.option("--groups", default=10_000, show_default=True)
@click.option("--scopes", default=1, show_default=True, help="In which the groups are.")
@click.option("--runs", default=3, show_default=True, help="Medians of this many runs.")
def main(as_json: bool, groups: int, scopes: int, runs: int) -> None:
    """Measure how long covey keeps the event loop busy at a time."""
    found = median([asyncio.run(once(groups, scopes)) for _ in range(runs)])
    figures = {"groups": groups, "scopes": scopes, "runs": runs, **found}
    if as_json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:32} {value}")


if __name__ == "__main__":
    main()
