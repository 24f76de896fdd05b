"""The engine: everything that is said has a hearer, and the machines together are one node."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core import children as children_vocabulary
from covey.core import claims as leases_vocabulary
from covey.core import rows as row
from covey.core import vocabulary as v
from covey.core.errors import InvariantError, NameTaken, UnknownName
from covey.core.ids import Contact
from covey.core.vocabulary import (
    Channel,
    Liveness,
    MemberAdded,
    MessagesReceived,
    PeerConnected,
    Persist,
    Tick,
)
from covey.engine import gate as gate_vocabulary
from covey.engine import roster as roster_vocabulary
from covey.engine.engine import EngineConfig
from covey.engine.gate import Gate, Persisted
from covey.engine.pump import Pump
from covey.protocols.broadcast import vocabulary as broadcast_vocabulary
from covey.protocols.claims import vocabulary as claims_vocabulary
from covey.protocols.detector import vocabulary as detector_vocabulary
from covey.protocols.direct import machine as direct_vocabulary
from covey.protocols.groups import vocabulary as groups_vocabulary
from covey.protocols.links import vocabulary as links_vocabulary
from covey.protocols.membership import vocabulary as membership_vocabulary
from covey.protocols.membership.ledger import CLUSTER
from covey.protocols.membership.vocabulary import SetMember
from covey.protocols.overlay import vocabulary as overlay_vocabulary
from covey.protocols.registry import vocabulary as registry_vocabulary
from covey.protocols.replication import vocabulary as replication_vocabulary
from covey.wire.messages.detector import Rumour, Rumours
from covey.wire.messages.overlay import Beacon
from tests.engine.engine_words import FRIEND, ME, OTHER, PEER, build, example, frame
from tests.wire.strategies import MESSAGE_KINDS, MESSAGES

ENGINE = build()
MACHINES = [
    "links",
    "overlay",
    "broadcast",
    "membership",
    "detector",
    "replication",
    "shelf",
    "groups",
    "voter",
    "claims",
    "registry",
    "direct",
    "clients",
    "roster",
]
HUB_OWN = ("HandoverLost", "NobodyRuns", "StrategyFailed", "VotersMissing")
ROUTED = [(kind, name) for kind, hearers in ENGINE.routes.items() for name, _ in hearers]


@pytest.mark.parametrize("kind, name", ROUTED, ids=lambda part: getattr(part, "__name__", part))
def test_every_fact_and_command_is_handled_by_each_machine_that_is_to_hear_it(kind, name):
    engine = build()
    machine = engine.machines[name]
    engine.replication.handle(row.HoldInstance(example(row.WriteRows).instance), 0)
    engine.groups.handle(groups_vocabulary.OpenMailbox(1), 0)
    engine.groups.handle(example(groups_vocabulary.JoinGroup), 0)
    elect = leases_vocabulary.Elect(example(leases_vocabulary.Seek).id[0], ("peer:1", "me", "you"), "me")
    if kind is not leases_vocabulary.Elect:
        engine.claims.handle(elect, 0)
    engine.registry.handle(example(registry_vocabulary.OpenHub), 0)
    if kind in (registry_vocabulary.OpenHub, registry_vocabulary.UpdateChild):
        with pytest.raises((NameTaken, UnknownName)):
            machine.handle(example(kind), 1)
        return
    said = elect if kind is leases_vocabulary.Elect else example(kind)
    for now_us in (1, 2):
        effects = machine.handle(said, now_us)
        assert isinstance(effects, (list, tuple))
        engine.check()
        engine.registry.handle(Tick(), now_us)
        if kind is registry_vocabulary.CloseHub:
            break


@pytest.mark.parametrize("kind", MESSAGE_KINDS, ids=lambda kind: kind.__name__)
def test_every_message_kind_has_an_owner_that_takes_it(kind):
    engine = build()
    ((name, machine, part),) = engine.split(frame(example(kind)))
    assert engine.machines[name] is machine
    assert isinstance(machine.handle(part, 1), (list, tuple))
    engine.check()


@given(st.lists(MESSAGES, min_size=1, max_size=8))
def test_no_peer_can_make_a_machine_raise_whatever_the_messages_in_its_frame(messages):
    engine = build()
    Pump(engine, Gate(EngineConfig().gate), lambda _: None).feed(frame(*messages), 1)
    engine.check()


def test_the_owner_tables_name_exactly_the_kinds_of_the_union():
    assert sorted(kind.__name__ for kind in ENGINE._owners) == sorted(kind.__name__ for kind in MESSAGE_KINDS)


def test_every_machine_hears_something():
    names = [name for _, name in ROUTED]
    assert sorted(dict.fromkeys(names)) == sorted(ENGINE.machines)


VOCABULARIES = [
    v,
    row,
    children_vocabulary,
    leases_vocabulary,
    links_vocabulary,
    overlay_vocabulary,
    broadcast_vocabulary,
    direct_vocabulary,
    membership_vocabulary,
    detector_vocabulary,
    replication_vocabulary,
    groups_vocabulary,
    claims_vocabulary,
    registry_vocabulary,
    gate_vocabulary,
    roster_vocabulary,
]
FOR_THE_WORLD = {"Emit", "Resolve", "Refuse", "OpenConnection", "Write", "CloseConnection", "WantTurn", "Store"}
FOR_THE_WORLD |= {
    "PrepareChild",
    "StartChild",
    "TellToken",
    "DeliverToChild",
    "AskHandover",
    "StopChild",
    "AskResolver",
}
FOR_THE_GATE = {"Persist", "Persisted", "PersistFailed"}
EVENTS = {
    "core.vocabulary": {"ProtocolViolation", "SiteContested"},
    "links": {"LinkRefused"},
    "broadcast": {"Delivered"},
    "direct": {"PayloadsReceived"},
    "membership": {"MemberJoined", "MemberLeft", "Kicked", "ClockSkew", "SelfChanged"},
    "detector": {"LinkBroken", "LinkMended", "SelfAccused"},
    "replication": {"RowsDiffer"},
    "groups": {"GroupChanged", "MailReceived", "LifeEnded"},
    "claims": {"VotersDiffer", "EpochsAhead", "SeatEmpty"},
    "registry": {"ChildChanged", "ParticipantsChanged", "ConfigDiffers", "CopyEnded", "MoveFailed", *HUB_OWN},
    "gate": {"StorageTrouble", "StorageRecovered"},
    "roster": {"MemberChanged", "PartitionSuspected"},
}
INSIDE_OTHERS = {"Record", "Outcome", "RosterEntry", "SyncMessage", "Address", "GroupEntry", "Letter", "Outgoing"}
INSIDE_OTHERS |= {"Start", "Put", "Remove", "SharedRow", "Copy"}
INSIDE_OTHERS |= {"NewChild", "HubOptions", "ChildError", "Place", "StartOutcome", "StopOutcome", "Answer", "Shown"}


@pytest.mark.parametrize("module", VOCABULARIES, ids=lambda m: m.__name__)
def test_whatever_is_said_is_routed_or_is_for_the_world(module: ModuleType):
    """A new fact or effect is heard by a machine or the gate, carried out by the world, or an event inside `Emit`."""
    elsewhere = FOR_THE_WORLD | FOR_THE_GATE | INSIDE_OTHERS | {name for events in EVENTS.values() for name in events}
    routed = {kind.__name__ for kind in ENGINE.routes}
    spoken = {
        kind.__name__
        for kind in vars(module).values()
        if inspect.isclass(kind) and issubclass(kind, msgspec.Struct) and kind.__module__ == module.__name__
    }
    neither = {name for name in spoken if not name.endswith(("Config", "Statistics"))} - routed
    assert sorted(neither - elsewhere) == []
    assert sorted(routed & elsewhere) == []


def test_a_machine_that_keeps_a_log_is_named_so_that_it_speaks_through_the_gate():
    for name, machine in ENGINE.machines.items():
        package = inspect.getmodule(machine)
        assert package is not None
        persists = "Persist" in vars(package) and vars(package)["Persist"] is Persist
        assert (name in ENGINE.durable) == persists


# --- the whole ------------------------------------------------------------------------------------------------------


def test_statistics_and_deadlines_are_those_of_the_machines():
    engine = build()
    assert engine.statistics() == {name: machine.statistics() for name, machine in engine.machines.items()}
    assert list(engine.statistics()) == MACHINES
    deadlines = [machine.deadline() for machine in engine.machines.values()]
    pump = Pump(engine, Gate(EngineConfig().gate), lambda _: None)
    assert pump.deadline() == min(due_us for due_us in deadlines if due_us is not None)


def test_check_asks_every_machine(monkeypatch):
    engine = build()
    asked: list[str] = []
    for name, machine in engine.machines.items():
        monkeypatch.setattr(machine, "check", lambda name=name: asked.append(name))
    engine.check()
    assert asked == MACHINES


def test_check_tells_of_a_machine_whose_laws_are_broken():
    engine = build()
    engine.overlay.active.size_max = -1
    with pytest.raises(InvariantError, match="active view is bounded"):
        engine.check()


def test_the_machines_hear_of_one_fact_through_one_pump():
    engine = build()
    done: list[Any] = []
    pump = Pump(engine, Gate(EngineConfig().gate), done.append)
    pump.feed(PeerConnected(FRIEND, Channel.CONTROL), 1)
    assert PEER in engine.membership.exchange.links
    assert PEER in engine.detector._links
    pump.feed(MemberAdded(FRIEND, False, False), 1)
    assert "peer:1" in engine.overlay.book
    assert engine.detector.state(PEER) is engine.roster.entries[PEER].state is Liveness.ALIVE  # it is linked to us
    pump.feed(frame(Beacon(PEER, 7, 1, 0)), 2)
    pump.feed(Tick(), 3)
    engine.check()
    assert not any(isinstance(effect, MessagesReceived) for effect in done)


def test_what_membership_says_waits_for_the_disk_and_the_others_hear_it_then():
    engine = build()
    done: list[Any] = []
    pump = Pump(engine, Gate(EngineConfig().gate), done.append)
    pump.feed(v.WallOffset(1_700_000_000_000_000), 1)
    pump.feed(Tick(), 1)
    stores = list(done)
    assert [(store.log, store.position) for store in stores] == [("membership", 1), ("membership", 2)]
    assert engine.detector._speech.digests == b""
    pump.feed(Persisted("membership", 1), 2)
    assert engine.detector._speech.digests == bytes(16)  # of a record without an entry
    pump.feed(Persisted("membership", 2), 3)
    record = engine.membership.record
    assert engine.detector._speech.digests == record.digest + record.kicked_digest
    assert done == stores


def test_a_restart_goes_on_from_what_the_log_holds():
    before = build()
    disk: dict[bytes, bytes] = {}
    for effect in [*before.membership.handle(Tick(), 1), *before.membership.handle(SetMember(1, PEER, True), 2)]:
        if isinstance(effect, Persist):
            disk.update({record.key: record.value or b"" for record in effect.records})
    after = build(logs={"membership": disk})
    assert after.membership.members() == sorted((ME, PEER))
    pump = Pump(after, Gate(EngineConfig().gate), lambda _: None)
    pump.feed(Tick(), 3)
    assert list(after.roster.entries) == [PEER]
    assert after.roster.entries[PEER].state is Liveness.UNKNOWN


def test_who_was_thrown_out_shakes_hands_for_a_cluster_of_its_own():
    engine = build(logs={"membership": {CLUSTER: b"x" * 16}})
    assert engine.membership.solo
    assert engine.links._identity.cluster == b"x" * 16
    assert engine.overlay._solo


SITES = st.sampled_from([PEER, OTHER.site])
LIVES = st.builds(Contact, SITES, st.integers(1, 3), st.sampled_from(["", "peer:1"]))
RUMOURS = st.builds(
    Rumour, SITES, st.integers(1, 3), st.integers(0, 1), st.sampled_from(Liveness), st.just(bytes(OTHER.site))
)


@given(
    st.lists(
        st.one_of(
            st.builds(MemberAdded, LIVES, st.booleans(), st.booleans()),
            st.builds(v.MemberRemoved, SITES),
            st.builds(PeerConnected, LIVES, st.just(Channel.CONTROL)),
            st.builds(lambda sender, said: MessagesReceived(sender, (Rumours((said,)),)), SITES, RUMOURS),
        ),
        max_size=12,
    )
)
def test_users_see_of_each_member_what_the_detector_holds_of_it(facts):
    engine = build()
    pump = Pump(engine, Gate(EngineConfig().gate), lambda _: None)
    for now_us, fact in enumerate(facts, 1):
        pump.feed(fact, now_us)
        shown = {site: (entry.contact.incarnation, entry.state) for site, entry in engine.roster.entries.items()}
        members = engine.detector.opinions.members
        assert shown == {site: (one.evidence.incarnation, one.state) for site, one in members.items()}
    engine.check()
