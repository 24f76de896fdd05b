"""Numbers of letters through restarts, new lives, and when too many pairs are in use."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from covey.core.vocabulary import (
    MemberRemoved,
    Refuse,
)
from covey.protocols.groups import vocabulary as g
from covey.protocols.groups.config import GroupsConfig
from covey.protocols.groups.streams import EPOCH, Streams
from tests.protocols.groups.groups_net import ANN, BOB, HI, G, Net, S, hear, mail, opened

VALUE, CALL, REPLY, FAILURE, GONE = g.Kind


# --- restarts and forgetting ----------------------------------------------------------------------------------------


def test_a_receiver_that_starts_again_begins_anew():
    net = Net(2)
    one, two = net.members
    one.open()
    two.open()
    for _ in range(3):
        one.send(1, (two.site, 1, 1))
    net.settle()
    again = net.restart(1)
    again.open()
    one.send(1, (two.site, 2, 1))
    net.settle()
    assert [letter.lost for letter in again.letters] == [0]


def test_a_sender_that_starts_again_begins_anew():
    net = Net(2)
    one, two = net.members
    two.open()
    for life in (1, 2, 3):
        one.open()
        one.send(1, (two.site, 1, 1))
        one.send(1, (two.site, 1, 1))
        net.deliver(0, 1)
        net.deliver(0, 1, lose=True)
        one.send(1, (two.site, 1, 1))
        net.settle()
        assert [(letter.sender.incarnation, letter.lost) for letter in two.letters[-2:]] == [(life, 0), (life, 1)]
        one = net.restart(0)


def test_our_own_new_life_keeps_mailboxes_and_joins_under_new_addresses():
    net = Net(3)
    one, two, three = net.members
    one.open()
    two.open()
    one.join(1, meta=b"m")
    one.join(1)
    one.send(1, (two.site, 1, 1))
    net.settle()
    two.send(1, (one.site, 1, 1))
    net.collect()
    net.new_life(0)
    for member in net.members:
        assert member.counts() == {(1, 2, 1): 2}
    assert one.groups.address(1) == g.Address(one.site, 2, 1)
    assert isinstance(two.send(1, (one.site, 1, 1), request=9)[0], Refuse)
    one.send(1, (two.site, 1, 1))
    two.send(1, (one.site, 2, 1))
    net.settle()
    assert [(letter.sender.incarnation, letter.lost) for letter in two.letters] == [(1, 0), (2, 0)]
    assert [letter.lost for letter in one.letters] == [0]
    one.leave(1, 2)
    assert three.counts() == {}


def test_a_sender_that_forgot_a_pair_is_not_taken_for_one_that_repeats_itself():
    """It was removed here and not there, and comes back in the same life: nothing new may be dropped as old."""
    member = opened()
    for _ in range(5):
        member.send(1, (ANN, 1, 7))
    member.feed(MemberRemoved(ANN))
    member.knows(ANN)
    for _ in range(3):
        member.send(1, (ANN, 1, 7))
    numbers = [data.messages[0].targets[0][1] for data in member.sent]
    assert numbers == [0, 1, 2, 3, 4, EPOCH, EPOCH + 1, EPOCH + 2]
    receiver = opened()
    assert hear(receiver, *(mail(number) for number in numbers)) == [0] * 8


def test_more_pairs_than_fit_lose_nothing_and_repeat_nothing():
    """The bound is far exceeded on both sides: every letter still arrives once."""
    net = Net(2, GroupsConfig(streams_max=8))
    one, two = net.members
    one.open()
    for _ in range(40):
        two.open()
    for _ in range(3):
        for target in range(1, 41):
            one.send(1, (two.site, 1, target), HI)
            one.send(1, (two.site, 1, target), HI)
        net.settle()
    assert len(two.letters) == 240 and sum(letter.lost for letter in two.letters) == 0
    assert len(one.groups._said) <= 8 and len(two.groups._heard) <= 8


def test_a_gap_in_a_pair_that_is_in_use_shows_however_many_others_come_and_go():
    net = Net(2, GroupsConfig(streams_max=8))
    one, two = net.members
    one.open()
    for _ in range(20):
        two.open()
    one.send(1, (two.site, 1, 1))
    net.settle()
    for target in range(2, 21):
        one.send(1, (two.site, 1, target))
        net.settle()
        one.send(1, (two.site, 1, 1))
        net.deliver(0, 1, lose=True)
        one.send(1, (two.site, 1, 1))
        net.settle()
        assert two.letters[-1].lost == 1


@given(st.lists(st.tuples(st.sampled_from(["next", "closed", "forget"]), st.integers(1, 3), st.integers(1, 6))))
def test_a_pair_never_has_a_number_twice(steps):
    streams = Streams(6)
    used: dict[tuple[int, g.Address], int] = {}
    mailboxes: dict[int, int] = {}  # a closed mailbox's number is never used again
    for what, mailbox, other in steps:
        number = mailboxes.setdefault(mailbox, mailbox)
        address = g.Address((ANN, BOB)[other % 2], 1, other)
        match what:
            case "next":
                known = streams.next(number, address)
                now = streams.first(address) if known is None else known
                assert now > used.get((number, address), -1)
                used[number, address] = now
                streams.set(number, address, now + 1)
                assert streams.next(number, address) == now + 1
            case "closed":
                streams.closed(number)
                mailboxes[mailbox] += 10
            case _:
                streams.forget(address.site)
                assert streams.next(number, address) is None
        streams.check()


def test_a_closed_mailbox_leaves_nothing_behind():
    member = opened()
    member.join(1, G, scope=S)
    member.send(1, (ANN, 1, 7))
    hear(member, mail())
    member.feed(g.CloseMailbox(1))
    assert len(member.groups._said) == len(member.groups._heard) == 0 and not member.rows
