"""`Hub`, what `node.hub(name, …)` gives: named children, each in exactly one node, reachable from all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

import msgspec

from covey.api.events import Subscription
from covey.api.group_values import CallFailed
from covey.api.hub_node import Hubs, OpenHub, WantedHub, errors_of
from covey.api.hub_specs import (
    ChildSpec,
    OnFailure,
    RunsById,
    Scope,
    Wait,
    check_metadata,
    encode_metadata,
    encode_value,
    new_child,
    timeout_us,
)
from covey.api.hub_values import STATE_NAMES, Child, HubEvent, HubNode, StartResult, StopResult
from covey.core.errors import ConfigError, UsageError
from covey.protocols.registry import vocabulary as h
from covey.wire.keys import Key, decode_key, encode_key
from covey.wire.limits import FRAME_BYTES_MAX
from covey.wire.payloads import decode_payload, encode_payload

CALL_BYTES_MAX = FRAME_BYTES_MAX - 65_536
START_TIMEOUT = 10.0  # seconds; ProcessHub's


class Explanation(msgspec.Struct, frozen=True):
    """Why a child is where it is. `ranking` has the nodes that can run it, the one it belongs to first.

    `reasons` says the rest in words, in the order in which they count.
    """

    id: Key
    belongs: str
    runs: tuple[str, ...]
    ranking: tuple[str, ...]
    reasons: tuple[str, ...]


class Hub:
    """Named children, each of which runs in exactly one of the nodes that open this hub.

    Use it as `async with node.hub("sessions", children=[session], on_split="both") as hub:`, or `await hub.start()` and
    `await hub.aclose()`. On leaving, children of this node move to others, or end. Look-ups are local.
    """

    def __init__(self, hubs: Hubs, name: Key, instance: bytes, wanted: WantedHub) -> None:
        self.name = name
        self._hubs = hubs
        self._instance = instance
        self._wanted = wanted
        self._entered: OpenHub | None = None

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> Hub:
        """Take part: returns once this node places children, and all that are `static` run.

        Raises `ConfigError` where the hub is open on this node with other options, `ChildStartFailed` for a static
        child that does not start, `DeadlineExceeded` where it is not known after 60 s what runs on the other nodes.
        """
        if self._entered is None:
            # Children get a handle that takes no part itself: a hub stays open for its users, not for them.
            for_children = Hub(self._hubs, self.name, self._instance, self._wanted)
            self._entered = await self._hubs.enter(self._instance, self._wanted, for_children)
        return self

    async def aclose(self) -> None:
        """Take part no more: children move to other nodes with what they hand over, or end. Idempotent."""
        if self._entered is not None:
            entered, self._entered = self._entered, None
            await self._hubs.leave(entered)

    async def __aenter__(self) -> Hub:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def _open(self) -> OpenHub:
        """The open hub. Raises `ClosedError`, and `ConfigError` for a handle with other settings than it has."""
        if self._entered is not None:
            return self._entered
        hub = self._hubs.get(self._instance)
        if (has := hub.wanted.options.settings) != (wants := self._wanted.options.settings):
            raise ConfigError(f"the hub {hub.text} is open on this node with {has}, and this handle has {wants}")
        return hub

    # --- children ---------------------------------------------------------------------------------------------------

    async def start_child(
        self,
        spec: ChildSpec[Any],
        *,
        timeout: float = START_TIMEOUT,
        check_existing: bool = True,
        on_failure: OnFailure = "continue",
        metadata: Mapping[str, Any] | None = None,
        wait: Wait = "started",
    ) -> Child:
        """Start one child and return it. Options are those of `start_children`.

        Raises `ChildStartFailed` (it is there already, it raised, nobody can run it), `DeadlineExceeded`.
        """
        result = await self.start_children(
            [spec], timeout=timeout, check_existing=check_existing, on_failure=on_failure, metadata=metadata, wait=wait
        )
        result.raise_for_errors()
        return result.started[0]

    async def start_children(
        self,
        specs: Iterable[ChildSpec[Any]],
        *,
        timeout: float = START_TIMEOUT,
        check_existing: bool = True,
        on_failure: OnFailure = "continue",
        metadata: Mapping[str, Any] | None = None,
        wait: Wait = "started",
    ) -> StartResult:
        """Start children wherever they belong, and wait until they run, `timeout` seconds at most.

        `metadata` is that of all of them, where their own does not say otherwise. `on_failure="rollback"`: if one
        fails, all are stopped again, on every node, but for those that somebody else started too (`exists`).
        `wait="visible_everywhere"`: until every node shows them.
        `check_existing=False`: do not look first whether they are there; a child that runs is not started twice all
        the same. Errors of single children are in the result. Raises `UsageError` for no children, for arguments that
        cannot be serialised and for what cannot be started, `ConfigError` for options; then nothing was started.
        """
        hub = self._open()
        if on_failure not in ("continue", "rollback"):
            raise ConfigError(f"on_failure: must be 'continue' or 'rollback', not {on_failure!r}; nothing was started")
        if wait not in ("started", "visible_everywhere"):
            raise ConfigError(f"wait: must be 'started' or 'visible_everywhere', not {wait!r}; nothing was started")
        if isinstance(specs, ChildSpec):
            raise UsageError(f"specs must be a list of ChildSpecs, not {specs!r}; write [{specs!r}]")
        if metadata is not None:
            check_metadata(metadata)
        new = tuple([new_child(spec, metadata) for spec in specs])
        if not new:
            raise UsageError("there are no children to start; nothing was done")
        outcome: h.StartOutcome = await self._hubs.ask(
            lambda request: h.StartChildren(
                request, self._instance, new, timeout_us(timeout), not check_existing, on_failure == "rollback",
                wait == "visible_everywhere",
            )
        )  # fmt: skip
        children = {one.id: one for one in new}
        started = tuple([_child_of(hub, children[place.id], place) for place in outcome.started])
        return StartResult(errors_of(hub, outcome.errors), started, outcome.rolled_back)

    async def stop_child(self, id: Key, *, timeout: float = START_TIMEOUT) -> None:
        """Stop one child for good. Raises `UnknownName` for an unknown id, `DeadlineExceeded` if it has not ended."""
        (await self.stop_children([id], timeout=timeout)).raise_for_errors()

    async def stop_children(self, ids: Iterable[Key], *, timeout: float = START_TIMEOUT) -> StopResult:
        """Stop children for good, wherever they run, and wait until they have ended, `timeout` seconds at most.

        It waits for the copies that it stopped, not for one that is started anew meanwhile. What is not known is an
        error of that child in the result, at once; what has not ended is one with the node where it runs.
        """
        hub = self._open()
        if isinstance(ids, (str, bytes)):
            raise UsageError(f"ids must be a list of ids, not {ids!r}; write [{ids!r}]")
        encoded = tuple([encode_key(id) for id in ids])
        outcome: h.StopOutcome = await self._hubs.ask(
            lambda request: h.StopChildren(request, self._instance, encoded, timeout_us(timeout))
        )
        stopped = tuple((decode_key(id), sites) for id, sites in outcome.stopped)
        return StopResult(errors_of(hub, outcome.errors), stopped)

    def update_child(self, id: Key, metadata: Mapping[str, Any]) -> None:
        """Say something else of a child, instead of all that was said.

        Raises `UnknownName` where there is none, and `Overloaded` where the rows of this hub have no room for it.
        """
        self._open()
        key, meta = encode_key(id), encode_metadata(metadata)
        self._hubs.order(lambda request: h.UpdateChild(request, self._instance, key, meta))

    # --- letters ----------------------------------------------------------------------------------------------------

    async def call(
        self, id: Key, payload: Any = None, *, start: ChildSpec[Any] | RunsById | None = None, timeout: float = 5.0
    ) -> Any:
        """Ask a child, wherever it is, and return its answer.

        `start`: what to start where there is no such child: a `ChildSpec` of this id, or something that gets the id
        behind its `Context`; of many callers at one time all get the same one.

        Raises `CallFailed` when the child says so, `UnknownName` where there is none, `DeadlineExceeded` when it may
        have acted and there is no answer, `PeerUnreachable` when it did not get the call, `Overloaded` when it has too
        much unread, `UsageError` and `ValueTooLarge` for what cannot be sent.
        """
        encoded = encode_payload(payload, "payload", CALL_BYTES_MAX)
        key, new, deadline_us = encode_key(id), self._new(id, start), timeout_us(timeout)
        self._open()
        answer: h.Answer = await self._hubs.ask(
            lambda request: h.CallChild(request, self._instance, key, encoded, deadline_us, new)
        )
        value = decode_payload(answer.payload)
        if answer.failed:
            raise CallFailed(str(value))
        return value

    def cast(
        self, id: Key, payload: Any = None, *, start: ChildSpec[Any] | RunsById | None = None, timeout: float = 5.0
    ) -> None:
        """Tell a child something; it gets it once at most, and nobody hears whether. It waits `timeout` seconds for a
        child that runs nowhere at the moment.
        """
        encoded = encode_payload(payload, "payload", CALL_BYTES_MAX)
        self._open()
        new, deadline_us = self._new(id, start), timeout_us(timeout)
        self._hubs.feed(h.CallChild(0, self._instance, encode_key(id), encoded, deadline_us, new))

    def _new(self, id: Key, start: ChildSpec[Any] | RunsById | None) -> h.NewChild | None:
        if start is None:
            return None
        spec = start if isinstance(start, ChildSpec) else ChildSpec(id, start, id)
        if encode_key(spec.id) != encode_key(id):
            raise UsageError(f"start has the id {spec.id!r}, and the call is for {id!r}; nothing was sent")
        return new_child(spec)

    # --- what is known here -----------------------------------------------------------------------------------------

    def lookup(self, id: Key) -> Child | None:
        """A child as this node knows it, or None. Takes no network, and no time.

        Of one that was stopped only what is "stuck" is seen.
        """
        hub = self._entered or self._open()
        if type(id) is str and (known := hub.cache.get(id)) is not None:
            return known
        encoded = encode_key(id)
        cached = id if type(id) is str else encoded
        child = hub.cache.get(cached) or hub.known(encoded)
        if child is not None:
            hub.cache[cached] = child
        return child

    def find(self, **metadata: Any) -> list[Child]:
        """The children whose metadata has all of these: `hub.find(tag="eu")`. An index, no scan.

        Of each child's metadata the first 32 entries are found. Raises `UsageError` for no condition.
        """
        if not metadata:
            raise UsageError(
                "find needs something to look for: hub.find(tag='eu'); for all children there is children()"
            )
        hub = self._open()
        book = hub.machine.book
        found: list[bytes] | None = None
        for name, value in metadata.items():
            ids = book.find(name, encode_value(value))
            among = dict.fromkeys(ids)
            found = ids if found is None else [id for id in found if id in among]
        return [child for id in found or () if (child := hub.known(id)) is not None]

    def children(self, scope: Scope = "global") -> list[Key]:
        """The ids of all children, or with `"local"` of those that run on this node."""
        hub = self._open()
        if scope == "global":
            return [decode_key(id) for id in hub.machine.book.children]
        if scope != "local":
            raise UsageError(f"scope must be 'global' or 'local', not {scope!r}")
        me = hub.machine.ground.me
        return [decode_key(id) for id in hub.machine.hosting.hosted if me in hub.machine.book.running(id)]

    def dump(self) -> dict[Key, Child]:
        """Everything, by id, also what is "stuck" of children that were stopped.

        Two children whose ids Python holds equal, as 1 and True, are one here.
        """
        return {child.id: child for child in self._open()._snapshot()}

    def nodes(self) -> list[HubNode]:
        """Who takes part, this node included."""
        return list(self._open().nodes())

    def explain(self, id: Key) -> Explanation:
        """Why a child is where it is, or why it is nowhere. Also for an id that is no child: where it would be."""
        hub = self._open()
        machine, encoded = hub.machine, encode_key(id)
        view = machine.ground.places.view
        child = machine.book.children.get(encoded)
        ranked = view.ranked(encoded, None if child is None else child.spec.start)
        belongs = machine.ground.places.host(encoded)
        copies = machine.book.running(encoded)
        runs = tuple(hub.name_of(site) for site, _ in copies)
        names = tuple(hub.name_of(one.site) for one in ranked)
        reasons = [] if child is not None else ["there is no such child"]
        if not machine.ground.ready:
            reasons.append("this node has just come, and does not place children yet")
        if child is not None:
            reasons += machine.why(child, hub.name_of)
            reasons += [missing] if not runs and (missing := hub.telling.missing()) else []
        else:
            for (site, _), one in copies.items():
                state = STATE_NAMES[one.state]
                reasons.append(f"the copy on {hub.name_of(site)} was told to end, and has not yet ({state})")
        return Explanation(id, hub.name_of(belongs), runs, names, tuple(reasons))

    def events(self, events_max: int | None = None) -> Subscription[tuple[Child, ...], HubEvent]:
        """A stream of what happens to children and nodes; `snapshot` has all children that it starts from."""
        return self._hubs.subscribe(self._open(), events_max)

    def statistics(self) -> dict[str, int]:
        """What is here, and counts since the hub was opened on this node."""
        return self._open().machine.statistics()

    def __repr__(self) -> str:
        return f"<covey.Hub {self.name!r}>"


def _child_of(hub: OpenHub, new: h.NewChild, place: h.Place) -> Child:
    """A child as it started, whatever became of it since."""
    known = hub.known(place.id)
    if known is not None and known.copies:
        return known
    return hub.made(new, place)
