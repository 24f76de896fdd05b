"""One process of the claims' world: a host, and where it has a disk a voter, behind the shipped gate."""

from __future__ import annotations

from collections import deque
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from covey.api.members import encode_meta
from covey.core.claims import ClaimWon, Elect, LeaseEnded, Relinquish
from covey.core.errors import UsageError
from covey.core.ids import ClusterId, Contact, Site
from covey.core.vocabulary import (
    ClusterChanged,
    Emit,
    MemberAdded,
    MemberRemoved,
    MessagesReceived,
    Persist,
    Send,
    Tick,
    WallOffset,
)
from covey.engine.gate import Gate, GateConfig, Persisted, PersistFailed, StorageRecovered, StorageTrouble, Store
from covey.protocols.claims.host import Host
from covey.protocols.claims.vocabulary import ForVoter, FromVoter, SeatEmpty, VotersDiffer
from covey.protocols.claims.voter import Voter
from covey.wire.messages.claims import Claim, Grant, Id, Refusal, Release, Released, Seats

if TYPE_CHECKING:
    from tests.protocols.claims.claims_world import World

HUB = b"hub"
EXPECTED = (VotersDiffer, SeatEmpty, StorageTrouble, StorageRecovered)
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Claim | Grant | Refusal | Release | Released | Seats)


class Copy:
    """A child that lives."""

    def __init__(self, token: int) -> None:
        self.token = token
        self.ending = False


class Process:
    """One life of a machine of a computer."""

    def __init__(
        self, world: World, number: int, site: Site, incarnation: int, name: str, disk: dict[bytes, bytes] | None
    ) -> None:
        self.world = world
        self.number = number
        self.site = site
        self.incarnation = incarnation
        self.name = name
        self.disk = disk
        self.alive = True
        self.asleep_until_us = 0
        self.suspended = False
        self.copies: dict[Id, Copy] = {}
        self.gate = Gate(GateConfig())
        self.unwritten: list[Store] = []  # of the transaction under way, and the next one
        self.inbox: list[tuple[Site, bytes]] = []  # while it does not run
        me = Contact(self.site, incarnation, f"n{number}:1")
        rng = Random(f"{world.seed} {number} {incarnation}")
        durable = disk is not None
        self.host = Host(world.config, rng, self.now_us, me=me)
        self.voter = Voter(world.config, rng, self.now_us, me=me, durable=durable, stored=dict(disk or {}))
        self.machines: tuple[Any, ...] = (self.host, self.voter)

    def begin(self) -> None:
        """Its first words, once the world knows it."""
        self.tell(WallOffset(0))
        self.elect(self.world.names)

    @property
    def now_us(self) -> int:
        """Its own clock."""
        return self.world.clock_us(self.number)

    @property
    def runs(self) -> bool:
        return self.alive and self.world.now_us >= self.asleep_until_us

    @property
    def fact(self) -> MemberAdded:
        """What membership says of it."""
        contact = Contact(self.site, self.incarnation, f"n{self.number}:1")
        return MemberAdded(contact, self.disk is None, True, encode_meta(self.name, {}))

    # --- in ---------------------------------------------------------------------------------------------------------

    def tell(self, fact: Any) -> None:
        """Both machines hear it."""
        for machine in self.machines:
            self.feed(machine, fact)

    def elect(self, names: tuple[str, ...]) -> None:
        """It uses this list, unless something is claimed here under another."""
        try:
            self.tell(Elect(HUB, names, self.name))
        except UsageError:
            pass

    def elect_again(self) -> None:
        """Back to the list of all: under the other one nothing was ever won."""
        if self.alive:
            for id in [id for id in self.host._bids if id not in self.copies]:
                self.feed(self.host, Relinquish(id))
            self.elect(self.world.names)

    def ended(self, id: Id) -> None:
        """Its child looked at the lease before the host did."""
        if self.runs and id in self.host._ending and id not in self.copies:
            self.feed(self.host, Relinquish(id))

    def meet(self, other: Process | Site) -> None:
        """Membership says that somebody belongs, or does not any more."""
        if self.alive and not self.runs:
            self.world.at(self.asleep_until_us - self.world.now_us, lambda: self.meet(other))
        elif self.alive:
            self.tell(other.fact if isinstance(other, Process) else MemberRemoved(other, self.site))

    def begin_life(self, incarnation: int) -> None:
        """It was thrown out and let in again, say: a new life in the same process."""
        self.incarnation = incarnation
        self.tell(ClusterChanged(ClusterId(bytes(16)), incarnation, False))

    def feed(self, machine: Any, incoming: Any) -> None:
        self._carry_out_all(self._effects(machine, incoming))

    def hear(self, source: Site, body: bytes) -> None:
        """A message arrives; who does not run hears it when it does again."""
        if not self.alive:
            return
        if not self.runs:
            self.inbox.append((source, body))
            return
        message = _decoder.decode(body)
        machine = self.voter if type(message) in (Claim, Release, Seats) else self.host
        self.feed(machine, MessagesReceived(source, (message,)))

    def wake(self) -> None:
        if not self.runs:
            return
        for id in list(self.host._ending):
            self.ended(id)
        inbox, self.inbox = self.inbox, []
        for source, body in inbox:  # what came meanwhile is read before any timer rings
            self.hear(source, body)
        self.tick()

    def tick(self) -> None:
        if self.runs:
            self.tell(Tick())
            self._carry_out_all(self.gate.tick(self.now_us))

    def deadline(self) -> int | None:
        """When it wants a tick."""
        wanted = [self.host.deadline(), self.voter.deadline(), self.gate.deadline()]
        return min((due_us for due_us in wanted if due_us is not None), default=None)

    # --- out --------------------------------------------------------------------------------------------------------

    def _effects(self, machine: Any, incoming: Any) -> list[Any]:
        effects = list(machine.handle(incoming, self.now_us))
        machine.check()
        if machine is not self.voter:
            return effects
        if self.world.syncs:
            return list(self.gate.admit("voter", effects))
        for effect in effects:
            if type(effect) is Persist:  # a planted bug: it is written some time later
                self.world.at(self.world.disk_us(), partial(self._write, [Store("voter", 0, effect.records)]))
        return [effect for effect in effects if type(effect) is not Persist]

    def _carry_out_all(self, effects: list[Any]) -> None:
        queue = deque(effects)
        while queue:
            queue.extend(self._carry_out(queue.popleft()))
        self.world.alarm(self)

    def _carry_out(self, effect: Any) -> list[Any]:
        match effect:
            case Send(to, message):
                self.world.send(self, to, _encoder.encode(message))
            case Store():
                self.unwritten.append(effect)
                if len(self.unwritten) == 1:
                    self.world.at(self.world.disk_us(), partial(self._transact, 1))
            case ForVoter():
                return self._effects(self.voter, effect)
            case FromVoter():
                return self._effects(self.host, effect)
            case ClaimWon(id, token):
                self.world.begins(self, id, token)
            case LeaseEnded(id, _, ended_us):
                self.world.is_to_end(self, id, ended_us)
            case Emit(event) if isinstance(event, EXPECTED):
                self.world.events[type(event)] = self.world.events.get(type(event), 0) + 1
            case _:
                raise AssertionError(f"nobody does {effect!r}")
        return []

    def _transact(self, count: int) -> None:
        """The disk takes what was given to it in one transaction, or nothing."""
        if not self.alive:
            return
        stores, self.unwritten = self.unwritten[:count], self.unwritten[count:]
        if self.world.now_us < self.world.failing_until_us[self.number]:
            for store in stores + self.unwritten:  # what was queued behind it is not taken either
                self._carry_out_all(self.gate.failed(PersistFailed("voter", store.position, "full"), self.now_us))
            self.unwritten = []
            return
        self._write(stores)
        if self.unwritten:
            self.world.at(self.world.disk_us(), partial(self._transact, len(self.unwritten)))
        self._carry_out_all(self.gate.persisted(Persisted("voter", stores[-1].position)))

    def _write(self, stores: list[Store]) -> None:
        if self.alive and self.disk is not None:
            for record in [record for store in stores for record in store.records]:
                if record.value is None:
                    self.disk.pop(record.key, None)
                else:
                    self.disk[record.key] = record.value
