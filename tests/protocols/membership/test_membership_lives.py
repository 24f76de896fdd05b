"""A life that others know to be over, and the new one that follows it in the same cluster."""

from __future__ import annotations

import pytest

from covey.core.errors import UsageError
from covey.core.ids import INCARNATION_MAX, Contact
from covey.core.vocabulary import (
    ClusterChanged,
    ClusterEntered,
    Emit,
    Flood,
    MemberAdded,
    MemberRemoved,
    Superseded,
)
from covey.protocols.membership.record import HOST
from covey.protocols.membership.vocabulary import SelfChanged
from covey.wire.messages.membership import News
from tests.protocols.membership.membership_bench import ME, NOW_MS, PEER, PEER_LIFE, joined, own, stored, told
from tests.protocols.membership.membership_net import (
    SECOND,
    SHARED,
    agree,
    three,
)


@pytest.mark.parametrize(
    "known, life",
    [(5, NOW_MS), (NOW_MS + 5, NOW_MS + 6)],
    ids=["the end of this life", "a later life than the wall clock says"],
)
def test_a_life_that_others_know_to_be_over_is_followed_by_a_new_one_in_the_same_cluster(known, life):
    made = joined()
    effects = made.handle(Superseded(known), 0)
    written = own(HOST, 1, made.ledger.clock.last, b"n1:1", magic=life)
    assert effects == [
        stored(written),
        MemberRemoved(PEER),
        ClusterChanged(SHARED, life, False),
        Flood(News((written,))),
        MemberAdded(PEER_LIFE, False, False),
        told(made),
        Emit(SelfChanged(Contact(ME, life, "n1:1"), b"")),
    ]
    assert made.me == Contact(ME, life, "n1:1")
    assert made.members() == [ME, PEER]
    assert made.passage.closed
    made.check()
    made.handle(ClusterEntered(SHARED), 0)
    assert not made.passage.closed


def test_word_of_an_earlier_life_or_from_before_the_change_begins_none():
    made = joined()
    assert made.handle(Superseded(4), 0) == []
    made.handle(Superseded(5), 0)
    life = made.me.incarnation
    assert made.handle(Superseded(life), 0) == []  # links of the old life still speak
    assert made.me.incarnation == life


def test_after_the_last_life_there_is_comes_none():
    """A member may say anything of our life; what we write must still be read by others and from our disk."""
    made = joined()
    for _ in range(2):
        made.handle(Superseded(INCARNATION_MAX), 0)
        made.handle(ClusterEntered(SHARED), 0)
        assert made.me.incarnation == INCARNATION_MAX
    assert made.handle(Superseded(INCARNATION_MAX), 0) == []


def test_a_join_from_the_last_life_there_is_is_refused_and_changes_nothing():
    net, a, b, _c = three()
    a.feed(Superseded(INCARNATION_MAX))
    b.kick(a)
    net.mesh()
    net.wait(3 * SECOND)
    assert a.solo
    alone, disk = a.machine.cluster, dict(a.disk)
    request = a.join(b)
    assert isinstance(a.outcomes[request], UsageError)
    assert (a.machine.cluster, a.disk) == (alone, disk)


def test_the_others_learn_of_the_new_life_where_it_is():
    net, a, b, c = three()
    life = a.machine.me.incarnation
    a.feed(Superseded(life))
    net.mesh()
    net.wait(3 * SECOND)
    assert a.machine.me.incarnation > life
    for node in (b, c):
        assert node.machine.contact(a.site) == a.machine.me
    assert agree(a, b, c)
