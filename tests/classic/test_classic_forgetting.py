"""classy's `cleanup` (reference 1.7, M09) and `wipe` (1.8) by their names."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import covey
from covey.classic import Membership
from covey.testing import Cluster, run
from tests.classic.classic_pair import durable, unlinked
from tests.testing.virtual import next_of, until

INVENTED = covey.Site(b"an invented site")


# --- cleanup --------------------------------------------------------------------------------------------------------


def test_m09_one_member_that_is_down_and_has_not_heard_blocks_forgetting_until_it_is_out_too():
    async def test(cluster: Cluster) -> None:
        first, second, third = await durable(cluster, 3)
        await cluster.kill(third.node)
        await first.node.kick(second.local)
        await asyncio.sleep(1.01)
        assert await first.cleanup(1) == []
        assert first.node_of_site(second.local) == second.node.address
        await first.node.kick(third.local)
        await asyncio.sleep(3)
        assert await first.cleanup(1) == sorted([second.local, third.local])
        assert first.node_of_site(second.local) is first.node_of_site(third.local) is None
        assert first.members() == [first.local]
        everybody = sorted([first.local, second.local, third.local])
        assert first.known_clusters() == {first.cluster: everybody}, "that they are out stays"
        assert await first.cleanup(1) == [], "once"

    run(test)


def test_a_site_is_forgotten_only_after_its_time_and_zero_is_a_time():
    async def test(cluster: Cluster) -> None:
        a, b = await durable(cluster, 2)
        await a.node.kick(b.local)
        await asyncio.sleep(2)
        assert await a.cleanup(10) == []
        assert await a.cleanup(2.5) == []
        assert await a.cleanup(0) == [b.local]

    run(test)


def test_all_members_that_have_shown_that_they_know_are_enough():
    async def test(cluster: Cluster) -> None:
        a, b, c = await durable(cluster, 3)
        await a.node.kick(c.local)
        await asyncio.sleep(5)
        assert await a.cleanup(1) == await b.cleanup(1) == [c.local]

    run(test)


def test_a_forgotten_site_that_returns_is_told_that_it_is_out():
    """classy meets it with silence, and it believes for ever that it belongs (M11)."""

    async def test(cluster: Cluster) -> None:
        a, b, c = await durable(cluster, 3)
        storage: Any = c.node._options.storage
        await c.node.close()
        await a.node.kick(c.local)
        await asyncio.sleep(5)
        assert await a.cleanup(1) == [c.local]
        async with cluster.node(storage=storage, seeds=[a.node.address]) as again:
            await until(lambda: again.kicked, 10)
            assert again.kicked is not None
            assert again.kicked.by == a.local
            assert Membership(again).members() == [c.local]
            assert a.members() == b.members() == sorted([a.local, b.local])

    run(test)


def test_the_local_site_is_never_forgotten():
    """classy may select it if it was thrown out and its server still runs."""

    async def test(cluster: Cluster) -> None:
        a, b = await durable(cluster, 2)
        cluster.partition([a.node], [b.node])
        leaving = asyncio.create_task(a.node.leave())
        await asyncio.sleep(1.5)
        assert a.local not in a.members()
        assert await a.cleanup(0) == []
        await leaving
        assert a.node_of_site(a.local) == a.node.address

    run(test)


@pytest.mark.parametrize("seconds", [-1, True, "1", None, float("nan"), float("inf")], ids=repr)
def test_what_is_no_time_is_a_usage_error(seconds):
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node:
            with pytest.raises(covey.UsageError, match="forget_after_seconds must be 0 or more"):
                await Membership(node).cleanup(seconds)

    run(test)


# --- wipe -----------------------------------------------------------------------------------------------------------


def test_a_wipe_deletes_all_records_and_acknowledgements_and_never_the_clock():
    async def test(cluster: Cluster) -> None:
        a, b = await unlinked(cluster, 2, meta={"zone": 1})
        await a.call_sync(await b.get_data())
        await a.set_member(INVENTED)
        (before,) = a.dump().values()
        async with a.node.events() as events:
            await a.wipe()
            gone = [await next_of(events, covey.MemberLeft, covey.MemberKicked) for _ in range(2)]
            assert {(type(event), event.member.site) for event in gone} == {
                (covey.MemberLeft, b.local), (covey.MemberLeft, INVENTED),
            }  # fmt: skip
        (after,) = a.dump().values()
        assert {key: entry.value for key, entry in after.peers[a.local].items()} == {
            "mem": True, "host": a.node.address, "meta": ("", {"zone": 1}),
        }  # fmt: skip
        assert list(after.peers) == [a.local]
        assert (after.acked_in, after.acked_out) == ({}, {})
        assert after.clock > before.clock
        assert after.imports > before.imports
        assert a.members() == [a.local]
        assert [member.site for member in a.node.members()] == [a.local]
        assert (await a.set_member(INVENTED)) > before.clock

    run(test)


def test_a_wipe_survives_a_crash_and_so_does_the_clock():
    async def test(cluster: Cluster) -> None:
        storage = covey.MemoryStorage()
        node = cluster.node(storage=storage, seeds=[])
        await node.start()
        m = Membership(node)
        last = await m.set_member(INVENTED)
        await m.wipe()
        await cluster.kill(node)
        storage.crash()
        again = cluster.node(storage=storage, seeds=[])
        outside: Any = again._environment
        wall_us = outside.wall_us
        outside.wall_us = lambda: wall_us() - 3_600_000_000
        async with again:
            m = Membership(again)
            assert m.members() == [node.site]
            assert await m.set_member(INVENTED) > last

    run(test)


def test_a_wiped_site_is_told_everything_again_and_all_agree():
    async def test(cluster: Cluster) -> None:
        ms = await durable(cluster, 4)
        await ms[1].set_member(INVENTED)
        await ms[1].node.flush()
        everybody = sorted([INVENTED, *(m.local for m in ms)])
        await until(lambda: all(m.members() == everybody for m in ms), 5)
        await ms[0].wipe()
        assert ms[0].members() == [ms[0].local]
        await until(lambda: ms[0].members() == everybody, 5)
        for m in ms:
            await m.node.wait_members(4, timeout=30)
        await ms[0].set_member(INVENTED, False)
        await until(lambda: all(INVENTED not in m.members() for m in ms), 5)

    run(test)


def test_a_site_that_is_leaving_is_not_wiped():
    async def test(cluster: Cluster) -> None:
        a, b = await durable(cluster, 2)
        cluster.partition([a.node], [b.node])
        leaving = asyncio.create_task(a.node.leave())
        await asyncio.sleep(0.1)
        before = a.dump()
        with pytest.raises(covey.UsageError, match="about to leave; nothing was wiped"):
            await a.wipe()
        assert a.dump() == before
        await leaving

    run(test)
