"""Children that are stopped: who ran each is told once it has ended, by the deadline."""

from __future__ import annotations

from covey.core import children as c
from covey.protocols.registry import vocabulary as h
from covey.wire.keys import encode_key
from tests.protocols.registry.outcomes import told
from tests.protocols.registry.registry_world import HUB, SECOND_US, RegistryWorld, site


def test_a_stop_tells_who_ran_each_and_of_the_unknown_at_once():
    world = RegistryWorld("ab")
    here, there = world.home("a") + world.home("b")
    world.start(here, there)
    world.auto.discard(c.StopChild)
    ids = tuple(encode_key(id) for id in (here, there, "nobody", here))
    world.give("a", h.StopChildren(2, HUB, ids, SECOND_US))
    world.give("a", c.ChildExited(world.copy("a", here), c.Ending.STOPPED))
    assert 2 not in world.outcomes
    world.give("b", c.ChildExited(world.copy("b", there), c.Ending.STOPPED))
    outcome = world.outcomes[2]
    assert dict(outcome.stopped) == {encode_key(here): (site("a"),), encode_key(there): (site("b"),)}
    assert told(outcome) == {"nobody": "NOT_FOUND"}
    world.give("a", h.StopChildren(3, HUB, (encode_key("nobody"),), SECOND_US))
    assert told(world.outcomes[3]) == {"nobody": "NOT_FOUND"}


def test_a_stop_of_who_does_not_end_is_told_at_the_deadline():
    world = RegistryWorld("ab")
    (there,) = world.home("b")
    world.start(there)
    world.auto.discard(c.StopChild)
    world.give("a", h.StopChildren(2, HUB, (encode_key(there),), SECOND_US))
    world.advance(1.1)
    assert told(world.outcomes[2]) == {there: "NO_RESPONSE"}
