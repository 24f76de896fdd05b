"""Hosts and voters whose clocks, disks and network do what such things do, and children that must not be two.

Real time is the world's; each process has a clock of its own that runs up to half a percent fast or slow. Machines and
the gate are the shipped ones. A watchdog, outside of the process, ends it where a child outlives its lease. Disks are
slow, refuse for a while, are lost (then the node begins anew, as another site of the same name) or are replaced by an
old copy. Whatever happens, of each id at most one child lives, and tokens grow.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random

import msgspec

from covey.core.claims import Relinquish
from covey.core.ids import Site
from covey.protocols.claims.config import ClaimsConfig
from covey.wire.messages.claims import Id
from tests.protocols.claims.claims_process import HUB, Copy, Process

SECOND = 1_000_000


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
    refusals: bool = False  # disks that take nothing for a while
    lives: bool = False  # new ones, in the same process
    lists: bool = False  # that are not the others', of some for a while
    lost: bool = False  # disks, of fewer than half of the voters
    restored: bool = False  # disks, from an old copy
    late: bool = False  # a voter, which nobody has seen before
    step_us: int = 2 * SECOND  # until the users do the next thing, at most


class World:
    """Time, network, disks and children."""

    syncs = True  # what is said waits for the disk
    counts_suspend = True  # clocks go on while the computer is suspended

    def __init__(
        self, seed: int, *, voters: int = 3, hosts: int = 2, ids: int = 2, faults: Faults | None = None,
        votes_max: int = 100_000, double: bool = False,
    ) -> None:  # fmt: skip
        """`double`: one more durable node has the name of a voter, beyond a cut at the beginning."""
        self.seed = seed
        self.rng = rng = Random(f"claims {seed}")
        self.config = ClaimsConfig(votes_max=votes_max)
        self.faults = faults if faults is not None else draw_faults(rng)
        self.now_us = 0
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self.names = tuple(f"voter {number}" for number in range(voters))
        self.ids: list[Id] = [(HUB, b"id %d" % number) for number in range(ids)]
        many = voters + hosts + double
        self._rates = [1 + rng.uniform(-0.005, 0.005) * self.faults.rates for _ in range(many)]
        self._began = [rng.randint(0, self.faults.skew_us) for _ in range(many)]
        self.stood_us = [0] * many  # for how long clocks that do not count suspend stood still
        self.failing_until_us = [0] * many
        self.copies: dict[int, dict[bytes, bytes]] = {}  # of disks
        self.cut: set[tuple[int, int]] = set()
        self.tokens: dict[Id, int] = {}
        self.events: dict[type, int] = {}
        self.begun = self.lapsed = self.killed = self.lost = self.restored = self.taken_over = 0
        self.calm = False
        self._alarms: dict[Process, int] = {}
        self._lives = [1] * many
        self.processes: list[Process] = []
        for number in range(many):
            name = self.names[number] if number < voters else f"host {number}"
            if number == voters + hosts:
                name = self.names[1]
                self.cut_off({1, *range(voters + 1, many - 1)})
                self.at(rng.randint(5, 60) * SECOND, self.cut.clear)
            disk: dict[bytes, bytes] | None = {} if number < voters or name in self.names else None
            self.processes.append(Process(self, number, site(number), 1, name, disk))
        if self.faults.late:
            self.processes[0].alive = False
            self.at(rng.randint(5, 40) * SECOND, lambda: self.restart(0))
        for process in self.processes:
            if process.alive:
                self._enters(process)

    # --- who there is -----------------------------------------------------------------------------------------------

    def _enters(self, process: Process) -> None:
        process.begin()
        for other in self.processes:
            if other is not process:
                self.introduce(process, other)
                self.introduce(other, process)

    def introduce(self, one: Process, other: Process) -> None:
        """One hears of the other soon, or once there is no cut any more."""

        def meet() -> None:
            if self.processes[other.number] is not other or not other.alive or not one.alive:
                return
            if (other.number, one.number) in self.cut:
                self.at(SECOND, meet)
            else:
                one.meet(other)

        self.at(self.rng.randint(1_000, SECOND // 2), meet)

    @property
    def settled(self) -> bool:
        """Whether over half of the names have somebody who votes."""
        seats = [process.name for process in self.processes if process.runs and process.voter.votes_for(HUB)]
        return len(dict.fromkeys(seats)) > len(self.names) // 2

    def cut_off(self, island: set[int]) -> None:
        """Nothing passes between these and the others."""
        numbers = range(len(self._rates))
        self.cut |= {(a, b) for a in numbers for b in numbers if (a in island) != (b in island)}

    def new_life(self, process: Process) -> None:
        """The process goes on in another incarnation, and meets everybody again."""
        self._lives[process.number] += 1
        process.begin_life(self._lives[process.number])
        for other in self.processes:
            if other is not process:
                self.introduce(process, other)

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
        due_us = process.deadline()
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
            self.at(delay_us, lambda: self._arrives(source.site, to, body))

    def _arrives(self, source: Site, to: Site, body: bytes) -> None:
        for target in self.processes:
            if target.site == to:
                target.hear(source, body)

    def disk_us(self) -> int:
        """How long a transaction takes."""
        return self.rng.randint(1_000, 10_000 if self.calm else self.faults.disk_us)

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
        if copy is None:
            self.at(0, lambda: process.ended(id))
        else:
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
            late_us = self.rng.randint(0, self.config.watchdog_late_us + self.config.kill_us)
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
        """The computer's process starts again, from its disk."""
        before = self.processes[number]
        if not before.alive:
            self._lives[number] += 1
            process = Process(self, number, before.site, self._lives[number], before.name, before.disk)
            self.processes[number] = process
            self._enters(process)

    def lose_disk(self, process: Process) -> None:
        """It is gone, with its disk: the node begins anew, as another site. Sometimes the old one is thrown out."""
        process.alive = False
        process.copies.clear()
        self.lost += 1
        self.copies.pop(process.number, None)
        before = process.site

        def begin() -> None:
            self._lives[process.number] += 1
            anew = Site(bytes([process.number, self._lives[process.number]]) * 8)
            self.processes[process.number] = Process(
                self, process.number, anew, self._lives[process.number], process.name, {}
            )
            self._enters(self.processes[process.number])
            if self.rng.random() < 0.7:
                for other in self.processes:
                    self.at(self.rng.randint(1_000, SECOND), lambda other=other: other.meet(before))  # type: ignore[misc]

        self.at(self.rng.randint(SECOND, 6 * SECOND), begin)

    def restore_disk(self, process: Process) -> None:
        """It is gone, and its disk is what it was when it was copied."""
        self.crash(process)
        copied = self.copies.get(process.number)
        if copied is not None:
            process.disk = dict(copied)
            self.restored += 1

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
        refusals=rng.random() < 0.3,
        lives=rng.random() < 0.3,
        lists=rng.random() < 0.3,
        lost=rng.random() < 0.3,
        late=rng.random() < 0.1,
    )
