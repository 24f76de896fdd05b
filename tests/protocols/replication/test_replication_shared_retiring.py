"""Lives that are over and of which nothing is alive: they retire everywhere, stay known for long, and are forgotten."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from covey.core.vocabulary import Liveness
from covey.wire.messages.rows import SharedOps, SharedSums
from tests.protocols.replication.replication_net import CONFIG, SECOND, I, K, Net, Node, alike, pair

KEPT = msgspec.structs.replace(CONFIG, context_keep_us=60 * SECOND)


def over(config: Any = KEPT, count: int = 3) -> tuple[Net, Node, list[Node]]:
    """The last one did things of which nothing is alive, and is over."""
    net, *nodes = pair(config, count)
    *others, last = nodes
    last.start(K)
    others[0].start(b"stays")
    net.run()
    others[0].remove(K)
    net.run()
    net.crash(last)
    for node in others:
        node.removed(last)
        node.facts.clear()
    return net, last, others


def test_a_life_of_which_nothing_is_alive_retires_everywhere_and_digests_are_alike():
    net, last, others = over()
    assert all(last.life in node.table().received.lives() for node in others)
    net.wait(10 * SECOND)
    for node in others:
        assert last.life not in node.table().received.lives()
        assert node.table().retired.intervals(last.life) == ((1, 1),)
        assert node.machine.statistics().shared.retired == 1
        assert node.table().log.run(last.life, 1, 1, 99) == []
    assert alike(*others)
    net.carried.clear()
    net.wait(10 * SECOND)
    assert net.said(SharedSums) == []


def test_what_retired_stays_removed_for_a_long_time_and_is_then_forgotten():
    net, last, others = over()
    net.wait(10 * SECOND)
    late = SharedOps(I, *last.life, 1, ((K, None, b"", (), ()),))
    for node in others:
        assert node.hears(others[0], late) == []
        assert node.has() == {b"stays": (b"", {})}
    net.wait(65 * SECOND)
    for node in others:
        assert last.life not in node.table().context.lives()
        assert node.table().retired.lives() == []
    assert alike(*others)
    others[0].hears(others[1], late)
    assert sorted(others[0].has()) == [K, b"stays"]  # the price


def test_of_many_lives_that_retired_the_first_are_forgotten_first():
    net, *nodes = pair(msgspec.structs.replace(CONFIG, retired_max=2), 5)
    first, second, *gone = nodes
    for node in gone:
        node.start(node.address.encode())
        net.run()
        first.remove(node.address.encode())
        net.run()
        net.crash(node)
        for other in (first, second):
            other.removed(node)
        net.wait(10 * SECOND)
    for node in (first, second):
        assert sorted(node.table().retired.lives()) == [other.life for other in gone[1:]]
        assert gone[0].life not in node.table().context.lives()
    assert alike(first, second)


def test_a_life_does_not_retire_while_it_is_current_or_anything_of_it_is_alive():
    net, a, b, c = pair(CONFIG, 3)
    a.start(b"goes")
    a.remove(b"goes")
    b.start(b"stays")
    net.run()
    net.crash(b)
    for node in (a, c):
        node.removed(b)
    net.wait(20 * SECOND)
    assert {*c.table().received.lives()} == {a.life, b.life}
    assert c.machine.statistics().shared.retired == 0


def test_a_life_does_not_retire_before_every_holder_has_all_of_it():
    net, a, b, c = pair(CONFIG, 3)
    net.cut = {(3, 2), (1, 2), (2, 1)}
    c.start(K)
    c.remove(K)
    net.run()
    net.crash(c)
    for node in (a, b):
        node.removed(c)
    net.wait(10 * SECOND)
    assert c.life in a.table().received.lives()
    net.cut.clear()
    net.wait(20 * SECOND)
    for node in (a, b):
        assert node.table().retired.intervals(c.life) == ((1, 2),)
    assert alike(a, b)


def test_who_was_away_while_a_life_retired_is_told_by_a_comparison():
    net, a, b, c = pair(CONFIG, 3)
    c.start(K)
    net.run()
    net.cut = {(1, 2), (2, 1), (3, 2), (2, 3)}
    a.held(b, Liveness.DOWN)
    a.remove(K)
    net.run()
    net.crash(c)
    for node in (a, b):
        node.removed(c)
    net.wait(10 * SECOND)
    assert a.table().retired.lives() == [c.life]
    assert b.has() == {K: (b"", {})}
    net.cut.clear()
    a.held(b, Liveness.ALIVE)
    net.wait(20 * SECOND)
    assert a.has() == b.has() == {}
    assert alike(a, b)
    assert b.events == []


def test_a_life_that_seemed_to_be_over_and_is_not_is_compared_again():
    net, a, b = pair(CONFIG)
    b.start(K)
    net.run()
    b.remove(K)
    net.run()
    a.removed(b)
    net.wait(3 * SECOND)
    assert a.table().retired.lives() == [b.life]
    net.mesh()
    net.wait(3 * SECOND)
    assert a.table().retired.lives() == []
    assert alike(a, b)
    b.start(b"more")
    net.run()
    assert alike(a, b)


def test_more_of_a_life_that_retired_brings_it_back():
    net, last, others = over()
    net.wait(10 * SECOND)
    for node in others:
        node.hears(others[0], SharedOps(I, *last.life, 2, ((b"more", None, b"", (), ()),)))
    net.wait(3 * SECOND)
    assert all(node.table().received.intervals(last.life) == ((1, 2),) for node in others)
    assert all(node.machine.shared.retiring._retired_us == {} for node in others)
    assert alike(*others)


@pytest.mark.parametrize("how", ["let go of", "forgotten"])
def test_what_is_kept_of_lives_goes_with(how):
    net, last, others = over()
    net.wait(10 * SECOND)
    node = others[0]
    assert node.machine.shared.retiring._retired_us
    if how == "let go of":
        node.release()
    else:
        net.wait(65 * SECOND)
    assert node.machine.shared.retiring._retired_us == {}
    assert last.life[0] not in node.machine.shared.retiring._equal
