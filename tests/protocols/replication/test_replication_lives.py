"""Whose rows are shown: of lives that are current and not held for down, in instances that their owner holds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from covey.core.errors import InvariantError, Overloaded, UnknownName, ValueTooLarge
from covey.core.ids import ClusterId
from covey.core.vocabulary import (
    AddressLearned,
    Channel,
    ClusterChanged,
    Liveness,
    LivenessChanged,
    MemberAdded,
    MemberRemoved,
    PeerConnected,
)
from covey.protocols.replication.vocabulary import SYSTEM
from covey.wire.messages.rows import SEQ_MAX, OwnedOps, OwnedPart, OwnedPositions, OwnedPull, RowSum
from tests.protocols.replication.replication_net import CONFIG, QUIET, SECOND, I, Net, Node, pair, site

VALUE = {b"key": b"value"}


def written(count: int = 2, config: Any = QUIET) -> tuple[Any, ...]:
    """A net whose nodes all hold `I`, and the first wrote a row there."""
    net, a, *others = pair(config, count)
    a.write((b"key", b"value"))
    net.run()
    assert all(other.shows(a) == VALUE for other in others)
    net.carried.clear()
    return (net, a, *others)


def later(node: Node, incarnation: int = 2) -> Any:
    return msgspec.structs.replace(node.me, incarnation=incarnation)


# --- down, and not ---------------------------------------------------------------------------------------------------


def test_down_hides_the_rows_and_alive_shows_them_again_without_any_transfer():
    net, a, b = written()
    b.held(a, Liveness.DOWN)
    assert b.shows(a) == b.shows(a, SYSTEM) == {}
    assert b.machine.holders(I) == [b.site]
    assert b.rows(a) == VALUE
    b.held(a, Liveness.ALIVE)
    assert b.shows(a) == VALUE
    assert sorted(b.machine.holders(I)) == [a.site, b.site]
    net.run()
    assert {type(message) for _, _, message in net.carried} == {RowSum}


def test_rows_of_a_suspect_and_of_one_not_yet_observed_are_shown():
    _, a, b = written()
    for state in (Liveness.SUSPECT, Liveness.UNKNOWN, Liveness.ALIVE):
        b.held(a, state)
        assert b.shows(a) == VALUE


def test_what_a_falsely_accused_owner_writes_is_applied_and_shown_later():
    net, a, b = written()
    b.held(a, Liveness.DOWN)
    a.write((b"key", b"new"))
    net.run()
    assert b.shows(a) == {}
    b.held(a, Liveness.ALIVE)
    assert b.shows(a) == {b"key": b"new"}


def test_an_owner_that_is_hidden_here_is_served_to_others():
    net, a, b, c = written(3)
    b.held(a, Liveness.DOWN)
    c.release()
    c.hold()
    net.run()
    c.hears(b, OwnedPositions(((I, ((a.site, 1, 1),)),), False))
    net.run()
    assert c.shows(a) == VALUE


# --- over for good ---------------------------------------------------------------------------------------------------

ENDINGS = {
    "its last word": lambda a: LivenessChanged(a.me, Liveness.STOPPED, "said so"),
    "a later life": lambda a: MemberAdded(later(a), False, True),
    "a later life that is held for alive": lambda a: LivenessChanged(later(a), Liveness.ALIVE, "spoke"),
    "removal": lambda a: MemberRemoved(a.site),
}


def late(a: Node) -> list[Any]:
    """All that can still be said of its first life."""
    return [
        OwnedOps(I, a.site, 1, 1, ((b"key", b"value"),), False),
        OwnedOps(I, a.site, 1, 2, ((b"late", b"value"),), False),
        OwnedOps(SYSTEM, a.site, 1, 2, ((b"late", b""),), False),
        OwnedPart(I, a.site, 1, 9, None, ((b"part", b"value"),), True),
        OwnedPositions(((I, ((a.site, 1, 99),)), (SYSTEM, ((a.site, 1, 99),))), True),
        OwnedPull(I, a.site, 1, 0),
    ]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("hidden", [False, True])
def test_what_is_over_for_good_drops_the_rows_and_no_late_message_brings_them_back(ending, hidden):
    _, a, b, c = written(3)
    if hidden:
        b.held(a, Liveness.DOWN)
    b.feed(ENDINGS[ending](a))
    for message in late(a):
        for teller in (a, c):
            assert not [effect for effect in b.hears(teller, message) if "Rows" in type(effect).__name__]
        assert b.machine.statistics().pulls == 0
    assert b.shows(a) == b.shows(a, SYSTEM) == b.rows(a) == b.rows(a, SYSTEM) == {}
    b.held(a, Liveness.ALIVE)  # late as well
    b.held(a, Liveness.DOWN)
    assert b.shows(a) == b.rows(a) == {}
    assert b.machine.holders(I) in ([b.site, c.site], [c.site, b.site])


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_pull_of_rows_that_are_over_ends_and_its_answer_means_nothing(ending):
    net, a, b = written()
    a.write((b"lost", b""))
    net.lose()
    a.write((b"more", b""))
    _, _, pull = net.run_until(OwnedPull)
    b.feed(ENDINGS[ending](a))
    assert b.machine.statistics().pulls == 0
    a.hears(b, pull)
    net.run()
    assert b.shows(a) == {}


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_a_holder_was_asked_is_given_up_when_its_life_is_over(ending):
    net, a, b, c = written(3)
    a.write((b"more", b""))
    net.lose()
    c.hears(b, OwnedPositions(((I, ((a.site, 1, 9),)),), False))
    assert c.machine.statistics().pulls == 1
    c.feed(ENDINGS[ending](b))
    assert c.machine.statistics().pulls == 0


def test_a_message_of_a_life_that_membership_does_not_know_yet_is_ignored_and_repaired_by_digest():
    net, a, b = pair(CONFIG)
    net.cut = {(1, 2), (2, 1)}
    a.begin(2)
    net.run()
    net.cut.clear()
    b.hears(a, OwnedOps(I, a.site, 2, 1, ((b"key", b"value"),), False))
    assert b.machine.statistics().early == 1
    assert b.shows(a) == {}
    net.mesh()
    a.write((b"key", b"value"))
    net.wait(3 * SECOND)
    assert b.shows(a) == VALUE


def test_of_a_life_that_only_the_detector_knows_nothing_is_shown():
    net = Net(1)
    (b,) = net.nodes
    a = net.add(2)
    b.held(a, Liveness.ALIVE)
    assert b.hears(a, OwnedOps(SYSTEM, a.site, 1, 1, ((I, b""),), False)) == []
    assert b.machine.holders(SYSTEM) == [b.site]


# --- our own lives ---------------------------------------------------------------------------------------------------


def test_a_new_life_of_ours_writes_our_rows_anew_and_forgets_the_others():
    net, a, b = written(config=CONFIG)
    b.write((b"of b", b"1"))
    net.run()
    a.begin(2)
    assert a.shows(b) == {}
    assert {key[2] for key in a.folded} == {2}
    assert (a.shows(a), sorted(a.machine.holders(I))) == (VALUE, [a.site])
    net.lose()
    net.mesh()
    net.wait(3 * SECOND)
    assert b.shows(a) == VALUE
    assert a.shows(b) == {b"of b": b"1"}
    assert {key[2] for key in b.folded if key[1] == a.site} == {2}


def test_what_waits_for_the_end_of_the_turn_is_of_the_new_life():
    net, a, _ = written()
    a.write((b"key", b"new"))
    a.begin(2)
    a.end_turn()
    assert {message.incarnation for _, _, message in net.flying if type(message) is OwnedOps} == {2}


def test_another_cluster_in_the_same_life_leaves_our_rows_as_they_are():
    _, a, b = written()
    a.feed(ClusterChanged(ClusterId(b"d" * 16), 1, True))
    assert (a.shows(a), a.seq(a), a.shows(b, SYSTEM)) == (VALUE, 1, {})


def test_what_is_said_of_ourselves_changes_nothing():
    """Found by the simulator: membership removes our own site when we go, and our rows went with it."""
    _, a, b = written()
    for fact in (MemberAdded(a.me, False, True), MemberRemoved(a.site), LivenessChanged(a.me, Liveness.DOWN, "")):
        assert a.feed(fact) == []
    assert a.machine.holders(SYSTEM) == [a.site, b.site]
    for message in late(a)[:4]:
        assert a.hears(b, message) == []
    assert a.shows(a) == VALUE


def test_our_address_may_be_learned_later():
    _, a, _ = written()
    assert a.feed(AddressLearned("n9:9")) == []
    assert a.shows(a) == VALUE


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
    assert stranger.site not in b.machine._equal
    assert a.site in b.machine.holders(SYSTEM)
    assert stranger.site not in b.machine.holders(SYSTEM)


def test_numbers_beyond_what_a_message_can_hold_are_ignored():
    """Found by reading: our own positions would have been malformed, and every link of ours dropped."""
    _, a, b = written()
    b.hears(a, OwnedOps(SYSTEM, a.site, 1, 2, ((I, b"\xff" * 8),), False))
    assert b.seq(a) == SEQ_MAX
    assert b.hears(a, OwnedOps(I, a.site, 1, SEQ_MAX, ((b"a", b""), (b"b", b"")), False)) == []
    assert b.seq(a) == SEQ_MAX


@pytest.mark.parametrize("what", ["SYSTEM", "shown", "unsaid", "own"])
def test_check_finds_each_broken_invariant(what):
    _, a, b = written()
    machine = b.machine
    if what == "SYSTEM":
        del machine.tables[SYSTEM]
    elif what == "shown":
        machine.tables[I].admit(a.site, 1, False)
    elif what == "unsaid":
        machine._unsaid[I] = (1, [])
    else:
        machine.tables[I].drop(b.site)
    with pytest.raises(InvariantError):
        machine.check()


def test_sites_are_those_of_the_net():
    assert [site(1), site(2)] == [node.site for node in Net(2).nodes]
