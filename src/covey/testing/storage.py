"""Tests that every storage has to pass, yours too: a subclass of `StorageConformance` is run by pytest.

::

    class TestMyStorage(StorageConformance):
        async def make(self):
            return MyStorage(...)

It needs pytest-asyncio. `pytest.register_assert_rewrite("covey.testing.storage")` in conftest.py makes failures show
values.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from covey.core.errors import ClosedError, InvariantError, StorageFailed
from covey.core.ids import Site
from covey.engine.gate import Persisted
from covey.runtime.storage.base import Storage
from covey.testing.storage_life import SITE, Life, changed


@pytest.mark.asyncio
class StorageConformance:
    """The law of `Storage`, as tests. `make` and `reopen` are yours to write; `failing` where failures can be made."""

    async def make(self) -> Storage:
        """A storage in which nobody has lived, not open yet."""
        raise NotImplementedError  # yours to write: there is no storage to stand for all

    async def reopen(self, storage: Storage) -> Storage:
        """What the next life opens if the process of `storage`, which may be busy, is killed at this moment."""
        raise NotImplementedError  # yours to write, too

    def failing(self, storage: Storage) -> AbstractContextManager[None]:
        """While this is entered, every transaction of `storage` fails."""
        pytest.skip("this storage cannot be made to fail")  # a real disk seldom can; both of ours are made to

    @contextlib.asynccontextmanager
    async def living(self, after: Life | None = None) -> AsyncIterator[Life]:
        """A new storage, or the life after a crash, open until the end of the block."""
        life = Life(await (self.make() if after is None else self.reopen(after.storage)))
        await life.open()
        try:
            yield life
        finally:
            await life.storage.aclose()

    # --- lives ------------------------------------------------------------------------------------------------------

    async def test_nobody_has_lived_in_a_new_storage(self) -> None:
        async with self.living() as life:
            assert (life.stored.site, life.stored.incarnation, life.stored.logs) == (None, 0, {})

    async def test_a_life_is_durable_when_begin_life_returns(self) -> None:
        async with self.living() as life:
            await life.storage.begin_life(SITE, 7)
            async with self.living(after=life) as second:
                assert (second.stored.site, second.stored.incarnation) == (SITE, 7)
                await second.storage.begin_life(SITE, 2**53)
                async with self.living(after=second) as third:
                    assert (third.stored.site, third.stored.incarnation, third.stored.logs) == (SITE, 2**53, {})

    async def test_a_life_never_comes_back(self) -> None:
        async with self.living() as life:
            await life.storage.begin_life(SITE, 7)
            for incarnation in (6, 7):
                with pytest.raises(InvariantError):
                    await life.storage.begin_life(SITE, incarnation)
            async with self.living(after=life) as second:
                with pytest.raises(InvariantError):
                    await second.storage.begin_life(SITE, 7)
                assert second.stored.incarnation == 7
                await second.storage.begin_life(Site(b"another-16-bytes"), 1)  # another site counts its own lives

    async def test_positions_may_begin_anew_with_each_life(self) -> None:
        async with self.living() as life:
            await life.storage.begin_life(SITE, 1)
            for position in (1, 2, 3):
                life.put("log", position, (b"key", b"first %d" % position))
            await life.persisted("log", 3)
            await life.storage.begin_life(SITE, 2)  # in one process: the node went to another cluster
            life.durable.clear()
            life.put("log", 1, (b"key", b"second 1"))
            await life.persisted("log", 1)
            async with self.living(after=life) as next_life:
                assert next_life.stored.logs == {"log": {b"key": b"second 1"}}
                next_life.put("log", 1, (b"key", b"third 1"))
                await next_life.persisted("log", 1)

    # --- stores -----------------------------------------------------------------------------------------------------

    async def test_the_next_life_finds_what_was_reported_durable(self) -> None:
        async with self.living() as life:
            life.put("one", 1, (b"a", b"1"), (b"b", b"2"))
            life.put("two", 1, (b"a", b"3"))
            await life.persisted("one", 1)
            await life.persisted("two", 1)
            async with self.living(after=life) as second:
                assert second.stored.logs == {"one": {b"a": b"1", b"b": b"2"}, "two": {b"a": b"3"}}

    async def test_the_last_value_of_a_key_counts_and_none_takes_it_away(self) -> None:
        async with self.living() as life:
            life.put("log", 1, (b"kept", b"1"), (b"gone", b"1"), (b"back", b"1"))
            await life.persisted("log", 1)
            life.put("log", 2, (b"kept", b"2"), (b"gone", None), (b"back", None), (b"back", b"2"), (b"never", None))
            life.put("log", 3, (b"kept", b"3"))
            life.put("emptied", 1, (b"key", b"value"))
            life.put("emptied", 2, (b"key", None))
            life.put("idle", 1)
            await life.persisted("log", 3)
            await life.persisted("idle", 1)
            await life.persisted("emptied", 2)
            async with self.living(after=life) as second:
                assert second.stored.logs == {"log": {b"kept": b"3", b"back": b"2"}}

    async def test_any_bytes_are_a_key_and_a_value_and_any_text_a_log(self) -> None:
        entries = {bytes([byte]): bytes([byte, 0, byte]) for byte in range(256)}
        entries |= {b"": b"empty key", b"empty value": b"", b"\0": b"\0", b"long": bytes(1 << 20), bytes(5_000): b"l"}
        async with self.living() as life:
            for log in ("log", "", "Log", "żółw 🐢", "a'b;--"):
                life.put(log, 1, *entries.items())
                await life.persisted(log, 1)
            async with self.living(after=life) as second:
                assert all(log == entries for log in second.stored.logs.values())
                assert sorted(second.stored.logs) == sorted(("log", "", "Log", "żółw 🐢", "a'b;--"))

    async def test_store_returns_before_anything_is_reported(self) -> None:
        async with self.living() as life:
            for position in range(1, 101):
                life.put("log", position, (b"key", b"value"))
                assert life.facts == []
            await life.persisted("log", 100)

    async def test_facts_come_on_the_thread_of_the_event_loop_and_positions_only_grow(self) -> None:
        async with self.living() as life:
            for position in range(1, 301):
                life.put("ab"[position % 2], (position + 1) // 2, (b"key", b"%d" % position))
                if position % 20 == 0:
                    await asyncio.sleep(0)
            await life.persisted("a", 150)
            await life.persisted("b", 150)
            assert life.threads == [threading.get_ident()] * len(life.threads)
            for log in "ab":
                positions = [fact.position for fact in life.facts if fact.log == log]
                assert positions == sorted(positions)
            assert all(isinstance(fact, Persisted) for fact in life.facts)

    async def test_a_sink_may_store_more(self) -> None:
        async with self.living() as life:
            hear = life.storage.sink

            def hear_and_store(fact: Any) -> None:
                hear(fact)
                if fact.position < 5:
                    life.put("log", fact.position + 1, (b"key", b"%d" % fact.position))

            life.storage.sink = hear_and_store
            life.put("log", 1, (b"key", b"0"))
            await life.persisted("log", 5)
            async with self.living(after=life) as second:
                assert second.stored.logs == {"log": {b"key": b"4"}}

    @pytest.mark.parametrize("seed", range(10))
    async def test_a_crash_leaves_a_prefix_with_all_that_was_reported(self, seed: int) -> None:
        rng = random.Random(seed)
        async with contextlib.AsyncExitStack() as stack:
            life = await stack.enter_async_context(self.living())
            for _ in range(3):
                states, positions = [life.stored.logs], {"a": 0, "b": 0}
                places: dict[tuple[str, int], int] = {}
                for number in range(rng.randint(0, 60)):
                    log = rng.choice("ab")
                    positions[log] += 1
                    keys = [b"%d" % rng.randrange(6) for _ in range(rng.randint(1, 3))]
                    changes = [(key, rng.choice([None, b"%d" % number])) for key in keys]
                    states.append(changed(states[-1], log, changes))
                    places[log, positions[log]] = len(states) - 1
                    life.put(log, positions[log], *changes)
                    if rng.random() < 0.1:
                        await life.persisted(log, positions[log])
                    elif rng.random() < 0.3:
                        await asyncio.sleep(0)
                needed = max((places[at] for at in life.durable.items()), default=0)
                life = await stack.enter_async_context(self.living(after=life))
                assert life.stored.logs in states[needed:]

    # --- failures ---------------------------------------------------------------------------------------------------

    async def test_what_failed_is_not_there_and_can_be_stored_again(self) -> None:
        async with self.living() as life:
            life.put("log", 1, (b"key", b"1"))
            await life.persisted("log", 1)
            with self.failing(life.storage):
                life.put("log", 2, (b"key", b"2"), (b"more", b"2"))
                assert (await life.failed("log", 2)).reason
                assert life.durable == {"log": 1}
            life.put("log", 2, (b"key", b"2"), (b"more", b"2"))
            await life.persisted("log", 2)
            async with self.living(after=life) as second:
                assert second.stored.logs == {"log": {b"key": b"2", b"more": b"2"}}

    async def test_nothing_of_a_failure_is_left_after_a_crash(self) -> None:
        async with self.living() as life:
            life.put("log", 1, (b"key", b"1"))
            await life.persisted("log", 1)
            with self.failing(life.storage):
                life.put("log", 2, (b"key", b"2"))
                await life.failed("log", 2)
                async with self.living(after=life) as second:
                    assert second.stored.logs == {"log": {b"key": b"1"}}

    async def test_nothing_is_reported_beyond_a_hole(self) -> None:
        async with self.living() as life:
            with self.failing(life.storage):
                life.put("log", 1, (b"one", b"1"))
                await life.failed("log", 1)
            life.put("log", 2, (b"two", b"2"))  # sent before its sender heard of the failure
            life.put("other", 1, (b"key", b"value"))
            assert (await life.failed("log", 2)).reason
            await life.persisted("other", 1)
            assert "log" not in life.durable
            for position, key in ((1, b"one"), (2, b"two")):
                life.put("log", position, (key, b"%d" % position))
            await life.persisted("log", 2)
            async with self.living(after=life) as second:
                assert second.stored.logs == {"log": {b"one": b"1", b"two": b"2"}, "other": {b"key": b"value"}}

    async def test_a_repeated_position_does_not_undo_what_came_after_it(self) -> None:
        async with self.living() as life:
            life.put("log", 1, (b"key", b"1"))
            life.put("log", 2, (b"key", b"2"))
            await life.persisted("log", 2)
            life.facts.clear()
            life.durable.clear()
            life.put("log", 1, (b"key", b"1"))
            await life.persisted("log", 1)
            async with self.living(after=life) as second:
                assert second.stored.logs == {"log": {b"key": b"2"}}

    async def test_a_life_that_could_not_be_written_was_not_begun(self) -> None:
        async with self.living() as life:
            await life.storage.begin_life(SITE, 1)
            with self.failing(life.storage):
                with pytest.raises(StorageFailed):
                    await life.storage.begin_life(SITE, 2)
            async with self.living(after=life) as second:
                assert second.stored.incarnation == 1
                await second.storage.begin_life(SITE, 2)

    # --- opening and closing ----------------------------------------------------------------------------------------

    async def test_what_is_queued_is_written_and_reported_before_it_is_closed(self) -> None:
        async with self.living() as life:
            for position in range(1, 51):
                life.put("log", position, (b"%d" % position, b"value"))
            await life.storage.aclose()
            assert life.durable == {"log": 50}
            async with self.living(after=life) as second:
                assert len(second.stored.logs["log"]) == 50

    async def test_a_storage_that_is_not_open_takes_nothing_and_says_nothing(self) -> None:
        life = Life(await self.make())
        for _ in range(2):
            life.put("log", 1, (b"key", b"value"))
            with pytest.raises(ClosedError):
                await life.storage.begin_life(SITE, 1)
            await life.storage.aclose()
            await life.open()
            await life.storage.aclose()
        assert life.facts == []
        assert life.stored.logs == {}

    async def test_a_closed_storage_opens_again_with_all_it_had(self) -> None:
        async with self.living() as life:
            await life.storage.begin_life(SITE, 1)
            life.put("log", 1, (b"key", b"value"))
            await life.storage.aclose()
            life.durable.clear()
            await life.open()
            assert (life.stored.incarnation, life.stored.logs) == (1, {"log": {b"key": b"value"}})
            life.put("log", 1, (b"key", b"new"))
            await life.persisted("log", 1)

    async def test_an_open_storage_cannot_be_opened_again_and_goes_on(self) -> None:
        async with self.living() as life:
            with pytest.raises(StorageFailed, match="not touched"):
                await life.storage.open()
            life.put("log", 1, (b"key", b"value"))
            await life.persisted("log", 1)
