"""Mail between mailboxes: in order, at most once, with the exact number of what is missing."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import PeerUnreachable
from covey.core.ids import Contact
from covey.core.vocabulary import (
    AddressLearned,
    Channel,
    Emit,
    Liveness,
    LivenessChanged,
    MemberRemoved,
    MessagesReceived,
    PeerConnected,
    Refuse,
    Resolve,
    SendData,
)
from covey.protocols.groups import vocabulary as g
from covey.protocols.groups.post import TARGETS_AT_ONCE
from covey.wire.codec import encode_message, join_body
from covey.wire.framing import frame
from covey.wire.messages.groups import TARGETS_MAX, Mail
from tests.protocols.groups.groups_net import ANN, BOB, HI, ME, Net, hear, mail, opened
from tests.wire.strategies import of

CLOSED = msgspec.msgpack.encode("its mailbox is closed; nothing was delivered")
VALUE, CALL, REPLY, FAILURE, GONE = g.Kind


# --- out ------------------------------------------------------------------------------------------------------------


def test_mail_goes_as_data_of_the_life_it_is_for_and_is_numbered_for_each_pair():
    member = opened()
    expected = Mail(1, 1, ((7, 0),), VALUE, 0, msgspec.Raw(HI))
    assert member.send(1, (ANN, 1, 7), request=3) == [SendData(3, ANN, "2:1", (expected,), 3 + 64 + 20)]
    member.send(1, (ANN, 1, 7))
    member.send(1, (ANN, 1, 8))
    assert [data.messages[0].targets for data in member.sent] == [((7, 0),), ((7, 1),), ((8, 0),)]


def test_one_message_goes_to_many_mailboxes_of_a_node():
    member = opened()
    member.feed(g.SendMail(0, 1, ANN, 1, (7, 8, 9), VALUE, 0, HI))
    assert [message.targets for message in member.sent[0].messages] == [((7, 0), (8, 0), (9, 0))]


def test_more_mailboxes_than_fit_are_several_messages_that_each_fit_in_a_frame():
    assert TARGETS_AT_ONCE <= TARGETS_MAX
    member = opened()
    largest = b"\xc6" + (983_035).to_bytes(4, "big") + bytes(983_035)
    mailboxes = tuple(range(2**53 - 7_000, 2**53))
    member.feed(g.SendMail(1, 1, ANN, 1, mailboxes, VALUE, 2**53, largest))
    (data,) = member.sent
    assert [len(message.targets) for message in data.messages] == [3_000, 3_000, 1_000]
    assert tuple(mailbox for message in data.messages for mailbox, _ in message.targets) == mailboxes
    for message in data.messages:
        assert len(frame(join_body([encode_message(message)]))) <= (1 << 20) + 4
    assert data.bytes >= sum(len(encode_message(message)) for message in data.messages)


@pytest.mark.parametrize(
    "to", [(ANN, 2, 1), (ANN, 0, 1), (BOB, 1, 1), (ME, 2, 1)], ids=["later", "before", "unknown", "ours"]
)
def test_a_life_that_is_not_there_is_unreachable_and_nothing_is_sent(to):
    member = opened()
    (refused,) = member.send(1, to, request=4)
    assert isinstance(refused, Refuse) and isinstance(refused.error, PeerUnreachable)
    assert "not there in that life any more; nothing was delivered" in str(refused.error)
    assert member.send(1, to) == []
    assert member.groups.statistics().undeliverable == 2 and member.groups.statistics().sent == 0


def test_a_later_life_takes_the_place_of_the_one_before():
    member = opened()
    member.knows(ANN, 2)
    assert isinstance(member.send(1, (ANN, 1, 7), request=1)[0], Refuse)
    member.send(1, (ANN, 2, 7), request=2)
    assert member.sent[-1].messages[0].to == 2
    member.feed(LivenessChanged(Contact(ANN, 1, "old:1"), Liveness.ALIVE, ""))
    assert member.send(1, (ANN, 2, 7))[0].address == "2:1", "an older life changes nothing"


def test_a_member_that_is_removed_is_unreachable():
    member = opened()
    member.feed(MemberRemoved(ANN))
    assert isinstance(member.send(1, (ANN, 1, 7), request=1)[0], Refuse)
    assert member.feed(MemberRemoved(BOB)) == []


@pytest.mark.parametrize("state", [Liveness.DOWN, Liveness.STOPPED])
def test_a_member_that_is_held_for_down_is_unreachable_until_it_is_not(state):
    """Its link may still seem open. Answers go: whoever asked was alive a moment ago."""
    member = opened()
    contact = Contact(ANN, 1, "2:1")
    member.feed(LivenessChanged(contact, state, ""))
    (refused,) = member.send(1, (ANN, 1, 7), request=1)
    assert "is held for down; nothing was delivered" in str(refused.error)
    member.send(1, (ANN, 1, 7), kind=REPLY)
    member.feed(LivenessChanged(contact, Liveness.SUSPECT, ""))
    member.send(1, (ANN, 1, 7), request=2)
    assert [data.request for data in member.sent] == [0, 2]
    assert member.sent[1].messages[0].targets == ((7, 0),), "what was refused was not numbered"
    member.feed(LivenessChanged(contact, state, ""))
    member.knows(ANN, 2)
    member.send(1, (ANN, 2, 7), request=3)
    assert member.sent[-1].request == 3, "the life after it is another matter"


def test_an_address_that_is_not_told_again_stays():
    member = opened()
    member.feed(LivenessChanged(Contact(ANN, 1, ""), Liveness.SUSPECT, ""))
    assert member.send(1, (ANN, 1, 7))[0].address == "2:1"


# --- to ourselves ---------------------------------------------------------------------------------------------------


def test_mail_of_our_own_needs_no_wire():
    member = opened()
    member.open()
    member.feed(AddressLearned("me:2"))
    effects = member.feed(g.SendMail(5, 1, ME, 1, (2, 1, 77), VALUE, 0, HI))
    sender = g.Address(ME, 1, 1)
    letters = tuple(g.Letter(mailbox, sender, 0, VALUE, 0, HI) for mailbox in (2, 1))
    assert effects == [Resolve(5), Emit(g.MailReceived(letters))]
    assert member.groups.statistics().undeliverable == 1, "one of them is closed"


def test_a_closed_mailbox_of_our_own_is_unreachable_and_counted_once():
    member = opened()
    (refused,) = member.send(1, (ME, 1, 77), request=5)
    assert str(refused.error) == "the mailbox is closed; nothing was delivered"
    assert member.groups.statistics().undeliverable == 1


# --- in -------------------------------------------------------------------------------------------------------------


def test_letters_come_with_the_number_of_those_that_are_missing():
    member = opened()
    assert hear(member, mail(0), mail(1), mail(4), mail(5), mail(9)) == [0, 0, 2, 0, 3]
    assert member.letters[0] == g.Letter(1, g.Address(ANN, 1, 5), 0, VALUE, 0, HI)
    assert (member.groups.statistics().received, member.groups.statistics().lost) == (5, 5)


def test_the_first_letter_of_a_pair_may_be_missing_too():
    assert hear(opened(), mail(3)) == [3]


def test_a_letter_comes_once_and_never_after_a_later_one():
    assert hear(opened(), mail(0), mail(0), mail(2), mail(1), mail(2), mail(3)) == [0, 1, 0]


def test_pairs_do_not_count_for_each_other():
    member = opened()
    member.open()
    assert hear(member, mail(4), mail(0, sender=6), mail(0, target=2), mail(5)) == [4, 0, 0, 0]


def test_one_message_is_a_letter_for_each_mailbox_it_names_once():
    member = opened()
    member.open()
    member.feed(MessagesReceived(ANN, [Mail(1, 5, ((1, 0), (2, 0), (1, 0)), VALUE, 0, msgspec.Raw(HI))]))
    assert [letter.mailbox for letter in member.letters] == [1, 2]


def test_mail_for_another_life_of_ours_is_counted_and_not_delivered():
    member = opened()
    assert hear(member, mail(to=2), mail(to=0)) == []
    assert member.groups.statistics().undeliverable == 2


def test_mail_for_a_closed_mailbox_is_counted_and_not_delivered():
    member = opened()
    member.feed(g.CloseMailbox(1))
    assert hear(member, mail(), mail(target=9)) == []
    assert member.groups.statistics().undeliverable == 2


def test_mail_of_somebody_whose_life_nobody_said_is_counted_and_not_delivered():
    member = opened(linked=False)
    assert hear(member, mail()) == []
    member.feed(PeerConnected(Contact(ANN, 1, "2:1"), Channel.CONTROL))
    assert hear(member, mail()) == []
    assert member.groups.statistics().undeliverable == 2


def test_a_link_that_ends_is_not_the_link_that_is():
    member = opened()
    member.knows(ANN, 2)
    member.unlinked(ANN, 1)
    member.unlinked(ANN, 2, Channel.CONTROL)
    assert hear(member, mail()) == [0]
    assert member.letters[0].sender == g.Address(ANN, 2, 5)
    member.unlinked(ANN, 2)
    assert hear(member, mail(1)) == []


def test_what_is_kept_of_a_letter_does_not_pin_the_buffer_it_was_read_into():
    member = opened()
    hear(member, mail())
    assert type(member.letters[0].payload) is bytes


# --- calls ----------------------------------------------------------------------------------------------------------


def test_answers_are_not_numbered_and_leave_no_gap():
    """Each belongs to its call; else a lost answer would show as a lost message, and hide one."""
    member = opened()
    member.send(1, (ANN, 1, 5), kind=REPLY, number=3)
    member.send(1, (ANN, 1, 5))
    assert [data.messages[0].targets[0][1] for data in member.sent] == [0, 0]
    assert hear(member, mail(0), mail(0, kind=REPLY, call=1), mail(0, kind=FAILURE, call=2), mail(2)) == [0, 0, 0, 1]


def test_a_call_of_a_closed_mailbox_is_answered_at_once():
    member = opened()
    effects = member.feed(MessagesReceived(ANN, [mail(kind=CALL, target=77, call=12), mail(kind=CALL, call=13)]))
    refusal = Mail(1, 77, ((5, 0),), GONE, 12, msgspec.Raw(CLOSED))
    assert effects[0] == SendData(0, ANN, "", (refusal,), 128)
    assert [letter.number for letter in member.letters] == [13]
    assert len(effects) == 2


@pytest.mark.parametrize("kind", [VALUE, REPLY, FAILURE, GONE])
def test_what_is_no_call_is_not_answered(kind):
    assert opened().feed(MessagesReceived(ANN, [mail(kind=kind, target=77)])) == []


# --- laws -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 1), st.booleans()), max_size=60))
def test_whatever_is_lost_letters_come_in_order_at_most_once_and_gaps_are_exact(steps):
    """Two senders, one receiver. Received plus lost is all that was sent, at each letter."""
    net = Net(3)
    for member in net.members:
        member.open()
    sent = [0, 0]
    for source, lose in steps:
        sent[source] += 1
        net.members[source].send(1, (net.members[2].site, 1, 1), b"\xcd" + sent[source].to_bytes(2, "big"))
        net.deliver(source, 2, lose)
    for source in (0, 1):
        letters = [letter for letter in net.members[2].letters if letter.sender.site == net.members[source].site]
        place = 0
        for letter in letters:
            place += letter.lost + 1
            assert int.from_bytes(letter.payload[1:], "big") == place
        kept = [number for number, (_, lose) in enumerate(s for s in steps if s[0] == source) if not lose]
        assert len(letters) == len(kept)


@given(st.lists(of(Mail), min_size=1, max_size=6), st.integers(1, 3))
def test_no_mail_makes_the_machine_raise(mails, life):
    member = opened()
    member.knows(ANN, life)
    near = [msgspec.structs.replace(one, to=1, targets=((1, 2**53), (1, 0), (2, 5)), number=1) for one in mails]
    member.feed(MessagesReceived(ANN, [*mails, *near]))
    assert all(letter.mailbox == 1 for letter in member.letters)
