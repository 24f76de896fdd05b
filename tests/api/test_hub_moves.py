"""Scenarios of children that move: in step, never twice, with their state, and losing no acknowledged call."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

import covey
from covey import ChildSpec
from covey.api.config import Config
from covey.protocols.registry.config import RegistryConfig
from covey.testing import Cluster, run
from tests.api.hub_children import Picky, session, waits
from tests.api.hubs_open import flock, machine, now, owners, specs, unread
from tests.testing.virtual import running, until


def homes(hub: covey.Hub, count: int, node: str) -> list[int]:
    """The ids below `count` that belong to this node."""
    return [id for id in range(count) if hub.explain(id).ranking[0] == node]


# --- 15 in step -----------------------------------------------------------------------------------------------------


def test_s15_a_node_that_stops_hands_over_each_child_as_soon_as_that_has_ended():
    """15: the one that needs 0.5 s runs elsewhere within 1 s of its end, that of 5 s only after these."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 3, config=Config.laptop(close_timeout=10)) as f:
            quick, slow = homes(f.hubs[0], 30, "n1")[:2]
            batch = [
                ChildSpec(quick, waits, 0.5).with_options(shutdown_timeout=8),
                ChildSpec(slow, waits, 5.0).with_options(shutdown_timeout=8),
            ]
            (await f.hubs[0].start_children(batch)).raise_for_errors()
            await f.settled()
            assert set(owners(f.hubs[0]).values()) == {"n1"}
            began = now()
            await f.hubs[1].aclose()
            for id, seconds in ((quick, 0.5), (slow, 5.0)):
                (ended,) = f.copies.when(id, "ends")
                _, started = f.copies.when(id, "starts")
                assert seconds <= ended - began <= seconds + 0.1
                assert 0 <= started - ended <= 1
                print(f"needs {seconds} s: ended after {ended - began:.3f} s, ran {started - ended:.4f} s later")
            await f.settled(f.hubs[0], f.hubs[2])
            assert set(f.copies.most.values()) == {1}

    run(test)


def test_s15_a_node_that_closes_hands_over_as_well():
    """15: `node.close()` gives children the time of `close_timeout`, and then they run elsewhere."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2) as f:
            quick, slow = homes(f.hubs[0], 30, "n1")[:2]
            batch = [ChildSpec(quick, waits, 0.5), ChildSpec(slow, waits, 4.0)]
            (await f.hubs[0].start_children(batch)).raise_for_errors()
            await f.settled()
            closing = asyncio.create_task(f.nodes[1].close())
            await until(lambda: len(f.copies.when(quick, "starts")) == 2, 1.5)
            assert not closing.done()
            await closing
            await f.settled(f.hubs[0])
            assert set(f.copies.most.values()) == {1}
            assert f.copies.started == {quick: 2, slow: 2}

    run(test)


# --- 16, 17 one becomes six -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_s16_a_thousand_children_spread_over_six_nodes_and_never_run_twice():
    """16, 17: only those move whose owner is another now; each keeps its state; one copy at every moment."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 1) as f:
            (await f.hubs[0].start_children(specs(1000))).raise_for_errors()
            await asyncio.gather(*(f.hubs[0].call(id, id) for id in range(1000)))
            began = now()
            await asyncio.gather(*(f.join() for _ in range(5)))
            await until(lambda: all(len(hub.nodes()) == 6 for hub in f.hubs))
            await f.settled()
            print(f"settled after {now() - began:.1f} s")
            assert set(f.copies.most.values()) == {1}
            assert set(f.copies.live.values()) == {1}
            away = [id for id, node in owners(f.hubs[0]).items() if node != "n0"]
            moves = f.copies.started.total() - 1000
            print(f"{len(away)} belong elsewhere, {moves} moves")
            assert len(away) > 500
            assert moves <= 1.2 * len(away)
            lines = await asyncio.gather(*(f.hubs[3].call(id, "lines") for id in range(1000)))
            assert lines == [[id] for id in range(1000)]

    run(test)


def test_s17_children_that_hand_over_nothing_run_once_as_well():
    """17: without a state there is one instance of each all the same."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 1) as f:
            (await f.hubs[0].start_children(specs(100, waits))).raise_for_errors()
            await f.join()
            await until(lambda: all(len(hub.nodes()) == 2 for hub in f.hubs))
            await f.settled()
            assert set(owners(f.hubs[0]).values()) == {"n0", "n1"}
            assert set(f.copies.most.values()) == {1} and f.copies.running() == 100

    run(test)


# --- 18 graceful stop -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_s18_a_thousand_children_keep_their_state_and_metadata_when_a_node_stops():
    """18: 6 nodes, one closes; all 1,000 flags are there, and what is said of the children is what was."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 6) as f:
            (await f.hubs[0].start_children(specs(1000, tag="T", metadata={"v": 1}))).raise_for_errors()
            await asyncio.gather(*(f.hubs[id % 6].call(id, True) for id in range(1000)))
            await f.settled()
            moved = sum(node == "n2" for node in owners(f.hubs[0]).values())
            began = now()
            await f.nodes[2].close()
            print(f"closed after {now() - began:.2f} s, {moved} children moved")
            left = [hub for at, hub in enumerate(f.hubs) if at != 2]
            await f.settled(*left)
            lines = await asyncio.gather(*(left[id % 5].call(id, "lines") for id in range(1000)))
            assert lines == [[True]] * 1000
            assert all(child.metadata == {"v": 1, "tag": "T"} for child in left[4].dump().values())
            assert set(f.copies.most.values()) == {1}
            assert f.copies.started.total() == 1000 + moved

    run(test)


@pytest.mark.slow
def test_s18_of_more_children_than_are_looked_at_in_one_turn_none_loses_its_state():
    """18: two nodes, and about 600 children on the one that closes."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2) as f:
            (await f.hubs[0].start_children(specs(1200))).raise_for_errors()
            await asyncio.gather(*(f.hubs[0].call(id, id) for id in range(1200)))
            moved = len(f.hubs[1].children("local"))
            assert moved > 500
            await f.nodes[1].close()
            await f.settled(f.hubs[0])
            assert await asyncio.gather(*(f.hubs[0].call(id, "lines") for id in range(1200))) == [
                [id] for id in range(1200)
            ]
            assert f.copies.started.total() == 1200 + moved and set(f.copies.most.values()) == {1}

    run(test)


# --- 19 no lost update ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_s19_no_acknowledged_call_is_lost_while_a_counter_moves_twenty_times():
    """19: 1,000 calls a second from two nodes; every answer is another number, and none takes 2 s."""

    engine = Config.laptop().engine
    often = msgspec.structs.replace(engine, registry=RegistryConfig(stable_us=100_000))

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 3, config=Config.laptop(engine=often)) as f:
            (counter,) = homes(f.hubs[0], 30, "n2")[:1]
            await f.hubs[0].start_child(ChildSpec(counter, session))
            answers: list[int] = []
            longest = 0.0

            async def increment(hub: covey.Hub) -> None:
                nonlocal longest
                began = now()
                answers.append(await hub.call(counter, 1))
                longest = max(longest, now() - began)

            async def increments(hub: covey.Hub) -> None:
                async with asyncio.TaskGroup() as group:
                    while len(f.copies.when(counter, "starts")) <= 20:
                        group.create_task(increment(hub))
                        await asyncio.sleep(0.002)

            async with running(increments(f.hubs[0]), increments(f.hubs[1])) as tasks:
                hub = f.hubs[2]
                while not all(task.done() for task in tasks):
                    await until(lambda: owners(f.hubs[0])[counter] == "n2" or tasks[0].done())
                    await hub.aclose()  # it moves away
                    await asyncio.sleep(0.2)
                    hub = await f.enter(f.hub_of(f.nodes[2]))  # and back, once the view is stable
                await asyncio.gather(*tasks)
            total = len(await f.hubs[1].call(counter, "lines"))
            print(f"{len(answers)} calls, {f.copies.started[counter] - 1} moves, the longest took {longest:.3f} s")
            assert f.copies.started[counter] > 20
            assert total == len(answers)
            assert sorted(answers) == list(range(1, total + 1))
            assert longest <= 2
            assert f.copies.most[counter] == 1

    run(test)


async def unsayable(ctx: covey.Context) -> covey.Handover:
    await ctx.stopping.wait()
    return covey.Handover(object())


def test_a_state_that_nobody_can_send_is_an_event_where_it_was_lost():
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 1, children=[unsayable]) as f, f.hubs[0].events() as events:
            (await f.hubs[0].start_children(specs(8, unsayable))).raise_for_errors()
            await f.join()
            await f.settled()
            lost = unread(events, covey.HandoverLost)
            assert {event.id for event in lost} == {*homes(f.hubs[0], 8, "n1")} and lost
            assert all("it is lost" in event.error for event in lost)
            await f.hubs[0].stop_children(range(8))
            assert unread(events, covey.HandoverLost) == lost, "of what is stopped nobody would have had it"

    run(test)


# --- 20 the target fails --------------------------------------------------------------------------------------------


def test_s20_what_cannot_start_elsewhere_stays_with_its_state():
    """20: the target raises as it builds the child: reported, and it runs on where it was, once."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 1) as f, f.hubs[0].events() as events:
            (await f.hubs[0].start_children(specs(20, Picky))).raise_for_errors()
            for id in range(20):
                await f.hubs[0].call(id, "state")
            f.copies.failing.update(dict.fromkeys(range(20), "n1"))
            other = await f.join()
            await until(lambda: unread(events, covey.MoveFailed), 10)
            await asyncio.sleep(30)
            failed = unread(events, covey.MoveFailed)
            assert {event.target for event in failed} == {f.nodes[1].site}
            assert {event.id for event in failed} == {*homes(f.hubs[0], 20, "n1")}
            assert all("no such device here" in event.error for event in failed)
            assert set(owners(other).values()) == {"n0"}
            assert f.copies.started == dict.fromkeys(range(20), 1)
            assert [await other.call(id, "lines") for id in range(20)] == [["state"]] * 20
            f.copies.failing.clear()
            await f.settled()
            assert [await other.call(id, "lines") for id in range(20)] == [["state"]] * 20
            assert set(f.copies.most.values()) == {1}

    run(test)


class Grumpy(Picky):
    """One that can be built anywhere, and fails where it is run."""

    def __init__(self, ctx: covey.Context) -> None:
        self.ctx = ctx

    async def run(self) -> covey.Handover:
        Picky(self.ctx)
        return await session(self.ctx)


def test_s20_what_was_built_and_fails_as_it_is_run_goes_back_with_its_state():
    """20: it has ended at its source by then, which runs it again with what it left, once."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 1, children=[Grumpy]) as f:
            (await f.hubs[0].start_children(specs(10, Grumpy))).raise_for_errors()
            for id in range(10):
                await f.hubs[0].call(id, "state")
            f.copies.failing.update(dict.fromkeys(range(10), "n1"))
            other = await f.join()
            await until(lambda: machine(f.hubs[0]).moves.counts["move_failed"] >= len(homes(other, 10, "n1")), 10)
            await asyncio.sleep(2)
            assert set(owners(other).values()) == {"n0"}
            assert [await other.call(id, "lines") for id in range(10)] == [["state"]] * 10
            assert f.copies.running() == 10 and set(f.copies.most.values()) == {1}

    run(test)
