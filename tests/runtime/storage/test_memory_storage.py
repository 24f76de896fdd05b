"""Storage in memory: it keeps the law of every storage, on any clock, and crashes and fails when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from covey.core.errors import StorageFailed
from covey.runtime.storage import MemoryStorage
from covey.testing import new_event_loop
from covey.testing.storage import StorageConformance
from covey.testing.storage_life import SITE, Life


def virtually(test):
    """Run a coroutine on a virtual clock."""
    loop = new_event_loop()
    try:
        return loop.run_until_complete(test)
    finally:
        loop.close()


@contextlib.contextmanager
def _failing(storage):
    storage.fail_next(1_000_000)
    yield
    storage._failures.clear()


class TestMemoryStorage(StorageConformance):
    def disk(self):
        return MemoryStorage()

    async def make(self):
        return self.disk()

    async def reopen(self, storage):
        storage.crash()
        return storage

    def failing(self, storage):
        return _failing(storage)


class SlowMemory(TestMemoryStorage):
    def disk(self):
        rng = random.Random(5)
        return MemoryStorage(delay=lambda: rng.choice([0.0, 0.001, 0.2]))


LAWS = [name for name in dir(StorageConformance) if name.startswith("test_")]


@pytest.mark.parametrize("law", LAWS)
def test_every_law_holds_on_a_slow_disk_and_a_virtual_clock(law):
    seeds = range(50) if "prefix" in law else [None]
    for seed in seeds:
        virtually(getattr(SlowMemory(), law)(*[] if seed is None else [seed]))


async def living(**options):
    life = Life(MemoryStorage(**options))
    await life.open()
    return life


def test_a_transaction_takes_as_long_as_it_is_told_and_the_next_takes_all_that_is_queued():
    async def test():
        delays = iter([1.0, 10.0])
        life = await living(delay=lambda: next(delays))
        start = asyncio.get_running_loop().time()
        for position in range(1, 100):
            life.put("log", position, (b"key", b"%d" % position))
        await life.persisted("log", 1)
        assert life.durable == {"log": 1}
        assert asyncio.get_running_loop().time() == start + 1.0
        with pytest.raises(TimeoutError):
            await life.persisted("log", 2)  # within five seconds
        await asyncio.sleep(6.0)
        assert life.durable == {"log": 99}
        assert [fact.position for fact in life.facts] == [1, 99]

    virtually(test())


def test_a_crash_loses_what_is_queued_and_what_is_being_written_and_reports_nothing_more():
    async def test():
        life = await living(delay=lambda: 1.0)
        await life.storage.begin_life(SITE, 1)
        life.put("log", 1, (b"key", b"1"))
        await life.persisted("log", 1)
        life.put("log", 2, (b"key", b"2"))
        life.put("log", 3, (b"key", b"3"))
        await asyncio.sleep(0.9)
        life.storage.crash()
        await asyncio.sleep(10)
        life.put("log", 2, (b"key", b"2"))  # the dead life's last twitch
        await asyncio.sleep(10)
        assert life.durable == {"log": 1}
        await life.open()
        assert (life.stored.site, life.stored.incarnation, life.stored.logs) == (SITE, 1, {"log": {b"key": b"1"}})

    virtually(test())


def test_a_crash_while_facts_are_told_ends_them():
    async def test():
        life = await living()
        told = []

        def hear(fact):
            told.append(fact)
            if fact.log == "a":
                life.put("lost", 1, (b"key", b"1"))
                life.storage.crash()

        life.storage.sink = hear
        for log in ("first", "a", "b"):
            life.put(log, 1, (b"key", b"1"))
        await asyncio.sleep(1)
        assert [fact.log for fact in told] == ["first", "a"]
        await life.open()
        assert life.stored.logs == {log: {b"key": b"1"} for log in ("first", "a", "b")}

    virtually(test())


def test_who_waits_for_a_life_to_begin_is_told_of_the_crash():
    async def test():
        life = await living(delay=lambda: 1.0)
        begun = asyncio.ensure_future(life.storage.begin_life(SITE, 1))
        queued = asyncio.ensure_future(life.storage.begin_life(SITE, 2))
        await asyncio.sleep(0.5)
        life.storage.crash()
        for waiter in (begun, queued):
            with pytest.raises(StorageFailed, match="crashed"):
                await waiter

    virtually(test())


def test_a_crash_ends_the_closing():
    async def test():
        life = await living(delay=lambda: 3.0)
        life.put("log", 1, (b"key", b"1"))
        closing = asyncio.ensure_future(life.storage.aclose())
        await asyncio.sleep(1)
        with pytest.raises(StorageFailed, match="in use"):
            await life.storage.open()
        life.storage.crash()
        await closing
        assert life.facts == []
        await life.open()
        assert life.stored.logs == {}

    virtually(test())


def test_closing_waits_for_a_disk_that_hangs_but_not_for_ever():
    async def test():
        life = await living(delay=lambda: 1e6)
        life.put("log", 1, (b"key", b"1"))
        start = asyncio.get_running_loop().time()
        await life.storage.aclose()
        assert asyncio.get_running_loop().time() - start == pytest.approx(10)
        await asyncio.sleep(2e6)
        assert life.facts == []

    virtually(test())


def test_as_many_transactions_fail_as_were_told_to():
    async def test():
        life = await living()
        life.storage.fail_next(2, "the disk is tired")
        for _ in range(3):
            life.put("log", 1, (b"key", b"1"))
            await asyncio.sleep(1)
        assert [getattr(fact, "reason", "") for fact in life.facts] == ["the disk is tired"] * 2 + [""]

    virtually(test())
