"""How long logs may be, and rows that are told in parts where they are too short."""

from __future__ import annotations

import msgspec

from covey.core.vocabulary import Cause, Channel, Liveness, PeerLost
from covey.wire.messages.rows import OwnedOps, OwnedPart, OwnedPositions
from tests.protocols.replication.replication_net import CONFIG, QUIET, SECOND, SMALL, I, Node, pair

ROWS = [(b"key %02d" % number, b"value") for number in range(9)]


def agree(*nodes: Node, instance: bytes = I) -> bool:
    """Whether all show the same rows of each other."""
    return all(node.shows(owner, instance) == owner.rows(owner, instance) for node in nodes for owner in nodes)


# --- parts ----------------------------------------------------------------------------------------------------------


def short_log(count: int = 2, rows: int = 9) -> tuple:
    """The first has rows, and a log that does not go back to the beginning; the last heard nothing of them."""
    net, a, *others = pair(SMALL, count)
    net.cut = {(1, count)}
    for _ in range(3):
        a.write_in_turns(*ROWS[:rows])
        a.write_in_turns(*((key, b"other") for key, _ in ROWS[:rows]))
    net.run()
    net.cut.clear()
    for node in net.nodes[:-1]:
        node.machine.owned.logs.trim()
        assert node.machine.tables[I].after(a.site, 0, 100) is None
    net.carried.clear()
    return (net, a, *others)


def test_where_the_log_is_too_short_the_rows_are_told_in_parts():
    net, a, b = short_log()
    a.write((b"last", b"1"))
    net.run()
    assert agree(a, b)
    assert len(net.said(OwnedPart)) == 5
    assert [fact.changes for fact in b.facts if fact.instance == I] == [tuple(a.rows(a).items())]


def test_operations_between_the_parts_come_as_a_tail():
    net, a, b = short_log()
    a.write((b"last", b"1"))
    for at in range(3):
        _, _, part = net.run_until(OwnedPart)
        b.hears(a, part)
        a.write((b"key 0%d" % at, None), (b"new %d" % at, b"1"))
        assert b.shows(a) == {}
        net.flying = [entry for entry in net.flying if type(entry[2]) is not OwnedOps]
    net.run()
    assert agree(a, b)
    assert len(a.rows(a)) == 10


def test_a_push_that_stands_behind_the_first_part_does_not_end_the_tail_too_early():
    """Found by reading: rows as they stood at a later operation were shown as those of an earlier one."""
    net, a, b = short_log(rows=3)
    a.write((b"last", b"1"))
    _, _, first = net.run_until(OwnedPart)
    b.hears(a, first)
    a.write_in_turns((b"key 02", b"x"), (b"key 02", b"y"))
    pushes = [entry for entry in net.flying if type(entry[2]) is OwnedOps]
    net.flying = [entry for entry in net.flying if type(entry[2]) is not OwnedOps]
    _, _, last = net.run_until(OwnedPart)
    assert last.last
    b.hears(a, last)
    b.hears(a, pushes[0][2])
    assert b.shows(a) == {}
    net.run()
    assert agree(a, b)


def test_a_part_that_comes_twice_leaves_nothing_out():
    net, a, b = short_log()
    net.duplicate = 1.0
    a.write((b"last", b"1"))
    net.run(100_000)
    assert agree(a, b)
    assert b.machine.statistics().pulls == 0


def test_a_holder_that_restarts_between_the_parts_is_given_up_and_another_asked():
    net, a, b, c = short_log(3)
    c.hears(b, OwnedPositions(((I, ((a.site, 1, b.seq(a)),)),), False))
    _, _, part = net.run_until(OwnedPart)
    c.hears(b, part)
    assert c.machine.statistics().pulls == 1
    net.crash(b)
    assert c.machine.statistics().pulls == 0
    b = net.add(2, incarnation=2)
    net.mesh()
    net.run()
    b.hold()
    net.run()
    assert agree(a, b, c)


def test_a_holder_that_falls_silent_is_given_up_after_a_while_and_another_asked():
    net, a, b, c = short_log(3)
    c.hears(b, OwnedPositions(((I, ((a.site, 1, b.seq(a)),)),), False))
    net.run_until(OwnedPart)
    net.cut = {(2, 3)}
    net.wait(QUIET.pull_us_max - 1)
    assert c.machine.statistics().pulls == 1
    net.wait(1)
    assert c.machine.statistics().pulls == 0
    c.hears(a, OwnedPositions(((I, ((a.site, 1, a.seq(a)),)),), False))
    net.run()
    assert agree(a, c)


def test_the_owner_that_dies_between_the_parts_is_told_by_another_holder():
    net, a, b, c = short_log(3)
    c.hears(a, OwnedPositions(((I, ((a.site, 1, a.seq(a)),)),), False))
    _, _, part = net.run_until(OwnedPart)
    c.hears(a, part)
    net.crash(a)  # suspected, not yet down
    c.hears(b, OwnedPositions(((I, ((a.site, 1, b.seq(a)),)),), False))
    net.run()
    assert c.shows(a) == b.shows(a) != {}


def test_part_of_a_pull_that_was_given_up_is_ignored():
    net, a, b = short_log()
    a.write((b"last", b"1"))
    _, _, part = net.run_until(OwnedPart)
    b.feed(PeerLost(a.me, Channel.DATA, Cause.RESET))
    assert b.hears(a, part) == []


# --- trimming -------------------------------------------------------------------------------------------------------


def log_of(node: Node, owner: Node) -> int:
    return len(node.machine.tables[I]._owners[owner.site].log)


def test_operations_are_forgotten_once_all_living_holders_were_seen_equal_and_not_before():
    net, a, b, c = pair(CONFIG, count=3)
    net.cut = {(1, 3), (3, 1), (2, 3), (3, 2)}
    a.write(*ROWS)
    net.wait(20 * SECOND)
    assert log_of(a, a) == len(ROWS)
    net.cut.clear()
    net.wait(20 * SECOND)
    assert log_of(a, a) == log_of(b, a) == log_of(c, a) == 0


def test_above_the_bound_the_oldest_are_forgotten_whoever_misses_them():
    net, a, _ = pair(msgspec.structs.replace(CONFIG, log_bytes_min=200))
    net.cut = {(1, 2), (2, 1)}
    a.write(*((b"key", b"%d" % number) for number in range(100)))
    net.wait(3 * SECOND)
    assert 0 < log_of(a, a) <= 5


def test_a_hidden_owners_log_is_bounded_too():
    """Found by reading: only logs of owners that are shown were trimmed."""
    net, a, b = pair(msgspec.structs.replace(CONFIG, log_bytes_min=200))
    b.held(a, Liveness.DOWN)
    a.write(*((b"key", b"%d" % number) for number in range(100)))
    net.wait(3 * SECOND)
    assert b.seq(a) == 100
    assert log_of(b, a) <= 5


def test_who_holds_an_instance_anew_is_not_taken_for_equal():
    """Found by reading: versions of an instance's earlier table were taken for those of the new one."""
    net, a, _ = pair(CONFIG)
    a.write(*ROWS)
    net.wait(10 * SECOND)
    a.release()
    net.run()
    net.cut = {(1, 2), (2, 1)}
    a.hold()
    a.write((b"key", b"value"))
    net.wait(3 * SECOND)
    assert log_of(a, a) == 1
