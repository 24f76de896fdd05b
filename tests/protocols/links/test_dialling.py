"""How a link comes about: who is dialled, who answers, and what becomes of the messages that wait."""

from __future__ import annotations

from random import Random

import pytest

from covey.core.vocabulary import (
    AddressAnswered,
    AddressFailed,
    AddressLearned,
    Cause,
    Channel,
    Emit,
    Multicast,
    PeerConnected,
    PeerUnreached,
    Send,
    SiteContested,
    WantTurn,
)
from covey.protocols.links.config import LinksConfig
from covey.protocols.links.handshake import ACCEPTED, Acceptor
from covey.protocols.links.vocabulary import (
    BytesReceived,
    CloseConnection,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionOpened,
    ConnectionPaused,
    ConnectionResumed,
    LinkRefused,
    OpenConnection,
)
from covey.wire import codec
from tests.protocols.links.links_harness import SILENCE, Bare, identity, note

CONTROL = Channel.CONTROL


def test_a_message_without_a_link_dials_and_goes_first(net, a, b):
    assert a.send(b, "hi") == [OpenConnection(1, "b:1")]
    net.run()
    assert a.said == [PeerConnected(b.contact, CONTROL)]
    assert b.said == [PeerConnected(a.contact, CONTROL)]
    assert b.heard(a) == ["hi"]


def test_messages_wait_for_their_dial_in_order(net, a, b):
    a.send(b, "one")
    assert a.send(b, "two") == [] and a.send(b, "three", address="") == []
    assert a.links.statistics().dialling == 1 and a.links.statistics().waiting_bytes > 0
    net.run()
    assert b.heard(a) == ["one", "two", "three"]
    assert a.links.statistics().dialling == a.links.statistics().waiting_bytes == 0


def test_a_dial_finds_out_who_is_at_an_address(net, a, b):
    assert a.dial("b:1") == [OpenConnection(1, "b:1")]
    net.run()
    assert a.said == [AddressAnswered("b:1", b.contact), PeerConnected(b.contact, CONTROL)]
    assert b.said == [PeerConnected(a.contact, CONTROL)]


def test_an_address_that_a_link_leads_to_is_answered_at_once(linked):
    _, a, b = linked
    assert a.dial("b:1") == [AddressAnswered("b:1", b.contact)]


def test_another_address_of_a_linked_peer_is_answered_and_the_link_stays(linked):
    net, a, b = linked
    net.by_address["alias:1"] = b
    a.dial("alias:1")
    net.run()
    assert a.said == [AddressAnswered("alias:1", b.contact)] and b.said == []
    assert len(a.links.links()) == 1


def test_an_address_is_dialled_once_at_a_time(net, a, b):
    a.dial(b)
    assert a.dial(b) == []
    net.run()
    assert len(net.pipes) == 1


def test_nobody_listens_there(net, a):
    a.dial("nobody:1")
    net.run()
    assert a.said == [AddressFailed("nobody:1", Cause.REFUSED)]


def test_an_address_that_failed_or_answered_can_be_dialled_again(net, a, b):
    for address in ("nobody:1", "a:1"):
        for times in (1, 2):
            a.said.clear()
            a.dial(address)
            net.run()
            assert len(a.said) == 1, f"{address}, the {times}. time"


def test_a_peer_that_is_linked_for_data_only_is_dialled(net, a, b):
    a.send(b, "much", Channel.DATA)
    net.run()
    assert a.dial("b:1") == [OpenConnection(2, "b:1")]


def test_what_waits_for_a_failed_dial_is_reported_once(net, a, b):
    a.send(b, "one", address="nobody:1")
    a.send(b, "two", address="nobody:1")
    net.run()
    assert a.said == [PeerUnreached(b.site, CONTROL, Cause.REFUSED)]
    assert a.links.statistics().messages_dropped == 2


@pytest.mark.parametrize("directed", [True, False])
def test_an_address_that_never_answers_times_out(net, a, b, directed):
    limit_us = LinksConfig().connect_us_max
    a.send(b, "hi", address=SILENCE) if directed else a.dial(SILENCE)
    net.wait(limit_us - 1)
    assert a.said == []
    net.jump(1)
    told = PeerUnreached(b.site, CONTROL, Cause.TIMEOUT) if directed else AddressFailed(SILENCE, Cause.TIMEOUT)
    assert a.tick() == [CloseConnection(1), told]
    assert a.links.deadline() is None


def test_an_acceptor_that_says_nothing_times_out(net, a, b):
    a.send(b, "hi")
    net.deliver(net.pipes[0])
    net.pipes[0].other.inbox.clear()  # b never hears of it
    net.wait(LinksConfig().connect_us_max)
    assert a.said == [PeerUnreached(b.site, CONTROL, Cause.TIMEOUT)]


def test_a_dial_that_is_closed_under_way_has_failed(net, a, b):
    a.dial(b)
    net.kill(b)
    net.run()
    assert a.said == [AddressFailed("b:1", Cause.RESET)]


def test_somebody_else_at_the_address_is_not_whom_we_meant(net, a, b):
    c = net.node("c", 3, address="b:1")
    a.send(b, "for b only")
    net.run()
    assert a.said == [PeerUnreached(b.site, CONTROL, Cause.OTHER_SITE)]
    assert c.said == [] and c.read == [] and c.links.links() == []


def test_a_dial_to_ourselves_answers_with_our_own_contact(net, a):
    a.dial(a)
    net.run()
    assert a.said == [AddressAnswered("a:1", a.contact)]
    assert a.links.links() == [] and a.links.deadline() is None


def test_a_message_whose_address_is_our_own_is_not_delivered(net, a, b):
    a.send(b, "hi", address="a:1")
    net.run()
    assert a.said == [AddressAnswered("a:1", a.contact), PeerUnreached(b.site, CONTROL, Cause.SELF)]


def test_a_copy_of_ourselves_is_a_conflict(net, a):
    net.node("copy", identity(1, boot=1))
    a.dial("copy:1")
    net.run()
    contested, refused, failed = a.said
    assert isinstance(contested, Emit) and isinstance(contested.event, SiteContested)
    assert failed == AddressFailed("copy:1", Cause.SITE_CONFLICT)
    assert isinstance(refused, Emit) and isinstance(refused.event, LinkRefused)
    assert (refused.event.address, refused.event.cause) == ("copy:1", Cause.SITE_CONFLICT)
    assert not refused.event.refused_by_peer and not refused.event.inbound


def test_nothing_can_be_sent_to_ourselves(a):
    assert a.send(a, "echo") == [PeerUnreached(a.site, CONTROL, Cause.SELF)]
    assert a.links.statistics().messages_dropped == 1


def test_nothing_can_be_sent_without_a_link_or_an_address(a, b):
    assert a.send(b, "hi", address="") == [PeerUnreached(b.site, CONTROL, Cause.NO_ADDRESS)]
    assert a.links.statistics().messages_dropped == 1


def test_a_multicast_passes_over_those_without_a_link(linked):
    net, a, b = linked
    c = net.node("c", 3)
    assert a.feed(Multicast((c.site, b.site, a.site), note("all"))) == [WantTurn()]
    assert a.feed(Multicast((c.site,), note("nobody"))) == []
    net.run()
    assert b.heard(a) == ["all"] and a.said == []


def test_what_waits_behind_one_dial_is_bounded_in_bytes(net, b):
    a = net.node("a", 1, config=LinksConfig(waiting_bytes_max=100))
    a.send(b, "x" * 40)
    a.send(b, "y" * 40)
    assert a.send(b, "z" * 40) == [PeerUnreached(b.site, CONTROL, Cause.BUSY)]
    assert a.links.statistics().messages_dropped == 1
    a.send(b, "w")
    net.run()
    assert b.heard(a) == ["x" * 40, "y" * 40, "w"]


def test_a_first_message_above_the_bound_of_what_may_wait_is_refused_or_sent_and_no_law_is_broken(net, b):
    a = net.node("a", 1, config=LinksConfig(waiting_bytes_max=100))
    effects = a.send(b, "x" * 200)  # `feed` checks the invariants
    net.run()
    assert b.heard(a) == ["x" * 200] or effects == [PeerUnreached(b.site, CONTROL, Cause.BUSY)]


def test_the_peers_that_something_waits_for_are_bounded(net):
    a = net.node("a", 1, config=LinksConfig(waiting_peers_max=2))
    sites = [identity(number).site for number in (2, 3, 4)]
    assert a.feed(Send(sites[0], note("x"), SILENCE)) == [OpenConnection(1, SILENCE)]
    assert a.feed(Send(sites[1], note("x"), SILENCE)) == [OpenConnection(2, SILENCE)]
    assert a.feed(Send(sites[2], note("x"), SILENCE)) == [PeerUnreached(sites[2], CONTROL, Cause.BUSY)]


def test_the_address_we_learn_is_told_from_then_on(net, a, b):
    assert a.feed(AddressLearned("a.example:9")) == []
    a.send(b, "hi")
    net.run()
    assert b.facts(PeerConnected)[0].contact.address == "a.example:9"
    assert b.links.contact(a.site) == b.facts(PeerConnected)[0].contact


def test_the_channels_to_a_peer_are_dialled_apart(net, a, b):
    a.send(b, "small", Channel.CONTROL)
    a.send(b, "large", Channel.DATA)
    net.run()
    assert len(net.pipes) == 2 and b.heard(a) == ["small", "large"]
    assert a.links.linked(b.site, Channel.DATA) and a.links.linked(b.site, CONTROL)
    assert a.links.links() == [b.contact.life], "one life, however many channels"
    assert a.links.contact(b.site, Channel.DATA) == b.contact
    assert a.links.contact(identity(9).site) is None


def test_a_peer_that_comes_to_us_first_makes_our_dial_needless(net, a, b):
    net.by_address["silent"] = a  # a's own dial is answered late
    a.send(b, "from a")
    ours = net.pipes[0]
    b.send(a, "from b")
    theirs = net.pipes[1]
    for end in (theirs.other, theirs, theirs.other, theirs, theirs.other):
        net.deliver(end)
    assert not ours.alive
    net.run()
    assert b.heard(a) == ["from a"] and a.heard(b) == ["from b"] and len(net.pipes) == 2


def test_a_blind_dial_that_gets_there_first_takes_what_waits_for_a_directed_one(net, a, b):
    net.by_address["alias:1"] = b
    a.send(b, "hi")
    a.dial("alias:1")
    directed, blind = net.pipes
    for end in (blind.other, blind, blind.other, blind):
        net.deliver(end)
    assert not directed.alive
    net.run()
    net.wait(LinksConfig().connect_us_max)
    assert b.heard(a) == ["hi"] and a.facts(PeerUnreached) == []
    assert a.links.statistics().dialling == 0


def test_a_directed_dial_that_gets_there_first_answers_for_a_blind_one(net, a, b):
    net.by_address["alias:1"] = b
    a.send(b, "hi")
    a.dial("alias:1")
    directed, blind = net.pipes
    for end in (directed.other, directed, directed.other, directed, blind.other, blind, blind.other, blind):
        net.deliver(end)
    assert a.said == [AddressAnswered("alias:1", b.contact)] and not blind.alive
    net.run()
    assert b.heard(a) == ["hi"] and len(a.links.links()) == 1


def test_no_tls_session_is_told_to_a_person(a, net):
    a.feed(Send(identity(2).site, note("hi"), SILENCE))
    effects = a.feed(ConnectionFailed(1, Cause.TLS))
    assert effects[0].event.cause is Cause.TLS and not effects[0].event.refused_by_peer
    assert effects[1:] == [PeerUnreached(identity(2).site, CONTROL, Cause.TLS)]


def test_a_certificate_that_is_refused_after_connecting_is_told_to_a_person(net, a, b):
    a.dial(b)
    net.deliver(net.pipes[0])
    told, failed = a.feed(ConnectionClosed(1, Cause.TLS))
    assert told.event.cause is Cause.TLS and not told.event.inbound and not told.event.refused_by_peer
    assert failed == AddressFailed("b:1", Cause.TLS)


def test_a_large_first_frame_right_behind_accepted_is_taken():
    """The acceptor may speak at length as soon as it let us in, and TCP may hand us all of it in one read."""
    bare = Bare()
    peer = identity(2)
    bare.feed(Send(peer.site, note("hi"), "peer:1"))
    (hello,) = bare.feed(ConnectionOpened(1))
    acceptor = Acceptor(peer, "peer:1", Random(2))
    bare.read(1, *acceptor.receive(hello.data[4:]))
    large = codec.join_body([codec.encode_message(note("x" * 500_000))])
    effects = bare.read(1, ACCEPTED, large)
    assert type(effects[0]) is PeerConnected and effects[-1].messages == [note("x" * 500_000)]


@pytest.mark.parametrize("kind", [ConnectionOpened, ConnectionPaused, ConnectionResumed])
def test_facts_about_connections_that_are_gone_change_nothing(a, kind):
    assert a.feed(kind(7)) == []


@pytest.mark.parametrize(
    "fact", [BytesReceived(7, b"x"), ConnectionClosed(7, Cause.RESET), ConnectionFailed(7, Cause.REFUSED)]
)
def test_news_of_connections_that_are_gone_change_nothing(a, fact):
    assert a.feed(fact) == []


def test_a_connection_that_opens_twice_greets_once(net, a, b):
    a.send(b, "hi")
    a.feed(ConnectionOpened(1))
    assert a.feed(ConnectionOpened(1)) == []


def test_bytes_before_the_connection_is_there_are_a_violation(net, a, b):
    a.send(b, "hi")
    effects = a.feed(BytesReceived(1, b"\x00\x00\x00\x01\x00"))
    assert effects == [CloseConnection(1), PeerUnreached(b.site, CONTROL, Cause.VIOLATION)]
