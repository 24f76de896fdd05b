"""Records that differ must even out, whatever was refused, cut or forgotten on the way."""

from __future__ import annotations

import msgspec
import pytest

from covey.core.vocabulary import MessagesReceived
from covey.protocols.membership.record import HOST, MEM, META
from covey.protocols.membership.vocabulary import Cleanup, SetMeta
from covey.wire.codec import encode_messages
from covey.wire.limits import FRAME_BYTES_MAX
from covey.wire.messages.membership import News
from tests.protocols.membership.membership_net import (
    DURABLE,
    SECOND,
    START_WALL_US,
    Net,
    agree,
    op,
    record_of,
    site,
    three,
)


def test_a_site_that_is_readmitted_while_it_is_down_keeps_its_address_for_those_who_joined_meanwhile() -> None:
    net, a, b, c = three()
    c.crash()
    a.kick(c)
    net.wait(3 * SECOND)
    d = net.add(4)
    net.mesh()
    net.wait(3 * SECOND)
    assert agree(a, b, d)
    a.set_member(3)
    net.wait(10 * SECOND)
    assert d.machine.record.address(c.site) == c.address
    assert agree(a, b, d)


def test_a_site_that_is_readmitted_by_one_who_had_not_yet_forgotten_its_address_has_it_everywhere() -> None:
    net, a, b, c = three()
    c.crash()
    a.kick(c)
    net.wait(3 * SECOND)
    a.command(lambda request: Cleanup(request, 0))
    assert a.machine.record.get(HOST, c.site) is None
    b.set_member(3)
    net.wait(10 * SECOND)
    assert a.machine.record.address(c.site) == c.address
    assert agree(a, b)


def test_chunks_bring_the_address_of_a_site_whose_membership_was_written_again_later() -> None:
    net = Net(msgspec.structs.replace(DURABLE, sync_ops_max=3, flood=False))
    a, b, c = net.add(1), net.add(2), net.add(3)
    net.mesh(a, b, c)
    net.wait(10 * SECOND)
    a.set_member(2)  # its membership is newer than its address now, in the order of imports
    net.wait(5 * SECOND)
    d = net.add(4)
    net.link(a, d)
    net.wait(10 * SECOND)
    assert d.machine.record.address(b.site) == b.address
    assert agree(a, b, c, d)


@pytest.mark.parametrize("operations", [3, 4])
def test_what_came_in_one_full_message_does_not_stop_what_comes_after_it(operations: int) -> None:
    """The boundary import is repeated; where it fills a chunk alone, the next one must still come along."""
    net = Net(msgspec.structs.replace(DURABLE, sync_ops_max=3, flood=False))
    a, b = net.add(1), net.add(2)
    clock = (START_WALL_US // 1000) << 16
    one_message = tuple(op(MEM, 10 + number, clock, 1) for number in range(operations))
    net.link(a, b)
    a.feed(MessagesReceived(b.site, [News(one_message)]))
    for number in range(50, 55):
        a.set_member(number)
    net.wait(30 * SECOND)
    assert agree(a, b)


def test_many_members_with_much_metadata_are_told_in_frames_that_peers_accept() -> None:
    net = Net(msgspec.structs.replace(DURABLE, flood=False))
    a, b = net.add(1), net.add(2)
    clock = (START_WALL_US // 1000) << 16
    for number in range(10, 110):  # each comes with its own message, as members do
        for at in range(4):
            target = bytes([number, at]) + bytes(14)
            ops = (
                msgspec.structs.replace(op(MEM, 0, clock, 1, origin=number), target=target),
                msgspec.structs.replace(op(META, 0, clock, b"x" * 4_000, origin=number), target=target),
            )
            net.link(a, b)
            a.machine.handle(MessagesReceived(b.site, [News(ops)]), net.now_us)
    assert len(a.machine.members()) == 401
    sizes = []
    for _ in range(100):
        (send,) = a.machine.exchange.sync(b.site, False, net.now_us)
        sizes.append(len(encode_messages([send.message])))
        floor = a.machine.exchange.floor(b.site)
        if floor.acked_out == send.message.imports:
            break
        floor.acked_out = send.message.imports
    assert max(sizes) < FRAME_BYTES_MAX


def test_the_address_of_this_life_wins_over_one_that_an_earlier_life_wrote_with_a_later_clock() -> None:
    """The earlier life's clock was ahead (or this one's stepped back), and its disk is lost."""
    net, a, b, c = three()
    c.skew_us = 30 * SECOND
    c.restart()
    net.mesh()
    net.wait(3 * SECOND)
    c.skew_us = 0
    c.crash()
    c.address = "moved:1"
    c.restart(keep_disk=False)
    net.mesh()
    net.wait(5 * SECOND)
    assert a.machine.record.address(c.site) == "moved:1"
    assert a.machine.contact(c.site) == c.machine.me
    assert agree(a, b, c)


def test_setting_metadata_reaches_everybody_also_one_who_joins_later() -> None:
    net, a, b, _c = three()
    a.command(lambda request: SetMeta(request, b"\x81\xa1a\x01"))
    net.wait(SECOND)
    assert b.machine.record.meta(a.site) == b"\x81\xa1a\x01"
    d = net.add(4)
    net.mesh()
    net.wait(3 * SECOND)
    assert record_of(d) == record_of(a)


@pytest.mark.parametrize("value", [b"h" * 262, b"\xff\xfe:1"], ids=["too long", "not UTF-8"])
def test_an_address_that_no_other_message_could_carry_is_refused(value: bytes) -> None:
    _net, a, b, _c = three()
    a.feed(MessagesReceived(b.site, [News((op(HOST, 3, 1 << 62, value),))]))
    assert a.machine.record.address(site(3)) == "n3:1"
    assert a.machine.statistics().operations_refused == 1
