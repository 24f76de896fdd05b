"""Strangers: bounded in number, in time and in what they make us hold; and what they hear when they misbehave."""

from __future__ import annotations

import pytest

from covey.core.vocabulary import AddressFailed, Cause, Channel, Emit, PeerConnected, PeerUnreached, Tick
from covey.protocols.links.config import LinksConfig
from covey.protocols.links.handshake import HandshakeFailed
from covey.protocols.links.vocabulary import (
    BytesReceived,
    CloseConnection,
    ConnectionAccepted,
    ConnectionClosed,
    LinkRefused,
    StrangerFailed,
    Write,
)
from covey.wire import codec
from covey.wire.framing import Splitter
from covey.wire.limits import HELLO_BYTES_MAX
from covey.wire.messages.handshake import Refused
from tests.protocols.links.links_harness import Bare, identity


def stranger(config: LinksConfig | None = None) -> Bare:
    bare = Bare(config=config)
    assert bare.feed(ConnectionAccepted(-1, "10.0.0.9:5")) == []
    return bare


def refusal_in(write: Write) -> Refused:
    (body,) = Splitter().feed(write.data)
    message = codec.decode_handshake(body)
    assert isinstance(message, Refused)
    return message


@pytest.mark.parametrize(
    "data, cause",
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Cause.FRAME),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Cause.FRAME),  # a TLS hello
        (b"\x00\x00\x00\x00", Cause.FRAME),
        ((HELLO_BYTES_MAX + 1).to_bytes(4, "big"), Cause.FRAME),
        (b"\x00\x00\x00\x02\xc1\xc1", Cause.DECODE),
        (b"\x00\x00\x00\x02\x91\x04", Cause.VIOLATION),  # Accepted
    ],
)
def test_a_stranger_that_does_not_speak_our_language_is_told_so_and_a_person_too(data, cause):
    write, told, closed = stranger().feed(BytesReceived(-1, data))
    refused = refusal_in(write)
    assert refused.cause == cause
    assert told == Emit(LinkRefused("10.0.0.9:5", True, cause, refused.detail, False, None))
    assert closed == CloseConnection(-1)


def test_a_stranger_is_refused_once_whatever_else_it_says():
    assert len(stranger().feed(BytesReceived(-1, b"\x00\x00\x00\x02\xc1\xc1" * 3))) == 3


def test_a_frame_that_is_announced_too_long_is_refused_from_its_header_alone():
    bare = stranger()
    assert bare.feed(BytesReceived(-1, b"\x00\x00")) == []
    assert bare.feed(BytesReceived(-1, b"\xff\xff"))[-1] == CloseConnection(-1)
    assert bare.links.statistics().violations == 1 and bare.links.statistics().greeting == 0


@pytest.mark.parametrize(
    "other, cause",
    [
        (identity(2, secret=b"another"), Cause.SECRET),
        (identity(2, cluster="herd"), Cause.CLUSTER),
    ],
)
@pytest.mark.parametrize("directed", [True, False])
def test_both_ends_hear_why_they_cannot_be_linked(net, a, other, cause, directed):
    b = net.node("b", other)
    a.send(b, "hi") if directed else a.dial(b)
    net.run()
    (ours,), (theirs,) = a.events(), b.events()
    assert (ours.address, ours.inbound, ours.cause) == ("b:1", False, cause)
    assert (theirs.address, theirs.inbound, theirs.cause) == ("from a", True, cause)
    assert ours.refused_by_peer is not theirs.refused_by_peer and ours.detail == theirs.detail
    failed = PeerUnreached(b.site, Channel.CONTROL, cause) if directed else AddressFailed("b:1", cause)
    assert a.said[-1] == failed and len(b.said) == 1
    assert a.links.statistics().refused == b.links.statistics().refused == 1


def test_a_dialler_that_hears_garbage_says_so(net, a, b):
    a.dial(b)
    pipe = net.pipes[0]
    net.deliver(pipe)
    pipe.inbox.append(b"SSH-2.0-OpenSSH_9.6\r\n")
    net.run()
    assert (a.events()[0].cause, a.events()[0].refused_by_peer) == (Cause.FRAME, False)
    assert (b.events()[0].cause, b.events()[0].refused_by_peer) == (Cause.FRAME, True)
    assert a.said[-1] == AddressFailed("b:1", Cause.FRAME)


def test_a_stranger_has_only_so_long_to_prove_itself():
    bare = stranger()
    assert bare.links.deadline() == LinksConfig().handshake_us_max
    bare.now_us = LinksConfig().handshake_us_max
    assert bare.feed(Tick()) == [CloseConnection(-1)]
    assert bare.links.deadline() is None


def test_a_stranger_that_goes_away_leaves_nothing_behind():
    bare = stranger()
    assert bare.feed(ConnectionClosed(-1, Cause.RESET)) == []
    assert bare.links.deadline() is None and bare.links.statistics().greeting == 0


def test_strangers_are_bounded_and_the_oldest_goes_first():
    bare = Bare(config=LinksConfig(unauthenticated_max=3))
    for number in (-1, -2, -3):
        assert bare.feed(ConnectionAccepted(number, "somewhere")) == []
    assert bare.feed(ConnectionAccepted(-4, "somewhere")) == [CloseConnection(-1)]
    assert bare.feed(ConnectionAccepted(-5, "somewhere")) == [CloseConnection(-2)]
    assert bare.links.statistics().greeting == 3


def test_those_who_have_proved_themselves_are_no_strangers():
    bare = Bare(config=LinksConfig(unauthenticated_max=1))
    for number in range(2, 6):
        assert type(bare.admit(-number, identity(number))[-1]) is PeerConnected
    assert bare.links.statistics().links == 4


def test_a_stranger_whose_tls_fails_is_told_to_a_person_and_no_other():
    bare = Bare()
    (told,) = bare.feed(StrangerFailed("10.0.0.9:5", Cause.TLS))
    assert isinstance(told.event, LinkRefused) and told.event.inbound and told.event.cause is Cause.TLS
    assert not told.event.refused_by_peer
    assert bare.feed(StrangerFailed("10.0.0.9:5", Cause.RESET)) == []
    assert bare.links.statistics().refused == 2


def test_the_secret_never_reaches_a_message_for_people():
    secret = b"\x01\x02 do not print me"
    failure = HandshakeFailed(Cause.SECRET, "x")
    assert secret.decode() not in str(failure)
    bare = Bare(identity(1, secret=secret))
    bare.feed(ConnectionAccepted(-1, "somewhere"))
    effects = bare.feed(BytesReceived(-1, b"\x00\x00\x00\x02\xc1\xc1"))
    assert b"do not print me" not in repr(effects).encode()
