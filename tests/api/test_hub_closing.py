"""Hubs that close, one after the other or all at once, do so without delay, and children go to whoever stays."""

from __future__ import annotations

import asyncio

import pytest

import covey
from covey.testing import Cluster, run
from tests.api.together import together

CHILDREN = 12


async def session(ctx: covey.Context, name: str) -> covey.Handover:
    lines = ctx.handed_over or []
    async for call in ctx.mailbox:
        lines.append(call.payload)
        call.reply(len(lines))
    return covey.Handover(lines)


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
