"""Scenarios of rows that come late, twice or never, of joiners and of restarts: nothing is undone, nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

import covey
from covey import ChildSpec
from covey.testing import Cluster, run
from covey.wire.keys import encode_key
from covey.wire.messages.registry import ChildCall
from tests.api.hub_children import session
from tests.api.hubs_open import Recorder, flock, is_settled, machine, now, owners, shown, specs, unread
from tests.api.together import durable, start_again
from tests.testing.virtual import until

# --- 28 late messages -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_s28_what_was_said_before_a_stop_revives_nothing_and_before_a_start_ends_nothing():
    """28: everything said about rows is said again 10 s later, in reverse and in order."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 3) as f:
            recorders = [Recorder(node) for node in f.nodes]
            (await f.hubs[0].start_children(specs(10))).raise_for_errors()
            late = await f.join()  # it is told everything at once
            await f.settled()
            (await f.hubs[1].stop_children(range(5))).raise_for_errors()
            (await f.hubs[2].start_children([ChildSpec("new", session)])).raise_for_errors()
            await f.settled()
            await asyncio.sleep(10)
            before, started = shown(late), f.copies.started.copy()
            streams = [hub.events() for hub in f.hubs]
            async with contextlib.AsyncExitStack() as stack:
                for events in streams:
                    await stack.enter_async_context(events)
                assert sum(recorder.say_again() for recorder in recorders) > 50
                await asyncio.sleep(20)
                assert not any(map(unread, streams))
            assert sorted(map(str, before)) == ["5", "6", "7", "8", "9", "new"]
            assert all(shown(hub) == before for hub in f.hubs)
            assert f.copies.started == started and f.copies.running() == 6

    run(test)


# --- 29 an empty peer -----------------------------------------------------------------------------------------------


def test_s29_an_empty_peer_deletes_nothing_and_gets_everything():
    """29: A keeps its 3 rows, a freshly booted B gets them; so does one that was gone and comes back empty."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 1) as f, f.hubs[0].events() as events:
            (await f.hubs[0].start_children(specs(3))).raise_for_errors()
            for _ in range(2):
                began = now()
                other = await f.join()
                await until(lambda hub=other: len(hub.dump()) == 3, 1)  # type: ignore[misc]
                print(f"3 rows after {now() - began:.3f} s")
                await f.settled(f.hubs[0], other)
                await cluster.kill(f.nodes[-1])
                await until(lambda: len(f.hubs[0].nodes()) == 1)
            await f.settled(f.hubs[0])
            assert len(f.hubs[0].dump()) == 3
            assert not unread(events, covey.ChildUnregistered)

    run(test)


# --- 30 versions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behind", [0, 1])
def test_s30_versions_decide_and_clocks_do_not(behind, monkeypatch):
    """30: one node's clock is an hour behind; of two copies the higher token is known to all, whichever side has it,
    and the copy that stays gets one above both. Told again, nothing is raised. Nobody can give a token.
    """

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2) as f:
            slow: Any = f.nodes[behind]._runner
            wall_us = slow._wall
            monkeypatch.setattr(slow, "_wall", lambda: wall_us() - 3_600_000_000)
            recorders = [Recorder(node) for node in f.nodes]
            (await f.hubs[0].start_children(specs(8))).raise_for_errors()
            await f.settled()
            first = {id: child.copies[0].fencing_token for id, child in f.hubs[0].dump().items()}
            cluster.partition(f.nodes[:1], f.nodes[1:])
            await until(lambda: all(len(hub.nodes()) == 1 for hub in f.hubs))
            await f.settled(f.hubs[0])
            await f.settled(f.hubs[1])
            for hub, times in zip(f.hubs, (4, 7), strict=True):
                for number in range(times):
                    for id in range(8):
                        hub.update_child(id, {"version": number + 1})
            split = [{id: child.copies[0].fencing_token for id, child in hub.dump().items()} for hub in f.hubs]
            cluster.heal()
            await until(lambda: all(len(hub.nodes()) == 2 for hub in f.hubs))
            await f.settled()
            for id in range(8):
                token = f.hubs[0].dump()[id].copies[0].fencing_token
                assert token >= max(split[0][id], split[1][id]) > first[id]
            tokens = shown(f.hubs[1])
            assert len({child.metadata["version"] for child in f.hubs[0].dump().values()}) == 1
            for recorder in recorders:
                recorder.say_again()
            await asyncio.sleep(10)
            assert shown(f.hubs[0]) == shown(f.hubs[1]) == tokens
            with pytest.raises(TypeError):
                ChildSpec(9, session).with_options(epoch=1 << 62)  # type: ignore[call-arg]

    run(test)


# --- 31 one is unreachable ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_s31_a_member_that_nobody_reaches_does_not_stall_the_others():
    """31: nine of ten settle within two rounds of one second while it is still listed."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 10) as f:
            cluster.partition(f.nodes[:9], f.nodes[9:])
            began = now()
            batch = [spec for spec in specs(60) if f.hubs[0].explain(spec.id).ranking[0] != "n9"]
            (await f.hubs[3].start_children(batch)).raise_for_errors()
            await f.settled(*f.hubs[:9], seconds=2)
            assert len(f.hubs[0].nodes()) == 10, "it is listed still"
            print(f"{len(batch)} children on nine registries after {now() - began:.3f} s")

    run(test)


# --- 33 late joiner -------------------------------------------------------------------------------------------------


def test_s33_who_comes_after_sixteen_seconds_is_listed_by_both_within_ten():
    """33: and gets its share of the children."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 1) as f:
            (await f.hubs[0].start_children(specs(20))).raise_for_errors()
            await asyncio.sleep(16)
            began = now()
            await f.join()
            await until(lambda: all(len(hub.nodes()) == 2 for hub in f.hubs), 10)
            print(f"both list both {now() - began:.2f} s after it came")
            await f.settled()
            assert set(owners(f.hubs[0]).values()) == {"n0", "n1"}

    run(test)


# --- 34 all restart -------------------------------------------------------------------------------------------------


def test_s34_children_come_back_after_all_nodes_restarted():
    """34: each of 3 starts once, those that were stopped before stay stopped."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 0) as f:
            nodes = await durable(cluster, 3)
            f.copies.names.update({id(node._hubs): str(at) for at, node in enumerate(nodes)})
            hubs = [await f.enter(f.hub_of(node)) for node in nodes]
            (await hubs[0].start_children(specs(5))).raise_for_errors()
            (await hubs[0].stop_children([3, 4])).raise_for_errors()
            await f.settled(*hubs)
            for node in nodes:
                await cluster.kill(node)
            f.copies.started.clear()
            await asyncio.sleep(30 * 86_400)
            again = [await start_again(cluster, node) for node in nodes]
            for node in again[1:]:  # nothing of theirs is where it was: somebody has to say where they are
                await node.join(again[0].address)
            f.copies.names.update({id(node._hubs): str(at) for at, node in enumerate(again)})
            hubs = list(await asyncio.gather(*[f.enter(f.hub_of(node)) for node in again]))
            await until(lambda: f.copies.running() == 3, 30)
            await asyncio.sleep(30)
            assert f.copies.started == {0: 1, 1: 1, 2: 1}
            assert is_settled(hubs)

    run(test)


def test_s34_who_rejoins_a_cluster_that_lives_starts_nothing_that_runs():
    """34: it comes back with its storage; what runs elsewhere goes on, static children included."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 0) as f:
            nodes = await durable(cluster, 3)
            f.copies.names.update({id(node._hubs): str(at) for at, node in enumerate(nodes)})
            hubs = [await f.enter(f.hub_of(node, static=specs(6))) for node in nodes]
            await f.settled(*hubs)
            await cluster.kill(nodes[2])
            await until(lambda: len(hubs[0].nodes()) == 2)
            await f.settled(*hubs[:2])
            f.copies.started.clear()
            again = await start_again(cluster, nodes[2])
            f.copies.names[id(again._hubs)] = "again"
            hubs[2] = await f.enter(f.hub_of(again, static=specs(6)))
            await until(lambda: len(hubs[0].nodes()) == 3)
            await f.settled(*hubs)
            assert set(f.copies.most.values()) == {1} and f.copies.running() == 6
            moved = {id for id, node in owners(hubs[0]).items() if node == hubs[2].nodes()[0].name}
            assert set(f.copies.started) >= moved and max(f.copies.started.values()) == 1

    run(test)


# --- 38 no loops ----------------------------------------------------------------------------------------------------


def test_s38_nodes_that_disagree_about_an_owner_send_a_call_to_and_fro_a_bounded_time():
    """38: each holds that the other one is to run it; the call is said to neither, and ends with a clear error."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2) as f:
            child = encode_key("nowhere")
            for hub, other in zip(f.hubs, reversed(f.nodes), strict=True):
                places: Any = machine(hub).ground.places
                host = places.host
                places.host = lambda id, host=host, site=other.site: site if id == child else host(id)
            result = await f.hubs[0].start_children([ChildSpec("nowhere", session)], timeout=3)
            assert [error.trouble for error in result.errors] == ["no_response"]
            recorders = [Recorder(node, "registry") for node in f.nodes]
            began = now()
            with pytest.raises(covey.PeerUnreachable, match="not delivered"):
                await f.hubs[0].call("nowhere", 1, timeout=5)
            assert now() - began <= 5.01
            said = sum(recorder.count(ChildCall) for recorder in recorders)
            assert said == 0
            assert not f.copies.started

    run(test)
