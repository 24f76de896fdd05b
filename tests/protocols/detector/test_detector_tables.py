"""Tables: who begins an exchange and when, what goes into its parts, what is answered."""

from __future__ import annotations

import itertools

import pytest

from covey.core.vocabulary import Liveness
from covey.wire.messages.detector import Table, TableDigest
from tests.protocols.detector.detector_bench import ME, SECOND, A, B, Bench, C, D, contact, rumour
from tests.protocols.detector.detector_world import DetectorWorld

ALIVE, SUSPECT, DOWN = Liveness.ALIVE, Liveness.SUSPECT, Liveness.DOWN


def test_on_link_up_both_say_their_digest_and_the_lower_site_begins() -> None:
    bench = Bench(A, contact("z"))
    bench.connected(A)
    assert bench.sent(TableDigest) == [(A.site, TableDigest(bench.machine.opinions.digest_bytes))]
    assert bench.hear(A, TableDigest(bytes(8))) == []  # it is the lower one
    bench.hear(contact("z"), TableDigest(bytes(8)))
    [(to, table)] = bench.sent(Table)
    assert to == contact("z").site
    assert table.answer
    assert [record.site for record in table.records] == [A.site, ME.site, contact("z").site]
    assert bench.hear(contact("z"), TableDigest(bench.machine.opinions.digest_bytes)) == []


def test_the_answer_is_what_the_other_lacks() -> None:
    bench = Bench(A, B, C)
    bench.tell(A, rumour(B, SUSPECT, 0, by=A), rumour(C, ALIVE, 4))
    part = Table(b"", b"\xff" * 16, (rumour(A, ALIVE, 1), rumour(B, ALIVE), rumour(C, ALIVE, 4)), True)
    bench.hear(D, part)
    [(to, answer)] = bench.sent(Table)
    assert to == D.site
    assert answer.records == (rumour(ME, ALIVE), rumour(B, SUSPECT, 0, by=A))
    assert not answer.answer
    assert bench.hear(D, answer) == []
    assert bench.hear(D, Table(b"a" * 16, b"b" * 16, (rumour(B, SUSPECT, 0, by=A),), True)) == []


@pytest.mark.slow
def test_a_large_table_goes_in_parts_whose_ranges_follow_one_another() -> None:
    world = DetectorWorld(0, 2500, acquainted=False, check_every=10**9)
    world.acquaint(0, range(2500))
    parts = world.nodes[0].machine._exchange.parts()
    assert [len(part.records) for part in parts] == [1024, 1024, 452]
    assert parts[0].low == b""
    assert parts[-1].high == b"\xff" * 16
    assert [part.low for part in parts[1:]] == [part.high for part in parts[:-1]]


def test_a_digest_that_differs_is_looked_into_with_growing_pauses() -> None:
    bench = Bench(A, B)
    begun = []
    for _ in range(400):
        bench.now_us += SECOND
        bench.ping(A, digest=bytes(8))
        begun += [bench.now_us // SECOND for _ in bench.sent(Table)]
    pauses = [later - earlier for earlier, later in itertools.pairwise(begun)]
    assert pauses[:8] == [2, 4, 8, 16, 32, 64, 64, 64]
    bench.tell(A, rumour(B, ALIVE, 1))  # a change: it may be worth it again
    bench.now_us += SECOND
    bench.ping(A, digest=bytes(8))
    assert len(bench.sent(Table)) == 1


def test_just_after_news_a_ping_that_differs_waits_for_the_news_but_not_for_ever() -> None:
    bench = Bench(A, B)
    bench.now_us += 100 * SECOND
    bench.ping(A, digest=bytes(8))
    assert len(bench.sent(Table)) == 1
    waited = 0
    for refutation in range(1, 100):
        bench.now_us += 200_000
        bench.tell(B, rumour(B, ALIVE, refutation))
        bench.ping(A, digest=bytes(8))
        if bench.sent(Table):
            break
        waited += 1
    assert waited == 49  # ten seconds


def test_two_halves_that_meet_again_agree() -> None:
    world = DetectorWorld(5, 8, degree=7)
    world.run(1)
    for a in range(4):
        for b in range(4, 8):
            world.blackhole(a, b)
            world.links.discard((a, b))
    world.run(60)
    assert all(world.nodes[0].state(b) is DOWN for b in range(4, 8))
    assert all(world.nodes[7].state(a) is DOWN for a in range(4))
    world.blocked.clear()
    world.connect(2, 5)  # what the overlay does
    world.run(2)
    for about in range(8):
        assert world.all_hold(about, ALIVE)
    assert len({node.machine.opinions.digest for node in world.nodes}) == 1
