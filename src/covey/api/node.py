"""`Node`: this process as part of a cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, TypeVarTuple, Unpack, cast

import msgspec

from covey.api.clients import Desk
from covey.api.config import Config
from covey.api.events import Neighbor, Subscription
from covey.api.group_node import Groups
from covey.api.groups import Group
from covey.api.hub_making import MoreOptions, make_hub
from covey.api.hub_node import Hubs
from covey.api.hub_specs import ChildSpec, OnSplit, Result, Runs
from covey.api.hubs import Hub
from covey.api.members import Kicked, Member, encode_meta, member_in, member_of
from covey.api.options import check_options
from covey.api.outbox import Outbox
from covey.api.presence import SCOPE as PRESENCE_SCOPE
from covey.api.presence import Presence
from covey.api.scopes import Scope
from covey.api.singletons import Singleton
from covey.api.telling import NodeEvent, NodeState, Telling, neighbor_of
from covey.core import vocabulary as v
from covey.core.errors import (
    ClosedError,
    ConfigError,
    CoveyError,
    DeadlineExceeded,
    SiteConflict,
    UsageError,
)
from covey.core.ids import SITE_BYTES, Contact, Site, draw_site, short
from covey.engine.engine import Engine
from covey.engine.gate import Gate
from covey.engine.lives import next_incarnation
from covey.observe.metrics import Metrics
from covey.protocols.links.handshake import Identity
from covey.protocols.membership import vocabulary as membership
from covey.protocols.membership.ledger import home_of
from covey.protocols.membership.vocabulary import Outcome
from covey.runtime.addresses import parse_address
from covey.runtime.children import Context, Start
from covey.runtime.environment import Environment, RealEnvironment
from covey.runtime.runner import Runner
from covey.runtime.storage import Storage, Stored
from covey.runtime.transport.base import Transport
from covey.wire.keys import Key

log = logging.getLogger(__name__)

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

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
    - `storage`: the path of a file that keeps this site and its membership through restarts (SQLite), or a `Storage`.
      Without it the node is *ephemeral*: a new site at each start, which belongs only as long as it lives.
    - `name`, `meta`: what this node says of itself to all members, in `Member.name` and `Member.meta`.
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
        storage: str | Path | Storage | None = None,
        meta: Mapping[str, Any] | None = None,
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
            storage=storage,
            meta=meta,
            config=config,
        )
        self.cluster = cluster
        self.name = self._options.name
        self.config = self._options.config
        self._environment = _environment or RealEnvironment()
        self._runner: Runner | None = None
        self._engine: Engine | None = None
        self._outbox: Outbox | None = None
        self._groups: Groups | None = None
        self._hubs: Hubs | None = None
        self._forks = _forks
        self._closing: asyncio.Task[None] | None = None
        self._metrics = Metrics() if self.config.metrics else None
        self._desk = Desk(self)
        self._telling = Telling(self._on_conflict, self._desk.on_asked)
        self._state = "new"

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Find or draw an identity, listen, and begin to look for others. It does not wait for them.

        Raises `ConfigError` when no port is free or the storage belongs to another cluster, `StorageFailed` when it
        cannot be used (it was not touched then), `UsageError` when this node was started before.
        """
        self._check_fork()
        if self._state != "new":
            raise UsageError(f"this node is {self._state}; a Node is started once: make another one")
        environment = self._environment
        options = self._options
        transport = environment.transport(options.make_tls())
        self._state = "starting"
        try:
            stored = await options.storage.open()
            self._check_starting()
            runner, engine = await self._make(stored, transport)
            self._check_starting()
            self._runner, self._engine, self._outbox = runner, engine, Outbox(self._live, engine)
            config = self.config
            self._groups = Groups(self._live, engine.groups, environment.rng(), config.events_max, config.send_timeout)
            self._telling.groups = self._groups
            self._hubs = self._telling.hubs = Hubs(
                self._live, runner, engine, environment.watchdog(), config.events_max, config.close_timeout
            )
            self._telling.me = self._myself()
            await runner.start(options.listen, options.advertise)
            runner.feed(v.Tick())  # what machines do first, they have done when this returns
            self._telling.me = self._myself()
        except BaseException:
            if self._state == "starting":
                self._state = "new"
                self._runner = self._engine = None
            await transport.aclose()
            await options.storage.aclose()
            raise
        self._state = "open"
        log.info(
            "event=node_started cluster=%r profile=%s site=%s address=%s encrypted=%s",
            self.cluster, self.config.profile, self.site.hex(), self.address or "?", options.encrypt,
        )  # fmt: skip

    def _check_starting(self) -> None:
        if self._state != "starting":
            raise ClosedError("the node was closed while it started")

    async def _make(self, stored: Stored, transport: Transport) -> tuple[Runner, Engine]:
        """This life of the site, durable before anybody sees it, and what it runs on."""
        environment, options = self._environment, self._options
        nonces = environment.nonces()
        home = home_of(stored.logs.get("membership", {}))
        if home is not None and home != options.cluster_id:
            raise ConfigError(
                f"storage: it belongs to another cluster than {self.cluster!r}; nothing of it was changed: "
                "give this node a storage of its own"
            )
        site = stored.site or draw_site(nonces)
        incarnation = next_incarnation(stored.incarnation, stored.logs, site, environment.wall_us() // 1000)
        await options.storage.begin_life(site, incarnation)
        identity = Identity(options.cluster_id, site, incarnation, nonces.randbytes(16), options.secret)
        config = self.config.engine
        membership = msgspec.structs.replace(config.membership, ephemeral=not options.storage.durable)
        config = msgspec.structs.replace(config, membership=membership)
        engine = Engine(
            config, identity, "", environment.rng(), nonces, environment.monotonic_us(), stored.logs, options.meta
        )
        runner = Runner(
            engine,
            Gate(config.gate),
            transport,
            contact=Contact(site, incarnation, ""),
            storage=options.storage,
            seeds=options.seeds,
            on_event=self._telling.on_event,
            environment=environment,
            observe=self._metrics.observe if self._metrics is not None else None,
        )
        return runner, engine

    def _on_conflict(self, error: SiteConflict) -> None:
        assert self._runner is not None
        self._runner.end(error)

    async def close(self) -> None:
        """Say goodbye to the neighbours and end, within `config.close_timeout` seconds. Idempotent."""
        self._check_fork()
        if self._runner is not None:
            self._runner.check_thread()
        if self._runner is None:  # not started, or its start ends as soon as it looks
            self._state = "closed"
        if self._state == "closed":
            return
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(), name="covey close")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        assert self._runner is not None
        if self._groups is not None and self._state == "open":
            self._groups.turn_away()
        self._state = "closing"
        if self._hubs is not None:
            await self._hubs.aclose()
        await self._desk.aclose()
        try:
            await asyncio.wait_for(self._runner.close(), self.config.close_timeout)
        except TimeoutError:
            log.warning("event=close_timeout seconds=%s", self.config.close_timeout)
        finally:
            self._state = "closed"
            self._telling.close(self._runner.dead)
            log.info("event=node_closed site=%s", self.site.hex())

    async def _abort(self) -> None:
        """End without a word, as if the process had been killed; for tests."""
        assert self._runner is not None
        self._state = "closed"
        await self._desk.aclose()
        await self._runner.abort()
        if self._hubs is not None:
            await self._hubs.abort()
        self._telling.close(None)

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
                raise _death(self._runner.dead) from self._runner.dead
            raise ClosedError(f"the node is {self._state}; use it inside `async with`, or call start() first")
        if self._runner.dead is not None:
            raise _death(self._runner.dead) from self._runner.dead
        return self._runner

    # --- who and where ----------------------------------------------------------------------------------------------

    @property
    def site(self) -> Site:
        """This node's identity: 16 random bytes, drawn at its first `start` and kept by its storage."""
        return self._started().contact.site

    @property
    def incarnation(self) -> int:
        """This life of the site: milliseconds since 1970 at its beginning, or more, never less than a life before."""
        self._started()
        assert self._engine is not None
        return self._engine.membership.me.incarnation

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
        return [neighbor_of(contact) for contact in self._engine.overlay.neighbours()]

    async def wait_neighbours(self, count: int, timeout: float = 10.0) -> list[Neighbor]:
        """Wait until there are at least `count` neighbours. Raises `DeadlineExceeded` after `timeout` seconds."""
        return await self._wait_for("neighbours", self.neighbours, count, timeout)

    async def _wait_for(self, what: str, found: Callable[[], list[R]], count: int, timeout: float) -> list[R]:
        if type(count) is not int or count < 0:
            raise UsageError(f"count must be an int of at least 0, not {count!r}")
        try:
            async with asyncio.timeout(_seconds("timeout", timeout)), self.events() as events:
                if len(found()) >= count:
                    return found()
                async for _ in events:
                    if len(found()) >= count:
                        return found()
        except TimeoutError:
            raise DeadlineExceeded(
                f"{len(found())} of {count} {what} after {timeout} s; are the seeds right, and is the secret the same?"
            ) from None
        raise ClosedError(f"the node was closed while waiting for {what}")

    def statistics(self) -> NodeStatistics:
        """Counters of every machine, and the event loop's lag."""
        runner = self._live()
        assert self._engine is not None
        metrics = self._metrics
        return NodeStatistics(
            self._engine.statistics(),
            runner.lag_us / 1000,
            self._telling.undecodable + (self._groups.undecodable if self._groups is not None else 0),
            {".".join(key): count for key, count in metrics.heard.items()} if metrics else {},
            {".".join(key): count for key, count in metrics.said.items()} if metrics else {},
        )

    # --- members ----------------------------------------------------------------------------------------------------

    def members(self) -> list[Member]:
        """All sites that belong to the cluster as far as this node knows, itself included, in the order of their sites.

        Whether one belongs is decided by people and kept; its `status` is what this node observes of it now.
        """
        self._live()
        assert self._engine is not None
        others = [member_in(entry) for entry in self._engine.roster.entries.values()]
        return sorted([self._telling.me, *others], key=lambda member: member.site)

    def _myself(self) -> Member:
        assert self._engine is not None
        ledger = self._engine.membership.ledger
        return member_of(ledger.me, v.Liveness.ALIVE, ledger.meta or b"", not self._options.storage.durable)

    @property
    def alone(self) -> bool:
        """Whether this node left or was thrown out, and goes on in a cluster of its own until it joins again."""
        self._live()
        assert self._engine is not None
        return self._engine.membership.solo

    @property
    def kicked(self) -> Kicked | None:
        """Who threw this node out, while it is out: it is alone in a cluster of its own until it joins again."""
        self._live()
        assert self._engine is not None
        verdict = self._engine.membership.ledger.verdict
        if not self._engine.membership.solo or verdict is None or verdict.origin == self.site:
            return None
        return Kicked(verdict.origin, verdict.wall_ms)

    def why(self, site: Site) -> tuple[str, ...]:
        """The story of this node's opinion of a member, oldest line first, times in seconds of its own clock."""
        self._live()
        assert self._engine is not None
        return self._engine.detector.why(site)

    async def wait_members(self, count: int, timeout: float = 10.0) -> list[Member]:
        """Wait until at least `count` members are alive, this node included, and return them.

        Raises `DeadlineExceeded` after `timeout` seconds.
        """
        return await self._wait_for("members", self._alive, count, timeout)

    def _alive(self) -> list[Member]:
        return [member for member in self.members() if member.status == "alive"]

    async def join(self, address: str, timeout: float = 15.0) -> Site:
        """Belong to the cluster of the node at `address` (`"host:port"`). Returns its site when records were exchanged.

        Needed only by a node that was kicked or has left, or has no seed that leads to the others; where all are out,
        one of them begins again by joining its own address. Raises `JoinFailed`
        (with `ClusterMismatch`, where a cluster of another name answers) and leaves everything as it was;
        `DeadlineExceeded` after `timeout` seconds, and the attempt goes on.
        """
        self._live(closing=False)
        parse_address(address, "address")
        contact: Contact = await self._ask(lambda request: membership.Join(request, address), timeout)
        return contact.site

    async def kick(self, site: Site, timeout: float = 10.0) -> Outcome:
        """Throw a member out, dead or alive; it stays out until it is asked to join again.

        Returns who has acknowledged it and who has not yet (they will hear of it). Raises `UnknownName` for a site that
        was never a member.
        """
        self._check_site(site)
        outcome: Outcome = await self._ask(lambda request: membership.Kick(request, site), timeout)
        return outcome

    async def leave(self, timeout: float = 10.0) -> Outcome:
        """Leave the cluster: go on alone. Returns who has acknowledged it and who has not.

        A node that left comes back when it is started again, or with `join`. `close` alone keeps its membership.
        """
        outcome: Outcome = await self._ask(membership.Leave, timeout)
        return outcome

    async def flush(self, timeout: float = 10.0) -> Outcome:
        """Have every member take all that this node knows about membership. Returns who has and who has not."""
        outcome: Outcome = await self._ask(membership.Flush, timeout)
        return outcome

    async def set_meta(self, meta: Mapping[str, Any], timeout: float = 10.0) -> None:
        """Say something else of this node, instead of all it said before. Returns when it is durable here."""
        blob = encode_meta(self.name, meta)
        await self._ask(lambda request: membership.SetMeta(request, blob), timeout)

    def _check_site(self, site: Site) -> None:
        if type(site) is not bytes or len(site) != SITE_BYTES:
            raise UsageError(f"a site is {SITE_BYTES} bytes, not {site!r:.60}; nothing was changed")

    async def _ask(self, command: Callable[[int], Any], timeout: float) -> Any:
        """Give the machines a command and wait for its outcome."""
        runner = self._live(closing=False)
        seconds = _seconds("timeout", timeout)
        request, outcome = runner.request()
        try:
            runner.feed(command(request))
            async with asyncio.timeout(seconds):
                return await outcome
        except TimeoutError:
            raise DeadlineExceeded(f"no outcome in {seconds} s; it may still take effect") from None
        finally:
            runner.forget_request(request)

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
        await self._posting().send(site, payload, seconds)

    def send_nowait(self, site: Site, payload: Any) -> None:
        """Like `send`, without waiting: `Overloaded` when the link is not ready to take it at once, and nothing is
        sent.

        Where there is no link yet one is made, and the value goes with it.
        """
        self._posting().send_nowait(site, payload)

    def _posting(self) -> Outbox:
        if self._outbox is None:
            self._live()  # raises: it was never started
        assert self._outbox is not None
        return self._outbox

    # --- groups -----------------------------------------------------------------------------------------------------

    def group(self, key: Key, scope: str = "") -> Group:
        """The group of all mailboxes anywhere that joined `key` in this scope. Raises `ConfigError` for no key."""
        return self.scope(scope).group(key)

    def groups(self, scope: str = "") -> list[Key]:
        """The keys of all groups of this scope that have a member, as far as this node knows."""
        return self.scope(scope).groups()

    def scope(self, name: str = "") -> Scope:
        """All groups of one scope, and what happens in any of them.

        Raises `ConfigError` for no name, `UsageError` where 1,024 scopes were asked for already.
        """
        self._live(closing=False)
        assert self._groups is not None
        return Scope(self._groups, name)

    def presence(self, topic: Key) -> Presence:
        """Who is there under `topic`, by keys of your own. Raises `ConfigError` for no key."""
        return Presence(self.group(topic, PRESENCE_SCOPE))

    # --- hubs -------------------------------------------------------------------------------------------------------

    def hub(self, name: Key, *, children: Iterable[Runs] = (), on_split: OnSplit | None = None,
            static: Iterable[ChildSpec[Any]] = (), **options: Unpack[MoreOptions]) -> Hub:  # fmt: skip
        """The hub `name`: named children, each of which runs in exactly one of the nodes that open it.

        `children`: what this node can start: coroutine functions, classes with `run`, or `covey.process(…)` of them.
        `on_split`: "both" or `covey.Majority([…])`, which has to be chosen. `static`: children that are there from the
        beginning, started by whoever comes first to them. More options: `MoreOptions`. Raises `ConfigError`.
        """
        self._live(closing=False)
        assert self._hubs is not None
        given = {"children": children, "on_split": on_split, "static": static, **options}
        return make_hub(self._hubs, self._options, name, given)

    def singleton(self, id: Key, start: Callable[[Context, *Ts], Result] | Start[...], *arguments: *Ts,
                  on_split: OnSplit | None = None, **options: Unpack[MoreOptions]) -> Singleton:  # fmt: skip
        """One child that runs `start(ctx, *arguments)` on one of the nodes that name it. Options are those of `hub`.

        It is started again when it raises and when it returns.
        """
        runs = cast(Runs, start)
        spec = ChildSpec(id, runs, *arguments).with_options(restart="permanent")
        hub = self.hub(("singleton", id), children=[runs], on_split=on_split, static=[spec], **options)
        return Singleton(hub, id)

    # --- events -----------------------------------------------------------------------------------------------------

    def events(self, events_max: int | None = None) -> Subscription[NodeState, NodeEvent]:
        """A stream of what happens: to members, to us, to links and storage, messages, and `Lost`.

        Use it as `async with node.events() as events`; `events.snapshot` is the `NodeState` it starts from: all
        members, this node included, and the neighbours.
        """
        self._live()
        return self._telling.hub.subscription(self.config.events_max if events_max is None else events_max)

    def __repr__(self) -> str:
        who = f" site={short(self.site)} address={self.address}" if self._runner is not None else ""
        return f"<covey.Node {self.cluster!r} {self._state}{who}>"


def _seconds(name: str, value: float) -> float:
    if type(value) not in (int, float) or not value > 0:
        raise UsageError(f"{name} must be a number of seconds above 0, not {value!r}")
    return value


def _death(cause: BaseException) -> ClosedError:
    if isinstance(cause, CoveyError):
        return ClosedError(f"the node ended: {cause}")
    return ClosedError("the node died of a bug in covey; see its cause")
