"""A host starts, feeds, restarts and ends its children, and its rows say of each how it is."""

from __future__ import annotations

import msgspec
import pytest

from covey.core import children as c
from covey.core.claims import ClaimWon, Elect, LeaseEnded, Relinquish, Seek
from covey.protocols.registry import rows
from covey.protocols.registry import vocabulary as h
from covey.protocols.registry.config import RegistryConfig
from covey.protocols.registry.rows import Restart
from covey.wire.keys import encode_key
from tests.protocols.registry.registry_world import HUB, SECOND_US, SPEC, START, RegistryWorld, site

X = encode_key("x")


def spec(**changes: object) -> rows.Spec:
    return msgspec.structs.replace(SPEC, **changes)


def exits(world: RegistryWorld, ending: c.Ending = c.Ending.RAISED, error: str = "Boom") -> None:
    world.give("a", c.ChildExited(world.copy("a", "x"), ending, error, f"trace of {error}" if error else ""))


def test_a_first_start_is_one_effect_under_the_epoch_of_its_birth_and_then_a_row():
    world = RegistryWorld()
    world.auto.clear()
    world.start("x")
    epoch = world.hub("a").book.children[X].epoch
    copy = world.copy("a", "x")
    assert world.take("a") == [c.StartChild(copy, START, SPEC.arguments, epoch, None)]
    assert world.runs("x") == {}
    world.give("a", c.ChildStarted(copy))
    ((_, running),) = world.hub("a").book.running(X).items()
    names = world.hub("a").hosting.hosted[X].mailbox.names
    assert running == rows.Running(epoch, copy.number, rows.State.RUNNING, "", names, epoch)
    assert len(world.outcomes[1].started) == 1


def test_who_takes_its_time_to_start_is_shown_as_starting():
    world = RegistryWorld()
    world.auto.clear()
    world.start("x")
    world.advance(0.04)
    assert world.runs("x") == {}
    world.advance(0.02)
    assert world.runs("x") == {"a": "STARTING"}


def test_a_copy_gets_a_letter_when_it_wants_one_and_one_at_a_time():
    world = RegistryWorld()
    world.auto = {c.StartChild}
    world.start("x")
    copy = world.copy("a", "x")
    world.take("a")
    for request in (10, 11):
        world.call("x", request=request)
    assert world.take("a") == [c.DeliverToChild(copy, 1, site("a"), b"\x01")]
    world.give("a", c.ChildReceives(copy))
    assert world.take("a") == [c.DeliverToChild(copy, 2, site("a"), b"\x01")]
    world.give("a", c.ChildReplied(copy, 2, True, b"\x02"))
    world.give("a", c.ChildReplied(copy, 1, False, b"\x03"))
    world.give("a", c.ChildReplied(copy, 1, False, b"\x04"))
    assert (world.outcomes[10], world.outcomes[11]) == (h.Answer(False, b"\x03"), h.Answer(True, b"\x02"))


def test_a_copy_that_is_over_means_nothing():
    world = RegistryWorld()
    world.start("x")
    old = world.copy("a", "x")
    exits(world)
    world.take("a")
    for fact in (c.ChildReceives(old), c.ChildReplied(old, 1, False, b""), c.ChildExited(old, c.Ending.RETURNED)):
        world.give("a", fact)
    assert world.take("a") == [] and world.runs("x") == {"a": "RUNNING"}


@pytest.mark.parametrize(
    "restart, ending, again",
    [
        (Restart.PERMANENT, c.Ending.RETURNED, True),
        (Restart.PERMANENT, c.Ending.RAISED, True),
        (Restart.TRANSIENT, c.Ending.RETURNED, False),
        (Restart.TRANSIENT, c.Ending.RAISED, True),
        (Restart.TEMPORARY, c.Ending.RETURNED, False),
        (Restart.TEMPORARY, c.Ending.RAISED, False),
    ],
)
def test_its_policy_says_whether_it_is_started_again(restart, ending, again):
    world = RegistryWorld()
    world.start("x", spec=spec(restart=restart))
    first = world.copy("a", "x")
    world.take("a")
    exits(world, ending)
    if again:
        second = world.copy("a", "x")
        assert second.number > first.number
        assert [effect.copy for effect in world.take("a")] == [second]
        assert world.runs("x") == {"a": "RUNNING"}
    else:
        assert world.take("a") == []
        assert (world.runs("x"), world.shared) == ({}, {})
    assert ("trace of Boom" in str(world.hub("a").book.running(X))) is again


def test_it_is_started_at_once_the_first_time_and_then_after_pauses_that_double():
    config = RegistryConfig(backoff_us_min=100_000, backoff_us_max=300_000)
    world = RegistryWorld("a", config)
    world.start("x")
    pauses = []
    for _ in range(5):
        failed_us = world.now_us
        exits(world)
        number = world.hub("a").statistics()["started"]
        while "a" not in world.runs("x") or world.hub("a").hosting.hosted[X].phase.name != "RUNNING":
            world.advance(0.01)
        pauses.append(round((world.now_us - failed_us) / 1e6, 1))
        assert world.hub("a").statistics()["started"] >= number
    assert pauses == [0.0, 0.1, 0.2, 0.3, 0.3]


def test_what_a_node_refuses_to_start_is_not_tried_again_and_said():
    """A peer names what this node does not have, or it was placed before the node said what it has."""
    world = RegistryWorld("ab")
    (there,) = world.home("b")
    world.start(there)
    world.auto.discard(c.StartChild)
    world.vanish("b")
    world.call(there)
    world.give("a", c.ChildExited(world.copy("a", there), c.Ending.REFUSED, "not allowed here"))
    assert world.runs(there) == {"a": "FAILED"}
    (event,) = [event for event in world.events[site("a")] if isinstance(event, h.CopyEnded)]
    assert (event.why, event.error) == ("refused", "not allowed here")
    assert world.hub("a").hosting.counts["restarted"] == 0


def test_a_first_start_that_is_refused_is_told_to_whoever_wanted_it_and_said():
    world = RegistryWorld()
    world.auto.clear()
    world.start("x")
    exits(world, c.Ending.REFUSED, "not allowed here")
    (error,) = world.outcomes[1].errors
    assert error.reason == "not allowed here"
    assert [event.why for event in world.events[site("a")] if isinstance(event, h.CopyEnded)] == ["refused"]
    assert world.shared == {}


def test_who_fails_too_often_is_given_up_once_shown_as_failed_and_no_host_for_letters():
    world = RegistryWorld("a", RegistryConfig(restarts_max=2))
    world.start("x")
    for _ in range(3):
        exits(world)
        world.advance(1)
    assert world.runs("x") == {"a": "FAILED"}
    (event,) = [event for event in world.events[site("a")] if isinstance(event, h.CopyEnded)]
    assert (event.why, event.error) == ("gave up", "trace of Boom")
    world.advance(120)
    assert world.runs("x") == {"a": "FAILED"}
    world.give("a", h.StopChildren(2, HUB, (X,), SECOND_US))
    assert world.outcomes[2].stopped == ((X, (site("a"),)),) and world.runs("x") == {}


def test_a_failure_long_ago_does_not_count():
    world = RegistryWorld("a", RegistryConfig(restarts_max=2, restarts_us=10 * SECOND_US))
    world.start("x")
    for _ in range(6):
        exits(world)
        world.advance(6)
    assert world.runs("x") == {"a": "RUNNING"}


def test_what_fails_as_it_is_started_first_was_never_a_child():
    world = RegistryWorld()
    world.auto.clear()
    world.start("x")
    exits(world, error="no luck")
    (error,) = world.outcomes[1].errors
    assert (error.trouble, error.reason) == (h.Trouble.RAISED, "no luck")
    assert (world.shared, world.runs("x")) == ({}, {})


def test_a_child_that_is_stopped_is_told_once_and_its_row_goes_when_it_has_ended():
    world = RegistryWorld()
    world.auto = {c.StartChild}
    world.start("x")
    copy, wanted = world.copy("a", "x"), world.hub("a").book.children[X]
    world.take("a")
    world.give("a", h.StopChildren(2, HUB, (X,), 10 * SECOND_US))
    assert world.take("a") == [c.StopChild(copy, SPEC.shutdown_us)]
    assert world.runs("x") == {"a": "RUNNING"} and 2 not in world.outcomes
    world.give("a", c.ChildStuck(copy))
    assert world.runs("x") == {"a": "STUCK"} and world.hub("a").statistics()["stuck_now"] == 1
    why = world.hub("a").why(wanted, lambda site: "a")
    assert why[-1] == "a: it was told to end, and does not: end that process if it never does"
    world.give("a", c.ChildExited(copy, c.Ending.STOPPED))
    assert world.runs("x") == {}
    assert world.outcomes[2] == h.StopOutcome(((X, (site("a"),)),), ())
    assert world.take("a") == []


def test_who_is_started_again_while_it_ends_runs_anew_after_that():
    world = RegistryWorld()
    world.auto = {c.StartChild}
    world.start("x")
    old = world.copy("a", "x")
    world.give("a", h.StopChildren(2, HUB, (X,), 10 * SECOND_US))
    world.take("a")
    world.start("x", request=3)
    assert world.take("a") == [], "one copy at a time"
    world.give("a", c.ChildExited(old, c.Ending.STOPPED))
    assert [type(effect) for effect in world.take("a")] == [c.StartChild]
    assert world.copy("a", "x").number > old.number
    assert len(world.outcomes[3].started) == 1


def test_who_has_nothing_to_do_for_long_enough_ends_and_is_no_child_any_more():
    world = RegistryWorld()
    world.start("x", spec=spec(idle_us=2 * SECOND_US))
    world.advance(1.5)
    world.call("x")
    world.advance(1.5)
    assert world.runs("x") == {"a": "RUNNING"}
    world.advance(1)
    assert (world.runs("x"), world.shared) == ({}, {})


def test_a_token_is_raised_with_each_host_and_a_row_that_lies_below_is_raised_again():
    world = RegistryWorld("ab")
    (id,) = world.home("b")
    world.start(id)
    key = encode_key(id)
    first = world.hub("a").book.children[key].epoch
    world.vanish("b")
    ((_, running),) = world.hub("a").book.running(key).items()
    assert running.epoch > first
    assert world.hub("a").book.children[key].epoch == running.epoch


def test_each_copy_that_is_started_again_has_a_higher_token_than_the_one_before():
    world = RegistryWorld()
    world.auto = {c.StartChild}
    world.start("x")
    for _ in range(4):
        exits(world)
        world.advance(1)
    tokens = [effect.token for effect in world.take("a") if isinstance(effect, c.StartChild)]
    assert len(tokens) == 5 and tokens == sorted(set(tokens))
    ((_, running),) = world.hub("a").book.running(X).items()
    assert running.epoch == world.hub("a").book.children[X].epoch == tokens[-1]


# --- with claims ----------------------------------------------------------------------------------------------------


def fenced() -> RegistryWorld:
    return RegistryWorld(voters=("v", "w", "x"))


def test_with_a_majority_nothing_starts_before_its_claim_is_won_nor_is_served_without_its_lease():
    world = fenced()
    world.auto = {c.StartChild}
    elect, *_ = world.take("a")
    assert isinstance(elect, Elect)
    assert (elect.instance, elect.voters) == (HUB, ("v", "w", "x"))
    world.start("x")
    (seek,) = world.take("a")
    assert isinstance(seek, Seek)
    assert seek.id == (HUB, X)
    world.give("a", ClaimWon((HUB, X), 77))
    (started,) = world.take("a")
    assert (type(started), started.token) == (c.StartChild, 77)
    assert world.call("x") is None
    assert world.take("a") == [], "it has no lease"
    world.claims[site("a")].leases[HUB, X] = world.now_us + SECOND_US
    world.give("a", c.ChildReceives(world.copy("a", "x")))
    assert [type(effect) for effect in world.take("a")] == [c.DeliverToChild]


def test_with_a_majority_an_answer_after_the_lease_is_none():
    world = fenced()
    world.auto = {c.StartChild}
    world.start("x")
    world.give("a", ClaimWon((HUB, X), 77))
    world.claims[site("a")].leases[HUB, X] = world.now_us + SECOND_US
    world.call("x")
    world.advance(1.5)
    world.give("a", c.ChildReplied(world.copy("a", "x"), 1, False, b"\x01"))
    assert "may have run" in str(world.outcomes[9])


def test_who_loses_its_lease_is_fenced_within_the_grace_that_is_left_and_reported():
    world = fenced()
    world.auto = {c.StartChild}
    world.start("x")
    world.give("a", ClaimWon((HUB, X), 77))
    copy = world.copy("a", "x")
    world.take("a")
    world.advance(2)
    world.give("a", LeaseEnded((HUB, X), 77, world.now_us - 300_000))
    assert world.take("a") == [c.StopChild(copy, 250_000, True)], "half of it to end, half to be cancelled"
    (event,) = [event for event in world.events[site("a")] if isinstance(event, h.CopyEnded)]
    assert (event.why, event.epoch) == ("fenced", 77)
    world.give("a", c.ChildExited(copy, c.Ending.STOPPED))
    relinquished, seek = world.take("a")
    assert relinquished == Relinquish((HUB, X))
    assert isinstance(seek, Seek)


def test_a_claim_for_what_is_not_wanted_any_more_is_given_back():
    world = fenced()
    world.start("x")
    world.give("a", h.StopChildren(2, HUB, (X,), SECOND_US))
    world.take("a")
    world.give("a", ClaimWon((HUB, X), 77))
    assert world.take("a") == [Relinquish((HUB, X))]


def test_who_is_started_again_claims_anew_and_is_shown_as_starting_until_that_is_won():
    """The lease of the copy before counts for that one: its token ends with it."""
    world = fenced()
    world.auto = {c.StartChild}
    world.start("x")
    world.give("a", ClaimWon((HUB, X), 77))
    world.claims[site("a")].leases[HUB, X] = world.now_us + SECOND_US
    world.take("a")
    exits(world)
    given_back, seek = world.take("a")
    assert given_back == Relinquish((HUB, X))
    assert isinstance(seek, Seek) and seek.epoch > 77
    assert world.runs("x") == {"a": "STARTING"}
    world.give("a", ClaimWon((HUB, X), seek.epoch + 1))
    (started,) = world.take("a")
    assert (type(started), started.token) == (c.StartChild, seek.epoch + 1)
    assert world.runs("x") == {"a": "RUNNING"}
