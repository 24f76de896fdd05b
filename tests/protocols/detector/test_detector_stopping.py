"""Stopping, one node or all of them at once, and what returning costs (reference M35 and M36)."""

from __future__ import annotations

import pytest

from covey.core.ids import Contact
from covey.core.vocabulary import Flood, Liveness, MemberAdded, MessagesReceived, Send, Stop, Tick
from covey.wire.messages.detector import Ack, Rumour, Rumours, Stopped
from tests.protocols.detector.detector_bench import ME, SECOND, A, B, Bench, C, D, rumour
from tests.protocols.detector.detector_world import DetectorWorld, contact_of

ALIVE, DOWN, STOPPED = Liveness.ALIVE, Liveness.DOWN, Liveness.STOPPED


def test_stop_is_said_to_all_neighbours_and_a_few_others_and_nothing_after_it() -> None:
    bench = Bench(A, B, C, D)
    effects = bench.feed(Stop())
    assert effects[0] == Flood(Stopped(ME.incarnation))
    assert len(effects) == 4
    assert all(isinstance(effect, Send) and effect.address for effect in effects[1:])
    assert bench.machine.deadline() is None
    assert bench.ping(A) == []
    assert bench.feed(Tick()) == []


def test_who_says_that_it_stops_is_stopped_and_that_is_passed_on() -> None:
    bench = Bench(A, B)
    bench.hear(A, Stopped(A.incarnation))
    assert bench.changes() == [(A, STOPPED)]
    assert bench.flooded() == [rumour(A, STOPPED, by=A)]
    assert bench.lost(A) == []  # it said goodbye
    bench.tell(B, rumour(A, DOWN, 99), rumour(A, ALIVE, 99))
    assert bench.state(A) is STOPPED


@pytest.mark.parametrize("seed", range(5))
def test_m36_with_loss_a_stopped_node_is_stopped_for_all_and_never_down(seed: int) -> None:
    world = DetectorWorld(seed, 30, loss=0.05, check_every=53)
    world.run(5)
    world.feed(world.nodes[0], Stop())
    world.nodes[0].up, world.nodes[0].refusing = False, True
    world.run(5)
    assert world.all_hold(0, STOPPED)
    assert not [about for _, about, _ in world.ever(DOWN)]


# --- the whole cluster ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_m35_150_nodes_stopped_and_restarted_at_once_are_all_alive_in_their_new_lives() -> None:
    world = DetectorWorld(1, 150, check_every=1009)
    world.run(2)
    for node in world.nodes:
        world.feed(node, Stop())
    world.run(1)
    world.links.clear()
    for index in range(150):
        world.restart(index, 2)
    for node in world.nodes:
        for other in range(150):
            world.feed(node, MemberAdded(contact_of(other, 1), False, False))  # what the disk says
    for a in range(150):
        for b in sorted(world.neighbours[a]):
            if a < b:
                world.later(world.rng.randrange(SECOND), lambda a=a, b=b: world.connect(a, b))  # type: ignore[misc]
    begun_us = world.now_us

    def settled() -> bool:
        return world.steps % 500 == 0 and all(
            node.machine.statistics().alive == 149
            and all(m.evidence.incarnation == 2 for m in node.machine.opinions.members.values())
            for node in world.nodes
        )

    assert world.run(60, until=settled)
    print(f"all alive in their new lives after {(world.now_us - begun_us) / SECOND:.1f} s")
    assert world.ever(DOWN) == []
    assert max(node.machine.statistics().rumours for node in world.nodes) <= 2 * 150


def test_m35_4500_returning_lives_leave_bounded_queues() -> None:
    members = [Contact(bytes((65, *divmod(n, 256))).ljust(16, b"x"), 1, f"n{n}:1") for n in range(4500)]  # type: ignore[arg-type]
    bench = Bench(A)
    for member in members:
        bench.machine.handle(MemberAdded(member, False, False), bench.now_us)
    for round_number in (2, 3):
        for at in range(0, 4500, 50):
            bench.machine.handle(
                flooded(A, [Rumour(m.site, round_number, 1, ALIVE) for m in members[at : at + 50]]), bench.now_us
            )
    bench.machine.check()
    statistics = bench.machine.statistics()
    assert statistics.alive == 4501
    assert statistics.rumours <= 2 * 4500
    bench.ping(A)
    [(_, ack)] = bench.sent(Ack)
    assert len(ack.rumours) == 8


def flooded(peer: Contact, rumours: list[Rumour]) -> MessagesReceived:
    return MessagesReceived(peer.site, [Rumours(tuple(rumours))])
