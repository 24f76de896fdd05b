"""Letters of one node to one child arrive in the order in which they were sent, those before it runs included."""

from __future__ import annotations

import asyncio

import pytest

import covey
from covey.testing import Cluster, run
from tests.api.together import together


async def recorder(ctx: covey.Context, name: str) -> None:
    heard = []
    async for letter in ctx.mailbox:
        heard.append(letter.payload)
        letter.reply(list(heard))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_whoever_starts_a_child_is_the_first_that_it_hears(count):
    """The letter that started a child waited until it was shown to run, and later ones did not."""

    async def test(cluster: Cluster) -> None:
        nodes = await together(cluster, count)
        hubs = [node.hub("order", children=[recorder], on_split="both") for node in nodes]
        await asyncio.gather(*[hub.start() for hub in hubs])
        for number in range(20):
            name, hub = f"child-{number}", hubs[number % count]
            for payload in range(5):
                hub.cast(name, payload, start=recorder)
            assert await hub.call(name, 5, start=recorder) == [0, 1, 2, 3, 4, 5]

    run(test)
