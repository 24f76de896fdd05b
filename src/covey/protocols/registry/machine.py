"""Hubs: named children, each of which runs in exactly one of many nodes and is reachable from all.

The seed is ProcessHub's registry with the rules that it converged to in 0.7: versions decide and never clocks, absence
deletes nothing, a new life voids what was seen of the one before, duplicates are found and ended by one rule. Changed
here: nobody is told to start anything. A shared row says that a child is wanted, its place follows from who takes part,
and an owned row says where it runs; each node does what follows for itself, and the rest is repair of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Protocol

import msgspec

from covey.core import children as c
from covey.core.claims import ClaimWon, Elect, Freed, Id, LeaseEnded, Relinquish, Seek
from covey.core.clock import HybridClock
from covey.core.errors import ClosedError, NameTaken, Overloaded, UnknownName, UsageError, invariant
from covey.core.ids import Contact, Origin, Site
from covey.core.rows import (
    HoldInstance,
    ReleaseInstance,
    RowsChanged,
    RowsToTell,
    SharedChanged,
    SharedRefused,
)
from covey.core.timers import Timers
from covey.core.vocabulary import (
    Abandon,
    AddressLearned,
    Channel,
    ClusterChanged,
    Liveness,
    LivenessChanged,
    MemberAdded,
    MemberRemoved,
    MessagesReceived,
    PeerConnected,
    PeerLost,
    PeerUnreached,
    Resolve,
    SendData,
    Tick,
    TurnEnded,
    WallOffset,
    WantTurn,
)
from covey.protocols.registry import vocabulary as h
from covey.protocols.registry.config import RegistryConfig
from covey.protocols.registry.copies import Hosted
from covey.protocols.registry.ground import Ground, RowsView, Wires
from covey.protocols.registry.hub import Hub
from covey.protocols.registry.rows import PREFIX
from covey.wire.messages import registry as wire

Effect = Any
FROM_COPIES = frozenset(
    {
        c.ChildReplied, c.ChildReceives, c.ChildStarted, c.ChildExited, c.ChildPrepared, c.HandoverGiven, c.ChildStuck,
        c.StatesResolved,
    }
)  # fmt: skip
BYTES_AT_ONCE = 524_288  # in one command to send: links wait for no more than this. Guess


class RegistryStatistics(msgspec.Struct, frozen=True):
    """What each hub counted, by its key, and messages for hubs that are not open here."""

    hubs: dict[str, dict[str, int]]
    strangers: int


class ClaimsView(Protocol):
    """What a hub may ask the machine of claims."""

    def lease_us(self, id: Id) -> int:
        """Until when, on our clock, an id may be served; 0: not at all."""
        ...

    def freed(self, id: Id) -> Freed | None:
        """What whoever runs an id next shows the voters, once ours has ended."""
        ...


class Registry:
    """All hubs of one node.

    Law: what is not yet looked at will be, in the next turn at the latest. Invariants: those of the hubs; a hub that is
    open has its rows held.
    """

    def __init__(
        self, config: RegistryConfig, rng: Random, now_us: int, *, me: Contact, rows: RowsView, claims: ClaimsView
    ) -> None:
        self._config = config
        self._rng = rng
        self._rows = rows
        self._claims = claims
        self._clock = HybridClock()
        self._wires = Wires(me)
        self._timers: Timers[tuple[Any, ...]] = Timers()
        self.hubs: dict[bytes, Hub] = {}
        self._closed: dict[bytes, int] = {}  # hubs that were open here: the highest epoch that was seen there
        self._unknown: dict[Site, None] = {}  # stored members that nobody has observed yet
        self._alive: dict[Site, None] = {}
        self._joined_us: int | None = None
        self._wanted = False  # a turn's end
        self._strangers = 0
        self._handlers: dict[type, Callable[[Any, int], list[Effect] | None]] = {
            MessagesReceived: self._on_messages,
            c.ChildReplied: lambda fact, now_us: self._of(fact).hosting.on_replied(fact, now_us),
            c.ChildReceives: lambda fact, now_us: self._of(fact).hosting.on_receives(fact, now_us),
            c.ChildStarted: lambda fact, now_us: self._of(fact).on_started(fact, now_us),
            c.ChildExited: lambda fact, now_us: self._of(fact).on_exited(fact, now_us),
            c.ChildPrepared: lambda fact, now_us: self._of(fact).moves.on_built(fact),
            c.HandoverGiven: lambda fact, now_us: self._of(fact).hosting.on_handover(fact),
            c.ChildStuck: lambda fact, now_us: self._of(fact).hosting.on_stuck(fact),
            c.StatesResolved: lambda fact, now_us: self._of(fact).hosting.on_resolved(fact, now_us),
            ClaimWon: self._on_won,
            LeaseEnded: self._on_lease_ended,
            h.CallChild: lambda command, now_us: self._hub(command.hub).calls.begin(command, now_us),
            h.StartChildren: self._on_start,
            h.StopChildren: lambda command, now_us: self._hub(command.hub).stopping.stop(command, now_us),
            h.UpdateChild: lambda command, now_us: self._hub(command.hub).update(command),
            h.OpenHub: self._on_open,
            h.CloseHub: self._on_close,
            Abandon: self._on_abandon,
            RowsChanged: self._on_rows,
            SharedChanged: self._on_shared,
            SharedRefused: self._on_refused,
            RowsToTell: self._on_to_tell,
            h.Synchronize: lambda command, now_us: self._hub(command.hub).synchronizing.run(
                command.function, *command.arguments
            ),
            TurnEnded: self._on_turn_ended,
            Tick: self._on_tick,
            PeerConnected: self._on_connected,
            PeerLost: self._on_lost,
            PeerUnreached: self._on_lost,
            MemberAdded: self._on_life,
            LivenessChanged: self._on_life,
            MemberRemoved: self._on_removed,
            ClusterChanged: self._on_cluster_changed,
            AddressLearned: self._on_address,
            WallOffset: lambda fact, now_us: self._clock.set_offset(fact.offset_us),
        }  # fmt: skip
        self._on_message: dict[type, Callable[[Hub, Origin, Any, int], None]] = {
            wire.ChildCall: lambda hub, peer, message, now_us: hub.on_call(peer, message, now_us),
            wire.ChildAnswer: lambda hub, peer, message, now_us: hub.on_answer(peer, message, now_us),
            wire.Ended: lambda hub, peer, message, now_us: hub.on_ended(peer, message, now_us),
            wire.Prepare: lambda hub, peer, message, now_us: hub.moves.on_prepare(peer, message, now_us),
            wire.Prepared: lambda hub, peer, message, now_us: hub.moves.on_prepared(peer, message, now_us),
            wire.HandoverPart: lambda hub, peer, message, now_us: hub.moves.on_part(peer, _kept(message), now_us),
            wire.Handover: lambda hub, peer, message, now_us: hub.moves.on_handover(peer, message, now_us),
            wire.HandedOver: lambda hub, peer, message, now_us: hub.moves.on_handed_over(peer, message, now_us),
            wire.Duplicate: lambda hub, peer, message, now_us: hub.duplicates.on_duplicate(peer, message),
            wire.Kept: lambda hub, peer, message, now_us: hub.duplicates.on_kept(peer, message, now_us),
            wire.Watch: lambda hub, peer, message, now_us: hub.watching.on_watch(peer, message),
            wire.Watched: lambda hub, peer, message, now_us: hub.watching.on_watched(peer[0], message.number),
            wire.WhichAbsent: lambda hub, peer, message, now_us: hub.asking.on_which_absent(peer, message),
            wire.Absent: lambda hub, peer, message, now_us: hub.asking.on_absent(peer, message),
            **dict.fromkeys((wire.Requests, wire.WholeOwner, wire.WholeRows, wire.WholeKnown), _tell_strategy),
        }  # fmt: skip

    # --- the machine's door -----------------------------------------------------------------------------------------

    def handle(self, incoming: Any, now_us: int) -> Sequence[Effect]:
        for hub in self.hubs.values():
            hub.ground.now_us = now_us
        kind = type(incoming)
        if kind in FROM_COPIES and incoming.copy.hub not in self.hubs:
            return []  # a hub that is closed had none left
        effects = self._handlers[kind](incoming, now_us) or []
        return effects + self._said(now_us)

    def _said(self, now_us: int) -> list[Effect]:
        """What follows from it, and whether something is to be done at the end of the turn."""
        effects: list[Effect] = []
        for instance, hub in list(self.hubs.items()):
            if hub.ground.looks and not self._wanted:
                hub.look_at_some(now_us)
            effects += self._end(instance, hub) if hub.is_over else hub.ground.flush()
        if not self._wanted and (self._wires.unsent or any(hub.is_busy for hub in self.hubs.values())):
            self._wanted = True
            effects.append(WantTurn())
        return effects

    def deadline(self) -> int | None:
        return self._timers.deadline()

    def check(self) -> None:
        for hub in self.hubs.values():
            hub.check()
            invariant(self._wanted or not hub.is_busy, "what is not looked at yet will be")
        invariant(len(self.hubs) <= self._config.hubs_max, "hubs are bounded")

    def statistics(self) -> RegistryStatistics:
        return RegistryStatistics(
            {instance.hex(): hub.statistics() for instance, hub in self.hubs.items()}, self._strangers
        )

    def _of(self, fact: Any) -> Hub:
        return self.hubs[fact.copy.hub]

    # --- commands ---------------------------------------------------------------------------------------------------

    def _hub(self, instance: bytes) -> Hub:
        hub = self.hubs.get(instance)
        if hub is None:
            raise UnknownName("the hub is not open on this node; nothing was done")
        if hub.ground.closing:
            raise ClosedError("the hub is closing on this node; nothing was done")
        return hub

    def _on_open(self, command: h.OpenHub, now_us: int) -> list[Effect]:
        if command.hub in self.hubs:
            raise NameTaken("this hub is open on this node already; nothing was changed")
        if len(self.hubs) >= self._config.hubs_max:
            raise Overloaded(f"{len(self.hubs)} hubs are open, which is the bound; this one was not opened")
        ground = Ground(
            self._config, command.hub, command.options, rng=self._rng, clock=self._clock, timers=self._timers,
            wires=self._wires, rows=self._rows, leases=self._claims.lease_us,
            seen=self._closed.pop(command.hub, 0),
        )  # fmt: skip
        ground.now_us = now_us
        instance = command.hub

        def seek(hosted: Hosted, freed: Any) -> None:
            ground.say(Seek((instance, hosted.id), hosted.epoch, freed))

        def relinquish(id: bytes) -> Any:
            if not ground.fenced:
                return None
            freed = self._claims.freed((instance, id))
            ground.say(Relinquish((instance, id)))
            return freed

        hub = self.hubs[instance] = Hub(ground, seek, relinquish)
        hub.open(command, now_us)
        options = command.options
        elect = [Elect(instance, options.voters, options.name)] if options.voters else []
        return [HoldInstance(instance, True, hub.synchronizing.driven), *elect]

    def _on_close(self, command: h.CloseHub, now_us: int) -> None:
        self._hub(command.hub).close(command.request)

    def _end(self, instance: bytes, hub: Hub) -> list[Effect]:
        """A hub that closes runs nothing any more: it is over here."""
        hub.synchronizing.on_turn_ended()
        hub.end()
        last = hub.ground.flush()
        del self.hubs[instance]
        self._closed[instance] = hub.ground.highest
        if len(self._closed) > self._config.hints_max:
            del self._closed[next(iter(self._closed))]
        for key in self._timers.everything():
            if key[0] == instance:
                self._timers.cancel(key)
        outcome = [Resolve(hub.ground.closing)] if hub.ground.closing > 0 else []
        return [*last, ReleaseInstance(instance, True), *outcome]

    def _on_start(self, command: h.StartChildren, now_us: int) -> None:
        if not command.children:
            raise UsageError("there are no children to start; nothing was done")
        self._hub(command.hub).starting.start(command, now_us)

    def _on_abandon(self, command: Abandon, now_us: int) -> None:
        for hub in self.hubs.values():
            hub.calls.abandon(command.request)
            hub.starting.abandon(command.request)

    # --- claims -----------------------------------------------------------------------------------------------------

    def _on_won(self, fact: ClaimWon, now_us: int) -> list[Effect] | None:
        hub = self.hubs.get(fact.id[0])
        if hub is None:
            return [Relinquish(fact.id)] if fact.id[0].startswith(PREFIX) else []
        hub.hosting.won(fact.id[1], fact.token, now_us)
        return None

    def _on_lease_ended(self, fact: LeaseEnded, now_us: int) -> list[Effect] | None:
        hub = self.hubs.get(fact.id[0])
        if hub is None:
            return [Relinquish(fact.id)] if fact.id[0].startswith(PREFIX) else []
        hub.hosting.fence(fact.id[1], fact.ended_us, now_us)
        return None

    def watch_us(self) -> int | None:
        """By when, on our clock, some child of ours must have ended or been granted more time; None: there is none.

        The end of the earliest lease of a copy that runs, and the grace: after that this process must not live.
        """
        ends = [end_us for hub in self.hubs.values() if hub.ground.fenced for end_us in hub.hosting.ends_us()]
        return min(ends, default=None)

    def end_us(self, copy: c.Copy) -> int | None:
        """The same for one copy; None where it needs no lease, or has none at this moment and hears so next."""
        hub = self.hubs.get(copy.hub)
        hosted = None if hub is None else hub.hosting.hosted.get(copy.id)
        if hub is None or hosted is None or hosted.copy != copy or not hub.ground.fenced:
            return None
        lease_us = hub.ground.lease_us(copy.id)
        return hosted.until_us or (lease_us + self._config.stop_grace_us if lease_us else None)

    # --- rows -------------------------------------------------------------------------------------------------------

    def _on_to_tell(self, fact: RowsToTell, now_us: int) -> None:
        hub = self.hubs.get(fact.instance)
        if hub is not None and hub.synchronizing.driven:
            hub.synchronizing.gather(fact.operations)
            return
        message = wire.Requests(fact.instance, b"", fact.operations)  # its last word: nobody is left to say to whom
        for site in self._rows.holders(fact.instance):
            if site != self._wires.me.site:
                self._wires.put(site, message, BYTES_AT_ONCE)

    def _on_rows(self, fact: RowsChanged, now_us: int) -> None:
        for key, value in fact.changes if not fact.instance else ():  # the instance of who holds what
            if value is not None and key in self.hubs and fact.owner != self._wires.me.site:
                self.hubs[key].synchronizing.joined(fact.owner)
        hub = self.hubs.get(fact.instance)
        if hub is not None:
            hub.on_owned(fact, now_us)

    def _on_shared(self, fact: SharedChanged, now_us: int) -> None:
        hub = self.hubs.get(fact.instance)
        if hub is not None:
            hub.on_shared(fact, now_us)

    def _on_refused(self, fact: SharedRefused, now_us: int) -> None:
        hub = self.hubs.get(fact.instance)
        if hub is not None:
            for change, error in fact.refused:
                hub.refused(change, error, now_us)

    # --- messages ---------------------------------------------------------------------------------------------------

    def _on_messages(self, received: MessagesReceived, now_us: int) -> None:
        site = received.peer
        known = self._wires.lives.get(site)
        peer = site, self._wires.linked.get(site, 0 if known is None else known.incarnation)
        for message in received.messages:
            hub = self.hubs.get(message.hub)
            if hub is not None:
                self._on_message[type(message)](hub, peer, message, now_us)
            elif type(message) is wire.ChildCall:
                self._strangers += 1
                nil = msgspec.Raw(wire.NIL)
                answer = wire.ChildAnswer(message.hub, peer[1], message.number, message.attempt, wire.ELSEWHERE, nil)
                self._wires.put(site, answer, 64)

    def _send(self) -> list[Effect]:
        """All that was said in this turn, to each node together."""
        effects: list[Effect] = []
        for site, said in self._wires.take().items():
            known = self._wires.lives.get(site)
            address = "" if known is None else known.address
            some: list[Any] = []
            size = 0
            for message, its_size in said:
                if some and size + its_size > BYTES_AT_ONCE:
                    effects.append(SendData(0, site, address, tuple(some), size))
                    some, size = [], 0
                some.append(message)
                size += its_size
            effects.append(SendData(0, site, address, tuple(some), size))
        return effects

    # --- time -------------------------------------------------------------------------------------------------------

    def _on_turn_ended(self, _: TurnEnded, now_us: int) -> list[Effect]:
        if not self._wanted:
            return []
        self._wanted = False
        effects: list[Effect] = []
        for hub in self.hubs.values():
            hub.synchronizing.on_turn_ended()
            hub.look_at_some(now_us)
            effects += hub.ground.flush()
        return effects + self._send()

    def _on_tick(self, _: Tick, now_us: int) -> None:
        for instance, what, key in self._timers.pop_due(now_us):
            hub = self.hubs[instance]
            match what:
                case "deadline":
                    hub.calls.expired(key)
                case "again":
                    hub.calls.again(key, now_us)
                case "starting":
                    hub.starting.expired(key)
                case "stopping":
                    hub.stopping.expired(key)
                case "unsure":
                    hub.stopping.ask(key)
                case "asked":
                    hub.asking.expired(key)
                case "shown":
                    hub.watching.ask_again(key)
                case "gone":
                    hub.starting.stopped(*key)
                case "announce":
                    hub.hosting.announce_late(key)
                case "restart":
                    hub.hosting.restart(key, now_us)
                case "unread":
                    hub.hosting.expire(key, now_us)
                case "idle":
                    hub.hosting.idle(key, now_us)
                case "move":
                    hub.moves.say(key, now_us)
                case "arriving":
                    hub.moves.arriving_late(key)
                case "duplicate":
                    hub.duplicates.due(key, now_us)
                case "look" | "retry":
                    hub.ground.looks[key] = None
                case "sync":
                    hub.synchronizing.on_interval()
                case "pour":
                    hub.synchronizing.pour()
                case "stable":
                    hub.on_stable()
                case "statics":
                    hub.statics.look(now_us)
                case "settled":
                    hub.settle(self._joined_us, bool(self._unknown), now_us)
                case _:
                    invariant(False, f"somebody knows what {what!r} is")

    # --- links and lives --------------------------------------------------------------------------------------------

    def _on_connected(self, fact: PeerConnected, now_us: int) -> None:
        if fact.channel is Channel.DATA:
            self._wires.linked[fact.contact.site] = fact.contact.incarnation
            self._relinked(fact.contact.site, now_us)

    def _on_lost(self, fact: PeerLost | PeerUnreached, now_us: int) -> None:
        """What was on its way may be lost; it is said again, soon."""
        if fact.channel is Channel.DATA:
            site = fact.contact.site if isinstance(fact, PeerLost) else fact.site
            self._relinked(site, now_us)
            if isinstance(fact, PeerLost) and self._wires.linked.get(site) == fact.contact.incarnation:
                del self._wires.linked[site]
                self._wires.doubted.pop((site, fact.contact.incarnation), None)

    def _relinked(self, site: Site, now_us: int) -> None:
        known = self._wires.linked.get(site)
        if known is not None:
            for hub in self.hubs.values():
                hub.calls.relinked((site, known), now_us)

    def _on_life(self, fact: MemberAdded | LivenessChanged, now_us: int) -> None:
        contact = fact.contact
        site = contact.site
        if site == self._wires.me.site:
            return
        known = self._wires.lives.get(site)
        if known is None or contact.incarnation >= known.incarnation:
            address = contact.address or ("" if known is None else known.address)
            self._wires.lives[site] = Contact(site, contact.incarnation, address)
        if isinstance(fact, MemberAdded):
            if not fact.observed and known is None:
                self._unknown[site] = None
        elif fact.state is not Liveness.UNKNOWN:
            self._unknown.pop(site, None)
            life = site, contact.incarnation
            if fact.state is Liveness.DOWN and fact.cause == "told" and self._wires.linked.get(site) == life[1]:
                self._wires.doubted[life] = now_us + self._config.doubt_us
            else:
                self._wires.doubted.pop(life, None)
            if fact.state is Liveness.ALIVE and self._joined_us is None:
                self._joined_us = now_us

    def _on_removed(self, fact: MemberRemoved, now_us: int) -> None:
        known = self._wires.lives.pop(fact.site, None)
        self._unknown.pop(fact.site, None)
        if known is not None:
            for hub in self.hubs.values():
                hub.hosting.forget(fact.site, known.incarnation + 1)

    def _on_cluster_changed(self, fact: ClusterChanged, now_us: int) -> None:
        """A new life: the row machine writes our rows anew, but they speak of the life before."""
        me = self._wires.me
        anew = fact.incarnation != me.incarnation
        self._wires.me = Contact(me.site, fact.incarnation, me.address)
        self._wires.lives.clear()
        self._wires.linked.clear()
        self._wires.doubted.clear()
        self._unknown.clear()
        self._joined_us = None
        if anew:
            for hub in self.hubs.values():
                hub.new_life(now_us)

    def _on_address(self, fact: AddressLearned, now_us: int) -> None:
        me = self._wires.me
        self._wires.me = Contact(me.site, me.incarnation, fact.address)


def _tell_strategy(hub: Hub, peer: Origin, message: Any, now_us: int) -> None:
    hub.synchronizing.on_message(peer[0], message)


def _kept(message: wire.HandoverPart) -> wire.HandoverPart:
    """A part whose payloads do not pin the buffer that they were read from."""
    letters = tuple(msgspec.structs.replace(one, payload=msgspec.Raw(bytes(one.payload))) for one in message.letters)
    answered = tuple(msgspec.structs.replace(one, payload=msgspec.Raw(bytes(one.payload))) for one in message.answered)
    return msgspec.structs.replace(message, letters=letters, answered=answered)
