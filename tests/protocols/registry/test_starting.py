"""A batch accounts for each child once, by its deadline, and rolls back everywhere if it has to."""

from __future__ import annotations

import msgspec

from covey.core import children as c
from covey.core.errors import DeadlineExceeded, Overloaded
from covey.core.rows import Put
from covey.core.vocabulary import Abandon
from covey.protocols.registry import vocabulary as h
from covey.protocols.registry.config import RegistryConfig
from covey.protocols.registry.vocabulary import Trouble
from covey.wire.keys import decode_key, encode_key
from tests.protocols.registry.outcomes import started, told
from tests.protocols.registry.registry_world import HUB, SECOND_US, SPEC, RegistryWorld, child, site


def fail(world: RegistryWorld, name: str, id: object, error: str = "Boom") -> None:
    world.give(name, c.ChildExited(world.copy(name, id), c.Ending.RAISED, error))


def test_children_start_where_they_belong_and_the_outcome_says_where():
    world = RegistryWorld("abc")
    homes = {id: name for name in "abc" for id in world.home(name, 2)}
    outcome = world.start(*homes)
    assert (started(outcome), told(outcome)) == (homes, {})
    for name in "abc":
        effects = [effect for effect in world.take(name) if isinstance(effect, c.StartChild)]
        assert sorted(decode_key(effect.copy.id) for effect in effects) == sorted(
            id for id in homes if homes[id] == name
        )


def test_what_is_there_and_what_is_named_twice_is_told_with_its_host():
    world = RegistryWorld("ab")
    one, two = world.home("b", 2)
    world.start(one)
    outcome = world.start(one, two, two, request=2)
    assert (started(outcome), told(outcome)) == ({two: "b"}, {one: "EXISTS", two: "EXISTS"})
    assert outcome is not None and {error.site for error in outcome.errors} == {site("b")}
    unchecked = world.start(one, request=3, unchecked=True)
    assert told(unchecked) == {one: "EXISTS"}


def test_what_nobody_can_run_is_an_error_at_once_and_writes_nothing():
    world = RegistryWorld("ab")
    outcome = world.start(1, spec=msgspec.structs.replace(SPEC, start="app:other"))
    assert told(outcome) == {1: "NO_HOST"}
    assert world.shared == {}


def test_a_child_that_raises_elsewhere_is_told_by_its_host():
    world = RegistryWorld("ab")
    here, there = world.home("a") + world.home("b")
    world.auto.discard(c.StartChild)
    assert world.start(here, there) is None
    fail(world, "b", there, "no luck")
    world.give("a", c.ChildStarted(world.copy("a", here)))
    outcome = world.outcomes[1]
    assert (started(outcome), told(outcome)) == ({here: "a"}, {there: "RAISED"})
    assert outcome.errors[0] == h.ChildError(encode_key(there), site("b"), Trouble.RAISED, "no luck")


def test_a_child_that_is_done_at_once_has_started_all_the_same():
    world = RegistryWorld("ab")
    (there,) = world.home("b")
    world.auto.discard(c.StartChild)
    world.start(there)
    world.give("b", c.ChildExited(world.copy("b", there), c.Ending.RETURNED))
    assert (started(world.outcomes[1]), told(world.outcomes[1])) == ({there: "b"}, {})
    assert world.shared == {}


def test_at_the_deadline_who_did_not_answer_is_named_with_its_host():
    world = RegistryWorld("ab")
    here, there = world.home("a") + world.home("b")
    world.auto.discard(c.StartChild)
    world.start(here, there, timeout_us=SECOND_US)
    world.give("a", c.ChildStarted(world.copy("a", here)))
    world.advance(0.9)
    assert 1 not in world.outcomes
    world.advance(0.2)
    outcome = world.outcomes[1]
    assert (started(outcome), told(outcome)) == ({here: "a"}, {there: "NO_RESPONSE"})
    assert outcome.errors[0].site == site("b")
    world.give("b", c.ChildStarted(world.copy("b", there)))
    assert world.runs(there) == {"b": "RUNNING"}, "it goes on unheard"


def test_rollback_ends_all_of_a_batch_on_every_node_and_nothing_else():
    world = RegistryWorld("abc")
    (kept,) = world.home("a")
    world.start(kept)
    ids = [id for name in "abc" for id in world.home(name, 3) if id != kept]
    world.auto.discard(c.StartChild)
    world.start(*ids, request=2, rollback=True)
    for name in "abc":
        for effect in world.take(name):
            if isinstance(effect, c.StartChild) and decode_key(effect.copy.id) in ids[1:]:
                world.give(name, c.ChildStarted(effect.copy))
    fail(world, next(name for name in "abc" if ids[0] in world.home(name, 3)), ids[0])
    outcome = world.outcomes[2]
    assert outcome.rolled_back and told(outcome) == {ids[0]: "RAISED"} and set(started(outcome)) == set(ids[1:])
    assert [world.runs(id) for id in ids] == [{}] * len(ids)
    assert list(world.shared) == [encode_key(kept)]


def test_a_rollback_of_what_was_written_in_the_same_turn_is_done_at_once():
    world = RegistryWorld("ab")
    good = [child(id) for id in range(5)]
    bad = child("bad", msgspec.structs.replace(SPEC, start="app:other"))
    world.give("a", h.StartChildren(1, HUB, (*good, bad), 10 * SECOND_US, rollback=True))
    outcome = world.outcomes[1]
    assert outcome.rolled_back and told(outcome) == {"bad": "NO_HOST"} and not outcome.started
    assert world.shared == {}


def test_a_rollback_does_not_wait_for_children_that_are_done():
    world = RegistryWorld("ab")
    here, there = world.home("a") + world.home("b")
    world.auto.discard(c.StartChild)
    world.start(here, there, rollback=True)
    world.give("a", c.ChildExited(world.copy("a", here), c.Ending.RETURNED))
    fail(world, "b", there)
    assert world.outcomes[1].rolled_back and set(started(world.outcomes[1])) == {here}


def test_without_rollback_the_others_stay():
    world = RegistryWorld("ab")
    here, there = world.home("a") + world.home("b")
    world.auto.discard(c.StartChild)
    world.start(here, there)
    world.give("a", c.ChildStarted(world.copy("a", here)))
    fail(world, "b", there)
    assert not world.outcomes[1].rolled_back
    assert list(world.shared) == [encode_key(here)]


def test_an_abandoned_rollback_is_rolled_back_and_any_other_batch_goes_on():
    for rollback in (True, False):
        world = RegistryWorld("ab")
        ids = world.home("a") + world.home("b")
        world.auto.discard(c.StartChild)
        world.start(*ids, rollback=rollback)
        world.give("a", Abandon(1))
        world.advance(1)
        assert bool(world.shared) is not rollback
        assert 1 not in world.outcomes or rollback


def test_many_children_are_written_some_each_turn_and_all_by_the_end():
    world = RegistryWorld("a", RegistryConfig(births_max=3))
    outcome = world.start(*range(20))
    assert len(started(outcome)) == 20


def test_rows_that_do_not_fit_are_errors_of_their_children_and_nothing_else_is_lost():
    world = RegistryWorld("ab")
    old, new, none = world.home("b", 3)
    world.start(old)
    world.refuses = lambda change: Overloaded("no room") if change.key == encode_key(none) else None
    world.give("a", h.StartChildren(2, HUB, (child(none), child(new)), SECOND_US))
    assert (started(world.outcomes[2]), told(world.outcomes[2])) == ({new: "b"}, {none: "REFUSED"})
    assert world.outcomes[2].errors[0].reason == "no room"


def test_an_update_that_does_not_fit_is_refused_to_whoever_asked():
    world = RegistryWorld("ab")
    (there,) = world.home("b")
    world.start(there)
    world.refuses = lambda change: Overloaded("no room") if type(change) is Put else None
    world.give("a", h.UpdateChild(2, HUB, encode_key(there), b"\x80"))
    assert str(world.outcomes[2]) == "no room"
    world.refuses = lambda change: None
    world.give("a", h.UpdateChild(3, HUB, encode_key(there), b"\x80"))
    assert 3 not in world.outcomes


def test_a_child_that_somebody_stops_before_it_ran_is_gone():
    world = RegistryWorld("ab")
    (there,) = world.home("b")
    world.auto.discard(c.StartChild)
    world.start(there)
    world.give("b", h.StopChildren(2, HUB, (encode_key(there),), SECOND_US))
    world.advance(2)
    assert told(world.outcomes[1]) == {there: "GONE"}


def test_a_hub_that_closes_answers_what_was_asked_of_it():
    world = RegistryWorld("ab")
    (there,) = world.home("b")
    world.auto.discard(c.StartChild)
    world.start(there)
    world.give("a", h.CloseHub(5, HUB))
    assert isinstance(world.outcomes[1], DeadlineExceeded)
    assert world.outcomes[5] is None
