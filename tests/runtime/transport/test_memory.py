"""Connections inside one process say what sockets would say, and nothing else, on the virtual clock."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from covey.core.errors import ConfigError
from covey.core.vocabulary import Cause
from covey.protocols.links.vocabulary import (
    BytesReceived,
    ConnectionAccepted,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionOpened,
    ConnectionPaused,
    ConnectionResumed,
)
from covey.runtime.transport.memory import BUFFER_BYTES, MemoryNetwork, MemoryTransport
from covey.testing import Cluster, run

LATENCY_S = 0.25


class End:
    """A transport and what it said, each with its time since the start."""

    def __init__(self, network: MemoryNetwork) -> None:
        self.transport: MemoryTransport = network.transport()
        self.transport.sink = self._take
        self.facts: list[Any] = []
        self.times: list[float] = []

    def _take(self, fact: Any) -> None:
        self.facts.append(fact)
        self.times.append(round(asyncio.get_running_loop().time() - 1_000, 6))

    def of(self, kind: type) -> list[Any]:
        return [fact for fact in self.facts if type(fact) is kind]

    @property
    def data(self) -> bytes:
        return b"".join(fact.data for fact in self.of(BytesReceived))


async def listening(network: MemoryNetwork, count: int) -> list[End]:
    ends = [End(network) for _ in range(count)]
    for end in ends:
        await end.transport.listen("127.0.0.1:0")
    return ends


async def connected(network: MemoryNetwork) -> tuple[End, End, int, int]:
    """Two ends of one connection, and its number at each."""
    one, other = await listening(network, 2)
    one.transport.open(1, other.transport.address)
    await asyncio.sleep(3 * network.latency_s)
    return one, other, 1, other.of(ConnectionAccepted)[0].connection


def virtually(test: Any) -> None:
    """Run `test(network)` on the virtual clock."""

    async def main(_: Cluster) -> None:
        await test(MemoryNetwork(LATENCY_S))

    run(main)


# --- a connection's life --------------------------------------------------------------------------------------------


def test_everything_takes_the_networks_latency():
    async def test(network: MemoryNetwork) -> None:
        one, other, here, there = await connected(network)
        assert there < 0 < here
        start = asyncio.get_running_loop().time() - 1_000
        one.transport.write(here, b"x")
        other.transport.write(there, b"y")
        await asyncio.sleep(1)
        one.transport.close(here)
        await asyncio.sleep(1)
        assert one.facts == [ConnectionOpened(here), BytesReceived(here, b"y")]
        assert other.facts == [
            ConnectionAccepted(there, one.transport.address),
            BytesReceived(there, b"x"),
            ConnectionClosed(there, Cause.CLOSED),
        ]
        assert one.times == [2 * LATENCY_S, start + LATENCY_S]
        assert other.times == [LATENCY_S, start + LATENCY_S, start + 1 + LATENCY_S]

    virtually(test)


def test_bytes_arrive_in_order_and_before_the_close_behind_them():
    async def test(network: MemoryNetwork) -> None:
        one, other, here, there = await connected(network)
        for number in range(50):
            one.transport.write(here, bytes([number]))
        one.transport.close(here)
        one.transport.write(here, b"never")
        await asyncio.sleep(1)
        assert other.data == bytes(range(50))
        assert other.facts[-1] == ConnectionClosed(there, Cause.CLOSED)
        assert other.transport.reads == 50

    virtually(test)


def test_after_our_close_nothing_more_is_said():
    async def test(network: MemoryNetwork) -> None:
        one, other, here, there = await connected(network)
        other.transport.write(there, b"on its way")
        one.transport.close(here)
        other.transport.write(there, b"more")
        other.transport.close(there)
        await asyncio.sleep(1)
        assert one.facts == [ConnectionOpened(here)]
        assert other.of(ConnectionClosed) == []

    virtually(test)


@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.3, 0.6])
def test_a_dial_that_is_closed_meanwhile_says_nothing_more_and_leaves_no_end_behind(after_s):
    async def test(network: MemoryNetwork) -> None:
        one, other = await listening(network, 2)
        one.transport.open(1, other.transport.address)
        await asyncio.sleep(after_s)
        count = len(one.facts)
        one.transport.close(1)
        await asyncio.sleep(2)
        assert len(one.facts) == count
        assert len(other.of(ConnectionClosed)) == len(other.of(ConnectionAccepted))

    virtually(test)


# --- who is there ---------------------------------------------------------------------------------------------------


def test_an_address_can_be_listened_on_once_at_a_time():
    async def test(network: MemoryNetwork) -> None:
        one, other = End(network), End(network)
        await one.transport.listen("127.0.0.1:77")
        with pytest.raises(ConfigError, match=r"listen: 127\.0\.0\.1:77 is taken"):
            await other.transport.listen("127.0.0.1:77")
        await one.transport.aclose()
        assert await other.transport.listen("127.0.0.1:77") == "127.0.0.1:77"

    virtually(test)


def test_of_a_range_the_first_free_port_is_taken_as_over_tcp():
    async def test(network: MemoryNetwork) -> None:
        ends = [End(network) for _ in range(3)]
        assert await ends[0].transport.listen("127.0.0.1:77-78") == "127.0.0.1:77"
        assert await ends[1].transport.listen("127.0.0.1:77-78") == "127.0.0.1:78"
        with pytest.raises(ConfigError, match="listen"):
            await ends[2].transport.listen("127.0.0.1:77-78")

    virtually(test)


def test_a_transport_that_could_not_listen_takes_nobody_elses_place_away():
    async def test(network: MemoryNetwork) -> None:
        one, other = End(network), End(network)
        await one.transport.listen("127.0.0.1:77")
        with pytest.raises(ConfigError):
            await other.transport.listen("127.0.0.1:77")
        await other.transport.aclose()
        assert network.transports == {"127.0.0.1:77": one.transport}

    virtually(test)


def test_where_nobody_listens_a_dial_is_refused():
    async def test(network: MemoryNetwork) -> None:
        one, other = await listening(network, 2)
        one.transport.open(1, "127.0.0.1:999")
        one.transport.open(2, other.transport.address)
        await other.transport.aclose()  # while the dial is on its way
        await asyncio.sleep(1)
        assert one.facts == [ConnectionFailed(1, Cause.REFUSED), ConnectionFailed(2, Cause.REFUSED)]

    virtually(test)


def test_a_crash_resets_and_refuses():
    async def test(network: MemoryNetwork) -> None:
        one, other, here, _ = await connected(network)
        other.transport.crash()
        one.transport.open(2, other.transport.address)
        await asyncio.sleep(1)
        assert one.facts[1:] == [ConnectionClosed(here, Cause.RESET), ConnectionFailed(2, Cause.REFUSED)]

    virtually(test)


def test_aclose_closes_every_connection():
    async def test(network: MemoryNetwork) -> None:
        one, other, _, there = await connected(network)
        one.transport.open(2, other.transport.address)
        await asyncio.sleep(1)
        await one.transport.aclose()
        await asyncio.sleep(1)
        assert len(other.of(ConnectionClosed)) == 2
        assert one.of(ConnectionClosed) == []
        assert ConnectionClosed(there, Cause.CLOSED) in other.facts

    virtually(test)


# --- cuts -----------------------------------------------------------------------------------------------------------


def test_behind_a_cut_nobody_answers_and_nothing_is_said():
    async def test(network: MemoryNetwork) -> None:
        one, other, here, there = await connected(network)
        network.cut(one.transport.address, other.transport.address)
        one.transport.open(2, other.transport.address)
        one.transport.write(here, b"x")
        other.transport.write(there, b"y")
        other.transport.close(there)
        await asyncio.sleep(60)
        assert one.facts == [ConnectionOpened(here)]
        assert other.facts == [ConnectionAccepted(there, one.transport.address)]

    virtually(test)


def test_what_is_on_its_way_when_a_cut_comes_is_lost_and_all_that_follows_on_that_connection():
    """As with TCP: a gap never passes, also after the cut has healed."""

    async def test(network: MemoryNetwork) -> None:
        one, other, here, _ = await connected(network)
        one.transport.write(here, b"under way")
        network.cut(one.transport.address, other.transport.address)
        await asyncio.sleep(1)
        network.heal()
        one.transport.write(here, b"behind a gap")
        await asyncio.sleep(1)
        assert other.data == b""
        one.transport.open(2, other.transport.address)
        await asyncio.sleep(1)
        one.transport.write(2, b"anew")
        await asyncio.sleep(1)
        assert other.data == b"anew"

    virtually(test)


def test_a_partition_cuts_islands_and_nothing_within_them():
    async def test(network: MemoryNetwork) -> None:
        ends = await listening(network, 4)
        addresses = [end.transport.address for end in ends]
        network.partition(addresses[:2], addresses[2:])
        for source, target in itertools.product(range(4), repeat=2):
            assert network.blocked(addresses[source], addresses[target]) is ((source < 2) != (target < 2))
        ends[0].transport.open(1, addresses[1])
        ends[0].transport.open(2, addresses[2])
        await asyncio.sleep(1)
        assert ends[0].of(ConnectionOpened) == [ConnectionOpened(1)]
        network.heal()
        assert not network.blocked(addresses[0], addresses[3])

    virtually(test)


def test_a_dial_that_is_on_its_way_when_a_cut_comes_does_not_arrive():
    async def test(network: MemoryNetwork) -> None:
        one, other = await listening(network, 2)
        one.transport.open(1, other.transport.address)
        await asyncio.sleep(LATENCY_S / 2)
        network.cut(one.transport.address, other.transport.address)
        await asyncio.sleep(1)
        assert one.facts == other.facts == []

    virtually(test)


# --- who reads too slowly -------------------------------------------------------------------------------------------


def test_a_reader_that_stops_pauses_its_writer_and_one_that_goes_on_resumes_it():
    async def test(network: MemoryNetwork) -> None:
        one, other, here, _ = await connected(network)
        other.transport.pause_reading()
        sent = 0
        while not one.of(ConnectionPaused):
            one.transport.write(here, b"x" * 10_000)
            sent += 10_000
            await asyncio.sleep(0.01)
        assert BUFFER_BYTES < sent <= BUFFER_BYTES + 20_000
        await asyncio.sleep(10)
        assert other.of(BytesReceived) == []
        assert one.of(ConnectionPaused) == [ConnectionPaused(here)]
        other.transport.resume_reading()
        await asyncio.sleep(1)
        assert len(other.data) == sent
        assert one.of(ConnectionResumed) == [ConnectionResumed(here)]

    virtually(test)


def test_a_reader_that_keeps_up_pauses_nobody():
    async def test(network: MemoryNetwork) -> None:
        one, other, here, _ = await connected(network)
        for _ in range(100):
            one.transport.write(here, b"x" * 10_000)
            await asyncio.sleep(0.02)
        await asyncio.sleep(1)
        assert one.of(ConnectionPaused) == []
        assert len(other.data) == 1_000_000

    virtually(test)


def test_what_waited_for_a_reader_keeps_its_order_with_the_close_at_the_end():
    async def test(network: MemoryNetwork) -> None:
        one, other, here, there = await connected(network)
        other.transport.pause_reading()
        for number in range(20):
            one.transport.write(here, bytes([number]))
        one.transport.close(here)
        await asyncio.sleep(5)
        assert other.of(ConnectionClosed) == []
        other.transport.resume_reading()
        assert other.data == bytes(range(20))
        assert other.facts[-1] == ConnectionClosed(there, Cause.CLOSED)

    virtually(test)


def test_a_reader_that_pauses_again_while_it_is_given_what_waited_gets_no_more_until_it_resumes():
    async def test(network: MemoryNetwork) -> None:
        one, other, here, _ = await connected(network)
        other.transport.pause_reading()
        for number in range(10):
            one.transport.write(here, bytes([number]))
        await asyncio.sleep(1)
        take = other.transport.sink

        def full_after_three(fact: Any) -> None:
            take(fact)
            if len(other.of(BytesReceived)) == 3:
                other.transport.pause_reading()

        other.transport.sink = full_after_three
        other.transport.resume_reading()
        one.transport.write(here, b"\x0a")
        await asyncio.sleep(1)
        assert other.data == bytes(range(3))
        other.transport.resume_reading()
        assert other.data == bytes(range(11))

    virtually(test)
