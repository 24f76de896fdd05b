"""One of six nodes stops reading. The others must not notice, and it is dropped within the time that is stated."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

import covey
from covey.core.vocabulary import Channel, PeerCongested, PeerLost
from covey.runtime.transport import memory
from covey.testing import Cluster, run
from tests.testing.virtual import meshed, running, until

PERIOD_S = 0.004
SECONDS = 10.5
STOP_AT_S = 2.0
PADDING = b"x" * 100  # with number and time about 128 bytes
CONFIG = covey.Config.laptop()


class Measured:
    """What one run showed."""

    def __init__(self) -> None:
        self.latencies: dict[int, list[float]] = {number: [] for number in range(1, 5)}  # seconds, by receiver
        self.numbers: dict[int, list[int]] = {number: [] for number in range(1, 5)}
        self.sent = 0
        self.refused = 0
        self.congested_s: float | None = None  # after the stop: the sender knows that it does not read
        self.data_lost_s: float | None = None  # after the stop: the link with the queue was dropped
        self.downs: list[tuple[int, str, float]] = []  # who lost the stopped one, why, when after the stop
        self.others_down: list[covey.NeighborDown] = []


def measure(stop: bool) -> Measured:
    """Node 0 sends to the five others all the time; node 5 stops reading, if so told."""
    found = Measured()

    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(6, config=CONFIG)
        await until(lambda: meshed(nodes))
        loop = asyncio.get_running_loop()
        sender, stopped = nodes[0], nodes[5]
        for node in nodes[1:]:
            await sender.send(node.site, None)
        start_s = loop.time()

        async def read(number: int) -> None:
            async with nodes[number].events() as events:
                async for event in events:
                    match event:
                        case covey.Message(_, [sequence, sent_s, _]):
                            found.latencies[number].append(loop.time() - sent_s)
                            found.numbers[number].append(sequence)
                        case covey.NeighborDown(neighbor, _) if neighbor.site != stopped.site:
                            found.others_down.append(event)
                        case covey.Lost():
                            raise AssertionError("a reader was too slow")

        async def watch(number: int) -> None:
            async with nodes[number].events() as events:
                async for event in events:
                    if isinstance(event, covey.NeighborDown) and event.neighbor.site == stopped.site:
                        found.downs.append((number, event.cause, loop.time() - start_s - STOP_AT_S))

        watch_congestion(sender, stopped.site, found, lambda: loop.time() - start_s - STOP_AT_S)
        async with running(*(read(number) for number in range(1, 5)), *(watch(number) for number in range(5))):
            while loop.time() - start_s < SECONDS:
                if stop and loop.time() - start_s >= STOP_AT_S:
                    runner: Any = stopped._runner
                    runner._transport.pause_reading()
                for node in nodes[1:]:
                    try:
                        sender.send_nowait(node.site, [found.sent, loop.time(), PADDING])
                    except (covey.Overloaded, covey.PeerUnreachable, covey.UnknownName):
                        assert node is stopped
                        found.refused += 1
                found.sent += 1
                await asyncio.sleep(PERIOD_S)
            await asyncio.sleep(0.01)

    run(test)
    return found


def watch_congestion(sender: covey.Node, site: covey.Site, found: Measured, now_s: Any) -> None:
    """Note what the sender's machines say of the link to `site`."""

    def observe(now_us: int, machine: str, incoming: Any, effects: Sequence[Any]) -> None:
        if machine != "links":
            return
        for effect in effects:
            match effect:
                case PeerCongested(who, Channel.DATA) if who == site and found.congested_s is None:
                    found.congested_s = now_s()
                case PeerLost(contact, Channel.DATA, _) if contact.site == site and found.data_lost_s is None:
                    found.data_lost_s = now_s()

    runner: Any = sender._runner
    runner._pump._observe = observe


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.slow
def test_one_that_stops_reading_delays_nobody_else_and_is_dropped_in_time(monkeypatch):
    monkeypatch.setattr(memory, "BUFFER_BYTES", 64 * 1024)  # two seconds of this stream, and not eight
    without, beside = measure(stop=False), measure(stop=True)
    links = CONFIG.engine.links

    for number in range(1, 5):
        assert beside.numbers[number] == without.numbers[number] == list(range(beside.sent))
        assert mean(beside.latencies[number]) < 1.05 * mean(without.latencies[number])
        slowest = max(without.latencies[number])
        delayed = [latency for latency in beside.latencies[number] if latency > 1.05 * slowest]
        assert len(delayed) == 0
    assert without.downs == []
    assert without.others_down == beside.others_down == []
    assert without.refused == 0

    # Once what lies between them is full the sender knows, and waits so long:
    assert beside.congested_s is not None
    assert beside.data_lost_s is not None
    assert 0 < beside.data_lost_s - beside.congested_s <= links.congested_us_max / 1e6 + 0.01

    # Who does not read hears nobody, and says so itself; each of the five has lost it within the silence limit.
    in_time_s = (links.silence_us_max + links.keepalive_us) / 1e6
    assert {number for number, _, _ in beside.downs} == {0, 1, 2, 3, 4}
    for _, cause, after_s in beside.downs:
        assert cause in ("slow", "silent")
        assert after_s <= in_time_s


@pytest.mark.slow
def test_one_that_stops_for_good_is_silent_and_dropped_in_time():
    """It neither reads nor writes, as a stopped process does."""

    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(6, config=CONFIG)
        await until(lambda: meshed(nodes))
        loop = asyncio.get_running_loop()
        await asyncio.sleep(30)
        frozen: Any = nodes[5]._runner
        frozen._transport.pause_reading()
        frozen._transport.write = lambda connection, data: None
        frozen._transport.close = lambda connection: None
        start_s = loop.time()
        await until(lambda: meshed(nodes[:5]), 10)
        links = CONFIG.engine.links
        assert links.silence_us_max - links.keepalive_us <= (loop.time() - start_s) * 1e6
        assert (loop.time() - start_s) * 1e6 <= links.silence_us_max + links.keepalive_us

    run(test)
