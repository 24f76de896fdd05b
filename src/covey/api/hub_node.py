"""What a node has to do with hubs: its open ones, the children that it runs, and the way in and out of the machine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from covey.api.events import EventHub, Subscription
from covey.api.hub_telling import HubTelling
from covey.api.hub_values import (
    STATE_NAMES,
    Child,
    ChildCopy,
    ChildError,
    ChildRegistered,
    ChildUnplaced,
    ChildUnregistered,
    ChildUpdated,
    HubEvent,
    HubNode,
    error_of,
)
from covey.core.children import Copy, StartChild, StopChild
from covey.core.errors import ClosedError, ConfigError, UnavailableError, UnknownName
from covey.core.ids import Origin, Site, short
from covey.core.vocabulary import Abandon
from covey.protocols.claims.vocabulary import SeatEmpty
from covey.protocols.registry import vocabulary as h
from covey.protocols.registry.hub import Hub as Machine
from covey.protocols.registry.rows import PREFIX, Running, State
from covey.runtime.children import Children, Resolve, Start
from covey.runtime.guard import Guard, Watch
from covey.runtime.watchdog import WatchdogGone
from covey.wire.keys import decode_key

if TYPE_CHECKING:
    from covey.engine.engine import Engine
    from covey.runtime.runner import Runner

log = logging.getLogger(__name__)

FOR_EVER = 1 << 62


class WantedHub(msgspec.Struct, frozen=True):
    """A hub as it is opened on this node."""

    options: h.HubOptions
    starts: dict[str, Start[...]]
    static: tuple[h.NewChild, ...]
    resolve: Resolve | None

    def same(self, other: WantedHub) -> bool:
        """Whether one handle does for both."""
        return (self.options, self.static, self.resolve) == (other.options, other.static, other.resolve)


class OpenHub:
    """One hub that is open on this node, shared by all handles of it."""

    def __init__(self, hubs: Hubs, instance: bytes, wanted: WantedHub) -> None:
        self.hubs = hubs
        self.instance = instance
        self.wanted = wanted
        self.users = 0
        self.ready: asyncio.Task[None] | None = None
        self.telling = HubTelling(self)
        self.events: EventHub[tuple[Child, ...], HubEvent] = EventHub(self._snapshot, self.telling.standing)
        self.cache: dict[Any, Child] = {}  # what was looked up: by id, if that is a str; else by its encoding

    @property
    def machine(self) -> Machine:
        """The hub in the machine. Raises `ClosedError`."""
        machine = self.hubs.machine.hubs.get(self.instance)
        if machine is None:
            raise ClosedError("the hub is not open on this node; use it inside `async with node.hub(…)`")
        return machine

    # --- what is known ----------------------------------------------------------------------------------------------

    def known(self, encoded: bytes) -> Child | None:
        """A child, by its encoded id, or what is stuck of one that was."""
        book = self.machine.book
        shown = h.Shown(book.children.get(encoded), tuple(book.running(encoded).items()))
        return self._child(encoded, shown) if _is_seen(shown) else None

    def _child(self, encoded: bytes, shown: h.Shown) -> Child:
        row = shown.child
        copies = tuple(
            [
                ChildCopy(
                    site, self.name_of(site), incarnation, STATE_NAMES[one.state], one.instance, one.epoch, one.error
                )
                for (site, incarnation), one in sorted(shown.runs, key=_moves)
            ]
        )
        if row is None:
            return Child(decode_key(encoded), "", b"", copies)
        return Child(decode_key(encoded), row.spec.start, row.meta, copies)

    def made(self, new: h.NewChild, place: h.Place) -> Child:
        """A child as it was started, and is not known any more."""
        site, incarnation = place.life
        one = place.running
        copy = ChildCopy(site, self.name_of(site), incarnation, STATE_NAMES[one.state], one.instance, one.epoch)
        return Child(decode_key(new.id), new.spec.start, new.meta, (copy,))

    def name_of(self, site: Site | None) -> str:
        """The name of a node that takes part, or what its site begins with."""
        if site is None:
            return ""
        one = self.machine.book.participants.get(site)
        return one.name if one is not None and one.name else short(site)

    def nodes(self) -> tuple[HubNode, ...]:
        """Who takes part."""
        view = self.machine.ground.places.view
        return tuple(
            HubNode(
                one.site, one.name, one.weight, one.zone, one.draining, one.starts, one.settings, one.app_version, here
            )
            for some, here in ((view.hosts, True), (view.others, False))
            for one in some
        )

    def _snapshot(self) -> tuple[Child, ...]:
        return tuple(child for id in self.ids() if (child := self.known(id)) is not None)

    def ids(self) -> list[bytes]:
        """Of all children, and of those that were and are stuck."""
        book = self.machine.book
        return [*book.children, *(id for id in book.ids_running() if id not in book.children and self.known(id))]

    # --- what happens -----------------------------------------------------------------------------------------------

    def on_event(self, event: Any) -> None:
        """Something that the machine tells of this hub."""
        if type(event) is h.ChildChanged:
            self._on_child(event)
            return
        if type(event) is h.NobodyRuns:
            self._on_unplaced(event)
            return
        if type(event) is h.ParticipantsChanged:
            self.cache.clear()  # of nodes that have another name
        told = self.telling.told(event)
        if told is not None:
            self.events.publish(told)

    def _on_child(self, event: h.ChildChanged) -> None:
        self.cache.pop(event.id, None)
        if self.cache:
            self.cache.pop(decode_key(event.id), None)
        if not self.events:
            return
        before, after = event.before, event.after
        if after is not None and _is_seen(after):
            child = self._child(event.id, after)
            if before is None or (before.child is None and after.child is not None):
                self.events.publish(ChildRegistered(child))
            elif self._child(event.id, before) != child:  # its row may say more than people see
                self.events.publish(ChildUpdated(child))
        elif before is not None and _is_seen(before):
            self.events.publish(ChildUnregistered(self._child(event.id, before)))

    def _on_unplaced(self, event: h.NobodyRuns) -> None:
        children = [child for id in event.ids if (child := self.known(id)) is not None]
        if children:
            starts = ", ".join(sorted({child.start for child in children})[:5])
            log.warning("event=nobody_runs hub=%s children=%d first=%r starts=%s",
                        self.text, len(children), children[0].id, starts)  # fmt: skip
        for child in children:
            self.events.publish(ChildUnplaced(child))

    @property
    def text(self) -> str:
        """Its name, for people."""
        return hub_name(self.instance)


class Hubs:
    """All hubs of one node.

    `live(closing)` gives the runner, or raises what a call on a node that is not open raises.
    """

    def __init__(
        self,
        live: Callable[[bool], Runner],
        runner: Runner,
        engine: Engine,
        watchdog: Watch,
        events_max: int,
        close_timeout: float,
    ) -> None:
        self.live = live
        self.machine = engine.registry
        self.events_max = events_max
        self._close_timeout = close_timeout
        self._open: dict[bytes, OpenHub] = {}
        self._ending: dict[bytes, asyncio.Task[None]] = {}  # of hubs whose children are still on their way out
        self._claims = engine.claims
        self.votes_in = engine.voter.votes_for
        self.children = Children(runner.feed, runner.now_us, self._lease_us)
        self._guard = Guard(watchdog, self.machine.watch_us, self._on_no_watchdog)
        runner.carry_out({**self.children.hands, StartChild: self._watched, StopChild: self._watched})

    def _watched(self, effect: StartChild | StopChild) -> None:
        """Whoever is about to run, or has lost its lease, is watched before its next step."""
        end_us = self.machine.end_us(effect.copy)
        if end_us is not None:
            self._guard.need(end_us)
        self.children.hands[type(effect)](effect)

    def _lease_us(self, copy: Copy) -> int:
        """Until when a copy may run."""
        hub = self.machine.hubs.get(copy.hub)
        if hub is None or not hub.ground.fenced:
            return FOR_EVER
        return self._claims.lease_us((copy.hub, copy.id))

    def on_event(self, event: Any) -> None:
        """Something that the machine tells."""
        hub = self._open.get(event.hub)
        if hub is not None:
            hub.on_event(event)

    def on_seat_empty(self, event: SeatEmpty) -> None:
        """Somebody who is to vote cannot: all hubs hear so that name it among their voters."""
        for hub in list(self._open.values()):
            if event.name in hub.wanted.options.voters:
                hub.on_event(event)

    # --- open and closed --------------------------------------------------------------------------------------------

    def get(self, instance: bytes) -> OpenHub:
        """An open hub. Raises `ClosedError`."""
        hub = self._open.get(instance)
        if hub is None or hub.ready is None:
            self.live(False)
            raise ClosedError("the hub is not open on this node; use it inside `async with node.hub(…)`")
        return hub

    def find(self, instance: bytes) -> OpenHub | None:
        """An open hub, if it is."""
        return self._open.get(instance)

    async def enter(self, instance: bytes, wanted: WantedHub, handle: Any) -> OpenHub:
        """Open a hub, or share one that is open already. Raises `ConfigError` for other options than it has.

        `handle` is what its children find as `ctx.hub`. One that still closes here is waited for, and where its
        children ignore even being cancelled `UnavailableError` is raised.
        """
        self.live(False)
        await self._over(instance)
        self.live(False)
        hub = self._open.get(instance)
        if hub is not None and not hub.wanted.same(wanted):
            raise ConfigError(
                f"the hub {hub.text} is open on this node with other options; close it first, or use the same"
            )
        if hub is None:
            hub = self._open[instance] = OpenHub(self, instance, wanted)
            beginning = self._begin(hub, handle)
            hub.ready = asyncio.get_running_loop().create_task(beginning, name=f"covey hub {hub.text}")
        hub.users += 1
        assert hub.ready is not None
        try:
            await asyncio.shield(hub.ready)
        except BaseException:
            await self.leave(hub)
            raise
        return hub

    async def _over(self, instance: bytes) -> None:
        """Wait until a hub that closes here is over: whoever opens it anew must not end the children that move."""
        while (ending := self._ending.get(instance)) is not None:
            await asyncio.wait([ending])
        if instance in self._open or instance not in self.machine.hubs:
            return
        await self.children.wait_ended(instance)  # they were cancelled a moment ago
        if instance not in self._open and (machine := self.machine.hubs.get(instance)) is not None:
            count = len(machine.hosting.hosted)
            raise UnavailableError(
                f"the hub {hub_name(instance)} was closed on this node, and {count} of its children have still "
                "not ended there; it was not opened: try again later, or open it in another process"
            )

    async def _begin(self, hub: OpenHub, handle: Any) -> None:
        wanted = hub.wanted
        self.children.open(hub.instance, wanted.starts, handle, wanted.resolve)
        if wanted.options.voters:
            self._watch()
        outcome = await self.ask(lambda request: h.OpenHub(request, hub.instance, wanted.options, wanted.static))
        if outcome is not None:
            raise error_of(errors_of(hub, outcome.errors))

    def _watch(self) -> None:
        """Children of this node need leases from now on. Raises `UnavailableError` where no watchdog can be had."""
        try:
            self._guard.start()
        except WatchdogGone as error:
            raise UnavailableError(f"on_split=Majority needs a watchdog: {error}; the hub was not opened") from None

    def _on_no_watchdog(self, why: str) -> None:
        """What needs a lease ends: nobody would end it if this process hung."""
        log.critical("event=no_watchdog reason=%r so='hubs with on_split=Majority are closed on this node'", why)
        for hub in list(self._open.values()):
            if hub.wanted.options.voters:
                self._end(hub)

    async def leave(self, hub: OpenHub) -> None:
        """One handle fewer; with the last one this node takes part no more, once its children have moved or ended."""
        hub.users -= 1
        if hub.users == 0 and self._open.get(hub.instance) is hub:
            self._end(hub)
        if (ending := self._ending.get(hub.instance)) is not None:
            await asyncio.shield(ending)

    def _end(self, hub: OpenHub) -> None:
        """Begin to close it. That goes on to its end, whoever gives up waiting for it."""
        del self._open[hub.instance]
        if hub.ready is not None and not hub.ready.done():
            hub.ready.cancel()
        task = asyncio.get_running_loop().create_task(self._move_out(hub), name=f"covey hub {hub.text} ends")
        self._ending[hub.instance] = task
        task.add_done_callback(lambda _: self._ending.pop(hub.instance))

    async def _move_out(self, hub: OpenHub) -> None:
        try:
            if hub.instance in self.machine.hubs:
                async with asyncio.timeout(self._close_timeout):
                    await self.ask(lambda request: h.CloseHub(request, hub.instance), closing=True)
        except (ClosedError, UnknownName):
            pass  # the node ended first
        except TimeoutError:
            log.warning("event=hub_close_timeout hub=%s seconds=%s", hub.text, self._close_timeout)
        finally:
            self.children.close(hub.instance)
            hub.events.close(None)

    async def aclose(self) -> None:
        """The node ends: every hub does, within the time that closing may take.

        Who runs on with a lease, though it was cancelled, is watched until it has ended: else this process does.
        """
        for hub in list(self._open.values()):
            self._end(hub)
        await asyncio.gather(*self._ending.values())
        await self.abort()

    async def abort(self) -> None:
        """The node ended without a word: so do its children."""
        await self.children.aclose()
        ends = {task: self.machine.end_us(copy) for task, copy in self.children.left.items()}
        self._guard.close({task: end_us for task, end_us in ends.items() if end_us is not None})

    def close(self, cause: BaseException | None) -> None:
        """The node has ended."""
        for hub in self._open.values():
            hub.events.close(cause)
        self._open.clear()

    # --- commands ---------------------------------------------------------------------------------------------------

    async def ask(self, command: Callable[[int], Any], closing: bool = False) -> Any:
        """Give the machine a command and wait for its outcome, which has its own deadline."""
        runner = self.live(closing)
        request, outcome = runner.request()
        try:
            runner.feed(command(request))
            return await outcome
        except asyncio.CancelledError:
            if runner.is_open:
                runner.feed(Abandon(request))
            raise
        finally:
            runner.forget_request(request)

    def feed(self, command: Any) -> None:
        """Give the machine a command that has no outcome."""
        self.live(False).feed(command)

    def order(self, command: Callable[[int], Any]) -> None:
        """Give the machine a command that it carries out at once. Raises why it did not."""
        runner = self.live(False)
        request, outcome = runner.request()
        try:
            runner.feed(command(request))
        finally:
            runner.forget_request(request)
        if outcome.done():
            outcome.result()

    def subscribe(self, hub: OpenHub, events_max: int | None) -> Subscription[tuple[Child, ...], HubEvent]:
        """A stream of what happens in a hub, from its children as of now."""
        self.live(True)
        return hub.events.subscription(self.events_max if events_max is None else events_max)


def _is_seen(shown: h.Shown) -> bool:
    """Whether people are to see it: it is a child, or a copy of it was stopped and does not end."""
    return shown.child is not None or any(one.state is State.STUCK for _, one in shown.runs)


def _moves(run: tuple[Origin, Running]) -> bool:
    """Whoever hands a child over shows it until the next host runs it: of the two that one counts."""
    return run[1].state is State.MOVING


def errors_of(hub: OpenHub, errors: tuple[h.ChildError, ...]) -> tuple[ChildError, ...]:
    """What went wrong with children, for people."""
    return tuple(
        ChildError(decode_key(one.id), one.site, hub.name_of(one.site), one.trouble.name.lower(), one.reason)
        for one in errors
    )


def hub_name(instance: bytes) -> str:
    """The name of a hub, for people."""
    return repr(decode_key(instance[len(PREFIX) :]))
