"""The table of links: every connection, what it is for, and what waits for it. It decides nothing."""

from __future__ import annotations

from typing import Any

import msgspec

from covey.core.errors import invariant
from covey.core.ids import Contact, Life, Site
from covey.core.timers import Timers
from covey.core.vocabulary import Channel
from covey.protocols.links.config import LinksConfig
from covey.protocols.links.connection import Connection, Stage
from covey.protocols.links.handshake import Peer

Place = tuple[Site, Channel]

NODES = (Channel.CONTROL, Channel.DATA)  # the channels between nodes


class LinksStatistics(msgspec.Struct, frozen=True):
    """What is there now, and counts since the start."""

    links: int
    greeting: int
    dialling: int
    queued_bytes: int
    waiting_bytes: int
    frames_in: int
    frames_out: int
    bytes_in: int
    bytes_out: int
    messages_in: int
    messages_out: int
    messages_dropped: int
    unknown_messages: int
    refused: int
    violations: int


class Waiting:
    """Messages for a peer that is being dialled."""

    __slots__ = ("address", "bytes", "messages", "tries")

    def __init__(self, address: str) -> None:
        self.address = address
        self.messages: list[bytes] = []
        self.bytes = 0
        self.tries = 1

    def push(self, encoded: bytes, bytes_max: int) -> bool:
        """Put one encoded message behind the others; False where the bound is reached."""
        if self.bytes + len(encoded) > bytes_max:
            return False
        self.messages.append(encoded)
        self.bytes += len(encoded)
        return True


class Table:
    """Which connection is what.

    Invariants: `links[p]` is open and leads to `p`; every connection that is not open has a deadline; whoever waits is
    being dialled and has no link; clients dialled us; strangers, clients, waiting peers and what waits are bounded.
    """

    def __init__(self, config: LinksConfig) -> None:
        self._config = config
        self.connections: dict[int, Connection] = {}
        self.links: dict[Place, Connection] = {}
        self.dials: dict[Place, Connection] = {}
        self.searches: dict[str, Connection] = {}  # dials to an address whose site is not known yet
        self.waiting: dict[Place, Waiting] = {}
        self.pinned: dict[Site, None] = {}
        self.turn: dict[int, Connection] = {}  # those with something to write when the turn ends
        self.timers: Timers[tuple[Any, ...]] = Timers()
        self.counts = dict.fromkeys(LinksStatistics.__struct_fields__, 0)

    def strangers(self) -> list[Connection]:
        """Inbound connections that have not proved themselves, oldest first."""
        return [c for c in self.connections.values() if c.inbound and c.stage is not Stage.OPEN]

    def unpinned(self) -> list[Connection]:
        """The links that nobody asked to keep."""
        return [
            connection
            for (site, channel), connection in self.links.items()
            if channel is Channel.DATA or (channel is Channel.CONTROL and site not in self.pinned)
        ]

    def clients(self) -> list[Connection]:
        """The open connections of clients."""
        return [connection for (_, channel), connection in self.links.items() if channel is Channel.CLIENT]

    def newest(self, site: Site) -> Peer | None:
        """The latest life of the node `site` that any channel is linked to."""
        peers = [link.peer for channel in NODES if (link := self.links.get((site, channel))) is not None]
        return max((peer for peer in peers if peer is not None), key=lambda peer: peer.contact, default=None)

    def contact_at(self, address: str) -> Contact | None:
        """Who is linked to us on `control` and advertises `address`."""
        for (_, channel), connection in self.links.items():
            contact = connection.contact
            if channel is Channel.CONTROL and contact is not None and contact.address == address:
                return contact
        return None

    def lives(self) -> list[Life]:
        """The lives at the other end of the open control links, in the order in which they came up."""
        return [
            connection.contact.life
            for (_, channel), connection in self.links.items()
            if channel is Channel.CONTROL and connection.contact is not None
        ]

    def forget(self, connection: Connection) -> None:
        """Drop everything that belongs to one connection."""
        number = connection.number
        self.connections.pop(number, None)
        self.turn.pop(number, None)
        for timer in ("handshake", "alive", "congested"):
            self.timers.cancel((timer, number))
        if connection.contact is not None:
            place = (connection.contact.site, connection.channel)
            if self.links.get(place) is connection:
                del self.links[place]
        if connection.expected is not None:
            place = (connection.expected, connection.channel)
            if self.dials.get(place) is connection:
                del self.dials[place]
        if self.searches.get(connection.address) is connection:
            del self.searches[connection.address]

    def statistics(self) -> LinksStatistics:
        """The counts, and the sizes of what is there now."""
        counts = dict(self.counts)
        counts["links"] = len(self.links)
        counts["greeting"] = len(self.strangers())
        counts["dialling"] = len(self.dials) + len(self.searches)
        counts["queued_bytes"] = sum(connection.queued_bytes for connection in self.links.values())
        counts["waiting_bytes"] = sum(waiting.bytes for waiting in self.waiting.values())
        return LinksStatistics(**counts)

    def check(self) -> None:
        """Assert the invariants."""
        for place, connection in self.links.items():
            invariant(connection.stage is Stage.OPEN, "a link is an open connection")
            invariant(
                connection.contact is not None and connection.contact.site == place[0], "a link leads to its peer"
            )
            invariant(connection.channel == place[1], "a link is of its channel")
        for number, connection in self.connections.items():
            invariant(connection.number == number, "a connection is filed under its number")
            connection.check()
            if connection.stage is Stage.OPEN:
                invariant(("alive", number) in self.timers, "an open connection is watched")
            else:
                invariant(("handshake", number) in self.timers, "a connection that is not open has a deadline")
        invariant(len(self.strangers()) <= self._config.unauthenticated_max, "strangers are bounded")
        invariant(len(self.clients()) <= self._config.clients_max, "clients are bounded")
        invariant(all(connection.inbound for connection in self.clients()), "clients dialled us")
        invariant(len(self.waiting) <= self._config.waiting_peers_max, "waiting peers are bounded")
        for place, waiting in self.waiting.items():
            dialling = place in self.dials or ("crossing", *place) in self.timers
            invariant(dialling, "whoever waits is being dialled")
            invariant(place not in self.links, "nobody waits for a link that is up")
            invariant(waiting.bytes <= self._config.waiting_bytes_max, "what waits for a dial is bounded")
