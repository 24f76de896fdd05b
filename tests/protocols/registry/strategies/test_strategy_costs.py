"""35, for each strategy: what a quiet hub costs, and one child more. Delta's does not grow with the rows; the others'
does, and their documentation says so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import covey
from covey import ChildSpec
from covey.core.vocabulary import SendData
from covey.testing import Cluster, run
from covey.wire.messages.registry import Requests, WholeKnown, WholeOwner, WholeRows
from tests.api.hub_children import session
from tests.api.hubs_open import Flock, flock, specs
from tests.api.test_hub_costs import Bytes

INTERVAL = 5.0
ROWS = (Requests, WholeOwner, WholeRows, WholeKnown)
SPOKEN: dict[str, Any] = {
    "delta": covey.Delta(), "pubsub": covey.PubSub(INTERVAL), "gossip": covey.Gossip(INTERVAL)
}  # fmt: skip


def idle(strategy: Any, count: int, nodes: int = 5) -> float:
    """Bytes a second of a quiet hub with so many children."""

    async def test(cluster: Cluster) -> float:
        async with flock(cluster, nodes, synchronization=strategy) as f:
            if count:
                (await f.hubs[0].start_children(specs(count))).raise_for_errors()
            await f.settled()
            await asyncio.sleep(10)
            passed = Bytes(f)
            await asyncio.sleep(6 * INTERVAL)
            return passed.each_second()

    return run(test)


def test_an_idle_hub_costs_the_same_with_delta_however_many_children_there_are():
    empty, full = idle(SPOKEN["delta"], 0, nodes=3), idle(SPOKEN["delta"], 200, nodes=3)
    print(f"delta: {empty:.0f} B/s, {full:.0f} B/s with 200 children")
    assert full <= empty * 1.1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "copies"), [("pubsub", 20), ("gossip", 19)])
def test_what_an_idle_hub_costs_with_the_others_grows_with_its_children(name, copies):
    """N(N-1) copies of the shared rows in each interval with PubSub; with five nodes Gossip needs about 13, twice that
    now and then. A row is some 250 bytes there."""
    some, more = idle(SPOKEN[name], 500), idle(SPOKEN[name], 1_000)
    each = (more - some) * INTERVAL / 500
    print(f"{name}: {some:.0f} B/s with 500 children, {more:.0f} B/s with 1,000: {each:.0f} B for one in an interval")
    assert 100 * copies / 2 <= each <= 300 * copies


class Said:
    """Messages about rows that hubs say because of a strategy."""

    def __init__(self, f: Flock) -> None:
        self.count = 0
        for node in f.nodes:
            inside: Any = node._runner
            self._watch(inside.engine.registry)

    def _watch(self, machine: Any) -> None:
        handle = machine.handle

        def count(incoming: Any, now_us: int) -> Any:
            effects = handle(incoming, now_us)
            said = [one for effect in effects if type(effect) is SendData for one in effect.messages]
            self.count += sum(type(message) in ROWS for message in said)
            return effects

        machine.handle = count


@pytest.mark.parametrize(
    ("name", "most"), [("delta", 0), ("pubsub", 45), pytest.param("gossip", 160, marks=pytest.mark.slow)]
)
def test_one_child_more_is_told_in_few_messages(name, most):
    """With ten nodes and PubSub 9 for each turn in which rows change, with Gossip about 22, where ProcessHub's needs
    179: the birth, and that the child runs (it may be said to start first)."""

    async def test(cluster: Cluster) -> None:
        strategy = {"pubsub": covey.PubSub(600), "gossip": covey.Gossip(600)}.get(name, covey.Delta())
        async with flock(cluster, 10, synchronization=strategy) as f:
            await asyncio.sleep(5)
            said = Said(f)
            await f.hubs[0].start_child(ChildSpec("one", session))
            await asyncio.sleep(1)
            assert all(hub.children() == ["one"] for hub in f.hubs)
            await f.settled()
            print(f"{name}: {said.count} messages for one child")
            assert said.count <= most

    run(test)
