"""Driven instances where lives begin and end, and among nodes that do not drive them."""

from __future__ import annotations

from covey.core.rows import HoldInstance
from covey.core.vocabulary import Liveness
from covey.wire.messages.rows import OwnedPull
from tests.protocols.replication.replication_net import CONFIG, SECOND, I, Net
from tests.protocols.replication.test_replication_driven import about, driven, new, tell, tell_all


def test_who_lets_go_tells_the_last_word_itself():
    """Whoever drove it is gone by then."""
    net, a, b = driven()
    a.start(b"s", b"v")
    tell(a, b, new(net, a))
    a.remove(b"s")
    a.release()
    net.run()
    assert b.has() == {}
    assert a.to_tell == []


def test_a_new_life_says_that_it_drives_as_the_one_before():
    net, a, b = driven()
    a.begin(5)
    net.introduce(b, a)
    net.introduce(a, b)
    net.run()
    assert b.machine.holders(I) == [b.site, a.site]
    assert not b.machine._audience.shares(I, a.site)


def test_of_two_that_do_not_agree_neither_asks_the_other():
    net = Net(2, CONFIG)
    a, b = net.nodes
    a.feed(HoldInstance(I, False, True))
    b.hold()
    net.wait(3 * SECOND)
    net.carried.clear()
    a.write((b"k", b"v"))
    b.write((b"k", b"w"))
    b.start(b"s", b"w")
    net.wait(5 * SECOND)
    assert a.shows(b) == {b"k": b"w"}  # pushed, as ever
    assert a.has() == b.has()
    assert b.shows(a) == {}
    tell_all(a, b)
    assert b.shows(a) == {b"k": b"v"}
    assert not [message for _, _, message in net.carried if about(message, OwnedPull)]


def test_a_life_that_is_over_retires_once_all_said_that_they_have_its_operations():
    net, a, b, c = driven(3)
    a.start(b"s", b"v")
    tell(a, b, new(net, a))
    tell_all(b, c)
    b.remove(b"s")
    new(net, b)
    for node in (b, c):
        node.removed(a)
    tell_all(b, c)
    tell_all(c, b)
    assert b.table().received.lives() == [a.life, b.life]
    b.held(c, Liveness.ALIVE)
    b.machine.shared.retiring.trim(net.now_us)
    assert b.table().received.lives() == [b.life]
    assert b.table().retired.lives() == [a.life]
