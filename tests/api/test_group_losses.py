"""What does not arrive is counted, in its place, whatever the cause: nobody reads, a link broke, it is no message."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import covey
from covey.api.group_values import MAILBOX_BYTES_MAX
from covey.protocols.groups.vocabulary import Address, Kind, Letter, MailReceived
from covey.testing import Cluster, run
from tests.api.gather import joined, seen_by, take, unread
from tests.testing.virtual import running, until

LARGEST = 983_040  # bytes of a payload, encoded


# --- what is lost ---------------------------------------------------------------------------------------------------


def test_what_nobody_reads_is_counted_in_its_place():
    """Once full, what does not fit is counted, and exactly one `Lost` stands in its place, between what was kept."""

    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 1) as (me,), me.group.join(mailbox_max=3) as small:

            async def send(*payloads: Any) -> None:
                for payload in payloads:
                    await me.send(small.member, payload)

            await send(1, 2, 3, 4, 5)
            assert unread(small) == [1, 2, 3, covey.Lost(2)]
            assert await take(small, 1) == [1]
            await send(6, 7)
            assert unread(small) == [2, 3, covey.Lost(2), 6, covey.Lost(1)]
            assert await take(small, 5) == [2, 3, covey.Lost(2), 6, covey.Lost(1)]
            await send(8)
            assert await take(small, 1) == [8]
            await send(*range(100))
            assert await take(small, 4) == [0, 1, 2, covey.Lost(97)]

    run(test)


def test_a_mailbox_for_one_message_keeps_one():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 1) as (me,), me.group.join(mailbox_max=1) as small:
            for number in range(4):
                await me.send(small.member, number)
            assert await take(small, 2) == [0, covey.Lost(3)]
            await me.send(small.member, 4)
            assert await take(small, 1) == [4]

    run(test)


def test_what_a_broken_link_swallowed_is_counted_in_its_place():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            one, two = cluster._nodes
            to = seen_by(me, other)
            for number in (1, 2):
                await me.send(to, number)
            await asyncio.sleep(1)
            cluster.partition([one], [two])
            for _ in range(5):  # the link has not noticed
                await me.send(to, "swallowed")
            await until(lambda: not me.peers(), 60)
            with pytest.raises(covey.PeerUnreachable, match="is held for down; nothing was delivered"):
                await me.send(to, "refused")
            cluster.heal()
            await until(lambda: me.peers() == [other.member], 60)
            await me.send(to, "after")
            await me.send(to, "and after")
            assert await take(other, 5) == [1, 2, covey.Lost(5), "after", "and after"]

    run(test)


def test_what_is_lost_of_one_sender_and_what_did_not_fit_is_one_gap():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 1) as (me,), me.group.join(mailbox_max=1) as small:
            await me.send(small.member, "kept")
            await me.send(small.member, "does not fit")
            streams = me.group._groups._machine._heard
            address = me.group._groups._machine.address(small._number)
            mine = me.group._groups._machine.address(me._number)
            streams.set(small._number, mine, 0)  # as if the first two had been lost on the way
            await me.send(small.member, "nor does this")
            assert address != mine and await take(small, 2) == ["kept", covey.Lost(4)]

    run(test)


def test_answers_that_come_do_not_hide_what_is_lost():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            async with running(other.serve(lambda payload, sender: other.send(sender, payload))):
                assert await me.call(seen_by(me, other), "first") is None
                assert await me.call(seen_by(me, other), "second") is None
            assert await take(me, 2) == ["first", "second"]

    run(test)


def test_what_waits_unread_is_bounded_in_bytes_too():
    """64 MiB, and one message always fits; the gap stands where it is, and there is room again once some are read."""

    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 1) as (me,), me.group.join() as other:
            large = b"x" * 983_000
            fit = MAILBOX_BYTES_MAX // (len(large) + 5)
            for _ in range(fit + 3):
                await me.send(other.member, large)
            with pytest.raises(covey.CallFailed, match="bytes wait there unread; try again later"):
                await me.call(other.member, large)
            await me.send(other.member, "small")
            assert len(unread(other)) == fit + 2
            assert await take(other, 2) == [large] * 2
            await me.send(other.member, large)
            found = await take(other, fit - 2 + 3)
            assert found[-3:] == [covey.Lost(4), "small", large] and found[:-3] == [large] * (fit - 2)
            assert other._unread == other._unread_bytes == 0

    run(test)


def test_what_cannot_be_decoded_is_part_of_the_gap_around_it():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 1) as (me,), me.group.join() as other:
            sender = Address(*me.member.address)
            letters = [
                Letter(other._number, sender, lost, Kind.VALUE, 0, payload)
                for lost, payload in ((1, b"\xa1\xff"), (2, b"\xc1"), (0, b"\x05"), (0, b"\xc1"))
            ]
            me.group._groups.on_mail(MailReceived(tuple(letters)))
            assert await take(other, 3) == [covey.Lost(5), 5, covey.Lost(1)]

    run(test)


# --- what strangers send --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4])
def test_a_payload_that_is_no_msgpack_is_lost_and_the_node_lives(kind):
    """The frame is well formed, what is in it is not: text that is not UTF-8."""

    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            to = seen_by(me, other)
            waiting = asyncio.create_task(other.call(seen_by(other, me), "?", timeout=3))
            call = await anext(me)
            assert isinstance(call, covey.GroupCall)
            me.group._groups.posting.answer(me._number, _address(to), covey_kind(kind), 1, b"\xa1\xff")
            await asyncio.sleep(1)
            if kind < 2:
                assert await take(other, 1) == [covey.Lost(1)]
                call.reply("fine")
                assert await waiting == "fine"
            else:
                with pytest.raises(covey.DecodeError):
                    await waiting
            assert cluster._nodes[1].statistics().payloads_undecodable == 1
            await me.send(to, "after")
            assert await take(other, 1) == ["after"]

    run(test)


def _address(member: covey.GroupMember) -> Any:
    return Address(*member.address)


def covey_kind(kind: int) -> Any:
    return Kind(kind)
