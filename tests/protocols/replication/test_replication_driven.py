"""Driven instances: the row machine says nothing about them by itself, hands out what is new, and takes what it is
given, in pieces, in whatever order."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from covey.core.rows import HoldInstance, TakeOperations, TakeRows
from covey.protocols.replication.config import ReplicationConfig
from covey.wire.messages.registry import WholeKnown, WholeOwner, WholeRows
from covey.wire.messages.rows import OwnedOps, OwnedPositions, OwnedPull, SharedHave, SharedOps, SharedPull
from tests.protocols.replication.replication_net import CONFIG, QUIET, SECOND, SMALL, I, Net, Node, alike, site

TALK = (OwnedOps, SharedOps, OwnedPull, SharedPull, SharedHave)  # about an instance


def driven(count: int = 2, config: ReplicationConfig = QUIET) -> tuple[Any, ...]:
    """A net, and its nodes that all hold `I` driven and know it."""
    net = Net(count, config)
    for node in net.nodes:
        node.feed(HoldInstance(I, False, True))
    net.run()
    net.carried.clear()
    return (net, *net.nodes)


def new(net: Net, node: Node) -> list[Any]:
    """What is to be told of a node since the last time of asking."""
    net.run()
    told, node.to_tell = node.to_tell, []
    return told


def tell(teller: Node, taker: Node, operations: list[Any]) -> None:
    taker.feed(TakeOperations(I, teller.site, tuple(operations)))


def pieces(teller: Node, relayed: bool = False) -> list[Any]:
    return [piece for piece, _ in teller.machine.driven.telling(I, relayed, False, b"note")]


def tell_all(teller: Node, taker: Node, relayed: bool = False) -> None:
    for piece in pieces(teller, relayed):
        taker.feed(TakeRows(I, teller.site, piece))


def change_one(rng: Random, node: Node, key: bytes) -> None:
    """Start, remove or change a shared row."""
    doing, value = rng.choice(("start", "remove", "put")), b"%d" % rng.randrange(9)
    if doing == "start":
        node.start(key, value)
    elif doing == "remove":
        node.remove(key)
    else:
        node.put(key, b"f", value)


def test_nothing_is_pushed_compared_or_asked_for():
    net, a, b = driven(2, CONFIG)
    a.write((b"k", b"v"))
    a.start(b"s", b"w")
    net.wait(20 * SECOND)
    assert [kind for kind in TALK if [message for _, _, message in net.carried if about(message, kind)]] == []
    assert (b.shows(a), b.has()) == ({}, {})
    assert [type(operation) for operation in a.to_tell] == [OwnedOps, SharedOps]


def about(message: Any, kind: Any) -> bool:
    if type(message) is OwnedPositions:
        return any(instance == I for instance, _ in message.instances)
    return type(message) is kind and bool(message.instance == I)


def test_a_quiet_pair_finds_itself_alike_whatever_is_in_a_driven_instance():
    net, a, _ = driven(2, CONFIG)
    a.write((b"k", b"v"))
    net.wait(10 * SECOND)
    before = a.machine.statistics().mismatches
    net.wait(10 * SECOND)
    assert a.machine.statistics().mismatches == before


def test_what_is_new_is_taken_by_the_same_rules():
    net, a, b = driven()
    a.write((b"k", b"v"))
    a.start(b"s", b"w")
    a.put(b"s", b"f", b"1")
    operations = new(net, a)
    tell(a, b, operations)
    tell(a, b, operations)
    assert b.shows(a) == {b"k": b"v"}
    assert b.has() == a.has() == {b"s": (b"w", {b"f": b"1"})}
    assert b.to_tell == []  # nobody passes on by himself


def test_an_owners_operations_that_come_early_wait_for_those_in_front():
    net, a, b = driven()
    told = []
    for number in range(4):
        a.write((b"k", b"%d" % number))
        told += new(net, a)
    for at in (2, 3, 1):
        tell(a, b, [told[at]])
        assert b.shows(a) == {}
    tell(a, b, [told[0]])
    assert b.shows(a) == {b"k": b"3"}
    assert b.seq(a) == 4


def test_what_waits_is_bounded_and_goes_with_its_owners_life():
    net, a, b = driven(2, ReplicationConfig(digest_period_us=10**15, ahead_max=2))
    told = []
    for number in range(5):
        a.write((b"k", b"%d" % number))
        told += new(net, a)
    tell(a, b, told[1:])
    tell(a, b, told[:1])
    assert b.seq(a) == 3  # the fourth had no room
    tell(a, b, told[4:])
    b.removed(a)
    b.machine.check()
    assert b.machine.driven._ahead._waiting == {}


def test_all_that_is_known_makes_the_other_alike():
    net, a, b = driven()
    a.write((b"k", b"v"), (b"l", b"w"))
    a.start(b"s", b"w")
    a.start(b"gone", b"w")
    a.put(b"s", b"f", b"1")
    a.remove(b"gone")
    new(net, a)
    tell_all(a, b)
    assert b.shows(a) == {b"k": b"v", b"l": b"w"}
    assert alike(a, b)


def test_it_comes_in_pieces_of_a_size():
    net, a, b = driven(2, SMALL)
    a.write(*[(b"key%d" % number, b"v" * 20) for number in range(9)])
    for number in range(9):
        a.start(b"s%d" % number, b"v" * 20)
    for number in range(0, 9, 2):
        a.remove(b"s%d" % number)
    new(net, a)
    told = pieces(a)
    kinds = [type(piece) for piece in told]
    assert min(map(kinds.count, (WholeOwner, WholeRows))) > 1
    assert kinds == sorted(kinds, key=(WholeOwner, WholeRows, WholeKnown).index)
    assert [piece.last for piece in told if type(piece) is WholeKnown].index(True) == kinds.count(WholeKnown) - 1
    assert told[-1].note == b"note"
    for piece in told:
        b.feed(TakeRows(I, a.site, piece))
    assert alike(a, b)
    assert b.shows(a) == a.shows(a)


def test_shared_rows_in_any_order_with_losses_undo_nothing_and_the_next_telling_mends():
    for seed in range(20):
        rng = Random(seed)
        _, a, b, c = driven(3, SMALL)
        nodes = [a, b, c]
        for _ in range(40):
            node, key = rng.choice(nodes), b"s%d" % rng.randrange(3)
            change_one(rng, node, key)
            some = pieces(node)
            rng.shuffle(some)
            for piece in some[: rng.randrange(len(some) + 1)]:
                rng.choice(nodes).feed(TakeRows(I, node.site, piece))
        for _ in range(2):
            for teller in nodes:
                for taker in nodes:
                    if taker is not teller:
                        tell_all(teller, taker)
        assert alike(*nodes)


def test_a_telling_that_is_late_brings_nothing_back_and_takes_nothing_away():
    """Scenario 28."""
    net, a, b = driven()
    a.write((b"k", b"1"))
    a.start(b"stopped", b"v")
    tell(a, b, new(net, a))
    old = pieces(a)
    a.write((b"k", b"2"), (b"l", b"new"))
    a.remove(b"stopped")
    a.start(b"started", b"v")
    tell(a, b, new(net, a))
    for piece in old:
        b.feed(TakeRows(I, a.site, piece))
    assert b.shows(a) == {b"k": b"2", b"l": b"new"}
    assert b.has() == {b"started": (b"v", {})}


def test_an_empty_peer_deletes_nothing():
    """Scenario 29."""
    net, a, b = driven()
    for key in (b"1", b"2", b"3"):
        a.start(key, b"v")
    new(net, a)
    tell_all(b, a)
    assert list(a.has()) == [b"1", b"2", b"3"]
    tell_all(a, b)
    assert alike(a, b)


def test_others_rows_are_told_where_that_is_asked_for():
    net, a, b, c = driven(3)
    a.write((b"k", b"v"))
    tell(a, b, new(net, a))
    tell_all(b, c)
    assert c.shows(a) == {}
    tell_all(b, c, relayed=True)
    assert c.shows(a) == {b"k": b"v"}


def test_nobody_tells_us_what_we_did():
    net, a, b = driven()
    a.write((b"k", b"v"))
    a.start(b"s", b"v")
    new(net, a)
    life: Any = a.life
    lies = [
        WholeOwner(I, life[0], life[1], 9, None, ((b"k", b"lie"),), True),
        WholeRows(I, ((b"lie", None, (*life, 9), (), b"v"), (b"s", b"f", (site(2), 1, 1), (), b"v"))),
        WholeKnown(I, 1, 0, ((*life, ((5, 9),)),), True, ((*life, ((1, 9),)),)),
    ]
    for lie in lies:
        a.feed(TakeRows(I, b.site, lie))
    assert a.shows(a) == {b"k": b"v"}
    a.start(b"t", b"v")
    assert list(a.has()) == [b"s", b"t"]


def test_rows_of_lives_that_do_not_count_and_of_other_instances_are_not_taken():
    net, a, b = driven()
    a.write((b"k", b"v"))
    operations = new(net, a)
    told = pieces(a)
    b.feed(TakeOperations(b"other", a.site, tuple(operations)))
    b.removed(a)
    tell(a, b, operations)
    for piece in told:
        b.feed(TakeRows(I, a.site, piece))
        b.feed(TakeRows(b"other", a.site, piece))
    assert b.shows(a) == {}


@pytest.mark.parametrize("count", [0, 1, pytest.param(700, marks=pytest.mark.slow)])
def test_how_many_pieces_there_are(count):
    net, a, _ = driven()
    for number in range(count):
        a.start(b"s%d" % number, b"v" * 100)
    new(net, a)
    assert len(pieces(a)) == {0: 1, 1: 2, 700: 4}[count]
