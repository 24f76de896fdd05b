"""`node.hub(synchronization=…)`: what can be given, nodes that do not agree, and strategies that fail."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import covey
from covey.classic import HubView, Step
from covey.testing import Cluster, run
from tests.api.hubs_open import flock, now, specs, unread
from tests.protocols.registry.strategies.strategies_own import TwoAtRandom
from tests.testing.virtual import next_of, until


class Fails(TwoAtRandom):
    """One whose `propagate` raises."""

    def propagate(self, *arguments: Any) -> Step:
        raise RuntimeError("no idea")


class Fast(TwoAtRandom):
    """One that wants more than there is."""

    sync_interval: float | None = 0.001

    def __init__(self) -> None:
        pass


class Long(TwoAtRandom):
    """One whose name says too much."""

    def __repr__(self) -> str:
        return "x" * 2_000


@pytest.mark.parametrize(
    ("strategy", "says"),
    [
        (None, "has no init, init_sync"),
        ("pubsub", "use covey.Delta"),
        (covey.PubSub, "write PubSub()"),
        (Fast(), "sync_interval"),
        (TwoAtRandom(None), "has no sync_interval"),  # type: ignore[arg-type]
        (Long(), "repr"),
    ],
)
def test_what_is_no_strategy_is_refused(strategy, says):
    async def test(cluster: Cluster) -> None:
        (node,) = await cluster.start(1)
        with pytest.raises(covey.ConfigError, match="sync") as refused:
            node.hub("h", on_split="both", synchronization=strategy)
        assert says in str(refused.value)

    run(test)


def test_the_same_hub_with_another_strategy_is_another_one():
    async def test(cluster: Cluster) -> None:
        (node,) = await cluster.start(1)
        async with node.hub("h", on_split="both", synchronization=covey.PubSub(2)):
            async with node.hub("h", on_split="both", synchronization=covey.PubSub(2.0)):
                pass
            with pytest.raises(covey.ConfigError, match="other options"):
                await node.hub("h", on_split="both", synchronization=covey.PubSub(3)).start()

    run(test)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (covey.Delta(), covey.PubSub(1.0)),
        (covey.Gossip(1.0), covey.Delta()),
        (covey.PubSub(1.0), covey.Gossip(1.0)),
        (covey.PubSub(1.0), covey.PubSub(2.0)),
    ],
)
def test_nodes_with_different_strategies_are_told_so(one, other):
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2, synchronization=one) as f:
            (await f.hubs[0].start_children(specs(5))).raise_for_errors()
            async with f.hubs[0].events() as events:
                third = f.hub_of(await f.node(), synchronization=other)
                await f.enter(third)
                async with third.events() as theirs:
                    mismatch = await next_of(events, covey.ConfigMismatch, seconds=5)
                    assert f"synchronization={one!r}" in mismatch.ours
                    assert f"synchronization={other!r}" in mismatch.theirs[0][1]
                    assert mismatch.places
                    await until(lambda: len(third.nodes()) == 3, 5)
                    await until(lambda: len(third.children()) == 5, 5)
                    assert all(not node.places for node in third.nodes() if node.name == "n2")
                    del theirs
                (await f.hubs[1].stop_children(range(5))).raise_for_errors()
                await until(lambda: not third.children(), 5)
                await asyncio.sleep(5)

    run(test)


def test_a_strategy_that_fails_is_reported_once_and_the_hub_works(caplog):
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 3, synchronization=Fails()) as f, f.hubs[0].events() as events:
            (await f.hubs[0].start_children(specs(10))).raise_for_errors()
            (await f.hubs[0].stop_children(range(5))).raise_for_errors()
            await f.settled()
            assert all(len(hub.children()) == 5 for hub in f.hubs)
            failed = [event for event in events._queue if isinstance(event, covey.StrategyFailed)]
            assert failed == [covey.StrategyFailed("propagate", "RuntimeError: no idea")]

    run(test)
    assert caplog.text.count("event=strategy_failed") == 3


def test_how_the_strategy_is_written_is_what_nodes_compare():
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 1, synchronization=TwoAtRandom(2.0)) as f:
            (node,) = f.hubs[0].nodes()
            assert node.settings.endswith("synchronization=TwoAtRandom(sync_interval=2.0)")

    run(test)


class Unable(TwoAtRandom):
    """One that cannot begin."""

    def init(self, hub: HubView) -> TwoAtRandom:
        raise RuntimeError("not today")


def test_who_listens_later_hears_first_that_a_strategy_could_not_begin():
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 1, synchronization=Unable()) as f:
            for _ in range(2):
                async with f.hubs[0].events() as events:
                    assert await anext(events) == covey.StrategyFailed("init", "RuntimeError: not today")

    run(test)


def test_who_listens_later_hears_first_that_nodes_do_not_agree_while_they_do_not():
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 1) as f:
            async with f.hub_of(await f.node(), synchronization=covey.PubSub(1.0)) as other:
                await until(lambda: len(other.nodes()) == len(f.hubs[0].nodes()) == 2, 5)
                for hub in (other, f.hubs[0]):
                    async with hub.events() as events:
                        assert isinstance(await anext(events), covey.ConfigMismatch)
            await until(lambda: len(f.hubs[0].nodes()) == 1, 5)
            async with f.hubs[0].events() as events:
                assert not unread(events)

    run(test)


class Silent(TwoAtRandom):
    """One that tells nobody anything."""

    def propagate(self, *arguments: Any) -> Step:
        return Step()

    init_sync = broadcast_local_data = propagate  # type: ignore[assignment]


def test_who_is_told_nothing_of_a_hub_cannot_open_it_and_hears_so():
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 1, synchronization=Silent()) as f:
            other = f.hub_of(await f.node())
            await f.nodes[1].wait_members(2)
            began = now()
            with pytest.raises(covey.DeadlineExceeded, match=r"nothing was heard of it from .* for 60 s"):
                await other.start()
            assert 60 <= now() - began < 62
            assert f.hubs[0].statistics()["children"] == 0
            await other.aclose()

    run(test)
