"""Hubs that close, one after the other or all at once, do so without delay, and children go to whoever stays."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

import covey
from covey.testing import Cluster, run
from tests.api.hub_children import copies
from tests.api.hubs_open import flock
from tests.api.together import together
from tests.testing.virtual import until

CHILDREN = 12


async def session(ctx: covey.Context, name: str) -> covey.Handover:
    lines = ctx.handed_over or []
    async for call in ctx.mailbox:
        lines.append(call.payload)
        call.reply(len(lines))
    return covey.Handover(lines)


async def unhurried(ctx: covey.Context, name: str) -> covey.Handover:
    """A session that takes a second to leave."""
    with copies.copy(ctx):
        left = await session(ctx, name)
        await asyncio.sleep(1)
    return left


async def stubborn(ctx: covey.Context) -> None:
    """It ignores being cancelled, until a test lets it go."""
    with copies.copy(ctx):
        while ctx.id not in let_go:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1)


let_go: set[str] = set()


async def opened(cluster: Cluster, count: int) -> list[covey.Hub]:
    nodes = await together(cluster, count)
    hubs = [node.hub("sessions", children=[session], on_split="both") for node in nodes]
    await asyncio.gather(*[hub.start() for hub in hubs])
    for number in range(CHILDREN):
        assert await hubs[0].call(f"s{number}", "a line", start=session) == 1
    return hubs


@pytest.mark.parametrize("apart_s", [0.0, 0.001, 0.02, 0.5])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_last_one_to_close_does_not_wait(count, apart_s):
    """Where a child belongs does not change once all others have gone: that it has nobody to go to was overseen."""

    async def test(cluster: Cluster) -> None:
        hubs = await opened(cluster, count)
        closing = []
        began = asyncio.get_running_loop().time()
        for hub in hubs:
            closing.append(asyncio.create_task(hub.aclose()))
            await asyncio.sleep(apart_s)
        await asyncio.gather(*closing)
        assert asyncio.get_running_loop().time() - began < count * apart_s + 0.5

    run(test)


def test_whoever_stays_has_all_children_with_what_they_had():
    async def test(cluster: Cluster) -> None:
        *leaving, stays = await opened(cluster, 4)
        for hub in leaving:
            await hub.aclose()
        assert len(stays.children("local")) == CHILDREN
        assert {await stays.call(f"s{number}", "another") for number in range(CHILDREN)} == {2}

    run(test)


def test_a_hub_that_opens_while_it_still_closes_there_waits_and_leaves_the_children_that_move_alone():
    """They were ended by whoever opened it anew, with all that they knew."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2, children=[unhurried]) as f:
            ids = list(range(6))
            for id in ids:
                await f.hubs[0].call(id, "a line", start=unhurried)
            await f.settled()
            assert f.hubs[1].children("local")
            closing = asyncio.create_task(f.hubs[1].aclose())
            await asyncio.sleep(0.3)
            async with f.hub_of(f.nodes[1]), f.hub_of(f.nodes[1]) as again:
                assert closing.done()
                await f.settled(f.hubs[0], again)
                assert {await again.call(id, "another") for id in ids} == {2}
            assert max(f.copies.most.values()) == 1

    run(test)


def test_a_hub_whose_children_do_not_end_is_not_opened_anew_and_that_is_explained():
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 1, children=[stubborn]) as f:
            await f.hubs[0].start_child(covey.ChildSpec("x", stubborn).with_options(shutdown_timeout=0.1))
            await f.hubs[0].aclose()
            with pytest.raises(covey.UnavailableError, match=r"1 of its children .* still .*try again"):
                await f.hub_of(f.nodes[0]).start()
            assert f.copies.running() == 1
            let_go.add("x")
            await until(lambda: not f.copies.running())
            async with f.hub_of(f.nodes[0]) as again:
                assert again.dump() == {}

    run(test)


def test_whoever_gives_up_waiting_for_the_end_of_a_hub_does_not_end_the_children_that_move():
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2, children=[unhurried]) as f:
            for id in range(6):
                await f.hubs[0].call(id, "a line", start=unhurried)
            await f.settled()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.3):
                    await f.hubs[1].aclose()
            await until(lambda: len(f.hubs[0].nodes()) == 1)
            assert {await f.hubs[0].call(id, "another") for id in range(6)} == {2}

    run(test)


# --- the watchdog ---------------------------------------------------------------------------------------------------


class Recorded:
    """A watchdog that only remembers: the deadline it was told last, and whether it was told to go."""

    def __init__(self) -> None:
        self.deadline_us: int | None = None
        self.is_closed = False

    def start(self) -> None:
        self.is_closed = False

    def arm(self, deadline_us: int | None) -> None:
        self.deadline_us = deadline_us

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("how", ["close", "kill"])
def test_a_copy_that_ignores_its_end_is_watched_when_its_node_is_closed_until_it_is_over(how, monkeypatch):
    """Nobody watched it then, and it outlived its lease in a process that went on."""
    watchdogs: list[Recorded] = []

    def watchdog(environment: object) -> Recorded:
        watchdogs.append(Recorded())
        return watchdogs[-1]

    monkeypatch.setattr(f"{Cluster.__module__}._VirtualEnvironment.watchdog", watchdog)

    async def test(cluster: Cluster) -> None:
        loop = asyncio.get_running_loop()
        let_go.clear()
        async with flock(cluster, 0, children=[stubborn], on_split=covey.Majority(["a", "b", "c"])) as f:
            nodes = [await f.node(name=name, storage=covey.MemoryStorage()) for name in "abc"]
            for node in nodes:
                await node.wait_members(3)
            hubs = await asyncio.gather(*[f.enter(f.hub_of(node)) for node in nodes])
            spec = covey.ChildSpec("x", stubborn).with_options(shutdown_timeout=0.1)
            child = await hubs[0].start_child(spec, timeout=30)
            number = next(number for number, node in enumerate(nodes) if node.name == child.node)
            await (nodes[number].close() if how == "close" else cluster.kill(nodes[number]))
            assert f.copies.running() == 1 and not watchdogs[number].is_closed
            deadline_us = watchdogs[number].deadline_us
            assert deadline_us is not None and deadline_us < loop.time() * 1e6 + 4_800_000
            await asyncio.sleep(1)
            assert watchdogs[number].deadline_us == deadline_us
            let_go.add("x")
            await until(lambda: not f.copies.running())
            await until(lambda: watchdogs[number].is_closed, 1)

    run(test)


async def slow(ctx: covey.Context, name: str) -> None:
    """It takes its time for each letter, and ends between two."""
    async for call in ctx.mailbox:
        await asyncio.sleep(0.2)
        call.reply(call.payload)


@pytest.mark.parametrize("whole_node", [False, True])
def test_calls_from_elsewhere_that_wait_as_a_hub_closes_are_answered_by_the_next_host(whole_node):
    """The host that they were said to is gone long before the last of them has its turn."""

    async def test(cluster: Cluster) -> None:
        nodes = await together(cluster, 3)
        hubs = [node.hub("slow", children=[slow], on_split="both") for node in nodes]
        await asyncio.gather(*[hub.start() for hub in hubs])
        await hubs[0].start_child(covey.ChildSpec("one", slow, "one"))
        host = next(at for at, hub in enumerate(hubs) if hub.children("local"))
        caller = hubs[(host + 1) % 3]
        calls = [asyncio.create_task(caller.call("one", number, timeout=60)) for number in range(30)]
        await asyncio.sleep(0.3)
        await (nodes[host].close() if whole_node else hubs[host].aclose())
        assert sum(call.done() for call in calls) < 5
        assert await asyncio.gather(*calls) == list(range(30))

    run(test)
