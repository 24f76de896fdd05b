"""Ten thousand strangers who claim to be members: kicks, suspicions and syncs under another key, and recorded sessions
played again. None of it changes what the node holds; all of it is counted (membership.md, M48).
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from covey.core.ids import Site
from covey.core.vocabulary import Cause, Channel, Liveness
from covey.engine.engine import Engine
from covey.protocols.links.handshake import Dialler, Identity
from covey.protocols.links.vocabulary import BytesReceived, ConnectionAccepted, ConnectionClosed
from covey.protocols.membership.record import MEM
from covey.sim.node import SimNode
from covey.sim.world import World
from covey.wire import codec
from covey.wire.framing import Splitter, frame
from covey.wire.messages.detector import Rumour, Rumours, Stopped
from covey.wire.messages.membership import News, Op, Sync

SECOND_US = 1_000_000
PACKETS = 10_000
FIRST = -1_000_000  # the number of the first stranger's connection; the world's own are above
LATER = 2**62  # a stamp that would beat everything


@pytest.fixture
def cluster() -> tuple[World, SimNode, SimNode, SimNode]:
    """Three members that hold each other alive."""
    world = World(1)
    for _ in range(3):
        world.start_node(("n0:1",))
    world.run(5 * SECOND_US)
    a, b, c = world.nodes
    assert all(node.engine.detector.state(b.site) is Liveness.ALIVE for node in (a, c))
    return world, a, b, c


def held(engine: Engine) -> Any:
    """All that a forger would like to change."""
    opinions = engine.detector.opinions
    return (
        [entry.op for entry in engine.membership.dump()],
        {site: member.evidence for site, member in opinions.members.items()},
        opinions.refutation,
        {contact.site for contact in engine.overlay.active},
        engine.membership.statistics().imports,
    )


def words(target: SimNode, origin: SimNode, number: int) -> Any:
    """What would throw `target` out, or have it held for dead, if anybody believed it."""
    life = target.identity.incarnation
    kick = Op(origin.site, MEM, target.site, LATER + number, origin.identity.incarnation, 0, number)
    return (
        News((kick,)),
        Sync(0, 0, LATER % 2**53, (kick,), bytes(8), True),
        Rumours((Rumour(target.site, life, 9, Liveness.DOWN, origin.site),)),
        Rumours((Rumour(target.site, life, 9, Liveness.SUSPECT, origin.site),)),
        Stopped(life),
    )[number % 5]


class Stranger:
    """Somebody with another key who claims to be `site`: what it sends for its handshake, as far as that gets."""

    def __init__(self, rng: Random, a: SimNode, site: Site, incarnation: int) -> None:
        me = Identity(a.identity.cluster, site, incarnation, rng.randbytes(16), b"another key")
        self._dialler = Dialler(me, "evil:1", Channel.CONTROL, rng)
        self.opening = frame(self._dialler.opening())

    def proof(self, answer: bytes) -> bytes:
        """Its proof for the acceptor's Welcome: right in everything but the key."""
        welcome, *_ = Splitter().feed(answer)
        self._dialler.receive(bytes(welcome))
        return frame(self._dialler.proof())


@pytest.mark.slow
def test_ten_thousand_forged_kicks_and_suspicions_change_nothing_and_are_counted(cluster, monkeypatch):
    """No handshake at all, half of one, a whole one under another key; from `b`, or from somebody new."""
    world, a, b, c = cluster
    rng = Random(7)
    before = held(a.engine)
    refused = a.engine.links.statistics().refused
    answers: dict[int, bytes] = {}
    write = world.sockets.write

    def tap(node: SimNode, connection: int, data: bytes) -> None:
        if connection <= FIRST:
            answers[connection] = answers.get(connection, b"") + data
        write(node, connection, data)

    monkeypatch.setattr(world.sockets, "write", tap)
    for number in range(PACKETS):
        connection = FIRST - number
        site = b.site if number % 2 else Site(rng.randbytes(16))
        stranger = Stranger(rng, a, site, b.identity.incarnation + number % 3)
        body = frame(codec.join_body([codec.encode_message(words(c, b, number))]))
        a.feed(ConnectionAccepted(connection, "evil:1"))
        if number % 3:
            a.feed(BytesReceived(connection, stranger.opening))
        if number % 3 == 2:
            a.feed(BytesReceived(connection, stranger.proof(answers[connection])))
        a.feed(BytesReceived(connection, body))
        a.feed(ConnectionClosed(connection, Cause.CLOSED))
    assert held(a.engine) == before
    assert a.engine.links.statistics().refused - refused == PACKETS
    assert a.engine.links.statistics().greeting == 0
    world.run(10 * SECOND_US)
    assert {node.engine.membership.record.is_member(c.site) for node in world.nodes} == {True}
    assert c.engine.detector.opinions.refutation == 0, "nobody accused it"


def test_a_recorded_session_that_is_played_again_a_minute_later_changes_nothing(monkeypatch):
    """The victim's nonce is another one each time, so the recorded proof proves nothing."""
    world = World(2)
    world.start_node()
    a = world.nodes[0]
    recorded: dict[int, list[bytes]] = {}
    receive = SimNode.feed

    def tap(node: SimNode, incoming: Any) -> None:
        if node is a and isinstance(incoming, BytesReceived) and incoming.connection < 0:
            recorded.setdefault(incoming.connection, []).append(bytes(incoming.data))
        receive(node, incoming)

    monkeypatch.setattr(SimNode, "feed", tap)
    b = world.start_node(("n0:1",))
    c = world.start_node(("n0:1",))
    world.run(5 * SECOND_US)
    monkeypatch.setattr(SimNode, "feed", receive)
    assert len(recorded) >= 2, "both dialled it"
    assert all(len(pieces) > 3 for pieces in recorded.values()), "with proofs and messages"
    world.run(60 * SECOND_US)
    before = held(a.engine)
    refused = a.engine.links.statistics().refused
    for number, pieces in enumerate(recorded.values()):
        a.feed(ConnectionAccepted(FIRST - number, "evil:1"))
        for piece in pieces:
            a.feed(BytesReceived(FIRST - number, piece))
        a.feed(ConnectionClosed(FIRST - number, Cause.CLOSED))
    assert held(a.engine) == before
    assert a.engine.links.statistics().refused - refused == len(recorded)
    assert a.engine.roster.entries.keys() == {b.site, c.site}
