"""Two states become one by the user's function, or ours stays; either is said once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from covey.core import children as c
from covey.wire.payloads import decode_payload, encode_payload
from tests.runtime.children.fake_hub import FakeHub, on_hub


async def resolved(hub: FakeHub, resolve: Any, ours: Any = (1, 2), theirs: Any = (3,)) -> tuple[Any, str]:
    hub.open({}, resolve)
    copy = hub.copy(("user", 42))
    states = [None if state is None else encode_payload(state) for state in (ours, theirs)]
    hub.say(c.AskResolver(copy, *states))
    assert hub.facts == [], "nothing is said inside an effect"
    fact = await hub.wait_for(c.StatesResolved, copy)
    return None if fact.state is None else decode_payload(fact.state), fact.error


@pytest.mark.parametrize("is_async", [False, True])
def test_the_function_gets_the_id_and_both_states(is_async):
    def plain(id: Any, ours: Any, theirs: Any) -> Any:
        return [list(id), ours, theirs]

    async def waits(id: Any, ours: Any, theirs: Any) -> Any:
        await asyncio.sleep(4)
        return plain(id, ours, theirs)

    async def test(hub: FakeHub) -> None:
        resolve = waits if is_async else plain
        assert await resolved(hub, resolve) == ([["user", 42], [1, 2], [3]], "")

    on_hub(test)


def test_without_a_state_there_is_none():
    async def test(hub: FakeHub) -> None:
        assert await resolved(hub, lambda id, ours, theirs: [ours, theirs], None) == ([None, [3]], "")

    on_hub(test)


def raises(id: Any, ours: Any, theirs: Any) -> Any:
    raise ValueError("no idea")


async def is_cancelled(id: Any, ours: Any, theirs: Any) -> Any:
    raise asyncio.CancelledError


async def takes_long(id: Any, ours: Any, theirs: Any) -> Any:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(60)


@pytest.mark.parametrize(
    "resolve, error",
    [
        (None, "the hub has no resolve"),
        (raises, "ValueError: no idea"),
        (is_cancelled, "RuntimeError: resolve was cancelled"),
        (takes_long, "TimeoutError: resolve took more than 5 s"),
        (lambda id, ours, theirs: object(), "UsageError: resolved state cannot be serialised"),
    ],
)
def test_whatever_goes_wrong_is_said_and_ours_stays(resolve, error, caplog):
    async def test(hub: FakeHub) -> None:
        state, told = await resolved(hub, resolve)
        assert (state, told[: len(error)]) == (None, error)
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    on_hub(test)
    assert caplog.text.count("event=resolve_failed") == (resolve in (raises, is_cancelled, takes_long))


def test_closing_ends_it():
    async def test(hub: FakeHub) -> None:
        ended = asyncio.Event()

        async def hangs(id: Any, ours: Any, theirs: Any) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        hub.open({}, hangs)
        hub.say(c.AskResolver(hub.copy(), None, None))
        await hub.turns()
        await hub.children.aclose()
        await ended.wait()

    on_hub(test)
