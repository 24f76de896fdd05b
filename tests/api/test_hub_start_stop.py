"""Scenarios of starting and stopping children: bulk, results, silent nodes, rollback, metadata."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

import covey
from covey import ChildSpec
from covey.testing import Cluster, run
from tests.api.hub_children import Late, done, session
from tests.api.hubs_open import belongs, flock, is_settled, machine, now, owners, shown, specs, unread
from tests.testing.virtual import until

# --- 1 bulk ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_s1_a_thousand_children_are_on_six_registries_within_five_seconds():
    """1: equal rows everywhere, each child with its owner, one event per child and node; and all gone again."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 6) as f, contextlib.AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(hub.events(100_000)) for hub in f.hubs]
            began = now()
            result = await f.hubs[0].start_children(specs(1000, session, "x"), metadata={"tag": "T"}, timeout=5)
            assert (result.status, len(result.started)) == ("ok", 1000)
            await until(lambda: is_settled(f.hubs), 5 - (now() - began))
            for hub, events in zip(f.hubs, streams, strict=True):
                assert shown(hub) == shown(f.hubs[0])
                assert owners(hub) == belongs(hub, range(1000))
                assert {child.id for child in hub.find(tag="T")} == set(range(1000))
                registered = [event.child.id for event in unread(events, covey.ChildRegistered)]
                assert sorted(registered) == list(range(1000))
                assert not unread(events, covey.ChildUnregistered)
            assert f.copies.started.total() == f.copies.running() == 1000

            stopped = await f.hubs[3].stop_children(range(1000), timeout=5)
            assert (stopped.status, len(stopped.stopped)) == ("ok", 1000)
            await until(lambda: not any(hub.dump() for hub in f.hubs), 5)
            assert f.copies.running() == 0
            for events in streams:
                gone = [event.child.id for event in unread(events, covey.ChildUnregistered)]
                assert sorted(gone) == list(range(1000))

    run(test)


# --- 2 what is refused ----------------------------------------------------------------------------------------------


def test_s2_no_children_children_that_are_there_and_the_same_twice():
    """2: nothing is started twice, and the error names who runs it, checked or not."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2) as f:
            hub, other = f.hubs
            with pytest.raises(covey.UsageError, match="no children"):
                await hub.start_children([])
            result = await hub.start_children([ChildSpec("a", session), ChildSpec("a", session)])
            (error,) = result.errors
            (child,) = result.started
            assert (error.id, error.trouble, error.site) == ("a", "exists", child.site)
            await until(lambda: "a" in other.dump() and owners(other)["a"])
            for again in (hub, other):
                for check in (True, False):
                    result = await again.start_children([ChildSpec("a", session)], check_existing=check)
                    (error,) = result.errors
                    assert (error.trouble, error.site, error.name) == ("exists", child.site, child.node)
                    assert not result.started
            await asyncio.sleep(5)
            assert is_settled(f.hubs)
            assert f.copies.started == {"a": 1}

    run(test)


# --- 3 silence ------------------------------------------------------------------------------------------------------


def test_s3_a_silent_node_costs_its_children_and_the_deadline_only():
    """3: within 1.5 s the successes are listed, and each other child with the node that did not answer."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 3) as f:
            hub = f.hubs[0]
            where = {id: hub.explain(id).ranking[0] for id in range(30)}
            cluster.partition(f.nodes[:2], f.nodes[2:])
            began = now()
            result = await hub.start_children(specs(30), timeout=1)
            assert now() - began <= 1.5
            assert result.status == "error"
            lost = {id for id in range(30) if where[id] == "n2"}
            assert {error.id for error in result.errors} == lost and lost
            assert {(error.trouble, error.name) for error in result.errors} == {("no_response", "n2")}
            assert {child.id for child in result.started} == set(range(30)) - lost
            with pytest.raises(covey.DeadlineExceeded):
                result.raise_for_errors()
            began = now()
            result = await hub.start_children([ChildSpec(100, session)], timeout=0)
            assert now() - began <= 0.01
            assert result.errors[0].trouble == "no_response"
            machine(hub).check()
            assert not machine(hub).starting._batches

    run(test)


# --- 5 rollback -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_failure", ["rollback", "continue"])
def test_s5_one_that_raises_takes_its_batch_along_or_does_not(on_failure):
    """5: rollback leaves nothing on any node within 2 s, and tells the 9 that had started; else 9 run."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 3) as f:
            batch = [*specs(9), ChildSpec(9, Late, 0.2, "no such device")]
            result = await f.hubs[0].start_children(batch, on_failure=on_failure)
            (error,) = result.errors
            assert (error.id, error.trouble) == (9, "raised") and "no such device" in error.reason
            assert sorted(child.id for child in result.started) == list(range(9))
            assert len({child.node for child in result.started}) >= 2
            assert result.rolled_back is (on_failure == "rollback")
            if result.rolled_back:
                await until(lambda: not any(hub.dump() for hub in f.hubs) and not f.copies.running(), 2)
                await asyncio.sleep(5)
                assert not f.copies.running()
            else:
                await f.settled(seconds=2)
                assert sorted(f.hubs[1].dump()) == list(range(9))

    run(test)


# --- 6 unknown ------------------------------------------------------------------------------------------------------


def test_s6_an_unknown_child_is_not_found_at_once():
    """6: under 100 ms; and stopping it beside a known one stops that."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2) as f:
            hub = f.hubs[0]
            await hub.start_children(specs(2))
            began = now()
            result = await hub.stop_children(["nobody"])
            assert now() - began < 0.1
            assert [(error.id, error.trouble) for error in result.errors] == [("nobody", "not_found")]
            result = await hub.stop_children([0, "nobody"])
            assert now() - began < 0.1
            assert [id for id, _ in result.stopped] == [0]
            assert [error.id for error in result.errors] == ["nobody"]
            with pytest.raises(covey.UnknownName, match="nobody"):
                await hub.stop_child("nobody")
            await until(lambda: list(f.hubs[1].dump()) == [1])

    run(test)


# --- 8 metadata -----------------------------------------------------------------------------------------------------


def test_s8_metadata_of_a_batch_and_of_one_child():
    """8: each child shows its own value, or the batch's; every node finds the same."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 3) as f:
            batch = [*specs(5), ChildSpec(5, session).with_options(tag="us", metadata={"size": 3})]
            (await f.hubs[0].start_children(batch, metadata={"tag": "eu", "v": 1})).raise_for_errors()
            await f.settled()
            for hub in f.hubs:
                assert {child.id for child in hub.find(tag="eu")} == set(range(5))
                assert [child.id for child in hub.find(tag="us")] == [5]
                assert hub.dump()[5].metadata == {"tag": "us", "v": 1, "size": 3}
                assert hub.dump()[0].metadata == {"tag": "eu", "v": 1}
                assert [child.id for child in hub.find(v=1, size=3)] == [5]
            f.hubs[1].update_child(5, {"tag": "eu"})
            await until(lambda: all(len(hub.find(tag="eu")) == 6 and not hub.find(tag="us") for hub in f.hubs), 1)

    run(test)


# --- 11 children that end -------------------------------------------------------------------------------------------


def test_s11_a_child_that_is_done_leaves_all_registries():
    """11: it counts as started, and is gone."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 3) as f:
            child = await f.hubs[0].start_child(ChildSpec("once", done))
            assert child.id == "once"
            await until(lambda: not any(hub.dump() for hub in f.hubs), 1)
            assert f.copies.started == {"once": 1} and not f.copies.running()

    run(test)


@pytest.mark.slow
def test_s11_a_thousand_short_children_run_once_each():
    """11: transient ones, started from two nodes."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 3) as f:
            batches = await asyncio.gather(
                f.hubs[0].start_children(specs(1000, done)[:500]), f.hubs[1].start_children(specs(1000, done)[500:])
            )
            for result in batches:
                result.raise_for_errors()
            await until(lambda: not any(hub.dump() for hub in f.hubs), 5)
            await asyncio.sleep(10)
            assert set(f.copies.started.values()) == {1} and len(f.copies.started) == 1000
            assert not any(machine(hub).hosting.hosted for hub in f.hubs)

    run(test)


def test_what_a_user_changes_in_the_metadata_that_it_looked_up_is_its_own():
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 1) as f:
            (hub,) = f.hubs
            await hub.start_child(covey.ChildSpec("x", session).with_options(metadata={"a": [1]}))
            for found in (hub.lookup("x"), hub.find(a=[1])[0], hub.dump()["x"]):
                assert found is not None
                found.metadata["a"].append(2)
                found.metadata["evil"] = 1
            found = hub.lookup("x")
            assert found is not None and found.metadata == {"a": [1]}
            assert "metadata={'a': [1]}" in repr(found)

    run(test)


# --- behind one that has not ended ----------------------------------------------------------------------------------


async def slow_to_end(ctx):
    async for call in ctx.mailbox:
        call.reply(ctx.fencing_token)
    await asyncio.sleep(2)


class Raising:
    def __init__(self, ctx):
        raise RuntimeError("boom")

    async def run(self):
        raise AssertionError("it is never made")


def test_a_stop_waits_for_the_old_copy_and_a_start_meanwhile_for_the_new_one():
    async def test(cluster: Cluster) -> None:
        (node,) = await cluster.start(1)
        async with node.hub("h", children=[slow_to_end, Raising], on_split="both") as hub:
            await hub.start_child(ChildSpec("x", slow_to_end))
            for again in (slow_to_end, Raising):
                old, began = await hub.call("x"), now()
                stop = asyncio.create_task(hub.stop_child("x"))
                await asyncio.sleep(0.1)
                result = await hub.start_children([ChildSpec("x", again)])
                await stop
                assert now() - began >= 2
                if again is slow_to_end:
                    assert result.ok and await hub.call("x") > old
                else:
                    assert [error.trouble for error in result.errors] == ["raised"]
            assert hub.lookup("x") is None

    run(test)
