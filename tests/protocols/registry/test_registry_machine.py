"""The machine of hubs: when it begins to place, what it looks at, and that nobody makes it raise."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest

from covey.core.errors import ClosedError, NameTaken, Overloaded, UnknownName, UsageError
from covey.core.ids import ClusterId, Contact, Site
from covey.core.rows import HoldInstance, RowsChanged, SharedChanged, WriteRows
from covey.core.vocabulary import (
    ClusterChanged,
    Liveness,
    LivenessChanged,
    MemberAdded,
    MessagesReceived,
    Resolve,
    SendData,
    Tick,
    TurnEnded,
    WantTurn,
)
from covey.protocols.registry import rows
from covey.protocols.registry import vocabulary as h
from covey.protocols.registry.config import RegistryConfig
from covey.protocols.registry.machine import Registry
from covey.protocols.registry.placement import Participant
from covey.wire.keys import encode_key
from covey.wire.messages import registry as wire
from tests.protocols.registry.registry_world import (
    HUB,
    SECOND_US,
    START,
    Claims,
    RegistryWorld,
    child,
    site,
)

A, B = site("a"), site("b")
X = encode_key("x")
OPTIONS = h.HubOptions("a", (START,), "both")
NIL = msgspec.Raw(b"\xc0")


class Rows:
    """Who holds the rows of the hub, and whether all is told."""

    others: tuple[Site, ...] = (A,)
    told = True
    driven: Any = None

    def holders(self, instance: bytes) -> list[Site]:
        return list(self.others)

    def is_told(self, instance: bytes) -> bool:
        return self.told


def machine(config: RegistryConfig | None = None) -> tuple[Registry, Rows]:
    shown = Rows()
    us = Contact(A, 1, "a:1")
    return Registry(config or RegistryConfig(), Random(1), 0, me=us, rows=shown, claims=Claims()), shown


def me(**changes: object) -> Participant:
    said = Participant(A, 1, "a", 1, "", False, (START,), rows.digest_of("both"), "", "both")
    return msgspec.structs.replace(said, **changes)


def shows(one: Registry, said: Participant, now_us: int) -> None:
    """A participant's row is shown."""
    change = (rows.PARTICIPANT, rows.encode(said))
    one.handle(RowsChanged(HUB, said.site, said.incarnation, (change,)), now_us)


def ready(one: Registry) -> bool:
    return one.hubs[HUB].ground.ready


# --- open and closed ------------------------------------------------------------------------------------------------


def test_opening_a_hub_writes_who_takes_part_and_holds_its_rows():
    one, _ = machine()
    effects = one.handle(h.OpenHub(1, HUB, OPTIONS), 0)
    said = WriteRows(HUB, ((rows.PARTICIPANT, rows.encode(me())),))
    assert effects == [HoldInstance(HUB, True), said]
    one.check()


def test_a_hub_is_open_once_and_so_many_are():
    one, _ = machine(RegistryConfig(hubs_max=1))
    one.handle(h.OpenHub(1, HUB, OPTIONS), 0)
    with pytest.raises(NameTaken):
        one.handle(h.OpenHub(2, HUB, OPTIONS), 0)
    with pytest.raises(Overloaded):
        one.handle(h.OpenHub(2, b"hub:\xa1i", OPTIONS), 0)
    one.check()


@pytest.mark.parametrize(
    "command",
    [
        h.StartChildren(1, HUB, (child("x"),), SECOND_US),
        h.StopChildren(1, HUB, (X,), SECOND_US),
        h.CallChild(1, HUB, X, b"", SECOND_US),
        h.UpdateChild(0, HUB, X, b"\x80"),
        h.CloseHub(1, HUB),
    ],
)
def test_a_hub_that_is_not_open_or_closes_takes_no_commands(command):
    with pytest.raises(UnknownName):
        machine()[0].handle(command, 0)
    world = RegistryWorld("ab")
    world.auto.clear()
    world.start(*world.home("a"))
    world.give("a", h.CloseHub(5, HUB))
    with pytest.raises(ClosedError):
        world.machines[A].handle(command, world.now_us)


def test_no_children_and_an_update_of_nobody_are_refused():
    world = RegistryWorld()
    for command in (h.StartChildren(1, HUB, (), SECOND_US), h.UpdateChild(0, HUB, X, b"\x80")):
        with pytest.raises(UsageError):
            world.machines[A].handle(command, world.now_us)


def test_a_hub_that_is_closed_is_forgotten_with_its_timers():
    world = RegistryWorld("a")
    world.start("x")
    world.give("a", h.CloseHub(5, HUB))
    one = world.machines[A]
    assert (one.hubs, one.deadline()) == ({}, None)
    assert one.handle(SharedChanged(HUB, ()), world.now_us) == []
    world.give("a", h.OpenHub(6, HUB, OPTIONS))
    world.advance(4)
    assert ready(one)


# --- when it places -------------------------------------------------------------------------------------------------


def test_who_hears_of_nobody_places_after_settle():
    one, _ = machine()
    one.handle(h.OpenHub(1, HUB, OPTIONS), 0)
    shows(one, me(), 0)
    for now_us in range(300_000, 3_000_000, 50_000):
        assert not one.handle(Tick(), now_us) and not ready(one)
    assert one.handle(Tick(), 3_000_000) == [Resolve(1)]
    assert ready(one)


def test_who_has_joined_waits_only_for_the_first_rows_of_the_others():
    one, shown = machine()
    one.handle(h.OpenHub(1, HUB, OPTIONS), 0)
    shows(one, me(), 0)
    one.handle(LivenessChanged(Contact(B, 1, "b:1"), Liveness.ALIVE, "it spoke"), 10_000)
    shown.others = (A, B)
    one.handle(Tick(), 350_000)
    assert not ready(one), "b has the rows of this hub and has told nothing"
    shows(one, me(site=B, name="b"), 360_000)
    shown.told = False
    one.handle(Tick(), 500_000)
    assert not ready(one), "not all that is shown was told here"
    shown.told = True
    one.handle(Tick(), 600_000)
    assert ready(one)


def test_while_a_stored_member_was_not_observed_nothing_is_placed():
    one, _ = machine()
    one.handle(MemberAdded(Contact(B, 1, "b:1"), False, False), 0)
    one.handle(h.OpenHub(1, HUB, OPTIONS), 0)
    shows(one, me(), 0)
    one.handle(Tick(), 5_000_000)
    assert not ready(one)
    one.handle(LivenessChanged(Contact(B, 1, "b:1"), Liveness.DOWN, "it is silent"), 5_100_000)
    one.handle(Tick(), 6_000_000)
    assert ready(one)


def test_a_new_life_writes_its_rows_again_and_settles_anew():
    world = RegistryWorld("a")
    world.start("x")
    one = world.machines[A]
    effects = one.handle(ClusterChanged(ClusterId(b"c" * 16), 2, False), world.now_us)
    written = next(effect for effect in effects if isinstance(effect, WriteRows))
    assert [key for key, _ in written.changes] == [rows.PARTICIPANT, rows.running_key(X)]
    assert not ready(one)


# --- messages -------------------------------------------------------------------------------------------------------


def test_a_call_for_a_hub_that_is_not_open_here_is_sent_back():
    one, _ = machine()
    call = wire.ChildCall(HUB, 1, X, 7, 1, 1, 1_000, wire.CALL, NIL, 1)
    assert one.handle(MessagesReceived(B, (call,)), 0) == [WantTurn()]
    (effect,) = one.handle(TurnEnded(), 0)
    assert isinstance(effect, SendData) and effect.to == B
    assert effect.messages == (wire.ChildAnswer(HUB, 0, 7, 1, wire.ELSEWHERE, NIL),)
    assert one.statistics().strangers == 1


def test_a_call_for_another_life_of_ours_is_not_taken():
    world = RegistryWorld("ab")
    (id,) = world.home("b")
    world.start(id)
    world.take("b")
    call = wire.ChildCall(HUB, 99, encode_key(id), 7, 1, 1, SECOND_US, wire.CALL, NIL, 1)
    world.give("b", MessagesReceived(A, (call,)))
    assert world.take("b") == []
    _, _, answer = world.sent[-1]
    assert (answer.number, answer.kind) == (7, wire.ELSEWHERE)


def test_much_that_is_said_in_one_turn_goes_in_several_commands():
    world = RegistryWorld("ab")
    world.start(*world.home("b"))
    id, one = encode_key(world.home("b")[0]), world.machines[A]
    for request in (10, 11, 12):
        one.handle(h.CallChild(request, HUB, id, bytes(300_000), SECOND_US), world.now_us)
    effects = one.handle(TurnEnded(), world.now_us)
    assert [len(effect.messages) for effect in effects if isinstance(effect, SendData)] == [1, 1, 1]


# --- events ---------------------------------------------------------------------------------------------------------


def test_the_fold_of_the_events_is_the_book():
    world = RegistryWorld("ab")
    here, there = world.home("a") + world.home("b")
    world.start(here, there)
    world.give("a", h.UpdateChild(0, HUB, encode_key(here), b"\x81\xa1v\x01"))
    world.vanish("b")
    world.give("a", h.StopChildren(2, HUB, (encode_key(here),), SECOND_US))
    shown: dict[bytes, h.Shown] = {}
    for event in world.events[A]:
        if isinstance(event, h.ChildChanged):
            assert shown.get(event.id) == event.before != event.after
            shown.pop(event.id, None)
            if event.after is not None:
                shown[event.id] = event.after
    book = world.hub("a").book
    assert shown == {id: h.Shown(one, tuple(book.running(id).items())) for id, one in book.children.items()}
    assert set(shown) == {encode_key(there)}


def test_nodes_with_another_configuration_are_told_once_and_the_lower_of_two_places():
    world = RegistryWorld("a")
    world.add("b", settings="majority of x, y, z")
    world.advance(5)
    for name, other in (("a", "b"), ("b", "a")):
        (event,) = [event for event in world.events[site(name)] if isinstance(event, h.ConfigDiffers)]
        assert [one for one, _ in event.theirs] == [site(other)]
        lower = min(rows.digest_of("both"), rows.digest_of("majority of x, y, z"))
        assert event.places is (rows.digest_of(event.ours) == lower)
        view = world.hub(name).ground.places.view
        assert (len(view.hosts), len(view.others)) == (1, 1)
