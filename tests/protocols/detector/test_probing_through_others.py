"""Indirect probes, seen from both sides: links that fail while others work, and pings done for others."""

from __future__ import annotations

import pytest

from covey.core.vocabulary import Liveness, Send
from covey.protocols.detector.config import DetectorConfig
from covey.protocols.detector.vocabulary import LinkBroken, LinkMended
from covey.wire.messages.detector import Ack, IndirectAck, Nack, PingRequest
from tests.protocols.detector.detector_bench import ME, A, B, Bench, C

ALIVE = Liveness.ALIVE


# --- the way round ----------------------------------------------------------------------------------------------------


def go_round(bench: Bench, late: bool) -> None:
    """Probe once; only the other member reaches it."""
    target, ping = bench.until_ping()
    while target != A:
        bench.ack(target, ping.number)
        target, ping = bench.until_ping()
    bench.wait(0.6 if late else 0.3)
    bench.hear(B, IndirectAck(ping.number, 7, 0))
    if not late:
        bench.hear(B, IndirectAck(ping.number, 7, 0))
        bench.wait(0.3)


@pytest.mark.parametrize("late", [False, True])
def test_a_link_that_fails_twice_while_others_reach_the_member_is_named_until_it_works(late: bool) -> None:
    bench = Bench(A, B)
    go_round(bench, late)
    assert bench.events() == []
    assert bench.state(A) is ALIVE
    go_round(bench, late)
    assert bench.events() == [LinkBroken(ME.site, A.site)]
    go_round(bench, late)
    assert bench.events() == []  # said once
    target, ping = bench.until_ping()
    while target != A:
        bench.ack(target, ping.number)
        target, ping = bench.until_ping()
    bench.ack(A, ping.number)
    assert bench.events() == [LinkMended(ME.site, A.site)]
    assert bench.machine.health.score == 0


def test_a_slow_link_is_not_broken_though_others_were_faster() -> None:
    bench = Bench(A, B)
    for _ in range(3):
        target, ping = bench.until_ping()
        other = B if target == A else A
        bench.wait(0.3)
        bench.hear(other, IndirectAck(ping.number, 7, 0))
        bench.wait(0.1)
        bench.ack(target, ping.number)
        assert bench.events() == []
        assert bench.machine.opinions.members[target.site].rtt_us == 400_000


# --- for others -------------------------------------------------------------------------------------------------------


def test_a_ping_done_for_another_is_passed_on() -> None:
    bench = Bench(A, B)
    [send] = bench.hear(A, PingRequest(40, B))
    assert send.to == B.site
    assert send.address == B.address
    bench.hear(B, Ack(send.message.number, 7, 3, bench.machine.opinions.digest_bytes, b"", ()))
    assert bench.sent(IndirectAck) == [(A.site, IndirectAck(40, 7, 3))]
    assert bench.machine.statistics().relays == 0


def test_without_an_answer_the_requester_gets_a_nack_and_a_late_answer_still() -> None:
    bench = Bench(A, B)
    [send] = bench.hear(A, PingRequest(40, B))
    bench.wait(0.19)
    assert bench.sent(Nack) == []
    bench.wait(0.02)
    assert bench.sent(Nack) == [(A.site, Nack(40))]
    bench.wait(0.3)
    bench.ack(A, send.message.number)  # not from whom it was asked
    assert bench.sent(IndirectAck) == []
    bench.ack(B, send.message.number)
    assert bench.sent(IndirectAck) == [(A.site, IndirectAck(40, 7, 0))]


def test_a_relay_is_forgotten_after_the_longest_timeout() -> None:
    bench = Bench(A, B)
    bench.hear(A, PingRequest(40, B))
    for _ in range(50):
        bench.wait(0.1)
        bench.ping(A)
        bench.ping(B)
    assert bench.machine.statistics().relays == 0


def test_asked_about_ourselves_we_answer_and_strangers_are_not_dialled() -> None:
    bench = Bench(A)
    assert bench.hear(A, PingRequest(5, ME)) == [Send(A.site, IndirectAck(5, 7, 0))]
    assert bench.hear(A, PingRequest(6, C)) == [Send(A.site, Nack(6))]


def test_relays_are_bounded_and_the_oldest_goes() -> None:
    bench = Bench(A, B, config=DetectorConfig(relays_max=2))
    numbers = [bench.hear(A, PingRequest(n, B))[0].message.number for n in range(3)]
    assert bench.machine.statistics().relays == 2
    bench.ack(B, numbers[0])
    assert bench.sent(IndirectAck) == []
