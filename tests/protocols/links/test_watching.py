"""Who is still there, and which links are worth keeping."""

from __future__ import annotations

import pytest

from covey.core.vocabulary import Cause, Channel, PeerConnected, PeerLost, Unpin
from covey.protocols.links.config import LinksConfig
from covey.protocols.links.vocabulary import Write
from covey.wire import codec
from covey.wire.framing import frame
from covey.wire.messages.links import KeepAlive
from tests.protocols.links.links_harness import SECOND_US

CONFIG = LinksConfig()
KEEPALIVE = frame(codec.join_body([codec.encode_message(KeepAlive())]))


def test_a_quiet_pinned_link_says_that_it_is_alive(linked):
    net, a, b = linked
    a.pin(b)
    net.jump(CONFIG.keepalive_us)
    assert a.tick() == [Write(a.end(b).number, KEEPALIVE)]
    assert a.tick() == []


def test_keepalives_are_sent_only_where_nothing_else_was_said(linked):
    net, a, b = linked
    a.pin(b)
    b.pin(a)
    before = a.links.statistics().frames_out
    for _ in range(10):
        net.wait(CONFIG.keepalive_us // 4)
        a.send(b, "busy")
        net.run()
    assert a.links.statistics().frames_out == before + 10


def test_pinned_links_live_on_keepalives_alone(linked):
    net, a, b = linked
    a.pin(b)
    b.pin(a)
    net.wait(600 * SECOND_US)
    assert a.said == b.said == []
    assert a.links.statistics().frames_out <= 125


def test_a_link_that_nobody_pinned_says_nothing_of_its_own_accord(linked):
    """A ping and its answer are all that most links carry; keepalives beside them would double that."""
    net, a, b = linked
    b.send(a, "ho")
    net.run()
    before = [end.links.statistics().frames_out for end in (a, b)]
    net.wait(CONFIG.idle_us_max - SECOND_US)
    after = [end.links.statistics().frames_out for end in (a, b)]
    assert sum(after) - sum(before) <= 2, "whose word was the last to be said asks once, and is answered"
    assert a.said == b.said == []


def test_who_said_something_and_hears_nothing_asks_and_is_answered(linked):
    net, a, b = linked
    for _ in range(5):
        a.send(b, "busy")
        net.run().wait(CONFIG.silence_us_max // 2)
    assert a.facts(PeerLost) == b.facts(PeerLost) == []
    assert b.links.statistics().frames_out >= 2


def test_who_said_something_and_is_not_answered_drops_the_link(linked):
    net, a, b = linked
    b.send(a, "ho")
    net.run().wait(CONFIG.keepalive_us)
    del net.nodes["b"]
    before = a.links.statistics().frames_out
    a.send(b, "busy")
    net.run()
    asked_us = net.now_us
    net.wait(CONFIG.silence_us_max - CONFIG.keepalive_us - 1)
    assert a.links.statistics().frames_out == before + 1
    net.wait(1)
    assert a.links.statistics().frames_out == before + 2, "and asks whether it is there"
    while not a.facts(PeerLost):
        net.wait(SECOND_US // 10)
    assert a.facts(PeerLost) == [PeerLost(b.contact, Channel.CONTROL, Cause.SILENT)]
    assert net.now_us - asked_us <= CONFIG.silence_us_max + SECOND_US


def test_a_peer_that_is_heard_no_more_is_dropped_as_silent(linked):
    net, a, b = linked
    a.pin(b)
    del net.nodes["b"]  # its machine stands still, and its kernel keeps the connection
    net.wait(CONFIG.silence_us_max - 1)
    assert a.said == []
    net.wait(1)
    assert a.said == [PeerLost(b.contact, Channel.CONTROL, Cause.SILENT)]


def test_any_byte_breaks_the_silence(linked):
    net, a, b = linked
    a.pin(b)
    b.pin(a)
    for _ in range(6):
        net.wait(CONFIG.silence_us_max - 1)
    assert a.said == []


def test_who_is_dropped_as_silent_hears_so_when_it_wakes_up(linked):
    net, a, b = linked
    a.pin(b)
    b.pin(a)
    del net.nodes["b"]
    net.wait(CONFIG.silence_us_max)
    net.nodes["b"] = b
    net.run()
    assert b.said == [PeerLost(a.contact, Channel.CONTROL, Cause.SILENT)]


def test_a_link_that_nobody_pinned_or_used_ends_for_both(linked):
    net, a, b = linked
    net.wait(CONFIG.idle_us_max - 1)
    assert a.said == []
    net.wait(SECOND_US)
    assert a.said == [PeerLost(b.contact, Channel.CONTROL, Cause.IDLE)]
    assert b.said == [PeerLost(a.contact, Channel.CONTROL, Cause.IDLE)]
    assert a.links.deadline() is None


def test_idleness_counts_from_when_the_link_came_up(net, a, b):
    a.send(b, "hi")
    net.jump(2 * SECOND_US)
    net.run()
    came_up_us = net.now_us
    net.wait(CONFIG.idle_us_max - 1)
    assert a.facts(PeerLost) == []
    net.wait(1)
    assert a.facts(PeerLost) == [PeerLost(b.contact, Channel.CONTROL, Cause.IDLE)]
    assert net.now_us == came_up_us + CONFIG.idle_us_max


def test_idleness_is_noticed_between_two_keepalives(net, b):
    a = net.node("a", 1, config=LinksConfig(keepalive_us=5 * SECOND_US, idle_us_max=7 * SECOND_US))
    a.send(b, "hi")
    net.wait(7 * SECOND_US - 1)
    assert a.facts(PeerLost) == []
    net.wait(1)
    assert a.facts(PeerLost) == [PeerLost(b.contact, Channel.CONTROL, Cause.IDLE)]


def test_silence_counts_from_when_the_link_came_up(net, a, b):
    a.pin(b)
    a.send(b, "hi")
    net.jump(2 * SECOND_US)
    net.run()
    del net.nodes["b"]
    net.wait(CONFIG.silence_us_max - 1)
    assert a.facts(PeerLost) == []
    net.wait(1)
    assert a.facts(PeerLost) == [PeerLost(b.contact, Channel.CONTROL, Cause.SILENT)]


def test_use_in_either_direction_keeps_a_link(linked):
    net, a, b = linked
    for _ in range(5):
        net.wait(CONFIG.idle_us_max - SECOND_US)
        b.send(a, "still needed", address="")
        net.run()
    assert a.said == b.said == []


def test_a_link_that_is_unpinned_may_go_idle(linked):
    net, a, b = linked
    a.pin(b)
    b.pin(a)
    net.wait(2 * CONFIG.idle_us_max)
    assert a.said == []
    a.feed(Unpin(b.site))
    net.wait(CONFIG.keepalive_us)
    assert a.said == [PeerLost(b.contact, Channel.CONTROL, Cause.IDLE)]


def test_pins_hold_control_links_only(linked):
    net, a, b = linked
    a.pin(b)
    b.pin(a)
    a.send(b, "much", Channel.DATA)
    net.wait(CONFIG.idle_us_max + SECOND_US)
    assert a.facts(PeerLost) == [PeerLost(b.contact, Channel.DATA, Cause.IDLE)]
    assert a.links.linked(b.site, Channel.CONTROL)


def crowd(net, unpinned_max, count):
    """A hub and its peers, linked one second after the other."""
    hub = net.node("hub", 1, config=LinksConfig(unpinned_max=unpinned_max))
    peers = []
    for number in range(2, 2 + count):
        peers.append(net.node(f"p{number}", number))
        peers[-1].send(hub, "hi")
        net.wait(SECOND_US)
    return hub, peers


def test_above_the_bound_the_least_recently_used_of_the_unpinned_goes(net):
    hub, peers = crowd(net, 3, 3)
    hub.pin(peers[0])
    hub.send(peers[1], "used just now")
    net.run()
    hub.said.clear()
    newcomer, latest = net.node("newcomer", 99), net.node("latest", 98)
    newcomer.send(hub, "hi")
    net.run()
    assert hub.said == [PeerConnected(newcomer.contact, Channel.CONTROL)], "two and the pinned one: there is room"
    latest.send(hub, "hi")
    net.run()
    assert hub.facts(PeerLost) == [PeerLost(peers[2].contact, Channel.CONTROL, Cause.IDLE)]
    assert peers[2].facts(PeerLost) == [PeerLost(hub.contact, Channel.CONTROL, Cause.IDLE)]


def test_the_number_of_unpinned_links_is_bounded(net):
    hub, _ = crowd(net, 4, 12)
    assert len(hub.links.links()) == 4


def test_data_links_count_as_unpinned(net):
    hub, peers = crowd(net, 2, 2)
    hub.pin(*peers)
    for peer in peers:
        peer.send(hub, "much", Channel.DATA)
        net.wait(SECOND_US)
    hub.said.clear()
    third = net.node("third", 77)
    third.send(hub, "hi")
    net.run()
    assert hub.facts(PeerLost) == [PeerLost(peers[0].contact, Channel.DATA, Cause.IDLE)]


@pytest.mark.parametrize("late_us", [0, 1, SECOND_US, 100 * SECOND_US])
def test_a_late_alarm_does_all_that_is_due_once(linked, late_us):
    net, a, b = linked
    a.pin(b)
    net.jump(CONFIG.keepalive_us + late_us)
    a.tick()
    a.tick()
    assert len(a.facts(PeerLost)) == (1 if late_us >= CONFIG.silence_us_max else 0)
