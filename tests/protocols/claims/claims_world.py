"""Hosts and voters whose clocks, disks and network do what such things do, and children that must not be two.

Real time is the world's; each process has a clock of its own that runs up to half a percent fast or slow. Machines are
the shipped ones; what a voter says waits for its disk as the gate makes it wait. A watchdog, outside of the process,
ends it where a child outlives its lease. Whatever happens, of each id at most one child lives, and tokens grow.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import msgspec

from covey.core.ids import Contact, Site
from covey.core.vocabulary import Emit, MessagesReceived, Persist, Send, Tick
from covey.protocols.claims.config import ClaimsConfig
from covey.protocols.claims.host import Host
from covey.protocols.claims.vocabulary import (
    ClaimWon,
    Elect,
    ForVoter,
    FromVoter,
    LeaseEnded,
    Relinquish,
)
from covey.protocols.claims.voter import Voter
from covey.wire.messages.claims import Claim, Grant, Id, Refusal, Release, Released

SECOND = 1_000_000
HUB = b"hub"
DIGEST = b"electors"
LATE_US = 70_000  # the watchdog, and the time to kill
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Claim | Grant | Refusal | Release | Released)


class Faults(msgspec.Struct, frozen=True):
    """What may happen, drawn by the seed."""

    loss: float = 0.0
    duplicate: float = 0.0
    slow: float = 0.0  # of messages, which take up to 12 s
    cuts: bool = False  # one way, and partitions
    crashes: bool = False
    pauses: bool = False  # of a process; its watchdog goes on
    suspends: bool = False  # of a whole machine: everything stands still but time
    rates: bool = True
    skew_us: int = 60 * SECOND
    disk_us: int = 200_000


class Copy:
    """A child that lives."""

    def __init__(self, token: int) -> None:
        self.token = token
        self.ending = False


class Process:
    """One machine of a computer: a host, and where it has a disk and is named, a voter."""

    def __init__(self, world: World, number: int, incarnation: int, disk: dict[bytes, bytes] | None) -> None:
        self.world = world
        self.number = number
        self.incarnation = incarnation
        self.site = site(number)
        self.disk = disk
        self.alive = True
        self.asleep_until_us = 0
        self.suspended = False
        me = Contact(self.site, incarnation, f"n{number}:1")
        rng = Random(f"{world.seed} {number} {incarnation}")
        self.host = Host(world.config, rng, self.now_us, me=me)
        self.voter = None if disk is None else Voter(world.config, rng, self.now_us, me=me, stored=disk)
        self.copies: dict[Id, Copy] = {}
        self.held: deque[Any] = deque()  # effects of the voter behind a Persist, and the Persists themselves
        self.inbox: list[tuple[Site, bytes]] = []  # while it does not run
        elect = Elect(HUB, world.voters, DIGEST)
        self.feed(self.host, elect)
        if self.voter is not None:
            self.feed(self.voter, elect)

    @property
    def now_us(self) -> int:
        """Its own clock."""
        return self.world.clock_us(self.number)

    @property
    def runs(self) -> bool:
        return self.alive and self.world.now_us >= self.asleep_until_us

    def feed(self, machine: Any, incoming: Any) -> None:
        queue = deque(self._effects(machine, incoming))
        while queue:
            queue.extend(self._carry_out(queue.popleft()))
        self.world.alarm(self)

    def _effects(self, machine: Any, incoming: Any) -> list[Any]:
        effects = list(machine.handle(incoming, self.now_us))
        machine.check()
        if machine is not self.voter:
            return effects
        out: list[Any] = []
        for effect in effects:
            if type(effect) is Persist and self.world.syncs:
                self.held.append(effect)
                self.world.at(self.world.rng.randint(1_000, self.world.faults.disk_us), self.persisted)
            elif type(effect) is Persist:  # a planted bug: it is written some time later
                self.world.at(self.world.rng.randint(1_000, self.world.faults.disk_us), partial(self._store, effect))
            elif self.held:
                self.held.append(effect)
            else:
                out.append(effect)
        return out

    def persisted(self) -> None:
        """The first of the Persists that wait is on disk, and what stands behind it may be said."""
        if not self.alive:
            return
        self._store(self.held.popleft())
        while self.held and type(self.held[0]) is not Persist:
            queue = deque([self.held.popleft()])
            while queue:
                queue.extend(self._carry_out(queue.popleft()))

    def _store(self, effect: Persist) -> None:
        if not self.alive:
            return
        assert self.disk is not None
        for record in effect.records:
            if record.value is None:
                self.disk.pop(record.key, None)
            else:
                self.disk[record.key] = record.value

    def _carry_out(self, effect: Any) -> list[Any]:
        match effect:
            case Send(to, message):
                self.world.send(self, to, _encoder.encode(message))
            case ForVoter() if self.voter is not None:
                return self._effects(self.voter, effect)
            case ForVoter():
                pass  # a planted bug lets everybody be asked
            case FromVoter():
                return self._effects(self.host, effect)
            case ClaimWon(id, token):
                self.world.begins(self, id, token)
            case LeaseEnded(id, _, ended_us):
                self.world.is_to_end(self, id, ended_us)
            case Emit():
                raise AssertionError(effect)
            case _:
                raise AssertionError(f"nobody does {effect!r}")
        return []

    def hear(self, source: Site, body: bytes) -> None:
        """A message arrives; who does not run hears it when it does again."""
        if not self.alive:
            return
        if not self.runs:
            self.inbox.append((source, body))
            return
        message = _decoder.decode(body)
        machine = self.voter if type(message) in (Claim, Release) else self.host
        if machine is not None:
            self.feed(machine, MessagesReceived(source, (message,)))

    def wake(self) -> None:
        if not self.runs:
            return
        for id in [id for id in self.host._ending if id not in self.copies]:
            self.feed(self.host, Relinquish(id))
        inbox, self.inbox = self.inbox, []
        for source, body in inbox:  # what came meanwhile is read before any timer rings
            self.hear(source, body)
        self.tick()

    def tick(self) -> None:
        if self.runs:
            self.feed(self.host, Tick())


class World:
    """Time, network, disks and children."""

    syncs = True  # what is said waits for the disk
    counts_suspend = True  # clocks go on while the computer is suspended

    def __init__(
        self, seed: int, *, voters: int = 3, hosts: int = 2, ids: int = 2, faults: Faults | None = None,
        votes_max: int = 100_000,
    ) -> None:  # fmt: skip
        self.seed = seed
        self.rng = rng = Random(f"claims {seed}")
        self.config = ClaimsConfig(votes_max=votes_max)
        self.faults = faults if faults is not None else draw_faults(rng)
        self.now_us = 0
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self.voters = tuple(site(number) for number in range(voters))
        self.ids: list[Id] = [(HUB, b"id %d" % number) for number in range(ids)]
        self._rates = [1 + rng.uniform(-0.005, 0.005) * self.faults.rates for _ in range(voters + hosts)]
        self._began = [rng.randint(0, self.faults.skew_us) for _ in range(voters + hosts)]
        self.stood_us = [0] * (voters + hosts)  # for how long clocks that do not count suspend stood still
        self.cut: set[tuple[int, int]] = set()
        self.tokens: dict[Id, int] = {}
        self.begun = self.lapsed = self.killed = 0
        self.calm = False
        self.wanted: dict[Id, None] = {}
        self._alarms: dict[Process, int] = {}
        self._lives = [1] * (voters + hosts)
        self.processes = [Process(self, number, 1, {} if number < voters else None) for number in range(voters + hosts)]

    # --- time -------------------------------------------------------------------------------------------------------

    def clock_us(self, number: int) -> int:
        return self._began[number] + int((self.now_us - self.stood_us[number]) * self._rates[number])

    def at(self, delay_us: int, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (self.now_us + max(delay_us, 0), self._count, action))

    def in_clock(self, process: Process, at_us: int) -> int:
        """How long until a process's clock shows that."""
        return int((at_us - process.now_us) / self._rates[process.number]) + 1

    def alarm(self, process: Process) -> None:
        due_us = process.host.deadline()
        if due_us is not None and self._alarms.get(process) != due_us:
            self._alarms[process] = due_us
            self.at(self.in_clock(process, due_us), lambda: self._ring(process, due_us))

    def _ring(self, process: Process, due_us: int) -> None:
        if self._alarms.get(process) == due_us:
            del self._alarms[process]
            process.tick()

    def run(self, duration_us: int) -> None:
        end_us = self.now_us + duration_us
        while self._heap and self._heap[0][0] <= end_us:
            at_us, _, action = heapq.heappop(self._heap)
            self.now_us = at_us
            action()
        self.now_us = end_us

    # --- network ----------------------------------------------------------------------------------------------------

    def send(self, source: Process, to: Site, body: bytes) -> None:
        rng, faults = self.rng, self.faults
        target = to[0]
        for _ in range(1 + (not self.calm and rng.random() < faults.duplicate)):
            if (source.number, target) in self.cut or (not self.calm and rng.random() < faults.loss):
                continue
            slow = not self.calm and rng.random() < faults.slow
            delay_us = rng.randint(SECOND, 12 * SECOND) if slow else rng.randint(200, 30_000)
            self.at(delay_us, lambda: self.processes[target].hear(source.site, body))

    # --- children ---------------------------------------------------------------------------------------------------

    def begins(self, process: Process, id: Id, token: int) -> None:
        """A child starts: no other one lives, and none ever had so high a token."""
        self.begun += 1
        self._is_alone(process, id)
        assert token > self.tokens.get(id, 0), f"the token of {id[1]!r} fell"
        self.tokens[id] = token
        process.copies[id] = Copy(token)
        self._watch(process, id, process.copies[id])

    def _is_alone(self, process: Process, id: Id) -> None:
        """A computer that stands still does nothing twice."""
        for other in self.processes:
            two = other is not process and id in other.copies and not other.suspended
            assert not two, f"two copies of {id[1]!r}, at n{other.number} and n{process.number}"

    def is_to_end(self, process: Process, id: Id, ended_us: int) -> None:
        """The lease is over: the child ends by itself, or the watchdog ends its process."""
        self.lapsed += 1
        copy = process.copies.get(id)
        if copy is not None:
            copy.ending = True
            grace_us = self.in_clock(process, ended_us + self.config.stop_grace_us)
            self.at(self.rng.randint(0, max(grace_us, 0) * 2), lambda: self.ends(process, id, copy))

    def ends(self, process: Process, id: Id, copy: Copy) -> None:
        """A child ends, and lets others have the id."""
        if process.copies.get(id) is not copy or not process.runs:
            return
        del process.copies[id]
        process.feed(process.host, Relinquish(id))

    def _watch(self, process: Process, id: Id, copy: Copy) -> None:
        """The watchdog: it knows the lease as the host said last, and has the computer's clock."""
        if process.copies.get(id) is not copy:
            return
        if process.suspended:
            self.at(SECOND // 10, lambda: self._watch(process, id, copy))
            return
        bid = process.host._bids.get(id) or process.host._ending.get(id)
        assert bid is not None
        limit_us = bid.lease_us(self.config.fence_after_us) + self.config.stop_grace_us
        if process.now_us >= limit_us:
            self.killed += 1
            self.crash(process)
        else:
            late_us = self.rng.randint(0, LATE_US)
            self.at(self.in_clock(process, limit_us) + late_us, lambda: self._watch(process, id, copy))

    # --- what happens to processes ----------------------------------------------------------------------------------

    def crash(self, process: Process) -> None:
        """It is gone, with whatever its disk had not taken; and starts again some time later."""
        if not process.alive:
            return
        process.alive = False
        process.copies.clear()
        self.at(self.rng.randint(100_000, 6 * SECOND), lambda: self.restart(process.number))

    def restart(self, number: int) -> None:
        if not self.processes[number].alive:
            self._lives[number] += 1
            disk = self.processes[number].disk
            self.processes[number] = Process(self, number, self._lives[number], disk)

    def sleep(self, process: Process, duration_us: int) -> None:
        process.asleep_until_us = self.now_us + duration_us
        self.at(duration_us, process.wake)

    def suspend(self, process: Process, duration_us: int) -> None:
        """The computer stands still, its watchdog too. When it wakes up, its clock shows the time or it does not."""
        process.suspended = True
        self.sleep(process, duration_us)
        self.at(duration_us - 1, lambda: self._resume(process, duration_us))

    def _resume(self, process: Process, duration_us: int) -> None:
        """A child looks at its lease before it does anything; then it counts again."""
        process.suspended = False
        if not self.counts_suspend:
            self.stood_us[process.number] += duration_us
        for id in list(process.copies):
            if process.host.lease_us(id) <= process.now_us:
                del process.copies[id]
            else:
                self._is_alone(process, id)


def site(number: int) -> Site:
    return Site(bytes([number]) * 16)


def draw_faults(rng: Random) -> Faults:
    """Which faults there are."""
    return Faults(
        loss=rng.choice((0, 0, 0.02, 0.2)),
        duplicate=rng.choice((0, 0.1)),
        slow=rng.choice((0, 0.02, 0.2)),
        cuts=rng.random() < 0.7,
        crashes=rng.random() < 0.6,
        pauses=rng.random() < 0.5,
        suspends=rng.random() < 0.3,
        disk_us=rng.choice((2_000, 200_000, 2 * SECOND)),
    )
