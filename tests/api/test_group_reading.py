"""Reading a mailbox, to its end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import covey
from covey.protocols.groups.config import GroupsConfig
from covey.testing import Cluster, run
from covey.wire.codec import encode_message
from covey.wire.framing import frame
from tests.api.gather import KEY, joined, unread
from tests.testing.virtual import running, until

LARGEST = 983_040  # bytes of a payload, encoded


# --- reading --------------------------------------------------------------------------------------------------------


def test_a_mailbox_ends_after_what_it_holds():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            await me.broadcast(1)
            await until(lambda: unread(other))
            other.close()
            assert [message.payload async for message in other] == [1]  # type: ignore[union-attr]

    run(test)


def test_whoever_waits_for_a_message_hears_the_end():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            async with running(anext_or_end(me), anext_or_end(other)) as (mine, others):
                await asyncio.sleep(1)
                me.close()
                assert await mine == "ended"
                await cluster._nodes[1].close()
                assert await others == "ended"

    run(test)


async def anext_or_end(box: covey.Mailbox) -> str:
    async for message in box:
        return repr(message)
    return "ended"


def test_two_tasks_do_not_read_one_mailbox():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 1) as (me,), running(anext_or_end(me)):
            await asyncio.sleep(0)
            with pytest.raises(covey.UsageError, match="two tasks read one mailbox"):
                await anext(me)

    run(test)


def test_a_node_that_dies_ends_mailboxes_with_its_cause():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 1) as (me,), me.group.join() as twin:
            async with running(anext_or_end(me), me.call(twin.member, 1, timeout=100)) as (reading, calling):
                await asyncio.sleep(0.1)
                node: Any = cluster._nodes[0]
                node._runner.end(covey.SiteConflict("as meant"))
                for waiting in (reading, calling):
                    with pytest.raises(covey.ClosedError) as caught:
                        await waiting
                    assert isinstance(caught.value.__cause__, covey.SiteConflict)
                with pytest.raises(covey.ClosedError):
                    await me.broadcast(1)
                assert len(twin._queue) == 1

    run(test)


def test_the_number_of_mailboxes_has_a_bound():
    async def test(cluster: Cluster) -> None:
        from covey.engine.engine import EngineConfig

        config = covey.Config.laptop(engine=EngineConfig(groups=GroupsConfig(mailboxes_max=2)))
        (node,) = await cluster.start(1, config=config)
        group = node.group(KEY)
        async with group.join(), group.join():
            with pytest.raises(covey.UsageError, match="2 mailboxes are open, as many as there may be"):
                await group.join().start()
            assert group.member_count() == 2
        async with group.join() as me:
            assert group.members() == [me.member]

    run(test)


def test_the_largest_message_fits_in_a_frame():
    import msgspec

    from covey.protocols.groups.post import TARGETS_AT_ONCE
    from covey.wire.messages.groups import Mail

    targets = ((2**53, 2**53),) * TARGETS_AT_ONCE
    payload = msgspec.Raw(b"\xc6" + (LARGEST - 5).to_bytes(4, "big") + bytes(LARGEST - 5))
    encoded = encode_message(Mail(2**53, 2**53, targets, 3, 2**53, payload))
    assert len(frame(b"\x91" + encoded)) <= 1 << 20
