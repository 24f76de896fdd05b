"""Crossing dials: however the two connections interleave, one becomes the link, and nothing said on it is lost.

A *directed* dial is made for a message to a known site; a *blind* one finds out who is at an address.
"""

from __future__ import annotations

from functools import partial
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.vocabulary import AddressAnswered, AddressFailed, Cause, Channel, PeerConnected, PeerLost, PeerUnreached
from covey.protocols.links.handshake import refusal
from covey.protocols.links.vocabulary import CloseLinks, ConnectionAccepted, ConnectionOpened
from covey.wire.framing import frame
from tests.protocols.links.links_harness import SECOND_US, SILENCE, Net, explore, identity

pytestmark = pytest.mark.timeout(600)  # for the ten thousand examples of make prove

KINDS = ("directed", "blind")
CONNECTS = (ConnectionOpened, ConnectionAccepted)


def crossing(kinds, eager=("turn",), more=False, blind_senders="ab") -> Net:
    """Both nodes dial at once, and each says "one" (and later "second") to the other; a blind one, later."""
    net = Net()
    net.eager = eager
    a, b = net.node("a", 1), net.node("b", 2)
    for node, other, kind in ((a, b, kinds[0]), (b, a, kinds[1])):
        if kind == "directed":
            node.send(other, "one")
        else:
            node.dial(other)
            if node.name in blind_senders:
                node.script.append(partial(node.send, other, "one"))
        if more:
            node.script.append(partial(node.send, other, "second"))
    return net


def settled(net: Net, said: tuple[list[str], list[str]]) -> None:
    """One link, the same one on both sides; it was never another; all that was said was heard, in order."""
    a, b = net.nodes["a"], net.nodes["b"]
    assert (a.heard(b), b.heard(a)) == (said[1], said[0])
    assert not a.facts(PeerLost, PeerUnreached) and not b.facts(PeerLost, PeerUnreached)
    assert a.facts(PeerConnected) == [PeerConnected(b.contact, Channel.CONTROL)]
    assert b.facts(PeerConnected) == [PeerConnected(a.contact, Channel.CONTROL)]
    assert a.end(b).other is b.end(a)
    assert net.open_at_once == 1
    if len(net.proved()) > 1:  # both had gone all the way
        assert a.end(b).label[0] == "a", "the connection dialled by the lower site stays"


@pytest.mark.parametrize(
    "kinds, eager, senders",
    [
        (("directed", "directed"), ("turn",), "ab"),
        pytest.param(("directed", "blind"), ("turn", *CONNECTS), "ab", marks=pytest.mark.slow),
        pytest.param(("blind", "directed"), ("turn", *CONNECTS), "ab", marks=pytest.mark.slow),
        (("blind", "blind"), ("turn",), ""),
        pytest.param(("blind", "blind"), ("turn", *CONNECTS), "a", marks=pytest.mark.slow),
        pytest.param(("blind", "blind"), ("turn", *CONNECTS), "b", marks=pytest.mark.slow),
    ],
)
def test_two_dials_make_one_link_in_every_order(kinds, eager, senders):
    def examine(net: Net) -> None:
        settled(net, (["one"] if "a" in senders else [], ["one"] if "b" in senders else []))
        for node, other, kind in zip(net.nodes.values(), reversed(net.nodes.values()), kinds, strict=True):
            if kind == "blind":
                assert AddressAnswered(other.address, other.contact) in node.said
            assert not node.facts(AddressFailed)

    assert explore(lambda: crossing(kinds, eager, blind_senders=senders), examine) > 50


@pytest.mark.slow
def test_what_is_said_during_two_directed_dials_is_heard_in_every_order():
    said = ["one", "second"]
    explore(lambda: crossing(KINDS[:1] * 2, ("turn", *CONNECTS), more=True), lambda net: settled(net, (said, said)))


@given(st.sampled_from(KINDS), st.sampled_from(KINDS), st.integers(0, 2**32))
def test_two_dials_make_one_link_in_any_order_of_everything(lower, higher, seed):
    net = crossing((lower, higher), eager=(), more=True)
    net.run(Random(seed))
    settled(net, (["one", "second"], ["one", "second"]))


@given(st.integers(0, 2**32), st.lists(st.sampled_from(["a", "b"]), max_size=12))
def test_messages_before_during_and_after_crossing_dials_keep_their_order(seed, speakers):
    net = crossing(("directed", "directed"), eager=())
    said: dict[str, list[str]] = {"a": ["one"], "b": ["one"]}
    for index, name in enumerate(speakers):
        node, other = net.nodes[name], net.nodes["ab".replace(name, "")]
        node.script.append(partial(node.send, other, f"{index}"))
        said[name].append(f"{index}")
    net.run(Random(seed))
    settled(net, (said["a"], said["b"]))


def advance(net: Net, *ends) -> None:
    for end in ends:
        net.deliver(end)


def test_an_accepted_that_overtakes_the_other_sides_proof_does_not_cost_the_link():
    """The shortest of the orders above that goes wrong: two connections, two kernels, no order between them."""
    net = crossing(("directed", "directed"))
    ours, theirs = net.pipes[0], net.pipes[1]
    advance(net, ours.other, ours, ours.other)  # b accepts a's connection and welcomes it
    advance(net, theirs.other, theirs, theirs.other)  # a accepts b's, and welcomes it
    advance(net, ours, theirs)  # a has proved itself to b, and b to a: both proofs are on their way
    advance(net, ours.other)  # b lets a in, the lower site
    advance(net, ours)  # a hears that first,
    advance(net, theirs.other)  # and only then b's proof, which was sent before b let a in
    net.run()
    settled(net, (["one"], ["one"]))


def test_the_lower_site_that_has_not_proved_itself_gives_up_its_own_dial(net, a, b):
    a.send(b, "from a")
    b.send(a, "from b")
    ours, theirs = net.pipes
    advance(net, theirs.other, theirs, theirs.other, theirs, theirs.other)  # b's dial goes all the way
    assert a.facts(PeerConnected) and not ours.alive
    net.run()
    assert (a.heard(b), b.heard(a)) == (["from b"], ["from a"])


def test_the_higher_site_that_is_refused_waits_for_the_lower_sites_dial(net, a, b):
    a.send(b, "from a")
    b.send(a, "from b")
    ours, theirs = net.pipes
    advance(net, ours.other, theirs.other, ours, theirs, ours.other, theirs.other, ours, theirs)  # both have proved
    advance(net, theirs.other)  # a refuses b's
    advance(net, theirs)  # b hears it, and nothing of a's proof yet
    assert not b.said and b.links.deadline() is not None
    net.run()
    assert (a.heard(b), b.heard(a)) == (["from b"], ["from a"])
    assert not b.facts(PeerUnreached)


def refused_for_crossing(net, a, b):
    """b was told that a's own dial goes first, and then a's machine stood still before that dial was through."""
    a.send(b, "from a")
    b.send(a, "from b")
    ours, theirs = net.pipes
    advance(net, ours.other, theirs.other, ours, theirs, ours.other, theirs.other, ours, theirs)
    advance(net, theirs.other, theirs)
    ours.other.inbox.clear()  # the proof is lost with its connection
    net.kill(a)
    net.run()


def test_who_was_refused_tries_once_more_after_a_while(net, a, b):
    refused_for_crossing(net, a, b)
    again = net.node("a", identity(1, boot=9))
    net.wait(SECOND_US - 1)
    assert not b.said
    net.wait(1)
    assert b.facts(PeerConnected) == [PeerConnected(again.contact, Channel.CONTROL)]
    assert again.heard(b) == ["from b"]


def test_who_is_refused_for_crossing_twice_gives_up(net, a, b):
    refused_for_crossing(net, a, b)
    a = net.node("a", 1)
    net.jump(SECOND_US)
    a.send(b, "from a")
    b.tick()
    theirs, ours = net.pipes[-1], net.pipes[-2]
    advance(net, ours.other, theirs.other, ours, theirs, ours.other, theirs.other, ours, theirs)
    advance(net, theirs.other, theirs)
    ours.other.inbox.clear()
    net.kill(a)
    net.wait(3 * SECOND_US)
    assert b.facts(PeerUnreached) == [PeerUnreached(a.site, Channel.CONTROL, Cause.CROSSING)]
    assert b.links.statistics().waiting_bytes == 0


@given(st.integers(0, 2**32))
def test_a_second_try_does_not_push_aside_a_dial_that_is_nearly_through(seed):
    """b waits after a crossing; meanwhile it finds a by a blind dial, which is proved when the second try falls due."""
    net = Net()
    a, b = net.node("a", 1), net.node("b", 2)
    refused_for_crossing(net, a, b)
    a = net.node("a", 1)
    b.dial(a)
    search = net.pipes[-1]
    advance(net, search.other, search, search.other, search)  # b has sent its proof
    net.jump(SECOND_US)
    b.tick()
    net.run(Random(seed))
    assert b.facts(PeerConnected, PeerLost) == [PeerConnected(a.contact, Channel.CONTROL)]
    assert a.heard(b) == ["from b"] and net.open_at_once == 1


def test_no_crossing_is_waited_for_when_nothing_waits_to_be_sent(net, a, b):
    a.dial(b)
    b.dial(a)
    ours, theirs = net.pipes
    advance(net, ours.other, theirs.other, ours, theirs, ours.other, theirs.other, ours, theirs)
    advance(net, theirs.other, theirs)  # b's dial is refused
    ours.other.inbox.clear()
    net.kill(a)
    net.run()
    assert b.links.deadline() is None
    assert b.said == [AddressAnswered(a.address, a.contact)]


def test_a_stranger_that_cries_crossing_gains_nothing(net, a):
    """Only a peer that we have proved to be the one we dialled could make us wait."""
    a.dial(SILENCE)
    b = net.node("b", 2)
    b.dial(a)
    pipe = net.pipes[-1]
    net.deliver(pipe.other)
    pipe.other.inbox.append(frame(refusal(Cause.CROSSING, "")))
    net.deliver(pipe.other)
    assert a.links.statistics().greeting == 0 and not a.said


def test_dials_on_different_channels_do_not_cross(net, a, b):
    a.send(b, "small", Channel.CONTROL)
    b.send(a, "large", Channel.DATA)
    net.run()
    assert (a.heard(b), b.heard(a)) == (["large"], ["small"])
    assert net.open_at_once == 2


def test_closing_gives_up_what_waits_out_a_crossing(net, a, b):
    refused_for_crossing(net, a, b)
    assert b.feed(CloseLinks()) == [PeerUnreached(a.site, Channel.CONTROL, Cause.GOODBYE)]
    assert b.links.deadline() is None
