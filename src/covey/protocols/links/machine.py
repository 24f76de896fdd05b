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

Clients prove the secret like nodes and are none: we never dial one, it may only ask, it takes no link's place whatever
site it names, and it stays when we go from one cluster to another, for it may be what asked us to.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, assert_never

import msgspec

from covey.core import vocabulary as v
from covey.core.errors import DecodeError, FrameError
from covey.core.ids import Contact, Life, Site
from covey.core.vocabulary import Cause, Channel
from covey.protocols.links import vocabulary as link
from covey.protocols.links.config import LinksConfig
from covey.protocols.links.connection import Connection, Stage
from covey.protocols.links.endings import Endings
from covey.protocols.links.handshake import (
    ACCEPTED,
    Acceptor,
    Dialler,
    HandshakeFailed,
    Identity,
    Peer,
)
from covey.protocols.links.judgement import CONFLICT, contests, contradicts, left_over
from covey.protocols.links.table import NODES, LinksStatistics, Place, Table, Waiting
from covey.protocols.links.writer import Writer
from covey.wire import codec
from covey.wire.framing import frame
from covey.wire.limits import FRAME_AIM_BYTES, FRAME_BYTES_MAX
from covey.wire.messages.client import Ask
from covey.wire.messages.links import Goodbye, KeepAlive

Effect = Any

_KEEPALIVE = codec.encode_message(KeepAlive())
_OF_CLIENTS = frozenset({Ask, KeepAlive})  # all that a client may say; it goes without a word


class Links:
    """At most one proved connection per peer and channel, each in order, all of it bounded.

    Invariants: those of the table.
    """

    def __init__(self, config: LinksConfig, rng: Random, now_us: int, *, identity: Identity, address: str = "") -> None:
        self._config = config
        self._rng = rng
        self._identity = identity
        self._address = address
        self._table = Table(config)
        self._writer = Writer(config, self._table)
        self._endings = Endings(config, self._table, self._writer)
        self._timers = self._table.timers
        self._counts = self._table.counts
        self._closing = False
        self._next = 1
        self._moment = 0
        self._handlers: dict[type, Callable[[Any, int], list[Effect]]] = {
            link.BytesReceived: self._on_bytes,
            v.Send: self._on_send,
            v.SendMany: self._on_send_many,
            v.Multicast: self._on_multicast,
            v.TurnEnded: lambda fact, now_us: self._writer.end_turn(now_us),
            v.Tick: self._on_tick,
            link.ConnectionPaused: self._writer.pause,
            link.ConnectionResumed: self._writer.resume,
            link.ConnectionOpened: self._on_opened,
            link.ConnectionAccepted: self._on_accepted,
            link.ConnectionFailed: self._endings.on_failed,
            link.StrangerFailed: self._endings.on_stranger_failed,
            link.ConnectionClosed: self._endings.on_closed,
            v.Dial: self._on_dial,
            v.Disconnect: self._on_disconnect,
            v.Pin: self._on_pin,
            v.Unpin: self._on_unpin,
            v.AddressLearned: self._on_address,
            link.CloseLinks: self._on_close,
            v.ClusterChanged: self._on_cluster_changed,
            v.MessagesReceived: self._on_stray,
        }

    # --- the machine's door -----------------------------------------------------------------------------------------

    def handle(self, incoming: Any, now_us: int) -> list[Effect]:
        return self._handlers[type(incoming)](incoming, now_us)

    def deadline(self) -> int | None:
        return self._timers.deadline()

    def check(self) -> None:
        self._table.check()

    def statistics(self) -> LinksStatistics:
        return self._table.statistics()

    # --- queries ----------------------------------------------------------------------------------------------------

    def contact(self, site: Site, channel: Channel = Channel.CONTROL) -> Contact | None:
        """The peer at the other end of the link to `site`, if there is one."""
        connection = self._table.links.get((site, channel))
        return None if connection is None else connection.contact

    def linked(self, site: Site, channel: Channel) -> bool:
        """Whether there is a link to `site`."""
        return (site, channel) in self._table.links

    def remote(self, site: Site, channel: Channel) -> str:
        """Where the link to `site` leads, as the world sees it: nothing that the other side could make up."""
        connection = self._table.links.get((site, channel))
        return "" if connection is None else connection.address

    def congested(self, site: Site, channel: Channel) -> bool:
        """Whether the link to `site` takes nothing more for now."""
        connection = self._table.links.get((site, channel))
        return connection is not None and connection.paused

    def links(self) -> list[Life]:
        """The lives at the other end of the open control links, in the order in which they came up."""
        return self._table.lives()

    # --- sending ----------------------------------------------------------------------------------------------------

    def _on_send(self, send: v.Send, now_us: int) -> list[Effect]:
        encoded = codec.encode_message(send.message)
        place = (send.to, send.channel)
        connection = self._table.links.get(place)
        if connection is not None:
            return self._push(connection, encoded, 1, now_us)
        if send.to == self._identity.site:
            self._counts["messages_dropped"] += 1
            return [v.PeerUnreached(send.to, send.channel, Cause.SELF)]
        waiting = self._table.waiting.get(place)
        if waiting is not None:
            return self._wait(place, waiting, encoded)
        if not send.address or self._closing or send.channel is Channel.CLIENT:
            self._counts["messages_dropped"] += 1
            return [v.PeerUnreached(send.to, send.channel, Cause.NO_ADDRESS)]
        if self._identity.alone:  # nobody else can be in our cluster; a dial would only alarm another one
            self._counts["messages_dropped"] += 1
            return [v.PeerUnreached(send.to, send.channel, Cause.ALONE)]
        waiting = Waiting(send.address)
        refused = self._wait(place, waiting, encoded)
        if refused:
            return refused
        self._table.waiting[place] = waiting
        return [] if place in self._table.dials else self._dial(send.address, send.channel, send.to, now_us)

    def _on_send_many(self, send: v.SendMany, now_us: int) -> list[Effect]:
        connection = self._table.links.get((send.to, send.channel))
        if connection is None:
            self._counts["messages_dropped"] += len(send.messages)
            return [v.PeerUnreached(send.to, send.channel, Cause.NO_ADDRESS)]
        encoded = codec.encode_messages(send.messages)
        if len(encoded) <= FRAME_AIM_BYTES:
            return self._push(connection, encoded, len(send.messages), now_us)
        effects: list[Effect] = []  # together they are more than a frame should hold
        for message in send.messages:
            if connection.number in self._table.connections:
                effects += self._push(connection, codec.encode_message(message), 1, now_us)
        return effects

    def _wait(self, place: Place, waiting: Waiting, encoded: bytes) -> list[Effect]:
        full = place not in self._table.waiting and len(self._table.waiting) >= self._config.waiting_peers_max
        if not full and waiting.push(encoded, self._config.waiting_bytes_max):
            return []
        self._counts["messages_dropped"] += 1
        return [v.PeerUnreached(*place, Cause.BUSY)]

    def _on_multicast(self, multicast: v.Multicast, now_us: int) -> list[Effect]:
        encoded = codec.encode_message(multicast.message)
        effects: list[Effect] = []
        for site in multicast.to:
            connection = self._table.links.get((site, multicast.channel))
            if connection is not None:
                effects += self._push(connection, encoded, 1, now_us)
        return effects

    def _push(self, connection: Connection, encoded: bytes, count: int, now_us: int) -> list[Effect]:
        effects = self._writer.push(connection, encoded, count, now_us)
        return self._endings.drop(connection, Cause.SLOW, "its queue is full", now_us) if effects is None else effects

    # --- receiving --------------------------------------------------------------------------------------------------

    def _on_bytes(self, fact: link.BytesReceived, now_us: int) -> list[Effect]:
        connection = self._table.connections.get(fact.connection)
        if connection is None:
            return []
        counts = self._counts
        counts["bytes_in"] += len(fact.data)
        connection.heard_us = now_us
        connection.asked_us = -1
        effects: list[Effect] = []
        try:
            bodies = connection.splitter.feed(fact.data)
        except FrameError as error:
            return self._endings.violation(connection, Cause.FRAME, str(error), now_us)
        for body in bodies:
            if connection.stage is not Stage.OPEN:
                effects += self._greet(connection, body, now_us)
                if connection.number not in self._table.connections:
                    break
                continue
            counts["frames_in"] += 1
            try:
                messages, unknown = codec.decode_body(body)
            except DecodeError as error:
                effects += self._endings.violation(connection, Cause.DECODE, str(error), now_us)
                break
            counts["messages_in"] += len(messages)
            counts["unknown_messages"] += unknown
            if connection.channel is Channel.CLIENT and not _OF_CLIENTS.issuperset(map(type, messages)):
                detail = "a client may only ask"
                effects += self._endings.violation(connection, Cause.VIOLATION, detail, now_us)
                break
            kind = type(messages[0]) if messages else KeepAlive
            if kind is KeepAlive or kind is Goodbye:
                effects += self._on_link_messages(connection, messages, now_us)
            elif messages:
                connection.used_us = now_us
                assert connection.contact is not None
                effects.append(v.MessagesReceived(connection.contact.site, messages))
            if connection.number not in self._table.connections:
                break
        return effects

    def _on_link_messages(self, connection: Connection, messages: list[Any], now_us: int) -> list[Effect]:
        """`KeepAlive` and `Goodbye` stand first in their frame; what follows them there is for others."""
        effects: list[Effect] = []
        rest = [message for message in messages if type(message) is not KeepAlive and type(message) is not Goodbye]
        if rest:
            assert connection.contact is not None
            effects.append(v.MessagesReceived(connection.contact.site, rest))
        quiet = now_us - connection.said_us >= self._config.keepalive_us // 2
        if quiet and not connection.paused and type(messages[0] if messages else KeepAlive) is KeepAlive:
            effects.append(self._keepalive(connection, now_us))
        for message in messages:
            if type(message) is Goodbye:
                cause = Cause(message.cause) if message.cause in Cause._value2member_map_ else Cause.GOODBYE
                effects.append(link.CloseConnection(connection.number))
                if cause is Cause.SITE_CONFLICT:
                    effects.append(v.Emit(v.SiteContested(message.detail)))
                return effects + self._endings.forget(connection, cause)
        return effects

    def _on_stray(self, _: v.MessagesReceived, now_us: int) -> list[Effect]:
        """A `KeepAlive` or `Goodbye` behind other messages in its frame: we never write that, and it means nothing."""
        return []

    # --- handshakes -------------------------------------------------------------------------------------------------

    def _on_dial(self, dial: v.Dial, now_us: int) -> list[Effect]:
        if self._closing or dial.address in self._table.searches:
            return []
        contact = self._table.contact_at(dial.address)
        if contact is not None:
            return [v.AddressAnswered(dial.address, contact)]
        return self._dial(dial.address, Channel.CONTROL, None, now_us)

    def _dial(self, address: str, channel: Channel, expected: Site | None, now_us: int) -> list[Effect]:
        connection = Connection(self._next, address, channel, expected, False, now_us)
        self._next += 1
        self._table.connections[connection.number] = connection
        self._timers.set(("handshake", connection.number), now_us + self._config.connect_us_max)
        if expected is None:
            self._table.searches[address] = connection
        else:
            self._table.dials[expected, channel] = connection
        return [link.OpenConnection(connection.number, address)]

    def _on_opened(self, fact: link.ConnectionOpened, now_us: int) -> list[Effect]:
        connection = self._table.connections.get(fact.connection)
        if connection is None or connection.stage is not Stage.CONNECTING:
            return []
        connection.stage = Stage.GREETING
        connection.dialler = Dialler(self._identity, self._address, connection.channel, self._rng)
        return [self._writer.say(connection, frame(connection.dialler.opening()))]

    def _on_accepted(self, fact: link.ConnectionAccepted, now_us: int) -> list[Effect]:
        if self._closing:
            return [link.CloseConnection(fact.connection)]
        effects: list[Effect] = []
        strangers = self._table.strangers()
        if len(strangers) >= self._config.unauthenticated_max:
            effects += self._endings.drop(strangers[0], Cause.BUSY, "too many strangers at once", now_us)
        connection = Connection(fact.connection, fact.remote, Channel.CONTROL, None, True, now_us)
        self._moment += 1
        connection.began = self._moment
        connection.acceptor = Acceptor(self._identity, self._address, self._rng)
        self._table.connections[connection.number] = connection
        self._timers.set(("handshake", connection.number), now_us + self._config.handshake_us_max)
        return effects

    def _greet(self, connection: Connection, body: bytes, now_us: int) -> list[Effect]:
        side = connection.dialler or connection.acceptor
        if side is None:
            return self._endings.drop(connection, Cause.VIOLATION, "it spoke before it was connected", now_us)
        proved_before = side.peer is not None
        try:
            answers = side.receive(body)
        except HandshakeFailed as failure:
            return self._endings.turn_away(connection, failure, now_us)
        effects: list[Effect] = []
        if answers:
            effects.append(self._writer.say(connection, b"".join(map(frame, answers))))
        if side.peer is not None and not proved_before:
            effects += self._on_proved(connection, side.peer, now_us)
        elif connection.dialler is not None and connection.dialler.accepted and side.peer is not None:
            if contradicts(side.peer, self._table.newest(side.peer.contact.site)):
                effects.append(
                    self._writer.farewell(connection, Cause.SITE_CONFLICT, CONFLICT)
                )  # it holds the link for open
                effects += self._endings.tell_refused(
                    connection, Cause.SITE_CONFLICT, CONFLICT, False, side.peer.contact.site
                )
                return effects + self._endings.end_unopened(connection, Cause.SITE_CONFLICT, now_us)
            effects += self._open(connection, side.peer, now_us)
        return effects

    def _on_proved(self, connection: Connection, peer: Peer, now_us: int) -> list[Effect]:
        """The other side proved the secret. Is it wanted?"""
        if connection.dialler is None:
            admit = self._admit_client if peer.channel is Channel.CLIENT else self._admit
            return admit(connection, peer, now_us)
        site = peer.contact.site
        if site == self._identity.site:
            if peer.boot == self._identity.boot:
                answered = v.AddressAnswered(connection.address, peer.contact)
                return [answered, *self._endings.give_up(connection, Cause.SELF, now_us)]
            if contests(peer, self._identity):
                contested = v.Emit(v.SiteContested(CONFLICT))
                return [contested, *self._endings.give_up(connection, Cause.SITE_CONFLICT, now_us)]
            return [self._writer.say(connection, frame(connection.dialler.proof()))]  # so that it knows, and ends
        if connection.expected is not None and connection.expected != site:
            return self._endings.give_up(connection, Cause.OTHER_SITE, now_us)
        place = (site, connection.channel)
        effects: list[Effect] = []
        if connection.expected is None:
            effects.append(v.AddressAnswered(connection.address, peer.contact))
        if contradicts(peer, self._table.newest(site)):
            return self._endings.refuse(connection, Cause.SITE_CONFLICT, CONFLICT, now_us, peer.contact)
        linked = self._table.links.get(place)
        rival = self._table.dials.get(place)
        if linked is not None and linked.contact is not None and linked.contact.life == peer.contact.life:
            return effects + self._endings.give_up(connection, Cause.REPLACED, now_us)
        if rival is not None and rival is not connection:
            if rival.stage is Stage.PROVED:
                return effects + self._endings.give_up(connection, Cause.REPLACED, now_us)
            self._table.forget(rival)
            effects.append(link.CloseConnection(rival.number))
        if connection.expected is None:
            self._table.searches.pop(connection.address, None)
            connection.expected = site
        self._table.dials[place] = connection
        connection.stage = Stage.PROVED
        connection.splitter.limit = FRAME_BYTES_MAX  # behind its Accepted, a proved acceptor may speak at length
        effects.append(self._writer.say(connection, frame(connection.dialler.proof())))
        return effects

    def _admit(self, connection: Connection, peer: Peer, now_us: int) -> list[Effect]:
        """We accepted a connection and its dialler proved the secret."""
        me = self._identity
        site = peer.contact.site
        place = (site, peer.channel)
        if site == me.site:
            if peer.boot != me.boot and contests(peer, me):
                contested = v.Emit(v.SiteContested(CONFLICT))
                return [contested, *self._endings.end_unopened(connection, Cause.SITE_CONFLICT, now_us)]
            cause = Cause.SELF if peer.boot == me.boot else Cause.SITE_CONFLICT
            return self._endings.refuse(connection, cause, CONFLICT, now_us, peer.contact)
        if contradicts(peer, self._table.newest(site)):
            return self._endings.refuse(connection, Cause.SITE_CONFLICT, CONFLICT, now_us, peer.contact)
        rival = self._table.dials.get(place)
        effects: list[Effect] = []
        if me.site < site and left_over(connection, self._table.links.get(place)):
            return self._endings.refuse(
                connection, Cause.CROSSING, "my own dial to you went first", now_us, peer.contact
            )
        if rival is not None:
            if me.site < site and rival.stage is Stage.PROVED:
                return self._endings.refuse(
                    connection, Cause.CROSSING, "my own dial to you goes first", now_us, peer.contact
                )
            if rival.stage is not Stage.PROVED:
                self._table.forget(rival)
                effects.append(link.CloseConnection(rival.number))
        effects.append(self._writer.say(connection, frame(ACCEPTED)))
        return effects + self._open(connection, peer, now_us)

    def _admit_client(self, connection: Connection, peer: Peer, now_us: int) -> list[Effect]:
        """Somebody who is no node wants to ask."""
        known = (peer.contact.site, Channel.CLIENT) in self._table.links
        if not known and len(self._table.clients()) >= self._config.clients_max:
            detail = f"{self._config.clients_max} clients are connected already; try again"
            return self._endings.refuse(connection, Cause.BUSY, detail, now_us, peer.contact)
        return [self._writer.say(connection, frame(ACCEPTED)), *self._open(connection, peer, now_us)]

    def _open(self, connection: Connection, peer: Peer, now_us: int) -> list[Effect]:
        """Both sides agreed: this is the link now."""
        effects: list[Effect] = []
        site = peer.contact.site
        place = (site, peer.channel)
        for channel in NODES if peer.channel in NODES else (peer.channel,):
            old = self._table.links.get((site, channel))
            if old is None or old.contact is None:
                continue
            if channel is peer.channel or old.contact.incarnation < peer.contact.incarnation:
                effects += [*self._endings.forget(old, Cause.REPLACED), link.CloseConnection(old.number)]
        if self._table.dials.get(place) is connection:
            del self._table.dials[place]
        self._timers.cancel(("handshake", connection.number))
        self._timers.cancel(("crossing", *place))
        self._timers.set(("alive", connection.number), now_us + self._config.keepalive_us)
        connection.open(peer, now_us)
        self._moment += 1
        connection.opened = self._moment
        self._table.links[place] = connection
        effects.append(v.PeerConnected(peer.contact, peer.channel))
        if connection.paused:
            effects.append(v.PeerCongested(site, peer.channel))
        waiting = self._table.waiting.pop(place, None)
        if waiting is not None:
            for encoded in waiting.messages:
                effects += self._push(connection, encoded, 1, now_us)
        return effects + self._shed(now_us)

    def _shed(self, now_us: int) -> list[Effect]:
        """Close the least recently used of the links that nobody pinned, above the bound."""
        effects: list[Effect] = []
        unpinned = self._table.unpinned()
        if len(unpinned) > self._config.unpinned_max:
            oldest = min(unpinned, key=lambda connection: connection.used_us)
            effects += self._endings.drop(oldest, Cause.IDLE, "others need the room", now_us)
        return effects

    # --- commands and timers ----------------------------------------------------------------------------------------

    def _on_disconnect(self, command: v.Disconnect, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        for channel in Channel:
            connection = self._table.links.get((command.site, channel))
            if connection is not None:
                effects += self._endings.drop(connection, command.cause, command.detail, now_us)
        return effects

    def _on_pin(self, pin: v.Pin, now_us: int) -> list[Effect]:
        self._table.pinned[pin.site] = None
        connection = self._table.links.get((pin.site, Channel.CONTROL))
        if connection is not None:
            due_us = max(connection.said_us + self._config.keepalive_us, now_us)
            self._timers.set_earlier(("alive", connection.number), due_us)
        return []

    def _on_unpin(self, unpin: v.Unpin, now_us: int) -> list[Effect]:
        self._table.pinned.pop(unpin.site, None)
        return []

    def _on_address(self, fact: v.AddressLearned, now_us: int) -> list[Effect]:
        self._address = fact.address
        return []

    def _on_cluster_changed(self, fact: v.ClusterChanged, now_us: int) -> list[Effect]:
        """We are somebody else's now: nobody of the old cluster may take us for what we were."""
        effects = self._endings.end_all("going to another cluster", now_us, clients=False)
        self._identity = msgspec.structs.replace(
            self._identity, cluster=fact.cluster, incarnation=fact.incarnation, boot=self._rng.randbytes(16)
        )
        return [*effects, v.ClusterEntered(fact.cluster)]

    def _on_close(self, _: link.CloseLinks, now_us: int) -> list[Effect]:
        self._closing = True
        return self._endings.end_all("closing", now_us)

    def _on_tick(self, _: v.Tick, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        for what, *which in self._timers.pop_due(now_us):
            if what == "crossing":
                effects += self._retry(which[0], which[1], now_us)
                continue
            connection = self._table.connections.get(which[0])
            if connection is None:  # another timer of the same moment has ended it
                continue
            match what:
                case "alive":
                    effects += self._watch(connection, now_us)
                case "handshake":
                    effects += self._endings.drop(connection, Cause.TIMEOUT, "too slow", now_us)
                case "congested":
                    effects += self._endings.drop(connection, Cause.SLOW, "it does not read", now_us)
                case _:
                    assert_never(what)
        return effects

    def _watch(self, connection: Connection, now_us: int) -> list[Effect]:
        """Is the other side still there, does it know that we are, and does anybody need this link?

        A pinned link says so again and again. Another one only asks, one keepalive before its silence is over, where
        something was said and nothing heard since; mostly the next ping comes first. Who hears a keepalive and was
        quiet itself answers it.
        """
        config = self._config
        assert connection.contact is not None
        pinned = connection.channel is Channel.CONTROL and connection.contact.site in self._table.pinned
        quiet_since_us = connection.heard_us if pinned else connection.asked_us
        if 0 <= quiet_since_us <= now_us - config.silence_us_max:
            return self._endings.drop(connection, Cause.SILENT, "nothing was heard from you", now_us)
        if not pinned and now_us - connection.used_us >= config.idle_us_max:
            return self._endings.drop(connection, Cause.IDLE, "nobody uses this link", now_us)
        effects: list[Effect] = []
        over_us = quiet_since_us + config.silence_us_max
        speak_us = connection.said_us + config.keepalive_us if pinned else over_us - config.keepalive_us
        if not pinned and connection.urged_us >= speak_us:
            speak_us = over_us  # it was asked already
        if quiet_since_us >= 0 and now_us >= speak_us and not connection.paused:
            connection.urged_us = now_us
            effects.append(self._keepalive(connection, now_us))
            speak_us = now_us + config.keepalive_us if pinned else over_us
        due = connection.used_us + config.idle_us_max
        if quiet_since_us >= 0:
            due = min(speak_us, over_us) if pinned else min(due, speak_us)
        self._timers.set(("alive", connection.number), max(due, now_us + config.keepalive_us // 10))
        return effects

    def _keepalive(self, connection: Connection, now_us: int) -> Effect:
        connection.said_us = now_us
        return self._writer.say(connection, frame(codec.join_body([_KEEPALIVE])), frames=1)

    def _retry(self, site: Site, channel: Channel, now_us: int) -> list[Effect]:
        """The lower site's dial did not come. Try ours once more."""
        waiting = self._table.waiting.get((site, channel))
        if waiting is None or (site, channel) in self._table.dials:
            return []
        if waiting.tries > 1:
            return self._endings.abandon((site, channel), Cause.CROSSING)
        waiting.tries += 1
        return self._dial(waiting.address, channel, site, now_us)
