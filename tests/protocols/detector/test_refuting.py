"""Who is accused hears of it and refutes (reference M28); why somebody is suspected; rumours and tables."""

from __future__ import annotations

import itertools

import pytest

from covey.core.vocabulary import (
    Cause,
    DigestsChanged,
    DigestsHeard,
    Flood,
    Liveness,
    MemberRemoved,
    Send,
    SiteContested,
)
from covey.protocols.detector.config import DetectorConfig
from covey.protocols.detector.rumours import RumourQueue, rides_max
from covey.protocols.detector.vocabulary import SelfAccused
from covey.wire.messages.detector import (
    REFUTATION_MAX,
    Ack,
    Ping,
    Rumour,
    Rumours,
    Table,
    TableDigest,
)
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


@pytest.mark.parametrize("seed", range(3))
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


# --- rumours ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes, rides", [(9, 4), (10, 8), (99, 8), (100, 12), (999, 12)])
def test_a_rumour_rides_four_times_the_logarithm(nodes: int, rides: int) -> None:
    assert rides_max(4, nodes) == rides


def test_fresh_rumours_ride_first_and_each_as_often_as_it_may() -> None:
    queue = RumourQueue()
    for about in (A, B, C):
        queue.put(rumour(about, DOWN))
    assert [item.site for item in queue.take(2, 2, but=D.site)] == [C.site, B.site]
    assert [item.site for item in queue.take(2, 2, but=D.site)] == [A.site, C.site]
    assert [item.site for item in queue.take(3, 2, but=B.site)] == [A.site]
    assert [item.site for item in queue.take(3, 2, but=D.site)] == [B.site]
    assert len(queue) == 0


def test_news_is_flooded_once_and_rides_on_pings_and_acks() -> None:
    bench = Bench(A, B, C)
    bench.tell(A, rumour(B, DOWN, by=A))
    assert bench.flooded() == [rumour(B, DOWN, by=A)]
    [flood] = [effect for effect in bench.effects if isinstance(effect, Flood)]
    assert flood.but == A.site
    bench.tell(C, rumour(B, DOWN, by=A))
    assert bench.effects == []
    bench.ping(C)
    [(_, ack)] = bench.sent(Ack)
    assert ack.rumours == (rumour(B, DOWN, by=A),)


def test_a_ping_carries_no_more_rumours_than_it_may() -> None:
    others = [contact(chr(letter)) for letter in range(ord("b"), ord("b") + 20)]
    bench = Bench(A, *others)
    bench.tell(A, *(rumour(other, DOWN, by=A) for other in others if other.site != ME.site))
    bench.ping(A)
    [(_, ack)] = bench.sent(Ack)
    assert len(ack.rumours) == 8


def test_a_lifes_first_alive_is_left_to_membership_and_pings() -> None:
    bench = Bench(A, B)
    bench.tell(A, rumour(contact("b", 8), ALIVE))
    assert bench.flooded() == []
    assert bench.changes() == [(contact("b", 8), ALIVE)]
    bench.tell(A, rumour(contact("b", 8), ALIVE, 1))
    assert bench.flooded() == [rumour(contact("b", 8), ALIVE, 1)]
    assert bench.changes() == []


def test_rumours_of_strangers_change_nothing() -> None:
    bench = Bench(A)
    assert bench.tell(A, rumour(B, DOWN), rumour(A, Liveness.UNKNOWN)) == []


def test_membership_s_digests_ride_along() -> None:
    bench = Bench(A)
    bench.feed(DigestsChanged(b"0123"))
    bench.hear(A, Ping(1, 7, 0, bench.machine.opinions.digest_bytes, b"4567", ()))
    assert bench.effects[0] == DigestsHeard(A.site, b"4567")
    [(_, ack)] = bench.sent(Ack)
    assert ack.digests == b"0123"


# --- tables -----------------------------------------------------------------------------------------------------------


def test_on_link_up_both_say_their_digest_and_the_lower_site_begins() -> None:
    bench = Bench(A, contact("z"))
    bench.connected(A)
    assert bench.sent(TableDigest) == [(A.site, TableDigest(bench.machine.opinions.digest_bytes))]
    assert bench.hear(A, TableDigest(bytes(8))) == []  # it is the lower one
    bench.hear(contact("z"), TableDigest(bytes(8)))
    [(to, table)] = bench.sent(Table)
    assert to == contact("z").site
    assert table.answer
    assert [record.site for record in table.records] == [A.site, ME.site, contact("z").site]
    assert bench.hear(contact("z"), TableDigest(bench.machine.opinions.digest_bytes)) == []


def test_the_answer_is_what_the_other_lacks() -> None:
    bench = Bench(A, B, C)
    bench.tell(A, rumour(B, SUSPECT, 0, by=A), rumour(C, ALIVE, 4))
    part = Table(b"", b"\xff" * 16, (rumour(A, ALIVE, 1), rumour(B, ALIVE), rumour(C, ALIVE, 4)), True)
    bench.hear(D, part)
    [(to, answer)] = bench.sent(Table)
    assert to == D.site
    assert answer.records == (rumour(ME, ALIVE), rumour(B, SUSPECT, 0, by=A))
    assert not answer.answer
    assert bench.hear(D, answer) == []
    assert bench.hear(D, Table(b"a" * 16, b"b" * 16, (rumour(B, SUSPECT, 0, by=A),), True)) == []


def test_a_large_table_goes_in_parts_whose_ranges_follow_one_another() -> None:
    world = DetectorWorld(0, 2500, acquainted=False, check_every=10**9)
    world.acquaint(0, range(2500))
    parts = world.nodes[0].machine._exchange.parts()
    assert [len(part.records) for part in parts] == [1024, 1024, 452]
    assert parts[0].low == b""
    assert parts[-1].high == b"\xff" * 16
    assert [part.low for part in parts[1:]] == [part.high for part in parts[:-1]]


def test_a_digest_that_differs_is_looked_into_with_growing_pauses() -> None:
    bench = Bench(A, B)
    begun = []
    for _ in range(400):
        bench.now_us += SECOND
        bench.ping(A, digest=bytes(8))
        begun += [bench.now_us // SECOND for _ in bench.sent(Table)]
    pauses = [later - earlier for earlier, later in itertools.pairwise(begun)]
    assert pauses[:8] == [2, 4, 8, 16, 32, 64, 64, 64]
    bench.tell(A, rumour(B, ALIVE, 1))  # a change: it may be worth it again
    bench.now_us += SECOND
    bench.ping(A, digest=bytes(8))
    assert len(bench.sent(Table)) == 1


def test_just_after_news_a_ping_that_differs_waits_for_the_news_but_not_for_ever() -> None:
    bench = Bench(A, B)
    bench.now_us += 100 * SECOND
    bench.ping(A, digest=bytes(8))
    assert len(bench.sent(Table)) == 1
    waited = 0
    for refutation in range(1, 100):
        bench.now_us += 200_000
        bench.tell(B, rumour(B, ALIVE, refutation))
        bench.ping(A, digest=bytes(8))
        if bench.sent(Table):
            break
        waited += 1
    assert waited == 49  # ten seconds


def test_two_halves_that_meet_again_agree() -> None:
    world = DetectorWorld(5, 8, degree=7)
    world.run(1)
    for a in range(4):
        for b in range(4, 8):
            world.blackhole(a, b)
            world.links.discard((a, b))
    world.run(60)
    assert all(world.nodes[0].state(b) is DOWN for b in range(4, 8))
    assert all(world.nodes[7].state(a) is DOWN for a in range(4))
    world.blocked.clear()
    world.connect(2, 5)  # what the overlay does
    world.run(2)
    for about in range(8):
        assert world.all_hold(about, ALIVE)
    assert len({node.machine.opinions.digest for node in world.nodes}) == 1


def test_what_is_removed_is_no_rumour_any_more() -> None:
    bench = Bench(A, B)
    bench.tell(A, rumour(B, DOWN))
    bench.feed(MemberRemoved(B.site))
    bench.ping(A)
    [(_, ack)] = bench.sent(Ack)
    assert ack.rumours == ()
    assert bench.machine.statistics().rumours == 0


def test_members_beyond_the_bound_are_not_watched_and_counted() -> None:
    bench = Bench(A, B, config=DetectorConfig(members_max=1))
    assert bench.state(B) is None
    assert bench.machine.statistics().unwatched == 1
