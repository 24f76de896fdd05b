"""Who is accused hears of it and refutes (reference M28); why somebody is suspected; who is not watched."""

from __future__ import annotations

import pytest

from covey.core.vocabulary import Cause, Flood, Liveness, Send, SiteContested
from covey.protocols.detector.config import DetectorConfig
from covey.protocols.detector.vocabulary import SelfAccused
from covey.wire.messages.detector import REFUTATION_MAX, Ping, Rumour, Rumours, TableDigest
from tests.protocols.detector.detector_bench import ME, SECOND, A, B, Bench, C, D, contact, rumour
from tests.protocols.detector.detector_world import DetectorWorld, site_of

ALIVE, SUSPECT, DOWN, STOPPED = Liveness.ALIVE, Liveness.SUSPECT, Liveness.DOWN, Liveness.STOPPED


def test_m28_the_accused_raises_its_refutation_and_says_so() -> None:
    bench = Bench(A, B)
    bench.tell(A, rumour(ME, SUSPECT, 4, by=B))
    mine = rumour(ME, ALIVE, 5)
    assert bench.effects == [
        Send(A.site, Rumours((mine,))),
        *bench.effects[1:2],  # the event, below
        Flood(Rumours((mine,)), A.site),
    ]
    assert bench.events() == [SelfAccused(B.site, SUSPECT, ME.incarnation, True)]
    assert bench.machine.health.score == 1
    bench.tell(B, rumour(ME, SUSPECT, 4, by=B))  # the same again: B does not know yet
    assert bench.effects == [Send(B.site, Rumours((mine,)))]
    assert bench.machine.statistics().refutation == 5
    assert bench.machine.health.score == 1


@pytest.mark.parametrize("seed", [2, *[pytest.param(seed, marks=pytest.mark.slow) for seed in (0, 1)]])
def test_m28_in_100_nodes_everybody_is_back_to_alive_within_two_seconds(seed: int) -> None:
    world = DetectorWorld(seed, 100, loss=0.01, check_every=101)
    world.run(2)
    accuser = world.nodes[60]
    for effect in accuser.machine.opinions.accuse(site_of(7), "a test says so", world.now_us):
        world._execute(accuser, effect)
    accused_us = world.now_us
    world.run(2)
    assert len(world.times(7, SUSPECT)) > 50
    assert world.all_hold(7, ALIVE)
    assert world.times(7, ALIVE)[-1] - accused_us < 2 * SECOND
    assert world.nodes[7].machine.statistics().refutation == 1
    assert world.ever(DOWN) == []


def test_m28_a_suspicion_at_a_higher_refutation_restarts_the_timer_and_an_equal_one_confirms() -> None:
    bench = Bench(A, B, C, D)
    bench.tell(B, rumour(A, SUSPECT, 0, by=B))
    timers = bench.machine._timers
    first_us = timers.due_at(("suspicion", A.site))
    bench.now_us += SECOND // 10
    bench.tell(C, rumour(A, SUSPECT, 0, by=B))  # no independent word
    assert timers.due_at(("suspicion", A.site)) == first_us
    bench.tell(C, rumour(A, SUSPECT, 0, by=C))
    confirmed_us = timers.due_at(("suspicion", A.site))
    assert confirmed_us is not None
    assert first_us is not None
    assert confirmed_us < first_us
    assert confirmed_us >= bench.now_us + 3 * SECOND
    assert bench.flooded() == [rumour(A, SUSPECT, 0, by=C)]  # confirmations are news too
    bench.tell(C, rumour(A, SUSPECT, 3, by=C))
    assert timers.due_at(("suspicion", A.site)) == bench.now_us + 24 * SECOND


def test_what_we_confirm_ourselves_counts_and_is_told() -> None:
    bench = Bench(A, B, C, D)
    bench.tell(B, rumour(A, SUSPECT, 0, by=B))
    bench.effects = [*bench.machine.opinions.accuse(A.site, "no answer", bench.now_us)]
    assert bench.machine.opinions.news == [rumour(A, SUSPECT, 0, by=ME)]
    bench.machine.opinions.news.clear()
    assert [line.split(": ", 1)[1] for line in bench.machine.why(A.site)] == [
        "alive: it is a member",
        "suspect: according to 62626262, told by 62626262",
        "unreached by us too: no answer",
        "confirmed by 6d6d6d6d, 1 of 3",
    ]


def test_whom_we_accused_wrongly_makes_us_doubt_ourselves() -> None:
    bench = Bench(A)
    bench.until_ping()
    bench.wait(1.01)
    score = bench.machine.health.score
    bench.tell(A, rumour(A, ALIVE, 1))
    assert bench.state(A) is ALIVE
    assert bench.machine.health.score == score + 1


def test_a_ping_to_a_suspect_says_so_first_and_its_ack_lifts() -> None:
    bench = Bench(A, B, C, D)
    bench.tell(B, rumour(C, DOWN, by=B), rumour(A, SUSPECT, 0, by=B))
    target, ping = bench.until_ping()
    while target != A:
        bench.ack(target, ping.number)
        target, ping = bench.until_ping()
    assert ping.rumours[0] == rumour(A, SUSPECT, 0, by=B)
    assert A.site not in [item.site for item in ping.rumours[1:]]
    bench.ack(A, ping.number, refutation=1)
    assert bench.state(A) is ALIVE


def test_the_last_word_before_down_says_who_suspected_and_who_confirmed() -> None:
    bench = Bench(A, B, C)
    bench.tell(B, rumour(A, SUSPECT, 0, by=B))
    bench.tell(C, rumour(A, SUSPECT, 0, by=C))
    for _ in range(60):
        bench.wait(0.2)
        bench.ping(B)
        bench.ping(C)
    assert bench.state(A) is DOWN
    lines = " | ".join(bench.machine.why(A.site))
    assert "first by 62626262, confirmed 2 of 2 times, and it did not refute" in lines
    assert bench.machine.why(D.site) == ()


def test_stories_are_bounded() -> None:
    bench = Bench(A, B)
    for refutation in range(50):
        bench.tell(B, rumour(A, SUSPECT, refutation, by=B))
    assert len(bench.machine.why(A.site)) == 16


# --- answering --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [SUSPECT, DOWN])
def test_any_message_of_the_accused_is_answered_with_the_accusation(state: Liveness) -> None:
    bench = Bench(A, B)
    bench.tell(B, rumour(A, state, 0, by=B))
    assert bench.machine.accused(A.site) == Rumours((rumour(A, state, 0, by=B if state is SUSPECT else None),))
    bench.hear(A, TableDigest(bench.machine.opinions.digest_bytes))
    assert bench.effects == [Send(A.site, bench.machine.accused(A.site))]
    bench.hear(A, TableDigest(bench.machine.opinions.digest_bytes))
    assert bench.effects == []  # not twice at once
    bench.now_us += 200_000
    bench.connected(A)
    assert bench.sent(Rumours) == [(A.site, bench.machine.accused(A.site))]
    bench.hear(A, Ping(1, A.incarnation, 1, bench.machine.opinions.digest_bytes, b"", ()))
    assert bench.state(A) is ALIVE
    assert bench.sent(Rumours) == []
    assert bench.machine.accused(A.site) is None
    assert bench.machine.accused(C.site) is None


def test_who_said_that_it_stops_is_not_accused() -> None:
    bench = Bench(A)
    bench.tell(A, rumour(A, STOPPED))
    assert bench.machine.accused(A.site) is None


def test_what_lifts_down_is_a_higher_refutation_or_incarnation_and_nothing_else() -> None:
    bench = Bench(A, B)
    bench.tell(B, rumour(A, DOWN, 2))
    bench.tell(A, rumour(A, ALIVE, 2))
    bench.connected(A)
    assert bench.state(A) is DOWN
    bench.tell(B, rumour(A, ALIVE, 3))  # from anyone
    assert bench.state(A) is ALIVE
    bench.tell(B, rumour(A, DOWN, 3))
    bench.tell(B, rumour(contact("a", 8), ALIVE))
    assert bench.state(A) is ALIVE
    assert bench.changes() == [(Contact8, ALIVE)]


Contact8 = contact("a", 8)


def test_an_accusation_of_an_earlier_life_is_answered_with_this_one() -> None:
    bench = Bench(A)
    assert bench.tell(A, Rumour(ME.site, ME.incarnation - 1, 9, DOWN)) == [Send(A.site, Rumours((rumour(ME, ALIVE),)))]


@pytest.mark.parametrize(
    "said",
    [
        Rumour(ME.site, ME.incarnation + 1, 0, ALIVE),
        Rumour(ME.site, ME.incarnation, 0, STOPPED),
        Rumour(ME.site, ME.incarnation, REFUTATION_MAX, DOWN),
    ],
)
def test_what_no_word_of_ours_can_help_is_an_event_once(said: Rumour) -> None:
    bench = Bench(A)
    bench.tell(A, said)
    accused, *contested = bench.events()
    assert accused == SelfAccused(b"", said.state, said.incarnation, False)
    assert [type(event) for event in contested] == ([SiteContested] if said.state is ALIVE else [])
    assert bench.tell(A, said) == []
    assert bench.machine.statistics().refutation == 0


def test_a_refutation_of_ours_that_we_do_not_know_of_is_topped() -> None:
    bench = Bench(A)
    bench.tell(A, rumour(ME, ALIVE, 8))
    assert bench.machine.statistics().refutation == 9
    assert bench.machine.health.score == 0
    assert bench.tell(A, rumour(ME, ALIVE, 9)) == []
    assert bench.tell(A, rumour(ME, ALIVE, 8)) == []


def test_messages_in_our_own_name_are_ignored() -> None:
    bench = Bench(A)
    assert bench.tell(ME, rumour(A, DOWN)) == []
    assert bench.state(A) is ALIVE


def test_who_is_down_but_linked_to_us_is_still_probed_and_told() -> None:
    """After a cut that ended before the link did, both ends hold the other for down, and somebody must begin."""
    bench = Bench(A, B)
    bench.connected(A)
    bench.tell(B, rumour(A, DOWN))
    target, ping = bench.until_ping()
    while target != A:
        bench.ack(target, ping.number)
        target, ping = bench.until_ping()
    assert ping.rumours[0] == rumour(A, DOWN)
    while bench.machine.prober.probe is not None and bench.machine.prober.probe.site == A.site:
        bench.ping(B)
        bench.wait(0.1)
    assert bench.machine.statistics().probes_failed == 0  # as was to be expected
    bench.lost(A, Cause.SILENT)
    for _ in range(5):
        bench.wait(1)
        assert A.site not in [to for to, _ in bench.sent(Ping)]


def test_members_beyond_the_bound_are_not_watched_and_counted() -> None:
    bench = Bench(A, B, config=DetectorConfig(members_max=1))
    assert bench.state(B) is None
    assert bench.machine.statistics().unwatched == 1
