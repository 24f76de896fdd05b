"""What a child of a hub finds in its context."""

from __future__ import annotations

import covey
from covey.testing import Cluster, run
from tests.api.together import together


async def doubles(ctx: covey.Context) -> None:
    async for call in ctx.mailbox:
        call.reply(2 * call.payload)


async def asks(ctx: covey.Context) -> None:
    """Answers what another child says, and how that is there."""
    async for call in ctx.mailbox:
        other = ctx.hub.lookup("doubles")
        call.reply([await ctx.hub.call("doubles", call.payload), other is not None and other.state])


def test_a_child_calls_others_through_the_hub_in_its_context():
    async def test(cluster: Cluster) -> None:
        (node,) = await together(cluster, 1)
        async with node.hub("h", children=[doubles, asks], on_split="both") as hub:
            specs = [covey.ChildSpec("doubles", doubles), covey.ChildSpec("asks", asks)]
            (await hub.start_children(specs)).raise_for_errors()
            assert await hub.call("asks", 21) == [42, "running"]

    run(test)
