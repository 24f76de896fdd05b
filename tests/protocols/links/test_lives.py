"""Lives of one site: the newest counts, whoever lost its end may come again, and copies are found out."""

from __future__ import annotations

import pytest

from covey.core.vocabulary import AddressFailed, Cause, Channel, PeerConnected, PeerLost, PeerUnreached, SiteContested
from covey.protocols.links.table import NODES
from covey.protocols.links.vocabulary import ConnectionClosed, LinkRefused
from covey.wire.framing import frame
from tests.protocols.links.links_harness import identity

CONTROL, DATA = Channel.CONTROL, Channel.DATA


def conflicts(node) -> list[tuple[str, bool, bool]]:
    """The refusals over a site conflict that a person would read of: where, inbound, said by the peer.

    Whom a peer refused over one is told besides that it has to end.
    """
    refusals = [event for event in node.events() if isinstance(event, LinkRefused)]
    assert all(event.cause is Cause.SITE_CONFLICT for event in refusals)
    contested = [type(event) for event in node.events() if not isinstance(event, LinkRefused)]
    assert contested == [SiteContested] * sum(event.refused_by_peer for event in refusals)
    return [(event.address, event.inbound, event.refused_by_peer) for event in refusals]


def test_a_peer_that_lost_its_end_comes_again_and_the_new_link_takes_over(linked):
    net, a, b = linked
    end = b.end(a)
    del b.ends[end.number]
    end.alive = False
    b.feed(ConnectionClosed(end.number, Cause.RESET))  # only b heard of it
    a.send(b, "into the void")
    b.send(a, "again")
    net.run()
    assert a.said == [PeerLost(b.contact, CONTROL, Cause.REPLACED), PeerConnected(b.contact, CONTROL)]
    a.send(b, "found")
    net.run()
    assert a.heard(b) == ["again"] and b.heard(a) == ["found"]


def test_a_peer_may_come_again_before_its_first_connection_was_through(net, a, b):
    """a, the lower site, meets b's second connection before the proof on the first, which b has lost by then."""
    b.send(a, "never")
    first = net.pipes[0]
    for end in (first.other, first, first.other, first):
        net.deliver(end)  # b's proof is on its way
    del b.ends[1]
    first.alive = False
    b.feed(ConnectionClosed(1, Cause.RESET))
    b.send(a, "again")
    second = net.pipes[1]
    net.deliver(second.other)
    net.deliver(first.other)
    net.run()
    assert a.links.links() == [b.contact.life] and a.heard(b) == ["again"]
    assert b.facts(PeerUnreached, PeerConnected) == [
        PeerUnreached(a.site, CONTROL, Cause.RESET),
        PeerConnected(a.contact, CONTROL),
    ]
    assert len(net.pipes) == 2, "and needs no third"


def test_a_restarted_life_replaces_every_link_of_the_old_one(linked):
    net, a, b = linked
    a.send(b, "much", DATA)
    net.run()
    a.said.clear()
    reborn = net.node("reborn", identity(2, incarnation=2, boot=1))
    reborn.send(a, "hello again")
    net.run()
    assert a.said == [
        PeerLost(b.contact, CONTROL, Cause.REPLACED),
        PeerLost(b.contact, DATA, Cause.REPLACED),
        PeerConnected(reborn.contact, CONTROL),
    ]
    assert a.links.links() == [reborn.contact.life] and not a.links.linked(b.site, DATA)


def test_a_restarted_life_that_we_dial_replaces_the_old_one_too(linked):
    net, a, b = linked
    reborn = net.node("reborn", identity(2, incarnation=2, boot=1))
    a.dial(reborn)
    net.run()
    assert a.facts(PeerLost) == [PeerLost(b.contact, CONTROL, Cause.REPLACED)]
    assert a.links.links() == [reborn.contact.life]


@pytest.mark.parametrize("channel", NODES)
@pytest.mark.parametrize("who", [identity(2, incarnation=0, boot=1), identity(2, incarnation=1, boot=1)])
def test_an_older_life_and_a_copy_are_refused_and_both_ends_hear_why(linked, who, channel):
    net, a, b = linked
    other = net.node("other", who)
    other.send(a, "it is me", channel)
    net.run()
    assert conflicts(a) == [("from other", True, False)] and a.events()[0].site == b.site
    assert conflicts(other) == [("a:1", False, True)]
    assert other.facts(PeerUnreached) == [PeerUnreached(a.site, channel, Cause.SITE_CONFLICT)]
    assert a.links.contact(b.site) == b.contact and a.read == []
    assert a.links.statistics().refused == other.links.statistics().refused == 1


def test_a_copy_that_dials_blindly_hears_why(linked):
    net, a, _ = linked
    other = net.node("other", identity(2, boot=1))
    other.dial(a)
    net.run()
    assert conflicts(other) == [("a:1", False, True)] and conflicts(a) == [("from other", True, False)]


def test_a_copy_of_ourselves_that_proves_itself_is_refused(net, a):
    """Its own machine gives up before that; a peer that does not is refused all the same."""
    copy = net.node("copy", identity(1, incarnation=0, boot=1))
    copy.dial(a)
    dialling = net.pipes[0]
    net.deliver(dialling.other)
    net.deliver(dialling)
    net.deliver(dialling.other)
    connection = copy.links._table.connections[1]
    for body in (dialling.inbox[0][4:-40], dialling.inbox[0][-36:]):
        connection.dialler.receive(body)
    dialling.other.inbox.append(frame(connection.dialler.proof()))
    net.deliver(dialling.other)
    assert conflicts(a) == [("from copy", True, False)] and a.links.links() == []


def test_a_data_dial_that_an_older_life_answers_is_refused_as_a_conflict(linked):
    """The newer life holds the control link; nothing may be said to the older one."""
    net, a, b = linked
    older = net.node("older", identity(2, incarnation=0, boot=1))
    a.send(b, "for the newer life", DATA, address=older.address)
    net.run()
    assert older.heard(a) == []
    assert a.facts(PeerUnreached) == [PeerUnreached(b.site, DATA, Cause.SITE_CONFLICT)]
    assert conflicts(a) == [("older:1", False, False)]


def test_an_older_life_is_refused_although_only_a_data_link_of_the_newer_is_left(net, a, b):
    a.send(b, "hi", DATA)
    net.run()
    older = net.node("older", identity(2, incarnation=0, boot=1))
    older.send(a, "it is me", CONTROL)
    net.run()
    assert a.read == []
    assert conflicts(older) == [("a:1", False, True)]


def test_an_old_lifes_word_that_comes_late_does_not_replace_the_new_life(net, a, b):
    """b, the higher site, dialled a's old life, which let it in and died; the new life was faster than the old word."""
    b.send(a, "hi")
    pipe = net.pipes[0]
    for end in (pipe.other, pipe, pipe.other, pipe, pipe.other):
        net.deliver(end)  # a has let b in, and its Accepted is on the way
    net.kill(a)
    reborn = net.node("reborn", identity(1, incarnation=2, boot=1))
    reborn.send(b, "I am back")
    again = net.pipes[1]
    for end in (again.other, again, again.other, again, again.other):
        net.deliver(end)
    assert b.links.links() == [reborn.contact.life]
    net.run()
    assert b.links.links() == [reborn.contact.life]
    assert b.facts(PeerLost) == [] and b.heard(reborn) == ["I am back"]


def test_an_old_life_that_let_us_in_too_late_hears_the_true_reason(net, a, b):
    """It holds the link for open by then, so a refusal of the handshake would be gibberish to it."""
    b.send(a, "hi")
    pipe = net.pipes[0]
    for end in (pipe.other, pipe, pipe.other, pipe, pipe.other):
        net.deliver(end)  # a has let b in, and its Accepted is on the way
    newer = net.node("newer", identity(1, incarnation=2, boot=1), address="newer:1")
    newer.send(b, "I am the one")
    again = net.pipes[1]
    for end in (again.other, again, again.other, again, again.other):
        net.deliver(end)
    net.run()
    assert b.links.links() == [newer.contact.life]
    assert a.facts(PeerLost) == [PeerLost(b.contact, CONTROL, Cause.SITE_CONFLICT)]
    assert [type(event) for event in a.events()] == [SiteContested]


def test_a_refusal_names_the_address_that_was_dialled(net, a):
    net.node("b", identity(2, secret=b"another"))
    a.dial("b:1")
    net.run()
    (event,) = a.events()
    assert (event.address, event.inbound, event.cause, event.refused_by_peer) == ("b:1", False, Cause.SECRET, False)
    assert a.facts(AddressFailed) == [AddressFailed("b:1", Cause.SECRET)]


@pytest.mark.parametrize("dialler", [0, 1])
@pytest.mark.parametrize("lives", [((5, 0), (6, 0)), ((6, 0), (5, 0)), ((5, 1), (5, 2)), ((5, 2), (5, 1))])
def test_of_two_copies_that_meet_the_earlier_is_told_to_end_whoever_dials(net, lives, dialler):
    """Simulator: membership, seed 1120. Two copies of one disk and nobody else to tell them."""
    nodes = [
        net.node(name, identity(3, incarnation=life, boot=8 * at + boot + 1))
        for at, (name, (life, boot)) in enumerate(zip(("one", "two"), lives, strict=True))
    ]
    nodes[dialler].dial(("one:1", "two:1")[1 - dialler])
    net.run()
    told = [any(isinstance(event, SiteContested) for event in node.events()) for node in nodes]
    earlier = 0 if lives[0][0] <= lives[1][0] else 1
    assert told == [earlier == 0, earlier == 1]
    assert all(node.links.links() == [] for node in nodes)
