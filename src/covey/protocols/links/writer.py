"""Writing: a turn's messages for one peer go out as one frame, and a peer that reads slowly waits in its own queue."""

from __future__ import annotations

from typing import Any

from covey.core.vocabulary import Cause, PeerCongested, PeerDrained, WantTurn
from covey.protocols.links.config import LinksConfig
from covey.protocols.links.connection import Connection, Stage
from covey.protocols.links.table import Table
from covey.protocols.links.vocabulary import ConnectionPaused, ConnectionResumed, Write
from covey.wire import codec
from covey.wire.framing import frame
from covey.wire.limits import FRAME_AIM_BYTES
from covey.wire.messages.links import Goodbye

Effect = Any

RESUME_BYTES_MAX = 4 * FRAME_AIM_BYTES  # what a drained connection is given at once


class Writer:
    """Queues behind connections, and what is written of them when.

    Law: messages leave in the order in which they were pushed; nothing is written to a paused connection; whatever is
    queued behind an open one that is not paused leaves when the turn ends.
    """

    def __init__(self, config: LinksConfig, table: Table) -> None:
        self._config = config
        self._table = table

    def push(self, connection: Connection, encoded: bytes, count: int, now_us: int) -> list[Effect] | None:
        """Queue a run of messages; None when the queue is longer than it may be."""
        connection.push(encoded, count)
        if connection.paused:
            if connection.queued_bytes > self._config.queue_bytes_max:
                return None
            return []
        if connection.queued_bytes >= FRAME_AIM_BYTES:
            return [self.write(connection, now_us, FRAME_AIM_BYTES)]
        if self._table.turn:
            self._table.turn[connection.number] = connection
            return []
        self._table.turn[connection.number] = connection
        return [WantTurn()]

    def say(self, connection: Connection, data: bytes, frames: int = 0) -> Write:
        """Write `data` past the queue: handshakes (which are no frames of messages), keepalives, farewells."""
        self._table.counts["frames_out"] += frames
        self._table.counts["bytes_out"] += len(data)
        return Write(connection.number, data)

    def farewell(self, connection: Connection, cause: Cause, detail: str) -> Write:
        """Say why a link ends, in the last frame on it."""
        body = codec.join_body([codec.encode_message(Goodbye(cause, detail[:300]))])
        return self.say(connection, frame(body), frames=1)

    def end_turn(self, now_us: int) -> list[Effect]:
        """Write what the turn gathered."""
        turn, self._table.turn = self._table.turn, {}
        effects: list[Effect] = []
        for connection in turn.values():
            if connection.queue and not connection.paused and connection.number in self._table.connections:
                effects.append(self.write(connection, now_us, RESUME_BYTES_MAX))
                if connection.queue:
                    self._table.turn[connection.number] = connection
        if self._table.turn:
            effects.append(WantTurn())
        return effects

    def write(self, connection: Connection, now_us: int, bytes_max: int) -> Write:
        """Write the oldest of one queue now."""
        counts = self._table.counts
        before = connection.queued_messages
        data, frames = connection.take(bytes_max)
        connection.said_us = connection.used_us = now_us
        if connection.asked_us < 0:
            connection.asked_us = now_us
            ask_us = now_us + self._config.silence_us_max - self._config.keepalive_us
            self._table.timers.set_earlier(("alive", connection.number), ask_us)
        counts["frames_out"] += frames
        counts["bytes_out"] += len(data)
        counts["messages_out"] += before - connection.queued_messages
        return Write(connection.number, data)

    def pause(self, fact: ConnectionPaused, now_us: int) -> list[Effect]:
        """The world takes no more for this connection: hold back, but not for ever."""
        connection = self._table.connections.get(fact.connection)
        if connection is None or connection.paused:
            return []
        connection.paused = True
        self._table.timers.set(("congested", connection.number), now_us + self._config.congested_us_max)
        if connection.contact is None or connection.stage is not Stage.OPEN:
            return []
        return [PeerCongested(connection.contact.site, connection.channel)]

    def resume(self, fact: ConnectionResumed, now_us: int) -> list[Effect]:
        """The world takes more again."""
        connection = self._table.connections.get(fact.connection)
        if connection is None or not connection.paused:
            return []
        connection.paused = False
        self._table.timers.cancel(("congested", connection.number))
        effects: list[Effect] = []
        if connection.queue:
            if not self._table.turn:
                effects.append(WantTurn())
            self._table.turn[connection.number] = connection
        if connection.contact is not None and connection.stage is Stage.OPEN:
            effects.append(PeerDrained(connection.contact.site, connection.channel))
        return effects
