"""A peer that does not read: others are told, what waits is bounded, and patience ends."""

from __future__ import annotations

from random import Random

from covey.core.vocabulary import (
    Cause,
    Channel,
    PeerCongested,
    PeerConnected,
    PeerDrained,
    PeerLost,
    SendMany,
    TurnEnded,
    WantTurn,
)
from covey.protocols.links.config import LinksConfig
from covey.protocols.links.handshake import Dialler
from covey.protocols.links.vocabulary import (
    CloseConnection,
    ConnectionAccepted,
    ConnectionPaused,
    ConnectionResumed,
    Write,
)
from covey.wire import codec
from covey.wire.framing import Splitter
from tests.protocols.links.links_harness import SECOND_US, Bare, identity, note

CONTROL = Channel.CONTROL


def pause(node, other):
    return node.feed(ConnectionPaused(node.end(other).number))


def resume(node, other):
    return node.feed(ConnectionResumed(node.end(other).number))


def test_congestion_and_its_end_are_told_once(linked):
    _, a, b = linked
    assert pause(a, b) == [PeerCongested(b.site, CONTROL)] and pause(a, b) == []
    assert a.links.congested(b.site, CONTROL) and not a.links.congested(b.site, Channel.DATA)
    assert resume(a, b) == [PeerDrained(b.site, CONTROL)] and resume(a, b) == []
    assert not a.links.congested(b.site, CONTROL)


def test_nothing_is_written_to_a_congested_peer_and_all_of_it_afterwards(linked):
    net, a, b = linked
    texts = [f"{index}" + "x" * 50_000 for index in range(10)]
    a.send(b, "in the turn when it happens")
    pause(a, b)
    for text in texts:
        assert a.send(b, text) == []
    assert a.feed(TurnEnded()) == []
    assert resume(a, b) == [WantTurn(), PeerDrained(b.site, CONTROL)]
    net.run()
    assert b.heard(a) == ["in the turn when it happens", *texts]
    assert a.links.statistics().queued_bytes == 0


def test_a_drained_peer_is_given_a_little_each_turn(linked):
    """Else one turn would write megabytes into a socket that has just found room."""
    net, a, b = linked
    pause(a, b)
    for index in range(20):
        a.send(b, f"{index}" + "x" * 50_000)
    resume(a, b)
    write, again = a.feed(TurnEnded())
    assert isinstance(write, Write) and again == WantTurn()
    assert 4 * 65_536 <= len(write.data) < 4 * 65_536 + 50_100
    net.run()
    assert len(b.heard(a)) == 20
    assert a.links.statistics().messages_out == b.links.statistics().messages_in == 21


def test_a_turn_that_was_wanted_is_not_wanted_again(linked):
    net, a, b = linked
    c = net.node("c", 3)
    c.send(a, "hi")
    net.run()
    pause(a, b)
    a.send(b, "waits")
    a.send(c, "goes")
    assert resume(a, b) == [PeerDrained(b.site, CONTROL)]
    net.run()
    assert (b.heard(a), c.heard(a)) == (["waits"], ["goes"])


def test_a_queue_beyond_its_bound_costs_the_link(net, b):
    a = net.node("a", 1, config=LinksConfig(queue_bytes_max=1000))
    a.send(b, "hi")
    net.run()
    number = a.end(b).number
    pause(a, b)
    assert a.send(b, "x" * 900) == []
    assert a.send(b, "y" * 900) == [CloseConnection(number), PeerLost(b.contact, CONTROL, Cause.SLOW)]
    assert a.links.statistics().messages_dropped == 2
    net.run()
    assert b.facts(PeerLost) == [PeerLost(a.contact, CONTROL, Cause.CLOSED)]


def test_a_queue_may_be_as_long_as_its_bound(net, b):
    size = len(codec.encode_message(note("x" * 900)))
    a = net.node("a", 1, config=LinksConfig(queue_bytes_max=size))
    a.send(b, "hi")
    net.run()
    pause(a, b)
    assert a.send(b, "x" * 900) == []
    assert a.send(b, "")[-1] == PeerLost(b.contact, CONTROL, Cause.SLOW)


def test_a_queue_of_many_at_once_beyond_its_bound_costs_the_link_once(net, b):
    a = net.node("a", 1, config=LinksConfig(queue_bytes_max=1000))
    a.send(b, "hi")
    net.run()
    pause(a, b)
    effects = a.feed(SendMany(b.site, [note("x" * 30_000) for _ in range(4)]))
    assert effects[1:] == [PeerLost(b.contact, CONTROL, Cause.SLOW)]


def test_a_peer_that_is_congested_for_too_long_is_dropped(linked):
    net, a, b = linked
    pause(a, b)
    limit_us = LinksConfig().congested_us_max
    net.wait(limit_us - 1)
    assert a.facts(PeerLost) == []
    net.wait(1)
    assert a.facts(PeerLost) == [PeerLost(b.contact, CONTROL, Cause.SLOW)]


def test_a_peer_that_drains_in_time_is_kept(linked):
    net, a, b = linked
    a.pin(b)
    b.pin(a)
    for _ in range(4):
        pause(a, b)
        net.wait(LinksConfig().congested_us_max - 1)
        resume(a, b)
        net.wait(LinksConfig().keepalive_us)
    assert a.facts(PeerLost) == [] and b.facts(PeerLost) == []


def test_control_is_not_paused_for_data(linked):
    net, a, b = linked
    a.send(b, "much", Channel.DATA)
    net.run()
    a.feed(ConnectionPaused(a.end(b, Channel.DATA).number))
    a.send(b, "more", Channel.DATA)
    a.send(b, "ping")
    net.run()
    assert b.heard(a) == ["much", "ping"]
    assert a.said[-1] == PeerCongested(b.site, Channel.DATA)


def test_no_keepalive_is_written_to_a_congested_peer(linked):
    net, a, b = linked
    pause(a, b)
    net.jump(LinksConfig().keepalive_us)
    assert a.tick() == []


def test_a_connection_that_is_congested_before_it_is_open_says_so_when_it_opens():
    """Whoever hears `PeerConnected` takes the link for writable."""
    bare, peer = Bare(), identity(2)
    dialler = Dialler(peer, "peer:1", CONTROL, Random(2))
    bare.feed(ConnectionAccepted(-1, "somewhere"))
    (answer,) = bare.read(-1, dialler.opening())
    assert bare.feed(ConnectionPaused(-1)) == []
    for body in Splitter().feed(answer.data):
        dialler.receive(body)
    effects = [effect for effect in bare.read(-1, dialler.proof()) if not isinstance(effect, Write)]
    assert dialler.peer is not None
    contact = bare.links.contact(peer.site)
    assert contact is not None
    assert effects == [PeerConnected(contact, CONTROL), PeerCongested(peer.site, CONTROL)]


def test_a_connection_that_is_congested_during_its_handshake_does_not_stay_so_for_ever(net, a, b):
    a.send(b, "hi")
    net.deliver(net.pipes[0])
    a.feed(ConnectionPaused(1))
    net.jump(LinksConfig().congested_us_max)
    a.tick()
    assert a.links.deadline() is None and a.links.statistics().dialling == 0


def test_an_alarm_that_rings_late_finds_a_peer_both_silent_and_slow(linked):
    """A suspended machine: the limits of congestion and of silence are over at the same look."""
    net, a, b = linked
    a.pin(b)
    pause(a, b)
    net.jump(60 * SECOND_US)
    a.tick()
    assert [fact.cause for fact in a.facts(PeerLost)] in ([Cause.SLOW], [Cause.SILENT])


def test_a_connection_that_drains_before_it_is_open_is_like_any_other(net, a, b):
    a.send(b, "hi")
    assert a.feed(ConnectionPaused(1)) == a.feed(ConnectionResumed(1)) == []
    net.run().wait(LinksConfig().congested_us_max)
    assert a.said == [PeerConnected(b.contact, CONTROL)] and b.heard(a) == ["hi"]
