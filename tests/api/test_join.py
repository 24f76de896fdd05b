"""Into the cluster by an address: what `join` returns, how it fails, and that it leaves nothing half done."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import covey
from covey.testing import Cluster, run
from tests.api.together import among, belong, durable, together
from tests.testing.virtual import until


def test_a_node_without_seeds_joins_by_an_address_and_two_islands_become_one():
    async def test(cluster: Cluster) -> None:
        left = await together(cluster, 2)
        right = [(await cluster.start(1, seeds=[]))[0]]
        right += await cluster.start(1, seeds=[right[0].address])
        await belong(*right)
        assert await right[1].join(left[0].address) == left[0].site
        await belong(*left, *right)

    run(test)


def test_joining_oneself_and_a_neighbour_changes_nothing():
    async def test(cluster: Cluster) -> None:
        one, other = await together(cluster, 2)
        life = one.incarnation
        assert await one.join(one.address) == one.site
        assert await one.join(other.address) == other.site
        assert (among(one, other), one.incarnation) == (True, life)

    run(test)


def test_where_nobody_listens_or_answers_nothing_is_joined():
    async def test(cluster: Cluster) -> None:
        one, other, kicked = await durable(cluster, 3)
        await one.kick(kicked.site)
        await belong(kicked)
        verdict = kicked.kicked
        with pytest.raises(covey.JoinFailed, match="nothing was joined"):
            await kicked.join("127.0.0.1:999")
        cluster.partition([kicked], [one, other])
        with pytest.raises(covey.JoinFailed, match="nothing was joined"):
            await kicked.join(one.address)
        assert among(kicked)
        assert kicked.kicked == verdict
        cluster.heal()
        await asyncio.sleep(10)
        assert among(one, other)
        assert await kicked.join(one.address) == one.site

    run(test)


def test_another_cluster_is_refused_and_nothing_is_half_joined():
    async def test(cluster: Cluster) -> None:
        one, other, kicked = await durable(cluster, 3)
        stranger = cluster.node("another", seeds=[])
        await stranger.start()
        for node in (one, other):
            with pytest.raises(covey.ClusterMismatch) as caught:
                await node.join(stranger.address)
            assert isinstance(caught.value, covey.JoinFailed)
        await one.kick(kicked.site)
        await belong(kicked)
        with pytest.raises(covey.ClusterMismatch):
            await kicked.join(stranger.address)
        await asyncio.sleep(10)
        assert among(one, other)
        assert among(kicked)
        assert among(stranger)
        assert kicked.kicked is not None

    run(test)


@pytest.mark.parametrize(
    "pause",
    [0, 0.002, *[pytest.param(pause, marks=pytest.mark.slow) for pause in (0.001, 0.003, 0.004, 0.005, 0.01, 0.05)]],
    ids=str,
)
@pytest.mark.parametrize("asked", [0, 1], ids=["who threw it out", "another"])
def test_who_was_thrown_out_while_it_was_away_joins_with_one_call_before_it_knows_of_it(pause, asked):
    async def test(cluster: Cluster) -> None:
        nodes = await durable(cluster, 3)
        kicked = nodes.pop()
        await kicked.close()
        await nodes[0].kick(kicked.site)
        again = cluster.node(storage=kicked._options.storage)
        await again.start()
        await asyncio.sleep(pause)
        assert await again.join(nodes[asked].address) in [node.site for node in nodes]
        await belong(*nodes, again)
        await asyncio.sleep(10)
        assert not again.alone
        await belong(*nodes, again)

    run(test)


def test_where_all_are_out_a_join_says_how_to_begin_again_and_that_works():
    """Both sides of a cut threw the other out; who is out lets nobody in, until one begins again by itself."""

    async def test(cluster: Cluster) -> None:
        one, other = await durable(cluster, 2)
        cluster.partition([one], [other])
        await asyncio.gather(one.kick(other.site), other.kick(one.site))
        cluster.heal()
        await until(lambda: one.alone and other.alone, 120)
        for node, out in ((one, other), (other, one)):
            with pytest.raises(covey.JoinFailed, match="out of the cluster itself; name a member, and where all"):
                await node.join(out.address)
        assert await one.join(one.address) == one.site
        assert not one.alone
        assert await other.join(one.address) == one.site
        await belong(one, other)

    run(test)


def test_a_join_that_takes_longer_than_its_caller_waits_is_a_deadline_exceeded():
    async def test(cluster: Cluster) -> None:
        nodes = await together(cluster, 2)
        cluster.partition(nodes[:1], nodes[1:])
        lonely = cluster.node(seeds=[])
        await lonely.start()
        cluster.partition([lonely], nodes)
        start = asyncio.get_running_loop().time()
        with pytest.raises(covey.DeadlineExceeded, match=r"no outcome in 0\.5 s"):
            await lonely.join(nodes[0].address, timeout=0.5)
        assert asyncio.get_running_loop().time() - start == pytest.approx(0.5, abs=0.001)
        runner: Any = lonely._runner
        assert runner._outcomes == {}
        assert among(lonely)

    run(test)


@pytest.mark.parametrize("address", ["", "host", "host:port", "host:0:1", ":80", "host:70000"], ids=repr)
def test_what_is_no_address_is_a_config_error(address):
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node:
            with pytest.raises(covey.ConfigError, match="address"):
                await node.join(address)

    run(test)
