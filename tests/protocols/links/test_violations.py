"""What a proved peer may not do, and how a link ends: both ends know why."""

from __future__ import annotations

import msgspec
import pytest

from covey.core.vocabulary import (
    AddressAnswered,
    Cause,
    Channel,
    Disconnect,
    Emit,
    MessagesReceived,
    PeerConnected,
    PeerLost,
    PeerUnreached,
    ProtocolViolation,
    TurnEnded,
)
from covey.protocols.links.table import NODES
from covey.protocols.links.vocabulary import BytesReceived, CloseConnection, CloseLinks, ConnectionAccepted, Write
from covey.wire import codec
from covey.wire.framing import Splitter, frame
from covey.wire.limits import FRAME_BYTES_MAX
from covey.wire.messages.links import Goodbye, KeepAlive
from tests.protocols.links.links_harness import SILENCE, note

CONTROL = Channel.CONTROL


def body(*messages) -> bytes:
    return codec.join_body([codec.encode_message(message) for message in messages])


def says(node, other, data: bytes):
    """`other` hears these bytes from `node`."""
    return other.feed(BytesReceived(other.end(node).number, data))


def messages_in(write: Write):
    (content,) = Splitter().feed(write.data)
    return codec.decode_body(content)[0]


@pytest.mark.parametrize(
    "data, cause",
    [
        ((FRAME_BYTES_MAX + 1).to_bytes(4, "big"), Cause.FRAME),
        (b"\x00\x00\x00\x00", Cause.FRAME),
        (frame(b"\xc1"), Cause.DECODE),
        (frame(b"\x91\x93\x30\x01"), Cause.DECODE),
        (frame(msgspec.msgpack.encode([[36, True, [["short", 1, "x"]]]])), Cause.DECODE),
        (frame(b"\x91" * 10_000), Cause.DECODE),
    ],
)
def test_a_peer_that_breaks_the_protocol_is_dropped_reported_and_told(linked, data, cause):
    net, a, b = linked
    number = b.end(a).number
    violation, farewell, closed, lost = says(a, b, data)
    assert isinstance(violation, Emit) and isinstance(violation.event, ProtocolViolation)
    assert (violation.event.site, violation.event.cause) == (a.site, cause)
    assert messages_in(farewell) == [Goodbye(cause, violation.event.detail)]
    assert (closed, lost) == (CloseConnection(number), PeerLost(a.contact, CONTROL, cause))
    net.run()
    assert a.said == [PeerLost(b.contact, CONTROL, cause)]
    assert b.links.statistics().violations == 1


def test_what_stood_before_the_broken_frame_is_still_heard(linked):
    _, a, b = linked
    effects = says(a, b, frame(body(note("fine"))) + frame(b"\xc1") + frame(body(note("never"))))
    assert effects[0] == MessagesReceived(a.site, [note("fine")])
    assert b.heard(a) == ["fine"]


def test_kinds_of_newer_versions_are_skipped_and_counted(linked):
    _, a, b = linked
    data = frame(msgspec.msgpack.encode([[200, "new"], [201], [48, "known"]]))
    says(a, b, data)
    assert b.heard(a) == ["known"] and b.said == []
    assert b.links.statistics().unknown_messages == 2
    assert says(a, b, frame(msgspec.msgpack.encode([[200]]))) == []


def test_an_empty_frame_of_messages_means_nothing(linked):
    _, a, b = linked
    assert says(a, b, frame(b"\x90")) == []


def test_a_keepalive_is_heard_by_nobody_else(linked):
    _, a, b = linked
    assert says(a, b, frame(body(KeepAlive()))) == []
    assert says(a, b, frame(body(KeepAlive(), note("and this")))) == [MessagesReceived(a.site, [note("and this")])]


def test_a_goodbye_ends_the_link_behind_what_else_was_said(linked):
    _, a, b = linked
    number = b.end(a).number
    assert says(a, b, frame(body(Goodbye(Cause.IDLE, ""), note("last words")))) == [
        MessagesReceived(a.site, [note("last words")]),
        CloseConnection(number),
        PeerLost(a.contact, CONTROL, Cause.IDLE),
    ]


def test_nothing_behind_a_goodbye_is_heard(linked):
    _, a, b = linked
    says(a, b, frame(body(Goodbye(Cause.IDLE, ""))) + frame(body(note("too late"))))
    assert b.read == []


def test_a_reason_that_we_do_not_know_is_a_goodbye(linked):
    _, a, b = linked
    says(a, b, frame(body(Goodbye(4711, "new"))))
    assert b.said == [PeerLost(a.contact, CONTROL, Cause.GOODBYE)]


def test_a_stray_keepalive_that_the_engine_hands_back_means_nothing(a, b):
    assert a.feed(MessagesReceived(b.site, [KeepAlive(), Goodbye(1, "")])) == []


def test_disconnect_drops_every_link_and_tells_the_peer_why(linked):
    net, a, b = linked
    a.send(b, "much", Channel.DATA)
    net.run()
    a.said.clear()
    b.said.clear()
    a.send(b, "written before")
    a.feed(Disconnect(b.site, Cause.VIOLATION, "x" * 5000))
    net.run()
    for node, other in ((a, b), (b, a)):
        assert node.said == [PeerLost(other.contact, channel, Cause.VIOLATION) for channel in NODES]
    assert b.heard(a) == ["much", "written before"]
    assert a.feed(Disconnect(b.site, Cause.VIOLATION)) == []


def test_a_goodbye_is_short(linked):
    _, a, b = linked
    write, _, _ = a.feed(Disconnect(b.site, Cause.VIOLATION, "x" * 5000))
    assert messages_in(write) == [Goodbye(Cause.VIOLATION, "x" * 300)]


def test_closing_says_goodbye_to_everybody_behind_what_was_said(linked):
    net, a, b = linked
    c, d = net.node("c", 3), net.node("d", 4)
    c.send(a, "hi")
    net.run()
    a.send(b, "last words")
    a.send(d, "never", address=SILENCE)
    a.dial("nobody:1")
    a.feed(ConnectionAccepted(-9, "a stranger"))
    a.ends[-9] = a.ends[a.end(b).number]
    a.said.clear()
    a.feed(CloseLinks())
    assert a.facts(PeerLost) == [
        PeerLost(b.contact, CONTROL, Cause.GOODBYE),
        PeerLost(c.contact, CONTROL, Cause.GOODBYE),
    ]
    assert a.facts(PeerUnreached) == [PeerUnreached(d.site, CONTROL, Cause.GOODBYE)]
    assert a.links.links() == [] and a.links.deadline() is None
    net.run()
    assert b.heard(a) == ["last words"] and b.said == [PeerLost(a.contact, CONTROL, Cause.GOODBYE)]
    assert c.facts(PeerLost) == [PeerLost(a.contact, CONTROL, Cause.GOODBYE)]


def test_nothing_is_opened_or_accepted_after_closing(net, a, b):
    assert a.feed(CloseLinks()) == []
    assert a.dial(b) == []
    assert a.send(b, "hi") == [PeerUnreached(b.site, CONTROL, Cause.NO_ADDRESS)]
    b.dial(a)
    net.run()
    assert a.said == [PeerUnreached(b.site, CONTROL, Cause.NO_ADDRESS)] and a.feed(TurnEnded()) == []
    assert not b.facts(AddressAnswered, PeerConnected) and b.links.links() == []
