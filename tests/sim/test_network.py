"""The simulated network: bytes in order, cuts that stall, and writers that are told to wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from covey.core.vocabulary import Cause, LoopLagged, Tick
from covey.engine.gate import Persisted
from covey.protocols.links.vocabulary import (
    BytesReceived,
    ConnectionAccepted,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionOpened,
    ConnectionPaused,
    ConnectionResumed,
)
from covey.sim.network import SOCKET_BYTES, NetworkFaults
from covey.sim.world import World

STEADY = NetworkFaults(latency_us_min=1_000, latency_us_max=1_000)
DIALLED, ACCEPTED = 1_000, -1  # the two ends' names of the one connection


class Pair:
    """Two nodes that only listen, and one connection between them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, faults: NetworkFaults = STEADY, connected: bool = True) -> None:
        self.world = World(1, faults=faults)
        self.heard: list[tuple[int, Any]] = []
        for index in (0, 1):
            node = self.world.start_node()
            monkeypatch.setattr(node, "feed", self._ear(index))
        self.ann, self.bob = self.world.nodes
        if connected:
            self.world.sockets.open(self.ann, DIALLED, "n1:1")
            self.world.run(3_000)
            self.heard.clear()

    def _ear(self, index: int) -> Callable[[Any], None]:
        def feed(fact: Any) -> None:
            if not isinstance(fact, (Tick, LoopLagged, Persisted)):
                self.heard.append((index, fact))

        return feed

    def say(self, *writes: bytes) -> None:
        for data in writes:
            self.world.sockets.write(self.ann, DIALLED, data)

    def read(self) -> bytes:
        """What Bob has read so far."""
        return b"".join(fact.data for index, fact in self.heard if index == 1 and isinstance(fact, BytesReceived))

    def under_way(self) -> dict[int, int]:
        return dict(self.world.sockets.pipes[0, DIALLED].in_flight)


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Pair:
    return Pair(monkeypatch)


def test_a_connection_is_accepted_after_one_latency_and_opened_after_two(monkeypatch):
    pair = Pair(monkeypatch, connected=False)
    pair.world.sockets.open(pair.ann, DIALLED, "n1:1")
    pair.world.run(1_000)
    assert pair.heard == [(1, ConnectionAccepted(ACCEPTED, "n0:1"))]
    pair.world.run(1_000)
    assert pair.heard[1:] == [(0, ConnectionOpened(DIALLED))]


def test_nobody_listens_at_an_unknown_address_or_at_a_dead_node(monkeypatch):
    pair = Pair(monkeypatch, connected=False)
    pair.world.sockets.open(pair.ann, 1, "nowhere:1")
    pair.world.crash(pair.bob)
    pair.world.sockets.open(pair.ann, 2, "n1:1")
    pair.world.run(5_000)
    assert pair.heard == [(0, ConnectionFailed(1, Cause.REFUSED)), (0, ConnectionFailed(2, Cause.REFUSED))]


def test_a_connection_across_a_cut_is_never_answered(monkeypatch):
    pair = Pair(monkeypatch, connected=False)
    pair.world.network.cut(1, 0)
    pair.world.sockets.open(pair.ann, DIALLED, "n1:1")
    pair.world.run(60_000_000)
    assert pair.heard == []


def test_writes_arrive_whole_and_after_the_latency(pair):
    pair.say(b"one", b"two")
    pair.world.run(999)
    assert pair.heard == []
    pair.world.run(1)
    assert pair.heard == [(1, BytesReceived(ACCEPTED, b"one")), (1, BytesReceived(ACCEPTED, b"two"))]


@pytest.mark.parametrize("seed", range(5))
def test_whatever_the_latencies_bytes_arrive_in_the_order_in_which_they_were_written(monkeypatch, seed):
    pair = Pair(monkeypatch, NetworkFaults(latency_us_min=1, latency_us_max=50_000), connected=False)
    pair.world.network._rng.seed(seed)
    pair.world.sockets.open(pair.ann, DIALLED, "n1:1")
    pair.world.run(200_000)
    expected = b""
    for number in range(50):
        pair.say(b"%d," % number)
        expected += b"%d," % number
        pair.world.run(700)
    pair.world.run(100_000)
    assert pair.read() == expected


def test_a_cut_stalls_what_is_written_until_it_is_mended(pair):
    pair.say(b"before,")
    pair.world.run(2_000)
    pair.world.network.cut(0, 1)
    pair.say(b"one,", b"two,")
    pair.world.run(60_000_000)
    assert pair.read() == b"before,"
    pair.world.sockets.write(pair.bob, ACCEPTED, b"the other way")
    pair.world.mend()
    pair.world.run(2_000)
    assert pair.read() == b"before,one,two,"
    assert (0, BytesReceived(DIALLED, b"the other way")) in pair.heard


def test_a_cut_stalls_what_was_under_way(pair):
    pair.say(b"one,")
    pair.world.run(500)
    pair.world.network.cut(0, 1)
    pair.world.run(60_000_000)
    assert pair.read() == b""
    pair.world.mend()
    pair.world.run(2_000)
    assert pair.read() == b"one,"


def test_a_cut_keeps_what_was_under_way_before_what_was_written_behind_it(pair):
    pair.say(b"one,")
    pair.world.run(500)
    pair.world.network.cut(0, 1)
    pair.say(b"two,")
    pair.world.run(5_000)
    pair.world.mend()
    pair.world.run(5_000)
    assert pair.read() == b"one,two,"


def test_bytes_under_way_are_counted_once_although_a_cut_stalled_them(pair):
    pair.say(b"x" * 100)
    assert pair.under_way() == {0: 0, 1: 100}
    pair.world.run(500)
    pair.world.network.cut(0, 1)
    pair.world.run(5_000)
    pair.world.mend()
    pair.world.run(5_000)
    assert pair.under_way() == {0: 0, 1: 0}


def test_the_end_of_a_connection_is_told_behind_its_bytes(pair):
    pair.say(b"last words")
    pair.world.sockets.close(pair.ann, DIALLED)
    pair.world.run(2_000)
    assert pair.heard == [
        (1, BytesReceived(ACCEPTED, b"last words")),
        (1, ConnectionClosed(ACCEPTED, Cause.CLOSED)),
    ]


def test_the_end_of_a_connection_is_held_back_by_a_cut_so_one_side_goes_on_believing(pair):
    pair.world.network.cut(0, 1)
    pair.world.sockets.close(pair.ann, DIALLED)
    pair.world.run(60_000_000)
    assert pair.heard == []
    pair.world.mend()
    pair.world.run(2_000)
    assert pair.heard == [(1, ConnectionClosed(ACCEPTED, Cause.CLOSED))]


def test_the_end_of_a_connection_does_not_slip_through_a_cut_that_holds_its_bytes(pair):
    pair.say(b"last words")
    pair.world.sockets.close(pair.ann, DIALLED)
    pair.world.run(500)
    pair.world.network.cut(0, 1)
    pair.world.run(60_000_000)
    assert pair.heard == []
    pair.world.mend()
    pair.world.run(5_000)
    assert pair.heard == [
        (1, BytesReceived(ACCEPTED, b"last words")),
        (1, ConnectionClosed(ACCEPTED, Cause.CLOSED)),
    ]


def test_a_process_that_dies_loudly_is_told_and_one_that_vanishes_is_not(pair, monkeypatch):
    pair.world.crash(pair.ann)
    pair.world.run(2_000)
    assert pair.heard == [(1, ConnectionClosed(ACCEPTED, Cause.RESET))]
    other = Pair(monkeypatch)
    other.world.crash(other.ann, loudly=False)
    other.world.run(60_000_000)
    assert other.heard == []


def test_a_writer_is_paused_above_what_sockets_hold_and_resumed_at_half_of_it(pair):
    half = b"x" * (SOCKET_BYTES // 2)
    pair.say(half, half)
    pair.world.run(0)
    assert pair.heard == []
    pair.say(b"y")
    pair.world.run(0)
    assert pair.heard == [(0, ConnectionPaused(DIALLED))]
    pair.say(b"z")
    pair.world.run(1_000)
    assert [fact for index, fact in pair.heard if index == 0] == [ConnectionPaused(DIALLED), ConnectionResumed(DIALLED)]
    assert pair.read() == half + half + b"yz"
    assert pair.under_way() == {0: 0, 1: 0}


def test_a_writer_towards_a_reader_that_stands_still_stays_paused(pair):
    pair.world.pause(pair.bob, 10_000_000)
    pair.say(b"x" * (SOCKET_BYTES + 1))
    pair.world.run(5_000_000)
    assert pair.heard == [(0, ConnectionPaused(DIALLED))]
    pair.world.run(10_000_000)
    assert [fact for index, fact in pair.heard if index == 0] == [ConnectionPaused(DIALLED), ConnectionResumed(DIALLED)]


def test_a_writer_whose_bytes_were_lost_is_not_left_waiting(pair):
    pair.world.network.faults = NetworkFaults(1_000, 1_000, loss=1.0)
    pair.say(b"x" * (SOCKET_BYTES + 1))
    pair.world.run(60_000_000)
    assert pair.under_way() == {0: 0, 1: 0}
    assert [fact for index, fact in pair.heard if index == 0] in (
        [],
        [ConnectionPaused(DIALLED), ConnectionResumed(DIALLED)],
    )


def test_what_a_mended_cut_lets_go_waits_in_the_kernel_of_a_process_that_is_stopped(pair):
    pair.world.network.cut(0, 1)
    pair.say(b"late")
    pair.world.run(2_000)
    pair.world.pause(pair.bob, 10_000_000)
    pair.world.mend()
    pair.world.run(9_000_000)
    assert pair.heard == []
    pair.world.run(2_000_000)
    assert pair.heard == [(1, BytesReceived(ACCEPTED, b"late"))]


def test_what_a_cut_held_back_is_read_before_what_came_later_to_a_process_that_is_stopped(pair):
    pair.world.network.cut(0, 1)
    pair.say(b"one,")
    pair.world.run(2_000)
    pair.world.pause(pair.bob, 10_000_000)
    pair.say(b"two,")
    pair.world.run(2_000)
    pair.world.mend()
    pair.say(b"three,")
    pair.world.run(20_000_000)
    assert pair.read() == b"one,two,three,"


@pytest.mark.parametrize("fault", ["loss", "duplicate", "reorder"])
def test_only_where_the_profile_asks_for_it_writes_are_lost_doubled_or_overtaken(monkeypatch, fault):
    pair = Pair(monkeypatch, NetworkFaults(latency_us_min=1, latency_us_max=5_000), connected=False)
    pair.world.sockets.open(pair.ann, DIALLED, "n1:1")
    pair.world.run(20_000)
    pair.world.network.faults = NetworkFaults(latency_us_min=1, latency_us_max=5_000, **{fault: 0.3})
    sent = [b"%02d" % number for number in range(60)]
    for data in sent:
        pair.say(data)
        pair.world.run(200)
    pair.world.run(20_000)
    got = [fact.data for index, fact in pair.heard if index == 1 and isinstance(fact, BytesReceived)]
    if fault == "loss":
        assert len(got) < 60
        assert got == sorted(got)
    elif fault == "duplicate":
        assert len(got) > 60
        assert list(dict.fromkeys(got)) == sent
    else:
        assert sorted(got) == sent != got


def test_calm_ends_every_fault_and_every_cut():
    world = World(1, faults=NetworkFaults(5, 9, loss=1.0, duplicate=1.0, reorder=1.0, slow_link=1.0))
    world.network.cut(0, 1)
    assert world.network.latency_us(0, 1) >= 500
    world.network.calm()
    assert world.network.faults == NetworkFaults(5, 9)
    assert not world.network.blocked(0, 1)
    assert 5 <= world.network.latency_us(0, 1) <= 9
