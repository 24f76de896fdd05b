"""An engine without a world, and an example of everything that is said to it."""

from __future__ import annotations

from random import Random
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from covey.core.children import Ending
from covey.core.errors import CoveyError, Overloaded
from covey.core.ids import ClusterId, Contact, Site
from covey.core.vocabulary import (
    Cause,
    Channel,
    Liveness,
    MessagesReceived,
)
from covey.engine.engine import Engine, EngineConfig
from covey.protocols.groups.vocabulary import Kind
from covey.protocols.links.handshake import Identity
from covey.protocols.membership.vocabulary import SyncMessage
from covey.protocols.registry.rows import Restart
from covey.protocols.registry.strategies.delta import Delta
from covey.protocols.registry.strategies.strategy import SynchronizationStrategy
from covey.wire.messages.membership import Sync
from covey.wire.messages.overlay import Affirm
from covey.wire.messages.registry import WholeKnown
from covey.wire.messages.rows import OwnedOps

ME = Site(b"m" * 16)
PEER = Site(b"p" * 16)
FRIEND = Contact(PEER, 7, "peer:1")
OTHER = Contact(Site(b"o" * 16), 3, "other:1")

# What the types do not tell: a value of each annotation that stands in a fact or a command.
BY_ANNOTATION: dict[Any, Any] = {
    Site: PEER,
    Contact: FRIEND,
    ClusterId: ClusterId(b"d" * 16),
    Liveness: Liveness.SUSPECT,
    Channel: Channel.CONTROL,
    Cause: Cause.RESET,
    Kind: Kind.VALUE,
    Ending: Ending.RETURNED,
    Restart: Restart.PERMANENT,
    CoveyError: Overloaded("no room"),
    str: "peer:1",
    int: 1,
    bytes: b"bytes",
    bool: True,
    Exception: ValueError("why"),
    tuple[str, ...]: ("peer:1", "other:1"),
    msgspec.Raw: msgspec.Raw(b"\xc0"),
    SynchronizationStrategy: Delta(),
    SyncMessage: SyncMessage(ClusterId(b"c" * 16), PEER, 7, Sync(0, 0, 0, (), bytes(8), False)),
}
BY_FIELD: dict[str, Any] = {
    "message": Affirm(),
    "messages": (Affirm(), Affirm()),
    "values": (b"\xc0",),
    "operations": (OwnedOps(b"bytes", PEER, 7, 1, ((b"key", b"value"),), False),),
    "piece": WholeKnown(b"bytes", 1, 0, (), True),
    "function": "init_sync",
    "arguments": ((PEER,),),
}


def build(config: EngineConfig | None = None, logs: dict[str, dict[bytes, bytes]] | None = None) -> Engine:
    identity = Identity(ClusterId(b"c" * 16), ME, 1, b"b" * 16, b"secret")
    return Engine(config or EngineConfig(), identity, "me:1", Random(1), Random(2), 0, logs)


def example(kind: type[Any]) -> Any:
    """A fact, command or message of this type with plausible fields."""
    hints = get_type_hints(kind)
    return kind(*(BY_FIELD[name] if name in BY_FIELD else _value(hints[name]) for name in hints))


def _value(annotation: Any) -> Any:
    if annotation in BY_ANNOTATION:
        return BY_ANNOTATION[annotation]
    if get_origin(annotation) is tuple:
        return tuple(_value(part) for part in get_args(annotation) if part is not ...)
    if get_origin(annotation) in (Union, UnionType):
        return _value(get_args(annotation)[0])
    return example(annotation)


def frame(*messages: Any) -> MessagesReceived:
    return MessagesReceived(PEER, messages)
