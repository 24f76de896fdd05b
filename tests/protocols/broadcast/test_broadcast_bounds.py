"""Everything that a node remembers of broadcasts is bounded, and what goes first is said."""

from __future__ import annotations

import msgspec

from covey.core.ids import ClusterId, Site
from covey.core.vocabulary import (
    Channel,
    ClusterChanged,
    Multicast,
    NeighborUp,
    PeerCongested,
    PeerConnected,
    PeerDrained,
    Send,
)
from covey.protocols.broadcast.bodies import Run
from covey.protocols.broadcast.config import BroadcastConfig
from covey.protocols.broadcast.streams import Seen
from covey.wire.messages.broadcast import Gossip, IHave
from tests.protocols.broadcast.broadcast_net import MS, SECOND, Net, contact, site

A = (Site(b"a" * 16), 1, b"news")


def other(number: int) -> tuple[Site, int, bytes]:
    return Site(number.to_bytes(16, "big")), 1, b"news"


# --- 12: telling duplicates -----------------------------------------------------------------------------------------


def test_12_a_million_messages_in_order_are_one_interval():
    seen = Seen(10, 10_001)
    for first in range(1, 1_000_001, 1_000):
        seen.add(A, first, first + 999)
    assert seen.bounds(A) == [1, 1_000_001]


def test_12_of_a_stream_with_too_many_gaps_the_oldest_counts_as_seen():
    seen = Seen(10, 100)
    for number in range(1, 1_000, 2):
        seen.add(A, number, number)
    seen.check()
    assert len(seen.bounds(A)) == 200
    assert seen.has(A, 2) and not seen.has(A, 998)
    assert seen.fresh(A, 1, 10) == []


def test_12_the_stream_that_was_silent_for_longest_is_forgotten_first():
    seen = Seen(4, 10)
    for number in (1, 2, 3, 4):
        seen.add(other(number), 1, 1)
    seen.add(other(1), 2, 2)
    seen.add(other(5), 1, 1)
    assert seen.streams() == [other(3), other(4), other(1), other(5)]
    assert seen.fresh(other(2), 1, 1) == [(1, 1)]
    seen.check()


# --- 23: what is wanted ---------------------------------------------------------------------------------------------


def test_23_so_much_is_wanted_and_no_more():
    net = Net(BroadcastConfig(missing_max=100)).start("a", "b").link("ab")
    net.nodes["b"].tree.prune(site("a"))
    net.hear("b", "a", IHave(((site("x"), 1, b"news", ((1, 2**40, 1),)),)))
    assert net.nodes["b"].statistics().missing == 100


def test_14_bodies_are_let_go_of_a_second_after_their_time():
    net = Net().start("a", "b").link("ab").broadcast("a").run(30 * SECOND)
    assert [net.nodes[name].statistics().kept for name in "ab"] == [1, 1]
    net.run(2 * SECOND)
    assert [net.nodes[name].statistics().kept for name in "ab"] == [0, 0]
    assert [net.nodes[name].deadline() for name in "ab"] == [None, None]


# --- who reads slowly -----------------------------------------------------------------------------------------------


def test_who_reads_slowly_is_told_what_there_is_and_not_sent_it():
    net = Net().start("a", "b", "c").link("ab", "ac")
    net.feed("a", PeerCongested(site("b"), Channel.DATA))
    assert net.nodes["a"].tree.is_congested()
    net.broadcast("a").run(200 * MS)
    assert [type(message) for _, to, message in net.said if to == "b"] == [IHave]
    assert [type(message) for _, to, message in net.said if to == "c"] == [Gossip]
    net.feed("a", PeerDrained(site("b"), Channel.DATA))
    assert not net.nodes["a"].tree.is_congested()
    net.run()
    assert net.heard["b"] == net.heard["c"] != []


def test_what_concerns_the_control_link_concerns_nobody_here():
    net = Net().start("a", "b").link("ab")
    net.feed("a", PeerCongested(site("b"), Channel.CONTROL))
    net.feed("a", PeerConnected(contact("c"), Channel.CONTROL))
    assert not net.nodes["a"].tree.is_congested()


def test_who_has_no_link_yet_is_sent_to_by_its_address():
    net = Net().start("a", "b")
    net.feed("a", NeighborUp(contact("b")))
    effects = net.nodes["a"].tree.spread(_run(), None, 0)
    assert [(type(one), one.address) for one in effects] == [(Send, "b:1")]
    net.feed("a", PeerConnected(contact("b"), Channel.DATA))
    (effect,) = net.nodes["a"].tree.spread(_run(2), None, 0)
    assert type(effect) is Multicast


def _run(first: int = 1) -> Run:
    return Run((site("a"), 1, b"news"), first, first, 0, msgspec.msgpack.encode([1]))


# --- another life ---------------------------------------------------------------------------------------------------


def test_another_life_says_its_messages_from_one_on_and_has_no_neighbours():
    net = Net().start("a", "b").link("ab").broadcast("a").run()
    net.feed("a", ClusterChanged(ClusterId(b"c" * 16), 2, False))
    assert net.nodes["a"].statistics().eager == 0
    net.link("ab").broadcast("a", b"\x02").run()
    assert [(number, value) for _, number, value in net.heard["b"]] == [(1, b"\x01"), (1, b"\x02")]


def test_what_has_not_the_values_that_it_says_is_nothing():
    net = Net().start("a", "b").link("ab")
    for body in (b"\x92\xc0\xc0", b"\xc0", b"\x81\xa1a\xc0"):
        net.hear("b", "a", Gossip(site("a"), 1, b"news", 1, 1, 1, msgspec.Raw(body)))
    assert net.heard["b"] == []
    assert net.nodes["b"].statistics().forged == 3
