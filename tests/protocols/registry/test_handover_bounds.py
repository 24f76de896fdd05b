"""What a member may make a node keep of handovers is bounded, and forgotten."""

from __future__ import annotations

import pytest
from msgspec import Raw
from msgspec.structs import replace

from covey.core import children as c
from covey.core.ids import Contact
from covey.core.rows import RowsChanged
from covey.core.vocabulary import Liveness, LivenessChanged, MemberRemoved, MessagesReceived
from covey.protocols.registry import rows
from covey.protocols.registry import vocabulary as h
from covey.protocols.registry.config import RegistryConfig
from covey.protocols.registry.moves import ITEM_BYTES
from covey.wire.keys import encode_key
from covey.wire.messages import registry as wire
from tests.protocols.registry.registry_world import HUB, SECOND_US, RegistryWorld, life, site
from tests.protocols.registry.test_moves import alone

NIL = Raw(b"\xc0")
X = encode_key("x")


def part(move: int, at: int, size: int = 0, id: bytes = X) -> wire.HandoverPart:
    """One part with one answer of so many bytes."""
    payload = Raw(b"\xc5" + size.to_bytes(2, "big") + bytes(size))
    return wire.HandoverPart(HUB, move, id, at, (), (wire.Answered(life("b"), at, SECOND_US, 0, payload),))


def kept(world: RegistryWorld) -> list[int]:
    """The bytes of each handover on its way to `a`."""
    return [arriving.bytes for arriving in world.hub("a").moves._arriving.values()]


def say(world: RegistryWorld, *messages: object, by: str = "b") -> None:
    world.give("a", MessagesReceived(site(by), messages))
    world.settle()


def awaited(world: RegistryWorld) -> bytes:
    """A child of `b` that `a` was told to build."""
    (id,) = world.home("a")
    for name in "ab":
        world.hub(name).ground.ready = False
    world.start(id)
    say(world, wire.Prepare(HUB, 7, encode_key(id)))
    assert kept(world) == [0]
    return encode_key(id)


def test_of_a_handover_that_nobody_awaits_nothing_is_kept():
    world = RegistryWorld("ab")
    say(world, *[part(move, 0, 100) for move in range(50)])
    assert kept(world) == []


def test_of_a_duplicate_from_who_does_not_take_part_nothing_is_kept():
    world = RegistryWorld("ab")
    (id,) = world.home("a")
    world.start(id)
    say(world, part(1, 0, 100, encode_key(id)), by="z")
    assert kept(world) == []
    say(world, part(1, 0, 100, encode_key(id)))
    assert len(kept(world)) == 1
    world.advance(21)
    assert kept(world) == [], "and for no longer than a move takes"


def test_what_is_awaited_is_kept_once_and_goes_with_its_host():
    world = RegistryWorld("ab")
    id = awaited(world)
    say(world, *[part(7, at % 2, 100, id) for at in range(9)])
    assert kept(world) == [2 * (2 * ITEM_BYTES + 103)]
    say(world, part(7, 2, 100, X))
    assert kept(world) == [2 * (2 * ITEM_BYTES + 103)], "that is of another child"
    world.vanish("b")
    assert kept(world) == []


def test_more_of_one_host_than_has_room_is_not_kept_and_its_child_stays_there():
    world = RegistryWorld("ab", RegistryConfig(arriving_bytes_max=2_000))
    id = awaited(world)
    say(world, *[part(7, at, 500, id) for at in range(9)])
    assert kept(world) == [0]
    say(world, wire.Handover(HUB, 7, id, 5, None, False, None, 9, (3,)))
    (answer,) = [message for _, _, message in world.sent if isinstance(message, wire.HandedOver)]
    assert "more than has room" in answer.error
    assert kept(world) == [] and c.StartChild not in map(type, world.take("a"))


def test_what_is_handed_over_too_late_is_refused_and_runs_where_it_ran():
    world, (id,) = alone(RegistryConfig(prepare_us=SECOND_US))
    world.auto -= {c.AskHandover, c.DeliverToChild}
    for request in (10, 11):
        world.call(id, request=request, timeout_us=60 * SECOND_US)
    world.add("b")
    world.advance(2.5)
    world.advance(8)  # it takes its time to end, and `b` waits no longer
    world.auto.add(c.DeliverToChild)
    assert world.hub("b").moves._arriving == {}
    world.take("a")
    world.give("a", c.ChildExited(world.copy("a", id), c.Ending.RETURNED))
    assert world.runs(id) == {"a": "RUNNING"}
    assert world.outcomes[11] == h.Answer(False, b"\x01")


def test_what_is_said_again_is_the_same_though_some_letters_have_expired_since():
    world, (id,) = alone()
    world.auto.discard(c.DeliverToChild)
    for request in (10, 11, 12):
        world.call(id, request=request, timeout_us=4 * SECOND_US if request == 11 else 60 * SECOND_US)
    world.delivers = lambda to, message: not isinstance(message, wire.Handover)
    world.add("b")
    world.advance(5)
    first, *others = [message for _, _, message in world.sent if isinstance(message, wire.HandoverPart)]
    assert len(first.letters) == 2 and others and all(message == first for message in others)


def test_answers_that_are_too_large_to_travel_are_known_to_have_been_given():
    world, (id,) = alone(RegistryConfig(answers_bytes_max=0))
    mailbox = world.hub("a").hosting.hosted[encode_key(id)].mailbox
    call = wire.ChildCall(HUB, 1, encode_key(id), 7, 1, 7, 60 * SECOND_US, wire.CALL, Raw(b"\x01"), mailbox.names[0])
    say(world, call, by="z")
    world.add("b")
    world.advance(3)
    assert world.runs(id) == {"b": "RUNNING"}
    world.give("b", MessagesReceived(site("z"), (call,)))
    answers = [message.kind for _, to, message in world.sent if isinstance(message, wire.ChildAnswer) and to == "z"]
    assert answers == [wire.REPLY, wire.GONE]


def asked(world: RegistryWorld, id: int, incarnation: int) -> None:
    """A life of `c` calls a child of `a`."""
    contact = Contact(site("c"), incarnation, "c:1")
    world.give("a", LivenessChanged(contact, Liveness.ALIVE, "a test"))
    name = world.hub("a").hosting.hosted[encode_key(id)].mailbox.names[0]
    call = wire.ChildCall(HUB, 1, encode_key(id), 5, 1, 5, SECOND_US, wire.CALL, Raw(b"\x01"), name)
    say(world, call, by="c")


@pytest.mark.parametrize("removed", [True, False])
def test_nothing_is_remembered_of_lives_that_are_over(removed):
    world = RegistryWorld("ab")
    (id,) = world.home("a")
    world.start(id)
    mailbox = world.hub("a").hosting.hosted[encode_key(id)].mailbox
    asked(world, id, 4)
    assert list(mailbox._lows) == [(site("c"), 4)]
    if removed:
        world.give("a", MemberRemoved(site("c"), None))
    else:
        world.hub("a").hosting.forget(site("c"), 5)
    assert (mailbox._lows, mailbox._known) == ({}, {})


def test_a_new_life_that_takes_part_ends_what_is_remembered_of_the_one_before():
    """It was held for down first, and so might still have asked again."""
    world = RegistryWorld("ab")
    (id,) = world.home("a")
    world.start(id)
    world.call(id, by="b")
    mailbox = world.hub("a").hosting.hosted[encode_key(id)].mailbox
    assert list(mailbox._lows) == [life("b")]
    world.vanish("b")
    assert list(mailbox._lows) == [life("b")]
    world.give("a", LivenessChanged(Contact(site("b"), 2, "b:1"), Liveness.ALIVE, "a test"))
    said = replace(world.hub("a").book.participants[site("a")], site=site("b"), incarnation=2, name="b")
    world.give("a", RowsChanged(HUB, site("b"), 2, ((rows.PARTICIPANT, rows.encode(said)),)))
    assert mailbox._lows == {}
