"""A node and its disk: what it keeps, what it refuses, a disk that is full, and one that was copied."""

from __future__ import annotations

import asyncio
import copy
import shutil
from pathlib import Path
from typing import Any

import pytest

import covey
from covey.testing import Cluster, run
from tests.testing.virtual import next_of, running, until


def node(cluster: Cluster, storage: Any, **options: Any) -> covey.Node:
    return cluster.node(storage=storage, **options)


def copied(storage: covey.MemoryStorage) -> covey.MemoryStorage:
    """Another disk with the same content."""
    other = covey.MemoryStorage()
    was: Any = storage
    now: Any = other
    now._site, now._incarnation, now._logs = was._site, was._incarnation, copy.deepcopy(was._logs)
    return other


def logs(storage: covey.MemoryStorage) -> dict[str, dict[bytes, bytes]]:
    """All that is on this disk."""
    inside: Any = storage
    return copy.deepcopy(inside._logs)


# --- lives ----------------------------------------------------------------------------------------------------------


def test_a_site_its_membership_and_its_metadata_outlive_the_process():
    async def test(cluster: Cluster) -> None:
        first, second = covey.MemoryStorage(), covey.MemoryStorage()
        async with node(cluster, first) as one, node(cluster, second) as other:
            await one.wait_members(2)
            await other.wait_members(2)
            await one.flush()
            who, life = other.site, one.incarnation
        again = cluster.node(storage=first, seeds=[])
        async with again:
            await until(lambda: len(again.members()) == 2, 1)
            assert again.site == one.site
            assert again.incarnation > life
            (known,) = [member for member in again.members() if member.site == who]
            assert (known.address, known.status, known.ephemeral) == (other.address, "unknown", False)

    run(test)


def test_every_life_is_later_than_the_one_before_whatever_the_wall_clock_does():
    async def test(cluster: Cluster) -> None:
        storage = covey.MemoryStorage()
        lives = []
        for back_us in (0, 1, 10**12, 10**15):
            one = node(cluster, storage, seeds=[])
            outside: Any = one._environment
            wall_us = outside.wall_us
            outside.wall_us = lambda wall_us=wall_us, back_us=back_us: wall_us() - back_us
            async with one:
                lives.append(one.incarnation)
        assert lives == sorted(set(lives))

    run(test)


def test_without_a_storage_each_start_is_another_site():
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as one, cluster.node() as other:
            assert one.site != other.site
            assert one.members()[0].ephemeral

    run(test)


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", [7, "", b"a.db", {}, ["a.db"]], ids=repr)
def test_what_is_no_storage_is_a_config_error(storage):
    with pytest.raises(covey.ConfigError, match="storage: must be"):
        covey.Node("test", secret="s" * 16, storage=storage)


def test_another_clusters_storage_is_a_config_error_and_is_left_as_it_was():
    async def test(cluster: Cluster) -> None:
        storage = covey.MemoryStorage()
        async with cluster.node("orders", storage=storage, seeds=[]) as one:
            await one.flush()
        before = logs(storage), (await storage.open()).incarnation
        await storage.aclose()
        for _ in range(2):  # refused, the storage is let go again
            with pytest.raises(covey.ConfigError, match=r"storage: it belongs to another cluster than 'invoices'"):
                await cluster.node("invoices", storage=storage, seeds=[]).start()
        assert (logs(storage), (await storage.open()).incarnation) == before
        await storage.aclose()
        async with cluster.node("orders", storage=storage, seeds=[]) as again:
            assert again.site == one.site

    run(test)


def test_a_storage_that_is_in_use_is_refused_and_its_node_goes_on():
    async def test(cluster: Cluster) -> None:
        storage = covey.MemoryStorage()
        async with node(cluster, storage) as one:
            with pytest.raises(covey.StorageFailed, match="in use"):
                await node(cluster, storage).start()
            assert (await one.flush()) == covey.Outcome((), ())

    run(test)


def test_a_life_that_cannot_be_written_is_not_begun_and_can_be_tried_again():
    async def test(cluster: Cluster) -> None:
        storage = covey.MemoryStorage()
        storage.fail_next()
        one = node(cluster, storage)
        with pytest.raises(covey.StorageFailed, match="no space left"):
            await one.start()
        with pytest.raises(covey.ClosedError):
            one.members()
        assert cluster.network.transports == {}
        async with one:
            assert one.members()

    run(test)


def test_a_file_that_cannot_be_written_is_a_storage_failed(tmp_path):
    async def main() -> None:
        (tmp_path / "file").write_text("no directory")
        for path in (tmp_path / "missing" / "a.db", tmp_path / "file" / "a.db", tmp_path):
            one = covey.Node("test", secret="s" * 16, listen="127.0.0.1:0", seeds=[], storage=path)
            with pytest.raises(covey.StorageFailed):
                await one.start()
            with pytest.raises(covey.ClosedError):
                one.members()
        (tmp_path / "text.db").write_text("this is no database, and longer than a header of one would be" * 9)
        before = (tmp_path / "text.db").read_bytes()
        one = covey.Node("test", secret="s" * 16, listen="127.0.0.1:0", seeds=[], storage=tmp_path / "text.db")
        with pytest.raises(covey.StorageFailed):
            await one.start()
        assert (tmp_path / "text.db").read_bytes() == before

    asyncio.run(main())


# --- a full disk ----------------------------------------------------------------------------------------------------


def test_while_the_disk_is_full_nothing_undurable_is_shown_and_afterwards_all_of_it_is():
    async def test(cluster: Cluster) -> None:
        storage = covey.MemoryStorage()
        async with node(cluster, storage) as one, node(cluster, covey.MemoryStorage()) as other:
            await one.wait_members(2)
            await other.wait_members(2)
            await asyncio.sleep(2)
            async with one.events() as of_one, other.events() as of_other:
                storage.fail_next(4)
                start = asyncio.get_running_loop().time()
                async with running(one.set_meta({"step": 1})) as (said,):
                    trouble = await next_of(of_one, covey.StorageTrouble, covey.MemberUpdated)
                    assert (type(trouble), trouble.reason) == (covey.StorageTrouble, "no space left on device")
                    assert trouble.held > 0
                    with pytest.raises(covey.DeadlineExceeded, match="may still take effect"):
                        await one.set_meta({"step": 2}, timeout=0.2)
                    assert not said.done()
                    assert [member.meta for member in one.members() + other.members()] == [{}] * 4
                    assert list(of_other._queue) == []
                    updated = await next_of(of_one, covey.StorageRecovered, covey.MemberUpdated, covey.StorageTrouble)
                    assert updated.member.meta == {"step": 1}
                    await said
                    await next_of(of_one, covey.StorageRecovered)
                    waited = asyncio.get_running_loop().time() - start
                    assert 0.1 + 0.2 + 0.4 <= waited < 3
                while (await next_of(of_other, covey.MemberUpdated)).member.meta != {"step": 2}:
                    pass
            await asyncio.sleep(1)
            kinds = [type(event) for event in of_one._queue]
            assert covey.StorageTrouble not in kinds
            assert one.members() == other.members()
            assert {member.site: member.meta for member in other.members()} == {one.site: {"step": 2}, other.site: {}}
        async with node(cluster, storage, seeds=[], meta={"step": 3}) as again:
            assert again.members()[0].site == one.site

    run(test)


def test_what_was_held_when_the_node_was_killed_was_never_seen_by_anybody():
    async def test(cluster: Cluster) -> None:
        storage = covey.MemoryStorage()
        one = node(cluster, storage)
        await one.start()
        async with node(cluster, covey.MemoryStorage()) as other:
            await one.wait_members(2)
            await other.wait_members(2)
            await asyncio.sleep(2)
            before = logs(storage)
            storage.fail_next(1_000)
            async with running(one.kick(other.site)):
                await asyncio.sleep(3)
                assert other.kicked is None
                await cluster.kill(one)
            assert logs(storage) == before
            copy_of_it = copied(storage)
            async with node(cluster, copy_of_it, seeds=[other.address]) as again:
                await again.wait_members(2)
                await other.wait_members(2)

    run(test)


# --- a copied disk --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_nodes_on_copies_of_one_storage_one_ends_and_says_why_and_the_other_goes_on(order):
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as seed:
            first = covey.MemoryStorage()
            async with node(cluster, first) as before:
                await before.wait_members(2)
                await before.flush()
            storages = [first, copied(first)]
            twins = [node(cluster, storage) for storage in storages[::order]]
            endings = []

            async def watch(twin: covey.Node) -> None:
                try:
                    async with twin.events() as events:
                        async for _ in events:
                            pass
                except covey.ClosedError as error:
                    endings.append((twin, error.__cause__))

            for twin in twins:
                await twin.start()
            async with running(*map(watch, twins)):
                await until(lambda: endings, 30)
                await asyncio.sleep(30)
            ((ended, cause),) = endings
            assert isinstance(cause, covey.SiteConflict)
            assert "give it a storage of its own" in str(cause)
            (survivor,) = [twin for twin in twins if twin is not ended]
            with pytest.raises(covey.ClosedError, match="the node ended: ") as caught:
                ended.members()
            assert isinstance(caught.value.__cause__, covey.SiteConflict)
            await ended.close()
            await survivor.wait_members(2)
            await seed.wait_members(2)
            assert {member.incarnation for member in seed.members()} == {seed.incarnation, survivor.incarnation}

    run(test)


@pytest.mark.serial
def test_of_two_nodes_on_copies_of_one_file_one_ends_and_the_other_goes_on(tmp_path):
    async def main() -> None:
        path, copied_path = tmp_path / "a.db", tmp_path / "b.db"

        def open_node(storage: Path | None, seeds: list[str]) -> covey.Node:
            return covey.Node("test", secret="s" * 16, listen="127.0.0.1:0", seeds=seeds, storage=storage)

        async with open_node(None, []) as seed:
            async with open_node(path, [seed.address]) as before:
                await before.wait_members(2)
                await before.flush()
            shutil.copyfile(path, copied_path)
            twins = [open_node(each, [seed.address]) for each in (path, copied_path)]
            for twin in twins:
                await twin.start()
            assert twins[0].site == twins[1].site == before.site
            await until(lambda: any(twin._runner is not None and twin._runner.dead for twin in twins), 20)
            await asyncio.sleep(0.5)
            (survivor,) = [twin for twin in twins if twin._runner is not None and not twin._runner.dead]
            await survivor.wait_members(2, timeout=20)
            for twin in twins:
                await twin.close()

    asyncio.run(main())
