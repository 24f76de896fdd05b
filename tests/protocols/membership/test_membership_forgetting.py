"""Forgetting (reference M07, M09, M11): address and metadata go when all have seen the kick, and the kick stays."""

from __future__ import annotations

import msgspec

from covey.core.vocabulary import DigestsHeard
from covey.protocols.membership.record import HOST, MEM, META
from covey.protocols.membership.vocabulary import Cleanup, ClockSkew, Kicked, SetMeta
from tests.protocols.membership.membership_net import DURABLE, SECOND, Net, Node, agree, record_of, three

WINDOW = SECOND
MINUTE = 60 * SECOND


def kept(node: Node, other: Node) -> list[int]:
    """The kinds of fact that a node still has of another."""
    return sorted(kind for kind, target in record_of(node) if target == other.site)


def clean(node: Node, window_us: int = WINDOW) -> list[int]:
    request = node.command(lambda number: Cleanup(number, window_us))
    return [site[0] for site in node.outcomes[request]]


def test_m09_nobody_is_forgotten_while_a_member_has_not_seen_the_kick():
    net, s1, s2, s3 = three()
    s2.command(lambda request: SetMeta(request, b"\x80"))
    net.wait(SECOND)
    s3.crash()
    s1.kick(s2)
    net.wait(WINDOW + 10_000)
    assert clean(s1) == []
    assert kept(s1, s2) == [MEM, HOST, META]
    s1.kick(s3)
    net.wait(3 * SECOND)
    assert clean(s1) == [2, 3]
    assert kept(s1, s2) == kept(s1, s3) == [MEM]
    assert s1.members == [1]


def test_m09_all_forget_by_themselves_once_all_have_advertised_the_kick_and_the_tombstone_stays():
    quick = msgspec.structs.replace(DURABLE, forget_after_us=WINDOW, cleanup_period_us=SECOND)
    net, a, b, c = three(quick)
    d = net.add(4)
    net.mesh()
    net.wait(3 * SECOND)
    d.crash()
    c.crash()
    a.kick(d)
    net.wait(10 * SECOND)
    assert kept(a, d) == kept(b, d) == [MEM, HOST]
    c.restart()
    net.mesh()
    net.wait(10 * SECOND)
    assert kept(a, d) == kept(b, d) == kept(c, d) == [MEM]
    assert agree(a, b, c)
    assert clean(a) == []
    net.wait(60 * SECOND)
    assert kept(a, d) == [MEM]


def test_the_window_is_strict_and_counted_from_the_import_on_the_own_clock():
    net, a, _b, c = three()
    a.kick(c)
    net.wait(3 * SECOND)
    entry = a.machine.record.entry(MEM, c.site)
    assert entry is not None
    net.wait(entry.at_us + 5 * SECOND - net.now_us)
    assert clean(a, 5 * SECOND) == []
    net.now_us += 1
    assert clean(a, 5 * SECOND) == [3]


def test_what_was_heard_through_pings_of_a_member_without_a_link_counts():
    net, a, b, c = three()
    d = net.add(4)
    net.mesh()
    net.wait(3 * SECOND)
    net.isolate(a, [b])
    a.kick(d)
    net.wait(5 * SECOND)
    clean(b)  # nobody's business but its own
    assert clean(a) == []
    a.feed(DigestsHeard(b.site, b""))
    a.feed(DigestsHeard(b.site, b.machine.record.digest + b"an older"))
    assert clean(a) == []
    a.feed(DigestsHeard(b.site, b.machine.record.digest + b.machine.record.kicked_digest))
    assert clean(a) == [4]
    assert c.members == [1, 2, 3]


def test_m07_a_wrong_clock_neither_shortens_the_window_nor_drags_others_along():
    hour_ms = 3_600_000
    net = Net(msgspec.structs.replace(DURABLE, forget_after_us=10 * MINUTE, cleanup_period_us=SECOND))
    a = net.add(1, skew_us=1_000 * hour_ms)
    b, c, x = net.add(2), net.add(3), net.add(4)
    net.mesh()
    net.wait(3 * SECOND)
    a.kick(x)
    net.wait(10 * MINUTE - 5 * SECOND)
    for node in (a, b, c):
        assert kept(node, x) == [MEM, HOST]
    net.wait(10 * SECOND)
    for node in (a, b, c):
        assert kept(node, x) == [MEM]
    for node in (b, c):
        ahead = [event for event in node.kinds(ClockSkew) if event.site == a.site]
        assert len(ahead) == 1
        assert abs(ahead[0].ahead_ms - hour_ms) < 5_000
        lead_ms = (node.machine.ledger.clock.last >> 16) - node.machine.ledger.clock.wall_ms(net.now_us)
        assert lead_ms <= DURABLE.drift_ms_max


def test_m11_a_site_that_was_forgotten_while_it_was_down_learns_it_and_never_counts_as_a_member():
    net, a, b, c = three()
    a.crash()
    b.kick(a)
    net.wait(3 * SECOND)
    assert clean(b) == clean(c) == [1]
    assert kept(b, a) == [MEM]
    a.restart()
    assert a.members == [1, 2, 3]
    net.link(a, b)
    net.wait(2 * SECOND)
    assert len(a.kinds(Kicked)) == 1
    assert (a.solo, a.members) == (True, [1])
    net.wait(5 * SECOND)
    assert b.members == c.members == [2, 3]
    assert agree(b, c)


def test_who_does_not_belong_and_speaks_hears_the_verdict_on_the_link_it_came_by():
    net, a, b, c = three()
    net.unlink(a, c)
    net.cut = {(2, 1)}  # what b says does not reach a
    b.kick(a)
    net.wait(SECOND)
    assert not a.solo
    net.link(a, c)
    net.run()
    assert a.solo
    assert c.machine.statistics().verdicts >= 1
    assert [event.by for event in a.kinds(Kicked)] == [b.site]


def test_who_is_alone_judges_nobody():
    net, a, b, _c = three()
    a.leave()
    net.wait(3 * SECOND)
    assert a.solo
    a.set_member(2, member=False)
    a.machine.exchange.connected(b.machine.me)
    assert a.machine._judge(b.site) == []
