"""No turn is long: what is to be done to many rows is done to some of them each turn."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from covey.core.errors import Overloaded
from covey.core.rows import RowsChanged
from covey.wire.messages.rows import OwnedOps, OwnedPart, OwnedPull
from tests.protocols.replication.replication_net import QUIET, SECOND, I, Node, pair
from tests.protocols.replication.test_replication_parts import agree, log_of

FEW = 3
CONFIG = msgspec.structs.replace(QUIET, changes_max=FEW, trimmed_max=FEW)
ROWS = [(b"key %02d" % number, b"value") for number in range(10)]


def turns(node: Node) -> int:
    """How many turns it wants until it has done all."""
    count = 0
    while node.wants_turn:
        node.end_turn()
        count += 1
    return count


def many() -> tuple:
    """The first has rows that the other one knows; from now on both write their rows anew in pieces."""
    net, a, b = pair(CONFIG)
    a.write(*ROWS)
    net.run()
    assert agree(a, b)
    a.facts.clear()
    return net, a, b


def begin(net, a: Node, incarnation: int) -> None:
    """Another life of the first node, which the other one hears of."""
    a.begin(incarnation)
    net.mesh(a)


# --- a new life -----------------------------------------------------------------------------------------------------


def test_a_new_life_writes_its_rows_anew_some_each_turn():
    net, a, b = many()
    begin(net, a, 2)
    written = [len(a.rows(a))]
    while a.wants_turn:
        before = len(a.rows(a))
        a.end_turn()
        written.append(len(a.rows(a)) - before)
    assert [count for count in written if count] == [3, 3, 3, 1]
    assert max(len(fact.changes) for fact in a.facts if fact.instance == I) <= FEW
    net.run()
    assert a.rows(a) == dict(ROWS)
    assert agree(a, b)


def test_few_rows_are_written_anew_at_once():
    net, a, b = pair(CONFIG)
    a.write(*ROWS[:FEW])
    net.run()
    begin(net, a, 2)
    assert a.rows(a) == dict(ROWS[:FEW])
    net.run()
    assert agree(a, b)


def test_what_is_written_otherwise_meanwhile_stays_so():
    net, a, b = many()
    begin(net, a, 2)
    a.write((b"key 09", None), (b"key 08", b"other"), (b"new", b"1"))
    net.run()
    kept = {key: value for key, value in ROWS if key < b"key 08"}
    assert a.rows(a) == {**kept, b"key 08": b"other", b"new": b"1"}
    assert agree(a, b)


def test_another_life_in_the_middle_of_that_loses_no_row():
    net, a, b = many()
    begin(net, a, 2)
    a.end_turn()
    assert 0 < len(a.rows(a)) < len(ROWS)
    begin(net, a, 3)
    net.run()
    assert a.rows(a) == dict(ROWS)
    assert agree(a, b)


def test_what_is_let_go_of_meanwhile_is_not_written():
    net, a, b = many()
    begin(net, a, 2)
    a.end_turn()
    a.release()
    net.run()
    a.hold()
    net.run()
    assert a.rows(a) == b.shows(a) == {}


def test_rows_that_are_not_written_anew_yet_count_for_the_bound():
    net, a, _ = many()
    size = a.machine.tables[I].bytes_of(a.site)
    config = msgspec.structs.replace(CONFIG, owner_bytes_max=size)
    a.machine.owned._config = config
    begin(net, a, 2)
    with pytest.raises(Overloaded, match="nothing was written"):
        a.write((b"more", b"value"))
    net.run()
    assert a.rows(a) == dict(ROWS)


# --- logs -----------------------------------------------------------------------------------------------------------


def test_a_long_log_is_forgotten_in_several_turns():
    net, a, b = many()
    assert log_of(a, a) == len(ROWS)
    a.machine.owned.logs.equal(b.site, [I])
    for effect in a.machine.owned.logs.trim():
        a._execute(effect)
    left = []
    while a.wants_turn:
        left.append(log_of(a, a))
        a.end_turn()
    assert len(left) > 3
    assert all(0 <= before - after <= FEW for before, after in pairwise(left))
    assert log_of(a, a) == 0
    net.run()
    assert agree(a, b)


# --- parts ----------------------------------------------------------------------------------------------------------


def told(a: Node, b: Node, pull: OwnedPull) -> list[OwnedPart]:
    return [answer for answer in a.answers(b, pull) if type(answer) is OwnedPart]


def parts() -> tuple:
    """The log is gone, and the other one is told the first part."""
    net, a, b = pair(msgspec.structs.replace(CONFIG, bytes_aim=120))
    a.write(*ROWS)
    net.run()
    a.machine.tables[I].trim(a.site, 0, a.machine.tables[I].version, 100)
    (first,) = told(a, b, OwnedPull(I, a.site, 1, 0))
    assert (first.cursor, len(first.rows), first.last) == (None, 2, False)
    return net, a, b, OwnedPull(I, a.site, 1, first.seq, True, first.rows[-1][0])


def test_a_part_is_told_once_and_the_first_one_again_to_whoever_asks_for_it():
    _, a, b, second = parts()
    (part,) = told(a, b, second)
    assert part.cursor == second.cursor
    assert told(a, b, second) == []  # the same question twice: it is on its way
    assert told(a, b, msgspec.structs.replace(second, after=9, cursor=part.rows[-1][0])) == []  # of another telling
    (first,) = told(a, b, OwnedPull(I, a.site, 1, 0))
    assert first.cursor is None


def test_who_does_not_ask_for_the_next_part_in_time_is_told_from_the_first_one():
    net, a, b, second = parts()
    net.now_us += CONFIG.telling_us_max
    a.write((b"more", b"1"))
    a.end_turn()
    assert len(a.machine.owned._tellings) == 0
    (first,) = told(a, b, second)
    assert first.cursor is None


@pytest.mark.parametrize("ends", [lambda net, a, b: net.crash(b), lambda net, a, b: a.release()])
def test_nothing_is_told_on_behind_a_broken_link_or_of_what_is_let_go_of(ends):
    net, a, b, _ = parts()
    assert len(a.machine.owned._tellings) == 1
    ends(net, a, b)
    assert len(a.machine.owned._tellings) == 0


def test_the_parts_of_an_owner_who_writes_on_are_told_in_the_order_in_which_the_rows_came():
    """A part looks at as many rows as it tells, whatever is written meanwhile: nothing is sorted anew."""
    _, a, b, pull = parts()
    keys = [ROWS[0][0], ROWS[1][0]]
    while True:
        a.write((b"a later key", b"1"))
        (part,) = told(a, b, pull)
        keys += [key for key, _ in part.rows]
        if part.last:
            break
        pull = msgspec.structs.replace(pull, cursor=part.rows[-1][0])
    assert keys == [key for key, _ in ROWS]
    (tail,) = [ops for ops in a.answers(b, OwnedPull(I, a.site, 1, len(ROWS))) if type(ops) is OwnedOps]
    assert {key for key, _ in tail.ops} == {b"a later key"}


def test_facts_of_many_rows_are_told_some_each_turn():
    _, a, b = many()
    b.facts.clear()
    b.removed(a)
    assert [fact for fact in b.facts if fact.instance == I] == []
    assert turns(b) == 4
    assert [len(fact.changes) for fact in b.facts if type(fact) is RowsChanged and fact.instance == I] == [3, 3, 3, 1]


def test_the_rows_of_many_owners_and_instances_share_what_is_told_in_a_turn():
    net, a, b, c = pair(CONFIG, 3)
    for instance in (b"second", b"third"):
        for node in (a, b, c):
            node.hold(instance)
    net.run()
    for node in (a, b):
        for instance in (I, b"second", b"third"):
            node.write((b"key", b"1"), (b"other", b"1"), instance=instance)
    net.run()
    c.facts.clear()
    c.removed(a)
    told = [sum(len(fact.changes) for fact in c.facts if fact.instance)]
    while c.wants_turn:
        before = sum(len(fact.changes) for fact in c.facts if fact.instance)
        c.end_turn()
        told.append(sum(len(fact.changes) for fact in c.facts if fact.instance) - before)
    assert sum(told) == 6
    assert max(told) <= FEW


def test_what_this_node_writes_itself_is_told_at_once():
    _, a, _ = pair(CONFIG)
    a.write(*ROWS)
    assert [len(fact.changes) for fact in a.facts if fact.instance == I] == [10]
    a.write((b"more", b"1"))
    assert len(a.facts[-1].changes) == 1


def test_while_too_much_is_to_be_told_nothing_more_is_taken_and_asked_for_later():
    """Found by a review: a member that toggled its rows made a queue that grew for ever."""
    net, a, b = pair(msgspec.structs.replace(CONFIG, waiting_max=5, digest_period_us=SECOND))
    a.write(*ROWS)
    a.end_turn()
    while net.deliver():
        a.write((b"key", b"1"))
        a.end_turn()
        if b.machine.statistics().put_off:
            break
    else:
        raise AssertionError("everything was taken")
    assert b.machine.facts.full
    net.wait(5 * SECOND)
    assert agree(a, b)
