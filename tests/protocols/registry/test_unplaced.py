"""A child that nobody can run is told of once, by every node, and again only when it was placed meanwhile."""

from __future__ import annotations

from typing import Any

from covey.core.rows import Put, WriteShared
from covey.protocols.registry import vocabulary as h
from covey.protocols.registry.rows import META
from covey.wire.keys import decode_key, encode_key
from tests.protocols.registry.registry_world import HUB, START, RegistryWorld, site

OTHER = "app:other"


def told(world: RegistryWorld, name: str) -> list[Any]:
    """Of which children a node said it, since it was asked last."""
    events, world.events[site(name)] = world.events[site(name)], []
    return [decode_key(id) for event in events if isinstance(event, h.NobodyRuns) for id in event.ids]


def lonely(*ids: object) -> RegistryWorld:
    """`a` and `b` call, `c` alone runs these, and is gone."""
    world = RegistryWorld("ab", starts=(OTHER,))
    world.add("c", starts=(START,))
    world.advance(4)
    assert world.start(*ids) is not None
    world.vanish("c")
    return world


def test_children_that_lose_their_last_host_are_told_of_by_each_node_once():
    world = lonely("x", "y")
    assert sorted(told(world, "a")) == sorted(told(world, "b")) == ["x", "y"]
    world.advance(5)
    world._carry_out(site("a"), WriteShared(HUB, (Put(encode_key("x"), META, b"\x80"),)))
    world.settle()
    world.advance(5)
    assert told(world, "a") == told(world, "b") == []


def test_one_that_was_placed_meanwhile_is_told_of_again():
    world = lonely("x")
    told(world, "a")
    world.add("d", starts=(START,))
    world.advance(4)
    assert world.runs("x") == {"d": "RUNNING"} and told(world, "a") == []
    world.vanish("d")
    assert told(world, "a") == ["x"]


def test_who_comes_hears_of_them_once_it_knows_who_takes_part():
    world = lonely("x")
    world.add("d", starts=(OTHER,))
    assert told(world, "d") == []
    world.advance(4)
    assert told(world, "d") == ["x"]


def test_one_that_is_stopped_is_forgotten():
    world = lonely("x")
    world.give("a", h.StopChildren(2, HUB, (encode_key("x"),), 1_000_000))
    assert not world.hub("a").unplaced._said and not world.hub("b").unplaced._said


def test_children_that_have_a_host_are_not_told_of_whoever_comes_and_goes():
    world = RegistryWorld("ab")
    world.start(*range(20))
    world.add("c")
    world.advance(4)
    world.vanish("b")
    world.advance(4)
    assert told(world, "a") == told(world, "c") == []
