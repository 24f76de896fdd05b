"""covey: masterless clustering for asyncio.

A handful of ordinary Python processes become one cluster that finds its members and keeps together without a leader.
Start with `Node`; README.md shows it in twelve lines.
"""

from covey.api.config import Config
from covey.api.events import (
    LinkRefused,
    Lost,
    Message,
    Neighbor,
    NeighborDown,
    NeighborUp,
    ProtocolViolation,
    Subscription,
)
from covey.api.node import Node, NodeStatistics
from covey.core.errors import (
    AuthenticationError,
    ClosedError,
    ClusterMismatch,
    ConfigError,
    CoveyError,
    DeadlineExceeded,
    DecodeError,
    Deposed,
    FrameError,
    InvariantError,
    JoinFailed,
    NameTaken,
    Overloaded,
    PeerError,
    PeerUnreachable,
    SiteConflict,
    StorageFailed,
    TypeMismatch,
    UnavailableError,
    UnknownName,
    UsageError,
    ValueTooLarge,
    VersionMismatch,
)
from covey.core.ids import Site

__version__ = "0.1.0.dev0"

__all__ = [
    "AuthenticationError",
    "ClosedError",
    "ClusterMismatch",
    "Config",
    "ConfigError",
    "CoveyError",
    "DeadlineExceeded",
    "DecodeError",
    "Deposed",
    "FrameError",
    "InvariantError",
    "JoinFailed",
    "LinkRefused",
    "Lost",
    "Message",
    "NameTaken",
    "Neighbor",
    "NeighborDown",
    "NeighborUp",
    "Node",
    "NodeStatistics",
    "Overloaded",
    "PeerError",
    "PeerUnreachable",
    "ProtocolViolation",
    "Site",
    "SiteConflict",
    "StorageFailed",
    "Subscription",
    "TypeMismatch",
    "UnavailableError",
    "UnknownName",
    "UsageError",
    "ValueTooLarge",
    "VersionMismatch",
]
