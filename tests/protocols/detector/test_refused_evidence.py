"""A process that is gone, on a host that says so: down at once, with another's word where there is one."""

from __future__ import annotations

import pytest

from covey.core.vocabulary import Cause, Liveness, MemberRemoved, Send
from covey.protocols.detector.config import DetectorConfig
from covey.wire.messages.detector import ConfirmReply, ConfirmRequest, Ping
from tests.protocols.detector.detector_bench import ME, A, B, Bench, C, contact, rumour
from tests.protocols.detector.detector_world import DetectorWorld

ALIVE, SUSPECT, DOWN, STOPPED = Liveness.ALIVE, Liveness.SUSPECT, Liveness.DOWN, Liveness.STOPPED


@pytest.mark.parametrize("cause", [Cause.CLOSED, Cause.RESET])
@pytest.mark.parametrize("nodes", [2, 3, 5, 20])
def test_a_killed_process_is_down_everywhere_within_a_few_round_trips(nodes: int, cause: Cause) -> None:
    world = DetectorWorld(1, nodes)
    world.run(2)
    killed_us = world.now_us
    world.kill(0, cause)
    world.run(1)
    assert world.all_hold(0, DOWN)
    assert world.times(0, DOWN)[-1] - killed_us < 50_000
    assert {about for _, about, _ in world.ever(DOWN)} == {0}


def test_with_two_nodes_the_refused_dial_is_enough() -> None:
    bench = Bench(A)
    [send] = bench.lost(A)
    assert send.to == A.site
    assert send.address == A.address
    assert isinstance(send.message, Ping)
    bench.unreached(A)
    assert bench.changes() == [(A, DOWN)]
    assert bench.flooded() == [rumour(A, DOWN, by=ME)]
    assert "nobody else to ask" in bench.machine.why(A.site)[-1]


def test_with_others_one_has_to_confirm() -> None:
    bench = Bench(A, B)
    bench.lost(A)
    [ask] = bench.unreached(A)
    assert ask == Send(B.site, ConfirmRequest(ask.message.number, A), B.address)
    assert bench.state(A) is ALIVE
    bench.hear(C, ConfirmReply(ask.message.number, True))  # not whom we asked
    bench.hear(B, ConfirmReply(ask.message.number + 1, True))  # not what we asked
    assert bench.state(A) is ALIVE
    bench.hear(B, ConfirmReply(ask.message.number, True))
    assert bench.changes() == [(A, DOWN)]
    assert bench.machine.statistics().checks == 0


@pytest.mark.parametrize("cause", [Cause.REFUSED, Cause.OTHER_SITE, Cause.SITE_CONFLICT])
def test_somebody_else_at_its_address_is_as_good_as_a_refusal(cause: Cause) -> None:
    bench = Bench(A)
    bench.lost(A)
    bench.unreached(A, cause)
    assert bench.state(A) is DOWN


@pytest.mark.parametrize("cause", [Cause.TIMEOUT, Cause.BUSY, Cause.SECRET])
def test_other_failures_of_the_dial_leave_it_to_the_prober(cause: Cause) -> None:
    bench = Bench(A)
    bench.lost(A)
    bench.unreached(A, cause)
    assert bench.state(A) is ALIVE
    assert bench.machine.statistics().checks == 0


@pytest.mark.parametrize("cause", [Cause.RESET, Cause.CLOSED, Cause.TLS])
def test_a_dial_that_is_reset_is_made_once_more(cause: Cause) -> None:
    """A dying process may still have its port when its links break: what is dialled then is accepted by nobody."""
    bench = Bench(A)
    [first] = bench.lost(A)
    [again] = bench.unreached(A, cause)
    assert again == first
    bench.unreached(A)
    assert bench.changes() == [(A, DOWN)]


def test_a_confirmer_whose_dial_is_reset_dials_once_more_before_it_answers() -> None:
    bench = Bench(A, B)
    bench.hear(B, ConfirmRequest(7, A))
    [again] = bench.unreached(A, Cause.RESET)
    assert isinstance(again.message, Ping)
    assert bench.unreached(A)[0] == Send(B.site, ConfirmReply(7, True))


def test_a_dial_that_is_reset_twice_is_left_to_the_prober() -> None:
    """Something that accepts in its place resets us: a proxy, not a dying process."""
    bench = Bench(A)
    bench.lost(A)
    bench.unreached(A, Cause.RESET)
    assert bench.unreached(A, Cause.RESET) == []
    assert bench.state(A) is ALIVE
    assert bench.machine.statistics().checks == 0


@pytest.mark.parametrize("cause", [Cause.GOODBYE, Cause.IDLE, Cause.REPLACED, Cause.SILENT, Cause.SLOW])
def test_an_announced_close_is_no_evidence(cause: Cause) -> None:
    bench = Bench(A)
    assert bench.lost(A, cause) == []


def test_a_refused_dial_without_a_close_is_no_evidence_of_this_kind() -> None:
    bench = Bench(A)
    bench.unreached(A)
    assert bench.state(A) is ALIVE


def test_a_confirmer_that_reaches_it_ends_the_matter() -> None:
    bench = Bench(A, B)
    bench.lost(A)
    [ask] = bench.unreached(A)
    bench.hear(B, ConfirmReply(ask.message.number, False))
    assert bench.state(A) is ALIVE
    assert bench.machine.statistics().checks == 0


def test_when_nobody_confirms_in_time_it_is_suspected() -> None:
    bench = Bench(A, B, C)
    bench.lost(A)
    asked = [bench.unreached(A)[0].to]
    for _ in range(2):
        bench.wait(0.51)
        asked += [to for to, _ in bench.sent(ConfirmRequest)]
        bench.ping(B)  # so that the prober does not suspect them
        bench.ping(C)
    assert sorted(asked) == [B.site, C.site]
    assert bench.state(A) is SUSPECT
    assert "nobody confirmed" in " ".join(bench.machine.why(A.site))


def test_at_most_three_are_asked() -> None:
    others = [contact(letter) for letter in "bcdefgh"]
    bench = Bench(A, *others)
    bench.lost(A)
    asked = [bench.unreached(A)[0].to]
    for _ in range(4):
        for other in others:
            bench.ping(other)
        bench.wait(0.45)
        asked += [to for to, _ in bench.sent(ConfirmRequest)]
    assert len(asked) == len(set(asked)) == 3
    assert bench.state(A) is SUSPECT


def test_an_answer_or_a_new_link_ends_the_check() -> None:
    bench = Bench(A, B)
    [send] = bench.lost(A)
    bench.ack(A, send.message.number)
    assert bench.machine.statistics().checks == 0
    bench.lost(A)
    bench.connected(A)
    assert bench.machine.statistics().checks == 0
    assert bench.state(A) is ALIVE


def test_a_dial_without_any_answer_is_left_to_the_prober() -> None:
    bench = Bench(A, B)
    bench.lost(A)
    bench.wait(0.5)
    assert bench.machine.statistics().checks == 0


def test_a_second_close_dials_again_until_it_was_refused() -> None:
    bench = Bench(A, B)
    [first] = bench.lost(A)
    [second] = bench.lost(A)
    assert first.message.number == second.message.number
    bench.unreached(A)
    assert bench.lost(A) == []


def test_another_life_and_strangers_are_not_looked_into() -> None:
    bench = Bench(A)
    assert bench.lost(contact("a", 6)) == []
    assert bench.lost(B) == []
    bench.tell(A, rumour(A, STOPPED))
    assert bench.lost(A) == []


def test_checks_are_bounded() -> None:
    bench = Bench(A, B, C, config=DetectorConfig(checks_max=1))
    assert bench.lost(A) != []
    assert bench.lost(B) == []
    assert bench.hear(C, ConfirmRequest(4, B)) == [Send(C.site, ConfirmReply(4, False))]


# --- confirming for others --------------------------------------------------------------------------------------------


def test_a_confirmer_dials_and_says_what_it_met() -> None:
    bench = Bench(A, B)
    [send] = bench.hear(B, ConfirmRequest(9, A))
    assert send.to == A.site
    assert isinstance(send.message, Ping)
    assert bench.unreached(A) == [Send(B.site, ConfirmReply(9, True))]
    assert bench.state(A) is ALIVE  # we saw no close

    [send] = bench.hear(B, ConfirmRequest(10, A))
    assert Send(B.site, ConfirmReply(10, False)) in bench.ack(A, send.message.number)

    bench.hear(B, ConfirmRequest(11, A))
    bench.wait(0.5)
    assert bench.sent(ConfirmReply) == [(B.site, ConfirmReply(11, False))]


def test_two_who_both_were_refused_need_nobody_else() -> None:
    bench = Bench(A, B, C)
    bench.lost(A)
    bench.hear(B, ConfirmRequest(9, A))
    effects = bench.unreached(A)
    assert effects[0] == Send(B.site, ConfirmReply(9, True))
    assert bench.changes() == [(A, DOWN)]

    bench = Bench(A, B, C)
    bench.lost(A)
    bench.unreached(A)
    effects = bench.hear(B, ConfirmRequest(9, A))
    assert effects[0] == Send(B.site, ConfirmReply(9, True))
    assert bench.changes() == [(A, DOWN)]


def test_asked_about_what_we_know_to_be_over_we_confirm_and_of_other_lives_we_know_nothing() -> None:
    bench = Bench(A, B)
    assert bench.hear(B, ConfirmRequest(1, contact("a", 6))) == [Send(B.site, ConfirmReply(1, False))]
    assert bench.hear(B, ConfirmRequest(2, C)) == [Send(B.site, ConfirmReply(2, False))]
    bench.tell(B, rumour(A, DOWN))
    assert bench.hear(B, ConfirmRequest(3, A)) == [Send(B.site, ConfirmReply(3, True))]


def test_those_who_wait_for_one_answer_are_bounded() -> None:
    bench = Bench(A, B, C, config=DetectorConfig(askers_max=1))
    bench.hear(B, ConfirmRequest(1, A))
    assert bench.hear(C, ConfirmRequest(2, A)) == [Send(C.site, ConfirmReply(2, False))]


def test_what_belongs_to_a_removed_member_is_forgotten() -> None:
    bench = Bench(A, B)
    bench.hear(B, ConfirmRequest(1, A))
    bench.feed(MemberRemoved(B.site))
    assert bench.unreached(A) == []
    bench.lost(A)
    bench.feed(MemberRemoved(A.site))
    assert bench.machine.statistics().checks == 0


def test_a_check_of_a_life_that_others_declared_down_ends() -> None:
    bench = Bench(A, B, C)
    bench.lost(A)
    bench.unreached(A)
    bench.tell(B, rumour(A, DOWN, by=B))
    bench.wait(0.5)
    assert bench.sent(ConfirmRequest) == []
    assert bench.machine.statistics().checks == 0


def test_when_the_confirmer_dies_too_both_are_found() -> None:
    world = DetectorWorld(3, 6)
    world.run(2)
    world.kill(0)
    world.kill(1)
    world.run(2)
    assert world.all_hold(0, DOWN)
    assert world.all_hold(1, DOWN)
    assert {about for _, about, _ in world.ever(DOWN)} == {0, 1}


def test_a_broken_connection_to_a_living_process_costs_nothing() -> None:
    world = DetectorWorld(4, 5)
    world.run(1)
    for other in range(1, 5):
        world.close_link(0, other)
    world.run(5)
    assert world.ever(DOWN) == world.ever(SUSPECT) == []
