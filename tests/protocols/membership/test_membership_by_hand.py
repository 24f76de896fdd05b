"""Syncs that are handed over as values, and who may hand them over."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import ClusterMismatch, PeerError
from covey.core.ids import ClusterId
from covey.core.vocabulary import Persist, Send
from covey.protocols.membership.record import HOST, MEM, META
from covey.protocols.membership.vocabulary import (
    Flush,
    GetData,
    Outcome,
    ReceiveSync,
    SetMeta,
    SyncMessage,
)
from covey.wire.messages.membership import Sync
from tests.protocols.membership.handing import data, hand, pair
from tests.protocols.membership.membership_net import (
    SECOND,
    SHARED,
    Node,
    agree,
    mem,
    site,
)

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
