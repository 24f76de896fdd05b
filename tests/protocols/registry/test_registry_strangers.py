"""Whatever peers and their rows say out of the blue: it changes no child, and nothing raises."""

from __future__ import annotations

import msgspec
import pytest

from covey.core.rows import RowsChanged, SharedChanged, SharedRow
from covey.core.vocabulary import MessagesReceived
from covey.protocols.registry import rows
from covey.protocols.registry import vocabulary as h
from covey.wire.keys import encode_key
from covey.wire.messages import registry as wire
from tests.protocols.registry.registry_world import HUB, RegistryWorld, site

A, B = site("a"), site("b")
X = encode_key("x")
NIL = msgspec.Raw(b"\xc0")

STRANGE = [
    wire.ChildAnswer(HUB, 1, 999, 1, wire.REPLY, NIL),
    wire.ChildAnswer(HUB, 1, 999, 1, wire.FULL, NIL, B),
    wire.Ended(HUB, X, 1, 1, "no", 1),
    wire.Prepare(HUB, 1, X),
    wire.Prepared(HUB, 999, X, ""),
    wire.Handover(HUB, 1, X, 1, b"\xc0", False, None, 0, (1,)),
    wire.Handover(HUB, 2, X, 1, b"\xc0", True, (B, 1, 1), 0, (1,)),
    wire.Handover(HUB, 3, X, 1, b"\xc1", False, None, 5, (1,)),
    wire.HandoverPart(HUB, 3, X, 4_000, (wire.Carried((B, 1), 1, 1, 1, 0, NIL),), ()),
    wire.HandoverPart(HUB, 3, X, 0, (), (wire.Answered((B, 1), 2, 1, 0, NIL),)),
    wire.HandedOver(HUB, 999, X, ""),
    wire.Duplicate(HUB, X),
    wire.Kept(HUB, X),
    wire.Watch(HUB, 0, (X,)),
    wire.Watch(HUB, 3, ()),
    wire.Watched(HUB, 999),
    wire.WhichAbsent(HUB, 0, (X,)),
    wire.Absent(HUB, 999, (X,)),
    wire.ChildCall(HUB, 1, b"\xff not a key", 1, 1, 2**53, 2**53, 1, NIL, 5),
]  # fmt: skip


@pytest.mark.parametrize("message", STRANGE, ids=lambda message: type(message).__name__)
def test_what_a_peer_says_out_of_the_blue_changes_no_child(message):
    world = RegistryWorld("ab")
    here, there = world.home("a") + world.home("b")
    world.start(here, there)
    before = world.runs(here), world.runs(there), dict(world.shared)
    for peer in (B, site("z")):
        for _ in range(2):
            world.give("a", MessagesReceived(peer, (message,)))
            world.advance(1)
    world.advance(60)
    assert (world.runs(here), world.runs(there), dict(world.shared)) == before
    assert world.call(here) == world.call(there, request=10) == h.Answer(False, b"\x01")


@pytest.mark.parametrize("value", [b"", b"\xc1", b"\x90", b"\x95\x01\x02\x03\x04\x05", rows.encode(5)])
def test_rows_that_make_no_sense_are_counted_and_do_nothing(value):
    world = RegistryWorld("ab")
    (id,) = world.home("a")
    world.start(id)
    row = SharedRow((((B, 1, 1), value),), ((rows.EPOCH, (((B, 1, 2), b"\xc1"),)),))
    world.give("a", SharedChanged(HUB, ((X, row), (b"\xff\xff", row))))
    changes = (rows.PARTICIPANT, value), (rows.running_key(X), value), (b"?", value)
    world.give("a", RowsChanged(HUB, B, 1, changes))
    world.advance(5)
    assert world.runs(id) == {"a": "RUNNING"}
    assert world.hub("a").statistics()["nonsense"] >= 4
