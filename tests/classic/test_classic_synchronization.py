"""ProcessHub's `Strategy.Synchronization.Base` by its names, one section each, over hubs that are open."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import covey
from covey.classic import AllRows, Data, OurRows, SynchronizationStrategy
from covey.core.ids import Site
from covey.protocols.registry.strategies.strategy import FUNCTIONS
from covey.testing import Cluster, run
from tests.api.hubs_open import Flock, Recorder, flock, specs
from tests.protocols.registry.strategies.strategies_own import TwoAtRandom
from tests.testing.virtual import until

SELDOM = 3_600.0  # nothing is repaired unless a test says so


class Deaf(covey.PubSub):
    """Propagates nothing by itself, and keeps what it was to propagate."""

    __slots__ = ("requests", "speaks")

    def __init__(self) -> None:
        super().__init__(SELDOM)
        self.requests: list[Any] = []
        self.speaks = False

    def propagate(self, hub: Any, requests: Any, nodes: Any) -> Any:
        self.requests += requests
        if self.speaks:
            return super().propagate(hub, requests, nodes)
        return super().handle_synchronization(hub, Data(), hub.me.site)  # nothing


def with_hubs(
    test: Callable[[Flock, list[SynchronizationStrategy]], Awaitable[None]], strategy: Callable[[], Any] = Deaf
) -> None:
    """Run `test` with three hubs, and the functions of each; each has a strategy object of its own."""

    async def body(cluster: Cluster) -> None:
        async with flock(cluster, 3, synchronization=strategy()) as f:
            await test(f, [SynchronizationStrategy(hub) for hub in f.hubs])

    run(body)


def test_it_has_the_six_names_and_wants_a_hub():
    assert all(callable(getattr(SynchronizationStrategy, name)) for name in FUNCTIONS)
    with pytest.raises(covey.UsageError, match=r"needs a covey\.Hub"):
        SynchronizationStrategy(covey.PubSub())  # type: ignore[arg-type]


def test_a_hub_that_is_not_open_has_none():
    async def test(cluster: Cluster) -> None:
        (node,) = await cluster.start(1)
        functions = SynchronizationStrategy(node.hub("h", on_split="both"))
        for call in (functions.init, functions.init_sync, lambda: functions.propagate([])):
            with pytest.raises(covey.ClosedError):
                call()

    run(test)


# --- init -----------------------------------------------------------------------------------------------------------


def test_init_gives_the_strategy_as_it_has_begun():
    async def test(f: Flock, functions: list[SynchronizationStrategy]) -> None:
        begun = functions[0].init()
        assert isinstance(begun, covey.Gossip)
        assert begun != covey.Gossip(SELDOM)  # it remembers something by now
        assert repr(begun) == repr(covey.Gossip(SELDOM))

    with_hubs(test, lambda: covey.Gossip(SELDOM))


# --- init_sync ------------------------------------------------------------------------------------------------------


def test_init_sync_repairs_all_others_now():
    async def test(f: Flock, functions: list[SynchronizationStrategy]) -> None:
        f.hubs[0].cast("lost", start=specs(1)[0].start)
        await asyncio.sleep(1)
        assert [hub.children() for hub in f.hubs] == [["lost"], [], []]
        functions[0].init_sync()
        await until(lambda: all(hub.children() == ["lost"] for hub in f.hubs), 1)

    with_hubs(test)


def test_init_sync_repairs_those_that_are_given():
    async def test(f: Flock, functions: list[SynchronizationStrategy]) -> None:
        f.hubs[0].cast("lost", start=specs(1)[0].start)
        functions[0].init_sync([f.nodes[2].site])
        await asyncio.sleep(1)
        assert [hub.children() for hub in f.hubs] == [["lost"], [], ["lost"]]
        with pytest.raises(covey.UsageError, match="no other member"):
            functions[0].init_sync([f.nodes[0].site])

    with_hubs(test)


# --- propagate ------------------------------------------------------------------------------------------------------


async def lost_requests(f: Flock) -> list[Any]:
    """What the first hub's strategy kept to itself when a child was started there."""
    strategy = f.hubs[0]._wanted.options.synchronization
    assert isinstance(strategy, Deaf)
    strategy.requests.clear()
    f.hubs[0].cast("lost", start=specs(1)[0].start)
    await asyncio.sleep(0.01)
    strategy.speaks = True
    return list(strategy.requests)


@pytest.mark.parametrize("members", ["external", "global"])
def test_propagate_delivers_requests_to_all_others(members):
    async def test(f: Flock, functions: list[SynchronizationStrategy]) -> None:
        functions[0].propagate(await lost_requests(f), members=members, priority="high")
        await until(lambda: all(hub.children() == ["lost"] for hub in f.hubs), 1)

    with_hubs(test)


def test_propagate_delivers_requests_to_those_that_are_given():
    async def test(f: Flock, functions: list[SynchronizationStrategy]) -> None:
        functions[0].propagate(await lost_requests(f), members=[f.nodes[1].site])
        await asyncio.sleep(1)
        assert [hub.children() for hub in f.hubs] == [["lost"], ["lost"], []]

    with_hubs(test)


def test_propagate_takes_nothing_else():
    async def test(f: Flock, functions: list[SynchronizationStrategy]) -> None:
        for requests, members in (([b"x"], "external"), ([], "all"), ([], [Site(bytes(16))])):
            with pytest.raises(covey.UsageError):
                functions[0].propagate(requests, members=members)  # type: ignore[arg-type]

    with_hubs(test)


# --- broadcast_local_data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("local_data", [None, OurRows(), AllRows()])
def test_broadcast_local_data_gives_our_rows_to_who_came(local_data):
    async def test(f: Flock, functions: list[SynchronizationStrategy]) -> None:
        f.hubs[0].cast("lost", start=specs(1)[0].start)
        functions[0].broadcast_local_data(local_data, [f.nodes[1].site])
        await asyncio.sleep(1)
        assert [hub.children() for hub in f.hubs] == [["lost"], ["lost"], []]
        functions[0].broadcast_local_data(local_data)  # nobody
        with pytest.raises(covey.UsageError):
            functions[0].broadcast_local_data(local_data, [Site(bytes(16))])

    with_hubs(test)


# --- handle_synchronization, handle_node_join_data ------------------------------------------------------------------


@pytest.mark.parametrize("function", ["handle_synchronization", "handle_node_join_data"])
def test_data_is_taken_as_if_it_had_come(function):
    async def test(f: Flock, functions: list[SynchronizationStrategy]) -> None:
        data = Data(tuple(await lost_requests(f)))
        getattr(functions[2], function)(data, f.nodes[0].site)
        await until(lambda: f.hubs[2].children() == ["lost"], 1)
        assert f.hubs[1].children() == []
        with pytest.raises(covey.UsageError, match="data"):
            getattr(functions[2], function)(b"data", f.nodes[0].site)

    with_hubs(test)


def test_with_gossip_data_that_comes_is_passed_on():
    async def test(f: Flock, functions: list[SynchronizationStrategy]) -> None:
        recorders = [Recorder(node, "registry") for node in f.nodes]
        f.hubs[0].cast("told", start=specs(1)[0].start)
        await until(lambda: all(hub.children() == ["told"] for hub in f.hubs), 1)
        assert all(recorder.heard for recorder in recorders[1:])

    with_hubs(test, lambda: covey.Gossip(SELDOM, recipients=1))


def test_a_strategy_of_ones_own_needs_nothing_but_the_six_names():
    async def test(f: Flock, functions: list[SynchronizationStrategy]) -> None:
        assert isinstance(functions[0].init(), TwoAtRandom)
        functions[0].init_sync()
        (await f.hubs[0].start_children(specs(5))).raise_for_errors()
        await f.settled()

    with_hubs(test, TwoAtRandom)
