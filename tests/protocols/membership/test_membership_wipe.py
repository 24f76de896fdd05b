"""A record that is wiped in place."""

from __future__ import annotations

import msgspec
import pytest

from covey.core.errors import UsageError
from covey.core.vocabulary import Emit, Flood, MemberRemoved, Record, Resolve, Send
from covey.protocols.membership.ledger import CLOCK
from covey.protocols.membership.record import HOST, MEM, META, encode_key, encode_op
from covey.protocols.membership.vocabulary import (
    MemberLeft,
    SetMeta,
    Wipe,
)
from covey.wire.messages.membership import News
from tests.protocols.membership.handing import data, hand, pair
from tests.protocols.membership.membership_net import (
    DURABLE,
    SECOND,
    agree,
    op,
    record_of,
    site,
    three,
)


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
