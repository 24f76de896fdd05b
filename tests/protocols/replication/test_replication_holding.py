"""Holding instances and letting them go; wrong commands, and bounds."""

from __future__ import annotations

import msgspec
import pytest

from covey.core.errors import Overloaded, UnknownName, ValueTooLarge
from covey.core.vocabulary import (
    Channel,
    PeerConnected,
)
from covey.protocols.replication.vocabulary import SYSTEM
from covey.wire.messages.rows import SEQ_MAX, OwnedOps, OwnedPositions, RowSum
from tests.protocols.replication.replication_lives import VALUE, late, written
from tests.protocols.replication.replication_net import CONFIG, QUIET, SECOND, I, Net, pair

# --- holding and letting go ------------------------------------------------------------------------------------------


def test_letting_go_of_an_instance_takes_our_rows_away_everywhere_and_shows_us_nothing_more():
    net, a, b = written()
    b.write((b"of b", b"1"))
    net.run()
    a.release()
    assert {key[0] for key in a.folded} == {SYSTEM}
    net.run()
    assert (b.shows(a), b.rows(a), b.machine.holders(I)) == ({}, {}, [b.site])
    a.release()
    a.release(SYSTEM)
    assert SYSTEM in a.machine.tables


def test_rows_of_a_holder_that_let_go_are_gone_though_what_it_said_last_was_lost():
    """Found by reading: the rows were removed by operations that nobody could tell again."""
    net, a, b = written(config=CONFIG)
    net.cut = {(1, 2), (2, 1)}
    a.release()
    net.run()
    net.cut.clear()
    net.wait(3 * SECOND)
    assert (b.shows(a), b.machine.holders(I)) == ({}, [b.site])


def test_who_holds_an_instance_again_is_heard():
    """Found by reading: it counted from one again, and the others took its operations for old ones."""
    net, a, b = written()
    for number in range(3):
        a.release()
        a.hold()
        a.write((b"again", b"%d" % number))
        net.run()
        assert b.shows(a) == {b"again": b"%d" % number}
        assert a.seq(a) == b.seq(a)


def test_a_late_word_about_an_earlier_holding_means_nothing():
    net, a, b = written()
    a.release()
    net.run()
    b.hears(a, OwnedOps(I, a.site, 1, 1, ((b"key", b"value"),), False))
    assert b.shows(a) == {}
    a.hold()
    net.run()
    for message in late(a)[:2]:
        b.hears(a, message)
    assert b.shows(a) == {}


def test_rows_that_come_before_the_news_that_their_owner_holds_the_instance_are_shown_with_it():
    net = Net(2)
    a, b = net.nodes
    b.hold()
    net.run()
    a.hold()
    a.write((b"key", b"value"))
    a.end_turn()
    system, rows = [message for _, _, message in net.flying if type(message) is OwnedOps]
    net.flying.clear()
    b.hears(a, rows)
    assert (b.rows(a), b.shows(a)) == (VALUE, {})
    b.hears(a, system)
    assert b.shows(a) == VALUE


def test_rows_of_a_new_holding_that_come_before_the_end_of_the_one_before_are_not_lost():
    """Seed 51 of the rows profile: they were thrown away, and their number kept."""
    net, a, b = written()
    a.release()
    a.end_turn()
    a.hold()
    a.end_turn()
    a.write((b"new", b"1"))
    a.end_turn()
    first, second = [entry for entry in net.flying if getattr(entry[2], "instance", None) == SYSTEM]
    rest = [entry for entry in net.flying if entry not in (first, second)]
    net.flying = rest
    net.run()
    net.flying = [first]
    net.run()
    net.flying = [second]
    net.run()
    net.mesh()
    net.run()
    assert b.shows(a) == {b"new": b"1"}


def test_an_instance_that_is_not_held_here_is_ignored():
    net, a, b = written()
    b.release()
    net.run()
    for message in late(a):
        if getattr(message, "instance", None) == I:
            assert b.hears(a, message) == []
    assert list(b.machine.tables) == [SYSTEM]
    assert b.machine.row(I, a.site, b"key") is None
    assert a.machine.row(I, a.site, b"key") == b"value"


def test_holding_twice_is_holding_once():
    _, a, _ = written()
    before = a.seq(a, SYSTEM)
    a.hold()
    assert a.seq(a, SYSTEM) == before


# --- bounds and wrong commands ---------------------------------------------------------------------------------------


def test_wrong_commands_are_refused_and_change_nothing():
    """Found by reading: a row longer than a message may hold was sent, and each link that carried it was dropped."""
    net = Net(1, msgspec.structs.replace(QUIET, instances_max=2))
    (a,) = net.nodes
    with pytest.raises(UnknownName, match="does not hold the instance"):
        a.write((b"key", b"value"))
    with pytest.raises(UnknownName):
        a.write((b"key", b"value"), instance=SYSTEM)
    with pytest.raises(ValueTooLarge, match="at most 1088 bytes, not 1089"):
        a.hold(bytes(1089))
    a.hold()
    with pytest.raises(Overloaded, match="release one"):
        a.hold(b"other")
    for change in ((bytes(1089), b""), (b"", bytes(65_537))):
        with pytest.raises(ValueTooLarge, match="nothing was written"):
            a.write((b"good", b""), change)
    assert (a.shows(a), a.machine.statistics().instances) == ({}, 2)
    a.write()
    assert a.seq(a) == 0


def test_pulls_are_bounded_and_the_rest_is_found_later():
    net, a, b, c = pair(msgspec.structs.replace(CONFIG, pulls_max=1), 3)
    net.cut = {(1, 3), (2, 3)}
    a.write((b"a", b"1"))
    b.write((b"b", b"2"))
    net.run()
    net.cut.clear()
    c.hears(b, OwnedPositions(((I, ((a.site, 1, 1), (b.site, 1, 1))),), False))
    assert c.machine.statistics().pulls == 1
    net.wait(5 * SECOND)
    assert (c.shows(a), c.shows(b)) == ({b"a": b"1"}, {b"b": b"2"})


def test_a_stranger_leaves_nothing_behind():
    """Found by reading: whoever compared digests was remembered, member or not."""
    net, a, b = written()
    stranger = net.add(9)
    b.hears(stranger, RowSum(b.machine._sum([SYSTEM])))
    b.feed(PeerConnected(stranger.me, Channel.CONTROL))
    assert stranger.site not in b.machine.owned.logs._equal
    assert a.site in b.machine.holders(SYSTEM)
    assert stranger.site not in b.machine.holders(SYSTEM)


def test_numbers_beyond_what_a_message_can_hold_are_ignored():
    """Found by reading: our own positions would have been malformed, and every link of ours dropped."""
    _, a, b = written()
    b.hears(a, OwnedOps(SYSTEM, a.site, 1, 2, ((I, b"\xff" * 8),), False))
    assert b.seq(a) == SEQ_MAX
    assert b.hears(a, OwnedOps(I, a.site, 1, SEQ_MAX, ((b"a", b""), (b"b", b"")), False)) == []
    assert b.seq(a) == SEQ_MAX
