"""Syncs that are handed over as values, who may hand them over, and a record that is wiped in place."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import ClusterMismatch, PeerError, UsageError
from covey.core.ids import ClusterId
from covey.core.vocabulary import Emit, Flood, MemberRemoved, Persist, Record, Resolve, Send
from covey.protocols.membership.ledger import CLOCK
from covey.protocols.membership.record import HOST, MEM, META, encode_key, encode_op
from covey.protocols.membership.vocabulary import (
    Flush,
    GetData,
    MemberLeft,
    Outcome,
    ReceiveSync,
    SetMeta,
    SyncMessage,
    Wipe,
)
from covey.wire.messages.membership import News, Sync
from tests.protocols.membership.membership_net import (
    DURABLE,
    NEVER,
    SECOND,
    SHARED,
    Net,
    Node,
    agree,
    mem,
    op,
    record_of,
    site,
    three,
)

QUIET = msgspec.structs.replace(DURABLE, flood=False, digest_period_us=NEVER)


def data(node: Node, since: int = 0, acked: int = 0) -> SyncMessage:
    """One message of `node`, as a value."""
    message: SyncMessage = node.outcomes[node.command(lambda request: GetData(request, since, acked))]
    return message


def hand(message: SyncMessage, target: Node) -> Any:
    """Hand it over; what comes of it."""
    return target.outcomes[target.command(lambda request: ReceiveSync(request, message))]


def pair() -> tuple[Node, Node]:
    """Two fresh sites that never speak to each other."""
    net = Net(QUIET)
    return net.add(1), net.add(2)


# --- get_data -------------------------------------------------------------------------------------------------------


def test_since_zero_is_everything_and_the_boundary_is_included():
    a, _ = pair()
    a.set_member(7)
    a.command(lambda request: SetMeta(request, b"\x80"))
    whole = data(a)
    assert (whole.cluster, whole.sender, whole.incarnation) == (SHARED, a.site, a.machine.me.incarnation)
    entries = a.machine.dump()
    assert whole.sync == Sync(
        0, 0, a.machine.ledger.imports, tuple(entry.op for entry in entries), a.machine.record.digest, False
    )
    assert [(each.kind, each.target) for each in whole.sync.ops] == [
        (MEM, a.site), (HOST, a.site), (MEM, site(7)), (META, a.site),
    ]  # fmt: skip
    assert [(each.kind, each.target) for each in data(a, since=2).sync.ops] == [(MEM, site(7)), (META, a.site)]
    assert data(a, since=1_000, acked=9).sync == msgspec.structs.replace(whole.sync, since=1_000, acked=9, ops=())
    assert data(a) == whole, "asking changes nothing"


def test_nothing_is_in_it_that_the_disk_might_forget():
    """The outcome stands behind the disk like everything else."""
    a, _ = pair()
    a.dirty = []
    a.set_member(7)
    request = a.command(lambda request: GetData(request, 0, 0))
    assert request not in a.outcomes
    a.flush()
    assert site(7) in {each.target for each in a.outcomes[request].sync.ops}


def test_a_record_larger_than_a_message_goes_in_parts_and_each_names_the_import_it_is_complete_up_to(monkeypatch):
    monkeypatch.setattr("covey.protocols.membership.by_hand.OPS_MAX", 4)
    a, b = pair()
    for number in range(3, 20):
        a.set_member(number)
    since = parts = 0
    while True:
        message = data(a, since)
        assert len(message.sync.ops) <= 4
        assert hand(message, b) is True
        parts += 1
        if message.sync.imports == a.machine.ledger.imports:
            break
        since = message.sync.imports
    assert parts > 4
    assert a.members == [1, *range(3, 20)]
    assert b.members == [1, 2, *range(3, 20)]


# --- receiving ------------------------------------------------------------------------------------------------------


def test_a_sync_is_taken_as_from_a_link_and_not_answered():
    a, b = pair()
    before = b.machine.statistics()
    message = data(a)
    request = 99
    effects = b.feed(ReceiveSync(request, message))
    assert isinstance(effects[0], Persist)
    assert not any(isinstance(effect, Send) for effect in effects)
    assert b.outcomes[request] is True
    assert b.members == [1, 2]
    floor = b.machine.exchange.floors.get(a.site)
    assert floor is not None
    assert (floor.acked_in, floor.acked_out, floor.incarnation) == (message.sync.imports, 0, message.incarnation)
    after = b.machine.statistics()
    assert (after.syncs_received - before.syncs_received, after.syncs_sent) == (1, before.syncs_sent)
    imports = b.machine.ledger.imports
    assert hand(message, b) is True
    assert b.machine.ledger.imports == imports + 1, "the import number moves once per received sync"


def test_a_gap_drops_the_operations_takes_the_acknowledgement_and_says_so():
    a, b = pair()
    hand(data(a), b)
    a.set_member(7)
    imports = b.machine.ledger.imports
    assert hand(data(a, since=a.machine.ledger.imports, acked=2), b) is False
    assert b.machine.ledger.imports == imports
    assert not b.machine.record.knows(site(7))
    floor = b.machine.exchange.floors.get(a.site)
    assert floor is not None
    assert (floor.acked_in, floor.acked_out) == (1, 2)


def refused(message: SyncMessage, target: Node, error: type[Exception], match: str) -> None:
    """It is refused with this error, counted, and has changed nothing."""
    before = target.machine.dump(), target.machine.ledger.imports, dict(target.disk)
    strays = target.machine.statistics().strays
    outcome = hand(message, target)
    assert type(outcome) is error
    assert match in str(outcome)
    assert "nothing of" in str(outcome)
    assert (target.machine.dump(), target.machine.ledger.imports, target.disk) == before
    assert target.machine.statistics().strays == strays + 1


def test_another_cluster_is_refused_before_anything_is_taken():
    a, b = pair()
    message = msgspec.structs.replace(data(a), cluster=ClusterId(b"another cluster."))
    refused(message, b, ClusterMismatch, "another cluster")
    b.leave()
    b.net.wait(3 * SECOND)
    assert b.solo
    refused(data(a), b, ClusterMismatch, "another cluster")


def test_who_does_not_belong_is_refused_unless_its_sync_says_later_that_it_does():
    a, b = pair()
    hand(data(a), b)
    stranger = msgspec.structs.replace(data(a), sender=site(9))
    refused(stranger, b, PeerError, "does not belong")
    own = msgspec.structs.replace(data(b), sync=data(a).sync)
    refused(own, b, PeerError, "our own")
    b.kick(a)
    refused(data(a), b, PeerError, "does not belong")
    refused(data(a, since=2), b, PeerError, "does not belong")
    later = mem(1, b.machine.ledger.clock.last + 1, 1, origin=1, magic=a.machine.me.incarnation)
    message = data(a)
    sync = msgspec.structs.replace(message.sync, ops=(*message.sync.ops, later))
    assert hand(msgspec.structs.replace(message, sync=sync), b) is True
    assert b.members == [1, 2]


def test_a_members_word_that_it_leaves_is_taken_and_its_next_one_is_not():
    a, b = pair()
    hand(data(a), b)
    hand(data(b), a)
    a.dirty = None
    a.leave()
    assert not a.solo
    assert hand(data(a), b) is True
    assert b.members == [2]
    refused(data(a), b, PeerError, "does not belong")


def test_an_earlier_life_is_refused_and_a_later_one_starts_from_nothing():
    a, b = pair()
    old = data(a)
    hand(old, b)
    a.set_member(7)
    a.restart()
    new = data(a)
    assert new.incarnation > old.incarnation
    assert hand(new, b) is True
    floor = b.machine.exchange.floors.get(a.site)
    assert floor is not None
    assert (floor.incarnation, floor.acked_in) == (new.incarnation, new.sync.imports)
    refused(old, b, PeerError, "later life")
    assert floor is b.machine.exchange.floors.get(a.site)


def test_what_waits_for_an_acknowledgement_hears_of_one_that_was_handed_over():
    a, b = pair()
    hand(data(a), b)
    hand(data(b), a)
    request = a.command(Flush)
    assert request not in a.outcomes
    hand(data(a), b)
    hand(data(b, acked=a.machine.ledger.imports), a)
    assert a.outcomes[request] == Outcome((b.site,), ())


def test_our_own_verdict_may_be_handed_over_and_we_go_alone():
    a, b = pair()
    hand(data(a), b)
    hand(data(b), a)
    b.kick(a)
    assert hand(data(b), a) is True
    assert a.solo
    assert a.machine.exchange.floors.get(b.site) is None


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30), st.integers(0, 30)), max_size=12))
def test_whatever_numbers_are_handed_over_in_whatever_order_three_full_exchanges_make_both_equal(steps):
    a, b = pair()
    for which, since, acked in steps:
        source, target = (a, b) if which == "a" else (b, a)
        source.set_member(3 + since % 5, bool(acked % 2))
        hand(data(source, since, acked), target)
    for source, target in ((a, b), (b, a), (a, b)):
        assert hand(data(source), target) is True
    assert agree(a, b)


# --- wiping ---------------------------------------------------------------------------------------------------------


def test_a_wipe_drops_every_record_and_acknowledgement_and_never_the_clock():
    a, b = pair()
    hand(data(b), a)
    a.set_member(7)
    last, imports = a.machine.ledger.clock.last, a.machine.ledger.imports
    effects = a.feed(Wipe(99))
    default = op(MEM, 1, 0, 1, origin=1, magic=a.machine.me.incarnation)
    host = a.machine.record.get(HOST, a.site)
    assert host is not None
    assert host.clock > last
    assert [entry.op for entry in a.machine.dump()] == [default, host]
    assert {record.key: record.value for record in effects[0].records} == {
        encode_key((MEM, a.site)): encode_op(default),
        encode_key((HOST, a.site)): encode_op(host),
        encode_key((MEM, b.site)): None,
        encode_key((HOST, b.site)): None,
        encode_key((MEM, site(7))): None,
        CLOCK: last.to_bytes(8, "big"),
    }
    assert [effect for effect in effects if isinstance(effect, (Emit, MemberRemoved, Resolve))] == [
        Emit(MemberLeft(b.site, a.site)), MemberRemoved(b.site),
        Emit(MemberLeft(site(7), a.site)), MemberRemoved(site(7)),
        Resolve(99),
    ]  # fmt: skip
    assert isinstance(effects[0].records[0], Record)
    assert list(a.machine.exchange.floors.items()) == []
    assert a.machine.ledger.imports > imports


def test_after_a_wipe_and_a_crash_no_stamp_comes_twice_though_the_wall_clock_went_back():
    """The net asserts that no stamp ever carries two values."""
    a, _ = pair()
    a.set_member(7)
    last = a.machine.ledger.clock.last
    a.command(Wipe)
    a.skew_us = -3600 * SECOND
    a.restart()
    assert a.machine.ledger.clock.last >= last
    a.set_member(7, False)
    written = a.machine.record.get(MEM, site(7))
    assert written is not None
    assert written.clock > last


def test_a_wiped_member_is_told_everything_again_and_all_agree():
    net, a, b, c = three()
    a.set_member(7)
    net.wait(3 * SECOND)
    a.command(Wipe)
    assert a.members == [1]
    net.wait(3 * SECOND)
    assert agree(a, b, c)
    assert a.members == [1, 2, 3, 7]
    b.set_member(8)
    a.set_member(9)
    net.wait(3 * SECOND)
    assert agree(a, b, c)
    assert a.members == [1, 2, 3, 7, 8, 9]


def test_who_is_about_to_leave_is_not_wiped():
    """Else it would belong again, and believe that it has left."""
    net, a, _, _ = three()
    net.isolate(a)
    a.leave()
    before = a.machine.dump()
    outcome = a.outcomes[a.command(Wipe)]
    assert type(outcome) is UsageError
    assert "nothing was wiped" in str(outcome)
    assert a.machine.dump() == before
    net.wait(3 * SECOND)
    assert a.solo


def test_a_wipe_of_who_is_alone_leaves_it_out_and_knowing_by_whom():
    net, a, b, _ = three()
    b.kick(a)
    net.wait(SECOND)
    assert a.solo
    cluster = a.machine.cluster
    a.command(Wipe)
    a.restart()
    assert (a.machine.cluster, a.members) == (cluster, [1])
    assert [event.by for event in a.events if type(event).__name__ == "Kicked"] == [b.site]


def test_a_fresh_nodes_empty_metadata_is_no_operation_and_an_emptied_one_is():
    a, _ = pair()
    assert a.machine.record.get(META, a.site) is None
    a.command(lambda request: SetMeta(request, b"\x80"))
    a.command(lambda request: SetMeta(request, b""))
    emptied = a.machine.record.get(META, a.site)
    assert emptied is not None
    assert (emptied.value, a.machine.record.meta(a.site)) == (b"", b"")
    a.command(Wipe)
    assert a.machine.record.get(META, a.site) is None


@pytest.mark.parametrize("flood", [True, False])
def test_what_a_wipe_writes_goes_to_the_neighbours_at_once_with_the_digests(flood):
    _, a, b, c = three(msgspec.structs.replace(DURABLE, flood=flood))
    effects = a.feed(Wipe(99))
    host = a.machine.record.get(HOST, a.site)
    assert host is not None
    floods = [effect for effect in effects if isinstance(effect, Flood)]
    assert floods == ([Flood(News((host,)))] if flood else [])
    digests = a.machine.exchange.digests()
    assert [effect for effect in effects if isinstance(effect, Send)] == [
        Send(b.site, digests), Send(c.site, digests),
    ]  # fmt: skip
    assert record_of(a).keys() == {(MEM, a.site), (HOST, a.site)}
