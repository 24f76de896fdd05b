"""Members of one group on several nodes, for tests."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import Any

import covey
from covey.protocols.groups.vocabulary import Letter
from covey.testing import Cluster
from covey.wire.payloads import decode_payload
from tests.api.together import together
from tests.testing.virtual import until

KEY = ("document", "doc-123")
Address = tuple[covey.Site, int, int]


@contextlib.asynccontextmanager
async def joined(cluster: Cluster, count: int, **options: Any) -> AsyncIterator[list[covey.Mailbox]]:
    """One member of the group KEY on each of so many nodes, once all see each other."""
    nodes = await together(cluster, count)
    async with contextlib.AsyncExitStack() as stack:
        boxes = [await stack.enter_async_context(node.group(KEY).join(**options)) for node in nodes]
        await until(lambda: all(box.group.member_count() == count for box in boxes))
        yield boxes


def counted(members: Iterable[covey.GroupMember]) -> Counter[Address]:
    """Who is a member how often."""
    return Counter(member.address for member in members)


def held(*boxes: covey.Mailbox) -> Counter[Address]:
    """What a group looks like that has these members."""
    return Counter(box.member.address for box in boxes)


async def take(box: covey.Mailbox, count: int, seconds: float = 10.0) -> list[Any]:
    """The next messages of a mailbox: payloads, and `Lost` as it is."""
    found: list[Any] = []
    async with asyncio.timeout(seconds):
        while len(found) < count:
            message = await anext(box)
            found.append(message if isinstance(message, covey.Lost) else message.payload)
    return found


def unread(box: covey.Mailbox) -> list[Any]:
    """What waits in a mailbox."""
    found: list[Any] = []
    for message in box._queue:
        if isinstance(message, Letter):
            found.append(decode_payload(message.payload))
        else:
            found.append(message if isinstance(message, covey.Lost) else message.payload)
    return found


def seen_by(box: covey.Mailbox, other: covey.Mailbox) -> covey.GroupMember:
    """`other` as a member that `box` sees."""
    (found,) = [member for member in box.peers() if member == other.member]
    return found


async def alone_is(group: covey.Group, me: covey.Mailbox, meta: Any) -> None:
    """Wait until exactly `me` is in the group, and says so."""
    await until(lambda: [(m.address, m.meta) for m in group.members()] == [(me.member.address, meta)])
