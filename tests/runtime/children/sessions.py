"""Children that tests start."""

from __future__ import annotations

import asyncio
from typing import Any

from covey.runtime.children import Context, Handover


async def waits(context: Context) -> Any:
    await context.stopping.wait()
    return Handover([context.stopping.reason, context.stopping.winner])


async def returns(context: Context, *args: Any, **kwargs: Any) -> None: ...


async def raises(context: Context, after: bool = False) -> None:
    if after:
        await asyncio.sleep(1)
    raise ValueError("x")


class Careful:
    """A class with everything."""

    log: list[Any] = []

    def __init__(self, context: Context, what: str = "", *, fails: str = "") -> None:
        self.context, self.fails = context, fails
        self.log.append(("init", what, context.handed_over))
        if fails == "init":
            raise ValueError(what)

    async def start(self) -> None:
        if self.fails == "late start":
            await asyncio.sleep(1)
        if "start" in self.fails:
            raise ValueError("in start")
        await asyncio.sleep(1)
        self.log.append(("started", self.context.handed_over))

    async def run(self) -> None:
        self.log.append(("runs", self.context.fencing_token))
        await self.context.stopping.wait()


class Plain:
    """A class with `run` alone."""

    def __init__(self, context: Context) -> None: ...

    async def run(self) -> str:
        raise ValueError("in run")


class Stubborn:
    """Ignores its end so often."""

    cancelled = 0

    def __init__(self, context: Context, times: int) -> None:
        self.times = times

    async def run(self) -> None:
        while type(self).cancelled < self.times:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                type(self).cancelled += 1


STARTS: dict[str, Any] = {
    "waits": waits, "returns": returns, "raises": raises, "careful": Careful, "plain": Plain,
    "stubborn": Stubborn,
}  # fmt: skip
