"""Durable nodes that throw members out as fast as their disk allows, until they are killed: one child a line of input.

The server has imported everything once and forks a child for each order, so that a life begins in milliseconds; it runs
no event loop and has no thread. A child says in JSON lines what it is about to do (`asked`), and what its node told it
(`told`: the outcome or the event that belongs to it; `event`: any other). When it has ended the server says so, and
takes the next order.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

import covey
from covey.core.ids import SITE_BYTES, Site
from covey.core.vocabulary import Channel
from covey.protocols.membership.vocabulary import Kick, SetMember

WINDOW = 3  # sites that are not thrown out yet
SECONDS_MAX = 20  # the life of a child that nobody kills


def say(**values: Any) -> None:
    """One line, whole or not at all: pipes take so little at once (pipe(7): PIPE_BUF)."""
    os.write(1, json.dumps(values).encode() + b"\n")


def target(life: int, number: int) -> Site:
    """A site that one life makes a member and throws out, and nobody else ever names."""
    return Site(life.to_bytes(8, "big") + number.to_bytes(SITE_BYTES - 8, "big"))


async def live(path: str, seed: str, secret: str, life: int) -> None:
    """One life: make sites members, and throw each out once that is durable."""
    config = covey.Config.laptop()
    node = covey.Node("crash", listen="127.0.0.1:0", seeds=[seed], secret=secret, storage=path, config=config)
    async with node, node.events(events_max=100_000) as events:
        say(started=node.site.hex(), incarnation=node.incarnation)
        (peer,) = await node.wait_neighbours(1)
        engine, runner = node._engine, node._runner
        assert engine is not None and runner is not None and engine.links.linked(peer.site, Channel.CONTROL)
        say(linked=True)
        room = asyncio.Semaphore(WINDOW)

        async def change(number: int) -> None:
            site = target(life, number)
            request, outcome = runner.request()
            say(asked="added", site=site.hex())
            runner.feed(SetMember(request, site, True))
            await outcome
            say(told="added", site=site.hex())
            say(asked="kicked", site=site.hex())
            runner.feed(Kick(0, site))  # its outcome waits for members that are none; the event does not

        async def tell() -> None:
            async for event in events:
                match event:
                    case covey.MemberUpdated(member) if member.site[:8] == life.to_bytes(8, "big"):
                        say(event="added", site=member.site.hex())  # its outcome is told besides
                    case covey.MemberKicked(member, _):
                        say(told="kicked", site=member.site.hex())
                        room.release()

        async with asyncio.TaskGroup() as group:
            group.create_task(tell())
            number = 0
            while True:
                await room.acquire()
                number += 1
                group.create_task(change(number))


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            signal.alarm(SECONDS_MAX)
            asyncio.run(live(**order))
            os._exit(0)
        say(pid=pid)
        _, status = os.waitpid(pid, 0)
        say(ended=pid, signal=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
