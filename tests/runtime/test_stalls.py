"""A process that was away hears what arrived meanwhile before it accuses anybody; one that fell silent is noticed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time

import pytest

import covey
from tests.hostile.children import children, talker
from tests.hostile.talker import config
from tests.runtime.transport.tcp_harness import every_loop, run_on, wait_until

pytestmark = pytest.mark.serial

SECRET = "not a secret at all"
QUICK = {"keepalive_us": 100_000, "silence_us_max": 500_000}
PATIENT = {"keepalive_us": 100_000, "silence_us_max": 30_000_000}


def node(seeds: list[str], links: dict[str, int]) -> covey.Node:
    return covey.Node("hostile", listen="127.0.0.1:0", seeds=seeds, secret=SECRET, config=config(links))


async def stall(where: str) -> None:
    """Stand still for a while, in a place where user code may."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def stand_still() -> None:
        time.sleep(1.0)
        done.set_result(None)

    def read(sock: socket.socket) -> None:
        sock.recv(1)
        stand_still()

    match where:
        case "a callback":
            loop.call_soon(stand_still)
        case "a timer":
            loop.call_later(0.01, stand_still)
        case "a reader":
            with contextlib.ExitStack() as stack:
                ours, theirs = (stack.enter_context(sock) for sock in socket.socketpair())
                ours.setblocking(False)
                loop.add_reader(ours, read, ours)
                stack.callback(loop.remove_reader, ours)
                theirs.send(b"x")
                await done
    await done


@every_loop
def test_a_stalled_node_accuses_nobody_whose_words_have_arrived(kind):
    """Its loop stands still for twice what it takes for silence; the other side has gone on speaking."""

    async def main() -> None:
        async with children() as start:
            child = await start(*talker(links=PATIENT))
            async with node([child.address], QUICK) as stalled, stalled.events() as events:
                await stalled.wait_neighbours(1)
                await child.hear("neighbour_up")
                for where in ("a callback", "a timer", "a reader"):
                    await stall(where)
                    await asyncio.sleep(0.05)
                    downs = [event for event in events._queue if isinstance(event, covey.NeighborDown)]
                    assert (where, downs) == (where, [])

    run_on(kind, main())


@every_loop
def test_a_half_open_peer_is_noticed_by_its_silence(kind):
    """Its process stands still, its sockets stay open: nothing is ever said again."""

    async def main() -> None:
        async with children() as start:
            child = await start(*talker(links=PATIENT))
            async with node([child.address], QUICK) as watching, watching.events() as events:
                await watching.wait_neighbours(1)
                os.kill(child.pid, signal.SIGSTOP)
                start_s = time.monotonic()
                try:
                    while True:
                        event = await asyncio.wait_for(anext(events), 5)
                        if isinstance(event, covey.NeighborDown):
                            break
                    assert event.cause == "silent"
                    assert 0.3 < time.monotonic() - start_s < 1.5
                finally:
                    os.kill(child.pid, signal.SIGCONT)

    run_on(kind, main())


@every_loop
def test_a_killed_process_is_noticed_at_once_and_not_taken_for_one_that_left(kind):
    async def main() -> None:
        async with children() as start:
            child = await start(*talker())
            async with node([child.address], {}) as watching, watching.events() as events:
                await watching.wait_neighbours(1)
                os.kill(child.pid, signal.SIGKILL)
                start_s = time.monotonic()
                while True:
                    event = await asyncio.wait_for(anext(events), 5)
                    if isinstance(event, covey.NeighborDown):
                        break
                assert event.cause in ("reset", "closed")
                assert time.monotonic() - start_s < 1

    run_on(kind, main())


@every_loop
def test_the_lag_of_a_loop_that_stood_still_is_told(kind):
    async def main() -> None:
        async with node([], {}) as stalled:
            await asyncio.sleep(0.15)
            time.sleep(0.3)
            await wait_until(lambda: stalled.statistics().lag_ms > 150, 0.09)  # until it is measured again
            assert stalled.statistics().lag_ms < 2_000

    run_on(kind, main())
