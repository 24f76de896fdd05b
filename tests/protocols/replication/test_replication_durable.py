"""Durable instances: shared rows are here again after a crash, nothing waits for a disk, and nobody is counted on
before its disk has what it tells."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from covey.core.vocabulary import Stop
from covey.protocols.replication.saving import Saving
from covey.rows.stored import read
from covey.wire.messages.rows import RowSum, SharedCompare, SharedOps, SharedPull
from tests.protocols.replication.replication_net import (
    CONFIG,
    QUIET,
    SECOND,
    F,
    I,
    K,
    Net,
    again,
    alike,
    kept,
    pair,
)


def test_who_holds_it_again_shows_what_its_disk_kept_and_knows_what_it_knew():
    net, a, _ = kept()
    a.start(K, b"value")
    a.put(K, F, b"field")
    a.start(b"gone")
    net.run()
    a.remove(b"gone")
    net.run()
    table = a.table()
    (a2,) = again(net, a)
    assert a2.has() == {K: (b"value", {F: b"field"})}
    assert (a2.table().received, a2.table().context) == (table.received, table.context)
    assert a2.table().log.bytes == 0
    net.run()
    assert alike(*net.nodes)


def test_a_cluster_that_stopped_as_a_whole_has_its_rows_and_nothing_that_was_removed():
    net, *nodes = kept(count=3)
    nodes[0].start(K, b"value")
    nodes[1].start(b"gone")
    net.run()
    nodes[2].remove(b"gone")
    net.run()
    fresh = again(net, *nodes)
    assert [node.has() for node in fresh] == [{K: (b"value", {})}] * 3
    net.run()
    fresh[1].put(K, F, b"later")
    net.run()
    assert alike(*fresh)


def test_pushes_and_pulls_wait_for_no_disk():
    net, a, b = kept()
    a.disk_takes = b.disk_takes = False
    a.start(K, b"value")
    net.run()
    assert b.has() == {K: (b"value", {})}
    assert net.said(SharedOps) == [(1, 2)]
    net.cut.add((1, 2))
    a.put(K, F, b"missed")
    net.run()
    net.cut.clear()
    b.hears(a, a.machine.shared._have(I, False))
    net.run()
    assert b.has() == {K: (b"value", {F: b"missed"})}
    assert net.said(SharedPull) == [(2, 1)]
    assert a.disk == b.disk == {}


def test_one_piece_is_stored_a_turn_and_holds_only_what_changed():
    net, a, _ = kept()
    a.disk_takes = False
    for number in range(5):
        a.start(b"%d" % number)
    net.run()
    assert [len(piece.records) for piece in a.unstored] == [7]
    a.put(b"3", F, b"")
    net.run()
    a.store()
    net.run()
    assert [len(piece.records) for piece in a.unstored] == [3]  # the row, what is known, what was received


@pytest.mark.parametrize("log_bytes", [1, 8 << 20])
def test_what_a_crash_took_is_told_again_by_others(log_bytes):
    net, a, b = kept(msgspec.structs.replace(QUIET, shared_log_bytes_max=log_bytes))
    a.start(b"old")
    net.run()
    b.disk_takes = False
    a.start(K, b"value")
    a.remove(b"old")
    net.run()
    assert sorted(b.has()) == [K]
    for node in (a, b):
        node.machine.shared.retiring.trim(net.now_us)
    (b2,) = again(net, b)
    assert sorted(b2.has()) == [b"old"]
    net.run()
    assert b2.has() == a.has() == {K: (b"value", {})}
    assert alike(a, b2)
    assert bool(net.said(SharedCompare)) is (log_bytes == 1)


def test_what_we_did_and_told_before_it_was_on_our_disk_lives_at_others_and_no_dot_is_given_twice():
    net, a, b = kept()
    a.disk_takes = False
    a.start(K, b"before")
    net.run()
    (a2,) = again(net, a)
    assert a2.has() == {}
    a2.start(b"after")
    net.run()
    assert sorted(b.has()) == [b"after", K]
    assert alike(a2, b)
    assert sorted(b.table().received.lives()) == [a.life, a2.life]


# --- who is counted on ----------------------------------------------------------------------------------------------


def said_saved(net: Net, kind: type[RowSum], source: int) -> list[bool]:
    return [message.saved for at, _, message in net.carried if type(message) is kind and at == source]


def test_whoever_tells_what_it_has_says_whether_that_is_on_its_disk():
    net, a, _ = kept(CONFIG)
    net.wait(2 * SECOND)
    assert set(said_saved(net, RowSum, 1)) == {True}
    net.carried.clear()
    a.disk_takes = False
    a.start(K)
    net.wait(2 * SECOND)
    assert set(said_saved(net, RowSum, 1)) == {False}
    assert set(said_saved(net, RowSum, 2)) == {True}
    a.disk_takes = True
    net.wait(SECOND // 10)
    net.carried.clear()
    net.wait(2 * SECOND)
    assert set(said_saved(net, RowSum, 1)) == {True}


def test_operations_are_not_forgotten_before_they_are_on_every_disk():
    net, a, b = kept(CONFIG)
    b.disk_takes = False
    a.start(K)
    net.wait(10 * SECOND)
    assert a.table().log.has((*a.life, 1))
    assert not b.table().log.has((*a.life, 1))
    b.disk_takes = True
    net.wait(10 * SECOND)
    assert not a.table().log.has((*a.life, 1))


def test_who_tells_that_it_has_all_counts_only_from_its_disk():
    net, a, b = kept(CONFIG)
    b.disk_takes = False
    a.start(K)
    net.run()
    have = b.machine.shared._have(I, False)
    assert not have.saved
    a.hears(b, have)
    a.machine.shared.retiring.trim(net.now_us)
    assert a.table().log.has((*a.life, 1))
    a.hears(b, msgspec.structs.replace(have, saved=True))
    a.machine.shared.retiring.trim(net.now_us)
    assert not a.table().log.has((*a.life, 1))


def crash_of_one_whose_disk_is_full() -> dict[bytes, Any]:
    """Two have a row of a third one, which is over; one removes it, the other's disk does not take that. After a time
    in which all retires and is forgotten it crashes, and comes back with what its disk has."""
    config = msgspec.structs.replace(CONFIG, context_keep_us=30 * SECOND)
    net, a, b, c = kept(config, 3)
    c.start(K)
    net.run()
    net.crash(c)
    for node in (a, b):
        node.removed(c)
    net.run()
    b.disk_takes = False
    a.remove(K)
    net.wait(90 * SECOND)
    (b2,) = again(net, b)
    net.wait(10 * SECOND)
    assert alike(a, b2)
    shown: dict[bytes, Any] = a.has()
    return shown


def test_what_was_removed_does_not_come_back_from_a_disk_that_did_not_take_it():
    assert crash_of_one_whose_disk_is_full() == {}


def test_it_would_come_back_if_digests_told_what_is_not_on_the_disk(monkeypatch):
    monkeypatch.setattr(Saving, "saved", lambda self, instance: True)
    assert list(crash_of_one_whose_disk_is_full()) == [K]


# --- lives ----------------------------------------------------------------------------------------------------------


def test_lives_that_retired_stay_retired_on_the_disk_and_are_forgotten_in_time():
    net, a, b, c = kept(msgspec.structs.replace(CONFIG, context_keep_us=30 * SECOND), 3)
    c.start(K)
    net.run()
    a.remove(K)
    net.run()
    net.crash(c)
    for node in (a, b):
        node.removed(c)
    net.wait(10 * SECOND)
    assert a.table().retired.lives() == [c.life]
    fresh = again(net, a, b)
    net.wait(10 * SECOND)
    assert [node.table().retired.lives().count(c.life) for node in fresh] == [1, 1]
    net.wait(40 * SECOND)
    for node in fresh:
        assert c.life not in node.table().context.lives()
        assert node.disk is not None
        assert not any(c.life[0] in key for key in node.disk)


# --- letting go, and the end ----------------------------------------------------------------------------------------


def test_what_is_released_is_gone_from_the_disk():
    net, a, _ = kept()
    a.start(K)
    net.run()
    assert a.disk
    a.release()
    net.run()
    assert a.disk == {}
    a.hold(durable=True)
    net.run()
    assert a.has() == {K: (b"", {})}  # of the other one


def test_who_stops_writes_all_that_is_left_and_keeps_it():
    net, a, _ = kept(msgspec.structs.replace(QUIET, stored_max=2))
    a.disk_takes = False
    for number in range(9):
        a.start(b"%d" % number)
    net.run()
    assert len(a.unstored) == 1
    a.feed(Stop())
    net.run()
    assert len(a.unstored) > 4
    a.release()
    a.store()
    a.end_turn()
    assert a.disk is not None
    assert sorted(read(a.disk)[I].rows) == [b"%d" % number for number in range(9)]


def test_an_instance_that_is_not_durable_costs_nothing():
    net = Net(0)
    nodes = [net.add(number, disk={}) for number in (1, 2)]
    net.mesh()
    for node in nodes:
        node.hold()
    net.run()
    nodes[0].start(K)
    nodes[0].remove(K)
    net.run()
    assert [node.disk for node in nodes] == [{}, {}]
    assert all(node.table().changed is None and node.table().received.changed is None for node in nodes)
    assert all(node.machine.statistics().shared.stored == 0 for node in nodes)


def test_a_node_without_a_disk_holds_it_as_any_other():
    net, a, b = pair()
    c = net.add(3)
    net.mesh(c)
    c.hold(durable=True)
    a.start(K)
    net.run()
    assert alike(a, b, c)
    assert c.table().changed is None
