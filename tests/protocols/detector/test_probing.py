"""SWIM's probe cycle and Lifeguard's score (reference M29)."""

from __future__ import annotations

import itertools
from random import Random

import pytest

from covey.core.ids import Site
from covey.core.vocabulary import Cause, Liveness, LivenessChanged, LoopLagged, MemberRemoved, Send
from covey.protocols.detector.health import Health
from covey.protocols.detector.probe import Round
from covey.wire.messages.detector import Ack, IndirectAck, Nack, Ping, PingRequest
from tests.protocols.detector.detector_bench import SECOND, A, B, Bench, C, D, contact, rumour

ALIVE, SUSPECT = Liveness.ALIVE, Liveness.SUSPECT


def test_each_member_is_probed_once_in_a_pass() -> None:
    bench = Bench(A, B, C, D)
    for _ in range(5):
        probed = []
        for _ in range(4):
            target, ping = bench.until_ping()
            bench.ack(target, ping.number)
            probed.append(target)
        assert sorted(probed) == [A, B, C, D]


def test_two_turns_of_one_member_lie_less_than_two_passes_apart() -> None:
    sites = [Site(bytes((n,)) * 16) for n in range(10)]
    for seed in range(50):
        rng, order = Random(seed), Round()
        turns: list[Site] = []
        for _ in range(5):
            order.begin(sites, rng)
            turns += [site for _ in sites if (site := order.next()) is not None]
        assert order.next() is None
        assert len(order) == 0
        for site in sites:
            places = [at for at, turn in enumerate(turns) if turn == site]
            assert all(b - a <= 2 * len(sites) - 1 for a, b in itertools.pairwise(places))


def test_a_newcomer_has_its_turn_in_the_pass_under_way_and_a_leaver_has_none() -> None:
    order = Round()
    order.begin([A.site, B.site], Random(0))
    order.add(C.site, Random(0))
    order.discard(A.site)
    order.discard(A.site)
    assert sorted(site for _ in range(2) if (site := order.next())) == [B.site, C.site]


def test_a_suspect_s_turn_comes_first_if_it_is_still_to_come_and_no_turn_is_added() -> None:
    order = Round()
    order.begin([A.site, B.site, C.site], Random(0))
    order.hurry(A.site)
    order.hurry(D.site)
    assert order.next() == A.site
    order.hurry(A.site)
    assert sorted(site for _ in range(2) if (site := order.next())) == [B.site, C.site]


def test_in_a_small_cluster_whoever_hears_of_a_suspect_probes_it_next() -> None:
    for seed in range(10):
        bench = Bench(A, B, C, D, seed=seed)
        bench.tell(B, rumour(A, SUSPECT, by=B))
        target, _ = bench.until_ping()
        assert target == A


@pytest.mark.parametrize("score", range(8))
def test_m29_interval_and_timeout_grow_with_the_score(score: int) -> None:
    bench = Bench(A, B, C, D)
    bench.until_ping()
    bench.machine.health.score = score
    probe = bench.machine.prober.probe
    assert probe is not None
    bench.ack(contact(chr(probe.site[0])), probe.number)
    bench.machine.health.score = score  # the ack made it better
    bench.until_ping()
    begun_us = bench.now_us
    probe = bench.machine.prober.probe
    assert probe is not None
    assert probe.timeout_us == 500_000 * (score + 1)
    number = probe.number
    while (probe := bench.machine.prober.probe) is not None and probe.number == number:
        due_us = bench.machine.deadline()
        assert due_us is not None
        bench.wait((due_us - bench.now_us) / SECOND)
    assert bench.now_us - begun_us == 1 * SECOND * (score + 1)  # no nack came: the whole interval was waited for


def test_m29_the_score_saturates_at_0_and_7() -> None:
    health = Health(7)
    health.change(-1)
    assert health.score == 0
    for _ in range(9):
        health.change(+1)
    assert health.score == 7
    assert health.scale(500_000) == 4_000_000


def test_m29_a_missed_nack_is_one_worse_and_an_answer_one_better() -> None:
    bench = Bench(A, B, C, D)
    target, ping = bench.until_ping()
    bench.wait(0.3)
    asked = [to for to, _ in bench.sent(PingRequest)]
    assert len(asked) == 3
    assert target.site not in asked
    bench.hear(contact(chr(asked[0][0])), Nack(ping.number))
    bench.wait(0.7)
    assert bench.machine.health.score == 2  # two of three nacks were missed
    following = bench.machine.prober.probe
    assert following is not None
    bench.ack(contact(chr(following.site[0])), following.number)
    assert bench.machine.health.score == 1


def test_with_all_nacks_in_the_probe_ends_at_its_timeout_and_says_nothing_of_us() -> None:
    bench = Bench(A, B, C, D)
    target, ping = bench.until_ping()
    begun_us = bench.now_us
    bench.wait(0.26)
    for to, _ in bench.sent(PingRequest):
        bench.hear(contact(chr(to[0])), Nack(ping.number))
    assert bench.state(target) is ALIVE  # our own ping has until its timeout
    bench.wait(0.24)
    assert bench.now_us - begun_us == 500_000
    assert bench.state(target) is SUSPECT
    assert bench.machine.health.score == 0
    [line] = [line for line in bench.machine.why(target.site) if "suspect" in line]
    assert "no answer in 500 ms, asked through 3 others (3 nacks); last rtt never measured; own health 0" in line


def test_the_last_nack_after_the_timeout_ends_the_probe() -> None:
    bench = Bench(A, B, C, D)
    target, ping = bench.until_ping()
    bench.wait(0.3)
    asked = [contact(chr(to[0])) for to, _ in bench.sent(PingRequest)]
    bench.wait(0.25)
    for peer in asked[:2]:
        bench.hear(peer, Nack(ping.number))
    assert bench.state(target) is ALIVE
    bench.hear(asked[2], Nack(ping.number))
    assert bench.state(target) is SUSPECT


def test_a_lagging_loop_makes_us_worse_from_the_probe_timeout_on() -> None:
    bench = Bench(A)
    bench.feed(LoopLagged(499_999))
    assert bench.machine.health.score == 0
    bench.feed(LoopLagged(500_000))
    assert bench.machine.health.score == 1


def test_with_nobody_to_ask_it_is_pinged_once_more() -> None:
    bench = Bench(A)
    _, first = bench.until_ping()
    bench.wait(0.3)
    [(to, again)] = bench.sent(Ping)
    assert (to, again.number) == (A.site, first.number)
    bench.wait(0.65)
    assert bench.state(A) is ALIVE
    bench.wait(0.1)
    assert bench.state(A) is SUSPECT
    assert bench.machine.health.score == 1


def test_a_member_that_cannot_be_dialled_is_asked_for_at_once() -> None:
    bench = Bench(A, B)
    target, ping = bench.until_ping()
    other = B if target == A else A
    assert bench.unreached(target, Cause.TIMEOUT) == [Send(other.site, PingRequest(ping.number, target), other.address)]
    assert bench.unreached(target, Cause.TIMEOUT) == []  # once


def test_whoever_speaks_to_us_while_we_probe_it_is_not_accused() -> None:
    bench = Bench(A)
    bench.until_ping()
    bench.wait(0.4)
    bench.ping(A)
    bench.wait(0.7)
    assert bench.state(A) is ALIVE


def test_a_late_ack_of_an_ended_probe_changes_nothing() -> None:
    bench = Bench(A, B)
    target, ping = bench.until_ping()
    bench.wait(1.2)
    assert bench.state(target) is SUSPECT
    bench.ack(target, ping.number)
    assert bench.state(target) is SUSPECT  # it has to refute, and was told so
    assert [to for to, _ in bench.sent(type(bench.machine.accused(target.site)))] == [target.site]


def test_acks_of_others_and_of_an_older_life_are_no_answer() -> None:
    bench = Bench(A, B)
    target, ping = bench.until_ping()
    other = B if target == A else A
    bench.ack(other, ping.number)
    assert bench.machine.prober.probe is not None
    bench.hear(target, Ack(ping.number, target.incarnation - 1, 0, bytes(8), b"", ()))
    assert bench.machine.prober.probe is not None
    bench.ack(target, ping.number)
    assert bench.machine.prober.probe is None


def test_what_is_said_by_those_we_did_not_ask_is_ignored() -> None:
    bench = Bench(A, B, C, D, contact("e"), contact("f"))
    target, ping = bench.until_ping()
    bench.wait(0.3)
    asked = [to for to, _ in bench.sent(PingRequest)]
    stranger = next(c for c in (A, B, C, D) if c.site not in asked and c != target)
    bench.hear(stranger, Nack(ping.number), IndirectAck(ping.number, 7, 0))
    friend = contact(chr(asked[0][0]))
    bench.hear(friend, Nack(ping.number + 1), IndirectAck(ping.number + 1, 7, 0), IndirectAck(ping.number, 6, 0))
    probe = bench.machine.prober.probe
    assert probe is not None
    assert probe.nacks == 0
    assert not probe.reached


def test_what_belongs_to_a_removed_member_is_forgotten() -> None:
    bench = Bench(A, B)
    bench.hear(A, PingRequest(1, B))
    bench.hear(B, PingRequest(1, A))
    bench.until_ping()
    for gone in (A, B):
        bench.feed(MemberRemoved(gone.site))
    assert bench.machine.prober.probe is None
    assert bench.machine.statistics().relays == 0
    assert bench.wait(3) == []
    assert bench.feed(MemberRemoved(C.site)) == []


def test_the_suspicion_of_a_member_comes_with_its_reason() -> None:
    bench = Bench(A)
    bench.until_ping()
    effects = bench.wait(1.01)
    [change] = [effect for effect in effects if isinstance(effect, LivenessChanged)]
    assert change.state is SUSPECT
    assert change.why.startswith("no answer in 1000 ms")
