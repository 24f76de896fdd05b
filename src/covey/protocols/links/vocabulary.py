"""What links and the world that carries bytes say to each other. A connection is named by an int the namer drew."""

from __future__ import annotations

import msgspec

from covey.core.ids import Site
from covey.core.vocabulary import Cause

# --- facts from the world -------------------------------------------------------------------------------------------


class ConnectionOpened(msgspec.Struct, frozen=True, gc=False):
    """The connection that `OpenConnection` asked for is there."""

    connection: int


class ConnectionAccepted(msgspec.Struct, frozen=True, gc=False):
    """A stranger connected to us. The world names these with negative numbers."""

    connection: int
    remote: str


class ConnectionFailed(msgspec.Struct, frozen=True, gc=False):
    """The connection that `OpenConnection` asked for cannot be made."""

    connection: int
    cause: Cause


class StrangerFailed(msgspec.Struct, frozen=True, gc=False):
    """A stranger connected to us and never became a connection: its TLS handshake failed."""

    remote: str
    cause: Cause


class BytesReceived(msgspec.Struct, frozen=True, gc=False):
    """A read, cut anywhere."""

    connection: int
    data: bytes


class ConnectionClosed(msgspec.Struct, frozen=True, gc=False):
    """The other side or the system ended the connection. Never said of one that we closed."""

    connection: int
    cause: Cause


class ConnectionPaused(msgspec.Struct, frozen=True, gc=False):
    """The world's write buffer for this connection is full."""

    connection: int


class ConnectionResumed(msgspec.Struct, frozen=True, gc=False):
    """The world's write buffer for this connection has room again."""

    connection: int


# --- commands -------------------------------------------------------------------------------------------------------


class CloseLinks(msgspec.Struct, frozen=True, gc=False):
    """Say goodbye to everybody; nothing is opened or accepted afterwards."""


# --- effects for the world ------------------------------------------------------------------------------------------


class OpenConnection(msgspec.Struct, frozen=True, gc=False):
    """Connect to `host:port`; answered by `ConnectionOpened` or `ConnectionFailed`."""

    connection: int
    address: str


class Write(msgspec.Struct, frozen=True, gc=False):
    """Whole frames for one connection."""

    connection: int
    data: bytes


class CloseConnection(msgspec.Struct, frozen=True, gc=False):
    """Close behind what was written. No fact about this connection may follow."""

    connection: int


# --- events ---------------------------------------------------------------------------------------------------------


class LinkRefused(msgspec.Struct, frozen=True, gc=False):
    """A handshake failed for a reason that somebody has to mend: another secret, cluster, version, or a cloned disk."""

    address: str  # the dialled address, or where the stranger came from
    inbound: bool
    cause: Cause
    detail: str
    refused_by_peer: bool
    site: Site | None = None
