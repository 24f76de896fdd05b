"""A member that holds the secret and means ill: whatever it says costs a bounded amount, and others nothing."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import UsageError
from covey.core.ids import Site
from covey.core.rows import RowsChanged
from covey.core.vocabulary import MessagesReceived, SendData
from covey.protocols.groups import vocabulary as g
from covey.protocols.groups.config import GroupsConfig
from covey.protocols.groups.rows import PREFIX, encode_row, encode_value
from covey.wire.keys import encode_key
from covey.wire.messages.groups import TARGETS_MAX, Mail
from tests.protocols.groups.groups_net import ANN, BOB, HI, Change, G, H, Member, S, mail, opened

VALUE, CALL, REPLY, FAILURE, GONE = g.Kind
ROWS = PREFIX + S
FEW = GroupsConfig(members_max=5)


def told(member: Member, *changes: Change, owner: Site = ANN, incarnation: int = 1) -> None:
    member.feed(RowsChanged(ROWS, owner, incarnation, changes))


def row(group: int, mailbox: int = 1, count: int | None = 1) -> Change:
    return encode_row(encode_key(group), mailbox), None if count is None else encode_value(count, b"")


# --- rows -----------------------------------------------------------------------------------------------------------


def test_of_a_node_with_too_many_members_those_that_came_first_are_shown():
    member = Member(config=FEW)
    told(member, *(row(number) for number in range(8)))
    told(member, row(1, 3), owner=BOB)
    assert member.groups.statistics().members == 6 and member.groups.statistics().left_out == 3
    assert [member.counts(encode_key(number)) for number in (0, 4, 5)] == [{(2, 1, 1): 1}, {(2, 1, 1): 1}, {}]
    assert member.counts(encode_key(1)) == {(2, 1, 1): 1, (3, 1, 3): 1}, "others have room of their own"


def test_members_of_a_node_with_too_many_still_change_and_go_and_make_room():
    member = Member(config=FEW)
    told(member, *(row(number) for number in range(6)))
    told(member, row(0, count=7), row(5, count=None), row(1, count=None), row(6))
    counts = {number: member.counts(encode_key(number)) for number in range(7)}
    assert counts[0] == {(2, 1, 1): 7} and counts[6] == {(2, 1, 1): 1} and counts[1] == counts[5] == {}
    told(member, *(row(number, count=None) for number in range(7)))
    assert member.groups.statistics().members == member.groups.statistics().groups == 0


def test_a_later_life_has_as_much_room_as_the_one_before():
    member = Member(config=FEW)
    for life in (1, 2, 3):
        told(member, *(row(number) for number in range(5)), incarnation=life)
        assert member.groups.statistics().members == 5
        told(member, *(row(number, count=None) for number in range(5)), incarnation=life)
    assert member.groups.statistics().left_out == 0


def test_our_own_users_join_no_more_than_others_show():
    member = Member(config=FEW)
    one, other = member.open(), member.open()
    for number in range(4):
        member.join(one, encode_key(number))
    member.join(other)
    member.join(other)
    with pytest.raises(UsageError, match="5 memberships of this node are as many as may be; nothing was changed"):
        member.join(other, H)
    assert member.groups.joined(other, S, H).count == 0 and member.groups.statistics().members == 5
    member.feed(g.CloseMailbox(one))
    member.join(other, H)
    member.leave(other, 2, G)
    assert member.groups.statistics().members == 1


def test_what_our_own_users_say_of_themselves_is_bounded_in_bytes():
    member = Member(config=GroupsConfig(member_bytes_max=1_000))
    mailbox = member.open()
    member.join(mailbox, G, bytes(400))
    for refused in (
        g.JoinGroup(mailbox, S, H, bytes(600)),
        g.JoinGroup(mailbox, S, G, bytes(1_000)),
        g.UpdateMeta(mailbox, S, G, bytes(1_000)),
    ):
        with pytest.raises(UsageError, match="more than the 1000 that others keep of one node: say less; nothing was"):
            member.feed(refused)
    assert member.groups.joined(mailbox, S, G).meta == bytes(400) and member.groups.joined(mailbox, S, H).count == 0
    member.feed(g.UpdateMeta(mailbox, S, G, bytes(100)))
    member.join(mailbox, H, bytes(600))
    member.leave(mailbox, 1, H)
    member.join(mailbox, G, bytes(900))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 2), st.integers(0, 2), st.booleans()), max_size=60))
def test_whatever_rows_come_a_view_has_what_fits_of_them(rows):
    """The machine of these tests folds and checks after every step; here: no owner crowds out another."""
    member = Member(config=GroupsConfig(members_max=3))
    said: dict[Site, dict[tuple[int, int], int]] = {ANN: {}, BOB: {}}
    for group, mailbox, count, ann in rows:
        owner = ANN if ann else BOB
        told(member, row(group, mailbox, count or None), owner=owner)
        if count:
            said[owner][group, mailbox] = count
        else:
            said[owner].pop((group, mailbox), None)
    for owner, has in said.items():
        shown = {
            (group, mailbox): count
            for group in range(5)
            for (site, _, mailbox), count in member.counts(encode_key(group)).items()
            if site == owner[0]
        }
        assert shown.items() <= has.items() and len(shown) <= 3


# --- mail -----------------------------------------------------------------------------------------------------------


def test_mail_to_thousands_of_mailboxes_that_do_not_exist_is_counted_and_leaves_nothing():
    member = opened()
    targets = tuple((number, 2**53) for number in range(10, 10 + TARGETS_MAX))
    assert member.feed(MessagesReceived(ANN, [Mail(1, 5, targets, VALUE, 0, msgspec.Raw(HI))])) == []
    assert member.groups.statistics().undeliverable == TARGETS_MAX
    assert len(member.groups._heard) == 0 and member.letters == []


@pytest.mark.parametrize("kind", [CALL, REPLY, FAILURE, GONE])
def test_a_call_or_an_answer_is_for_one_mailbox(kind):
    """Else one message to thousands of closed mailboxes would be answered with thousands."""
    member = opened()
    for targets in ((), tuple((number, 0) for number in range(1, TARGETS_MAX))):
        assert member.feed(MessagesReceived(ANN, [Mail(1, 5, targets, kind, 0, msgspec.Raw(HI))])) == []
    assert member.groups.statistics().nonsense == 2 and member.letters == []


def test_a_call_of_a_closed_mailbox_costs_one_short_answer():
    effects = opened().feed(MessagesReceived(ANN, [mail(kind=CALL, target=77)]))
    ((answer,),) = [effect.messages for effect in effects if isinstance(effect, SendData)]
    assert answer.kind == GONE and len(answer.payload) < 64


def test_the_largest_numbers_are_taken_and_only_their_own_pair_is_spoilt():
    member = opened()
    member.feed(MessagesReceived(ANN, [mail(2**53), mail(2**53), mail(5), mail(0, sender=2**53)]))
    assert [(letter.sender.mailbox, letter.lost) for letter in member.letters] == [(5, 0), (2**53, 0)]


def test_pairs_of_a_node_that_invents_senders_are_bounded():
    member = Member(config=GroupsConfig(streams_max=8))
    member.open()
    member.knows(ANN)
    member.knows(BOB)
    member.feed(MessagesReceived(BOB, [mail(0), mail(1)]))
    member.feed(MessagesReceived(ANN, [mail(0, sender=number) for number in range(1, 1_000)]))
    assert len(member.groups._heard) <= 8 + 1
    member.feed(MessagesReceived(BOB, [mail(4)]))
    assert member.letters[-1].lost == 2, "whoever is honest is still told exactly"
