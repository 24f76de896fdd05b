"""Scenarios of children and nodes that fail: restarts, budgets, take-over, scaling, slow starts."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from functools import partial

import pytest

import covey
from covey import ChildSpec
from covey.testing import Cluster, run
from tests.api.hub_children import Late, crashes, flaky, parent
from tests.api.hubs_open import flock, now, owners, shown, specs, unread
from tests.testing.virtual import next_of, until

# --- 10 crashes -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_s10_a_hundred_that_crash_are_back_on_their_nodes_within_a_second():
    """10: 100 new instances on six registries, one event for each per node, and no row gone meanwhile."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 6) as f, contextlib.AsyncExitStack() as stack:
            (await f.hubs[0].start_children(specs(100))).raise_for_errors()
            await f.settled()
            before = f.hubs[0].dump()
            streams = [await stack.enter_async_context(hub.events()) for hub in f.hubs]
            began = now()
            for id in range(100):
                f.hubs[1].cast(id, "crash")

            def again() -> bool:
                return all(
                    child.copies and child.copies[0].instance > before[id].copies[0].instance
                    for hub in f.hubs
                    for id, child in hub.dump().items()
                )

            await until(again, 1)
            assert now() - began <= 1
            await asyncio.sleep(5)
            for hub, events in zip(f.hubs, streams, strict=True):
                assert owners(hub) == {id: child.node for id, child in before.items()}
                assert shown(hub) == shown(f.hubs[0])
                updated = Counter(event.child.id for event in unread(events, covey.ChildUpdated))
                assert updated == dict.fromkeys(range(100), 1)
                assert not unread(events, covey.ChildUnregistered, covey.ChildRegistered)
                assert all("RuntimeError: asked to" in child.error for child in hub.dump().values())
            assert set(f.copies.started.values()) == {2} and set(f.copies.most.values()) == {1}

    run(test)


def test_s10_who_fails_too_often_is_given_up_and_the_others_run_on():
    """10: it is started 11 times, reported once, shown as failed with its traceback; and can be stopped."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2) as f:
            await f.hubs[0].start_children([*specs(20), ChildSpec("bad", crashes)])
            hosts = {node.name: hub for node, hub in zip(f.nodes, f.hubs, strict=True)}
            host = hosts[f.hubs[0].explain("bad").belongs]
            async with host.events() as events:
                ended = await next_of(events, covey.CopyEnded)
                assert (ended.id, ended.why) == ("bad", "gave up")
                assert "RuntimeError: again" in ended.error
            assert f.copies.started["bad"] == 11
            await until(lambda: all(hub.dump()["bad"].state == "failed" for hub in f.hubs), 1)
            await asyncio.sleep(60)
            assert f.copies.started["bad"] == 11
            assert f.copies.running() == 20
            assert all("RuntimeError: again" in hub.dump()["bad"].error for hub in f.hubs)
            with pytest.raises(covey.PeerUnreachable, match=r"failed too often.*RuntimeError: again"):
                await f.hubs[0].call("bad", 1, timeout=1)
            (await f.hubs[0].stop_children(["bad"])).raise_for_errors()
            await f.settled()

    run(test)


# --- 11 restarts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "restart, starts, left",
    [("transient", 4, 0), ("temporary", 1, 0), ("permanent", 19, 1)],
)
def test_s11_a_child_is_started_again_as_its_policy_says(restart, starts, left):
    """11: transient until it is done, temporary never, permanent for ever, as it returns and does not raise."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2) as f:
            (
                await f.hubs[0].start_children([ChildSpec("x", flaky, 3).with_options(restart=restart)])
            ).raise_for_errors()
            await asyncio.sleep(60)
            assert f.copies.started["x"] == starts
            assert [len(hub.dump()) for hub in f.hubs] == [left, left]
            if left:
                await asyncio.sleep(240)
                assert f.copies.started["x"] > 60, "at least every five seconds, and it is never given up"
                assert f.hubs[0].dump()["x"].state != "failed"

    run(test)


async def tells_its_token(ctx: covey.Context) -> None:
    async for call in ctx.mailbox:
        if call.payload == "raise":
            raise RuntimeError("as told")
        call.reply(ctx.fencing_token)


@pytest.mark.parametrize("on_split", ["both", covey.Majority(["a", "b", "c"])], ids=["both", "majority"])
def test_each_copy_that_is_started_again_after_a_crash_has_a_higher_token(on_split):
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 0, children=[tells_its_token], on_split=on_split) as f:
            nodes = [await f.node(name=name, storage=covey.MemoryStorage()) for name in "abc"]
            for node in nodes:
                await node.wait_members(3)
            hubs = await asyncio.gather(*[f.enter(f.hub_of(node)) for node in nodes])
            child = await hubs[0].start_child(ChildSpec("x", tells_its_token), timeout=30)
            tokens = [child.copies[0].fencing_token]
            for _ in range(4):
                with pytest.raises(covey.DeadlineExceeded):
                    await hubs[1].call("x", "raise")
                tokens.append(await hubs[2].call("x"))
            assert tokens == sorted(set(tokens)), "a write of the copy before that is under way is refused"
            assert {hub.dump()["x"].node for hub in hubs} == {child.node}, "it stays where it was"

    run(test)


# --- 12 a node dies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3])
def test_s12_children_of_a_dead_node_run_elsewhere_within_two_seconds(count):
    """12: 200 children; counted from when the death is noticed; none runs twice, no other one moves."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, count) as f, f.nodes[0].events() as events:
            (await f.hubs[0].start_children(specs(200))).raise_for_errors()
            await f.settled()
            lost = {id for id, node in owners(f.hubs[0]).items() if node == "n1"}
            assert len(lost) > 40
            dead, survivors = f.nodes[1], [hub for hub in f.hubs if hub is not f.hubs[1]]
            killed = now()
            await cluster.kill(dead)
            await next_of(events, covey.MemberDown)
            noticed = now()
            await until(lambda: f.copies.running() == 200, 2)
            await f.settled(*survivors, seconds=2 - (now() - noticed))
            print(f"{len(lost)} children: noticed after {noticed - killed:.2f} s, run {now() - noticed:.3f} s later")
            assert set(f.copies.most.values()) == {1}
            assert {id for id, times in f.copies.started.items() if times == 2} == lost
            assert max(f.copies.started.values()) == 2

    run(test)


# --- 13 scaling -----------------------------------------------------------------------------------------------------


def _all_show(hubs: list[covey.Hub], count: int) -> bool:
    return all(len(hub.nodes()) == count for hub in hubs)


@pytest.mark.slow
def test_s13_six_more_nodes_and_six_fewer_leave_each_child_once_on_its_owner():
    """13: 6 join at once, 6 leave one by one; each is told once to each that stays, and nobody sees a partition."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 6) as f, contextlib.AsyncExitStack() as stack:
            (await f.hubs[0].start_children(specs(200))).raise_for_errors()
            streams = [await stack.enter_async_context(node.events()) for node in f.nodes]
            await asyncio.gather(*(f.join() for _ in range(6)))
            await until(lambda: all(len(hub.nodes()) == 12 for hub in f.hubs))
            await f.settled()
            assert len({*owners(f.hubs[0]).values()}) == 12
            new = [node.site for node in f.nodes[6:]]
            for events in streams:
                up = Counter(event.member.site for event in unread(events, covey.MemberUp))
                assert up == dict.fromkeys(new, 1)
                assert not unread(events, covey.PartitionSuspected, covey.MemberDown)
            for at in range(6, 12):
                node = f.nodes[at]
                await node.close()
                await until(partial(_all_show, f.hubs[:6], 11 - at + 6))
                await f.settled(*f.hubs[:6])
            for events in streams:
                for kind in (covey.MemberDown, covey.MemberLeft):
                    left = Counter(event.member.site for event in unread(events, kind))
                    assert set(left) <= set(new) and set(left.values()) <= {1}
                assert {event.member.site for event in unread(events, covey.MemberDown)} == set(new)
                assert not unread(events, covey.PartitionSuspected)
            assert set(f.copies.most.values()) == {1} and f.copies.running() == 200

    run(test)


@pytest.mark.slow
@pytest.mark.parametrize("gap_s", [0.0, 0.12])
def test_s13_four_of_ten_die_together_and_each_orphan_is_started_once(gap_s):
    """13: within 500 ms; what ran elsewhere stays where it is.

    Taking over waits for nothing, so a node that dies last may have started orphans of the first.
    """

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 10) as f:
            (await f.hubs[0].start_children(specs(300))).raise_for_errors()
            await f.settled()
            dying = ("n6", "n7", "n8", "n9")
            orphans = {id for id, node in owners(f.hubs[0]).items() if node in dying}
            f.copies.story.clear()
            for node in f.nodes[6:]:
                await cluster.kill(node)
                await asyncio.sleep(gap_s)
            await until(lambda: all(len(hub.nodes()) == 6 for hub in f.hubs[:6]), 60)
            await f.settled(*f.hubs[:6])
            starts = [(id, node) for _, id, what, node in f.copies.story if what == "starts"]
            print(f"{len(orphans)} orphans, {len(starts)} starts")
            assert Counter(id for id, node in starts if node not in dying) == dict.fromkeys(orphans, 1)
            assert {id for id, _ in starts} == orphans
            assert gap_s or len(starts) == len(orphans)
            assert set(f.copies.most.values()) == {1}

    run(test)


# --- 37 nothing slow blocks -----------------------------------------------------------------------------------------


def test_s37_a_slow_start_that_fails_and_one_that_never_returns_cost_only_themselves():
    """37: calls to others are answered in milliseconds meanwhile."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2) as f:
            await f.hubs[0].start_children(specs(20))
            slow = [ChildSpec(f"slow {at}", Late, 0.2, "crash") for at in range(20)]
            hung = [ChildSpec(f"hung {at}", Late, 1e6) for at in range(3)]
            waiting = asyncio.create_task(f.hubs[0].start_children([*slow, *hung], timeout=3))
            longest = 0.0
            while not waiting.done():
                for id in range(20):
                    began = now()
                    await f.hubs[id % 2].call(id, "hello")
                    longest = max(longest, now() - began)
                await asyncio.sleep(0.01)
            assert longest <= 0.01
            result = waiting.result()
            troubles = {error.id: error.trouble for error in result.errors}
            assert troubles == {spec.id: "raised" for spec in slow} | {spec.id: "no_response" for spec in hung}
            assert all(f.hubs[0].dump()[spec.id].state == "starting" for spec in hung)
            (await f.hubs[1].stop_children([spec.id for spec in hung])).raise_for_errors()
            await f.settled()

    run(test)


def test_s37_a_child_that_starts_children_does_not_stand_in_its_own_way():
    """37: it starts them and calls them, wherever they and it are."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 3) as f:
            batch = [ChildSpec(f"parent {at}", parent, 5) for at in range(4)]
            (await f.hubs[0].start_children(batch, timeout=2)).raise_for_errors()
            await until(lambda: len(f.hubs[0].dump()) == 24 and f.copies.running() == 24, 5)
            await f.settled()
            assert await f.hubs[2].call(("parent 1", 4), "more") == 2

    run(test)
