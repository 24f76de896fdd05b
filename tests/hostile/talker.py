"""A node in a process of its own, steered by JSON lines on stdin; what happens to it goes to stdout the same way.

Its options are one JSON object on the command line: `seeds`, `secret`, `cluster`, `loop`, and `links`, changes to the
laptop profile's limits of links. Commands: `{"send": [sites], "count": n, "every_s": s}` sends numbered messages to
each site, `{"say": value, "to": site}` one, `{"statistics": true}` asks for figures, `{"close": true}` ends. It ends
with its stdin too.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import msgspec

import covey


def say(**values: Any) -> None:
    print(json.dumps(values), flush=True)


def config(links: dict[str, int]) -> covey.Config:
    """The laptop profile with other limits of links."""
    base = covey.Config.laptop().engine
    return covey.Config.laptop(engine=msgspec.structs.replace(base, links=msgspec.structs.replace(base.links, **links)))


async def tell(events: covey.Subscription, numbers: dict[str, list[int]]) -> None:
    """Say what happens, and count messages by sender without a line for each."""
    async for event in events:
        match event:
            case covey.NeighborUp(neighbor):
                say(event="neighbour_up", site=neighbor.site.hex())
            case covey.NeighborDown(neighbor, cause):
                say(event="neighbour_down", site=neighbor.site.hex(), cause=cause, at=time.time())
            case covey.Message(sender, [number, sent_s]):
                heard = numbers.setdefault(sender.hex(), [])
                heard.append(number)
                slowest = SLOWEST.get(sender.hex(), 0.0)
                SLOWEST[sender.hex()] = max(slowest, time.time() - sent_s)
            case covey.Message(sender, payload):
                say(event="message", sender=sender.hex(), payload=payload)
            case covey.Lost(count):
                say(event="lost", count=count)


SLOWEST: dict[str, float] = {}


async def send(node: covey.Node, sites: list[str], count: int, every_s: float) -> None:
    """Numbered messages to each site, none of which waits for another; what is refused is counted."""
    refused = dict.fromkeys(sites, 0)
    for number in range(count):
        for site in sites:
            try:
                node.send_nowait(covey.Site(bytes.fromhex(site)), [number, time.time()])
            except covey.CoveyError:
                refused[site] += 1
        await asyncio.sleep(every_s)
    say(event="sent", refused=refused)


async def main(options: dict[str, Any]) -> None:
    node = covey.Node(
        options.get("cluster", "hostile"), listen="127.0.0.1:0", seeds=options["seeds"],
        secret=options.get("secret", "not a secret at all"), config=config(options.get("links", {})),
    )  # fmt: skip
    numbers: dict[str, list[int]] = {}
    loop = asyncio.get_running_loop()
    async with node, node.events(events_max=100_000) as events:
        say(event="started", site=node.site.hex(), address=node.address)
        telling = asyncio.create_task(tell(events, numbers))
        sending: list[asyncio.Task[None]] = []
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            match json.loads(line):
                case {"send": sites, "count": count, "every_s": every_s}:
                    sending.append(asyncio.create_task(send(node, sites, count, every_s)))
                case {"say": payload, "to": site}:
                    await node.send(covey.Site(bytes.fromhex(site)), payload)
                case {"statistics": _}:
                    say(
                        event="statistics",
                        links=msgspec.structs.asdict(node.statistics().machines["links"]),
                        neighbours=[neighbor.site.hex() for neighbor in node.neighbours()],
                        heard={site: len(found) for site, found in numbers.items()},
                        in_order={site: found == list(range(len(found))) for site, found in numbers.items()},
                        slowest_s=SLOWEST,
                    )
                case {"close": _}:
                    break
        for task in (telling, *sending):
            task.cancel()


def run(options: dict[str, Any]) -> None:
    factory: Any = None
    if options.get("loop") == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main(options))


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
