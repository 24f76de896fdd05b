"""Links: which connection carries messages to which peer.

A machine says `Send(to, message)`; the world only moves bytes. Between them stands this machine: it dials, proves and
is proved to, decides between crossing connections, gathers a turn's messages into one frame, notices who went silent or
reads too slowly, and keeps the number of open connections bounded. DESIGN 3.1 gives the rules; it lists no machine for
them, but both worlds need exactly the same ones, so they live here and are simulated like everything else.

Crossing dials. Both nodes dial at once and two connections would do the work of one. The one dialled by the lower site
stays, and it is decided before either is up: a lower site that has sent its own proof refuses the other's connection
(`CROSSING`); one that has not, lets the other in and gives up its own. So at no time do both exist, and order on a link
is never broken. Who was refused waits `crossing_us_wait` for the other's dial and then tries once more.
A peer that dials although we still hold a link to it has lost its end: the new connection replaces the old.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, assert_never

import msgspec

from covey.core.errors import DecodeError, FrameError, invariant
from covey.core.ids import Contact, Life, Site
from covey.core.timers import Timers
from covey.core.vocabulary import (
    AddressAnswered,
    AddressFailed,
    AddressLearned,
    Cause,
    Channel,
    ClusterChanged,
    ClusterEntered,
    Dial,
    Disconnect,
    Emit,
    MessagesReceived,
    Multicast,
    PeerCongested,
    PeerConnected,
    PeerDrained,
    PeerLost,
    PeerUnreached,
    Pin,
    ProtocolViolation,
    Send,
    SendMany,
    Tick,
    Unpin,
)
from covey.protocols.links.config import LinksConfig
from covey.protocols.links.connection import Connection, Stage
from covey.protocols.links.handshake import (
    ACCEPTED,
    Acceptor,
    Dialler,
    HandshakeFailed,
    Identity,
    Peer,
    refusal,
)
from covey.protocols.links.vocabulary import (
    BytesReceived,
    CloseConnection,
    CloseLinks,
    ConnectionAccepted,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionOpened,
    ConnectionPaused,
    ConnectionResumed,
    LinkRefused,
    OpenConnection,
    StrangerFailed,
    TurnEnded,
    WantTurn,
    Write,
)
from covey.wire import codec
from covey.wire.framing import frame
from covey.wire.limits import FRAME_AIM_BYTES, FRAME_BYTES_MAX
from covey.wire.messages.links import Goodbye, KeepAlive

Effect = Any
Place = tuple[Site, Channel]

# Somebody has to mend these; the rest are the world's ordinary troubles.
TOLD = frozenset(
    {Cause.VERSION, Cause.CLUSTER, Cause.SECRET, Cause.SITE_CONFLICT, Cause.FRAME, Cause.DECODE, Cause.VIOLATION,
     Cause.TLS}
)  # fmt: skip

_KEEPALIVE = codec.encode_message(KeepAlive())
_RESUME_BYTES_MAX = 4 * FRAME_AIM_BYTES  # what a drained connection is given at once


class LinksStatistics(msgspec.Struct, frozen=True):
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


class Links:
    """At most one proved connection per peer and channel, each in order, all of it bounded.

    Invariants: `links[p].stage == OPEN` and names `p`; every connection that is not open has a deadline; strangers
    `<= unauthenticated_max`; `waiting[p]` implies a dial to `p` or a crossing timer; queues within their bounds.
    """

    def __init__(self, config: LinksConfig, rng: Random, now_us: int, *, identity: Identity, address: str = "") -> None:
        self._config = config
        self._rng = rng
        self._identity = identity
        self._address = address
        self._connections: dict[int, Connection] = {}
        self._links: dict[Place, Connection] = {}
        self._dials: dict[Place, Connection] = {}
        self._searches: dict[str, Connection] = {}  # dials to an address whose site is not known yet
        self._waiting: dict[Place, Waiting] = {}
        self._pinned: dict[Site, None] = {}
        self._timers: Timers[tuple[Any, ...]] = Timers()
        self._turn: dict[int, Connection] = {}  # those with something to write when the turn ends
        self._closing = False
        self._next = 1
        self._counts = dict.fromkeys(LinksStatistics.__struct_fields__, 0)
        self._handlers: dict[type, Callable[[Any, int], list[Effect]]] = {
            BytesReceived: self._on_bytes,
            Send: self._on_send,
            SendMany: self._on_send_many,
            Multicast: self._on_multicast,
            TurnEnded: self._on_turn_ended,
            Tick: self._on_tick,
            ConnectionPaused: self._on_paused,
            ConnectionResumed: self._on_resumed,
            ConnectionOpened: self._on_opened,
            ConnectionAccepted: self._on_accepted,
            ConnectionFailed: self._on_failed,
            StrangerFailed: self._on_stranger_failed,
            ConnectionClosed: self._on_closed,
            Dial: self._on_dial,
            Disconnect: self._on_disconnect,
            Pin: self._on_pin,
            Unpin: self._on_unpin,
            AddressLearned: self._on_address,
            CloseLinks: self._on_close,
            ClusterChanged: self._on_cluster_changed,
            MessagesReceived: self._on_stray,
        }

    # --- the machine's door -----------------------------------------------------------------------------------------

    def handle(self, incoming: Any, now_us: int) -> list[Effect]:
        return self._handlers[type(incoming)](incoming, now_us)

    def deadline(self) -> int | None:
        return self._timers.deadline()

    def check(self) -> None:
        for place, connection in self._links.items():
            invariant(connection.stage is Stage.OPEN, "a link is an open connection")
            invariant(
                connection.contact is not None and connection.contact.site == place[0], "a link leads to its peer"
            )
            invariant(connection.channel == place[1], "a link is of its channel")
        for number, connection in self._connections.items():
            invariant(connection.number == number, "a connection is filed under its number")
            connection.check()
            if connection.stage is Stage.OPEN:
                invariant(("alive", number) in self._timers, "an open connection is watched")
            else:
                invariant(("handshake", number) in self._timers, "a connection that is not open has a deadline")
        invariant(len(self._strangers()) <= self._config.unauthenticated_max, "strangers are bounded")
        invariant(len(self._waiting) <= self._config.waiting_peers_max, "waiting peers are bounded")
        for place, waiting in self._waiting.items():
            dialling = place in self._dials or ("crossing", *place) in self._timers
            invariant(dialling, "whoever waits is being dialled")
            invariant(place not in self._links, "nobody waits for a link that is up")
            invariant(waiting.bytes <= self._config.waiting_bytes_max, "what waits for a dial is bounded")

    def statistics(self) -> LinksStatistics:
        counts = dict(self._counts)
        counts["links"] = len(self._links)
        counts["greeting"] = len(self._strangers())
        counts["dialling"] = len(self._dials) + len(self._searches)
        counts["queued_bytes"] = sum(connection.queued_bytes for connection in self._links.values())
        counts["waiting_bytes"] = sum(waiting.bytes for waiting in self._waiting.values())
        return LinksStatistics(**counts)

    # --- queries ----------------------------------------------------------------------------------------------------

    def contact(self, site: Site, channel: Channel = Channel.CONTROL) -> Contact | None:
        """The peer at the other end of the link to `site`, if there is one."""
        connection = self._links.get((site, channel))
        return None if connection is None else connection.contact

    def linked(self, site: Site, channel: Channel) -> bool:
        return (site, channel) in self._links

    def congested(self, site: Site, channel: Channel) -> bool:
        connection = self._links.get((site, channel))
        return connection is not None and connection.paused

    def idle(self) -> bool:
        """True when nothing waits to be written."""
        return not self._turn and not any(connection.queue for connection in self._links.values())

    # --- sending ----------------------------------------------------------------------------------------------------

    def _on_send(self, send: Send, now_us: int) -> list[Effect]:
        encoded = codec.encode_message(send.message)
        place = (send.to, send.channel)
        connection = self._links.get(place)
        if connection is not None:
            return self._push(connection, encoded, 1, now_us)
        if send.to == self._identity.site:
            self._counts["messages_dropped"] += 1
            return [PeerUnreached(send.to, send.channel, Cause.SELF)]
        waiting = self._waiting.get(place)
        if waiting is not None:
            return self._wait(place, waiting, encoded)
        if not send.address or self._closing:
            self._counts["messages_dropped"] += 1
            return [PeerUnreached(send.to, send.channel, Cause.NO_ADDRESS)]
        if len(self._waiting) >= self._config.waiting_peers_max:
            self._counts["messages_dropped"] += 1
            return [PeerUnreached(send.to, send.channel, Cause.BUSY)]
        waiting = self._waiting[place] = Waiting(send.address)
        effects = self._wait(place, waiting, encoded)
        if place not in self._dials:
            effects += self._dial(send.address, send.channel, send.to, now_us)
        return effects

    def _on_send_many(self, send: SendMany, now_us: int) -> list[Effect]:
        connection = self._links.get((send.to, send.channel))
        if connection is None:
            self._counts["messages_dropped"] += len(send.messages)
            return [PeerUnreached(send.to, send.channel, Cause.NO_ADDRESS)]
        return self._push(connection, codec.encode_messages(send.messages), len(send.messages), now_us)

    def _wait(self, place: Place, waiting: Waiting, encoded: bytes) -> list[Effect]:
        if waiting.bytes + len(encoded) > self._config.waiting_bytes_max and waiting.messages:
            self._counts["messages_dropped"] += 1
            return [PeerUnreached(*place, Cause.BUSY)]
        waiting.messages.append(encoded)
        waiting.bytes += len(encoded)
        return []

    def _on_multicast(self, multicast: Multicast, now_us: int) -> list[Effect]:
        encoded = codec.encode_message(multicast.message)
        effects: list[Effect] = []
        for site in multicast.to:
            connection = self._links.get((site, multicast.channel))
            if connection is not None:
                effects += self._push(connection, encoded, 1, now_us)
        return effects

    def _push(self, connection: Connection, encoded: bytes, count: int, now_us: int) -> list[Effect]:
        connection.push(encoded, count)
        if connection.paused:
            if connection.queued_bytes > self._config.queue_bytes_max:
                return self._drop(connection, Cause.SLOW, "its queue is full", now_us)
            return []
        if connection.queued_bytes >= FRAME_AIM_BYTES:
            return [self._write(connection, now_us, FRAME_AIM_BYTES)]
        if self._turn:
            self._turn[connection.number] = connection
            return []
        self._turn[connection.number] = connection
        return [WantTurn()]

    def _on_turn_ended(self, _: TurnEnded, now_us: int) -> list[Effect]:
        turn, self._turn = self._turn, {}
        effects: list[Effect] = []
        for connection in turn.values():
            if connection.queue and not connection.paused and connection.number in self._connections:
                effects.append(self._write(connection, now_us, _RESUME_BYTES_MAX))
                if connection.queue:
                    self._turn[connection.number] = connection
        if self._turn:
            effects.append(WantTurn())
        return effects

    def _write(self, connection: Connection, now_us: int, bytes_max: int) -> Write:
        counts = self._counts
        before = connection.queued_messages
        data = connection.take(bytes_max)
        connection.said_us = connection.used_us = now_us
        counts["frames_out"] += 1
        counts["bytes_out"] += len(data)
        counts["messages_out"] += before - connection.queued_messages
        return Write(connection.number, data)

    def _on_paused(self, fact: ConnectionPaused, now_us: int) -> list[Effect]:
        connection = self._connections.get(fact.connection)
        if connection is None or connection.paused:
            return []
        connection.paused = True
        self._timers.set(("congested", connection.number), now_us + self._config.congested_us_max)
        if connection.contact is None or connection.stage is not Stage.OPEN:
            return []
        return [PeerCongested(connection.contact.site, connection.channel)]

    def _on_resumed(self, fact: ConnectionResumed, now_us: int) -> list[Effect]:
        connection = self._connections.get(fact.connection)
        if connection is None or not connection.paused:
            return []
        connection.paused = False
        self._timers.cancel(("congested", connection.number))
        effects: list[Effect] = []
        if connection.queue:
            if not self._turn:
                effects.append(WantTurn())
            self._turn[connection.number] = connection
        if connection.contact is not None and connection.stage is Stage.OPEN:
            effects.append(PeerDrained(connection.contact.site, connection.channel))
        return effects

    # --- receiving --------------------------------------------------------------------------------------------------

    def _on_bytes(self, fact: BytesReceived, now_us: int) -> list[Effect]:
        connection = self._connections.get(fact.connection)
        if connection is None:
            return []
        counts = self._counts
        counts["bytes_in"] += len(fact.data)
        connection.heard_us = now_us
        effects: list[Effect] = []
        try:
            bodies = connection.splitter.feed(fact.data)
        except FrameError as error:
            return self._violation(connection, Cause.FRAME, str(error), now_us)
        for body in bodies:
            if connection.stage is not Stage.OPEN:
                effects += self._greet(connection, body, now_us)
                if connection.number not in self._connections:
                    break
                continue
            counts["frames_in"] += 1
            try:
                messages, unknown = codec.decode_body(body)
            except DecodeError as error:
                effects += self._violation(connection, Cause.DECODE, str(error), now_us)
                break
            counts["messages_in"] += len(messages)
            counts["unknown_messages"] += unknown
            kind = type(messages[0]) if messages else KeepAlive
            if kind is KeepAlive or kind is Goodbye:
                effects += self._on_link_messages(connection, messages, now_us)
            elif messages:
                connection.used_us = now_us
                assert connection.contact is not None
                effects.append(MessagesReceived(connection.contact.site, messages))
            if connection.number not in self._connections:
                break
        return effects

    def _on_link_messages(self, connection: Connection, messages: list[Any], now_us: int) -> list[Effect]:
        """`KeepAlive` and `Goodbye` stand first in their frame; what follows them there is for others."""
        effects: list[Effect] = []
        rest = [message for message in messages if type(message) is not KeepAlive and type(message) is not Goodbye]
        if rest:
            assert connection.contact is not None
            effects.append(MessagesReceived(connection.contact.site, rest))
        for message in messages:
            if type(message) is Goodbye:
                cause = Cause(message.cause) if message.cause in Cause._value2member_map_ else Cause.GOODBYE
                effects.append(CloseConnection(connection.number))
                return effects + self._forget(connection, cause)
        return effects

    def _on_stray(self, _: MessagesReceived, now_us: int) -> list[Effect]:
        """A `KeepAlive` or `Goodbye` behind other messages in its frame: we never write that, and it means nothing."""
        return []

    # --- handshakes -------------------------------------------------------------------------------------------------

    def _on_dial(self, dial: Dial, now_us: int) -> list[Effect]:
        if self._closing or dial.address in self._searches:
            return []
        for (_, channel), connection in self._links.items():
            if channel is Channel.CONTROL and connection.contact and connection.contact.address == dial.address:
                return [AddressAnswered(dial.address, connection.contact)]
        return self._dial(dial.address, Channel.CONTROL, None, now_us)

    def _dial(self, address: str, channel: Channel, expected: Site | None, now_us: int) -> list[Effect]:
        connection = Connection(self._next, address, channel, expected, False, now_us)
        self._next += 1
        self._connections[connection.number] = connection
        self._timers.set(("handshake", connection.number), now_us + self._config.connect_us_max)
        if expected is None:
            self._searches[address] = connection
        else:
            self._dials[expected, channel] = connection
        return [OpenConnection(connection.number, address)]

    def _on_opened(self, fact: ConnectionOpened, now_us: int) -> list[Effect]:
        connection = self._connections.get(fact.connection)
        if connection is None or connection.stage is not Stage.CONNECTING:
            return []
        connection.stage = Stage.GREETING
        connection.dialler = Dialler(self._identity, self._address, connection.channel, self._rng)
        return [Write(connection.number, frame(connection.dialler.opening()))]

    def _on_accepted(self, fact: ConnectionAccepted, now_us: int) -> list[Effect]:
        if self._closing:
            return [CloseConnection(fact.connection)]
        effects: list[Effect] = []
        strangers = self._strangers()
        if len(strangers) >= self._config.unauthenticated_max:
            effects += self._drop(strangers[0], Cause.BUSY, "too many strangers at once", now_us)
        connection = Connection(fact.connection, fact.remote, Channel.CONTROL, None, True, now_us)
        connection.acceptor = Acceptor(self._identity, self._address, self._rng)
        self._connections[connection.number] = connection
        self._timers.set(("handshake", connection.number), now_us + self._config.handshake_us_max)
        return effects

    def _greet(self, connection: Connection, body: bytes, now_us: int) -> list[Effect]:
        side = connection.dialler or connection.acceptor
        if side is None:
            return self._drop(connection, Cause.VIOLATION, "it spoke before it was connected", now_us)
        proved_before = side.peer is not None
        try:
            answers = side.receive(body)
        except HandshakeFailed as failure:
            return self._refused(connection, failure, now_us)
        effects: list[Effect] = []
        if answers:
            effects.append(Write(connection.number, b"".join(map(frame, answers))))
        if side.peer is not None and not proved_before:
            effects += self._on_proved(connection, side.peer, now_us)
        elif connection.dialler is not None and connection.dialler.accepted and side.peer is not None:
            effects += self._open(connection, side.peer, now_us)
        return effects

    def _on_proved(self, connection: Connection, peer: Peer, now_us: int) -> list[Effect]:
        """The other side proved the secret. Is it wanted?"""
        if connection.dialler is None:
            return self._admit(connection, peer, now_us)
        site = peer.contact.site
        if site == self._identity.site:
            cause = Cause.SELF if peer.boot == self._identity.boot else Cause.SITE_CONFLICT
            answered = [AddressAnswered(connection.address, peer.contact)] if cause is Cause.SELF else []
            return answered + self._give_up(connection, cause, now_us)
        if connection.expected is not None and connection.expected != site:
            return self._give_up(connection, Cause.OTHER_SITE, now_us)
        place = (site, connection.channel)
        effects: list[Effect] = []
        if connection.expected is None:
            effects.append(AddressAnswered(connection.address, peer.contact))
        link = self._links.get(place)
        rival = self._dials.get(place)
        if link is not None and link.contact is not None and link.contact.incarnation >= peer.contact.incarnation:
            return effects + self._give_up(connection, Cause.REPLACED, now_us)
        if rival is not None and rival is not connection:
            if rival.stage is Stage.PROVED:
                return effects + self._give_up(connection, Cause.REPLACED, now_us)
            self._forget_connection(rival)
            effects.append(CloseConnection(rival.number))
        if connection.expected is None:
            self._searches.pop(connection.address, None)
            connection.expected = site
        self._dials[place] = connection
        connection.stage = Stage.PROVED
        connection.splitter.limit = FRAME_BYTES_MAX  # behind its Accepted, a proved acceptor may speak at length
        effects.append(Write(connection.number, frame(connection.dialler.proof())))
        return effects

    def _admit(self, connection: Connection, peer: Peer, now_us: int) -> list[Effect]:
        """We accepted a connection and its dialler proved the secret."""
        me = self._identity
        site = peer.contact.site
        place = (site, peer.channel)
        if site == me.site:
            cause = Cause.SELF if peer.boot == me.boot else Cause.SITE_CONFLICT
            return self._refuse(connection, cause, _CONFLICT, now_us, peer.contact)
        link = self._links.get(place) or self._links.get((site, Channel.CONTROL))
        if link is not None and link.peer is not None and _contradicts(peer, link.peer):
            return self._refuse(connection, Cause.SITE_CONFLICT, _CONFLICT, now_us, peer.contact)
        rival = self._dials.get(place)
        effects: list[Effect] = []
        if rival is not None:
            if me.site < site and rival.stage is Stage.PROVED:
                return self._refuse(connection, Cause.CROSSING, "my own dial to you goes first", now_us, peer.contact)
            if rival.stage is not Stage.PROVED:
                self._forget_connection(rival)
                effects.append(CloseConnection(rival.number))
        effects.append(Write(connection.number, frame(ACCEPTED)))
        return effects + self._open(connection, peer, now_us)

    def _open(self, connection: Connection, peer: Peer, now_us: int) -> list[Effect]:
        """Both sides agreed: this is the link now."""
        effects: list[Effect] = []
        site = peer.contact.site
        place = (site, peer.channel)
        for channel in Channel:
            old = self._links.get((site, channel))
            if old is None or old.contact is None:
                continue
            if channel is peer.channel or old.contact.incarnation < peer.contact.incarnation:
                effects += [*self._forget(old, Cause.REPLACED), CloseConnection(old.number)]
        if self._dials.get(place) is connection:
            del self._dials[place]
        self._timers.cancel(("handshake", connection.number))
        self._timers.cancel(("crossing", *place))
        self._timers.set(("alive", connection.number), now_us + self._config.keepalive_us)
        connection.open(peer, now_us)
        self._links[place] = connection
        effects.append(PeerConnected(peer.contact, peer.channel))
        waiting = self._waiting.pop(place, None)
        if waiting is not None:
            for encoded in waiting.messages:
                effects += self._push(connection, encoded, 1, now_us)
        return effects + self._shed(now_us)

    def _shed(self, now_us: int) -> list[Effect]:
        """Close the least recently used of the links that nobody pinned, above the bound."""
        effects: list[Effect] = []
        unpinned = [
            connection
            for (site, channel), connection in self._links.items()
            if channel is Channel.DATA or site not in self._pinned
        ]
        if len(unpinned) > self._config.unpinned_max:
            oldest = min(unpinned, key=lambda connection: connection.used_us)
            effects += self._drop(oldest, Cause.IDLE, "others need the room", now_us)
        return effects

    # --- endings ----------------------------------------------------------------------------------------------------

    def _refused(self, connection: Connection, failure: HandshakeFailed, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        if failure.cause is Cause.CROSSING and connection.expected is not None:
            return self._on_crossing(connection, now_us)
        if not failure.by_peer:
            effects.append(Write(connection.number, frame(refusal(failure.cause, failure.detail))))
        effects += self._tell_refused(connection, failure.cause, failure.detail, failure.by_peer, None)
        return effects + self._end_unopened(connection, failure.cause, now_us)

    def _refuse(self, connection: Connection, cause: Cause, detail: str, now_us: int, contact: Contact) -> list[Effect]:
        effects: list[Effect] = [Write(connection.number, frame(refusal(cause, detail)))]
        effects += self._tell_refused(connection, cause, detail, False, contact.site)
        return effects + self._end_unopened(connection, cause, now_us)

    def _tell_refused(
        self, connection: Connection, cause: Cause, detail: str, by_peer: bool, site: Site | None
    ) -> list[Effect]:
        self._counts["refused"] += 1
        if cause not in TOLD:
            return []
        return [Emit(LinkRefused(connection.address, connection.inbound, cause, detail, by_peer, site))]

    def _give_up(self, connection: Connection, cause: Cause, now_us: int) -> list[Effect]:
        """Our own dial is not wanted any more; close it before our proof is sent."""
        effects: list[Effect] = []
        if cause in TOLD:
            effects += self._tell_refused(connection, cause, _CONFLICT, False, None)
        answered = cause in (Cause.SELF, Cause.REPLACED)
        return effects + self._end_unopened(connection, cause, now_us, quiet=answered and connection.expected is None)

    def _end_unopened(
        self, connection: Connection, cause: Cause, now_us: int, quiet: bool = False, close: bool = True
    ) -> list[Effect]:
        """End a connection that never became a link, and what waited for it."""
        self._forget_connection(connection)
        effects: list[Effect] = [CloseConnection(connection.number)] if close else []
        if connection.inbound:
            return effects
        if connection.expected is None:
            return effects if quiet else [*effects, AddressFailed(connection.address, cause)]
        place = (connection.expected, connection.channel)
        if place not in self._links and place not in self._dials:
            effects += self._abandon(place, cause)
        return effects

    def _abandon(self, place: Place, cause: Cause) -> list[Effect]:
        waiting = self._waiting.pop(place, None)
        self._timers.cancel(("crossing", *place))
        if waiting is not None:
            self._counts["messages_dropped"] += len(waiting.messages)
            return [PeerUnreached(*place, cause)]
        return []

    def _on_crossing(self, connection: Connection, now_us: int) -> list[Effect]:
        """The lower site's own dial goes first: wait for it, holding what waits."""
        assert connection.expected is not None
        place = (connection.expected, connection.channel)
        self._forget_connection(connection)
        if place in self._waiting:
            self._timers.set(("crossing", *place), now_us + self._config.crossing_us_wait)
        return [CloseConnection(connection.number)]

    def _on_failed(self, fact: ConnectionFailed, now_us: int) -> list[Effect]:
        connection = self._connections.get(fact.connection)
        if connection is None:
            return []
        effects: list[Effect] = []
        if fact.cause in TOLD:
            effects += self._tell_refused(connection, fact.cause, _NO_TLS, False, None)
        return effects + self._end_unopened(connection, fact.cause, now_us, close=False)

    def _on_stranger_failed(self, fact: StrangerFailed, now_us: int) -> list[Effect]:
        self._counts["refused"] += 1
        return [Emit(LinkRefused(fact.remote, True, fact.cause, _NO_TLS, False, None))] if fact.cause in TOLD else []

    def _on_closed(self, fact: ConnectionClosed, now_us: int) -> list[Effect]:
        connection = self._connections.get(fact.connection)
        if connection is None:
            return []
        if connection.stage is Stage.OPEN:
            return self._forget(connection, fact.cause)
        return self._end_unopened(connection, fact.cause, now_us, close=False)

    def _violation(self, connection: Connection, cause: Cause, detail: str, now_us: int) -> list[Effect]:
        """The peer sent what no peer may send."""
        self._counts["violations"] += 1
        if connection.contact is None or connection.stage is not Stage.OPEN:
            return self._refused(connection, HandshakeFailed(cause, detail), now_us)
        site = connection.contact.site
        return [Emit(ProtocolViolation(site, cause, detail)), *self._drop(connection, cause, detail, now_us)]

    def _drop(self, connection: Connection, cause: Cause, detail: str, now_us: int) -> list[Effect]:
        """End a connection from our side, saying why if there is anybody to say it to."""
        if connection.stage is not Stage.OPEN:
            return self._end_unopened(connection, cause, now_us)
        farewell = codec.join_body([codec.encode_message(Goodbye(cause, detail[:300]))])
        effects: list[Effect] = []
        if not connection.paused:
            if connection.queue:
                effects.append(self._write(connection, now_us, self._config.queue_bytes_max))
            effects.append(Write(connection.number, frame(farewell)))
        effects.append(CloseConnection(connection.number))
        return effects + self._forget(connection, cause)

    def _forget(self, connection: Connection, cause: Cause) -> list[Effect]:
        """An open link is gone."""
        self._forget_connection(connection)
        contact = connection.contact
        assert contact is not None
        self._counts["messages_dropped"] += connection.queued_messages
        return [PeerLost(contact, connection.channel, cause)]

    def _forget_connection(self, connection: Connection) -> None:
        """Drop everything that belongs to one connection."""
        number = connection.number
        self._connections.pop(number, None)
        self._turn.pop(number, None)
        for timer in ("handshake", "alive", "congested"):
            self._timers.cancel((timer, number))
        if connection.contact is not None:
            place = (connection.contact.site, connection.channel)
            if self._links.get(place) is connection:
                del self._links[place]
        if connection.expected is not None:
            place = (connection.expected, connection.channel)
            if self._dials.get(place) is connection:
                del self._dials[place]
        if self._searches.get(connection.address) is connection:
            del self._searches[connection.address]

    # --- commands and timers ----------------------------------------------------------------------------------------

    def _on_disconnect(self, command: Disconnect, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        for channel in Channel:
            connection = self._links.get((command.site, channel))
            if connection is not None:
                effects += self._drop(connection, command.cause, command.detail, now_us)
        return effects

    def _on_pin(self, pin: Pin, now_us: int) -> list[Effect]:
        self._pinned[pin.site] = None
        return []

    def _on_unpin(self, unpin: Unpin, now_us: int) -> list[Effect]:
        self._pinned.pop(unpin.site, None)
        return []

    def _on_address(self, fact: AddressLearned, now_us: int) -> list[Effect]:
        self._address = fact.address
        return []

    def _on_cluster_changed(self, fact: ClusterChanged, now_us: int) -> list[Effect]:
        """We are somebody else's now: nobody of the old cluster may take us for what we were."""
        effects: list[Effect] = []
        for connection in list(self._connections.values()):
            effects += self._drop(connection, Cause.GOODBYE, "going to another cluster", now_us)
        for place in list(self._waiting):
            effects += self._abandon(place, Cause.GOODBYE)
        self._identity = msgspec.structs.replace(
            self._identity, cluster=fact.cluster, incarnation=fact.incarnation, boot=self._rng.randbytes(16)
        )
        effects.append(ClusterEntered(fact.cluster))
        return effects

    def _on_close(self, _: CloseLinks, now_us: int) -> list[Effect]:
        self._closing = True
        effects: list[Effect] = []
        for connection in list(self._connections.values()):
            effects += self._drop(connection, Cause.GOODBYE, "closing", now_us)
        for place in list(self._waiting):
            effects += self._abandon(place, Cause.GOODBYE)
        return effects

    def _on_tick(self, _: Tick, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        for what, *which in self._timers.pop_due(now_us):
            match what:
                case "alive":
                    effects += self._watch(self._connections[which[0]], now_us)
                case "handshake":
                    effects += self._drop(self._connections[which[0]], Cause.TIMEOUT, "too slow", now_us)
                case "congested":
                    effects += self._drop(self._connections[which[0]], Cause.SLOW, "it does not read", now_us)
                case "crossing":
                    effects += self._retry(which[0], which[1], now_us)
                case _:
                    assert_never(what)
        return effects

    def _watch(self, connection: Connection, now_us: int) -> list[Effect]:
        """Is the other side still there, does it know that we are, and does anybody need this link?"""
        config = self._config
        assert connection.contact is not None
        if now_us - connection.heard_us >= config.silence_us_max:
            return self._drop(connection, Cause.SILENT, "nothing was heard from you", now_us)
        pinned = connection.channel is Channel.CONTROL and connection.contact.site in self._pinned
        if not pinned and now_us - connection.used_us >= config.idle_us_max:
            return self._drop(connection, Cause.IDLE, "nobody uses this link", now_us)
        effects: list[Effect] = []
        if now_us - connection.said_us >= config.keepalive_us and not connection.paused and not connection.queue:
            connection.said_us = now_us
            data = frame(codec.join_body([_KEEPALIVE]))
            self._counts["frames_out"] += 1
            self._counts["bytes_out"] += len(data)
            effects.append(Write(connection.number, data))
        due = min(connection.said_us + config.keepalive_us, connection.heard_us + config.silence_us_max)
        if not pinned:
            due = min(due, connection.used_us + config.idle_us_max)
        self._timers.set(("alive", connection.number), max(due, now_us + config.keepalive_us // 10))
        return effects

    def _retry(self, site: Site, channel: Channel, now_us: int) -> list[Effect]:
        """The lower site's dial did not come. Try ours once more."""
        waiting = self._waiting.get((site, channel))
        if waiting is None:
            return []
        if waiting.tries > 1:
            return self._abandon((site, channel), Cause.CROSSING)
        waiting.tries += 1
        return self._dial(waiting.address, channel, site, now_us)

    def _strangers(self) -> list[Connection]:
        return [c for c in self._connections.values() if c.inbound and c.stage is not Stage.OPEN]

    def links(self) -> list[Life]:
        """The lives at the other end of the open control links, in the order they came up."""
        return [
            connection.contact.life
            for (_, channel), connection in self._links.items()
            if channel is Channel.CONTROL and connection.contact is not None
        ]


def _contradicts(peer: Peer, linked: Peer) -> bool:
    """Whether `peer` cannot be what became of `linked`: an older life, or a second process in the same one."""
    if peer.contact.incarnation == linked.contact.incarnation:
        return peer.boot != linked.boot
    return peer.contact.incarnation < linked.contact.incarnation


_CONFLICT = (
    "two processes claim one life of one site, or an older life came back: a copied disk or identity; "
    "stop one of them, or give it storage of its own"
)
_NO_TLS = "no TLS session: one side speaks TLS and the other does not, or their certificates have different authorities"
