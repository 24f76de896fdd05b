"""Membership machines that hear of each other only what is handed over."""

from __future__ import annotations

from typing import Any

import msgspec

from covey.protocols.membership.vocabulary import (
    GetData,
    ReceiveSync,
    SyncMessage,
)
from tests.protocols.membership.membership_net import (
    DURABLE,
    NEVER,
    Net,
    Node,
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
