"""Lives that end: whoever waits for an answer is told once, and late letters are still counted."""

from __future__ import annotations

import pytest

from covey.core.ids import ClusterId, Contact, Site
from covey.core.vocabulary import ClusterChanged, Liveness, LivenessChanged, MemberAdded, MemberRemoved
from covey.protocols.groups import vocabulary as g
from covey.protocols.groups.streams import ENDED_MAX, EPOCH, Streams
from covey.protocols.groups.vocabulary import Address
from tests.protocols.groups.groups_net import ANN, BOB, HI, ME, Member, hear, mail, opened

DOWN = "is held for down"
CLUSTER = ClusterId(bytes(16))


def held(member: Member, state: Liveness, incarnation: int = 1) -> None:
    member.feed(LivenessChanged(Contact(ANN, incarnation, "2:1"), state, ""))


def test_nobody_waits_for_a_life_that_is_held_for_down():
    member = opened()
    held(member, Liveness.SUSPECT)
    assert member.ended == []
    held(member, Liveness.DOWN)
    assert member.ended == [(2, 1, DOWN)]


@pytest.mark.parametrize("last", [Liveness.DOWN, Liveness.STOPPED])
def test_the_end_of_a_life_is_told_once(last):
    member = opened()
    held(member, Liveness.DOWN)
    held(member, last)
    member.feed(MemberRemoved(ANN))
    member.feed(MemberRemoved(ANN))
    assert member.ended == [(2, 1, DOWN)]


def test_a_life_that_was_falsely_held_for_down_can_end_again():
    member = opened()
    for state in (Liveness.DOWN, Liveness.ALIVE, Liveness.DOWN):
        held(member, state)
    assert member.ended == [(2, 1, DOWN)] * 2


def test_a_later_life_ends_the_one_before():
    member = opened()
    member.feed(MemberAdded(Contact(ANN, 2, "2:1"), False, True))
    held(member, Liveness.DOWN, 1)
    assert member.ended == [(2, 1, "began another life")]
    held(member, Liveness.DOWN, 3)
    assert member.ended[1:] == [(2, 2, "began another life"), (2, 3, DOWN)]


def test_who_is_removed_ends():
    member = opened()
    member.feed(MemberRemoved(ANN))
    member.feed(MemberRemoved(BOB))
    assert member.ended == [(2, 1, "is no member any more")]


def test_who_is_removed_is_not_called_whatever_the_detector_says_of_it_later():
    """Groups seed 33: a late opinion about a site that does not belong any more made it one that can be called."""
    member = opened()
    assert member.groups.reaches((ANN, 1))
    member.feed(MemberRemoved(ANN))
    held(member, Liveness.ALIVE)
    assert not member.groups.reaches((ANN, 1))
    member.feed(g.SendMail(7, 1, ANN, 1, (1,), g.Kind.CALL, 1, HI))
    assert "is not there in that life" in str(member.outcomes[7])


def test_in_another_cluster_all_lives_before_are_over_our_own_too_if_it_is():
    member = opened()
    member.knows(BOB)
    held(member, Liveness.DOWN)
    member.feed(ClusterChanged(CLUSTER, 1, True))
    member.feed(ClusterChanged(CLUSTER, 2, False))
    assert member.ended == [(2, 1, DOWN), (3, 1, "is in another cluster"), (1, 1, "is in another cluster")]


# --- late letters ---------------------------------------------------------------------------------------------------


def test_what_a_removed_life_said_before_is_counted_while_its_link_is_up():
    """groups seed 7: it left, and its last letters came behind the news of that: they counted as a gap."""
    member = opened()
    assert hear(member, mail(0)) == [0]
    member.feed(MemberRemoved(ANN))
    assert hear(member, mail(0), mail(1), mail(3), mail(1)) == [0, 1]
    member.unlinked(ANN)
    assert len(member.groups._heard) == 0


def test_a_life_that_was_forgotten_and_is_back_begins_without_a_gap():
    """What it sent in between cannot be told from what came before it was forgotten."""
    member = opened()
    hear(member, mail(0), mail(1))
    member.feed(MemberRemoved(ANN))
    member.unlinked(ANN)
    member.knows(ANN)
    assert hear(member, mail(2), mail(4)) == [0, 1]
    member.unlinked(ANN)
    member.knows(ANN, 2)
    assert hear(member, mail(2)) == [2], "a life of which nothing was forgotten"


def test_the_pairs_of_a_stranger_go_with_its_link():
    member = opened()
    member.feed(MemberRemoved(ANN))
    hear(member, mail(0))
    assert len(member.groups._heard) == 1
    member.unlinked(ANN)
    assert len(member.groups._heard) == 0


def test_mail_on_a_link_of_a_life_that_is_over_is_counted_and_not_delivered():
    member = opened()
    member.knows(ANN, 2, linked=False)
    assert hear(member, mail()) == []
    assert member.groups.statistics().undeliverable == 1


def test_our_own_mail_keeps_its_order_through_another_cluster_in_the_same_life():
    member = opened()
    for _ in range(2):
        member.send(1, (ME, 1, 1))
    member.feed(ClusterChanged(CLUSTER, 1, True))
    member.send(1, (ME, 1, 1))
    assert [letter.lost for letter in member.letters] == [0, 0, 0]


def test_in_a_new_life_of_ours_every_pair_is_new_and_its_first_gap_is_told():
    """groups seed 92: pairs forgotten in the life before made the first gap of each pair in the next one untold."""
    member = opened()
    hear(member, mail(0))
    member.feed(ClusterChanged(CLUSTER, 2, False))
    member.knows(ANN)
    assert hear(member, mail(1, to=2)) == [1]
    member.send(1, (ANN, 1, 7))
    assert member.sent[-1].messages[0].targets == ((7, 0),)


# --- one node's pairs are its own -----------------------------------------------------------------------------------


def test_a_node_that_invents_mailboxes_crowds_out_only_its_own_pairs():
    streams = Streams(8)
    streams.set(1, Address(ANN, 1, 1), 5)
    for mailbox in range(100):
        streams.set(1, Address(BOB, 1, mailbox), 1)
    streams.check()
    assert streams.next(1, Address(ANN, 1, 1)) == 5 and streams.is_new(Address(ANN, 1, 2))
    assert not streams.is_new(Address(BOB, 1, 1)) and len(streams) <= 1 + 8


def test_a_later_life_takes_the_place_of_the_pairs_of_the_one_before():
    streams = Streams(8)
    streams.set(1, Address(ANN, 1, 1), 5)
    streams.set(1, Address(ANN, 2, 1), 1)
    assert len(streams) == 1 and streams.next(1, Address(ANN, 1, 1)) is None
    assert not streams.is_new(Address(ANN, 1, 9)) and streams.is_new(Address(ANN, 2, 9))
    assert streams.first(Address(ANN, 2, 9)) == streams.first(Address(ANN, 3, 1)) == 0
    streams.forget(ANN)
    assert streams.first(Address(ANN, 2, 9)) == EPOCH and streams.first(Address(ANN, 3, 9)) == 0


def test_of_the_forgotten_the_latest_are_remembered():
    streams = Streams(8)
    others = [Address(Site(number.to_bytes(16, "big")), 1, 1) for number in range(ENDED_MAX + 1)]
    for other in others:
        streams.set(1, other, 1)
        streams.forget(other.site)
    streams.check()
    assert streams.is_new(others[0]) and not streams.is_new(others[1]) and not streams.is_new(others[-1])
    assert streams.first(others[0]) == streams.first(Address(ANN, 1, 1)) == EPOCH, "nobody has a number twice"
