"""Whoever does not run accuses nobody for it: reference M30, and a laptop's lid."""

from __future__ import annotations

import pytest

from covey.core.vocabulary import Liveness, Tick
from covey.wire.messages.detector import Ack, PingRequest, Table
from tests.protocols.detector.detector_bench import SECOND, A, B, Bench, C, rumour
from tests.protocols.detector.detector_world import DetectorWorld, site_of

ALIVE, SUSPECT, DOWN = Liveness.ALIVE, Liveness.SUSPECT, Liveness.DOWN


@pytest.mark.slow
def test_m30_stalls_of_1400_ms_a_hundred_times_in_every_node_kill_nobody() -> None:
    world = DetectorWorld(1, 20, loss=0.001, check_every=97)
    stalls = [0] * 20
    while min(stalls) < 100:
        for index in range(20):
            if world.rng.random() < 0.25 and not world.nodes[index].paused:
                world.pause(index, 1_400_000)
                stalls[index] += 1
        world.run(1)
    world.run(30)
    print(f"{sum(stalls)} stalls in {world.now_us // SECOND - 100} s, {len(world.ever(SUSPECT))} suspicions held")
    assert world.ever(DOWN) == []
    assert all(world.all_hold(index, ALIVE) for index in range(20))


@pytest.mark.parametrize("seed", [0, *[pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5)]])
def test_m30_a_node_stalled_for_5_s_accuses_nobody_and_is_not_declared_dead(seed: int) -> None:
    world = DetectorWorld(seed, 20)
    for _ in range(4):
        world.run(3 + world.rng.random())
        world.pause(3, 5 * SECOND)
        world.run(15)
    assert world.ever(DOWN) == []
    accused_by_3 = [
        why for node in world.nodes for _, fact in node.facts if fact.state is SUSPECT for why in [fact.why]
        if node.index == 3 and fact.contact.site != site_of(3) and "according" not in why
    ]  # fmt: skip
    assert accused_by_3 == []
    assert world.all_hold(3, ALIVE)


@pytest.mark.parametrize("nodes", [2, 5, pytest.param(20, marks=pytest.mark.slow)])
def test_all_nodes_paused_for_a_minute_accuse_nobody_afterwards(nodes: int) -> None:
    world = DetectorWorld(nodes, nodes)
    for _ in range(3):
        world.run(5 + world.rng.random())
        for index in range(nodes):
            world.pause(index, 60 * SECOND + world.rng.randrange(20_000))
        world.run(90)
    assert world.ever(SUSPECT) == [] == world.ever(DOWN)


def test_a_stalled_node_restarts_its_probe_instead_of_counting_it() -> None:
    bench = Bench(A)
    _, first = bench.until_ping()
    bench.now_us += 3 * SECOND
    bench.feed(Tick())
    probe = bench.machine.prober.probe
    assert probe is not None
    assert probe.number == first.number + 1
    assert probe.site == A.site
    assert bench.state(A) is ALIVE
    assert bench.machine.statistics().sleeps == 1
    bench.wait(1.1)
    assert bench.state(A) is SUSPECT  # now it had its time


def test_a_suspicion_gets_back_the_time_we_did_not_run() -> None:
    bench = Bench(A, B)
    bench.tell(B, rumour(A, SUSPECT, by=B))
    bench.wait(2)
    timers = bench.machine._timers
    due_us = timers.due_at(("suspicion", A.site))
    assert due_us is not None
    last_us = bench.machine._last_us
    bench.now_us = last_us + 3 * SECOND
    bench.feed(Tick())
    assert timers.due_at(("suspicion", A.site)) == due_us + 3 * SECOND


def test_after_a_long_sleep_a_suspicion_begins_again() -> None:
    bench = Bench(A, B, C)
    bench.tell(B, rumour(A, SUSPECT, by=B), rumour(A, SUSPECT, by=C))
    bench.now_us += 100 * SECOND
    bench.feed(Tick())
    assert bench.state(A) is SUSPECT
    assert bench.machine._timers.due_at(("suspicion", A.site)) == bench.now_us + 24 * SECOND


def test_who_slept_teaches_no_alive_it_has_not_heard_since() -> None:
    bench = Bench(A, B, C)
    bench.tell(A, rumour(C, ALIVE, 1), rumour(B, DOWN))
    bench.until_ping()
    bench.hear(A, Table(b"", b"\xff" * 16, (), True))
    assert {record.site for _, table in bench.sent(Table) for record in table.records} >= {A.site, B.site, C.site}
    bench.now_us += 60 * SECOND
    bench.feed(Tick())
    bench.hear(B, Table(b"", b"\xff" * 16, (), True))
    taught = {record.site: record.state for _, table in bench.sent(Table) for record in table.records}
    assert A.site not in taught
    assert C.site not in taught
    assert taught[B.site] is DOWN
    bench.ping(A)
    [(_, ack)] = bench.sent(Ack)
    assert C.site not in [item.site for item in ack.rumours]
    bench.tell(A, rumour(C, ALIVE, 1))  # heard of again, though it is no news
    bench.hear(B, Table(b"", b"\xff" * 16, (), True))
    assert {A.site, C.site} <= {record.site for _, table in bench.sent(Table) for record in table.records}


def test_what_was_under_way_for_others_and_checks_end_with_a_sleep() -> None:
    bench = Bench(A, B)
    bench.hear(A, PingRequest(1, B))
    bench.lost(B)
    bench.now_us += 60 * SECOND
    bench.feed(Tick())
    statistics = bench.machine.statistics()
    assert (statistics.relays, statistics.checks) == (0, 0)


def test_one_sleep_is_noticed_once_whatever_is_heard_before_the_next_tick() -> None:
    """Simulator: membership, seed 1094. A member without an address was pinged anew at each refusal, for ever."""
    bench = Bench(A, B)
    bench.until_ping()
    bench.now_us += 2 * SECOND
    for _ in range(5):
        bench.unreached(A)
    assert bench.machine.statistics().sleeps == 1
