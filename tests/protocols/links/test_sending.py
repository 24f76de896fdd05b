"""What one turn says to one peer is one write; nothing is encoded twice; nothing is reordered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.vocabulary import (
    Cause,
    Channel,
    MessagesReceived,
    Multicast,
    PeerUnreached,
    Send,
    SendMany,
    TurnEnded,
    WantTurn,
)
from covey.protocols.links.table import NODES
from covey.protocols.links.vocabulary import BytesReceived, Write
from covey.wire import codec
from covey.wire.framing import Splitter, frame
from covey.wire.limits import FRAME_AIM_BYTES, FRAME_BYTES_MAX, PAYLOAD_BYTES_MAX
from tests.protocols.links.links_harness import Net, note

pytestmark = pytest.mark.timeout(600)  # for the ten thousand examples of make prove

CONTROL = Channel.CONTROL


def written(*texts: str) -> bytes:
    """One frame with these notes."""
    return frame(codec.join_body([codec.encode_message(note(text)) for text in texts]))


def fresh_pair() -> Net:
    net = Net()
    net.node("a", 1).send(net.node("b", 2), "hi")
    net.run()
    for node in net.nodes.values():
        node.said.clear()
        node.read.clear()
    return net


def test_the_messages_of_one_turn_are_one_frame_in_one_write(linked):
    _, a, b = linked
    assert a.send(b, "one") == [WantTurn()]
    assert a.send(b, "two") == []
    assert a.feed(Multicast((b.site,), note("three"))) == []
    assert a.feed(TurnEnded()) == [Write(a.end(b).number, written("one", "two", "three"))]
    assert a.feed(TurnEnded()) == []


def test_one_turn_is_wanted_however_many_peers_are_spoken_to(linked):
    net, a, b = linked
    c = net.node("c", 3)
    c.send(a, "hi")
    net.run()
    assert a.feed(Multicast((b.site, c.site), note("all"))) == [WantTurn()]
    data = written("all")
    assert a.feed(TurnEnded()) == [Write(a.end(b).number, data), Write(a.end(c).number, data)]


def test_several_messages_at_once_are_encoded_together(linked):
    net, a, b = linked
    assert a.feed(SendMany(b.site, [note("one"), note("two")])) == [WantTurn()]
    assert a.feed(TurnEnded()) == [Write(a.end(b).number, written("one", "two"))]
    net.run()
    assert b.heard(a) == ["one", "two"]


def test_several_messages_without_a_link_are_dropped(a, b):
    assert a.feed(SendMany(b.site, [note("one"), note("two")])) == [PeerUnreached(b.site, CONTROL, Cause.NO_ADDRESS)]
    assert a.links.statistics().messages_dropped == 2


def test_several_messages_that_are_more_than_a_frame_are_cut_between_messages(linked):
    net, a, b = linked
    texts = [f"{index}{'x' * 30_000}" for index in range(7)]
    a.feed(SendMany(b.site, [note(text) for text in texts]))
    net.run()
    assert b.heard(a) == texts
    assert b.links.statistics().frames_in == a.links.statistics().frames_out >= 4


def test_what_reaches_the_aim_is_written_before_the_turn_ends(linked):
    net, a, b = linked
    half = "x" * (FRAME_AIM_BYTES // 2)
    assert a.send(b, half) == [WantTurn()]
    (write,) = a.send(b, half)
    assert isinstance(write, Write) and [len(body) for body in Splitter().feed(write.data)] == [
        len(written(half)) - 4,
        len(written(half)) - 4,
    ]
    assert a.feed(TurnEnded()) == [], "no empty frame"
    a.send(b, "after")
    net.run()
    assert b.heard(a) == [half, half, "after"]


def test_a_message_larger_than_the_aim_travels_alone_and_in_its_place(linked):
    net, a, b = linked
    large = "x" * (2 * FRAME_AIM_BYTES)
    a.send(b, "before")
    (write,) = a.send(b, large)
    assert write.data == written("before") + written(large)
    a.send(b, "after")
    net.run()
    assert b.heard(a) == ["before", large, "after"]


def test_the_largest_payload_fits_in_a_frame(linked):
    net, a, b = linked
    largest = "x" * (PAYLOAD_BYTES_MAX - 5)  # msgpack's own header
    assert len(note(largest).value) == PAYLOAD_BYTES_MAX
    (write,) = a.send(b, largest)
    assert len(write.data) <= FRAME_BYTES_MAX + 4
    net.run()
    assert b.heard(a) == [largest]


def test_a_multicast_is_encoded_once(linked, monkeypatch):
    net, a, _ = linked
    others = [net.node(name, number) for name, number in (("c", 3), ("d", 4), ("e", 5))]
    for other in others:
        other.send(a, "hi")
    net.run()
    encode = codec.encode_message
    count = 0

    def counted(message):
        nonlocal count
        count += 1
        return encode(message)

    monkeypatch.setattr(codec, "encode_message", counted)
    a.feed(Multicast(tuple(other.site for other in others), note("all")))
    assert count == 1
    net.run()
    assert [other.heard(a) for other in others] == [["all"]] * 3


def test_a_frame_reaches_the_other_machines_as_one_fact(linked):
    _, a, b = linked
    number = b.end(a).number
    effects = b.feed(BytesReceived(number, written("one", "two") + written("three")))
    assert effects == [
        MessagesReceived(a.site, [note("one"), note("two")]),
        MessagesReceived(a.site, [note("three")]),
    ]


def test_a_turn_for_a_connection_that_is_gone_writes_nothing(linked):
    net, a, b = linked
    a.send(b, "too late")
    net.kill(b)
    for pipe in net.pipes:
        while pipe.alive and pipe.inbox:
            net.deliver(pipe)
    assert a.feed(TurnEnded()) == []
    assert a.links.statistics().messages_dropped == 1


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40_000), st.booleans()), max_size=30))
def test_everything_said_is_heard_once_and_in_order(sayings):
    net = fresh_pair()
    a, b = net.nodes["a"], net.nodes["b"]
    said: dict[str, list[str]] = {"a": [], "b": []}
    for index, (name, size, end_turn) in enumerate(sayings):
        node, other = (a, b) if name == "a" else (b, a)
        said[name].append(f"{index}" + "x" * size)
        node.send(other, said[name][-1])
        if end_turn:
            net.run()
    net.run()
    assert (b.heard(a), a.heard(b)) == (said["a"], said["b"])
    assert a.said == b.said == []


@given(st.data())
def test_reads_may_be_cut_anywhere(data):
    net = Net()

    def cut(write: bytes) -> list[bytes]:
        places = sorted(data.draw(st.lists(st.integers(0, len(write)), max_size=4)))
        return [write[i:j] for i, j in zip([0, *places], [*places, len(write)], strict=True) if i < j]

    net.cut = cut
    a, b = net.node("a", 1), net.node("b", 2)
    a.send(b, "one")
    b.send(a, "two" * 3000)
    net.run()
    a.send(b, "three")
    net.run()
    assert (b.heard(a), a.heard(b)) == (["one", "three"], ["two" * 3000])


def test_the_counters_of_both_sides_agree(linked):
    net, a, b = linked
    for index in range(20):
        a.send(b, f"{index}" + "x" * 9_000)
    b.send(a, "yes")
    net.run()
    ours, theirs = a.links.statistics(), b.links.statistics()
    assert (ours.messages_out, ours.frames_out) == (theirs.messages_in, theirs.frames_in) == (21, ours.frames_out)
    assert (theirs.messages_out, theirs.frames_out) == (ours.messages_in, ours.frames_in) == (1, 1)
    assert ours.links == theirs.links == 1 and ours.queued_bytes == ours.messages_dropped == 0


def test_the_bytes_of_both_sides_agree(linked):
    """Handshakes, goodbyes and all: what one side wrote the other read, for nothing was lost."""
    net, a, b = linked
    a.send(b, "x" * 100_000)
    net.run().wait(12_000_000)
    ours, theirs = a.links.statistics(), b.links.statistics()
    assert (ours.bytes_out, theirs.bytes_out) == (theirs.bytes_in, ours.bytes_in)
    assert (ours.frames_out, theirs.frames_out) == (theirs.frames_in, ours.frames_in), "keepalives are frames"


def test_a_full_link_and_one_that_waits_are_apart_in_the_statistics(linked):
    net, a, b = linked
    a.feed(Send(b.site, note("x" * 100)))
    c = net.node("c", 3)
    a.send(c, "y" * 100)
    statistics = a.links.statistics()
    assert (statistics.links, statistics.dialling, statistics.greeting) == (1, 1, 0)
    assert statistics.queued_bytes > 100 and statistics.waiting_bytes > 100


@pytest.mark.parametrize("channel", NODES)
def test_a_message_may_travel_on_either_channel(net, a, b, channel):
    a.send(b, "hi", channel)
    net.run()
    b.send(a, "yes", channel, address="")
    net.run()
    assert (b.heard(a), a.heard(b), len(net.pipes)) == (["hi"], ["yes"], 1)
