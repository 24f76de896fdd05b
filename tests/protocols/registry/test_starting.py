"""A batch accounts for each child once, by its deadline, and rolls back everywhere if it has to."""

from __future__ import annotations

from typing import Any

import msgspec

from covey.core import children as c
from covey.core.errors import DeadlineExceeded, Overloaded, PeerUnreachable
from covey.core.rows import Put
from covey.core.vocabulary import Abandon, MessagesReceived
from covey.protocols.registry import vocabulary as h
from covey.protocols.registry.config import RegistryConfig
from covey.protocols.registry.vocabulary import Trouble
from covey.wire.keys import decode_key, encode_key
from covey.wire.messages import registry as wire
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


def stop(world: RegistryWorld, id: Any, by: str = "a", request: int = 2, seconds: int = 10) -> None:
    world.give(by, h.StopChildren(request, HUB, (encode_key(id),), seconds * SECOND_US))


def test_a_start_is_answered_by_the_copy_of_its_own_birth_and_a_stop_by_the_end_of_those_it_stopped():
    world = RegistryWorld("ab")
    for node in "ab":
        (id,) = world.home(node)
        world.start(id, by="a", request=1)
        old = world.copy(node, id)
        world.auto -= {c.StopChild, c.StartChild}
        stop(world, id)
        world.start(id, request=3)
        world.advance(1)
        assert not {2, 3} & world.outcomes.keys(), "the old copy has not ended"
        world.give(node, c.ChildExited(old, c.Ending.STOPPED))
        assert world.outcomes.pop(2).errors == () and 3 not in world.outcomes
        assert world.copy(node, id) != old
        fail(world, node, id, "no luck")
        assert told(world.outcomes.pop(3)) == {id: "RAISED"} and not world.shared
        world.auto |= {c.StopChild, c.StartChild}


def test_a_start_behind_a_copy_that_does_not_end_says_so():
    world = RegistryWorld("ab")
    (there,) = world.home("b")
    world.start(there)
    world.auto -= {c.StopChild}
    stop(world, there, seconds=1)
    world.start(there, request=3, timeout_us=SECOND_US)
    world.give("b", c.ChildStuck(world.copy("b", there)))
    assert world.call(there, request=4, timeout_us=SECOND_US) is None
    world.advance(2)
    assert (told(world.outcomes[2]), told(world.outcomes[3])) == ({there: "NO_RESPONSE"}, {there: "NO_RESPONSE"})
    (error,) = world.outcomes[3].errors
    assert error.site == site("b") and "stopped has not ended" in error.reason
    assert isinstance(world.outcomes[4], PeerUnreachable), "it waited for the new one"


def test_what_the_host_says_of_a_child_that_was_stopped_is_not_of_the_one_started_after_it():
    world = RegistryWorld("ab")
    (there,) = world.home("b")
    world.auto.discard(c.StartChild)
    world.start(there)
    child = world.hub("a").book.children[encode_key(there)]
    stop(world, there, request=2)
    world.start(there, request=3)
    late = wire.Ended(HUB, encode_key(there), 1, child.epoch, "it failed", child.begun[0])
    world.give("a", MessagesReceived(site("b"), (late,)))
    world.give("b", c.ChildStarted(world.copy("b", there)))
    assert started(world.outcomes[3]) == {there: "b"}


def test_a_rollback_takes_back_only_what_its_own_batch_started():
    for first, second in ("ab", "ba"):
        world = RegistryWorld("ab")
        ids = world.home("a", 2) + world.home("b", 2)
        (bad,) = [id for id in world.home("a", 3) if id not in ids]
        world.auto.discard(c.StartChild)
        batches = {
            first: h.StartChildren(1, HUB, tuple(child(id) for id in ids), 10 * SECOND_US),
            second: h.StartChildren(2, HUB, tuple(child(id) for id in (*ids, bad)), 10 * SECOND_US, rollback=True),
        }
        world.together(*((site(name), command) for name, command in batches.items()))
        for name in "ab":
            for effect in world.take(name):
                if isinstance(effect, c.StartChild) and decode_key(effect.copy.id) != bad:
                    world.give(name, c.ChildStarted(effect.copy))
        fail(world, "a", bad)
        world.auto.add(c.StartChild)
        world.advance(1)
        assert set(started(world.outcomes[1])) == set(ids)
        assert world.outcomes[2].rolled_back and not world.outcomes[2].started
        assert told(world.outcomes[2]) == {bad: "RAISED"} | dict.fromkeys(ids, "EXISTS")
        assert [list(world.runs(id).values()) for id in (*ids, bad)] == [["RUNNING"]] * 4 + [[]]
        assert all(len(row.births) == 1 for row in world.shared.values())


def test_of_two_batches_that_both_are_taken_back_nothing_is_left():
    world = RegistryWorld("ab")
    ids = world.home("a") + world.home("b")
    world.auto.discard(c.StartChild)
    both = [h.StartChildren(at, HUB, tuple(child(id) for id in ids), 10 * SECOND_US, rollback=True) for at in (1, 2)]
    world.together((site("a"), both[0]), (site("b"), both[1]))
    for name, request in (("a", 1), ("b", 2)):
        world.give(name, Abandon(request))
    world.advance(2)
    assert world.shared == {}
    assert [world.runs(id) for id in ids] == [{}, {}]


def test_batches_of_one_node_do_not_start_one_child_twice():
    world = RegistryWorld("a", RegistryConfig(births_max=2))
    long, short = [
        h.StartChildren(at, HUB, tuple(child(id) for id in ids), SECOND_US) for at, ids in ((1, range(9)), (2, [8]))
    ]
    world.together((site("a"), long), (site("a"), short))
    assert len(world.born) == 9
    assert [*told(world.outcomes[1]), *told(world.outcomes[2])] == [8]


def test_what_was_stopped_elsewhere_a_moment_ago_is_started_though_it_is_shown_yet():
    world = RegistryWorld("abc")
    for runs in "ab":
        (id,) = world.home(runs)
        world.start(id)
        world.late("a" if runs == "b" else "")
        stop(world, id, by="c")
        assert world.outcomes.pop(2).errors == ()
        if runs == "b":
            assert encode_key(id) in world.hub("a").book.children, "it is shown yet"
        world.start(id, request=3)
        world.caught_up()
        world.advance(0.1)
        assert started(world.outcomes.pop(3)) == {id: runs}
        assert world.runs(id) == {runs: "RUNNING"}
        assert len(world.hub("c").book.children[encode_key(id)].births) == 1


def test_what_is_there_is_there_also_where_its_host_does_not_answer():
    world = RegistryWorld("ab")
    (there,) = world.home("b")
    world.start(there)
    world.delivers = lambda to, message: False
    world.start(there, request=2)
    world.advance(1.1)
    assert told(world.outcomes[2]) == {there: "EXISTS"}
    world.start(there, request=3, timeout_us=SECOND_US // 2)
    world.advance(0.6)
    assert told(world.outcomes[3]) == {there: "EXISTS"}


def test_a_stop_waits_for_what_is_not_shown_to_run_yet():
    world = RegistryWorld("ab")
    for node in "ab":
        (id,) = world.home(node)
        world.auto.discard(c.StartChild)
        world.auto.discard(c.StopChild)
        world.start(id, request=1)
        assert world.runs(id) == {}
        stop(world, id)
        copy = world.copy(node, id)
        world.advance(1)
        assert 2 not in world.outcomes
        world.give(node, c.ChildExited(copy, c.Ending.STOPPED))
        world.advance(1)
        assert world.outcomes.pop(2).errors == ()


def test_where_all_have_weight_0_the_error_says_so():
    world = RegistryWorld("ab", weight=0)
    outcome = world.start("x")
    assert told(outcome) == {"x": "NO_HOST"}
    assert outcome is not None and "weight 0" in outcome.errors[0].reason
