"""How rows spread: pushed directly or flooded, pulled over a gap, found by digest."""

from __future__ import annotations

import msgspec
import pytest

from covey.core.vocabulary import Flood, TurnEnded
from covey.protocols.replication.vocabulary import SYSTEM
from covey.wire.messages.rows import OwnedOps, OwnedPart, OwnedPositions, OwnedPull, RowSum
from tests.protocols.replication.replication_net import CONFIG, QUIET, SECOND, SMALL, I, Net, Node, pair, site

ROWS = [(b"key %02d" % number, b"value") for number in range(9)]


def agree(*nodes: Node, instance: bytes = I) -> bool:
    """Whether all show the same rows of each other."""
    return all(node.shows(owner, instance) == owner.rows(owner, instance) for node in nodes for owner in nodes)


# --- pushing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 9])
def test_an_operation_goes_once_to_each_of_few_holders(count):
    net, a, *others = pair(count=count)
    a.write((b"key", b"value"))
    net.run()
    assert net.said(OwnedOps) == [(1, other.number) for other in others]
    assert agree(*net.nodes)


@pytest.mark.parametrize("count", [10, 12])
def test_above_that_it_goes_from_neighbour_to_neighbour(count):
    """Found by reading: with one more holder than are told directly, nobody passed on what was flooded."""
    net, *nodes = pair(count=count)
    for number in range(1, count + 1):  # a ring
        net.neighbours[number] = [(number - 2) % count + 1, number % count + 1]
    nodes[0].write((b"key", b"value"))
    net.run()
    assert agree(*nodes)
    assert len(net.said(OwnedOps)) <= count + 1


def test_who_does_not_hold_an_instance_hears_nothing_of_it():
    net = Net(3)
    a, b, _ = net.nodes
    a.hold()
    b.hold()
    net.run()
    net.carried.clear()
    a.write((b"key", b"value"))
    net.run()
    assert net.said(OwnedOps) == [(1, 2)]
    assert [sorted(node.machine.holders(I)) for node in net.nodes] == [[site(1), site(2)]] * 3


def test_who_holds_what_is_flooded_and_passed_on_once():
    net = Net(4)
    net.run()
    net.carried.clear()
    net.neighbours = {1: [2], 2: [1, 3, 4], 3: [2, 4], 4: [2, 3]}
    net.nodes[0].hold()
    net.run()
    assert net.said(OwnedOps) == [(1, 2), (2, 3), (2, 4), (3, 4), (4, 3)]
    assert [node.machine.holders(I) for node in net.nodes] == [[site(1)]] * 4


def test_what_is_written_in_one_turn_goes_in_one_message_and_long_writes_in_several():
    net, a, b = pair(SMALL)
    a.write((b"a", b"1"))
    a.write((b"a", b"2"), (b"b", b"3"))
    a.end_turn()
    assert [message.first for _, _, message in net.flying] == [1, 3]
    net.run()
    assert b.shows(a) == {b"a": b"2", b"b": b"3"}
    assert a.feed(TurnEnded()) == []


def test_an_operation_that_comes_again_is_neither_applied_nor_passed_on():
    _, a, b = pair(msgspec.structs.replace(QUIET, direct_max=0))
    message = OwnedOps(I, a.site, 1, 1, ((b"key", b"value"),), False)
    assert [type(effect).__name__ for effect in b.hears(a, message)] == ["RowsChanged", "Flood"]
    assert b.hears(a, message) == []


# --- gaps and digests -----------------------------------------------------------------------------------------------


def test_a_gap_is_pulled_from_whoever_pushed():
    net, a, b = pair()
    a.write((b"lost", b"1"))
    net.lose()
    a.write((b"key", b"2"))
    net.run()
    assert net.said(OwnedPull) == [(2, 1)]
    assert agree(a, b)
    assert b.machine.statistics().gaps == 1
    assert b.machine.statistics().pulls == 0


def test_a_push_from_the_holder_that_is_asked_does_not_end_the_pull():
    """Found by reading: an old push between question and answer ended the pull, and what followed was never asked."""
    net, a, b = pair(SMALL)
    net.cut.add((1, 2))
    a.write_in_turns(*ROWS[:5])
    net.run()
    net.cut.clear()
    net.duplicate = 0
    a.write(ROWS[5])
    _, _, pull = net.run_until(OwnedPull)
    b.hears(a, OwnedOps(I, a.site, 1, 0, (), False))
    assert b.machine.statistics().pulls == 1
    a.hears(b, pull)
    net.run()
    assert agree(a, b)


def test_what_was_lost_is_found_by_digest_and_told_in_both_directions():
    net, a, b = pair(CONFIG)
    net.cut = {(1, 2), (2, 1)}
    a.write((b"a", b"1"))
    b.write((b"b", b"2"))
    net.run()
    net.cut.clear()
    net.wait(3 * SECOND)
    assert agree(a, b)


def test_links_that_come_up_compare_at_once():
    net, a, b = pair()
    a.write((b"a", b"1"))
    net.lose()
    net.mesh()
    net.run()
    assert agree(a, b)


def test_a_log_is_pulled_in_chunks_until_there_is_no_more():
    net, a, b = pair(msgspec.structs.replace(SMALL, log_bytes_min=1 << 20))
    a.write(*ROWS)
    net.lose()
    net.mesh()
    net.run()
    assert agree(a, b)
    assert len(net.said(OwnedPull)) == 5
    assert net.said(OwnedPart) == []


def test_a_new_holder_asks_some_of_the_others_at_once_and_gets_what_there_is():
    net = Net(5)
    *holders, last = net.nodes
    for node in holders:
        node.hold()
    net.run()
    for node in holders:
        node.write((b"of", b"%d" % node.number))
    net.run()
    net.carried.clear()
    last.hold()
    net.run()
    assert agree(*net.nodes)
    told = [
        (source, target)
        for source, target, message in net.carried
        if type(message) is OwnedPositions and message.answer
    ]
    assert len([target for source, target in told if source == last.number]) == 3
    assert {target for source, target in told if source != last.number} <= {last.number}, (
        "lower sites greet a new holder"
    )


def test_many_positions_go_in_several_messages():
    """Found by reading: with thousands of them the message was longer than a frame may be, and the link was dropped."""
    config = msgspec.structs.replace(QUIET, positions_max=4)
    net, *nodes = pair(config, count=5)
    for node in nodes:
        node.write((b"key", b"value"))
    net.lose()
    net.mesh()
    net.run()
    assert agree(*nodes)
    told = [message for _, _, message in net.carried if type(message) is OwnedPositions]
    assert max(sum(map(len, (positions for _, positions in message.instances))) for message in told) <= 4


def test_idle_nodes_say_one_digest_a_second_however_many_rows_there_are():
    said = []
    for rows in (1, 300):
        net, a, _ = pair(CONFIG)
        a.write(*((b"%d" % number, b"value") for number in range(rows)))
        net.wait(10 * SECOND)
        net.carried.clear()
        net.wait(20 * SECOND)
        assert {type(message) for _, _, message in net.carried} == {RowSum}
        said.append(len(net.carried))
        before = a.machine.statistics(), len(a.machine.tables[I]._owners[a.site].log)
        net.wait(20 * SECOND)
        assert (a.machine.statistics(), len(a.machine.tables[I]._owners[a.site].log)) == before
    assert said[0] == said[1]
    assert 36 <= said[0] <= 44


def test_flood_is_said_for_news_of_who_holds_what():
    net = Net(1)
    (a,) = net.nodes
    a.hold()
    assert a.feed(TurnEnded()) == [Flood(OwnedOps(SYSTEM, a.site, 1, 1, ((I, b""),), False))]
