"""One membership machine of the net (see `membership_net`), its disk, and what it said."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import TYPE_CHECKING, Any

from covey.core.ids import Contact, Site, cluster_id
from covey.core.vocabulary import (
    ClusterChanged,
    ClusterEntered,
    Dial,
    Emit,
    Flood,
    Persist,
    Refuse,
    Resolve,
    Send,
    Tick,
    WallOffset,
)
from covey.protocols.membership.config import MembershipConfig
from covey.protocols.membership.ledger import BESIDE
from covey.protocols.membership.machine import Membership
from covey.protocols.membership.record import MEM, decode_op, encode_key, encode_op, key_of, stamp
from covey.protocols.membership.vocabulary import Join, Kick, Leave, MemberJoined, MemberLeft, SetMember, SyncMessage
from covey.wire.messages.membership import News, Op, Sync

if TYPE_CHECKING:
    from tests.protocols.membership.membership_net import Net

SECOND = 1_000_000
NEVER = 10**15
SHARED = cluster_id("flock")
START_WALL_US = 1_700_000_000 * SECOND
DURABLE = MembershipConfig(ephemeral=False)


def site(number: int) -> Site:
    """Sites are ordered as the numbers are."""
    return Site(bytes([number]) * 16)


def op(
    key: int, target: int, clock: int, value: int | bytes, *, origin: int = 9, magic: int = 5, wall_ms: int = 0
) -> Op:
    """An operation from somewhere."""
    return Op(site(origin), key, site(target), clock, magic, value, wall_ms)


def mem(target: int, clock: int, value: int, *, origin: int = 9, magic: int = 5) -> Op:
    """Whether `target` belongs, said by `origin`."""
    return op(MEM, target, clock, value, origin=origin, magic=magic)


def is_sync(value: Any) -> bool:
    """Whether an outcome is a sync to be handed over."""
    return isinstance(value, SyncMessage)


def ops_in(effects: Iterable[Any]) -> list[Op]:
    """Every operation that an effect list shows to somebody."""
    messages = [effect.message for effect in effects if isinstance(effect, (Send, Flood))]
    messages += [effect.value.sync for effect in effects if isinstance(effect, Resolve) and is_sync(effect.value)]
    return [each for message in messages if isinstance(message, (Sync, News)) for each in message.ops]


class Node:
    """One machine, its disk, and what it said. A crash makes a new machine from the disk."""

    def __init__(self, net: Net, number: int, config: MembershipConfig, incarnation: int, disk: dict[bytes, bytes]):
        self.net = net
        self.number = number
        self.site = site(number)
        self.address = f"n{number}:1"
        self.config = config
        self.disk = disk
        self.alive = False
        self.skew_us = 0
        self.depth = 0  # of facts that were fed while another one's effects were carried out
        self.dirty: list[list[Any]] | None = None  # a list while the disk is slow: nothing of it has happened yet
        self.events: list[Any] = []
        self.outcomes: dict[int, Any] = {}
        self.said: list[Any] = []  # every other effect, in order
        self.start(incarnation)

    def start(self, incarnation: int) -> None:
        net = self.net
        me = Contact(self.site, incarnation, self.address)
        rng = Random(f"{net.seed} {self.number} {incarnation}")
        self.machine = Membership(self.config, rng, net.now_us, me=me, shared=SHARED, stored=dict(self.disk))
        self.alive = True
        self.dirty = None
        self.cluster = self.machine.cluster
        self.events, self.outcomes, self.said = [], {}, []
        self.carry_out(list(self.machine.handle(WallOffset(START_WALL_US + self.skew_us), net.now_us)))
        self.folded = {self.site, *self.machine.members()}  # that we belong from the first is no event
        self.feed(Tick())
        self.check()

    # --- what a test asks -------------------------------------------------------------------------------------------

    @property
    def members(self) -> list[int]:
        """Numbers of the members."""
        return [member[0] for member in self.machine.members()]

    @property
    def solo(self) -> bool:
        return self.machine.solo

    def kinds(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def kick(self, other: Node) -> int:
        return self.command(lambda request: Kick(request, other.site))

    def leave(self) -> int:
        return self.command(Leave)

    def join(self, other: Node | str) -> int:
        address = other if isinstance(other, str) else other.address
        return self.command(lambda request: Join(request, address))

    def set_member(self, number: int, member: bool = True) -> int:
        return self.command(lambda request: SetMember(request, site(number), member))

    def command(self, make: Callable[[int], Any]) -> int:
        self.net.requests += 1
        self.feed(make(self.net.requests))
        return self.net.requests

    def linked(self) -> list[Node]:
        return [link.other(self) for link in self.net.links if self in link.ends]

    # --- living -----------------------------------------------------------------------------------------------------

    def feed(self, incoming: Any) -> list[Any]:
        """Give the machine a fact or command, and do what it says."""
        if not self.alive:
            return []
        effects = list(self.machine.handle(incoming, self.net.now_us))
        if self.dirty is not None:
            self.dirty.append(effects)
        else:
            self.depth += 1
            self.carry_out(effects)
            self.depth -= 1
            if self.net.strict and self.depth == 0:  # what caused this has said all it had to say
                self.check()
        return effects

    def flush(self) -> None:
        """The disk has caught up."""
        while self.dirty:  # what is said meanwhile stands behind it
            self.carry_out(self.dirty.pop(0))
        self.dirty = None
        self.check()

    def carry_out(self, effects: list[Any]) -> None:
        if effects and isinstance(effects[0], Persist):
            for record in effects[0].records:
                if record.value is None:
                    self.disk.pop(record.key, None)
                else:
                    self.disk[record.key] = record.value
        assert not any(isinstance(effect, Persist) for effect in effects[1:]), "Persist stands first"
        for effect in effects:
            self.execute(effect, effects)

    def execute(self, effect: Any, beside: list[Any]) -> None:
        net = self.net
        match effect:
            case Persist():
                pass
            case Send(to, message, address):
                self.show(ops_in([effect]), beside)
                net.send(self, to, message, address)
            case Flood(message, but):
                self.show(ops_in([effect]), beside)
                for node in self.linked():
                    if node.site != but:
                        net.send(self, node.site, message, "")
            case Emit(event):
                self.events.append(event)
                self.fold(event)
            case Resolve(request, value):
                self.show(ops_in([effect]), beside)
                assert request not in self.outcomes, "a request has one outcome"
                self.outcomes[request] = value
            case Refuse(request, error):
                assert request not in self.outcomes, "a request has one outcome"
                self.outcomes[request] = error
            case Dial(address):
                net.dial(self, address)
            case ClusterChanged():
                self.said.append(effect)
                if effect.cluster != self.cluster:
                    self.folded = {self.site}
                self.cluster = effect.cluster
                net.unlink_all(self)
                self.feed(ClusterEntered(effect.cluster))
            case _:
                self.said.append(effect)

    def show(self, ops: list[Op], beside: list[Any]) -> None:
        """Durable before visible: what is shown is on the disk, or has been surpassed there.

        Whoever goes alone in this very step has dropped its record, and the disk says so.
        """
        if any(isinstance(effect, ClusterChanged) for effect in beside):
            return
        for op in ops:
            self.net.see(op)
            stored = self.disk.get(encode_key(key_of(op)))
            assert stored is not None, f"{op} is shown and not on the disk"
            assert stored == encode_op(op) or stamp(decode_op(stored)) > stamp(op)

    def fold(self, event: Any) -> None:
        match event:
            case MemberJoined(member):
                assert member not in self.folded, "MemberJoined comes once"
                self.folded.add(member)
            case MemberLeft(member):
                assert member in self.folded, "MemberLeft follows MemberJoined"
                self.folded.remove(member)

    def check(self) -> None:
        """See the head of this file."""
        if not self.alive or self.dirty is not None:
            return
        machine = self.machine
        machine.check()
        stored = {key: value for key, value in self.disk.items() if key not in BESIDE}
        assert stored == {encode_key(key_of(entry.op)): encode_op(entry.op) for entry in machine.record.entries()}
        assert sorted(self.folded) == machine.members()

    def crash(self) -> None:
        """The process is gone, and all that was not on the disk."""
        self.net.unlink_all(self)
        self.alive = False
        self.dirty = None

    def restart(self, keep_disk: bool = True) -> None:
        """A new life, from the disk or from nothing."""
        if self.alive:
            self.crash()
        if not keep_disk:
            self.disk.clear()
        self.net.now_us += 1_000
        self.start(self.net.next_incarnation(self))
