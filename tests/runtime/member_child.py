"""A durable node in a process of its own: what it hears goes to stdout, a JSON line an event. SIGTERM closes it.

Its options are one JSON object on the command line: `seeds`, `storage`, `name`. It listens on any port, and begins with
the line `started`, which tells its address.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import msgspec

import covey
from covey.cli.loop import first_signal


def say(event: str, **values: Any) -> None:
    print(json.dumps({"event": event, **values}), flush=True)


async def tell(events: covey.Subscription) -> None:
    """Say what happens to members."""
    async for event in events:
        if isinstance(event, (covey.MemberUp, covey.MemberSuspect, covey.MemberDown, covey.MemberLeft)):
            name = {"MemberUp": "up", "MemberSuspect": "suspect", "MemberDown": "down", "MemberLeft": "left"}
            member = msgspec.structs.asdict(event.member)
            say(
                f"member_{name[type(event).__name__]}", site=member["site"].hex(), name=member["name"],
                incarnation=member["incarnation"], status=member["status"], cause=event.cause,
                evidence=getattr(event, "evidence", ""),
            )  # fmt: skip


async def main(seeds: list[str], storage: str, name: str) -> None:
    node = covey.Node(
        "smoke", listen="127.0.0.1:0", seeds=seeds, secret="a secret for tests of covey", storage=storage, name=name,
        config=covey.Config.laptop(),
    )  # fmt: skip
    signalled = first_signal()
    async with node, node.events() as events:
        say("started", site=node.site.hex(), address=node.address, incarnation=node.incarnation)
        telling = asyncio.create_task(tell(events))
        await signalled
    telling.cancel()
    say("closed")


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
