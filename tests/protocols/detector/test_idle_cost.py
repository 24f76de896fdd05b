"""What a quiet cluster costs, and that one seed gives one run."""

from __future__ import annotations

import pytest

from covey.core.vocabulary import DigestsChanged
from covey.protocols.detector.config import DetectorConfig
from covey.wire.messages.detector import Ack, Ping
from tests.protocols.detector.detector_world import DetectorWorld

TCP_IP_BYTES = 52  # headers of a segment with timestamps
TLS_BYTES = 22  # a record's head and tag


@pytest.mark.parametrize("nodes", [5, 20, pytest.param(100, marks=pytest.mark.slow)])
def test_idle_nodes_send_one_ping_and_one_ack_an_interval(nodes: int) -> None:
    world = DetectorWorld(nodes, nodes, check_every=101)
    world.links |= {(a, b) for a in range(nodes) for b in range(a + 1, nodes)}
    for node in world.nodes:
        world.feed(node, DigestsChanged(bytes(24)))
    world.run(10)
    for node in world.nodes:
        node.sent.clear()
        node.sent_bytes = 0
    world.run(60)
    for node in world.nodes:
        assert set(node.sent) == {Ping, Ack}
        assert node.sent[Ping] <= 60
    acks = sum(node.sent[Ack] for node in world.nodes)
    assert acks <= 60 * nodes
    bare = sum(node.sent_bytes for node in world.nodes) / nodes / 60
    packets = sum(sum(node.sent.values()) for node in world.nodes) / nodes / 60
    whole = bare + packets * (TCP_IP_BYTES + TLS_BYTES) + packets * TCP_IP_BYTES  # and TCP's own acknowledgements
    print(f"{nodes} nodes: {bare:.0f} B/s framed, {whole:.0f} B/s with TCP, TLS and acknowledgements, {packets:.1f}/s")
    assert bare <= 150
    assert whole <= 600


def test_a_laptop_probes_five_times_a_second() -> None:
    world = DetectorWorld(1, 3, DetectorConfig.laptop(), latency_us=(50, 200))
    world.run(60)
    for node in world.nodes:
        assert 295 <= node.sent[Ping] <= 301


def test_one_seed_gives_one_run() -> None:
    def run(seed: int) -> list[object]:
        world = DetectorWorld(seed, 20, loss=0.05, check_every=31)
        world.run(5)
        world.kill(3)
        world.die_silently(4)
        world.pause(5, 2_000_000)
        world.run(20)
        return [(node.sent_bytes, node.facts, node.machine.opinions.digest) for node in world.nodes]

    assert run(1) == run(1) != run(2)
