"""What is flooded, what rides on pings and acks, and how often."""

from __future__ import annotations

import pytest

from covey.core.vocabulary import DigestsChanged, DigestsHeard, Flood, Liveness, MemberRemoved
from covey.protocols.detector.rumours import RumourQueue, rides_max
from covey.wire.messages.detector import Ack, Ping
from tests.protocols.detector.detector_bench import ME, A, B, Bench, C, D, contact, rumour

ALIVE, DOWN = Liveness.ALIVE, Liveness.DOWN


@pytest.mark.parametrize("nodes, rides", [(9, 4), (10, 8), (99, 8), (100, 12), (999, 12)])
def test_a_rumour_rides_four_times_the_logarithm(nodes: int, rides: int) -> None:
    assert rides_max(4, nodes) == rides


def test_fresh_rumours_ride_first_and_each_as_often_as_it_may() -> None:
    queue = RumourQueue()
    for about in (A, B, C):
        queue.put(rumour(about, DOWN))
    assert [item.site for item in queue.take(2, 2, but=D.site)] == [C.site, B.site]
    assert [item.site for item in queue.take(2, 2, but=D.site)] == [A.site, C.site]
    assert [item.site for item in queue.take(3, 2, but=B.site)] == [A.site]
    assert [item.site for item in queue.take(3, 2, but=D.site)] == [B.site]
    assert len(queue) == 0


def test_news_is_flooded_once_and_rides_on_pings_and_acks() -> None:
    bench = Bench(A, B, C)
    bench.tell(A, rumour(B, DOWN, by=A))
    assert bench.flooded() == [rumour(B, DOWN, by=A)]
    [flood] = [effect for effect in bench.effects if isinstance(effect, Flood)]
    assert flood.but == A.site
    bench.tell(C, rumour(B, DOWN, by=A))
    assert bench.effects == []
    bench.ping(C)
    [(_, ack)] = bench.sent(Ack)
    assert ack.rumours == (rumour(B, DOWN, by=A),)


def test_a_ping_carries_no_more_rumours_than_it_may() -> None:
    others = [contact(chr(letter)) for letter in range(ord("b"), ord("b") + 20)]
    bench = Bench(A, *others)
    bench.tell(A, *(rumour(other, DOWN, by=A) for other in others if other.site != ME.site))
    bench.ping(A)
    [(_, ack)] = bench.sent(Ack)
    assert len(ack.rumours) == 8


def test_a_lifes_first_alive_is_left_to_membership_and_pings() -> None:
    bench = Bench(A, B)
    bench.tell(A, rumour(contact("b", 8), ALIVE))
    assert bench.flooded() == []
    assert bench.changes() == [(contact("b", 8), ALIVE)]
    bench.tell(A, rumour(contact("b", 8), ALIVE, 1))
    assert bench.flooded() == [rumour(contact("b", 8), ALIVE, 1)]
    assert bench.changes() == []


def test_rumours_of_strangers_change_nothing() -> None:
    bench = Bench(A)
    assert bench.tell(A, rumour(B, DOWN), rumour(A, Liveness.UNKNOWN)) == []


def test_membership_s_digests_ride_along() -> None:
    bench = Bench(A)
    bench.feed(DigestsChanged(b"0123"))
    bench.hear(A, Ping(1, 7, 0, bench.machine.opinions.digest_bytes, b"4567", ()))
    assert bench.effects[0] == DigestsHeard(A.site, b"4567")
    [(_, ack)] = bench.sent(Ack)
    assert ack.digests == b"0123"


def test_what_is_removed_is_no_rumour_any_more() -> None:
    bench = Bench(A, B)
    bench.tell(A, rumour(B, DOWN))
    bench.feed(MemberRemoved(B.site))
    bench.ping(A)
    [(_, ack)] = bench.sent(Ack)
    assert ack.rumours == ()
    assert bench.machine.statistics().rumours == 0
