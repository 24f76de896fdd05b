"""Whose rows are shown: of lives that are current and not held for down, in instances that their owner holds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from covey.core.errors import InvariantError
from covey.core.ids import ClusterId
from covey.core.vocabulary import (
    AddressLearned,
    ClusterChanged,
    Liveness,
    LivenessChanged,
    MemberAdded,
    MemberRemoved,
)
from covey.protocols.replication.vocabulary import SYSTEM
from covey.wire.messages.rows import OwnedOps, OwnedPositions, OwnedPull, RowSum
from tests.protocols.replication.replication_lives import VALUE, late, written
from tests.protocols.replication.replication_net import CONFIG, SECOND, I, Net, Node, pair


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
    """Membership adds and removes our own site as any other; found by reading: then we counted as two holders."""
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


@pytest.mark.parametrize("what", ["SYSTEM", "shown", "unsaid", "own"])
def test_check_finds_each_broken_invariant(what):
    _, a, b = written()
    machine = b.machine
    if what == "SYSTEM":
        del machine.tables[SYSTEM]
    elif what == "shown":
        machine.tables[I].admit(a.site, 1, False)
    elif what == "unsaid":
        machine.owned._unsaid[I] = (1, [])
    else:
        machine.tables[I].drop(b.site)
    with pytest.raises(InvariantError):
        machine.check()
