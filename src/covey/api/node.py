"""`Node`: this process as part of a cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from covey.api.config import Config
from covey.api.events import (
    EventHub,
    LinkRefused,
    Message,
    Neighbor,
    NeighborDown,
    NeighborUp,
    ProtocolViolation,
    Subscription,
)
from covey.api.options import check_options
from covey.core import vocabulary as v
from covey.core.errors import ClosedError, DeadlineExceeded, DecodeError, Overloaded, UnknownName, UsageError
from covey.core.ids import SITE_BYTES, Contact, Site, draw_site, short
from covey.engine.engine import Engine
from covey.engine.gate import Gate
from covey.observe.metrics import Metrics
from covey.protocols.direct.machine import Direct, PayloadsReceived, SendPayloads
from covey.protocols.links import vocabulary as link
from covey.protocols.links.handshake import Identity
from covey.protocols.overlay import vocabulary as overlay
from covey.runtime.environment import Environment, RealEnvironment
from covey.runtime.runner import Runner
from covey.wire.payloads import decode_payload, encode_payload

log = logging.getLogger(__name__)

NodeEvent = NeighborUp | NeighborDown | Message | LinkRefused | ProtocolViolation

OUTGOING_MAX = 256  # values of one turn handed to the machines at once; guess: a frame of small ones

_forks = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)


class NodeStatistics(msgspec.Struct, frozen=True):
    """What this node counted. `machines` has one struct a machine; `lag_ms` is how late the event loop was last."""

    machines: dict[str, Any]
    lag_ms: float
    payloads_undecodable: int
    heard: dict[str, int]  # with `Config.metrics`: "machine.Kind" -> how often
    said: dict[str, int]


class Node:
    """This process as part of the cluster named `cluster`.

    Use it as `async with covey.Node("orders") as node:`, or call `await node.start()` and `await node.close()`. All
    methods belong to the event loop it was started on; a call from another thread, or after a fork, is a `UsageError`.

    Options, all checked before anything is opened (`ConfigError`):

    - `listen`: `"host:port"`, `"host:first-last"` (the first free port), port 0 for any. Default by profile.
    - `seeds`: where others may be found, asked for ever: `"host:port"`, `"host"`, `"dns:name"`, `"local:name"`.
    - `secret`: the cluster's secret (str, bytes, or a `Path` to its file), at least 16 bytes. It proves membership and,
      beyond loopback, encrypts.
    - `advertise`: the address others shall dial; else `POD_IP`, else the local end of the first link.
    - `tls`: `(server_context, client_context)` of your own instead of certificates derived from the secret.
    - `insecure=True`: allow plaintext beyond loopback.
    - `config`: a profile, `Config.laptop()`, `Config.lan()` or `Config.kubernetes()`. Default: by where this runs.
    """

    def __init__(
        self,
        cluster: str,
        *,
        listen: str | None = None,
        seeds: Iterable[str] | None = None,
        secret: str | bytes | Path | None = None,
        name: str | None = None,
        advertise: str | None = None,
        tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
        insecure: bool = False,
        config: Config | None = None,
        _environment: Environment | None = None,
    ) -> None:
        self._options = check_options(
            cluster,
            listen=listen,
            seeds=seeds,
            secret=secret,
            name=name,
            advertise=advertise,
            tls=tls,
            insecure=insecure,
            config=config,
        )
        self.cluster = cluster
        self.name = self._options.name
        self.config = self._options.config
        self._environment = _environment or RealEnvironment()
        self._runner: Runner | None = None
        self._engine: Engine | None = None
        self._direct: Direct | None = None
        self._outgoing: dict[Site, list[bytes]] = {}  # sent in this turn of the event loop
        self._forks = _forks
        self._closing: asyncio.Task[None] | None = None
        self._undecodable = 0
        self._metrics = Metrics() if self.config.metrics else None
        self._hub: EventHub[tuple[Neighbor, ...], NodeEvent] = EventHub(lambda: tuple(self._released.values()))
        self._released: dict[Site, Neighbor] = {}  # the neighbours as of the last event
        self._state = "new"

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Draw an identity, listen, and begin to look for others. Returns at once; it does not wait for them.

        Raises `ConfigError` when no port is free, `UsageError` when this node was started before.
        """
        self._check_fork()
        if self._state != "new":
            raise UsageError(f"this node is {self._state}; a Node is started once: make another one")
        environment = self._environment
        incarnation = environment.wall_us() // 1000
        nonces = environment.nonces()
        options = self._options
        identity = Identity(options.cluster_id, draw_site(nonces), incarnation, nonces.randbytes(16), options.secret)
        engine = Engine(self.config.engine, identity, "", environment.rng(), nonces, environment.monotonic_us())
        transport = environment.transport(options.make_tls())
        runner = Runner(
            engine,
            Gate(self.config.engine.gate),
            transport,
            contact=Contact(identity.site, incarnation, ""),
            seeds=options.seeds,
            on_event=self._on_event,
            environment=environment,
            observe=self._metrics.observe if self._metrics is not None else None,
        )
        self._state = "starting"
        self._runner, self._engine, self._direct = runner, engine, engine.direct
        try:
            await runner.start(options.listen, options.advertise)
        except BaseException:
            self._state = "new"
            self._runner = self._engine = None
            await transport.aclose()
            raise
        self._state = "open"
        log.info(
            "event=node_started cluster=%r profile=%s site=%s address=%s encrypted=%s",
            self.cluster, self.config.profile, self.site.hex(), self.address or "?", options.encrypt,
        )  # fmt: skip

    async def close(self) -> None:
        """Say goodbye to the neighbours and end, within `config.close_timeout` seconds. Idempotent."""
        self._check_fork()
        if self._runner is not None:
            self._runner.check_thread()
        if self._state in ("new", "closed"):
            self._state = "closed"
            return
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(), name="covey close")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        assert self._runner is not None
        self._state = "closing"
        try:
            await asyncio.wait_for(self._runner.close(), self.config.close_timeout)
        except TimeoutError:
            log.warning("event=close_timeout seconds=%s", self.config.close_timeout)
        finally:
            self._state = "closed"
            self._hub.close(self._runner.dead)
            log.info("event=node_closed site=%s", self.site.hex())

    async def _abort(self) -> None:
        """End without a word, as if the process had been killed; for tests."""
        assert self._runner is not None
        self._state = "closed"
        await self._runner.abort()
        self._hub.close()

    async def __aenter__(self) -> Node:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _check_fork(self) -> None:
        if self._forks != _forks:
            raise UsageError("this node was made before a fork and belongs to the parent; make a Node in the child")

    def _live(self, closing: bool = True) -> Runner:
        """The runner, if this call may use it; `closing`: also while the node says goodbye."""
        self._check_fork()
        if self._runner is not None:
            self._runner.check_thread()
        if self._runner is None or not (self._state == "open" or (closing and self._state == "closing")):
            if self._runner is not None and self._runner.dead is not None:
                raise ClosedError("the node died of a bug in covey; see its cause") from self._runner.dead
            raise ClosedError(f"the node is {self._state}; use it inside `async with`, or call start() first")
        if self._runner.dead is not None:
            raise ClosedError("the node died of a bug in covey; see its cause") from self._runner.dead
        return self._runner

    # --- who and where ----------------------------------------------------------------------------------------------

    @property
    def site(self) -> Site:
        """This node's identity: 16 random bytes, drawn at `start`."""
        return self._started().contact.site

    @property
    def incarnation(self) -> int:
        """This life of the site: milliseconds since 1970 at `start`."""
        return self._started().contact.incarnation

    @property
    def address(self) -> str:
        """The address others dial, `host:port`; empty until it is known (see `advertise`)."""
        return self._started().contact.address

    def _started(self) -> Runner:
        if self._runner is None:
            raise ClosedError(f"the node is {self._state}; it has no identity before start()")
        return self._runner

    def neighbours(self) -> list[Neighbor]:
        """The nodes that this one keeps a link to; both sides agree on it. Up to five, in the order they came up."""
        self._live()
        assert self._engine is not None
        return [_neighbor(contact) for contact in self._engine.overlay.neighbours()]

    async def wait_neighbours(self, count: int, timeout: float = 10.0) -> list[Neighbor]:
        """Wait until there are at least `count` neighbours. Raises `DeadlineExceeded` after `timeout` seconds."""
        if type(count) is not int or count < 0:
            raise UsageError(f"count must be an int of at least 0, not {count!r}")
        try:
            async with asyncio.timeout(_seconds("timeout", timeout)), self.events() as events:
                if len(self.neighbours()) >= count:
                    return self.neighbours()
                async for _ in events:
                    if len(self.neighbours()) >= count:
                        return self.neighbours()
        except TimeoutError:
            found = len(self.neighbours())
            raise DeadlineExceeded(
                f"{found} of {count} neighbours after {timeout} s; are the seeds right, and is the secret the same?"
            ) from None
        raise ClosedError("the node was closed while waiting for neighbours")

    def statistics(self) -> NodeStatistics:
        """Counters of every machine, and the event loop's lag."""
        runner = self._live()
        assert self._engine is not None
        metrics = self._metrics
        return NodeStatistics(
            self._engine.statistics(),
            runner.lag_us / 1000,
            self._undecodable,
            {".".join(key): count for key, count in metrics.heard.items()} if metrics else {},
            {".".join(key): count for key, count in metrics.said.items()} if metrics else {},
        )

    # --- messages ---------------------------------------------------------------------------------------------------

    async def send(self, site: Site, payload: Any, timeout: float | None = None) -> None:
        """Send `payload` to one node; it arrives there as the event `Message`.

        Returns when it is on the link; delivery is at most once, in order per sender and receiver. Waits while the link
        is being made or the receiver reads too slowly, up to `timeout` seconds (default `config.send_timeout`).

        Raises `UsageError` or `ValueTooLarge` for what cannot be sent, `UnknownName` for a site this node has no
        address of, `PeerUnreachable` when no link can be made, `Overloaded` when too much waits already,
        `DeadlineExceeded`. Except after `DeadlineExceeded`, an error means that it was not sent.
        """
        seconds = self.config.send_timeout if timeout is None else _seconds("timeout", timeout)
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
                if runner.dead is None and self._state == "open":
                    runner.feed(v.Abandon(request))

    def send_nowait(self, site: Site, payload: Any) -> None:
        """Like `send`, without waiting: `Overloaded` when the link is not ready to take it at once, and nothing is
        sent.

        Where there is no link yet one is made, and the value goes with it.
        """
        if self._send_at_once(site, payload):
            return
        runner = self._live()
        if self._direct is not None and type(site) is bytes and self._direct.congested(site):
            raise Overloaded(f"site {short(site)} reads too slowly; nothing was sent: use `await send`, or try again")
        request, outcome = self._send(site, payload)
        if outcome.done():
            return outcome.result()
        runner.forget_request(request)

    def _send_at_once(self, site: Site, payload: Any) -> bool:
        """The short way, taken nearly always: the link is open and the receiver keeps up."""
        runner = self._live(closing=False)
        if type(site) is not bytes or self._direct is None or not self._direct.ready(site):
            return False
        value = encode_payload(payload)
        if not self._outgoing:
            runner.at_end_of_turn(self._flush_outgoing)
        waiting = self._outgoing.get(site)
        if waiting is None:
            self._outgoing[site] = [value]
        else:
            waiting.append(value)
            if len(waiting) >= OUTGOING_MAX:
                self._flush_outgoing()
        return True

    def _flush_outgoing(self) -> None:
        """What one turn of the event loop sent to one site goes to the machines as one command."""
        outgoing, self._outgoing = self._outgoing, {}
        runner = self._runner
        if runner is None or runner.dead is not None:
            return
        for site, values in outgoing.items():
            runner.feed(SendPayloads(0, site, "", tuple(values)))

    def _send(self, site: Site, payload: Any) -> tuple[int, asyncio.Future[None]]:
        runner = self._live(closing=False)
        if type(site) is not bytes or len(site) != SITE_BYTES:
            raise UsageError(f"site must be {SITE_BYTES} bytes (Neighbor.site, Message.sender), not {site!r:.60}")
        value = encode_payload(payload)
        self._flush_outgoing()  # order: what was sent before goes before
        request, outcome = runner.request()
        try:
            runner.feed(SendPayloads(request, site, self._address_of(site), (value,)))
        except BaseException:
            runner.forget_request(request)
            raise
        return request, outcome

    def _address_of(self, site: Site) -> str:
        engine = self._engine
        assert engine is not None
        if engine.links.linked(site, v.Channel.DATA) or site == self.site:
            return ""
        contact = engine.overlay.contact(site) or engine.links.contact(site)
        if contact is None or not contact.address:
            raise UnknownName(f"no address of site {short(site)} is known here; nothing was sent")
        return contact.address

    # --- events -----------------------------------------------------------------------------------------------------

    def events(self, events_max: int | None = None) -> Subscription[tuple[Neighbor, ...], NodeEvent]:
        """A stream of `NeighborUp`, `NeighborDown`, `Message`, `LinkRefused`, `ProtocolViolation` and `Lost`.

        Use it as `async with node.events() as events`; `events.snapshot` holds the neighbours it starts from.
        """
        self._live()
        return self._hub.subscription(self.config.events_max if events_max is None else events_max)

    def _on_event(self, event: Any) -> None:
        match event:
            case PayloadsReceived(sender, values):
                self._on_payloads(sender, values)
            case overlay.NeighborUp(contact):
                neighbor = self._released[contact.site] = _neighbor(contact)
                log.info("event=neighbour_up site=%s address=%s", short(contact.site), contact.address)
                self._hub.publish(NeighborUp(neighbor))
            case overlay.NeighborDown(contact, cause):
                del self._released[contact.site]
                log.info("event=neighbour_down site=%s cause=%s", short(contact.site), _word(cause))
                self._hub.publish(NeighborDown(_neighbor(contact), _word(cause)))
            case link.LinkRefused(address, inbound, cause, detail, by_peer):
                log.warning("event=link_refused address=%s inbound=%s cause=%s by_peer=%s detail=%r",
                            address, inbound, _word(cause), by_peer, detail)  # fmt: skip
                self._hub.publish(LinkRefused(address, inbound, _word(cause), detail, by_peer))
            case v.ProtocolViolation(site, cause, detail):
                log.warning("event=protocol_violation site=%s cause=%s detail=%r", short(site), _word(cause), detail)
                self._hub.publish(ProtocolViolation(site, _word(cause), detail))
            case BaseException():
                self._hub.close(event)
            case _:
                log.info("event=%s detail=%r", type(event).__name__, event)

    def _on_payloads(self, sender: Site, values: tuple[bytes, ...]) -> None:
        if not self._hub:
            return
        for value in values:
            try:
                payload = decode_payload(value)
            except DecodeError as error:
                self._undecodable += 1
                log.warning("event=payload_undecodable sender=%s reason=%r", short(sender), str(error))
            else:
                self._hub.publish(Message(sender, payload))

    def __repr__(self) -> str:
        who = f" site={short(self.site)} address={self.address}" if self._runner is not None else ""
        return f"<covey.Node {self.cluster!r} {self._state}{who}>"


def _neighbor(contact: Contact) -> Neighbor:
    return Neighbor(contact.site, contact.incarnation, contact.address)


def _word(cause: v.Cause) -> str:
    return cause.name.lower()


def _seconds(name: str, value: float) -> float:
    if type(value) not in (int, float) or not value > 0:
        raise UsageError(f"{name} must be a number of seconds above 0, not {value!r}")
    return value
