"""A mailbox that closes while it is in many groups: it leaves some each turn, so that no turn is long."""

from __future__ import annotations

import pytest

from covey.core.errors import UsageError
from covey.protocols.groups import vocabulary as g
from covey.protocols.groups.config import GroupsConfig
from tests.protocols.groups.groups_net import Member


def in_many(member: Member, mailbox: int, count: int) -> None:
    for number in range(count):
        member.join(mailbox, b"%c" % number, scope=b"a" if number % 2 else b"b")


def all_members(member: Member) -> list[tuple[bytes, g.Address]]:
    return [(group, address) for (_, group), view in member.folded.items() for address in view]


def test_a_mailbox_that_is_in_many_groups_leaves_some_of_them_each_turn():
    member = Member(config=GroupsConfig(leaves_max=3))
    member.open()
    in_many(member, 1, 8)
    member.feed(g.CloseMailbox(1))
    left = []
    while member.wants_turn:
        left.append(member.groups.statistics().members)
        member.end_turn()
    assert left == [5, 2]
    assert (member.groups.statistics().members, member.rows) == (0, {})
    assert len(member.changes) == 16


def test_a_mailbox_that_is_in_few_groups_leaves_them_at_once_whoever_else_is_leaving():
    member = Member(config=GroupsConfig(leaves_max=3))
    member.open()
    member.open()
    in_many(member, 1, 7)
    in_many(member, 2, 3)
    member.feed(g.CloseMailbox(1))
    member.feed(g.CloseMailbox(2))
    assert {row[1].mailbox for row in all_members(member)} == {1}
    member.feed(g.CloseMailbox(1))  # the second time it does nothing
    assert len(all_members(member)) == 4
    with pytest.raises(UsageError, match="the mailbox is closed"):
        member.join(1)
    member.end_turn()
    member.end_turn()
    assert (all_members(member), member.wants_turn) == ([], False)


def test_what_leaves_still_counts_for_the_bound_and_two_may_leave_together():
    member = Member(config=GroupsConfig(leaves_max=1, members_max=4))
    for mailbox in (1, 2, 3):
        member.open()
        if mailbox < 3:
            in_many(member, mailbox, 2)
    for mailbox in (1, 2):
        member.feed(g.CloseMailbox(mailbox))
    in_many(member, 3, 2)
    with pytest.raises(UsageError, match="4 memberships"):
        member.join(3, b"x")
    while member.wants_turn:
        member.end_turn()
    member.join(3, b"x")
    assert member.groups.statistics().members == 3
