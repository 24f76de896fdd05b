"""How connections end: refused before they were links, closed by the world, or dropped by us with a farewell."""

from __future__ import annotations

from typing import Any

from covey.core import vocabulary as v
from covey.core.ids import Contact, Site
from covey.core.vocabulary import Cause
from covey.protocols.links import vocabulary as link
from covey.protocols.links.config import LinksConfig
from covey.protocols.links.connection import Connection, Stage
from covey.protocols.links.handshake import HandshakeFailed, refusal
from covey.protocols.links.judgement import CONFLICT, NO_TLS, TOLD
from covey.protocols.links.table import Place, Table
from covey.protocols.links.writer import Writer
from covey.wire.framing import frame

Effect = Any


class Endings:
    """Takes connections out of the table, and says so: to the peer, to the other machines, to people.

    Law: whatever ends is told once: `PeerLost` for a link, `PeerUnreached` for what waited, `AddressFailed` for a dial
    to nobody in particular.
    """

    def __init__(self, config: LinksConfig, table: Table, writer: Writer) -> None:
        self._config = config
        self._table = table
        self._writer = writer
        self._timers = table.timers
        self._counts = table.counts

    def turn_away(self, connection: Connection, failure: HandshakeFailed, now_us: int) -> list[Effect]:
        """A handshake failed: say why, unless the peer did."""
        effects: list[Effect] = []
        if failure.cause is Cause.CROSSING and connection.expected is not None:
            return self.on_crossing(connection, now_us)
        if not failure.by_peer:
            effects.append(self._writer.say(connection, frame(refusal(failure.cause, failure.detail))))
        effects += self.tell_refused(connection, failure.cause, failure.detail, failure.by_peer, None)
        proved = connection.dialler is not None and connection.dialler.peer is not None
        if failure.cause is Cause.SITE_CONFLICT and failure.by_peer and proved:
            effects.append(v.Emit(v.SiteContested(failure.detail)))
        return effects + self.end_unopened(connection, failure.cause, now_us)

    def refuse(self, connection: Connection, cause: Cause, detail: str, now_us: int, contact: Contact) -> list[Effect]:
        """We will not have this peer, and it hears why."""
        effects: list[Effect] = [self._writer.say(connection, frame(refusal(cause, detail)))]
        effects += self.tell_refused(connection, cause, detail, False, contact.site)
        return effects + self.end_unopened(connection, cause, now_us)

    def tell_refused(
        self, connection: Connection, cause: Cause, detail: str, by_peer: bool, site: Site | None
    ) -> list[Effect]:
        """Count a refusal, and tell people of it if it is theirs to put right."""
        self._counts["refused"] += 1
        if cause not in TOLD:
            return []
        return [v.Emit(link.LinkRefused(connection.address, connection.inbound, cause, detail, by_peer, site))]

    def give_up(self, connection: Connection, cause: Cause, now_us: int) -> list[Effect]:
        """Our own dial is not wanted any more; close it before our proof is sent."""
        effects: list[Effect] = []
        if cause in TOLD:
            effects += self.tell_refused(connection, cause, CONFLICT, False, None)
        answered = cause in (Cause.SELF, Cause.REPLACED)
        return effects + self.end_unopened(connection, cause, now_us, quiet=answered and connection.expected is None)

    def end_unopened(
        self, connection: Connection, cause: Cause, now_us: int, quiet: bool = False, close: bool = True
    ) -> list[Effect]:
        """End a connection that never became a link, and what waited for it."""
        self._table.forget(connection)
        effects: list[Effect] = [link.CloseConnection(connection.number)] if close else []
        if connection.inbound:
            return effects
        if connection.expected is None:
            return effects if quiet else [*effects, v.AddressFailed(connection.address, cause)]
        place = (connection.expected, connection.channel)
        if place not in self._table.links and place not in self._table.dials:
            effects += self.abandon(place, cause)
        return effects

    def abandon(self, place: Place, cause: Cause) -> list[Effect]:
        """Give up what waits for a link that will not come."""
        waiting = self._table.waiting.pop(place, None)
        self._timers.cancel(("crossing", *place))
        if waiting is not None:
            self._counts["messages_dropped"] += len(waiting.messages)
            return [v.PeerUnreached(*place, cause)]
        return []

    def on_crossing(self, connection: Connection, now_us: int) -> list[Effect]:
        """The lower site's own dial goes first: wait for it, holding what waits."""
        assert connection.expected is not None
        place = (connection.expected, connection.channel)
        self._table.forget(connection)
        if place in self._table.waiting:
            self._timers.set(("crossing", *place), now_us + self._config.crossing_us_wait)
        return [link.CloseConnection(connection.number)]

    def on_failed(self, fact: link.ConnectionFailed, now_us: int) -> list[Effect]:
        """A dial did not get through."""
        connection = self._table.connections.get(fact.connection)
        if connection is None:
            return []
        effects: list[Effect] = []
        if fact.cause in TOLD:
            effects += self.tell_refused(connection, fact.cause, NO_TLS, False, None)
        return effects + self.end_unopened(connection, fact.cause, now_us, close=False)

    def on_stranger_failed(self, fact: link.StrangerFailed, now_us: int) -> list[Effect]:
        """Somebody came and never got as far as a connection."""
        self._counts["refused"] += 1
        return (
            [v.Emit(link.LinkRefused(fact.remote, True, fact.cause, NO_TLS, False, None))] if fact.cause in TOLD else []
        )

    def on_closed(self, fact: link.ConnectionClosed, now_us: int) -> list[Effect]:
        """The world closed a connection."""
        connection = self._table.connections.get(fact.connection)
        if connection is None:
            return []
        if connection.stage is Stage.OPEN:
            return self.forget(connection, fact.cause)
        told = self.tell_refused(connection, fact.cause, NO_TLS, False, None) if fact.cause in TOLD else []
        return told + self.end_unopened(connection, fact.cause, now_us, close=False)

    def violation(self, connection: Connection, cause: Cause, detail: str, now_us: int) -> list[Effect]:
        """The peer sent what no peer may send."""
        self._counts["violations"] += 1
        if connection.contact is None or connection.stage is not Stage.OPEN:
            return self.turn_away(connection, HandshakeFailed(cause, detail), now_us)
        site = connection.contact.site
        return [v.Emit(v.ProtocolViolation(site, cause, detail)), *self.drop(connection, cause, detail, now_us)]

    def drop(self, connection: Connection, cause: Cause, detail: str, now_us: int) -> list[Effect]:
        """End a connection from our side, saying why if there is anybody to say it to."""
        if connection.stage is not Stage.OPEN:
            return self.end_unopened(connection, cause, now_us)
        effects: list[Effect] = []
        if not connection.paused:
            if connection.queue:
                effects.append(self._writer.write(connection, now_us, self._config.queue_bytes_max))
            effects.append(self._writer.farewell(connection, cause, detail))
        effects.append(link.CloseConnection(connection.number))
        return effects + self.forget(connection, cause)

    def forget(self, connection: Connection, cause: Cause) -> list[Effect]:
        """An open link is gone."""
        self._table.forget(connection)
        contact = connection.contact
        assert contact is not None
        self._counts["messages_dropped"] += connection.queued_messages
        return [v.PeerLost(contact, connection.channel, cause)]

    def end_all(self, detail: str, now_us: int, clients: bool = True) -> list[Effect]:
        """Nobody stays (`clients`: they neither), and nobody is waited for."""
        effects: list[Effect] = []
        staying = [] if clients else self._table.clients()
        for connection in list(self._table.connections.values()):
            if connection not in staying:
                effects += self.drop(connection, Cause.GOODBYE, detail, now_us)
        for place in list(self._table.waiting):
            effects += self.abandon(place, Cause.GOODBYE)
        return effects
