"""A frame comes apart without losing its order, and whoever speaks while it is accused is told so."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core import vocabulary as v
from covey.core.vocabulary import (
    Cause,
    Emit,
    Liveness,
    MemberAdded,
    MessagesReceived,
)
from covey.engine.engine import Engine, EngineConfig
from covey.engine.gate import Gate
from covey.engine.pump import Pump
from covey.protocols.detector.vocabulary import PeerSpoke
from covey.protocols.direct.machine import PayloadsReceived
from covey.wire.messages.detector import Nack, Rumour, Rumours
from covey.wire.messages.direct import Payload
from covey.wire.messages.links import Goodbye, KeepAlive
from covey.wire.messages.overlay import Affirm, Disconnect
from tests.engine.engine_words import FRIEND, OTHER, PEER, build, frame
from tests.wire.strategies import MESSAGES

ENGINE = build()


@given(st.lists(MESSAGES, min_size=1, max_size=12))
def test_the_parts_of_a_frame_are_its_messages_in_order_grouped_into_runs(messages):
    parts = ENGINE.split(frame(*messages))
    assert [message for _, _, part in parts for message in part.messages] == messages
    owners = [name for name, _, _ in parts]
    assert all(one != other for one, other in pairwise(owners))
    for name, machine, part in parts:
        assert part.messages
        assert part.peer == PEER
        assert machine is ENGINE.machines[name]
        assert all(ENGINE._owners[type(message)][0] == name for message in part.messages)


def test_a_frame_for_one_machine_is_handed_on_as_it_is():
    one, many = frame(Affirm()), frame(Affirm(), Disconnect(True, ()), Affirm())
    for incoming in (one, many):
        ((name, _, part),) = ENGINE.split(incoming)
        assert (name, part) == ("overlay", incoming)
        assert part is incoming


def test_runs_for_different_machines_come_in_the_order_of_the_frame():
    payload, affirm = Payload(msgspec.Raw(b"\xc0")), Affirm()
    parts = ENGINE.split(frame(affirm, affirm, payload, affirm, payload, payload))
    assert [(name, part) for name, _, part in parts] == [
        ("overlay", frame(affirm, affirm)),
        ("direct", frame(payload)),
        ("overlay", frame(affirm)),
        ("direct", frame(payload, payload)),
    ]


@pytest.mark.parametrize("stray", [KeepAlive(), Goodbye(Cause.CLOSED, "bye")], ids=lambda stray: type(stray).__name__)
def test_a_keep_alive_or_goodbye_in_the_middle_of_a_frame_changes_nothing(stray):
    one, two = Payload(msgspec.Raw(b"\x01")), Payload(msgspec.Raw(b"\x02"))
    engine = build()
    before = engine.statistics()["links"]
    done: list[Any] = []
    Pump(engine, Gate(EngineConfig().gate), done.append).feed(frame(one, stray, two), 1)
    assert done == [Emit(PayloadsReceived(PEER, (b"\x01",))), Emit(PayloadsReceived(PEER, (b"\x02",)))]
    assert engine.statistics()["links"] == before
    engine.check()


def accusing(state: Liveness = Liveness.SUSPECT) -> Engine:
    """An engine whose detector heard from another member that `PEER` is suspect."""
    engine = build()
    engine.detector.handle(MemberAdded(FRIEND, False, True), 1)
    rumour = Rumour(PEER, 7, 0, state, OTHER.site)
    engine.detector.handle(MemberAdded(OTHER, False, True), 1)
    engine.detector.handle(MessagesReceived(OTHER.site, (Rumours((rumour,)),)), 1)
    assert engine.detector.accuses(PEER) == (state is not Liveness.ALIVE)
    return engine


class Saying:
    """An observer of a pump that keeps what one machine says."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.said: list[Any] = []

    def __call__(self, now_us: int, name: str, incoming: Any, effects: Any) -> None:
        if name == self.name:
            self.said += effects


@pytest.mark.parametrize("state", [Liveness.SUSPECT, Liveness.DOWN])
def test_whoever_speaks_while_it_is_accused_is_told_so_once_a_frame_behind_all_it_said(state):
    engine = accusing(state)
    payload, affirm = Payload(msgspec.Raw(b"\xc0")), Affirm()
    parts = engine.split(frame(affirm, payload, affirm))
    assert [(name, part) for name, _, part in parts] == [
        ("overlay", frame(affirm)),
        ("direct", frame(payload)),
        ("overlay", frame(affirm)),
        ("detector", PeerSpoke(PEER)),
    ]
    assert parts[-1][1] is engine.detector
    one = frame(affirm)
    assert [(name, part) for name, _, part in engine.split(one)] == [("overlay", one), ("detector", PeerSpoke(PEER))]


def test_who_is_not_accused_speaks_without_the_detector():
    for engine in (build(), accusing(Liveness.ALIVE)):
        one, two = frame(Affirm()), frame(Affirm(), Payload(msgspec.Raw(b"\xc0")))
        assert [name for name, _, _ in engine.split(one)] == ["overlay"]
        assert [name for name, _, _ in engine.split(two)] == ["overlay", "direct"]


def test_a_frame_with_a_word_for_the_detector_is_answered_once():
    engine = accusing()
    done = Saying("detector")
    Pump(engine, Gate(EngineConfig().gate), lambda _: None, done).feed(frame(Nack(1), Affirm(), Nack(1)), 2)
    assert [effect.to for effect in done.said if isinstance(effect, v.Send)] == [PEER]


def test_who_speaks_besides_an_accused_one_hears_nothing_of_it():
    engine = accusing()
    assert [name for name, _, _ in engine.split(MessagesReceived(OTHER.site, (Affirm(),)))] == ["overlay"]


def test_who_is_accused_hears_the_accusation_on_the_frame_it_sends():
    engine = accusing()
    done = Saying("detector")
    Pump(engine, Gate(EngineConfig().gate), lambda _: None, done).feed(frame(Affirm()), 2)
    assert done.said == [v.Send(PEER, Rumours((Rumour(PEER, 7, 0, Liveness.SUSPECT, OTHER.site),)))]
