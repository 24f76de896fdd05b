"""How shared rows spread: pushed to all holders, pulled over a gap, found by digest, compared where logs end."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from covey.core.rows import Put, Start
from covey.core.vocabulary import Cause, Channel, PeerLost, WantTurn
from covey.protocols.replication.machine import Replication
from covey.rows.shared import bucket_of
from covey.wire.messages.rows import (
    SharedCompare,
    SharedDone,
    SharedHave,
    SharedOps,
    SharedPart,
    SharedPartPull,
    SharedPull,
    SharedSummary,
)
from tests.protocols.replication.replication_net import (
    CONFIG,
    NEVER,
    QUIET,
    SECOND,
    SMALL,
    F,
    I,
    K,
    Net,
    Node,
    alike,
    pair,
)

FORGETFUL = msgspec.structs.replace(CONFIG, shared_log_bytes_max=1, bytes_aim=200)


# --- pushing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 9])
def test_a_shared_operation_goes_once_to_each_of_few_holders(count):
    net, a, *others = pair(count=count)
    a.start(K, b"value")
    net.run()
    assert net.said(SharedOps) == [(1, other.number) for other in others]
    assert alike(*net.nodes)
    assert a.has() == {K: (b"value", {})}
    assert [node.machine.statistics().shared.applied for node in net.nodes] == [0] + [1] * len(others)


@pytest.mark.parametrize("count", [10, 12])
def test_where_many_hold_it_and_all_do_it_goes_from_neighbour_to_neighbour(count):
    net, *nodes = pair(count=count)
    for number in range(1, count + 1):  # a ring
        net.neighbours[number] = [(number - 2) % count + 1, number % count + 1]
    nodes[0].start(K, b"value")
    net.run()
    assert alike(*nodes)
    assert len(net.said(SharedOps)) <= count + 1


def test_where_many_hold_it_but_not_all_it_goes_to_each_of_them():
    net, a, *others = pair(count=12)
    others[-1].release()
    net.run()
    net.carried.clear()
    a.start(K, b"value")
    net.run()
    assert net.said(SharedOps) == [(1, other.number) for other in others[:-1]]
    assert alike(a, *others[:-1])


def test_who_is_not_linked_is_dialled():
    net, a, b = pair()
    a.feed(PeerLost(b.me, Channel.DATA, Cause.RESET))
    a.start(K)
    net.run()
    assert b.has() == {K: (b"", {})}


def test_what_is_done_in_one_turn_goes_in_one_message_and_much_in_several():
    net, a, b = pair(SMALL)
    assert a.do() == []
    assert not a.wants_turn
    assert a.do(Start(b"a", b"1"))[0] == WantTurn()
    assert WantTurn() not in a.do(Start(b"b", b"2"), Put(b"b", F, b"3"))
    assert a.do() == []
    a.end_turn()
    assert [(message.first, len(message.ops)) for _, _, message in net.flying] == [(1, 1), (2, 1), (3, 1)]
    net.run()
    assert alike(a, b)
    assert a.machine.statistics().shared.written == 3


def test_several_operations_that_fit_go_together():
    net, a, b = pair()
    a.do(Start(b"a", b"1"), Start(b"b", b"2"), Put(b"b", F, b"3"))
    net.run()
    assert [len(message.ops) for _, _, message in net.carried] == [3]
    assert alike(a, b)


def test_a_shared_operation_that_comes_again_is_neither_applied_nor_passed_on():
    net, a, b = pair()
    a.start(K)
    _, _, message = net.run_until(SharedOps)
    assert b.hears(a, message)
    assert b.hears(a, message) == []
    assert b.machine.statistics().shared.applied == 1


# --- what was lost --------------------------------------------------------------------------------------------------


def test_what_was_lost_is_asked_for_when_the_next_comes():
    net, a, b = pair()
    a.start(K)
    net.lose()
    a.put(K, F, b"value")
    net.run()
    assert (net.said(SharedPull), net.said(SharedDone)) == ([(2, 1)], [(1, 2)])
    assert alike(a, b)
    assert b.has() == {K: (b"", {F: b"value"})}


def test_what_was_lost_last_is_found_by_digest_and_pulled_from_any_holder():
    net, a, b, c = pair(CONFIG, 3)
    net.cut = {(1, 3), (3, 1)}
    a.start(K)
    net.run()
    assert (b.has(), c.has()) == ({K: (b"", {})}, {})
    net.wait(5 * SECOND)
    assert alike(a, b, c)
    assert net.said(SharedPull) == [(3, 2)]
    assert c.machine.statistics().shared.comparisons == 0


def test_more_than_fits_in_one_answer_is_asked_for_again_till_all_is_there():
    net, a, b = pair(SMALL)
    for number in range(9):
        a.start(b"%d" % number)
    net.lose()
    a.start(b"last")
    net.run()
    assert alike(a, b)
    assert len(net.said(SharedPull)) > 2
    assert net.said(SharedCompare) == []


def test_what_nobody_can_tell_one_by_one_is_compared_row_by_row():
    net, a, b = pair(FORGETFUL)
    net.cut = {(1, 2), (2, 1)}
    for number in range(30):
        a.start(b"%d" % number, b"x" * 40)
    a.remove(b"7")
    a.put(b"8", F, b"value")
    b.start(b"of b")
    net.wait(3 * SECOND)
    assert a.table().log.bytes <= 1
    net.cut.clear()
    net.wait(6 * SECOND)
    assert alike(a, b)
    assert len(b.has()) == 30
    assert len(net.said(SharedPart)) > 20
    assert b.machine.statistics().shared.comparisons >= 1
    assert b.machine.statistics().shared.exchanges == 0
    assert b.events == a.events == []


def test_of_too_many_operations_rows_are_compared_at_once():
    net, a, b = pair(msgspec.structs.replace(CONFIG, pull_ops_max=4))
    net.cut = {(1, 2), (2, 1)}
    for number in range(5):
        a.start(b"%d" % number)
    net.run()
    net.cut.clear()
    net.wait(3 * SECOND)
    assert alike(a, b)
    assert (net.said(SharedPull), net.said(SharedCompare)) == ([], [(2, 1)])


def test_both_pull_what_the_other_one_did():
    net, a, b = pair(CONFIG)
    net.cut = {(1, 2), (2, 1)}
    a.start(K, b"of a")
    b.start(K, b"of b")
    net.run()
    net.cut.clear()
    net.wait(5 * SECOND)
    assert alike(a, b)
    row = a.shared[I][K]
    assert sorted(value for _, value in row.births) == [b"of a", b"of b"]


# --- what is under way ----------------------------------------------------------------------------------------------


def asked(config: Any = QUIET) -> tuple[Net, Node, Node, Node]:
    """The second lacks something of the first, and has just asked it; that question is lost."""
    net, a, b, c = pair(config, 3)
    net.cut = {(1, 2)}
    a.start(K)
    net.run()
    net.cut.clear()
    a.put(K, F, b"")
    net.run_until(SharedPull)
    net.flying.clear()
    assert b.machine.statistics().shared.exchanges == 1
    assert b.machine.shared.exchanges.peer(I) == a.site
    return net, a, b, c


def test_what_is_not_answered_in_time_is_given_up_and_found_again():
    net, a, b, c = asked(CONFIG)
    net.cut = {(1, 2), (2, 1)}
    net.wait(10 * SECOND)
    assert b.machine.statistics().shared.exchanges == 0
    assert alike(a, b, c)


@pytest.mark.parametrize("how", ["its link", "its life", "our life", "our hold"])
def test_what_a_holder_was_asked_for_is_given_up_with(how):
    _, a, b, _ = asked()
    if how == "its link":
        b.feed(PeerLost(a.me, Channel.CONTROL, Cause.RESET))
        assert b.machine.statistics().shared.exchanges == 1  # not over this one
        b.feed(PeerLost(a.me, Channel.DATA, Cause.RESET))
    elif how == "its life":
        b.removed(a)
    elif how == "our life":
        b.begin(2)
    else:
        b.release()
    assert b.machine.statistics().shared.exchanges == 0


def test_while_one_is_asked_no_other_is():
    net, a, b, c = asked()
    have = SharedHave(I, c.table().received.told(), (), bytes(8), False)
    assert b.hears(c, have) == []
    b.hears(c, SharedDone(I, True, True))
    b.hears(a, SharedSummary(I, (), (), bytes(2048)))
    assert b.machine.statistics().shared.exchanges == 1
    assert net.flying == []


def test_a_comparison_that_is_given_up_takes_nothing_away_and_the_next_one_does():
    net, a, b = pair(FORGETFUL)
    a.start(b"goes")
    a.start(b"stays")
    net.run()
    net.cut = {(1, 2), (2, 1)}
    a.remove(b"goes")
    for number in range(40):
        a.start(b"%d" % number)
    net.wait(2 * SECOND)
    net.cut.clear()
    b.hears(a, SharedHave(I, a.table().received.told(), (), bytes(8), False))
    _, _, part = net.run_until(SharedPart)
    b.hears(a, part)
    b.feed(PeerLost(a.me, Channel.DATA, Cause.RESET))
    net.flying.clear()
    assert {b"goes", b"stays"} < set(b.has())
    assert b.hears(a, part) == []
    assert b.table().witness is None
    net.wait(6 * SECOND)
    assert alike(a, b)
    assert b"goes" not in b.has()


def test_who_lets_go_while_its_rows_are_compared_and_holds_again_takes_nothing_away():
    """Found by reading: it told of its new and empty table, and all that it had known before was taken for removed."""
    net, a, b = pair(msgspec.structs.replace(FORGETFUL, digest_period_us=NEVER))
    a.start(K, b"value")
    net.run()
    a.start(b"lost", b"")
    net.lose()
    b.machine.shared.exchanges.compare(I, a.site, 0)
    b.hears(a, *a.answers(b, SharedCompare(I)))
    net.flying.clear()
    pull = SharedPartPull(I, bucket_of(K), None)
    net.cut = {(1, 2)}  # b does not hear of it
    a.release()
    a.hold()
    assert a.answers(b, pull) == []
    b.put(K, F, b"more")
    net.cut.clear()
    net.wait(5 * SECOND)
    assert b.has() == {K: (b"value", {F: b"more"})}


def test_rows_are_told_only_to_who_was_told_their_sums_over_the_same_link():
    _, a, b = pair()
    a.start(K)
    pull = SharedPartPull(I, bucket_of(K), None)
    assert a.answers(b, pull) == []
    assert len(a.answers(b, SharedCompare(I), pull)) == 2
    a.feed(PeerLost(b.me, Channel.DATA, Cause.RESET))
    assert a.answers(b, pull) == []
    assert a.machine.shared.exchanges._summed == {}


def test_check_asks_shared_rows_too():
    _, a, _ = pair()
    machine: Replication = a.machine
    machine.shared.tables.clear()
    with pytest.raises(AssertionError, match="what is held"):
        machine.check()
