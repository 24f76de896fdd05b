"""Hubs that are open on several nodes, and what they show, for tests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import covey
from covey.api.config import Config
from covey.core.vocabulary import MessagesReceived
from covey.testing import Cluster
from tests.api import hub_children
from tests.testing.virtual import until


class Flock:
    """Some nodes, and one hub that they all take part in."""

    def __init__(self, cluster: Cluster, stack: contextlib.AsyncExitStack, options: dict[str, Any]) -> None:
        self.cluster = cluster
        self.stack = stack
        self.nodes: list[covey.Node] = []
        self.hubs: list[covey.Hub] = []
        self.copies = hub_children.begin_anew()
        self._options = {"children": hub_children.ALL, "on_split": "both", **options}

    def hub_of(self, node: covey.Node, **options: Any) -> covey.Hub:
        """A handle that is not open yet."""
        return node.hub("h", **{**self._options, **options})

    async def node(self, **options: Any) -> covey.Node:
        """One node more, which takes no part yet."""
        node = self.cluster.node(**{"name": f"n{len(self.nodes)}", **options})
        self.nodes.append(node)
        await node.start()
        self.copies.names[id(node._hubs)] = node.name
        return node

    async def join(self, **options: Any) -> covey.Hub:
        """One node more, which takes part."""
        hub = self.hub_of(await self.node(), **options)
        await self.enter(hub)
        self.hubs.append(hub)
        return hub

    async def enter(self, hub: covey.Hub) -> covey.Hub:
        """Open it until the test ends, or its node."""
        await hub.start()
        self.stack.push_async_callback(_close, hub)
        return hub

    async def settled(self, *hubs: covey.Hub, seconds: float = 60.0) -> None:
        """Wait until all show the same children, each running where it belongs, and nowhere else."""
        among = hubs or tuple(self.hubs)
        async with asyncio.timeout(seconds):
            while True:
                if is_settled(among):
                    return
                await asyncio.sleep(0.05)


async def _close(hub: covey.Hub) -> None:
    with contextlib.suppress(covey.ClosedError):
        await hub.aclose()


@contextlib.asynccontextmanager
async def flock(cluster: Cluster, count: int, config: Config | None = None, **options: Any) -> AsyncIterator[Flock]:
    """So many nodes in one hub, once all of them show all."""
    async with contextlib.AsyncExitStack() as stack:
        flock = Flock(cluster, stack, options)
        for _ in range(count):
            await flock.node(config=config or Config.laptop())
        for node in flock.nodes:
            await node.wait_members(count)
        for node in flock.nodes:
            flock.hubs.append(await flock.enter(flock.hub_of(node)))
        await until(lambda: all(len(hub.nodes()) == count for hub in flock.hubs))
        yield flock


def now() -> float:
    """Virtual seconds."""
    return asyncio.get_running_loop().time()


def specs(count: int, start: Any = hub_children.session, *arguments: Any, **options: Any) -> list[covey.ChildSpec]:
    """Children 0 to count - 1."""
    return [covey.ChildSpec(number, start, *arguments).with_options(**options) for number in range(count)]


def owners(hub: covey.Hub) -> dict[Any, str]:
    """Where each child runs; "" where it runs nowhere."""
    return {id: child.node for id, child in hub.dump().items()}


def belongs(hub: covey.Hub, ids: Iterable[Any]) -> dict[Any, str]:
    """Where each child is to run."""
    return {id: hub.explain(id).belongs for id in ids}


def shown(hub: covey.Hub) -> dict[Any, tuple[Any, ...]]:
    """All that is shown of each child."""
    return {
        id: (child.start, child.metadata, tuple(sorted(child.copies, key=lambda copy: copy.site)))
        for id, child in hub.dump().items()
    }


def machine(hub: covey.Hub) -> Any:
    """The hub inside, where nothing public tells."""
    return hub._open().machine


def is_settled(hubs: Sequence[covey.Hub]) -> bool:
    """Whether all show the same, and each child runs once, where it belongs."""
    inside = machine(hubs[0])
    for id in inside.book.children:
        runs = inside.book.running(id)
        if len(runs) != 1:
            return False
        (((site, _), running),) = runs.items()
        if running.state.name not in ("RUNNING", "FAILED") or site != inside.ground.places.host(id):
            return False
    if not all(machine(hub).ground.places.is_settled for hub in hubs):
        return False
    first = shown(hubs[0])
    return all(shown(hub) == first for hub in hubs[1:])


def unread(events: covey.Subscription[Any, Any], *kinds: type) -> list[Any]:
    """The events that nobody read yet, of these kinds."""
    found = list(events._queue)
    assert not any(isinstance(event, covey.Lost) for event in found)
    return [event for event in found if not kinds or isinstance(event, kinds)]


class Recorder:
    """What one machine of a node was sent, to be said to it again."""

    def __init__(self, node: covey.Node, machine: str = "replication") -> None:
        runner: Any = node._runner
        self._feed = runner.feed
        inside = getattr(runner.engine, machine)
        handle = inside.handle
        self.heard: list[MessagesReceived] = []

        def hear(incoming: Any, now_us: int) -> Any:
            if isinstance(incoming, MessagesReceived):
                self.heard.append(incoming)
            return handle(incoming, now_us)

        inside.handle = hear

    def say_again(self) -> int:
        """All of it, the last first and then in order."""
        said = [*reversed(self.heard), *self.heard]
        for one in said:
            self._feed(one)
        return len(said)

    def count(self, kind: type) -> int:
        """How many messages of a kind came."""
        return sum(type(one) is kind for heard in self.heard for one in heard.messages)
