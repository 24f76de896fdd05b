"""Order and clocks (reference M07 and invariants 1, 2): a wrong clock is bounded, named, and never taken over."""

from __future__ import annotations

import msgspec

from covey.core.clock import STAMP_MAX, unpack
from covey.core.vocabulary import MessagesReceived
from covey.protocols.membership.record import MEM, decode_op, encode_op, stamp
from covey.protocols.membership.vocabulary import ClockSkew
from covey.wire.messages.membership import News, Op
from tests.protocols.membership.membership_net import DURABLE, SECOND, START_WALL_US, Net, mem, record_of, site, three

HOUR_MS = 3_600_000


def lead_ms(clock: int, now_us: int) -> int:
    return unpack(clock)[0] - (START_WALL_US + now_us) // 1000


def test_a_command_that_beats_a_stamp_from_the_future_does_not_drag_the_clock_there() -> None:
    net, a, b, _c = three()
    future = ((START_WALL_US + net.now_us) // 1000 + HOUR_MS) << 16
    a.feed(MessagesReceived(b.site, [News((mem(7, future, 0),))]))
    a.set_member(7)
    assert record_of(a)[MEM, site(7)].clock == future + 1
    assert lead_ms(a.machine.ledger.clock.last, net.now_us) <= DURABLE.drift_ms_max
    a.set_member(8)
    assert lead_ms(record_of(a)[MEM, site(8)].clock, net.now_us) <= DURABLE.drift_ms_max


def test_nor_does_a_restart_after_such_a_command() -> None:
    net, a, b, _c = three()
    future = ((START_WALL_US + net.now_us) // 1000 + HOUR_MS) << 16
    a.feed(MessagesReceived(b.site, [News((mem(7, future, 0),))]))
    a.set_member(7)
    a.restart()
    a.set_member(8)
    assert lead_ms(record_of(a)[MEM, site(8)].clock, net.now_us) <= DURABLE.drift_ms_max


def test_after_the_last_stamp_there_is_none_that_the_disk_and_the_wire_do_not_carry() -> None:
    _net, a, b, _c = three()
    a.feed(MessagesReceived(b.site, [News((mem(7, STAMP_MAX, 0),))]))
    a.set_member(7)
    for op in record_of(a).values():
        assert decode_op(encode_op(op)) == op
    a.restart()
    assert 1 in a.members


def test_a_skewed_clock_is_reported_under_the_name_of_the_site_that_has_it_not_of_who_relays() -> None:
    net, a, b, _c = three()
    future = ((START_WALL_US + net.now_us) // 1000 + HOUR_MS) << 16
    a.feed(MessagesReceived(b.site, [News((mem(7, future, 0, origin=3),))]))
    assert a.kinds(ClockSkew) == [ClockSkew(site(3), HOUR_MS)]


def test_a_clock_half_a_second_ahead_is_worth_a_warning() -> None:
    """M07: "A's skew is reported (warning above 500 ms)"."""
    net, a, b, _c = three()
    ahead = ((START_WALL_US + net.now_us) // 1000 + 700) << 16
    a.feed(MessagesReceived(b.site, [News((mem(7, ahead, 1, origin=2),))]))
    assert a.kinds(ClockSkew) == [ClockSkew(site(2), 700)]


def test_the_peers_whose_clocks_were_reported_are_bounded() -> None:
    net = Net(msgspec.structs.replace(DURABLE, members_max=4))
    a = net.add(1)
    for number in range(2, 12):
        peer = net.add(number)
        net.link(a, peer)
        future = ((START_WALL_US + net.now_us) // 1000 + HOUR_MS) << 16
        a.feed(MessagesReceived(peer.site, [News((mem(number, future, 1, origin=number),))]))
        net.unlink(a, peer)
    assert len(a.machine._skewed) <= 4


def test_stamps_of_one_site_only_grow_over_restarts_and_lost_disks() -> None:
    """M13: (origin, incarnation, clock) never repeats; the operation of the new life wins over the old ones."""
    net, a, b, c = three()
    seen: list[tuple[int, int, bytes]] = []

    def write() -> Op:
        c.set_member(9)
        net.wait(SECOND)
        written = record_of(c)[MEM, site(9)]
        seen.append(stamp(written))
        assert record_of(a)[MEM, site(9)] == record_of(b)[MEM, site(9)] == written
        return written

    write()
    c.restart()
    net.mesh()
    net.wait(2 * SECOND)
    write()
    c.restart(keep_disk=False)
    net.mesh()
    write()
    net.wait(2 * SECOND)
    assert seen == sorted(set(seen))
    assert a.machine.contact(c.site) == c.machine.me
