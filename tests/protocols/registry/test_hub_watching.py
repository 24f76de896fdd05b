"""Shown everywhere: who started children hears from all who take part, and waits for nobody in vain."""

from __future__ import annotations

from covey.protocols.registry.vocabulary import Trouble
from covey.wire.messages.registry import Watch, Watched
from tests.protocols.registry.outcomes import started
from tests.protocols.registry.registry_world import SECOND_US, RegistryWorld, site


def test_visible_everywhere_waits_for_all_that_take_part_and_not_for_who_leaves():
    world = RegistryWorld("abc")
    (there,) = world.home("b")
    world.delivers = lambda to, message: not isinstance(message, Watched)
    assert world.start(there, everywhere=True) is None
    assert world.passed(Watch) == [("a", "b"), ("a", "c")]
    hub = world.hub("a")
    hub.watching.on_watched(site("b"), 1)
    world.settle()
    assert 1 not in world.outcomes
    world.vanish("c")
    assert started(world.outcomes[1]) == {there: "b"}


def test_visible_everywhere_ends_with_the_deadline_and_names_who_does_not_show_it():
    world = RegistryWorld("abc")
    (there,) = world.home("b")
    world.delivers = lambda to, message: not isinstance(message, Watched)
    world.start(there, everywhere=True, timeout_us=SECOND_US)
    world.advance(2)
    outcome = world.outcomes[1]
    assert {error.site for error in outcome.errors} == {site("b"), site("c")}
    assert {error.trouble for error in outcome.errors} == {Trouble.NO_RESPONSE}
