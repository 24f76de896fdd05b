"""Shared rows outlive who did them: new holders, holders that let go, later lives, lives that are over and retire."""

from __future__ import annotations

import msgspec

from covey.core.ids import ClusterId
from covey.core.vocabulary import ClusterChanged
from covey.wire.messages.rows import SharedHave, SharedOps, SharedSums
from tests.protocols.replication.replication_net import CONFIG, QUIET, SECOND, SMALL, F, I, K, Net, alike, pair

# --- who holds it ---------------------------------------------------------------------------------------------------


def test_a_new_holder_asks_those_who_hold_it_at_once():
    net = Net(3)
    a, b, c = net.nodes
    a.hold()
    b.hold()
    net.run()
    a.start(K, b"value")
    net.run()
    c.hold()
    net.run()
    assert alike(a, b, c)
    assert set(net.said(SharedHave)) >= {(3, 1), (3, 2)}


def test_two_holders_that_did_not_know_of_each_other_end_with_the_rows_of_both():
    net = Net(0, CONFIG)
    a, b = net.add(1), net.add(2)
    for node, key in ((a, b"of a"), (b, b"of b")):
        node.hold()
        node.start(key)
    net.lose()
    net.mesh()
    net.wait(5 * SECOND)
    assert sorted(a.has()) == [b"of a", b"of b"]
    assert alike(a, b)


def test_many_instances_are_told_of_in_several_messages():
    net, a, b = pair(msgspec.structs.replace(SMALL, digest_period_us=SECOND))
    names = [b"instance %02d" % number for number in range(12)]
    for name in names:
        a.hold(name)
        b.hold(name)
    net.run()
    for name in names:
        a.start(K, name, instance=name)
    net.lose()
    net.wait(20 * SECOND)
    assert all(alike(a, b, instance=name) and b.has(name) for name in names)
    messages = [message for source, _, message in net.carried if type(message) is SharedSums and source == 1]
    assert max(len(message.sums) for message in messages) == 4  # 120 bytes


def test_who_lets_go_of_an_instance_shows_nothing_and_what_it_did_stays_with_the_others():
    net, a, b = pair()
    a.start(K)
    net.run()
    a.release()
    assert (a.has(), list(a.machine.shared.tables)) == ({}, [])
    net.run()
    assert b.has() == {K: (b"", {})}
    assert b.hears(a, SharedOps(b"unknown", a.site, 1, 9, ())) == []
    a.hold()
    net.run()
    assert alike(a, b)


def test_what_is_done_in_the_turn_in_which_we_let_go_is_told():
    """Found by reading: it was thrown away, and nobody else could know of it."""
    net, a, b, c = pair(count=3)
    a.start(K, b"last")
    a.release()
    net.run()
    assert b.has() == c.has() == {K: (b"last", {})}
    assert net.said(SharedOps) == [(1, 2), (1, 3)]


def test_numbers_go_on_though_an_instance_was_let_go_of_and_nobody_was_there_to_tell_us():
    """A number that is given twice would be two operations to some, and one to others."""
    net, a, b = pair()
    a.start(K, b"first")
    net.run()
    net.cut = {(1, 2), (2, 1)}
    a.release()
    a.hold()
    a.start(b"again")
    net.run()
    assert a.table().received.told() == ((a.site, 1, ((2, 2),)),)
    net.cut.clear()
    net.mesh()
    a.put(b"again", F, b"value")
    net.run()
    assert b.table().received.told() == ((a.site, 1, ((1, 3),)),)
    net.lose()
    a.hears(b, *[SharedHave(I, b.table().received.told(), (), b.table().alive_digest.to_bytes(8, "big"), False)])
    net.run()
    assert alike(a, b)
    assert sorted(a.has()) == [b"again", K]


def test_numbers_of_instances_beyond_the_bound_go_on_above_all_of_them():
    net = Net(1, msgspec.structs.replace(QUIET, instances_max=4))
    (a,) = net.nodes
    a.hold(b"kept")
    a.start(K, instance=b"kept")
    for number in range(8):
        name = b"%d" % number
        a.hold(name)
        for _ in range(number + 1):
            a.start(K, instance=name)
        assert len(a.machine.shared._minted) <= 4
        a.release(name)
    a.hold(b"0")
    a.start(K, instance=b"0")
    ((_, _, ((first, last),)),) = a.table(b"0").received.told()
    assert first == last > 1
    a.start(b"more", instance=b"kept")
    assert a.table(b"kept").received.told() == ((*a.life, ((1, 2),)),)


# --- lives ----------------------------------------------------------------------------------------------------------


def test_a_new_life_keeps_what_the_old_one_did_and_counts_anew():
    net, a, b = pair(CONFIG)
    a.start(K, b"of the first life")
    net.run()
    a.put(K, F, b"waits for the end of the turn")
    a.begin(2)
    assert a.has() == {K: (b"of the first life", {F: b"waits for the end of the turn"})}
    a.put(K, b"g", b"of the second")
    assert a.table().received.intervals((a.site, 2)) == ((1, 1),)
    net.lose()
    net.mesh()
    net.wait(5 * SECOND)
    assert alike(a, b)
    assert b.has() == {K: (b"of the first life", {F: b"waits for the end of the turn", b"g": b"of the second"})}


def test_a_process_that_starts_again_gets_its_rows_from_the_others():
    net, a, b = pair(CONFIG)
    a.start(K, b"value")
    net.run()
    net.crash(a)
    again = net.add(1, 2)
    net.mesh()
    again.hold()
    net.wait(5 * SECOND)
    assert again.has() == b.has() == {K: (b"value", {})}
    again.remove(K)
    net.run()
    assert (alike(again, b), b.has()) == (True, {})


def test_another_cluster_in_the_same_life_leaves_shared_rows_and_numbers_as_they_are():
    _, a, _ = pair()
    a.start(K)
    a.feed(ClusterChanged(ClusterId(b"d" * 16), 1, True))
    a.start(b"more")
    assert a.table().received.told() == ((a.site, 1, ((1, 2),)),)
