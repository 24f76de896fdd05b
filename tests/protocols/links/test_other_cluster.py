"""Another cluster, or another life: every link ends with a word, and the next handshake is of the new one."""

from __future__ import annotations

from covey.core.ids import Contact, cluster_id
from covey.core.vocabulary import (
    AddressFailed,
    Cause,
    Channel,
    ClusterChanged,
    ClusterEntered,
    PeerConnected,
    PeerLost,
    PeerUnreached,
)
from covey.protocols.links.vocabulary import CloseConnection, Write
from covey.wire import codec
from covey.wire.framing import frame
from covey.wire.messages.links import Goodbye
from tests.protocols.links.links_harness import SILENCE, identity

CONTROL, DATA = Channel.CONTROL, Channel.DATA
OTHER = cluster_id("other")
FAREWELL = frame(codec.join_body([codec.encode_message(Goodbye(Cause.GOODBYE, "going to another cluster"))]))


def test_every_link_ends_with_a_goodbye_and_behind_it_all_it_is_said_that_we_are_in(linked):
    net, a, b = linked
    a.send(b, "data", DATA)
    net.run()
    control, data = a.end(b).number, a.end(b, DATA).number
    assert a.feed(ClusterChanged(OTHER, 7, True)) == [
        Write(control, FAREWELL),
        CloseConnection(control),
        PeerLost(b.contact, CONTROL, Cause.GOODBYE),
        Write(data, FAREWELL),
        CloseConnection(data),
        PeerLost(b.contact, DATA, Cause.GOODBYE),
        ClusterEntered(OTHER),
    ]
    net.run()
    assert (a.links.links(), b.links.links()) == ([], [])
    assert b.facts(PeerLost) == [PeerLost(a.contact, channel, Cause.GOODBYE) for channel in (CONTROL, DATA)]


def test_what_was_said_before_goes_out_before_the_goodbye(linked):
    net, a, b = linked
    a.send(b, "the last word")
    a.feed(ClusterChanged(OTHER, 7, True))
    net.run()
    assert b.heard(a) == ["the last word"]


def test_who_was_being_dialled_and_who_dials_us_is_let_go_too(net, a, b):
    a.dial(SILENCE)
    a.send(b, "waits", address=SILENCE)
    c = net.node("c", 3)
    c.dial(a)
    for _ in range(2):
        net.take(net.choices()[0])  # c is connected to a, and nothing is proved
    effects = a.feed(ClusterChanged(OTHER, 7, True))
    assert [effect for effect in effects if not isinstance(effect, CloseConnection)] == [
        AddressFailed(SILENCE, Cause.GOODBYE),
        PeerUnreached(b.site, CONTROL, Cause.GOODBYE),
        ClusterEntered(OTHER),
    ]
    assert len(effects) == 6
    assert a.ends == {}


def test_the_next_handshake_is_of_the_new_cluster(linked):
    net, a, b = linked
    a.feed(ClusterChanged(OTHER, 7, True))
    net.run()
    a.said.clear()
    a.dial(b)
    net.run()
    assert a.facts(AddressFailed) == [AddressFailed(b.address, Cause.ALONE)]
    assert a.events() == [], "it is alone itself, so nobody has to mend that"
    c = net.node("c", identity(3, cluster="other"))
    c.dial(a)
    net.run()
    assert c.facts(PeerConnected) == [PeerConnected(Contact(a.site, 7, a.address), CONTROL)]
    assert a.facts(PeerConnected) == [PeerConnected(c.contact, CONTROL)]


def test_who_is_alone_dials_no_site_because_none_can_be_in_its_cluster(linked):
    """What was decided before the change is said after it: whoever is dialled would hear of a foreign cluster."""
    _, a, b = linked
    a.feed(ClusterChanged(OTHER, 7, True))
    assert a.send(b, "be my neighbour") == [PeerUnreached(b.site, CONTROL, Cause.ALONE)]
    assert a.links.statistics().messages_dropped == 1


def test_a_new_life_in_the_same_cluster_is_taken_for_a_new_one(linked):
    """Also with the number it had: what follows is another boot of it, and so no copy of ourselves is met."""
    net, a, b = linked
    for life in (7, 8):
        a.feed(ClusterChanged(a.me.cluster, life, False))
        net.run()
        b.said.clear()
        a.dial(b)
        net.run()
        assert b.facts(PeerConnected) == [PeerConnected(Contact(a.site, life, a.address), CONTROL)]
        assert b.events() == []


def test_a_copy_of_the_life_that_we_ended_is_a_copy_and_not_ourselves(linked):
    net, a, _b = linked
    a.feed(ClusterChanged(a.me.cluster, 7, False))
    copy = net.node("copy", a.me)
    net.run()
    a.said.clear()
    copy.dial(a)
    net.run()
    assert copy.facts(AddressFailed) == [AddressFailed(a.address, Cause.SITE_CONFLICT)]
