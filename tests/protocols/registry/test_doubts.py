"""A host that somebody else says is down, while it is linked to us: if it lives, nothing of it is taken over."""

from __future__ import annotations

import pytest

from covey.core.ids import Contact
from covey.core.vocabulary import Cause, Channel, Liveness, LivenessChanged, PeerConnected, PeerLost
from tests.protocols.registry.registry_world import RegistryWorld, site

B = Contact(site("b"), 1, "b:1")


def world_with_a_child_on_b() -> tuple[RegistryWorld, int]:
    world = RegistryWorld("ab")
    (id,) = world.home("b")
    world.start(id)
    world.give("a", PeerConnected(B, Channel.DATA))
    return world, id


def test_who_is_told_to_be_down_and_denies_it_at_once_keeps_its_children():
    """After a heal each side hears of the other that those around it are down."""
    world, id = world_with_a_child_on_b()
    world.give("a", LivenessChanged(B, Liveness.DOWN, "they say so", "told"))
    world.hide("b", "a")
    world.advance(0.3)
    assert world.runs(id) == {"b": "RUNNING"}
    world.give("a", LivenessChanged(B, Liveness.ALIVE, "it says so", "spoke"))
    world.show("b", "a")
    world.advance(5)
    assert world.runs(id) == {"b": "RUNNING"}


def test_who_does_not_deny_it_is_believed_to_be_down():
    world, id = world_with_a_child_on_b()
    world.give("a", LivenessChanged(B, Liveness.DOWN, "they say so", "told"))
    world.hide("b", "a")
    world.advance(0.7)
    assert world.runs(id) == {"a": "RUNNING", "b": "RUNNING"}


@pytest.mark.parametrize("cause", ["refused", "silent", "stopped"])
def test_of_what_this_node_found_out_itself_there_is_no_doubt(cause):
    world, id = world_with_a_child_on_b()
    world.give("a", LivenessChanged(B, Liveness.DOWN, "it is gone", cause))
    world.vanish("b")
    assert world.runs(id) == {"a": "RUNNING"}


def test_nor_of_one_whose_link_broke():
    world, id = world_with_a_child_on_b()
    world.give("a", LivenessChanged(B, Liveness.DOWN, "they say so", "told"))
    world.give("a", PeerLost(B, Channel.DATA, Cause.RESET))
    world.vanish("b")
    assert world.runs(id) == {"a": "RUNNING"}
