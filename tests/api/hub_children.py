"""Children of hubs for tests: what each does, and a book of which copies ran when and where."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import covey


class Copies:
    """Every copy of every child in this process, whichever node runs it."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}  # of nodes, by what children know of them
        self.live: Counter[Any] = Counter()
        self.most: Counter[Any] = Counter()  # copies at one moment
        self.started: Counter[Any] = Counter()
        self.story: list[tuple[float, Any, str, str]] = []  # when, which child, what, on which node
        self.failing: dict[Any, str] = {}  # the children that raise as they start, and on which nodes ("": all)

    def node(self, ctx: covey.Context) -> str:
        """The name of the node that runs a copy."""
        return self.names[id(ctx.hub._hubs)]

    @contextlib.contextmanager
    def copy(self, ctx: covey.Context) -> Iterator[None]:
        """While a copy runs."""
        node = self.node(ctx)
        self.live[ctx.id] += 1
        self.started[ctx.id] += 1
        self.most[ctx.id] = max(self.most[ctx.id], self.live[ctx.id])
        self.tell(ctx.id, "starts", node)
        try:
            yield
        finally:
            self.live[ctx.id] -= 1
            self.tell(ctx.id, "ends", node)

    def tell(self, id: Any, what: str, node: str) -> None:
        """One line more in the story."""
        self.story.append((asyncio.get_running_loop().time(), id, what, node))

    def running(self) -> int:
        """How many copies run at this moment."""
        return sum(self.live.values())

    def when(self, id: Any, what: str) -> list[float]:
        """When a child did that."""
        return [at for at, of, did, _ in self.story if (of, did) == (id, what)]


copies = Copies()


def begin_anew() -> Copies:
    """Forget the children of the test before."""
    copies.__init__()  # type: ignore[misc]  # the children of this module know the one object
    return copies


async def session(ctx: covey.Context, *arguments: Any) -> covey.Handover:
    """It keeps what it was told, says how much that is, and hands it over."""
    lines: list[Any] = ctx.handed_over or []
    with copies.copy(ctx):
        async for call in ctx.mailbox:
            match call.payload:
                case "crash":
                    raise RuntimeError("asked to")
                case "end":
                    return covey.Handover(lines)
                case "lines":
                    call.reply(lines)
                case line:
                    lines.append(line)
                    call.reply(len(lines))
    return covey.Handover(lines)


async def done(ctx: covey.Context) -> None:
    """It runs once."""
    with copies.copy(ctx):
        pass


async def waits(ctx: covey.Context, seconds: float = 0.0) -> None:
    """It does nothing until it is told to end, and takes its time then."""
    with copies.copy(ctx):
        await ctx.stopping.wait()
        await asyncio.sleep(seconds)


async def flaky(ctx: covey.Context, failures: int) -> None:
    """It fails that often, and then it is done."""
    with copies.copy(ctx):
        await asyncio.sleep(0.1)
        if copies.started[ctx.id] <= failures:
            raise RuntimeError(f"failure {copies.started[ctx.id]}")


async def fails(ctx: covey.Context) -> None:
    """It raises at once."""
    raise RuntimeError("no luck")


async def crashes(ctx: covey.Context) -> None:
    """It starts, and raises a moment later, each time."""
    with copies.copy(ctx):
        await asyncio.sleep(0.001)
        raise RuntimeError("again")


class Late:
    """A child whose start takes time, and may fail."""

    def __init__(self, ctx: covey.Context, seconds: float, fate: str = "") -> None:
        self.ctx, self.seconds, self.fate = ctx, seconds, fate

    async def start(self) -> None:
        await asyncio.sleep(self.seconds)
        if self.fate:
            raise ValueError(self.fate)

    async def run(self) -> None:
        with copies.copy(self.ctx):
            await self.ctx.stopping.wait()


class Picky:
    """A session that some nodes cannot build."""

    def __init__(self, ctx: covey.Context) -> None:
        if copies.failing.get(ctx.id) == copies.node(ctx):
            raise OSError("no such device here")
        self.ctx = ctx

    async def run(self) -> covey.Handover:
        return await session(self.ctx)


async def parent(ctx: covey.Context, count: int) -> None:
    """It starts children itself, and calls them."""
    with copies.copy(ctx):
        specs = [covey.ChildSpec((ctx.id, number), session) for number in range(count)]
        (await ctx.hub.start_children(specs)).raise_for_errors()
        for number in range(count):
            await ctx.hub.call((ctx.id, number), "hello")
        await ctx.stopping.wait()


ALL = [session, done, waits, flaky, fails, crashes, Late, Picky, parent]
