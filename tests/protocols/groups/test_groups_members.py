"""Members of groups as one machine sees them: joins, leaves, metadata, and rows of anybody, well formed or not."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import InvariantError, UsageError
from covey.core.rows import HoldInstance, RowsChanged, WriteRows
from covey.core.vocabulary import Emit, Resolve
from covey.protocols.groups import vocabulary as g
from covey.protocols.groups.config import GroupsConfig
from covey.protocols.groups.rows import PREFIX, decode_row, decode_value, encode_row, encode_value
from covey.wire.keys import encode_key
from tests.protocols.groups.groups_net import ANN, ME, Change, G, H, Member, Net, S
from tests.wire.strategies import KEYS, VALUES

ROWS = PREFIX + S


def rows(member: Member, *changes: Change, instance: bytes = ROWS, incarnation: int = 1):
    return member.feed(RowsChanged(instance, ANN, incarnation, changes))


# --- our own --------------------------------------------------------------------------------------------------------


def test_joining_holds_the_scope_once_and_writes_a_row():
    member = Member()
    assert member.feed(g.OpenMailbox(7)) == [Resolve(7, 1)]
    row = encode_row(G, 1)
    assert member.feed(g.JoinGroup(1, S, G, b"m")) == [
        HoldInstance(ROWS),
        WriteRows(ROWS, ((row, encode_value(1, b"m")),)),
    ]
    assert member.feed(g.JoinGroup(1, S, G, None)) == [WriteRows(ROWS, ((row, encode_value(2, b"m")),))]
    address = g.Address(ME, 1, 1)
    assert member.groups.view(S, G) == {address: g.GroupEntry(address, 2, b"m")}


def test_a_change_tells_what_was_and_what_is():
    member = Member()
    member.open()
    member.join(1, meta=b"m")
    address = g.Address(ME, 1, 1)
    (event,) = rows_events(member.feed(RowsChanged(ROWS, ME, 1, ((encode_row(G, 1), encode_value(4, b"n")),))))
    assert event == g.GroupChanged(S, G, ((g.GroupEntry(address, 1, b"m"), g.GroupEntry(address, 4, b"n")),))


def rows_events(effects):
    return [effect.event for effect in effects if isinstance(effect, Emit)]


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5)), max_size=30))
def test_n_joins_need_n_leaves(steps):
    member = Member()
    member.open()
    count = 0
    for joins, times in steps:
        if joins:
            for _ in range(times):
                member.join(1)
            count += times
        else:
            member.leave(1, times)
            count = max(count - times, 0)
        assert member.counts() == ({(1, 1, 1): count} if count else {})
        assert member.groups.joined(1, S, G).count == count
        assert member.groups.groups(S) == ([G] if count else [])


def test_sixteen_joins_as_in_the_suite_of_pg():
    member = Member()
    member.open()
    for _ in range(16):
        member.join(1)
    member.leave(1, 4)
    assert member.counts() == {(1, 1, 1): 12}
    member.leave(1, 12)
    assert member.counts() == {} and member.groups.groups(S) == []
    assert member.feed(g.LeaveGroup(1, S, G, 1)) == []


def test_closing_a_mailbox_leaves_every_group_and_nobody_elses():
    member = Member()
    one, other = member.open(), member.open()
    for group in (G, H):
        member.join(one, group)
        member.join(one, group)
        member.join(other, group)
    member.join(one, G, scope=b"other")
    member.feed(g.CloseMailbox(one))
    assert member.counts(G) == member.counts(H) == {(1, 1, other): 1}
    assert member.groups.groups(b"other") == []
    assert member.feed(g.CloseMailbox(one)) == []


def test_metadata_changes_and_the_count_does_not():
    member = Member()
    member.open()
    member.join(1, meta=b"a")
    member.join(1)
    member.feed(g.UpdateMeta(1, S, G, b"b"))
    assert [(e.count, e.meta) for e in member.groups.view(S, G).values()] == [(2, b"b")]
    assert member.groups.joined(1, S, G) == g.GroupEntry(g.Address(ME, 1, 1), 2, b"b")
    member.join(1, meta=b"c")
    assert member.groups.joined(1, S, G).meta == b"c"


@pytest.mark.parametrize(
    "command, reason",
    [
        (g.JoinGroup(9, S, G, b""), "the mailbox is closed"),
        (g.UpdateMeta(9, S, G, b""), "the mailbox is closed"),
        (g.UpdateMeta(1, S, H, b""), "no member of that group"),
        (g.SendMail(0, 9, ME, 1, (1,), g.Kind.VALUE, 0, b"\xc0"), "the mailbox is closed"),
    ],
)
def test_a_wrong_command_is_a_usage_error_and_changes_nothing(command, reason):
    member = Member()
    member.open()
    member.join(1)
    before = dict(member.rows), member.groups.statistics()
    with pytest.raises(UsageError, match=reason):
        member.feed(command)
    assert (dict(member.rows), member.groups.statistics()) == before


def test_bounds_are_usage_errors_and_change_nothing():
    member = Member(config=GroupsConfig(mailboxes_max=2, scopes_max=2))
    member.open()
    member.open()
    with pytest.raises(UsageError, match="2 mailboxes are open"):
        member.feed(g.OpenMailbox(9))
    member.join(1, scope=b"a")
    member.feed(g.HoldScope(b"b"))
    for command in (g.HoldScope(b"c"), g.JoinGroup(1, b"c", G, b"")):
        with pytest.raises(UsageError, match="2 scopes are in use"):
            member.feed(command)
    assert member.groups.joined(1, b"c", G).count == 0
    member.groups.check()


def test_scopes_do_not_see_each_other():
    member = Member()
    member.open()
    member.join(1, scope=b"a")
    member.join(1, H, scope=b"b")
    assert member.groups.groups(b"a") == [G] and member.groups.groups(b"b") == [H]
    assert member.counts(G, b"b") == {}
    member.leave(1, scope=b"b")
    assert member.counts(G, b"a") == {(1, 1, 1): 1}


# --- everybody's ----------------------------------------------------------------------------------------------------


def test_rows_of_others_are_members_and_go_again():
    member = Member()
    key, value = encode_row(G, 5), encode_value(3, b"m")
    address = g.Address(ANN, 1, 5)
    entry = g.GroupEntry(address, 3, b"m")
    assert rows(member, (key, value)) == [Emit(g.GroupChanged(S, G, ((None, entry),)))]
    assert rows(member, (key, value)) == [], "what does not change is no event"
    assert rows(member, (key, None)) == [Emit(g.GroupChanged(S, G, ((entry, None),)))]
    assert rows(member, (key, None)) == []


def test_one_change_of_rows_is_one_event_for_each_group():
    member = Member()
    effects = rows(
        member,
        (encode_row(G, 1), encode_value(1, b"")),
        (encode_row(H, 1), encode_value(1, b"")),
        (encode_row(G, 2), encode_value(1, b"")),
    )
    assert [(event.group, len(event.changes)) for event in rows_events(effects)] == [(G, 2), (H, 1)]


def test_another_life_of_an_owner_is_other_members():
    member = Member()
    for incarnation in (1, 2):
        rows(member, (encode_row(G, 1), encode_value(1, b"")), incarnation=incarnation)
    assert member.counts() == {(2, 1, 1): 1, (2, 2, 1): 1}
    rows(member, (encode_row(G, 1), None), incarnation=1)
    assert member.counts() == {(2, 2, 1): 1}


def test_rows_of_other_instances_are_none_of_our_business():
    assert rows(Member(), (encode_row(G, 1), encode_value(1, b"")), instance=b"registry:") == []


GARBAGE_KEYS = [
    b"",
    b"\xc1",
    b"\x93\x01\x02\x03",
    msgspec.msgpack.encode((G, 0)),
    msgspec.msgpack.encode((G, -1)),
    msgspec.msgpack.encode((G, 2**53 + 1)),
    msgspec.msgpack.encode((G, True)),
    msgspec.msgpack.encode((b"\xcb" + bytes(8), 1)),  # a float is no key
    msgspec.msgpack.encode((b"\xd9\x01g", 1)),  # nor is one that is written in another way
    msgspec.msgpack.encode((b"\xa1\xff", 1)),
    b"\x92\xc5\x00\x02\xa1g\x01",  # the row itself in another way: it would be a second one of the same member
    b"\x92" * 2_000,
]


@pytest.mark.parametrize("key", GARBAGE_KEYS, ids=lambda key: key[:12].hex())
def test_a_row_that_no_covey_writes_is_nobody_and_counted(key):
    member = Member()
    assert rows(member, (key, encode_value(1, b""))) == []
    assert rows(member, (key, None)) == []
    assert member.groups.groups(S) == [] and member.groups.statistics().nonsense == 2


GARBAGE_VALUES = [
    b"",
    b"\xc0",
    b"\x91\x01",
    encode_value(0, b""),
    encode_value(-1, b""),
    encode_value(2**31 + 1, b""),
    b"\x92\x01\xa1x",
]


@pytest.mark.parametrize("value", GARBAGE_VALUES, ids=lambda value: value.hex())
def test_a_value_that_no_covey_writes_is_no_membership(value):
    """Also where there was one before: what is not understood does not leave standing what it replaced."""
    member = Member()
    key = encode_row(G, 1)
    assert rows(member, (key, value)) == []
    rows(member, (key, encode_value(1, b"")))
    rows(member, (key, value))
    assert member.counts() == {} and member.groups.groups(S) == []
    assert member.groups.statistics().nonsense == 2


@given(st.binary(max_size=40) | VALUES.map(msgspec.msgpack.encode), st.binary(max_size=40) | st.none())
def test_no_row_makes_the_machine_raise(key, value):
    member = Member()
    rows(member, (key, value))
    rows(member, (encode_row(G, 1), value))
    rows(member, (encode_row(G, 1), None), (key, None))
    assert member.groups.members.by_place == {}


@given(KEYS, st.integers(1, 2**53), st.integers(1, 2**31), st.binary(max_size=20))
def test_rows_are_read_as_they_were_written(key, mailbox, count, meta):
    group = encode_key(key)
    assert decode_row(encode_row(group, mailbox)) == (group, mailbox)
    assert decode_value(encode_value(count, meta)) == (count, meta)


def test_statistics_count_what_is_there():
    net = Net(2)
    one, two = net.members
    for member in net.members:
        member.open()
        member.join(1)
        member.join(1)
    two.join(1, H)
    for member in net.members:
        now = member.groups.statistics()
        assert (now.mailboxes, now.groups, now.members) == (1, 2, 3)
    assert one.counts() == two.counts() == {(1, 1, 1): 2, (2, 1, 1): 2}


def test_a_machine_that_breaks_its_laws_is_an_invariant_error():
    member = Member()
    member.open()
    member.join(1)
    groups = member.groups
    groups.members.by_place[S, H] = {}
    with pytest.raises(InvariantError, match="exists while it has a member"):
        groups.check()
    del groups.members.by_place[S, H]
    groups._own.scopes.clear()
    with pytest.raises(InvariantError, match="scope that is held"):
        groups.check()
