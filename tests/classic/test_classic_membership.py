"""classy's functions on the record by their names, one section each, with the edge cases that classy has and ours."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

import covey
from covey.classic import Membership
from covey.core.ids import ClusterId, cluster_id
from covey.testing import Cluster, run
from tests.classic.classic_pair import durable, unlinked
from tests.testing.virtual import running, until

STRANGER = covey.Site(b"nobody knows me!")
OTHER_CLUSTER = ClusterId(b"another cluster.")
SHARED = cluster_id("test")

# --- set_member -----------------------------------------------------------------------------------------------------


def test_a_site_that_never_existed_becomes_a_member_everywhere_unreachable_until_a_kick_removes_it():
    """M08: `Node` refuses it; by this name it is done."""

    async def test(cluster: Cluster) -> None:
        ms = await durable(cluster, 3)
        a = ms[0]
        with pytest.raises(covey.UnknownName):
            await a.node.kick(STRANGER)
        clock = await a.set_member(STRANGER)
        assert clock == a.dump()[a.cluster, a.local].peers[STRANGER]["mem"].ltime
        await until(lambda: all(STRANGER in m.members() for m in ms), 2)
        for m in ms:
            (invented,) = [member for member in m.node.members() if member.site == STRANGER]
            assert (invented.address, invented.reachable, invented.incarnation) == ("", False, 0)
            assert m.node_of_site(STRANGER) is None
        assert set((await a.node.kick(STRANGER)).acknowledged) == {m.local for m in ms[1:]}
        await until(lambda: not any(STRANGER in m.members() for m in ms), 2)
        assert all(STRANGER not in {member.site for member in m.node.members()} for m in ms)
        assert all(STRANGER in m.known_clusters()[SHARED] for m in ms), "that it is out stays"

    run(test)


def test_it_always_wins_here_with_a_later_clock_and_false_takes_away():
    async def test(cluster: Cluster) -> None:
        a, b = await durable(cluster, 2)
        clocks = [await a.set_member(STRANGER, member) for member in (True, True, False, True, False)]
        assert clocks == sorted(set(clocks))
        assert STRANGER not in a.members()
        await until(lambda: b.known_clusters() == a.known_clusters(), 2)
        assert await b.set_member(STRANGER) > clocks[-1]
        assert STRANGER in b.members()

    run(test)


def test_it_is_durable_when_it_returns_and_seen_by_nobody_before():
    """classy's is not durable before the next flush."""

    async def test(cluster: Cluster) -> None:
        storage = covey.MemoryStorage()
        node = cluster.node(storage=storage, seeds=[])
        m = Membership(node)
        await node.start()
        await m.set_member(STRANGER)
        storage.fail_next(1_000)
        with pytest.raises(covey.DeadlineExceeded):
            await m.set_member(STRANGER, False)
        assert STRANGER not in m.members(), "a direct read shows what is not durable yet"
        assert STRANGER in {member.site for member in node.members()}
        await cluster.kill(node)
        storage.crash()
        storage._failures.clear()
        async with cluster.node(storage=storage, seeds=[]) as again:
            assert STRANGER in Membership(again).members()

    run(test)


def test_saying_it_of_oneself_is_leaving():
    async def test(cluster: Cluster) -> None:
        a, b = await durable(cluster, 2)
        await a.set_member(a.local, False)
        await until(lambda: a.members() == [a.local] and b.members() == [b.local], 5)
        assert a.cluster != b.cluster == SHARED

    run(test)


@pytest.mark.parametrize("target", [b"short", None, "a" * 16], ids=repr)
def test_a_target_that_is_no_site_or_a_value_that_is_no_bool_is_a_usage_error(target):
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node:
            m = Membership(node)
            before = m.dump()
            with pytest.raises(covey.UsageError, match="a site is 16 bytes"):
                await m.set_member(target)
            for member in (1, None, "true"):
                with pytest.raises(covey.UsageError, match="True or False"):
                    await m.set_member(STRANGER, member)  # type: ignore[arg-type]
            assert m.dump() == before

    run(test)


# --- members, known_clusters, list_local_sites ----------------------------------------------------------------------


def test_members_are_those_that_belong_and_known_clusters_has_the_thrown_out_too():
    async def test(cluster: Cluster) -> None:
        a, b, c = await durable(cluster, 3)
        everybody = sorted(m.local for m in (a, b, c))
        assert a.members() == b.members() == c.members() == everybody
        await a.node.kick(c.local)
        await until(lambda: c.cluster != SHARED, 2)
        assert a.members() == b.members() == sorted([a.local, b.local])
        assert a.known_clusters() == b.known_clusters(b.local) == {SHARED: everybody}
        assert a.known_clusters(STRANGER) == {}
        assert c.known_clusters() == {c.cluster: [c.local]}, "only the cluster it is in"

    run(test)


def test_while_a_site_leaves_it_is_missing_from_its_own_members():
    """classy: if the local site is missing, do not trust the answer."""

    async def test(cluster: Cluster) -> None:
        a, b = await durable(cluster, 2)
        cluster.partition([a.node], [b.node])
        async with running(a.node.leave()):
            await asyncio.sleep(0.1)
            assert a.members() == [b.local]
            await asyncio.sleep(3)
            assert a.members() == [a.local]

    run(test)


def test_running_pairs_are_those_of_an_open_node_and_all_pairs_are_those_with_a_clock():
    async def test(cluster: Cluster) -> None:
        a, b = await durable(cluster, 2)
        assert a.list_local_sites("running") == a.list_local_sites("all") == a.list_local_sites() == [(SHARED, a.local)]
        await a.wipe()
        assert a.list_local_sites() == [(SHARED, a.local)], "a wiped cluster still appears"
        await b.node.kick(a.local)
        await until(lambda: a.cluster != SHARED, 5)
        assert a.list_local_sites("running") == [(a.cluster, a.local)]
        assert a.list_local_sites("all") == [(SHARED, a.local), (a.cluster, a.local)]
        await a.node.close()
        assert a.list_local_sites("running") == []
        assert a.list_local_sites("all") == [(SHARED, a.local), (a.cluster, a.local)]
        await cluster.kill(b.node)
        assert b.list_local_sites("running") == []
        with pytest.raises(covey.UsageError, match="'running' or 'all'"):
            a.list_local_sites("dead")  # type: ignore[arg-type]

    run(test)


# --- node_of_site, site_of_node -------------------------------------------------------------------------------------


def test_addresses_are_those_on_record_of_thrown_out_sites_too():
    async def test(cluster: Cluster) -> None:
        a, b, c = await durable(cluster, 3)
        await a.node.kick(c.local)
        for m in (a, b, c):
            assert a.node_of_site(m.local) == m.node.address
            assert a.site_of_node(m.node.address) == m.local
        assert (a.node_of_site(STRANGER), a.site_of_node("127.0.0.1:999")) == (None, None)

    run(test)


def test_of_two_sites_at_one_address_a_member_goes_first_and_then_who_said_so_last():
    """classy keeps an arbitrary one, so that a kick by address may hit the wrong one."""

    async def test(cluster: Cluster) -> None:
        (a,) = await durable(cluster, 1)
        address = "127.0.0.1:700"
        first, second = [
            cluster.node(listen=address, storage=covey.MemoryStorage(), seeds=[a.node.address]) for _ in range(2)
        ]
        for node in (first, second):
            async with node:
                await until(partial(a.node_of_site, node.site), 5)
        assert a.node_of_site(first.site) == a.node_of_site(second.site) == address
        assert a.site_of_node(address) == second.site
        await a.node.kick(second.site)
        assert a.site_of_node(address) == first.site
        await a.node.kick(first.site)
        assert a.site_of_node(address) == second.site

    run(test)


# --- flush ----------------------------------------------------------------------------------------------------------


def test_a_flush_says_who_has_taken_everything():
    async def test(cluster: Cluster) -> None:
        a, b, c = await durable(cluster, 3)
        await a.set_member(STRANGER)
        outcome = await a.flush()
        assert {*outcome.acknowledged} == {b.local, c.local}
        assert outcome.missing == (STRANGER,), "it will never answer"
        assert STRANGER in b.members()
        assert STRANGER in c.members()

    run(test)


# --- dump -----------------------------------------------------------------------------------------------------------


def test_a_dump_shows_every_entry_with_its_origin_its_times_and_its_import():
    async def test(cluster: Cluster) -> None:
        a, b = await unlinked(cluster, 2, name="a", meta={"zone": 1})
        await b.call_sync(await a.get_data())
        await b.set_member(STRANGER, False)
        ((pair, dump),) = b.dump().items()
        assert pair == (SHARED, b.local)
        entries = dump.peers[a.local]
        assert {key: entry.value for key, entry in entries.items()} == {
            "mem": True, "host": a.node.address, "meta": ("a", {"zone": 1}),
        }  # fmt: skip
        assert entries["mem"].ltime == 0, "that it belongs is a default that beats nothing"
        assert {(entry.origin, entry.magic) for entry in entries.values()} == {(a.local, a.node.incarnation)}
        assert {entry.ltime_imported for entry in entries.values()} == {dump.imports - 1}
        written = dump.peers[STRANGER]["mem"]
        assert (written.value, written.origin, written.ltime_imported) == (False, b.local, dump.imports)
        assert written.ltime == dump.clock
        assert written.wtime == pytest.approx(1_700_001_000_000, abs=60_000)
        assert (dump.acked_in, dump.acked_out) == ({a.local: a.dump()[SHARED, a.local].imports}, {a.local: 0})

    run(test)
