"""Shown everywhere: who started children hears from all who take part, and waits for nobody in vain."""

from __future__ import annotations

from typing import Any

from covey.core import children as c
from covey.core.vocabulary import Abandon, MessagesReceived
from covey.protocols.registry import watching
from covey.protocols.registry.config import RegistryConfig
from covey.protocols.registry.vocabulary import Trouble
from covey.wire.keys import encode_key
from covey.wire.messages.registry import Watch, Watched
from tests.protocols.registry.outcomes import started
from tests.protocols.registry.registry_world import HUB, SECOND_US, RegistryWorld, site


def test_visible_everywhere_waits_for_all_that_take_part_and_not_for_who_leaves():
    world = RegistryWorld("abc")
    (there,) = world.home("b")
    world.delivers = lambda to, message: not isinstance(message, Watched)
    assert world.start(there, everywhere=True) is None
    assert world.passed(Watch) == [("a", "b"), ("a", "c")]
    number = next(message.number for _, _, message in world.sent if type(message) is Watch)
    world.give("a", MessagesReceived(site("b"), (Watched(HUB, number),)))
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


def test_who_gives_up_while_others_are_asked_takes_all_back_whatever_they_answer():
    world = RegistryWorld("ab")
    (there,) = world.home("b")
    world.auto.discard(c.StopChild)
    world.delivers = lambda to, message: not isinstance(message, Watched)
    world.start(there, everywhere=True, rollback=True)
    number = next(message.number for _, _, message in world.sent if type(message) is Watch)
    world.give("a", Abandon(1))
    world.give("a", MessagesReceived(site("b"), (Watched(HUB, number),)))
    world.hub("a").check()
    world.give("b", c.ChildExited(world.copy("b", there), c.Ending.STOPPED))
    world.advance(1)
    assert not world.shared
    assert world.outcomes[1].rolled_back


def test_visible_everywhere_does_not_wait_for_a_child_that_is_done():
    """Who is asked never sees it: it came and went before the question."""
    world = RegistryWorld("abc")
    (there,) = world.home("b")
    world.auto.discard(c.StartChild)
    world.start(there, everywhere=True)
    world.give("b", c.ChildExited(world.copy("b", there), c.Ending.RETURNED))
    assert (started(world.outcomes[1]), world.outcomes[1].errors) == ({there: "b"}, ())
    assert not world.passed(Watch)


def test_a_child_that_ends_while_others_are_asked_is_not_waited_for():
    world = RegistryWorld("abc")
    short, long = world.home("b", 2)
    unheard = dict.fromkeys("bc")
    world.delivers = lambda to, message: type(message) is not Watch or to[:1].decode() not in unheard
    assert world.start(short, long, everywhere=True) is None
    world.give("b", c.ChildExited(world.copy("b", short), c.Ending.RETURNED))
    unheard.clear()
    world.advance(0.1)
    assert started(world.outcomes[1]) == {short: "b", long: "b"}
    assert [len(message.ids) for _, _, message in world.sent if type(message) is Watch] == [2, 2, 1, 1]


def test_who_did_not_get_the_question_is_asked_again():
    world = RegistryWorld("ab")
    (there,) = world.home("b")
    world.delivers = lambda to, message: type(message) is not Watch
    assert world.start(there, everywhere=True) is None
    world.delivers = lambda to, message: True
    world.advance(1)
    assert started(world.outcomes[1]) == {there: "b"}


def test_who_waits_no_more_says_so_and_nothing_is_kept_for_it():
    world = RegistryWorld("ab")
    here, other = world.home("a", 2)
    world.hidden[site("b"), site("a")] = None
    world.auto.discard(c.StartChild)
    ask(world, "a", 7, here, other)
    assert kept(world, "b") == 2
    ask(world, "a", 7, other)
    assert kept(world, "b") == 1
    ask(world, "a", 7)
    assert kept(world, "b") == 0
    assert world.passed(Watched) == [("b", "a")]


def test_of_one_peer_so_much_is_kept_and_of_who_does_not_take_part_or_is_gone_nothing(monkeypatch):
    monkeypatch.setattr(watching, "WATCHED_MAX", 5)
    world = RegistryWorld("abc")
    for number in range(10):
        ask(world, "a", 0, f"nobody {number}", f"none {number}")
        ask(world, "a", number, f"nobody {number}", f"none {number}")
    ask(world, "c", 1, *range(5))
    ask(world, "d", 1, *range(5))
    assert kept(world, "b") == 9
    world.vanish("a")
    assert kept(world, "b") == 5


def test_many_children_are_asked_for_in_parts_and_shown_when_all_parts_are(monkeypatch):
    monkeypatch.setattr(watching, "LETTERS_MAX", 4)
    monkeypatch.setattr(watching, "WATCHED_MAX", 6)
    world = RegistryWorld("ab", RegistryConfig(births_max=3))
    assert len(started(world.start(*range(10), everywhere=True))) == 10
    assert len(world.passed(Watch)) == 3


def ask(world: RegistryWorld, name: str, number: int, *ids: Any) -> None:
    world.give("b", MessagesReceived(site(name), (Watch(HUB, number, tuple(encode_key(id) for id in ids)),)))


def kept(world: RegistryWorld, name: str) -> int:
    return sum(world.hub(name).watching._kept.values())
