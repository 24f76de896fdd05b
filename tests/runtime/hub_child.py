"""A node that takes part in the hub `h`, in a process of its own: it runs counters. SIGTERM closes it in order.

Its options are one JSON object on the command line: `seeds`, `name`. It listens on any port, and says where in its one
line of output.
"""

from __future__ import annotations

import asyncio
import json
import sys

import covey
from covey.cli.loop import first_signal

SECRET = "a secret for tests of covey"


async def counter(ctx: covey.Context) -> covey.Handover:
    """Answers each letter with how many there were."""
    count = ctx.handed_over or 0
    async for call in ctx.mailbox:
        count += 1
        call.reply(count)
    return covey.Handover(count)


async def failing(ctx: covey.Context) -> None:
    """Never starts."""
    raise RuntimeError("it cannot start")


CHILDREN = [counter, failing]


async def main(seeds: list[str], name: str) -> None:
    node = covey.Node("hubs", listen="127.0.0.1:0", seeds=seeds, secret=SECRET, name=name, config=covey.Config.laptop())
    signalled = first_signal()
    async with node, node.hub("h", children=CHILDREN, on_split="both"):
        print(json.dumps({"address": node.address}), flush=True)
        await signalled


if __name__ == "__main__":
    from tests.runtime import hub_child  # by the name under which the others know its children

    asyncio.run(hub_child.main(**json.loads(sys.argv[1])))
