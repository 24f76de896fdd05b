"""Out of the cluster: kick, leave and close; who knows of it, and where everybody is afterwards."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial

import pytest

import covey
from covey.testing import Cluster, run
from tests.api.together import among, belong, durable, start_again
from tests.testing.virtual import meshed, next_of, until

STRANGER = covey.Site(b"nobody knows me!")


# --- kick -----------------------------------------------------------------------------------------------------------


def test_a_kick_says_who_knows_of_it_and_the_kicked_one_goes_on_alone_and_says_by_whom():
    async def test(cluster: Cluster) -> None:
        one, other, kicked = await durable(cluster, 3)
        async with one.events() as of_one, other.events() as of_other, kicked.events() as of_kicked:
            outcome = await one.kick(kicked.site)
            assert outcome == covey.Outcome((other.site,), ())
            for events in (of_one, of_other):
                gone = await next_of(events, covey.MemberKicked, covey.MemberLeft)
                assert isinstance(gone, covey.MemberKicked)
                assert (gone.member.site, gone.by) == (kicked.site, one.site)
            said = await next_of(of_kicked, covey.Kicked)
            assert said.by == one.site
            assert said == kicked.kicked
            assert said.wall_ms == pytest.approx(1_700_001_000_000, abs=60_000)
        await belong(one, other)
        await belong(kicked)
        await asyncio.sleep(30)  # it finds nobody again by itself, nor anybody it
        assert among(one, other)
        assert among(kicked)
        assert kicked.neighbours() == []
        assert (one.kicked, other.kicked) == (None, None)

    run(test)


@pytest.mark.slow
def test_a_kick_alarms_nobody_about_a_cluster_of_another_name():
    """The one that goes on alone asks nobody of the old cluster to replace those it has lost."""

    async def test(cluster: Cluster) -> None:
        nodes = await durable(cluster, 4)
        one, kicked = nodes[0], nodes[1]
        async with contextlib.AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(node.events()) for node in nodes]
            await one.kick(kicked.site)
            await asyncio.sleep(30)
            await kicked.join(one.address)
            await asyncio.sleep(30)
            await kicked.leave()
            await asyncio.sleep(30)
            await cluster.close()
            for events in streams:
                assert [event async for event in events if isinstance(event, covey.LinkRefused)] == []

    run(test)


def test_a_kicked_node_is_a_member_again_after_one_call():
    async def test(cluster: Cluster) -> None:
        one, other, kicked = await durable(cluster, 3)
        life = kicked.incarnation
        await one.kick(kicked.site)
        await belong(kicked)
        assert await kicked.join(other.address) == other.site
        assert kicked.kicked is None
        assert kicked.incarnation > life
        await belong(one, other, kicked)
        await until(lambda: meshed([one, other, kicked]))
        assert {member.incarnation for member in one.members()} == {
            one.incarnation, other.incarnation, kicked.incarnation,
        }  # fmt: skip

    run(test)


def test_who_was_kicked_while_it_was_away_hears_of_it_when_it_starts_and_starts_alone_ever_after():
    async def test(cluster: Cluster) -> None:
        one, other, kicked = await durable(cluster, 3)
        await kicked.close()
        outcome = await one.kick(kicked.site)
        assert outcome.acknowledged == (other.site,)
        again = await start_again(cluster, kicked)
        await until(lambda: again.kicked, 10)
        await belong(again)
        assert again.kicked is not None
        assert again.kicked.by == one.site
        for _ in range(2):
            said = again.kicked
            await again.close()
            again = await start_again(cluster, again)
            await until(partial(getattr, again, "kicked"), 1)
            assert again.kicked == said
            await asyncio.sleep(10)
            assert among(again)
            assert among(one, other)
        assert await again.join(one.address) == one.site
        await belong(one, other, again)

    run(test)


def test_a_dead_member_can_be_kicked_and_one_that_does_not_answer_is_named():
    async def test(cluster: Cluster) -> None:
        one, other, silent, dead = await durable(cluster, 4)
        await cluster.kill(dead)
        cluster.partition([one, other], [silent])
        start = asyncio.get_running_loop().time()
        outcome = await one.kick(dead.site)
        assert outcome == covey.Outcome((other.site,), (silent.site,))
        assert asyncio.get_running_loop().time() - start == pytest.approx(2, abs=0.1)
        cluster.heal()
        await belong(one, other, silent)

    run(test)


def test_kicking_oneself_is_leaving():
    async def test(cluster: Cluster) -> None:
        one, other = await durable(cluster, 2)
        assert await one.kick(one.site) == covey.Outcome((other.site,), ())
        await belong(one)
        await belong(other)
        assert one.kicked is None

    run(test)


def test_a_site_that_was_never_a_member_is_an_unknown_name_and_a_kicked_one_is_not():
    async def test(cluster: Cluster) -> None:
        one, other = await durable(cluster, 2)
        with pytest.raises(covey.UnknownName, match="never a member here; nothing was changed"):
            await one.kick(STRANGER)
        assert among(one, other)
        await one.kick(other.site)
        assert await one.kick(other.site) == covey.Outcome((), ())

    run(test)


@pytest.mark.parametrize("site", [b"short", "a" * 16, None, 16, b"x" * 17], ids=repr)
def test_what_is_no_site_is_a_usage_error(site):
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node:
            with pytest.raises(covey.UsageError, match="a site is 16 bytes"):
                await node.kick(site)

    run(test)


# --- leave ----------------------------------------------------------------------------------------------------------


def test_who_leaves_is_alone_and_was_not_kicked_and_comes_back_when_it_starts_again():
    async def test(cluster: Cluster) -> None:
        one, other, leaver = await durable(cluster, 3)
        async with one.events() as of_one, leaver.events() as of_leaver:
            outcome = await leaver.leave()
            assert outcome.acknowledged
            assert {*outcome.acknowledged, *outcome.missing} == {one.site, other.site}
            left = await next_of(of_one, covey.MemberLeft, covey.MemberKicked)
            assert (type(left), left.member.site, left.cause) == (covey.MemberLeft, leaver.site, "left")
            for _ in range(2):
                alone = await next_of(of_leaver, covey.MemberLeft)
                assert (alone.member.site in (one.site, other.site), alone.cause) == (True, "alone")
        await belong(leaver)
        await belong(one, other)
        assert leaver.kicked is None
        await asyncio.sleep(10)
        assert among(leaver)
        await leaver.close()
        again = await start_again(cluster, leaver)
        await belong(one, other, again)

    run(test)


def test_who_left_comes_back_with_join_too():
    async def test(cluster: Cluster) -> None:
        one, other, leaver = await durable(cluster, 3)
        await leaver.leave()
        await belong(leaver)
        assert await leaver.join(one.address) == one.site
        await belong(one, other, leaver)

    run(test)


@pytest.mark.parametrize("pause", [None, 0, 0.0005, 0.01], ids=["during", "at once", "half a millisecond", "later"])
def test_a_join_given_after_a_leave_wins_however_soon_it_comes(pause):
    async def test(cluster: Cluster) -> None:
        one, other, leaver = await durable(cluster, 3)
        before = leaver.incarnation
        leaving = asyncio.create_task(leaver.leave())
        if pause is None:
            await asyncio.sleep(0)
        else:
            await leaving
            await asyncio.sleep(pause)
        assert await leaver.join(other.address) in (one.site, other.site)
        await leaving
        await belong(one, other, leaver)
        await asyncio.sleep(10)
        assert among(one, other, leaver)
        assert not leaver.alone
        assert leaver.incarnation > before

    run(test)


def test_leaving_with_nobody_to_tell_takes_its_time_limit_and_says_who_is_missing():
    async def test(cluster: Cluster) -> None:
        nodes = await durable(cluster, 3)
        cluster.partition(nodes[:1], nodes[1:])
        outcome = await nodes[0].leave()
        assert (outcome.acknowledged, {*outcome.missing}) == ((), {node.site for node in nodes[1:]})
        await belong(nodes[0])
        async with cluster.node(seeds=[], storage=covey.MemoryStorage()) as single:
            assert await single.leave() == covey.Outcome((), ())

    run(test)


# --- close ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_close_keeps_a_durable_nodes_membership_and_ends_an_ephemeral_ones():
    async def test(cluster: Cluster) -> None:
        one, kept = await durable(cluster, 2)
        (ephemeral,) = await cluster.start(1)
        for node in (one, kept, ephemeral):
            await node.wait_members(3)
        await ephemeral.close()
        await until(lambda: among(one, kept), 5)
        await kept.close()
        await until(lambda: {member.status for member in one.members()} == {"alive", "stopped"}, 5)
        await asyncio.sleep(600)
        assert {member.site: member.status for member in one.members()} == {one.site: "alive", kept.site: "stopped"}
        again = await start_again(cluster, kept)
        await one.wait_members(2)
        await belong(one, again)

    run(test)


# --- flush ----------------------------------------------------------------------------------------------------------


def test_a_flush_says_who_has_taken_everything():
    async def test(cluster: Cluster) -> None:
        one, other, third = await durable(cluster, 3)
        outcome = await one.flush()
        assert ({*outcome.acknowledged}, outcome.missing) == ({other.site, third.site}, ())
        cluster.partition([one, other], [third])
        assert await one.flush() == covey.Outcome((other.site,), (third.site,))

    run(test)
