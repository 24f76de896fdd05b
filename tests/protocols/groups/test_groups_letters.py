"""Letters of one turn: one command for each node, and the same mail as if each had been sent by itself."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import UsageError
from covey.core.ids import Contact
from covey.core.vocabulary import Liveness, LivenessChanged, MemberAdded, Resolve, SendData
from covey.protocols.groups import vocabulary as g
from covey.protocols.groups.config import GroupsConfig
from covey.protocols.groups.post import TARGETS_AT_ONCE
from covey.wire.messages.groups import Mail
from tests.protocols.groups.groups_net import ANN, BOB, HI, ME, G, H, Member, Net, S, opened

VALUE, CALL, REPLY, FAILURE, _GONE = g.Kind


def at(mailbox: int, incarnation: int = 1) -> g.Address:
    return g.Address(ANN, incarnation, mailbox)


def letter(*to: g.Address, sender: int = 1, kind: g.Kind = VALUE, number: int = 0, payload: bytes = HI) -> g.Outgoing:
    return g.Outgoing(sender, to, kind, number, payload)


def letters(*outgoing: g.Outgoing, incarnation: int = 1) -> g.SendLetters:
    return g.SendLetters(ANN, incarnation, outgoing)


def undeliverable(member: Member) -> int:
    return member.groups.statistics().undeliverable


def test_letters_of_one_turn_are_one_command_to_the_link_each_with_its_numbers():
    member = opened()
    assert member.feed(letters(letter(at(7)), letter(at(8), at(7)), letter(at(7), kind=CALL, number=5))) == [
        SendData(
            0,
            ANN,
            "2:1",
            (
                Mail(1, 1, ((7, 0),), VALUE, 0, msgspec.Raw(HI)),
                Mail(1, 1, ((8, 0), (7, 1)), VALUE, 0, msgspec.Raw(HI)),
                Mail(1, 1, ((7, 2),), CALL, 5, msgspec.Raw(HI)),
            ),
            3 * (3 + 64) + 4 * 20,
        )
    ]
    assert member.groups.statistics().sent == 4


def test_answers_are_not_numbered():
    member = opened()
    member.feed(letters(letter(at(7), kind=REPLY, number=3), letter(at(7), kind=FAILURE, number=4), letter(at(7))))
    assert [mail.targets for mail in member.sent[0].messages] == [((7, 0),)] * 3


def test_letters_for_more_mailboxes_than_fit_are_several_messages():
    member = opened()
    member.feed(letters(letter(*map(at, range(1, 7_001)))))
    assert [len(mail.targets) for mail in member.sent[0].messages] == [TARGETS_AT_ONCE, TARGETS_AT_ONCE, 1_000]


def test_letters_for_another_life_or_one_held_for_down_are_counted_and_nothing_else():
    member = opened()
    assert member.feed(letters(letter(at(7, 2), at(8, 2)), incarnation=2)) == []
    assert undeliverable(member) == 2
    member.feed(LivenessChanged(Contact(ANN, 1, ""), Liveness.DOWN, "silent"))
    assert member.feed(letters(letter(at(7)))) == []
    assert (undeliverable(member), member.groups.statistics().sent) == (3, 0)
    member.feed(LivenessChanged(Contact(ANN, 1, ""), Liveness.ALIVE, ""))
    member.feed(letters(letter(at(7))))
    assert member.sent[0].messages[0].targets == ((7, 0),)


def test_letters_of_a_mailbox_that_is_closed_are_nothing():
    member = opened()
    member.feed(g.CloseMailbox(1))
    assert member.feed(letters(letter(at(7)))) == []


def test_whom_mail_reaches_is_what_is_refused_otherwise():
    member = opened()
    lives = [(ANN, 1), (ANN, 2), (BOB, 1)]
    assert [member.groups.reaches(life) for life in lives] == [True, False, False]
    member.feed(MemberAdded(Contact(ANN, 2, "2:1"), False, True))
    assert [member.groups.reaches(life) for life in lives] == [False, True, False]
    member.feed(LivenessChanged(Contact(ANN, 2, ""), Liveness.STOPPED, ""))
    assert not any(member.groups.reaches(life) for life in lives)


@given(
    st.lists(
        st.tuples(st.lists(st.integers(1, 3), min_size=1, max_size=3, unique=True), st.sampled_from(list(g.Kind)),
                  st.booleans()),
        max_size=20,
    )
)  # fmt: skip
def test_letters_and_mail_are_numbered_alike_whichever_way_each_takes(sent):
    """What one machine sends one by one, and another in runs of letters between single mails, is the same mail."""
    single, mixed = opened(), opened()
    run: list[g.Outgoing] = []

    def flush() -> None:
        if run:
            mixed.feed(letters(*run))
            run.clear()

    for mailboxes, kind, at_once in sent:
        command = g.SendMail(0, 1, ANN, 1, tuple(mailboxes), kind, 9, HI)
        single.feed(command)
        if at_once:
            run.append(letter(*map(at, mailboxes), kind=kind, number=9))
        else:
            flush()
            mixed.feed(command)
    flush()
    assert [mail for data in mixed.sent for mail in data.messages] == [
        mail for data in single.sent for mail in data.messages
    ]


def test_targets_are_the_members_by_their_lives_and_follow_the_view():
    one, two = Net(2).members
    for member in (one, two):
        for _ in range(2):
            member.join(member.open())
    mine, hers = (ME, 1), (ANN, 1)

    def targets(group: bytes = G) -> dict[tuple[bytes, int], list[int]]:
        found = one.groups.targets(S, group)
        return {life: [address.mailbox for address in addresses] for life, addresses in found.items()}

    assert targets() == {mine: [1, 2], hers: [1, 2]}
    assert one.groups.targets(S, G) is one.groups.targets(S, G), "computed once"
    two.leave(1)
    assert targets() == {mine: [1, 2], hers: [2]}
    two.join(2, meta=b"\xa1x")
    two.join(1, group=H)
    assert (targets(), targets(H)) == ({mine: [1, 2], hers: [2]}, {hers: [1]})
    one.feed(g.CloseMailbox(1))
    one.feed(g.CloseMailbox(2))
    two.leave(2, 2)
    assert targets() == {}


def test_a_mailbox_that_opens_with_a_group_is_what_opens_and_then_joins():
    at_once, in_steps = Member(), Member()
    joined = g.OpenMailbox(1, S, G, b"\xa1m")
    (resolved, *_) = at_once.feed(joined)
    in_steps.join(in_steps.open(), meta=b"\xa1m")
    assert resolved == Resolve(1, 1)
    assert (at_once.rows, at_once.folded, at_once.held) == (in_steps.rows, in_steps.folded, in_steps.held)
    assert at_once.groups.newest == in_steps.groups.newest == 1
    assert at_once.feed(g.OpenMailbox(0)) == [] and at_once.groups.newest == 2


def test_a_mailbox_whose_first_scope_is_one_too_many_is_not_opened():
    member = Member(config=GroupsConfig(scopes_max=1))
    member.feed(g.HoldScope(S))
    with pytest.raises(UsageError, match="1 scopes are in use"):
        member.feed(g.OpenMailbox(1, b"other", G, b""))
    assert (member.groups.newest, member.groups.statistics().mailboxes, member.held) == (0, 0, [b"groups:"])
