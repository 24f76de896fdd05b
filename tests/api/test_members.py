"""Members as one node sees them: the list, waiting for it, what each says of itself, and partitions."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

import covey
from covey.testing import Cluster, run
from tests.api.together import by_site, statuses, together
from tests.testing.virtual import meshed, next_of, running, until

# --- the list -------------------------------------------------------------------------------------------------------


def test_a_node_is_its_own_member_from_the_start():
    async def test(cluster: Cluster) -> None:
        async with cluster.node(name="a", meta={"zone": 1}) as node:
            me = covey.Member(node.site, "a", node.address, "alive", node.incarnation, {"zone": 1}, True)
            assert node.members() == [me]
            assert me.address
            assert me.reachable
            async with node.events() as events:
                assert events.snapshot == covey.NodeState((me,), ())
                await asyncio.sleep(5)
                assert list(events._queue) == []

    run(test)


def test_all_nodes_list_the_same_members_in_the_order_of_their_sites():
    async def test(cluster: Cluster) -> None:
        nodes = await together(cluster, 5, meta={"zone": "eu"})
        lists = [node.members() for node in nodes]
        assert all(found == lists[0] for found in lists)
        assert [member.site for member in lists[0]] == sorted(node.site for node in nodes)
        for node in nodes:
            member = by_site(lists[0])[node.site]
            assert (member.address, member.incarnation, member.meta) == (node.address, node.incarnation, {"zone": "eu"})

    run(test)


def test_what_happened_before_is_in_the_snapshot_and_only_there():
    async def test(cluster: Cluster) -> None:
        nodes = await together(cluster, 4)
        await until(lambda: meshed(nodes))
        async with nodes[0].events() as events:
            assert events.snapshot.members == tuple(nodes[0].members())
            await asyncio.sleep(30)
            assert list(events._queue) == []

    run(test)


def test_an_ephemeral_member_that_stays_away_is_forgotten_after_a_while():
    async def test(cluster: Cluster) -> None:
        one, other, gone = await together(cluster, 3)
        await cluster.kill(gone)
        await until(lambda: statuses(one, gone) == ["down"], 10)
        await asyncio.sleep(30)
        assert statuses(one, gone) == ["down"]
        await until(lambda: statuses(one, gone) == statuses(other, gone) == ["-"], 40)

    run(test)


# --- waiting --------------------------------------------------------------------------------------------------------


def test_wait_members_gives_those_that_live_as_soon_as_there_are_enough():
    async def test(cluster: Cluster) -> None:
        loop = asyncio.get_running_loop()
        one = cluster.node()
        await one.start()
        assert [member.site for member in await one.wait_members(1)] == [one.site]
        async with running(one.wait_members(2), one.wait_members(3)) as (first, second):
            other = cluster.node()
            await other.start()
            assert {member.site for member in await first} == {one.site, other.site}
            assert not second.done()
            third = cluster.node()
            await third.start()
            assert {member.site for member in await second} == {one.site, other.site, third.site}
        before = loop.time()
        assert {member.status for member in await one.wait_members(3)} == {"alive"}
        assert loop.time() == before

    run(test)


def test_who_is_down_does_not_count_and_the_error_says_how_many_there_were():
    async def test(cluster: Cluster) -> None:
        nodes = await together(cluster, 3)
        await cluster.kill(nodes[2])
        await until(lambda: statuses(nodes[0], nodes[2]) == ["down"], 10)
        assert len(nodes[0].members()) == 3
        start = asyncio.get_running_loop().time()
        with pytest.raises(covey.DeadlineExceeded, match=r"2 of 3 members after 2\.5 s"):
            await nodes[0].wait_members(3, timeout=2.5)
        assert asyncio.get_running_loop().time() - start == pytest.approx(2.5, abs=0.001)
        telling: Any = nodes[0]._telling
        assert len(telling.hub._subscribers) == 0

    run(test)


@pytest.mark.parametrize("count", [-1, 1.5, "2", True, None], ids=repr)
def test_a_wrong_number_of_members_is_a_usage_error(count):
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node:
            with pytest.raises(covey.UsageError, match="count must be an int of at least 0"):
                await node.wait_members(count)

    run(test)


# --- what a node says of itself -------------------------------------------------------------------------------------


def test_name_and_metadata_arrive_with_the_member_and_a_change_arrives_as_an_update():
    async def test(cluster: Cluster) -> None:
        one, other = await together(cluster, 2, name="a", meta={"zone": "eu-1", "weight": 3})
        found = by_site(other.members())[one.site]
        assert (found.name, found.meta) == ("a", {"zone": "eu-1", "weight": 3})
        async with one.events() as own, other.events() as heard:
            await one.set_meta({"zone": "eu-2"})
            for events in (own, heard):
                changed = await next_of(events, covey.MemberUpdated, covey.MemberUp)
                assert changed == covey.MemberUpdated(msgspec.structs.replace(found, meta={"zone": "eu-2"}))
            await one.set_meta({"zone": "eu-2"})
            await asyncio.sleep(5)
            assert list(own._queue) == list(heard._queue) == []
        assert one.members() == other.members()

    run(test)


@pytest.mark.parametrize(
    ("meta", "reason"),
    [
        ([("zone", 1)], "a mapping with str keys"),
        ("zone", "a mapping with str keys"),
        ({1: "zone"}, "a mapping with str keys"),
        ({"zone": object()}, "meta: "),
        ({"zone": 2**70}, "meta: "),
        ({"zone": "x" * 4096}, "at most 4096"),
    ],
    ids=["pairs", "str", "int key", "object", "big int", "too long"],
)
def test_metadata_that_cannot_be_said_is_a_config_error_and_nothing_changes(meta, reason):
    async def test(cluster: Cluster) -> None:
        with pytest.raises(covey.ConfigError, match=reason):
            cluster.node(meta=meta)
        async with cluster.node(meta={"zone": 1}) as node:
            with pytest.raises(covey.ConfigError, match=reason):
                await node.set_meta(meta)
            assert node.members()[0].meta == {"zone": 1}

    run(test)


def test_metadata_as_long_as_is_allowed_arrives():
    async def test(cluster: Cluster) -> None:
        meta = {"zone": "x" * (4096 - 12)}
        one, other = await together(cluster, 2, meta=meta)
        assert by_site(other.members())[one.site].meta == meta

    run(test)


# --- partitions -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_partition_is_suspected_once_on_both_sides_and_all_members_are_back_after_it():
    async def test(cluster: Cluster) -> None:
        nodes = await together(cluster, 5)
        many, few = nodes[:3], nodes[3:]
        async with nodes[0].events() as of_many, nodes[4].events() as of_few:
            cluster.partition(many, few)
            suspected = await next_of(of_many, covey.PartitionSuspected)
            assert ({*suspected.silent}, suspected.others) == ({node.site for node in few}, 2)
            suspected = await next_of(of_few, covey.PartitionSuspected)
            assert {*suspected.silent} <= {node.site for node in many}
            assert len(suspected.silent) >= 2
            await until(lambda: statuses(few[0], *many) == ["down"] * 3, 30)
            await asyncio.sleep(20)
            cluster.heal()
            for node in nodes:
                await node.wait_members(5, timeout=60)
            await asyncio.sleep(20)
            later = [event for events in (of_many, of_few) for event in events._queue]
            assert not any(isinstance(event, covey.PartitionSuspected) for event in later)
        assert all(node.members() == nodes[0].members() for node in nodes)

    run(test)


def test_one_silent_member_is_no_partition():
    async def test(cluster: Cluster) -> None:
        nodes = await together(cluster, 3)
        async with nodes[0].events() as events:
            cluster.partition(nodes[:2], nodes[2:])
            await next_of(events, covey.MemberDown)
            await asyncio.sleep(20)
            assert not any(isinstance(event, covey.PartitionSuspected) for event in events._queue)

    run(test)
