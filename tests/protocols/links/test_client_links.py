"""Clients: let in like nodes and bounded apart from them; what they may say; and a node that is alone."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from covey.core.ids import ClusterId, Contact, Site, cluster_id
from covey.core.vocabulary import (
    AddressFailed,
    Cause,
    Channel,
    ClusterChanged,
    ClusterEntered,
    Disconnect,
    Emit,
    MessagesReceived,
    Multicast,
    PeerConnected,
    PeerLost,
    PeerUnreached,
    ProtocolViolation,
    Send,
    Tick,
    TurnEnded,
    WantTurn,
)
from covey.protocols.links.config import LinksConfig
from covey.protocols.links.handshake import ACCEPTED, Acceptor, Dialler, HandshakeFailed
from covey.protocols.links.vocabulary import (
    CloseConnection,
    CloseLinks,
    ConnectionAccepted,
    ConnectionClosed,
    LinkRefused,
    Write,
)
from covey.wire import codec
from covey.wire.framing import Splitter, frame
from covey.wire.messages.client import Answer, Ask
from covey.wire.messages.handshake import Refused
from covey.wire.messages.links import Goodbye, KeepAlive
from tests.protocols.links.links_harness import Bare, identity, note

CLIENT, CONTROL, DATA = Channel.CLIENT, Channel.CONTROL, Channel.DATA
SOLO = ClusterId(b"s" * 16)
HOME = cluster_id("flock")
MEMBERS = Ask(1, "members", b"")


def client(number: int = 9, boot: int = 0, cluster: str = "flock"):
    """Who a client says it is."""
    return identity(number, incarnation=0, boot=boot, cluster=cluster)


def alone(number: int = 1):
    """A node that was thrown out."""
    return msgspec.structs.replace(identity(number), cluster=SOLO)


def admit(bare: Bare, number: int = -1, who: int = 9, boot: int = 0):
    return bare.admit(number, client(who, boot), "", CLIENT)


def say(bare: Bare, *messages, number: int = -1):
    return bare.read(number, codec.join_body([codec.encode_message(message) for message in messages]))


def contact(number: int = 9, incarnation: int = 0, address: str = "") -> Contact:
    return Contact(identity(number).site, incarnation, address)


def site(number: int) -> Site:
    return identity(number).site


def refused(effects) -> tuple[Cause, str]:
    """What is written to somebody who is not let in."""
    (write,) = [effect for effect in effects if isinstance(effect, Write)]
    (body,) = Splitter().feed(write.data)
    message = codec.decode_handshake(body)
    assert isinstance(message, Refused)
    return Cause(message.cause), message.detail


# --- in and out -----------------------------------------------------------------------------------------------------


def test_a_client_is_let_in_on_its_own_channel_and_asks_there():
    bare = Bare()
    accepted, connected = admit(bare)
    assert accepted == Write(-1, frame(ACCEPTED))
    assert connected == PeerConnected(contact(), CLIENT)
    assert say(bare, MEMBERS) == [MessagesReceived(site(9), [MEMBERS])]
    assert bare.links.links() == [] and bare.links.contact(site(9)) is None
    assert (bare.links.remote(site(9), CLIENT), bare.links.remote(site(9), CONTROL)) == ("somewhere", "")


def test_a_client_gets_its_answer():
    bare = Bare()
    admit(bare)
    answer = Answer(1, b"\x80", False, "")
    assert bare.feed(Send(site(9), answer, channel=CLIENT)) == [WantTurn()]
    assert bare.feed(TurnEnded()) == [Write(-1, frame(codec.join_body([codec.encode_message(answer)])))]


def test_a_client_that_goes_is_lost_on_its_channel_only():
    bare = Bare()
    bare.admit(-2, identity(9, incarnation=7))
    admit(bare)
    assert bare.feed(ConnectionClosed(-1, Cause.CLOSED)) == [PeerLost(contact(), CLIENT, Cause.CLOSED)]
    assert bare.links.linked(site(9), CONTROL)


def test_a_node_that_closes_says_goodbye_to_its_clients_too():
    bare = Bare()
    admit(bare)
    _, closed, lost = bare.feed(CloseLinks())
    assert (closed, lost) == (CloseConnection(-1), PeerLost(contact(), CLIENT, Cause.GOODBYE))


def test_nobody_dials_a_client():
    bare = Bare()
    assert bare.feed(Send(site(9), MEMBERS, "client:1", CLIENT)) == [PeerUnreached(site(9), CLIENT, Cause.NO_ADDRESS)]
    assert bare.links.statistics().dialling == 0


def test_what_is_for_nodes_does_not_reach_a_client():
    bare = Bare()
    admit(bare)
    for channel in (CONTROL, DATA):
        assert bare.feed(Multicast((site(9),), note("hi"), channel)) == []
    assert bare.feed(Send(site(9), note("hi"))) == [PeerUnreached(site(9), CONTROL, Cause.NO_ADDRESS)]


# --- apart from nodes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("incarnation, boot", [(0, 0), (7, 1), (9, 1)])
def test_a_client_under_the_site_of_a_linked_node_takes_nothing_from_it(incarnation, boot):
    bare = Bare()
    bare.admit(-1, identity(9, incarnation=7), "nine:1")
    bare.admit(-2, identity(9, incarnation=7), "nine:1", DATA)
    effects = bare.admit(-3, identity(9, incarnation, boot), "", CLIENT)
    assert effects == [Write(-3, frame(ACCEPTED)), PeerConnected(contact(9, incarnation), CLIENT)]
    assert bare.links.contact(site(9)) == contact(9, 7, "nine:1") and bare.links.linked(site(9), DATA)


@pytest.mark.parametrize("incarnation, boot", [(0, 0), (7, 1), (9, 1)])
def test_a_node_under_the_site_of_a_client_is_let_in_beside_it(incarnation, boot):
    bare = Bare()
    bare.admit(-1, identity(9, incarnation=7), "", CLIENT)
    effects = bare.admit(-2, identity(9, incarnation, boot), "nine:1")
    assert effects[-1] == PeerConnected(contact(9, incarnation, "nine:1"), CONTROL)
    assert bare.links.linked(site(9), CLIENT)


def test_a_client_under_our_own_site_is_a_client_and_contests_nothing():
    bare = Bare()
    assert bare.admit(-1, identity(1, 9, 1), "", CLIENT)[1:] == [PeerConnected(contact(1, 9), CLIENT)]
    assert say(bare, MEMBERS) == [MessagesReceived(site(1), [MEMBERS])]
    assert bare.feed(Send(site(1), Answer(1, b"", False, ""), channel=CLIENT)) == [WantTurn()]


def test_a_second_client_of_one_site_takes_the_place_of_the_first():
    bare = Bare(config=LinksConfig(clients_max=1))
    admit(bare)
    _, lost, closed, connected = admit(bare, -2, boot=1)
    assert (lost, closed) == (PeerLost(contact(), CLIENT, Cause.REPLACED), CloseConnection(-1))
    assert connected == PeerConnected(contact(), CLIENT)


def test_one_client_too_many_is_told_so_and_nobody_is_alarmed():
    bare = Bare(config=LinksConfig(clients_max=2))
    admit(bare, -1, 8)
    admit(bare, -2, 9)
    effects = admit(bare, -3, 10)
    assert refused(effects) == (Cause.BUSY, "2 clients are connected already; try again")
    assert effects[1:] == [CloseConnection(-3)]
    bare.feed(Disconnect(site(8), Cause.IDLE, ""))
    assert admit(bare, -4, 10)[-1] == PeerConnected(contact(10), CLIENT)


def test_clients_do_not_count_among_the_links_that_make_room_for_others():
    bare = Bare(config=LinksConfig(unpinned_max=1, clients_max=3))
    bare.admit(-1, identity(2))
    for number in range(3):
        assert [type(effect) for effect in admit(bare, -2 - number, 7 + number)] == [Write, PeerConnected]
    assert bare.links.linked(site(2), CONTROL)
    assert PeerLost(contact(2, 1, "peer:1"), CONTROL, Cause.IDLE) in bare.admit(-9, identity(3))
    assert all(bare.links.linked(site(number), CLIENT) for number in (7, 8, 9))


def test_a_client_that_asks_nothing_is_dropped():
    bare = Bare()
    admit(bare)
    lost: list[PeerLost] = []
    while not lost:
        bare.now_us = bare.links.deadline() or 0
        lost = [effect for effect in bare.feed(Tick()) if isinstance(effect, PeerLost)]
    assert (lost, bare.now_us) == ([PeerLost(contact(), CLIENT, Cause.IDLE)], LinksConfig().idle_us_max)


# --- what it may say ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [note("hi"), Answer(1, b"", False, ""), Goodbye(Cause.SITE_CONFLICT, "end yourself"), Goodbye(Cause.GOODBYE, "")],
    ids=lambda message: type(message).__name__,
)
@pytest.mark.parametrize("before", [(), (MEMBERS,), (KeepAlive(),)], ids=["alone", "behind an ask", "behind a sign"])
def test_a_client_that_says_anything_but_an_ask_is_dropped(message, before):
    bare = Bare()
    admit(bare)
    violation, *_, closed, lost = say(bare, *before, message)
    assert violation == Emit(ProtocolViolation(site(9), Cause.VIOLATION, "a client may only ask"))
    assert (closed, lost) == (CloseConnection(-1), PeerLost(contact(), CLIENT, Cause.VIOLATION))


def test_a_client_says_that_it_is_there_and_a_newer_one_may_say_more():
    bare = Bare()
    admit(bare)
    assert say(bare, KeepAlive()) == []
    assert say(bare, KeepAlive(), MEMBERS) == [MessagesReceived(site(9), [MEMBERS])]
    assert bare.read(-1, codec.join_body([b"\x91\x7f"])) == []
    assert bare.links.statistics().unknown_messages == 1


# --- clusters -------------------------------------------------------------------------------------------------------


def test_a_client_stays_while_the_node_goes_from_one_cluster_to_another():
    bare = Bare()
    bare.admit(-1, identity(2))
    admit(bare, -2)
    effects = bare.feed(ClusterChanged(SOLO, 5, True))
    assert effects[-2:] == [PeerLost(contact(2, 1, "peer:1"), CONTROL, Cause.GOODBYE), ClusterEntered(SOLO)]
    assert say(bare, MEMBERS, number=-2) == [MessagesReceived(site(9), [MEMBERS])]
    assert admit(bare, -3, 10)[-1] == PeerConnected(contact(10), CLIENT)


def test_a_client_of_a_cluster_of_another_name_is_refused():
    for me in (identity(1), alone()):
        bare = Bare(me)
        bare.feed(ConnectionAccepted(-1, "somewhere"))
        effects = bare.read(-1, Dialler(client(cluster="herd"), "", CLIENT, Random(1)).opening())
        assert refused(effects)[0] is Cause.CLUSTER


def test_a_node_that_is_alone_answers_clients_under_the_name_it_was_given():
    asking = Dialler(client(), "", CLIENT, Random(1))
    asked = Acceptor(alone(), "alone:1", Random(2))
    for body in asked.receive(asking.opening()):
        asking.receive(body)
    asked.receive(asking.proof())
    assert asking.peer is not None and asking.peer.contact == contact(1, 1, "alone:1")
    assert asked.peer is not None and asked.peer.channel is CLIENT


def test_a_client_cannot_ask_in_the_cluster_a_node_is_alone_in():
    asking = Dialler(msgspec.structs.replace(client(), cluster=SOLO), "", CLIENT, Random(1))
    with pytest.raises(HandshakeFailed) as caught:
        Acceptor(alone(), "alone:1", Random(2)).receive(asking.opening())
    assert caught.value.cause is Cause.CLUSTER


@pytest.mark.parametrize("channel", [CONTROL, DATA])
def test_a_node_that_is_alone_refuses_its_former_cluster_and_neither_side_alarms_anybody(net, channel):
    net.node("alone", alone())
    member = net.node("member", 2)
    member.send(net.nodes["alone"], "hi", channel)
    net.run()
    assert [node.events() for node in net.nodes.values()] == [[], []]
    assert member.facts(PeerUnreached) == [PeerUnreached(site(1), channel, Cause.ALONE)]
    member.dial("alone:1")
    net.run()
    assert member.facts(AddressFailed) == [AddressFailed("alone:1", Cause.ALONE)] and member.events() == []


def test_a_node_that_is_alone_and_dials_its_former_cluster_alarms_nobody_at_its_end(net):
    lonely, member = net.node("alone", alone()), net.node("member", 2)
    lonely.dial(member)
    net.run()
    assert lonely.facts(AddressFailed) == [AddressFailed("member:1", Cause.ALONE)] and lonely.events() == []
    (told,) = member.events()  # it hears of some cluster, and cannot know that it is an empty one
    assert isinstance(told, LinkRefused) and told.cause is Cause.CLUSTER


def test_who_comes_back_is_let_in_again(net):
    lonely, member = net.node("alone", alone()), net.node("member", 2)
    lonely.feed(ClusterChanged(HOME, 2, False))
    member.dial(lonely)
    net.run()
    assert member.facts(PeerConnected) == [PeerConnected(contact(1, 2, "alone:1"), CONTROL)]


def test_two_that_are_alone_are_strangers():
    one, two = alone(1), msgspec.structs.replace(identity(2), cluster=ClusterId(b"t" * 16))
    with pytest.raises(HandshakeFailed) as caught:
        Acceptor(two, "two:1", Random(2)).receive(Dialler(one, "one:1", CONTROL, Random(1)).opening())
    assert caught.value.cause is Cause.CLUSTER
