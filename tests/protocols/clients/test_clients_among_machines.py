"""A client in a whole engine: only one machine hears of it, whatever its link does, and it hears only answers."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from covey.core.ids import Contact, Site, cluster_id
from covey.core.vocabulary import (
    Cause,
    Channel,
    Disconnect,
    Emit,
    MessagesReceived,
    PeerCongested,
    PeerConnected,
    PeerDrained,
    PeerLost,
    PeerUnreached,
    ProtocolViolation,
    Send,
    Tick,
)
from covey.engine.engine import Engine, EngineConfig
from covey.engine.gate import Gate
from covey.engine.pump import Pump
from covey.protocols.clients.machine import AnswerClient, ClientAsked
from covey.protocols.links.handshake import Identity
from covey.wire.messages.client import Answer, Ask

SOMEBODY = Contact(Site(b"c" * 16), 0, "")
CLIENT = Channel.CLIENT
FACTS = [
    PeerConnected(SOMEBODY, CLIENT),
    PeerCongested(SOMEBODY.site, CLIENT),
    PeerDrained(SOMEBODY.site, CLIENT),
    PeerUnreached(SOMEBODY.site, CLIENT, Cause.NO_ADDRESS),
    PeerLost(SOMEBODY, CLIENT, Cause.CLOSED),
]


def build() -> Engine:
    identity = Identity(cluster_id("flock"), Site(b"m" * 16), 1, b"b" * 16, b"secret")
    return Engine(EngineConfig(), identity, "me:1", Random(1), Random(2), 0)


def pumped() -> tuple[Pump, list[Any], list[Any]]:
    """A pump, what it has the world do, and all that the machines say."""
    done: list[Any] = []
    said: list[Any] = []

    def observe(now_us: int, name: str, incoming: Any, effects: Sequence[Any]) -> None:
        said.extend(effects)

    return Pump(build(), Gate(EngineConfig().gate), done.append, observe), done, said


def views(engine: Engine) -> dict[str, Any]:
    """What each machine but the one for clients counts and waits for."""
    return {
        name: (machine.statistics(), machine.deadline())
        for name, machine in engine.machines.items()
        if name != "clients"
    }


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: type(fact).__name__)
def test_machines_that_are_not_for_clients_do_nothing_about_their_links(fact):
    engine = build()
    for now_us in range(1, 20_000_000, 1_000_000):  # let every machine be under way
        for _, machine in engine.routes[Tick]:
            machine.handle(Tick(), now_us)
    before = views(engine)
    for name, machine in engine.routes[type(fact)]:
        effects = machine.handle(fact, now_us)
        assert name == "clients" or list(effects) == []
    assert views(engine) == before
    engine.check()


def test_an_ask_goes_up_and_its_answer_down_on_the_clients_channel():
    pump, done, said = pumped()
    pump.feed(PeerConnected(SOMEBODY, CLIENT), 1)
    pump.feed(MessagesReceived(SOMEBODY.site, [Ask(3, "members", b"")]), 2)
    assert done[-1] == Emit(ClientAsked(SOMEBODY.site, 3, "members", b""))
    pump.feed(AnswerClient(SOMEBODY.site, 3, b"\x80"), 3)
    assert Send(SOMEBODY.site, Answer(3, b"\x80", False, ""), channel=CLIENT) in said


@pytest.mark.parametrize("message", [Ask(1, "kick", b""), Answer(1, b"", False, "")])
def test_a_node_that_asks_like_a_client_loses_its_links(message):
    pump, done, said = pumped()
    node = Contact(Site(b"n" * 16), 5, "node:1")
    pump.feed(PeerConnected(node, Channel.CONTROL), 1)
    pump.feed(MessagesReceived(node.site, [message]), 2)
    detail = f"{type(message).__name__} from one that is no client"
    assert Emit(ProtocolViolation(node.site, Cause.VIOLATION, detail)) in done
    assert Disconnect(node.site, Cause.VIOLATION, detail) in said
