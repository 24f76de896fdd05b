"""One process of five stands still (SIGSTOP). The others lose nothing, wait for nothing, and take it back later."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

import covey
from tests.hostile.children import Child, children, talker

pytestmark = pytest.mark.serial

MESSAGES = 2_000
EVERY_S = 0.003
SLOWEST_S = 1.0  # real processes on a busy machine; behind the stopped one it would be seconds


async def test_a_stopped_process_is_dropped_in_time_and_delays_nobody(tmp_path):
    silence_s = covey.Config.laptop().engine.links.silence_us_max / 1e6
    keepalive_s = covey.Config.laptop().engine.links.keepalive_us / 1e6
    async with children() as start:
        first: Child = await start(*talker())
        nodes = [first, *await asyncio.gather(*(start(*talker(seeds=[first.address])) for _ in range(4)))]
        for node in nodes:
            await node.hear("neighbour_up", 4, 20)
        sender, *others, stopped = nodes

        # A first word to each, so that what is measured is not the making of links.
        for node in nodes[1:]:
            sender.tell(say="hello", to=node.site)
            await node.hear("message")

        os.kill(stopped.pid, signal.SIGSTOP)
        stopped_s = time.time()
        try:
            targets = [node.site for node in nodes[1:]]
            sent = await sender.ask("sent", 30, send=targets, count=MESSAGES, every_s=EVERY_S)
            assert {site: sent["refused"][site] for site in targets[:-1]} == dict.fromkeys(targets[:-1], 0)
            await asyncio.sleep(0.2)
            for node in others:
                found = await node.ask("statistics", statistics=True)
                assert found["heard"] == {sender.site: MESSAGES}
                assert found["in_order"] == {sender.site: True}
                assert found["slowest_s"][sender.site] < SLOWEST_S
            for node in (sender, *others):
                down = await node.hear("neighbour_down", seconds=silence_s + keepalive_s + 2)
                assert down["site"] == stopped.site
                assert down["cause"] in ("silent", "slow")
                assert down["at"] - stopped_s <= silence_s + keepalive_s + 0.5
        finally:
            os.kill(stopped.pid, signal.SIGCONT)

        for node in (sender, *others):
            await node.until(lambda node=node: len(node.of("neighbour_up")) == 5, 15)
            assert node.of("neighbour_up")[-1]["site"] == stopped.site
            assert len(node.of("neighbour_down")) == 1
        sender.tell(say="welcome back", to=stopped.site)
        await stopped.until(lambda: any(said["payload"] == "welcome back" for said in stopped.of("message")), 10)
        await stopped.until(lambda: len(up_now(stopped)) == 4, 10)


def up_now(child: Child) -> set[str]:
    """The neighbours a child has, by what it has said."""
    found: set[str] = set()
    for said in child.said:
        if said["event"] == "neighbour_up":
            found.add(said["site"])
        elif said["event"] == "neighbour_down":
            found.discard(said["site"])
    return found
