"""Every call has one outcome, which says truly whether it may have run."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import Raw

from covey.core import children as c
from covey.core.errors import DeadlineExceeded, Overloaded, PeerUnreachable, UnknownName
from covey.core.ids import Contact
from covey.core.rows import RowsChanged
from covey.core.vocabulary import Abandon, Channel, MessagesReceived, PeerConnected
from covey.protocols.registry import rows
from covey.protocols.registry import vocabulary as h
from covey.protocols.registry.config import RegistryConfig
from covey.wire.keys import encode_key
from covey.wire.messages.registry import ELSEWHERE, ChildAnswer, ChildCall
from tests.protocols.registry.registry_world import HUB, SECOND_US, SPEC, RegistryWorld, child, site

ANSWER = h.Answer(False, b"\x01")


def test_a_child_here_and_a_child_elsewhere_answer():
    world = RegistryWorld("ab")
    here, there = world.home("a") + world.home("b")
    world.start(here, there)
    assert world.call(here) == ANSWER
    assert world.passed(ChildCall) == []
    assert world.call(there, request=10) == ANSWER
    assert (world.passed(ChildCall), world.passed(ChildAnswer)) == ([("a", "b")], [("b", "a")])
    assert len(world.hub("a").calls) == 0


def test_a_child_that_is_not_there_is_unknown_or_started():
    world = RegistryWorld("ab")
    (there,) = world.home("b")
    assert isinstance(world.call(there), UnknownName)
    assert world.call(there, request=10, start=child(there)) == ANSWER
    assert world.call(there, request=11, by="b", start=child(there)) == ANSWER
    assert world.runs(there) == {"b": "RUNNING"}


def test_many_callers_of_one_child_start_it_once_and_are_answered_in_order():
    world = RegistryWorld("ab")
    (there,) = world.home("b")
    world.auto.discard(c.StartChild)
    for request in range(10, 20):
        assert world.call(there, request=request, by="ab"[request % 2], start=child(there)) is None
    started = [effect for effect in world.take("b") if isinstance(effect, c.StartChild)]
    assert len(started) == 1
    world.give("b", c.ChildStarted(started[0].copy))
    world.give("b", c.ChildReceives(started[0].copy))
    assert [world.outcomes[request] for request in range(10, 20)] == [ANSWER] * 10


def test_a_call_that_is_lost_is_said_again_to_the_same_host_and_runs_once():
    world = RegistryWorld("ab")
    (there,) = world.home("b")
    world.start(there)
    world.take("b")
    lost = [2]

    def delivers(to: object, message: object) -> bool:
        if isinstance(message, (ChildCall, ChildAnswer)) and lost[0]:
            lost[0] -= 1
            return False
        return True

    world.delivers = delivers
    assert world.call(there) is None
    world.advance(1)  # lost again, as its answer
    world.advance(2)
    assert world.outcomes[9] == ANSWER
    delivered = [effect for effect in world.take("b") if isinstance(effect, c.DeliverToChild)]
    assert len(delivered) == 1
    assert world.passed(ChildCall) == [("a", "b")] * 3


def test_a_new_link_has_it_said_again_soon():
    world = RegistryWorld("ab")
    (there,) = world.home("b")
    world.start(there)
    world.delivers = lambda to, message: False
    world.call(there)
    world.delivers = lambda to, message: True
    world.give("a", PeerConnected(Contact(site("b"), 1, "b:1"), Channel.DATA))
    world.advance(0.06)
    assert world.outcomes[9] == ANSWER


def test_without_an_answer_the_call_may_have_run():
    world = RegistryWorld("ab")
    (there,) = world.home("b")
    world.start(there)
    world.delivers = lambda to, message: False
    world.call(there, timeout_us=3 * SECOND_US)
    world.advance(2.9)
    assert 9 not in world.outcomes
    world.advance(0.2)
    assert isinstance(world.outcomes[9], DeadlineExceeded)
    assert "may have run" in str(world.outcomes[9])


def test_where_its_child_runs_nowhere_it_did_not_run():
    world = RegistryWorld("a")
    world.add("b", starts=("app:other",))
    world.advance(1)
    world.start(1, spec=msgspec.structs.replace(SPEC, start="app:other"))
    assert world.runs(1) == {"b": "RUNNING"}
    world.vanish("b")
    world.call(1, timeout_us=SECOND_US)
    world.advance(2)
    assert isinstance(world.outcomes[9], PeerUnreachable)


def test_a_host_that_goes_may_have_run_it_and_its_child_is_not_asked_elsewhere():
    world = RegistryWorld("abc")
    (there,) = world.home("b")
    world.auto.discard(c.DeliverToChild)
    world.start(there)
    world.call(there)
    world.vanish("b")
    assert isinstance(world.outcomes[9], DeadlineExceeded)
    world.advance(10)
    assert world.passed(ChildCall) == [("a", "b")]


def test_a_host_that_does_not_have_it_says_so_and_it_is_tried_again_until_it_runs():
    world = RegistryWorld("ab")
    (there,) = world.home("b")
    world.start(there)
    hosted = world.hub("b").hosting.hosted.pop(encode_key(there))
    world.call(there)
    world.advance(0.2)
    assert world.passed(ChildAnswer) == [("b", "a")] * len(world.passed(ChildCall))
    world.hub("b").hosting.hosted[encode_key(there)] = hosted
    world.advance(2)
    assert world.outcomes[9] == ANSWER


def test_a_full_mailbox_refuses_and_the_letter_did_not_run():
    world = RegistryWorld("ab", RegistryConfig(mailbox_max=2))
    (there,) = world.home("b")
    world.auto -= {c.DeliverToChild}
    world.start(there)
    for request in range(10, 14):
        world.call(there, request=request)
    assert isinstance(world.outcomes[13], Overloaded)  # one with the child, two that wait
    assert set(world.outcomes) == {1, 13}


def test_a_child_that_ends_with_an_unanswered_call_says_that_it_may_have_run():
    world = RegistryWorld("ab")
    (there,) = world.home("b")
    world.auto -= {c.DeliverToChild}
    world.start(there)
    world.call(there)
    world.call(there, request=10)
    world.auto |= {c.DeliverToChild}
    world.give("b", c.ChildExited(world.copy("b", there), c.Ending.RAISED, "Boom"))
    assert isinstance(world.outcomes[9], DeadlineExceeded)
    assert world.outcomes[10] == ANSWER, "that one still waited, and goes to the next copy"


def test_a_child_that_is_stopped_before_it_got_the_letter_did_not_run_it():
    world = RegistryWorld("ab")
    (there,) = world.home("b")
    world.auto -= {c.DeliverToChild}
    world.start(there)
    world.call(there)
    world.call(there, request=10)
    world.give("a", h.StopChildren(2, HUB, (encode_key(there),), SECOND_US))
    world.advance(6)
    assert isinstance(world.outcomes[9], DeadlineExceeded), "the child had that one"
    assert isinstance(world.outcomes[10], UnknownName)
    assert "not delivered" in str(world.outcomes[10])


def test_nobody_hears_of_an_abandoned_call_and_nothing_is_kept_of_it():
    world = RegistryWorld("ab")
    (there,) = world.home("b")
    world.start(there)
    world.delivers = lambda to, message: False
    world.call(there)
    world.give("a", Abandon(9))
    assert len(world.hub("a").calls) == 0
    world.advance(10)
    assert 9 not in world.outcomes


def test_a_cast_is_said_once_and_needs_no_answer():
    world = RegistryWorld("ab")
    here, there = world.home("a") + world.home("b")
    world.start(here, there)
    for id in (here, there):
        world.call(id, request=0)
    assert world.passed(ChildCall) == [("a", "b")] and world.passed(ChildAnswer) == []
    for name in "ab":
        assert [effect.call for effect in world.take(name) if isinstance(effect, c.DeliverToChild)] == [0]
    assert len(world.hub("a").calls) == 0


@pytest.mark.parametrize("attempt_lost", [True, False])
def test_elsewhere_counts_for_its_attempt_alone(attempt_lost):
    """Who hears "not here" of the second attempt knows nothing of the first, which may be on its way."""
    world = RegistryWorld("ab")
    (there,) = world.home("b")
    world.start(there)
    if attempt_lost:
        world.delivers = lambda to, message: False
    hosted = world.hub("b").hosting.hosted.pop(encode_key(there))
    world.call(there, timeout_us=3 * SECOND_US)
    world.delivers = lambda to, message: True
    world.advance(4)
    assert isinstance(world.outcomes[9], DeadlineExceeded if attempt_lost else PeerUnreachable)
    world.hub("b").hosting.hosted[encode_key(there)] = hosted


def test_more_calls_than_may_wait_are_refused():
    world = RegistryWorld("ab", RegistryConfig(waiting_max=2))
    (there,) = world.home("b")
    world.start(there)
    world.delivers = lambda to, message: False
    for request in (10, 11, 12):
        world.call(there, request=request)
    assert isinstance(world.outcomes[12], Overloaded)
    assert set(world.outcomes) == {1, 12}


def test_a_late_elsewhere_of_an_attempt_before_says_nothing_of_the_one_under_way():
    world = RegistryWorld("ab")
    (there,) = world.home("b")
    world.start(there)
    world.delivers = lambda to, message: False
    world.call(there)
    world.advance(1.1)
    (_, _, first), (_, _, second) = world.sent[-2:]
    assert (first.number, first.attempt, second.attempt) == (second.number, 1, 2)
    world.give("a", MessagesReceived(site("b"), (ChildAnswer(HUB, 1, first.number, 1, ELSEWHERE, Raw(b"\xc0")),)))
    world.vanish("b")
    assert isinstance(world.outcomes[9], DeadlineExceeded), "b answers for the second one, and is gone"


def test_what_was_said_to_one_host_is_not_said_to_another_that_shows_the_child():
    world = RegistryWorld("abc")
    (there,) = world.home("b")
    world.start(there)
    world.delivers = lambda to, message: False
    world.call(there)
    ground = world.hub("a").ground
    ground.places.host = lambda id: site("c")  # type: ignore[method-assign]
    running = rows.encode(rows.Running(9, 9, rows.State.RUNNING))
    world.give("a", RowsChanged(HUB, site("c"), 1, ((rows.running_key(encode_key(there)), running),)))
    world.advance(1.1)
    assert world.passed(ChildCall) == [("a", "b")] * 2


def test_refused_by_a_full_mailbox_after_a_lost_attempt_it_may_have_run():
    world = RegistryWorld("ab", RegistryConfig(mailbox_max=1))
    (there,) = world.home("b")
    world.auto.discard(c.DeliverToChild)
    world.start(there)
    world.delivers = lambda to, message: False
    world.call(there)
    world.delivers = lambda to, message: True
    for request in (20, 21):
        world.call(there, request=request, by="b")
    world.advance(1.1)
    assert isinstance(world.outcomes[9], DeadlineExceeded) and "earlier attempt" in str(world.outcomes[9])


def test_a_letter_of_ours_that_moved_with_its_child_is_answered_for_by_the_next_host():
    ids = RegistryWorld("ab").home("b")
    world = RegistryWorld("a")
    world.auto.discard(c.DeliverToChild)
    world.start(*ids)
    world.call(ids[0])
    world.call(ids[0], request=10)
    world.auto.discard(c.AskHandover)
    world.add("b")
    world.advance(3)
    world.give("a", c.ChildExited(world.copy("a", ids[0]), c.Ending.RETURNED))
    assert isinstance(world.outcomes[9], DeadlineExceeded), "the child had that one"
    assert 10 not in world.outcomes
    world.vanish("b")
    assert isinstance(world.outcomes[10], DeadlineExceeded)


def test_a_letter_that_its_child_never_read_did_not_run_and_makes_room():
    for node in "ab":
        world = RegistryWorld("ab", RegistryConfig(mailbox_max=2, answers_max=3))
        (id,) = world.home(node)
        world.auto.discard(c.DeliverToChild)
        world.start(id)
        for request in (20, 21, 22):
            world.call(id, request=request, timeout_us=SECOND_US)
        world.advance(1.2)
        assert isinstance(world.outcomes[20], DeadlineExceeded), "it has this one"
        assert [type(world.outcomes[request]) for request in (21, 22)] == [PeerUnreachable] * 2
        assert "never will" in str(world.outcomes[21])
        for by in "ab":
            world.call(id, request=30, by=by, timeout_us=SECOND_US)
            world.advance(1.2)
            assert isinstance(world.outcomes.pop(30), PeerUnreachable), "and not Overloaded"
        delivered = [effect for effect in world.take(node) if isinstance(effect, c.DeliverToChild)]
        assert len(delivered) == 1


def test_a_call_of_a_child_that_only_claims_did_not_run():
    world = RegistryWorld("a", voters=("v", "w", "x"))
    world.start("x")
    world.call("x", timeout_us=SECOND_US)
    world.advance(1.1)
    assert isinstance(world.outcomes[9], PeerUnreachable)


def test_a_call_of_a_child_that_was_given_up_ends_at_once_with_what_it_raised():
    for node in "ab":
        world = RegistryWorld("ab", RegistryConfig(restarts_max=0))
        (id,) = world.home(node)
        world.start(id)
        world.give(
            node, c.ChildExited(world.copy(node, id), c.Ending.RAISED, "ValueError: no", "Traceback\nValueError: no\n")
        )
        assert world.runs(id) == {node: "FAILED"}
        error = world.call(id)
        assert isinstance(error, PeerUnreachable) and "ValueError: no;" in str(error)
