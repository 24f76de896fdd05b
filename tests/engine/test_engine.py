"""The engine: everything that is said has a hearer, and a frame comes apart without losing its order."""

from __future__ import annotations

import inspect
from random import Random
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core import vocabulary as v
from covey.core.errors import InvariantError
from covey.core.ids import ClusterId, Contact, Site
from covey.core.vocabulary import Cause, Channel, Emit, MessagesReceived, Persist, PeerConnected, Tick
from covey.engine.engine import Engine, EngineConfig
from covey.engine.gate import Gate
from covey.engine.pump import Pump
from covey.protocols.direct import machine as direct_vocabulary
from covey.protocols.direct.machine import PayloadReceived
from covey.protocols.links import vocabulary as links_vocabulary
from covey.protocols.links.handshake import Identity
from covey.protocols.overlay import vocabulary as overlay_vocabulary
from covey.wire.messages.direct import Payload
from covey.wire.messages.links import Goodbye, KeepAlive
from covey.wire.messages.overlay import Affirm, Beacon, Disconnect
from tests.wire.strategies import MESSAGE_KINDS, MESSAGES, of

ME = Site(b"m" * 16)
PEER = Site(b"p" * 16)
FRIEND = Contact(PEER, 7, "peer:1")

# What the types do not tell: a value of each annotation that stands in a fact or a command.
BY_ANNOTATION: dict[Any, Any] = {
    Site: PEER,
    Contact: FRIEND,
    Channel: Channel.CONTROL,
    Cause: Cause.RESET,
    str: "peer:1",
    int: 1,
    bytes: b"bytes",
    bool: True,
    Exception: ValueError("why"),
    tuple[Site, ...]: (PEER,),
    tuple[str, ...]: ("peer:1", "other:1"),
    tuple[int, ...]: (1,),
    tuple[bytes, ...]: (b"\xc0",),
}
BY_FIELD: dict[str, Any] = {"message": Affirm(), "messages": (Affirm(), Affirm())}


def build(config: EngineConfig | None = None) -> Engine:
    identity = Identity(ClusterId(b"c" * 16), ME, 1, b"b" * 16, b"secret")
    return Engine(config or EngineConfig(), identity, "me:1", Random(1), Random(2), 0)


def example(kind: type[Any]) -> Any:
    """A fact or command of this type with plausible fields."""
    hints = inspect.get_annotations(kind, eval_str=True)
    return kind(
        *(BY_FIELD[name] if name in BY_FIELD else BY_ANNOTATION[hints[name]] for name in kind.__struct_fields__)
    )


def frame(*messages: Any) -> MessagesReceived:
    return MessagesReceived(PEER, messages)


ENGINE = build()
ROUTED = [(kind, name) for kind, hearers in ENGINE.routes.items() for name, _ in hearers]


@pytest.mark.parametrize("kind, name", ROUTED, ids=lambda part: getattr(part, "__name__", part))
def test_every_fact_and_command_is_handled_by_each_machine_that_is_to_hear_it(kind, name):
    engine = build()
    machine = engine.machines[name]
    for now_us in (1, 2):
        effects = machine.handle(example(kind), now_us)
        assert isinstance(effects, (list, tuple))
        engine.check()


@pytest.mark.parametrize("kind", MESSAGE_KINDS, ids=lambda kind: kind.__name__)
@given(st.data())
def test_every_message_kind_has_an_owner_that_takes_it(kind, data):
    engine = build()
    ((name, machine, part),) = engine.split(frame(data.draw(of(kind))))
    assert engine.machines[name] is machine
    assert isinstance(machine.handle(part, 1), (list, tuple))
    engine.check()


def test_the_owner_tables_name_exactly_the_kinds_of_the_union():
    assert sorted(kind.__name__ for kind in ENGINE._owners) == sorted(kind.__name__ for kind in MESSAGE_KINDS)


def test_every_machine_hears_something():
    names = [name for _, name in ROUTED]
    assert sorted(dict.fromkeys(names)) == sorted(ENGINE.machines)


@pytest.mark.parametrize(
    "module", [v, links_vocabulary, overlay_vocabulary, direct_vocabulary], ids=lambda m: m.__name__
)
def test_whatever_is_said_is_routed_or_is_for_the_world(module: ModuleType):
    """A new fact or effect is either heard by a machine, carried out by the world, or an event inside `Emit`."""
    for_the_world = {"Emit", "Resolve", "Refuse", "Persist", "OpenConnection", "Write", "CloseConnection", "WantTurn"}
    events = {"ProtocolViolation", "LinkRefused", "NeighborUp", "NeighborDown", "PayloadReceived"}
    routed = {kind.__name__ for kind in ENGINE.routes}
    spoken = {
        kind.__name__
        for kind in vars(module).values()
        if inspect.isclass(kind) and issubclass(kind, msgspec.Struct) and kind.__module__ == module.__name__
    }
    neither = {name for name in spoken if not name.endswith(("Config", "Statistics"))} - routed
    assert sorted(neither - for_the_world - events) == []
    assert sorted(routed & (for_the_world | events)) == []


def test_a_machine_that_keeps_a_log_is_named_so_that_it_speaks_through_the_gate():
    for name, machine in ENGINE.machines.items():
        package = inspect.getmodule(machine)
        assert package is not None
        persists = "Persist" in vars(package) and vars(package)["Persist"] is Persist
        assert (name in ENGINE.durable) == persists


# --- frames ---------------------------------------------------------------------------------------------------------


@given(st.lists(MESSAGES, min_size=1, max_size=12))
def test_the_parts_of_a_frame_are_its_messages_in_order_grouped_into_runs(messages):
    parts = ENGINE.split(frame(*messages))
    assert [message for _, _, part in parts for message in part.messages] == messages
    owners = [name for name, _, _ in parts]
    assert all(one != other for one, other in zip(owners, owners[1:], strict=False))
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
    values = [Payload(msgspec.Raw(b"\x01")), Payload(msgspec.Raw(b"\x02"))]
    outcomes = []
    for messages in (values, [values[0], stray, values[1]]):
        engine, done = build(), []
        pump = Pump(engine, Gate(engine_gate()), done.append)
        before = engine.statistics()["links"]
        pump.feed(frame(*messages), 1)
        engine.check()
        assert engine.statistics()["links"] == before
        outcomes.append(done)
    assert outcomes == [[Emit(PayloadReceived(PEER, b"\x01")), Emit(PayloadReceived(PEER, b"\x02"))]] * 2


def engine_gate() -> Any:
    return EngineConfig().gate


# --- the whole ------------------------------------------------------------------------------------------------------


def test_statistics_and_deadlines_are_those_of_the_machines():
    engine = build()
    assert engine.statistics() == {name: machine.statistics() for name, machine in engine.machines.items()}
    assert list(engine.statistics()) == ["links", "overlay", "direct"]
    deadlines = [machine.deadline() for machine in engine.machines.values()]
    pump = Pump(engine, Gate(EngineConfig().gate), lambda _: None)
    assert pump.deadline() == min(due_us for due_us in deadlines if due_us is not None)


def test_check_asks_every_machine(monkeypatch):
    engine = build()
    asked: list[str] = []
    for name, machine in engine.machines.items():
        monkeypatch.setattr(machine, "check", lambda name=name: asked.append(name))
    engine.check()
    assert asked == ["links", "overlay", "direct"]


def test_check_tells_of_a_machine_whose_laws_are_broken():
    engine = build()
    engine.overlay.active.size_max = -1
    with pytest.raises(InvariantError, match="active view is bounded"):
        engine.check()


def test_the_machines_hear_of_one_fact_through_one_pump():
    engine, done = build(), []
    pump = Pump(engine, Gate(EngineConfig().gate), done.append)
    pump.feed(PeerConnected(FRIEND, Channel.CONTROL), 1)
    assert "peer:1" in engine.overlay.book
    pump.feed(frame(Beacon(PEER, 7, 1, 0)), 2)
    pump.feed(Tick(), 3)
    engine.check()
    assert not any(isinstance(effect, MessagesReceived) for effect in done)
