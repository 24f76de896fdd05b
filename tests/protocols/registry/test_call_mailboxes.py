"""A letter belongs to one mailbox: it is asked about wherever that went, and never said to one without its memory."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from covey.core import children as c
from covey.core.errors import DeadlineExceeded, PeerUnreachable, UnknownName
from covey.core.ids import ClusterId, Site
from covey.core.rows import RowsChanged
from covey.core.vocabulary import ClusterChanged, MessagesReceived
from covey.protocols.registry import vocabulary as h
from covey.protocols.registry.copies import Phase
from covey.wire.keys import encode_key
from covey.wire.messages.registry import CALL, ELSEWHERE, ChildAnswer, ChildCall, HandedOver
from tests.protocols.registry.registry_world import HUB, SECOND_US, RegistryWorld, child, site

ANSWER = h.Answer(False, b"\x01")


def two_letters(world: RegistryWorld, id: int, by: str = "c") -> None:
    """The first one is with the copy, the second one waits."""
    world.auto.discard(c.DeliverToChild)
    world.call(id, by=by, timeout_us=30 * SECOND_US)
    world.call(id, request=10, by=by, timeout_us=30 * SECOND_US)


def answer(world: RegistryWorld, name: str) -> None:
    """The copy there answers what it was given."""
    for effect in world.take(name):
        if isinstance(effect, c.DeliverToChild):
            world.give(name, c.ChildReplied(effect.copy, effect.call, False, b"\x01"))
            world.give(name, c.ChildReceives(effect.copy))


def delivered(world: RegistryWorld, *names: str) -> int:
    return sum(isinstance(effect, c.DeliverToChild) for name in names for effect in world.take(name))


class Late:
    """Rows of one node that another one is shown later."""

    def __init__(self, world: RegistryWorld, owner: str, to: str) -> None:
        self.world, self.to = world, to
        self.kept: list[Any] = []
        to_all = world._to_all

        def held(fact: Any) -> None:
            late = isinstance(fact, RowsChanged) and fact.owner == site(owner)
            if not late:
                to_all(fact)
                return
            self.kept.append(fact)
            world._queue += [(one, fact) for one in world.machines if one != site(to)]

        world._to_all = held  # type: ignore[method-assign]
        self.release = lambda: self.show(to_all)

    def show(self, to_all: Any) -> None:
        self.world._to_all = to_all  # type: ignore[method-assign]
        for fact in self.kept:
            self.world.give(self.to, fact)


def test_letters_that_were_handed_over_by_a_hub_that_closed_are_answered_by_the_next_host():
    world = RegistryWorld("abc")
    (id,) = world.home("a")
    world.start(id)
    two_letters(world, id)
    world.give("a", h.CloseHub(5, HUB))
    assert 5 in world.outcomes and HUB not in world.machines[site("a")].hubs
    (next_host,) = world.runs(id)
    assert isinstance(world.outcomes[9], DeadlineExceeded), "the child had that one"
    assert 10 not in world.outcomes
    world.advance(4)
    assert 10 not in world.outcomes
    answer(world, next_host.lower())
    assert world.outcomes[10] == ANSWER


@pytest.mark.parametrize("lost", [True, False])
def test_they_are_though_the_row_of_the_next_host_is_shown_late(lost):
    """Rows of two owners come in any order."""
    world = RegistryWorld("ac")
    world.add("b", starts=("app:session",))
    world.advance(3)
    among = [id for id in world.home("a", 40) if next_of(world, id) == "b"]
    id = among[0]
    world.start(id)
    two_letters(world, id)
    world.take("b")
    late = Late(world, "b", "c")
    world.give("a", h.CloseHub(5, HUB))
    assert 10 not in world.outcomes
    if lost:
        world.advance(4)
        assert isinstance(world.outcomes[10], DeadlineExceeded)
        return
    world.advance(0.5)
    late.release()
    world.advance(0.5)
    answer(world, "b")
    assert world.outcomes[10] == ANSWER


def next_of(world: RegistryWorld, id: int) -> str:
    """Who runs a child if its first host goes."""
    return world.hub("a").ground.places.view.ranked(encode_key(id), "app:session")[1].name


def moved(world: RegistryWorld) -> int:
    """A child that ran on `a` and moves to `b` with a letter of `c` that `a` had."""
    other = RegistryWorld("abc")
    id = min(set(RegistryWorld("ac").home("a", 50)) & set(other.home("b", 50)))
    world.start(id)
    two_letters(world, id)
    world.take("a")
    world.add("b")
    world.advance(3)
    assert world.runs(id) == {"b": "RUNNING"}
    return id


def test_a_former_host_that_dies_after_a_move_takes_no_call_with_it():
    world = RegistryWorld("ac")
    moved(world)
    world.vanish("a")
    assert 10 not in world.outcomes
    answer(world, "b")
    assert world.outcomes[10] == ANSWER


def test_the_next_host_is_asked_too_when_the_letter_never_reached_the_former_one():
    world = RegistryWorld("ac")
    id = min(set(RegistryWorld("ac").home("a", 50)) & set(RegistryWorld("abc").home("b", 50)))
    world.start(id)
    world.delivers = lambda to, message: not isinstance(message, ChildCall)
    world.call(id, by="c", timeout_us=30 * SECOND_US)
    world.add("b")
    world.advance(3)
    assert world.runs(id) == {"b": "RUNNING"}
    world.vanish("a")
    world.delivers = lambda to, message: True
    world.advance(1.1)
    assert world.outcomes[9] == ANSWER


def test_a_host_that_dies_after_it_got_the_letters_leaves_nobody_who_knows():
    world = RegistryWorld("ac")
    moved(world)
    world.vanish("b")
    assert isinstance(world.outcomes[10], DeadlineExceeded)


def run_and_be_started_anew(world: RegistryWorld, id: int, start: Any = None) -> None:
    """A call that runs on `b`, of which nothing is heard, and the child ends and is started again."""
    world.start(id)
    world.delivers = lambda to, message: not isinstance(message, ChildAnswer)
    world.call(id, timeout_us=30 * SECOND_US, start=start)
    world.give("b", c.ChildExited(world.copy("b", id), c.Ending.RETURNED))
    assert world.runs(id) == {}
    world.delivers = lambda to, message: True
    if start is None:
        world.start(id, by="b", request=2)
        assert world.runs(id) == {"b": "RUNNING"}


def test_what_may_have_run_is_not_said_to_a_copy_that_was_started_anew():
    world = RegistryWorld("ab")
    (id,) = world.home("b")
    run_and_be_started_anew(world, id)
    world.advance(4)
    assert isinstance(world.outcomes[9], DeadlineExceeded) and "may have run" in str(world.outcomes[9])
    assert delivered(world, "a", "b") == 1


def test_nor_is_its_child_started_again_for_it():
    world = RegistryWorld("ab")
    (id,) = world.home("b")
    run_and_be_started_anew(world, id, start=child(id))
    world.advance(4)
    assert isinstance(world.outcomes[9], DeadlineExceeded)
    assert (delivered(world, "a", "b"), world.runs(id)) == (1, {})


def test_nor_to_one_on_another_node():
    world = RegistryWorld("abc")
    (id,) = world.home("b")
    world.start(id)
    world.auto.discard(c.DeliverToChild)
    world.delivers = lambda to, message: not isinstance(message, ChildCall)
    world.call(id, by="c", timeout_us=30 * SECOND_US)
    world.delivers = lambda to, message: True
    world.give("a", h.StopChildren(2, HUB, (encode_key(id),), SECOND_US))
    world.take("b")
    world.give("b", h.CloseHub(5, HUB))
    world.auto.add(c.DeliverToChild)
    world.start(id, request=3)
    world.advance(4)
    assert isinstance(world.outcomes[9], DeadlineExceeded)
    assert delivered(world, "a", "b", "c") == 0


def test_who_begins_another_life_cannot_ask_again_and_does_not():
    world = RegistryWorld("ab")
    here, there = world.home("a") + world.home("b")
    world.start(here, there)
    world.auto.discard(c.DeliverToChild)
    world.call(here)
    world.call(there, request=10)
    world.give("a", ClusterChanged(ClusterId(bytes(16)), 2, False))
    assert all(isinstance(world.outcomes[request], DeadlineExceeded) for request in (9, 10))
    answer(world, "a")
    assert all(to != "a" for one, to in world.passed(ChildAnswer) if one == "a"), "nobody answers itself"


def test_of_letters_on_their_way_to_the_next_host_nobody_says_that_they_did_not_run():
    """It is stopped after the next host got everything: that one may have run it already."""
    world = RegistryWorld("a")
    (id,) = RegistryWorld("ab").home("b")
    world.start(id)
    two_letters(world, id, by="a")
    world.take("a")
    world.delivers = lambda to, message: not isinstance(message, (HandedOver, ChildAnswer))
    world.add("b")
    world.advance(3)
    assert world.hub("a").hosting.hosted[encode_key(id)].phase is Phase.SENDING
    assert delivered(world, "b") == 1, "it runs there, and nobody heard of that"
    world.give("a", h.StopChildren(2, HUB, (encode_key(id),), SECOND_US))
    world.advance(2)
    assert isinstance(world.outcomes[10], DeadlineExceeded)


def asked(world: RegistryWorld, name: str, id: int, number: int, mailbox: int) -> list[int]:
    """What a node says to one letter of `z`."""
    at = len(world.sent)
    call = ChildCall(HUB, 1, encode_key(id), number, 1, 0, SECOND_US, CALL, Raw(b"\x01"), mailbox)
    world.give(name, MessagesReceived(Site(b"z" * 16), (call,)))
    world.settle()
    return [message.kind for _, _, message in world.sent[at:] if isinstance(message, ChildAnswer)]


def test_after_a_move_that_went_wrong_either_side_takes_letters_under_a_name_of_its_own():
    """Both may run it: what one of them takes from then on the other one does not know."""
    world = RegistryWorld("a")
    (id,) = RegistryWorld("ab").home("b")
    world.start(id)
    known = world.hub("a").hosting.hosted[encode_key(id)].mailbox.names[0]
    assert asked(world, "a", id, 7, known) == [0]
    world.auto.discard(c.StartChild)
    world.add("b")
    world.advance(3)
    (start,) = [effect for effect in world.take("b") if isinstance(effect, c.StartChild)]
    world.auto.add(c.StartChild)
    world.hide("b", "a")
    world.give("b", c.ChildStarted(start.copy))
    world.give("b", c.ChildReceives(start.copy))
    assert world.runs(id) == {"a": "RUNNING", "b": "RUNNING"}
    ours, theirs = (world.hub(name).hosting.hosted[encode_key(id)].mailbox.names for name in "ab")
    assert (ours[1:], theirs) == ((known,), (known,))
    for name in "ab":
        assert asked(world, name, id, 7, known) == [0], "both know what it was answered before"
    assert asked(world, "a", id, 8, known) == [ELSEWHERE], "the other one may get it"
    assert asked(world, "b", id, 8, known) == [0]
    assert asked(world, "a", id, 9, ours[0]) == [0]
    assert asked(world, "b", id, 9, ours[0]) == [ELSEWHERE]


def test_whoever_stays_of_two_copies_answers_for_the_mailbox_of_the_other_one():
    world = RegistryWorld("ab")
    (id,) = world.home("b")
    world.hide("a", "b")
    world.hide("b", "a")
    world.start(id, by="a")
    world.start(id, by="b", request=2)
    world.advance(1)
    assert world.runs(id) == {"a": "RUNNING", "b": "RUNNING"}
    other = world.hub("a").hosting.hosted[encode_key(id)].mailbox.names[0]
    assert asked(world, "a", id, 7, other) == [0]
    world.show("a", "b")
    world.show("b", "a")
    world.advance(3)
    assert world.runs(id) == {"b": "RUNNING"}
    assert asked(world, "b", id, 7, other) == [0]
    assert asked(world, "b", id, 8, other) == [ELSEWHERE]
    ((_, running),) = world.hub("b").book.running(encode_key(id)).items()
    assert other in running.mailboxes


def test_a_letter_that_came_often_and_is_sent_back_did_not_run():
    world = RegistryWorld("ab")
    (id,) = world.home("b")
    world.start(id)
    two_letters(world, id, by="a")
    world.advance(3.5)
    assert len(world.passed(ChildCall)) == 8
    world.give("a", h.StopChildren(2, HUB, (encode_key(id),), SECOND_US))
    world.advance(6)
    assert isinstance(world.outcomes[9], DeadlineExceeded)
    assert isinstance(world.outcomes[10], UnknownName)


# --- a start that raises --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["a", "b"])
def test_a_call_whose_child_raises_as_it_is_started_hears_why_at_once(host):
    world = RegistryWorld("ab")
    (id,) = world.home(host)
    world.auto.discard(c.StartChild)
    assert world.call(id, start=child(id)) is None
    assert world.call(id, request=10, start=child(id)) is None
    (start,) = world.take(host)
    world.give(host, c.ChildExited(start.copy, c.Ending.RAISED, "ValueError: no port", "ValueError: no port"))
    for request in (9, 10):
        assert isinstance(world.outcomes[request], PeerUnreachable)
        assert "ValueError: no port" in str(world.outcomes[request])
    world.advance(10)
    assert world.take(host) == [] and world.runs(id) == {}


def test_a_call_that_had_reached_its_child_as_that_failed_to_start_hears_the_same():
    world = RegistryWorld("ab")
    (id,) = world.home("b")
    world.auto.discard(c.StartChild)
    world.call(id, start=child(id))
    world.advance(0.1)  # it is shown as starting
    assert world.passed(ChildCall) == [("a", "b")]
    (start,) = world.take("b")
    world.give("b", c.ChildExited(start.copy, c.Ending.RAISED, "ValueError: no port"))
    world.advance(0.1)
    assert isinstance(world.outcomes[9], PeerUnreachable) and "no port" in str(world.outcomes[9])


def test_of_others_who_call_it_each_tries_once():
    world = RegistryWorld("abc")
    (id,) = world.home("b")
    world.auto.discard(c.StartChild)
    for request, name in ((9, "a"), (10, "c")):
        world.call(id, request=request, by=name, start=child(id))
    for _ in range(2):
        (start,) = world.take("b")
        world.give("b", c.ChildExited(start.copy, c.Ending.RAISED, "ValueError: no port"))
    assert all(isinstance(world.outcomes[request], PeerUnreachable) for request in (9, 10))
    world.advance(10)
    assert world.take("b") == []


def test_a_child_that_is_done_as_soon_as_it_runs_is_not_started_without_pause():
    world = RegistryWorld("ab")
    (id,) = world.home("b")
    world.auto.discard(c.StartChild)
    world.call(id, start=child(id))
    counts = []
    for _ in range(3):
        starts = [effect for effect in world.take("b") if isinstance(effect, c.StartChild)]
        counts.append(len(starts))
        for start in starts:
            world.give("b", c.ChildExited(start.copy, c.Ending.RETURNED))
        assert world.take("b") == []
        world.advance(1.1)
    assert counts == [1, 1, 1], "once a second"
