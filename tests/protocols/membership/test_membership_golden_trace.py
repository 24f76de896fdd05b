"""Classy's golden trace (reference 1.4, M01) and the healing of a gap (M02).

Driven as the reference asks: alternating syncs, no flood, no digests, no metadata, and only what the test lets through
arrives. Compared with classy's line by line: who speaks, how many operations, and `since`. An import number moves once
per received sync here and not to `max(own, peer's) + 1`, so `acked` and the last column are ours and not classy's.
"""

from __future__ import annotations

import msgspec

from covey.protocols.membership.record import HOST, MEM
from covey.protocols.membership.vocabulary import Flush
from tests.protocols.membership.membership_net import DURABLE, NEVER, SECOND, Net, Node, agree, record_of, site

CLASSY = msgspec.structs.replace(DURABLE, flood=False, digest_period_us=NEVER)


def line(net: Net, source: Node, target: Node) -> tuple[int, int, int, int]:
    """One sync: `since`, `acked`, the number of operations, and the import number it is complete up to."""
    sync = net.sync(source, target)
    return sync.since, sync.acked, len(sync.ops), sync.imports


def joined() -> tuple[Net, Node, Node]:
    net = Net(CLASSY)
    a, b = net.add(1), net.add(2)
    net.link(a, b)
    return net, a, b


def test_m01_two_fresh_sites_exchange_what_classys_do_and_fall_silent_after_five_messages():
    net, a, b = joined()
    assert [(entry.op.kind, entry.op.clock > 0, entry.imported) for entry in a.machine.dump()] == [
        (MEM, False, 0),
        (HOST, True, 1),
    ]
    #                            since acked ops imports    classy:  since acked ops
    assert line(net, a, b) == (0, 0, 2, 1)  #                        0     0     2   hello
    assert b.machine.ledger.imports == 2
    b.set_member(2)
    assert line(net, b, a) == (0, 1, 4, 3)  #                        0     1     4
    assert line(net, a, b) == (1, 3, 3, 2)  #                        1     3     3
    assert line(net, b, a) == (3, 2, 1, 4)  #                        3     4     1
    assert line(net, a, b) == (2, 4, 2, 3)  #                        4     5     2
    assert line(net, b, a) == (4, 3, 0, 5)  #                        5     6     0
    assert line(net, a, b) == (3, 5, 0, 4)  #                        6     7     0
    assert line(net, b, a) == (5, 4, 0, 6)  #                        7     8     0
    assert line(net, a, b) == (4, 6, 0, 5)  #                        8     9     0
    assert agree(a, b)
    assert a.members == [1, 2]
    assert a.machine.statistics().gaps == b.machine.statistics().gaps == 0


def test_m02_a_gap_drops_one_message_and_is_healed_by_the_third():
    net, a, b = joined()
    for _ in range(4):
        net.sync(a, b)
        net.sync(b, a)
    floor = a.machine.exchange.floors.get(b.site)
    assert floor is not None
    floor.acked_out = 1_000
    a.set_member(7)
    clock, imports = b.machine.ledger.clock.last, b.machine.ledger.imports
    sync = net.sync(a, b)
    assert (sync.since, len(sync.ops)) == (1_000, 0)
    assert b.machine.statistics().gaps == 1
    assert (b.machine.ledger.clock.last, b.machine.ledger.imports) == (clock, imports)
    net.sync(b, a)
    assert floor.acked_out < 1_000
    assert not b.machine.record.knows(site(7))
    sync = net.sync(a, b)
    assert site(7) in {each.target for each in sync.ops}
    assert record_of(b)[MEM, site(7)] == record_of(a)[MEM, site(7)]
    assert b.machine.statistics().gaps == 1
    c = net.add(3)
    net.mesh()
    for source, target in [(b, c), (c, b), (c, a), (a, c), (b, a), (a, b)] * 2:
        net.sync(source, target)
    assert agree(a, b, c)
    assert a.members == [1, 2, 3, 7]


def test_gaps_on_both_sides_at_once_heal_in_two_messages_each_way():
    """What a dropped message acknowledges counts all the same, or neither side would ever go back."""
    net, a, b = joined()
    for _ in range(4):
        net.sync(a, b)
        net.sync(b, a)
    for node, other in ((a, b), (b, a)):
        floor = node.machine.exchange.floors.get(other.site)
        assert floor is not None
        floor.acked_out = 1_000
    a.set_member(7)
    b.set_member(8)
    for _ in range(2):
        net.sync(a, b)
        net.sync(b, a)
    assert agree(a, b)
    assert a.members == [1, 2, 7, 8]


def test_a_gap_is_answered_by_itself():
    """The same with the machines' own answers: two messages each way."""
    net = Net(msgspec.structs.replace(DURABLE, flood=False))
    a, b = net.add(1), net.add(2)
    net.link(a, b)
    net.wait(3 * SECOND)
    assert agree(a, b)
    floor = a.machine.exchange.floors.get(b.site)
    assert floor is not None
    floor.acked_out = 1_000
    a.set_member(7)
    a.command(Flush)
    net.wait(3 * SECOND)
    assert agree(a, b)
    assert b.machine.statistics().gaps == 1


def test_members_that_hold_the_same_say_twenty_bytes_and_no_sync():
    net = Net()
    a, b = net.add(1), net.add(2)
    net.link(a, b)
    net.wait(5 * SECOND)
    before = a.machine.statistics(), b.machine.statistics(), dict(a.disk)
    start = len(net.carried)
    net.wait(60 * SECOND)
    assert (a.machine.statistics(), b.machine.statistics(), a.disk) == before
    sent = [message for source, _, message in net.carried[start:] if source == 1]
    assert 25 < len(sent) < 35
    assert {len(msgspec.msgpack.encode(message)) for message in sent} <= {22}
