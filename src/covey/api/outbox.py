"""`Node.send` and `Node.send_nowait`: values for one node, handed to the machines once a turn of the event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from covey.core import vocabulary as v
from covey.core.errors import ClosedError, DeadlineExceeded, Overloaded, UnknownName, UsageError
from covey.core.ids import SITE_BYTES, Site, short
from covey.engine.engine import Engine
from covey.protocols.direct.machine import SendPayloads
from covey.wire.payloads import encode_payload

if TYPE_CHECKING:
    from covey.runtime.runner import Runner

OUTGOING_MAX = 256  # values of one turn handed to the machines at once; guess: a frame of small ones


class Live(Protocol):
    """The runner, if a call may use it; `closing`: also while the node says goodbye."""

    def __call__(self, closing: bool = True) -> Runner: ...


class Outbox:
    """What a node sends to single nodes. Law: values for one site go in the order in which they were sent."""

    def __init__(self, live: Live, engine: Engine) -> None:
        self._live = live
        self._engine = engine
        self._outgoing: dict[Site, list[bytes]] = {}  # sent in this turn of the event loop

    async def send(self, site: Site, payload: Any, seconds: float) -> None:
        """See `Node.send`."""
        if self._send_at_once(site, payload):
            return
        request, outcome = self._send(site, payload)
        if outcome.done():
            return outcome.result()
        runner = self._live()
        try:
            async with asyncio.timeout(seconds):
                await outcome
        except TimeoutError:
            raise DeadlineExceeded(f"site {short(site)} took nothing for {seconds} s; it may still be sent") from None
        finally:
            if not outcome.done() or outcome.cancelled():
                runner.forget_request(request)
                if runner.is_open:
                    runner.feed(v.Abandon(request))

    def send_nowait(self, site: Site, payload: Any) -> None:
        """See `Node.send_nowait`."""
        if self._send_at_once(site, payload):
            return
        runner = self._live()
        if type(site) is bytes and self._engine.direct.congested(site):
            raise Overloaded(f"site {short(site)} reads too slowly; nothing was sent: use `await send`, or try again")
        request, outcome = self._send(site, payload)
        if outcome.done():
            return outcome.result()
        runner.forget_request(request)

    def _send_at_once(self, site: Site, payload: Any) -> bool:
        """The short way, taken nearly always: the link is open and the receiver keeps up."""
        runner = self._live(closing=False)
        if type(site) is not bytes or not self._engine.direct.ready(site):
            return False
        value = encode_payload(payload)
        if not self._outgoing:
            runner.at_end_of_turn(self._flush)
        waiting = self._outgoing.get(site)
        if waiting is None:
            self._outgoing[site] = [value]
        else:
            waiting.append(value)
            if len(waiting) >= OUTGOING_MAX:
                self._flush()
        return True

    def _flush(self) -> None:
        """What one turn of the event loop sent to one site goes to the machines as one command."""
        outgoing, self._outgoing = self._outgoing, {}
        if not outgoing:
            return
        try:
            runner = self._live()
        except ClosedError:  # the node ended in between, and with it what waited
            return
        for site, values in outgoing.items():
            runner.feed(SendPayloads(0, site, "", tuple(values)))

    def _send(self, site: Site, payload: Any) -> tuple[int, asyncio.Future[None]]:
        runner = self._live(closing=False)
        if type(site) is not bytes or len(site) != SITE_BYTES:
            raise UsageError(f"site must be {SITE_BYTES} bytes (Neighbor.site, Message.sender), not {site!r:.60}")
        value = encode_payload(payload)
        self._flush()  # order: what was sent before goes before
        request, outcome = runner.request()
        try:
            runner.feed(SendPayloads(request, site, self._address_of(site), (value,)))
        except BaseException:
            runner.forget_request(request)
            raise
        return request, outcome

    def _address_of(self, site: Site) -> str:
        engine = self._engine
        if engine.links.linked(site, v.Channel.DATA) or site == engine.membership.me.site:
            return ""
        known = engine.roster.entries.get(site)
        contact = known.contact if known is not None else engine.overlay.contact(site) or engine.links.contact(site)
        if contact is None or not contact.address:
            raise UnknownName(f"no address of site {short(site)} is known here; nothing was sent")
        return contact.address
