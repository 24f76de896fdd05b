"""Who left comes back when it starts again, who was thrown out does not."""

from __future__ import annotations

import pytest

from covey.core.clock import STAMP_MAX
from covey.core.errors import UsageError
from covey.core.vocabulary import (
    MessagesReceived,
)
from covey.protocols.membership.ledger import CLUSTER, REJOIN, VERDICT
from covey.protocols.membership.record import MEM, encode_key
from covey.protocols.membership.vocabulary import Kicked, Leave
from covey.wire.messages.membership import News
from tests.protocols.membership.membership_bench import ME
from tests.protocols.membership.membership_net import (
    SECOND,
    SHARED,
    START_WALL_US,
    Net,
    Node,
    agree,
    mem,
    record_of,
    three,
)

OWN_KEY = encode_key((MEM, ME))


def restarted(net: Net, node: Node) -> None:
    """A new start, and time to meet the others."""
    node.restart()
    net.mesh()
    net.wait(3 * SECOND)


def test_who_left_comes_back_at_the_next_start_without_a_word_of_being_kicked():
    net, a, b, c = three()
    a.leave()
    net.wait(SECOND)
    left = record_of(b)[MEM, a.site]
    assert (a.solo, b.members) == (True, [2, 3])
    assert VERDICT in a.disk
    restarted(net, a)
    assert (a.machine.cluster, a.kinds(Kicked)) == (SHARED, [])
    assert a.members == b.members == c.members == [1, 2, 3]
    assert record_of(c)[MEM, a.site].clock > left.clock
    assert VERDICT not in a.disk
    assert agree(a, b, c)


def test_who_was_kicked_starts_alone_and_says_so_at_each_start():
    net, a, b, _c = three()
    b.kick(a)
    net.wait(SECOND)
    alone = a.machine.cluster
    for _ in range(2):
        restarted(net, a)
        assert (a.machine.cluster, a.members, b.members) == (alone, [1], [2, 3])
        assert [event.by for event in a.kinds(Kicked)] == [b.site]


def test_who_was_kicked_and_leaves_on_top_of_it_was_kicked():
    net, a, b, _c = three()
    b.kick(a)
    net.wait(SECOND)
    a.leave()
    restarted(net, a)
    assert a.solo
    assert [event.by for event in a.kinds(Kicked)] == [b.site]


def test_who_was_kicked_joined_again_and_left_comes_back():
    net, a, b, c = three()
    b.kick(a)
    net.wait(SECOND)
    a.join(b)
    net.wait(SECOND)
    assert VERDICT not in a.disk
    a.leave()
    net.wait(SECOND)
    restarted(net, a)
    assert a.kinds(Kicked) == []
    assert a.members == b.members == c.members == [1, 2, 3]


@pytest.mark.parametrize("ahead_ms", [0, 3_600_000], ids=["now", "with a stamp from the future"])
def test_who_ended_between_its_word_that_it_leaves_and_going_comes_back_too(ahead_ms):
    """The operation is on the disk and with the others; the cluster of its own is not."""
    net, a, b, c = three()
    clock = (START_WALL_US // 1000 + ahead_ms) << 16
    a.feed(MessagesReceived(b.site, [News((mem(1, clock, 1, origin=2),))]))
    a.command(Leave)
    assert not a.solo
    net.deliver()
    restarted(net, a)
    assert (a.solo, a.kinds(Kicked)) == (False, [])
    assert a.members == b.members == c.members == [1, 2, 3]
    assert agree(a, b, c)


def test_who_ended_between_returning_to_the_cluster_and_saying_so_comes_back_all_the_same():
    """A start stores at once that it is in the shared cluster, and writes that it belongs only when the alarm rings."""
    net, a, b, c = three()
    a.leave()
    net.wait(SECOND)
    disk = dict(a.disk)
    a.restart()
    a.disk.clear()
    a.disk.update({key: disk[key] for key in disk if key not in (VERDICT, OWN_KEY) and len(key) != len(OWN_KEY)})
    a.disk[CLUSTER] = bytes(SHARED)
    assert REJOIN in a.disk
    restarted(net, a)
    assert a.members == b.members == c.members == [1, 2, 3]
    assert agree(a, b, c)


def test_who_finds_a_word_of_an_earlier_life_that_it_left_belongs_because_it_started_again():
    """Its disk was lost, or put back: the others remember what it does not."""
    net, a, b, c = three()
    before = dict(a.disk)
    a.leave()
    net.wait(SECOND)
    a.disk.clear()
    a.disk.update(before)
    restarted(net, a)
    assert not a.solo
    assert a.members == b.members == c.members == [1, 2, 3]
    assert agree(a, b, c)


def test_who_finds_such_a_word_with_the_last_stamp_there_is_goes_alone():
    net, a, b, _c = three()
    b.feed(MessagesReceived(a.site, [News((mem(1, STAMP_MAX, 0, origin=1, magic=1),))]))
    net.wait(3 * SECOND)
    assert (a.solo, a.members, a.kinds(Kicked)) == (True, [1], [])


def test_who_is_leaving_is_not_called_back_by_its_own_word():
    net, a, b, c = three()
    request = a.leave()
    left = record_of(a)[MEM, a.site]
    a.feed(MessagesReceived(b.site, [News((left, mem(9, left.clock, 1)))]))
    assert record_of(a)[MEM, a.site] == left
    net.wait(SECOND)
    assert request in a.outcomes
    assert (a.solo, b.members, c.members) == (True, [2, 3, 9], [2, 3, 9])


def test_who_is_kicked_while_it_leaves_was_kicked():
    net, a, b, _c = three()
    net.isolate(a)
    a.leave()
    net.wait(SECOND)
    assert not a.solo
    b.kick(a)
    net.cut.clear()
    net.link(a, b)
    net.run()
    assert a.solo
    assert [event.by for event in a.kinds(Kicked)] == [b.site]


def test_where_no_later_stamp_is_left_who_left_stays_alone_and_starts_nevertheless():
    """A member may write anything of us, the last stamp but one included."""
    net, a, b, _c = three()
    a.feed(MessagesReceived(b.site, [News((mem(1, STAMP_MAX - 1, 1, origin=2),))]))
    a.leave()
    net.wait(SECOND)
    assert a.solo
    restarted(net, a)
    assert (a.solo, a.members, a.kinds(Kicked)) == (True, [1], [])
    request = a.join(b)
    assert isinstance(a.outcomes[request], UsageError)


def test_who_ended_while_leaving_with_the_last_stamp_there_is_starts_alone():
    net, a, b, _c = three()
    a.feed(MessagesReceived(b.site, [News((mem(1, STAMP_MAX - 1, 1, origin=2),))]))
    a.command(Leave)
    restarted(net, a)
    assert (a.solo, a.members, a.kinds(Kicked)) == (True, [1], [])
