"""Shared rows outlive who did them: new holders, holders that let go, later lives, lives that are over and retire."""

from __future__ import annotations

import msgspec
import pytest

from covey.core.ids import ClusterId
from covey.core.vocabulary import ClusterChanged, Liveness
from covey.wire.messages.rows import SharedHave, SharedOps, SharedSums
from tests.protocols.replication.replication_net import CONFIG, QUIET, SECOND, SMALL, F, I, K, Net, Node, alike, pair

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
    net = Net(1, msgspec.structs.replace(QUIET, instances_max=3))
    (a,) = net.nodes
    for number in range(8):
        name = b"%d" % number
        a.hold(name)
        for _ in range(number + 1):
            a.start(K, instance=name)
        assert len(a.machine.shared._minted) <= 3
        a.release(name)
    a.hold(b"0")
    a.start(K, instance=b"0")
    ((_, _, ((first, last),)),) = a.table(b"0").received.told()
    assert first == last > 1


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


# --- lives that are over --------------------------------------------------------------------------------------------

KEPT = msgspec.structs.replace(CONFIG, context_keep_us=60 * SECOND)


def over(config: object = KEPT, count: int = 3) -> tuple[Net, Node, list[Node]]:
    """The last one did things of which nothing is alive, and is over."""
    net, *nodes = pair(config, count)  # type: ignore[arg-type]
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
    assert all(node.machine.shared._retired_us == {} for node in others)
    assert alike(*others)


@pytest.mark.parametrize("how", ["let go of", "forgotten"])
def test_what_is_kept_of_lives_goes_with(how):
    net, last, others = over()
    net.wait(10 * SECOND)
    node = others[0]
    assert node.machine.shared._retired_us
    if how == "let go of":
        node.release()
    else:
        net.wait(65 * SECOND)
    assert node.machine.shared._retired_us == {}
    assert node.machine.shared._acks == {}
    assert last.life[0] not in node.machine.shared._equal
