"""A child that moves ends here before it runs there, with its state and its letters, or stays."""

from __future__ import annotations

import pytest

from covey.core import children as c
from covey.protocols.registry import vocabulary as h
from covey.protocols.registry.config import RegistryConfig
from covey.wire.keys import encode_key
from covey.wire.messages.registry import ChildAnswer, HandedOver, Handover, HandoverPart, Prepare, Prepared
from tests.protocols.registry.registry_world import HUB, SECOND_US, START, RegistryWorld, site

ANSWER = h.Answer(False, b"\x01")


def alone(config: RegistryConfig | None = None, count: int = 1) -> tuple[RegistryWorld, list[int]]:
    """Children that run on `a`, and belong to `b` once that is there."""
    both = RegistryWorld("ab", config)
    ids = both.home("b", count)
    world = RegistryWorld("a", config)
    world.start(*ids)
    world.take("a")
    return world, ids


def kinds(effects: list[object]) -> list[type]:
    return [type(effect) for effect in effects]


def test_it_is_built_there_ended_here_and_run_there_in_this_order():
    world, (id,) = alone()
    world.state[encode_key(id)] = b"\x91\x01"
    order: list[tuple[str, type]] = []
    carry_out = world._carry_out

    def watching(me: object, effect: object) -> None:
        if isinstance(effect, (c.PrepareChild, c.AskHandover, c.StartChild)):
            order.append((bytes(me)[:1].decode(), type(effect)))  # type: ignore[call-overload]
        carry_out(me, effect)  # type: ignore[arg-type]

    world._carry_out = watching  # type: ignore[method-assign]
    world.add("b")
    world.advance(1.9)
    assert order == [], "the view is not stable yet"
    world.advance(1)
    assert order == [("b", c.PrepareChild), ("a", c.AskHandover), ("b", c.StartChild)]
    assert [type(message) for _, _, message in world.sent] == [Prepare, Prepared, Handover, HandedOver]
    (start,) = [effect for effect in world.take("b") if isinstance(effect, c.StartChild)]
    assert start.handed_over == b"\x91\x01"
    assert start.copy == world.copy("b", id), "the copy that was built is the one that runs"
    assert world.runs(id) == {"b": "RUNNING"}
    assert (world.hub("a").statistics()["moved"], world.hub("b").statistics()["arrived"]) == (1, 1)


def test_its_token_grows_with_the_move():
    world, (id,) = alone()
    before = world.hub("a").book.children[encode_key(id)].epoch
    world.add("b")
    world.advance(3)
    ((_, running),) = world.hub("a").book.running(encode_key(id)).items()
    assert running.epoch > before


def test_letters_that_it_had_not_taken_go_with_it_and_answers_are_not_given_twice():
    world, (id,) = alone()
    world.auto.discard(c.DeliverToChild)
    for request in (10, 11, 12):
        world.call(id, request=request)
    world.auto.add(c.DeliverToChild)
    (delivered,) = [effect for effect in world.take("a") if isinstance(effect, c.DeliverToChild)]
    world.auto.discard(c.AskHandover)
    world.add("b")
    world.advance(3)
    world.give("a", c.ChildReplied(delivered.copy, delivered.call, False, b"\x01"))
    world.give("a", c.ChildExited(delivered.copy, c.Ending.RETURNED))
    assert [world.outcomes[request] for request in (10, 11, 12)] == [ANSWER] * 3
    assert kinds(world.take("b")).count(c.DeliverToChild) == 2


def test_a_call_while_it_moves_waits_and_is_answered_there():
    world, (id,) = alone()
    world.auto.discard(c.AskHandover)
    world.add("b")
    world.advance(3)
    assert world.call(id) is None
    assert world.call(id, request=10, by="b") is None
    world.give("a", c.ChildExited(world.copy("a", id), c.Ending.RETURNED))
    world.advance(2)
    assert (world.outcomes[9], world.outcomes[10]) == (ANSWER, ANSWER)


@pytest.mark.parametrize("kind", [Prepare, Prepared])
def test_what_is_not_built_in_time_stays_and_is_tried_again_later(kind):
    config = RegistryConfig(prepare_us=4_000_000)
    world, (id,) = alone(config)
    world.delivers = lambda to, message: not isinstance(message, kind)
    world.add("b")
    world.advance(7)
    assert world.runs(id) == {"a": "RUNNING"}
    (event,) = [event for event in world.events[site("a")] if isinstance(event, h.MoveFailed)]
    assert (event.target, event.error) == (site("b"), "it was not built there in time")
    assert c.AskHandover not in kinds(world.take("a"))
    world.delivers = lambda to, message: True
    world.advance(20)
    assert world.runs(id) == {"b": "RUNNING"}


def test_what_cannot_be_built_there_stays_and_is_not_tried_again_at_once():
    world, (id,) = alone()
    world.auto.discard(c.PrepareChild)
    world.add("b")
    world.advance(3)
    (prepare,) = world.take("b")
    world.give("b", c.ChildExited(prepare.copy, c.Ending.RAISED, "no device"))
    (event,) = [event for event in world.events[site("a")] if isinstance(event, h.MoveFailed)]
    assert event.error == "no device"
    world.give("a", h.UpdateChild(0, HUB, encode_key(id), b"\x80"))
    world.advance(9)
    assert world.passed(Prepare) == [("a", "b")]
    world.advance(2)
    assert world.passed(Prepare) == [("a", "b")] * 2


def test_what_fails_as_it_is_run_there_runs_here_again_with_what_it_left_and_stays_for_a_while():
    world, (id,) = alone()
    world.state[encode_key(id)] = b"\x91\x01"
    world.add("b")
    world.auto.discard(c.StartChild)
    world.advance(2.5)
    (start,) = [effect for effect in world.take("b") if isinstance(effect, c.StartChild)]
    assert world.runs(id) == {"a": "MOVING", "b": "STARTING"}
    world.take("a")
    world.auto.add(c.StartChild)
    world.give("b", c.ChildExited(start.copy, c.Ending.RAISED, "no luck", "no luck"))
    (again,) = world.take("a")
    assert (type(again), again.handed_over) == (c.StartChild, b"\x91\x01")
    assert world.runs(id) == {"a": "RUNNING"}
    world.advance(9)
    assert world.passed(Handover) == [("a", "b")]
    world.advance(3)
    assert world.runs(id) == {"b": "RUNNING"}


@pytest.mark.parametrize("lost", [Handover, HandedOver])
def test_what_is_lost_on_the_way_is_said_again_and_runs_once(lost):
    world, (id,) = alone()
    world.state[encode_key(id)] = b"\x91\x01"
    world.delivers = lambda to, message: not isinstance(message, lost)
    world.add("b")
    world.advance(5)
    assert len(world.passed(lost)) >= 2
    world.delivers = lambda to, message: True
    world.advance(3)
    assert world.runs(id) == {"b": "RUNNING"}
    assert kinds(world.take("b")).count(c.StartChild) == 1
    assert c.StartChild not in kinds(world.take("a"))


def test_without_all_of_its_letters_it_does_not_run_there():
    world, (id,) = alone()
    world.auto -= {c.DeliverToChild, c.AskHandover}
    for request in (10, 11):
        world.call(id, request=request)
    world.delivers = lambda to, message: not isinstance(message, HandoverPart)
    world.add("b")
    world.advance(3)
    world.auto |= {c.DeliverToChild}
    world.give("a", c.ChildExited(world.copy("a", id), c.Ending.RETURNED))
    assert c.StartChild not in kinds(world.take("b"))
    world.delivers = lambda to, message: True
    world.advance(1.1)
    assert world.outcomes[11] == ANSWER


def test_when_the_new_host_goes_before_it_says_that_it_runs_the_state_is_not_lost():
    world, (id,) = alone()
    world.state[encode_key(id)] = b"\x91\x01"
    world.auto.discard(c.StartChild)
    world.add("b")
    world.advance(3)
    assert world.runs(id) == {"a": "MOVING", "b": "STARTING"}
    world.take("a")
    world.vanish("b")
    (again,) = world.take("a")
    assert (type(again), again.handed_over) == (c.StartChild, b"\x91\x01")


def test_when_the_old_host_goes_the_new_one_goes_on_alone():
    world, (id,) = alone()
    world.state[encode_key(id)] = b"\x91\x01"
    world.auto.discard(c.StartChild)
    world.add("b")
    world.advance(3)
    (start,) = [effect for effect in world.take("b") if isinstance(effect, c.StartChild)]
    world.machines[site("a")], gone = world.machines[site("a")], world.machines[site("a")]
    del world.machines[site("a")]
    world.give("b", c.ChildStarted(start.copy))
    world.machines[site("a")] = gone
    world.owned[site("a")].pop(b"r" + encode_key(id))
    assert world.runs(id) == {"b": "RUNNING"}


def test_a_state_that_is_too_large_stays():
    world, (id,) = alone(RegistryConfig(state_bytes_max=10))
    world.state[encode_key(id)] = bytes(11)
    world.add("b")
    world.advance(4)
    assert world.runs(id) == {"a": "RUNNING"}
    (event,) = [event for event in world.events[site("a")] if isinstance(event, h.MoveFailed)]
    assert "11 bytes" in event.error
    (again,) = [effect for effect in world.take("a") if isinstance(effect, c.StartChild)]
    assert again.handed_over == bytes(11)


def test_so_many_move_at_a_time():
    world, ids = alone(RegistryConfig(moves_max=2), 5)
    world.auto.discard(c.PrepareChild)
    world.add("b")
    world.advance(3)
    assert len(world.passed(Prepare)) == 2
    world.auto.add(c.PrepareChild)
    for effect in world.take("b"):
        world.give("b", c.ChildPrepared(effect.copy))
    assert [world.runs(id) for id in ids] == [{"b": "RUNNING"}] * 5


def test_a_hub_that_closes_hands_over_at_once_and_is_over_when_nothing_runs_here():
    world = RegistryWorld("ab")
    ids = world.home("a", 3)
    world.start(*ids)
    world.auto.discard(c.AskHandover)
    world.give("a", h.CloseHub(5, HUB))
    asked = [effect for effect in world.take("a") if isinstance(effect, c.AskHandover)]
    assert len(asked) == 3 and 5 not in world.outcomes
    for effect in asked:
        world.give("a", c.ChildExited(effect.copy, c.Ending.RETURNED))
    assert world.outcomes[5] is None
    assert HUB not in world.machines[site("a")].hubs
    assert [world.runs(id) for id in ids] == [{"b": "RUNNING"}] * 3


def test_a_hub_that_closes_with_nobody_left_ends_its_children():
    world = RegistryWorld("a")
    world.start(1, 2)
    world.take("a")
    world.give("a", h.CloseHub(5, HUB))
    assert kinds(world.take("a")) == [c.StopChild, c.StopChild]
    assert world.outcomes[5] is None and world.runs(1) == {}


def test_who_cannot_run_it_is_asked_for_nothing():
    world, (id,) = alone()
    world.add("b", starts=("app:other",))
    world.advance(20)
    assert world.passed(Prepare) == [] and world.runs(id) == {"a": "RUNNING"}
    assert START not in world.hub("b").ground.options.starts


def test_a_hub_that_closes_with_more_children_than_are_looked_at_in_a_turn_ends_none_that_can_move():
    world = RegistryWorld("ab", RegistryConfig(looks_max=2))
    ids = world.home("a", 9)
    world.start(*ids)
    world.advance(3)
    world.take("a")
    world.give("a", h.CloseHub(5, HUB))
    assert kinds(world.take("a")) == [c.AskHandover] * 9
    assert [world.runs(id) for id in ids] == [{"b": "RUNNING"}] * 9
    assert world.outcomes[5] is None


def test_an_answer_that_was_lost_before_a_move_is_given_again_after_it():
    among = set(RegistryWorld("ac").home("a", 50)) & set(RegistryWorld("abc").home("b", 50))
    id = min(among)
    world = RegistryWorld("ac")
    world.start(id)
    world.delivers = lambda to, message: not isinstance(message, ChildAnswer)
    world.call(id, by="c", timeout_us=30 * SECOND_US)
    for name in "ac":
        world.take(name)
    world.add("b")
    world.advance(3)
    assert world.runs(id) == {"b": "RUNNING"}
    world.delivers = lambda to, message: True
    world.advance(3)
    assert world.outcomes[9] == ANSWER
    assert not [effect for name in "abc" for effect in world.take(name) if isinstance(effect, c.DeliverToChild)]
