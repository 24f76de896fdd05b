"""Shared rows in trouble: wrong commands, tables that differ, invariants that are broken."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from covey.core.errors import InvariantError, Overloaded, UnknownName, ValueTooLarge
from covey.core.rows import Put, Remove, SharedRefused, Start, WriteShared
from covey.core.vocabulary import Cause, Channel, PeerLost
from covey.protocols.replication.config import ReplicationConfig
from covey.protocols.replication.vocabulary import RowsDiffer
from covey.rows.op_log import Op
from covey.wire.messages import rows as wire
from tests.protocols.replication.replication_net import (
    CONFIG,
    QUIET,
    SECOND,
    F,
    I,
    K,
    Net,
    Node,
    alike,
    pair,
)

BIRTH: Op = (K, None, b"", (), ())

# --- wrong commands -------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "key": (Start(bytes(1089), b""), ValueTooLarge, "not 1089, 0 and 0; nothing was written"),
    "value": (Start(b"", bytes(65_537)), ValueTooLarge, "not 0, 0 and 65537; nothing"),
    "field": (Put(K, bytes(1025), b""), ValueTooLarge, "not 3, 1025 and 0; nothing"),
    "value of a field": (Put(K, F, bytes(65_537)), ValueTooLarge, "not 3, 5 and 65537; nothing"),
    "key to remove": (Remove(bytes(1089)), ValueTooLarge, "not 1089, 0 and 0; nothing"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_in_a_command_is_refused_and_what_stands_around_it_is_done(what):
    net, a, b = pair()
    a.start(K)
    net.run()
    change, error, text = WRONG[what]
    effects = a.do(Start(b"good", b""), change, Put(K, F, b"said"))
    ((refused, why),) = next(effect.refused for effect in effects if type(effect) is SharedRefused)
    assert refused == change
    assert isinstance(why, error)
    assert text in str(why)
    net.run()
    assert a.has()[b"good"] == (b"", {}) and a.has()[K][1] == {F: b"said"}
    assert alike(a, b)


def test_a_command_with_nothing_right_in_it_changes_nothing():
    net, a, _ = pair()
    net.carried.clear()
    before = a.has(), a.table().received.told(), a.machine.statistics()
    (refused,) = a.machine.handle(WriteShared(I, (Start(bytes(1089), b""), Start(b"", bytes(65_537)))), net.now_us)
    assert [type(error) for _, error in refused.refused] == [ValueTooLarge] * 2
    net.run()
    assert (a.has(), a.table().received.told(), a.machine.statistics()) == before
    assert net.carried == []


def test_what_there_is_no_room_for_is_refused_and_what_makes_room_is_done():
    net, a, b = pair(msgspec.structs.replace(QUIET, shared_bytes_max=3_000))
    a.start(K, bytes(2_000))
    a.start(b"other")
    effects = a.do(Start(b"big", bytes(2_000)), Put(b"other", F, b"small"), Remove(K), Start(b"large", bytes(2_000)))
    ((refused, error),) = next(effect.refused for effect in effects if type(effect) is SharedRefused)
    assert (refused, type(error)) == (Start(b"big", bytes(2_000)), Overloaded)
    net.run()
    assert a.has() == b.has() == {b"other": (b"", {F: b"small"}), b"large": (bytes(2_000), {})}


def test_an_instance_that_is_not_held_cannot_be_written_to():
    (a,) = Net(1).nodes
    for instance in (I, b""):
        with pytest.raises(UnknownName, match=r"does not hold the instance .*nothing was written"):
            a.start(K, instance=instance)


def test_what_a_command_does_itself_counts_for_what_follows_in_it():
    _, a, _ = pair()
    a.do(Start(K, b"1"), Put(K, F, b"2"), Remove(K), Start(K, b"3"))
    assert a.has() == {K: (b"3", {})}
    a.do(Start(b"new", b""), Remove(b"new"), Remove(b"new"))
    assert a.has() == {K: (b"3", {})}
    a.do(Remove(K), Put(K, F, b""))
    assert a.has() == {}


def test_of_a_row_that_is_not_here_nothing_is_changed():
    """Whoever writes may not have heard yet that it is gone."""
    net, a, b = pair()
    a.do(Put(b"none", F, b""), Remove(b"none"), Start(K, b"1"))
    net.run()
    assert a.has() == b.has() == {K: (b"1", {})}


def test_a_row_is_not_started_more_often_than_a_message_can_name():
    net, a, b = pair()
    a.do(*[Start(K, b"%d" % number) for number in range(wire.NAMES_MAX)])
    (refused,) = a.machine.handle(WriteShared(I, (Start(K, b""),)), net.now_us)
    ((_, error),) = refused.refused
    assert isinstance(error, Overloaded)
    assert "was started 256 times; nothing was written: remove it" in str(error)
    assert a.machine.statistics().shared.written == wire.NAMES_MAX
    a.do(Remove(K), Start(K, b"again"))
    net.run()
    assert alike(a, b)
    assert b.has() == {K: (b"again", {})}


# --- tables that differ ---------------------------------------------------------------------------------------------


def two_truths() -> tuple[Net, Node, Node]:
    """Somebody told each of two another operation under one number, so that they can never be alike."""
    net, a, b, c = pair(CONFIG, 3)
    net.cut = {(1, 3), (2, 3), (3, 1), (3, 2)}
    for node in (a, b):
        node.hears(c, wire.SharedOps(I, c.site, 1, 1, ((K, None, node.address.encode(), (), ()),)))
    return net, a, b


def test_tables_that_should_be_alike_and_are_not_again_and_again_are_told_of():
    net, a, b = two_truths()
    net.wait(30 * SECOND)
    assert b.events == [RowsDiffer(I, a.site)] * len(b.events)
    assert a.events + b.events
    assert {len(node.events) for node in (a, b)} <= {0, 1}
    for node in (a, b):
        assert node.machine.statistics().shared.differing == len(node.events)
    a.start(b"more")  # something is written: it counts anew
    net.wait(30 * SECOND)
    assert {len(node.events) for node in (a, b)} <= {0, 1, 2}
    assert sum(len(node.events) for node in (a, b)) > 1


def test_tables_that_differ_once_are_made_alike_without_a_word():
    net, a, b = pair(CONFIG)
    a.start(K)
    a.start(b"more")
    net.run()
    b.table().kill(K, None, (*a.life, 1))
    b.table().changes()
    del b.shared[I][K]
    net.wait(10 * SECOND)
    assert alike(a, b)
    assert a.events == b.events == []
    assert a.machine.statistics().shared.comparisons + b.machine.statistics().shared.comparisons >= 1


def test_what_is_remembered_of_tables_that_differed_is_bounded():
    _, a, *others = pair(msgspec.structs.replace(QUIET, instances_max=3), 6)
    for other in others:
        a.hears(other, wire.SharedHave(I, (), (), b"another!", False))
        a.feed(PeerLost(other.me, Channel.DATA, Cause.RESET))
    assert len(a.machine.shared._alike) == 3
    a.release()
    assert a.machine.shared._alike == {}


# --- check ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["order", "last", "numbers", "retired", "not held", "deadline", "witness", "sums"])
def test_check_finds_each_broken_invariant_of_shared_rows(what):
    _, a, b = pair(ReplicationConfig(instances_max=3, retired_max=1))
    a.start(K)
    shared = a.machine.shared
    if what == "order":
        shared._unsaid[I] = [(1, BIRTH), (3, BIRTH)]
    elif what == "last":
        shared._minted[I] = 9
    elif what == "numbers":
        shared._minted |= dict.fromkeys((b"1", b"2", b"3"), 1)
    elif what == "retired":
        shared.retiring._retired_us |= {(I, (a.site, number)): 1 for number in (1, 2)}
    elif what == "sums":
        shared.exchanges._summed[b"none", b.site] = None
    else:
        shared.exchanges.compare(I, b.site, 0)
        a.machine.check()
        if what == "not held":
            del shared.tables[I]
        elif what == "deadline":
            a.machine._timers.cancel(("exchange", I))
        else:
            shared.tables[I].witness = None
    with pytest.raises(InvariantError):
        a.machine.check()
