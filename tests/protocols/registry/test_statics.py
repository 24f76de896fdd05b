"""Children that hubs declare: whoever opens a hub sees to it that they are there; each is started once."""

from __future__ import annotations

import msgspec
import pytest

from covey.core import children as c
from covey.protocols.registry import rows
from covey.protocols.registry import vocabulary as h
from covey.protocols.registry.statics import RANKS_MAX
from covey.wire.keys import encode_key
from tests.protocols.registry.registry_world import HUB, SPEC, START, RegistryWorld, child, site

X, Y = child("x"), child("y")
PENDING = "pending"


def opened(world: RegistryWorld, request: int) -> object:
    """What came of opening a hub."""
    return world.outcomes.get(request, PENDING)


def born(world: RegistryWorld, id: str) -> int:
    """How many births were written of a child."""
    return world.born.count(encode_key(id))


def test_what_only_a_later_node_declares_is_started_by_it_and_what_is_there_is_not():
    world = RegistryWorld("")
    world.add("a", X, request=1)
    world.advance(4)
    world.add("b", X, Y, request=2)
    world.advance(2)
    assert (opened(world, 1), opened(world, 2)) == (None, None)
    assert (born(world, "x"), born(world, "y")) == (1, 1)
    assert len(world.runs("x")) == len(world.runs("y")) == 1


def test_of_nodes_that_come_at_once_one_starts_what_they_declare():
    world = RegistryWorld("")
    for number, name in enumerate("cab"):
        world.add(name, X, Y, request=number)
    world.advance(4)
    assert world.born == [X.id, Y.id]
    assert [opened(world, request) for request in (1, 2)] == [None, None]


def test_when_whoever_was_to_start_them_is_gone_the_next_one_does():
    """It comes before the others, has no say in the view yet, and vanishes before it had its turn."""
    world = RegistryWorld("")
    world.add("b", X, request=1)
    world.advance(2.9)
    world.add("a", X)
    world.advance(0.05)
    world.vanish("a")
    world.advance(2)
    assert opened(world, 1) is None and born(world, "x") == 1
    assert world.runs("x") == {"b": "RUNNING"}


def test_nobody_waits_for_more_nodes_than_a_few_to_have_their_turn():
    world = RegistryWorld("")
    for letter in "abcdefghijklmnop":
        world.add(letter)
    world.advance(4)
    world.add("z", X, request=1)
    world.advance(0.3 + RANKS_MAX * 0.2 + 0.1)
    assert opened(world, 1) is None


def test_every_node_waits_until_what_it_declares_runs():
    world = RegistryWorld("")
    world.auto.discard(c.StartChild)
    world.add("a", X, request=1)
    world.add("b", X, request=2)
    world.advance(9)
    assert (opened(world, 1), opened(world, 2)) == (PENDING, PENDING)
    (host,) = world.runs("x")
    world.give(host, c.ChildStarted(world.copy(host, "x")))
    world.advance(0.1)
    assert (opened(world, 1), opened(world, 2)) == (None, None)


def test_what_does_not_start_in_time_is_told_with_its_host():
    world = RegistryWorld("")
    world.auto.discard(c.StartChild)
    world.add("a", X, request=1)
    world.advance(62)
    assert opened(world, 1) == PENDING
    world.advance(2)
    outcome = opened(world, 1)
    assert isinstance(outcome, h.StartOutcome)
    (error,) = outcome.errors
    assert (error.id, error.site, error.trouble) == (X.id, site("a"), h.Trouble.NO_RESPONSE)


def test_what_fails_as_it_starts_is_told_to_each_that_declares_it():
    """Only whoever started it hears why it failed, so the next one tries it itself."""
    world = RegistryWorld("")
    world.auto.discard(c.StartChild)
    for number, name in enumerate("ab", 1):
        world.add(name, X, Y, request=number)
    for _ in range(400):
        world.advance(0.01)
        for name in "ab":
            for effect in world.take(name):
                if isinstance(effect, c.StartChild):
                    well = effect.copy.id == Y.id
                    exited = c.ChildExited(effect.copy, c.Ending.RAISED, "no luck", "no luck")
                    world.give(name, c.ChildStarted(effect.copy) if well else exited)
    for request in (1, 2):
        outcome = opened(world, request)
        assert isinstance(outcome, h.StartOutcome)
        (error,) = outcome.errors
        assert (error.id, error.trouble, error.reason) == (X.id, h.Trouble.RAISED, "no luck")
    assert (born(world, "x"), born(world, "y")) == (2, 1)


def test_what_nobody_can_run_is_told_at_once():
    world = RegistryWorld("a")
    other = child("x", msgspec.structs.replace(SPEC, start="app:other"))
    world.add("b", other, request=1)
    world.advance(1)
    outcome = opened(world, 1)
    assert isinstance(outcome, h.StartOutcome) and outcome.errors[0].trouble is h.Trouble.NO_HOST


def test_what_was_stopped_stays_so_while_anybody_is_there_who_knew_of_it():
    """Also where those who knew it at first are all replaced, one by one; once all were away it is there again."""
    world = RegistryWorld("")
    world.add("a", X)
    world.advance(4)
    world.add("b", X)
    world.advance(1)
    world.give("a", h.StopChildren(7, HUB, (X.id,), 10**6))
    for before, name in (("a", "c"), ("b", "d"), ("c", "e")):
        world.vanish(before)
        world.add(name, X, request=3)
        world.advance(4)
        assert opened(world, 3) is None and X.id not in world.shared
        world.outcomes.clear()
    world.vanish("d")
    world.vanish("e")
    world.add("f", X)
    world.advance(4)
    assert world.runs("x") == {"f": "RUNNING"} and born(world, "x") == 2


@pytest.mark.parametrize("restart", [rows.Restart.TRANSIENT, rows.Restart.TEMPORARY])
def test_what_is_done_is_not_done_again_by_whoever_comes_later(restart):
    done = child("x", msgspec.structs.replace(SPEC, restart=restart))
    world = RegistryWorld("")
    world.add("a", done)
    world.advance(4)
    world.give("a", c.ChildExited(world.copy("a", "x"), c.Ending.RETURNED))
    assert X.id not in world.shared
    world.add("b", done, request=1)
    world.advance(4)
    assert opened(world, 1) is None and born(world, "x") == 1


def test_what_was_given_up_does_not_keep_others_from_opening_the_hub():
    config = msgspec.structs.replace(RegistryWorld("a")._config, restarts_max=1)
    world = RegistryWorld("", config)
    world.add("a", X)
    world.advance(4)
    for _ in range(2):
        world.give("a", c.ChildExited(world.copy("a", "x"), c.Ending.RAISED, "again", "again"))
        world.advance(1)
    assert world.runs("x") == {"a": "FAILED"}
    world.add("b", X, request=1)
    world.advance(2)
    assert opened(world, 1) is None


def test_nonsense_of_a_peer_about_what_has_begun_is_nothing():
    world = RegistryWorld("a")
    world.hub("a").book.fold_begun(b"123", (site("b"), 1))
    world.add("c", X, request=1)
    world.advance(2)
    assert opened(world, 1) is None and START in SPEC.start


def test_what_is_seen_to_run_and_loses_its_row_before_that_is_heard_is_started_here():
    """Its last holder closed the hub: seed 13 of the hub profile said that it was done, and it was gone for good."""
    world = RegistryWorld("b")
    running = rows.encode(rows.Running(7, 1, rows.State.RUNNING))
    key = rows.running_key(encode_key("x"))
    world.owned[site("b")][key] = running
    world.add("a", child("x"), request=8)
    world.advance(1)
    world.vanish("b")
    world.advance(10)
    assert world.runs("x") == {"a": "RUNNING"}
