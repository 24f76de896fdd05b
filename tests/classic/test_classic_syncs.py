"""classy's syncs as values: `get_data`, `call_sync` and `cast_sync` by their names, and who may hand them over."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
import pytest

import covey
from covey.classic import Membership, SyncMessage
from covey.core.ids import ClusterId, cluster_id
from covey.testing import Cluster, run
from tests.classic.classic_pair import durable, unlinked
from tests.testing.virtual import running

STRANGER = covey.Site(b"nobody knows me!")
OTHER_CLUSTER = ClusterId(b"another cluster.")
SHARED = cluster_id("test")


# --- get_data -------------------------------------------------------------------------------------------------------


def test_zero_and_zero_is_everything_and_any_number_is_one_message():
    async def test(cluster: Cluster) -> None:
        a, b = await durable(cluster, 2)
        whole = await a.get_data()
        dump = a.dump()[SHARED, a.local]
        assert (whole.cluster, whole.sender, whole.incarnation) == (SHARED, a.local, a.node.incarnation)
        assert (whole.sync.since, whole.sync.acked, whole.sync.imports) == (0, 0, dump.imports)
        assert {op.target for op in whole.sync.ops} == {a.local, b.local}
        assert len(whole.sync.ops) == sum(len(entries) for entries in dump.peers.values()) == 4
        later = await a.get_data(dump.imports + 1, 7)
        assert (later.sync.since, later.sync.acked, later.sync.ops) == (dump.imports + 1, 7, ())
        assert a.dump()[SHARED, a.local] == dump

    run(test)


@pytest.mark.parametrize("number", [-1, 1.0, True, "1", 2**53 + 1], ids=repr)
def test_a_wrong_import_number_is_a_usage_error(number):
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node:
            m = Membership(node)
            with pytest.raises(covey.UsageError, match="since must be an int"):
                await m.get_data(number)
            with pytest.raises(covey.UsageError, match="acked must be an int"):
                await m.get_data(0, number)

    run(test)


# --- call_sync, cast_sync -------------------------------------------------------------------------------------------


def test_a_message_is_a_value_that_any_means_may_carry():
    async def test(cluster: Cluster) -> None:
        a, b = await unlinked(cluster, 2)
        carried = msgspec.json.decode(msgspec.json.encode(await a.get_data()), type=SyncMessage)
        assert await b.call_sync(carried) is True
        assert b.members() == sorted([a.local, b.local])
        assert b.node_of_site(a.local) == a.node.address

    run(test)


def test_a_call_waits_until_it_is_durable_and_a_cast_does_not_wait():
    async def test(cluster: Cluster) -> None:
        a, b = await unlinked(cluster, 2)
        storage: Any = b.node._options.storage
        storage.fail_next(2)
        message = await a.get_data()
        async with running(b.call_sync(message)) as (call,):
            await asyncio.sleep(0.05)
            assert not call.done()
            assert a.local in b.members()
            assert a.local not in {member.site for member in b.node.members()}
            assert await call is True
            assert a.local in {member.site for member in b.node.members()}
        await a.set_member(STRANGER)
        b.cast_sync(await a.get_data())
        assert STRANGER in b.members()

    run(test)


async def refused(a: Membership, b: Membership) -> dict[str, tuple[SyncMessage, type[Exception], str]]:
    """Messages that `b` does not take, and why."""
    good = await a.get_data()
    return {
        "cluster": (msgspec.structs.replace(good, cluster=OTHER_CLUSTER), covey.ClusterMismatch, "another cluster"),
        "sender": (msgspec.structs.replace(good, sender=STRANGER), covey.PeerError, "does not belong"),
        "own": (await b.get_data(), covey.PeerError, "our own"),
    }


@pytest.mark.parametrize("which", ["cluster", "sender", "own"])
def test_a_message_of_another_cluster_or_of_no_member_is_refused_whole(which, caplog):
    """classy checks neither."""
    caplog.set_level(logging.WARNING)

    async def test(cluster: Cluster) -> None:
        a, b = await unlinked(cluster, 2)
        message, error, reason = (await refused(a, b))[which]
        before = b.dump()
        with pytest.raises(error, match=reason):
            await b.call_sync(message)
        caplog.clear()
        b.cast_sync(message)
        await asyncio.sleep(0.1)
        assert "event=sync_dropped" in caplog.text
        assert reason in caplog.text
        assert b.dump() == before
        assert b.node.statistics().machines["membership"].strays == 2

    run(test)


def test_a_thrown_out_site_is_refused_until_it_is_a_member_again():
    async def test(cluster: Cluster) -> None:
        a, b = await unlinked(cluster, 2)
        await b.call_sync(await a.get_data())
        await b.set_member(a.local, False)
        with pytest.raises(covey.PeerError, match="does not belong"):
            await b.call_sync(await a.get_data())
        await b.set_member(a.local)
        assert await b.call_sync(await a.get_data()) is True

    run(test)


def test_where_nobody_serves_a_cast_vanishes_and_a_call_raises(caplog):
    async def test(cluster: Cluster) -> None:
        a, b = await unlinked(cluster, 2)
        message = await a.get_data()
        await b.node.close()
        before = b.dump()
        caplog.clear()
        b.cast_sync(message)
        Membership(cluster.node()).cast_sync(message)
        assert caplog.text.count("event=sync_dropped") == 2
        with pytest.raises(covey.ClosedError):
            await b.call_sync(message)
        assert b.dump() == before

    run(test)


@pytest.mark.parametrize(
    "change", [{"incarnation": -1}, {"sender": b"short"}, {"sync": None}, {"cluster": b""}], ids=repr
)
def test_what_no_peer_could_send_is_a_usage_error(change):
    async def test(cluster: Cluster) -> None:
        a, b = await unlinked(cluster, 2)
        message = msgspec.structs.replace(await a.get_data(), **change)
        before = b.dump()
        for wrong in (message, b"bytes", None):
            with pytest.raises(covey.UsageError, match="nothing was taken"):
                await b.call_sync(wrong)  # type: ignore[arg-type]
            with pytest.raises(covey.UsageError, match="nothing was taken"):
                b.cast_sync(wrong)  # type: ignore[arg-type]
        assert b.dump() == before

    run(test)
