"""Of two copies one ends, by a rule equal at all, and never before the other side agrees."""

from __future__ import annotations

from typing import Any

from covey.core import children as c
from covey.core.rows import RowsChanged
from covey.core.vocabulary import MessagesReceived
from covey.protocols.registry import rows
from covey.protocols.registry import vocabulary as h
from covey.protocols.registry.config import RegistryConfig
from covey.wire.keys import encode_key
from covey.wire.messages.registry import Duplicate, HandedOver, Handover, Kept
from tests.protocols.registry.registry_world import HUB, RegistryWorld, site


def twice(**options: Any) -> tuple[RegistryWorld, int]:
    """A child that belongs to `b`, and runs on `a` as well, which held `b` for down for a moment."""
    world = RegistryWorld("ab", **options)
    (id,) = world.home("b")
    world.start(id)
    world.state[encode_key(id)] = b"\x91\x01"
    world.hide("b", by="a")
    assert world.runs(id) == {"a": "RUNNING", "b": "RUNNING"}
    for name in "ab":
        world.take(name)
    world.sent.clear()
    world.show("b", by="a")
    return world, id


def test_the_copy_where_it_belongs_stays_and_gets_what_the_other_left():
    world, id = twice()
    world.advance(0.4)
    assert world.sent == [], "two copies are looked at for a while first"
    world.advance(0.2)
    assert [type(message) for _, _, message in world.sent] == [Duplicate, Kept, Handover, HandedOver]
    ((effect),) = [effect for effect in world.take("a") if isinstance(effect, c.AskHandover)]
    assert (effect.target, effect.duplicate) == (site("b"), True)
    ended = [event for event in world.events[site("a")] if isinstance(event, h.CopyEnded)]
    assert [(event.why, event.winner) for event in ended] == [("duplicate", site("b"))]
    assert world.runs(id) == {"b": "RUNNING"}
    assert (world.hub("a").duplicates.ended, world.hub("b").duplicates.ended) == (1, 0)


def test_who_stays_gets_a_token_above_both():
    world, id = twice()
    before = max(running.epoch for running in world.hub("a").book.running(encode_key(id)).values())
    world.advance(1)
    ((_, running),) = world.hub("a").book.running(encode_key(id)).items()
    assert running.epoch >= before
    told = [effect.token for effect in world.take("b") if isinstance(effect, c.TellToken)]
    assert told == [running.epoch]


def test_nobody_ends_its_copy_while_the_other_side_does_not_agree():
    world, id = twice()
    world.delivers = lambda to, message: not isinstance(message, Kept)
    world.advance(10)
    assert world.runs(id) == {"a": "RUNNING", "b": "RUNNING"}
    assert len(world.passed(Duplicate)) >= 5, "it asks again and again"
    world.delivers = lambda to, message: True
    world.advance(2)
    assert world.runs(id) == {"b": "RUNNING"}


def test_who_agrees_falsely_or_too_late_is_not_believed():
    world, id = twice()
    world.delivers = lambda to, message: False
    world.advance(1)
    world.give("b", MessagesReceived(site("a"), (Kept(HUB, encode_key(id)),)))  # `b` is the one that stays
    assert world.runs(id) == {"a": "RUNNING", "b": "RUNNING"}
    world.vanish("b")
    world.give("a", MessagesReceived(site("b"), (Kept(HUB, encode_key(id)),)))  # it is not shown any more
    assert world.runs(id) == {"a": "RUNNING"}


def test_who_does_not_stay_does_not_say_that_it_does():
    world, id = twice()
    world.give("a", MessagesReceived(site("b"), (Duplicate(HUB, encode_key(id)),)))
    world.give("a", MessagesReceived(site("b"), (Duplicate(HUB, encode_key("nobody")),)))
    assert world.passed(Kept) == []


def test_two_states_are_made_one_where_the_user_can():
    world, id = twice(resolves=True)
    world.state[encode_key(id)] = b"\x91\x01"
    world.advance(1)
    effects = [type(effect) for effect in world.take("b") if not isinstance(effect, c.TellToken)]
    assert effects == [c.AskHandover, c.AskResolver, c.StartChild]
    assert world.runs(id) == {"b": "RUNNING"}


def test_a_moment_of_two_copies_is_no_duplicate():
    world, id = twice()
    world.advance(0.3)
    key = rows.running_key(encode_key(id))
    world.give("a", RowsChanged(HUB, site("b"), 1, ((key, None),)))
    world.advance(5)
    assert world.passed(Duplicate) == []
    assert "a" in world.runs(id)


def given_up(*names: str) -> tuple[RegistryWorld, int]:
    """A child that belongs to `b`, runs on `a` as well, and was given up by some of them."""
    world = RegistryWorld("ab", RegistryConfig(restarts_max=0))
    (id,) = world.home("b")
    world.start(id)
    world.hide("b", by="a")
    for name in names:
        world.give(name, c.ChildExited(world.copy(name, id), c.Ending.RAISED, "ValueError: no"))
    return world, id


def test_a_copy_that_was_given_up_makes_room_for_one_that_runs():
    world, id = given_up("b")
    assert world.runs(id) == {"a": "RUNNING"}
    world.show("b", by="a")
    world.advance(5)
    assert world.runs(id) == {"b": "RUNNING"}, "and it moves where it belongs"


def test_of_two_copies_that_were_given_up_the_one_where_it_belongs_is_shown():
    world, id = given_up("a", "b")
    assert world.runs(id) == {"a": "FAILED", "b": "FAILED"}
    world.show("b", by="a")
    world.advance(5)
    assert world.runs(id) == {"b": "FAILED"}
