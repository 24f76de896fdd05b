"""Scripted children of one simulated process: counters that start, think, answer, hand over, fail, and hang."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from covey.core import children as c
from covey.core.errors import invariant
from covey.sim.node import SimNode

if TYPE_CHECKING:
    from covey.sim.hub import HubWorld

COUNT, SLOW, WEAK, ONCE = "sim:count", "sim:slow", "sim:weak", "sim:once"
STARTS = (COUNT, SLOW, WEAK, ONCE)

Work = tuple[int, ...]
"""The operations that a counter has applied, in order: its state."""


class SimChild:
    """One copy: what it has applied, and whether it is to end."""

    __slots__ = ("copy", "done", "ending", "excused", "hands_over", "node", "runs", "start", "waits")

    def __init__(self, copy: c.Copy, start: str, node: SimNode) -> None:
        self.copy = copy
        self.node = node
        self.excused = False  # its process stood still
        self.start = start
        self.done: list[int] = []
        self.runs = False
        self.waits = False
        self.ending = False
        self.hands_over = False


class SimChildren:
    """The copies of one process, as the world of asyncio would run them; whatever they do takes a random time."""

    def __init__(self, world: HubWorld, node: SimNode) -> None:
        self.world = world
        self.node = node
        self.copies: dict[c.Copy, SimChild] = {}
        self._rng = world.chance
        node.hands.update(
            {
                c.PrepareChild: self._prepare,
                c.StartChild: self._start,
                c.TellToken: self._tell_token,
                c.DeliverToChild: self._deliver,
                c.AskHandover: self._ask_handover,
                c.StopChild: self._stop,
                c.AskResolver: self._resolve,
            }
        )

    def _later(self, most_us: int, action: Callable[[], None]) -> None:
        """Soon, unless the process is gone by then; a process that stands still does it when it goes on."""

        def act() -> None:
            if self.node.alive:
                action()

        self.world.schedule(self.world.now_us + self._rng.randint(0, most_us), self.node.index, self._mine(act))

    def _mine(self, action: Callable[[], None]) -> Callable[[], None]:
        """Not in another process that took this one's place."""
        node, world = self.node, self.world

        def act() -> None:
            if world.nodes[node.index] is node:
                action()

        return act

    def _feed(self, copy: c.Copy, fact: Any) -> None:
        if copy in self.copies:
            self.node.feed(fact)

    # --- effects ----------------------------------------------------------------------------------------------------

    def _prepare(self, effect: c.PrepareChild) -> None:
        copy = effect.copy
        invariant(copy not in self.copies, "a copy has a number of its own")
        self.copies[copy] = SimChild(copy, effect.start, self.node)
        if self._rng.random() < self.world.failing:
            self._later(50_000, lambda: self._exit(copy, c.Ending.RAISED, "cannot be built"))
        else:
            self._later(50_000, lambda: self._feed(copy, c.ChildPrepared(copy)))

    def _start(self, effect: c.StartChild) -> None:
        copy = effect.copy
        child = self.copies.setdefault(copy, SimChild(copy, effect.start, self.node))
        self.world.copy_starts(self, child)
        self.world.has_token(self, child, effect.token)
        child.runs = True
        if effect.handed_over is not None:
            child.done = list(msgspec.msgpack.decode(effect.handed_over, type=Work))
        weak = effect.start == WEAK and self._rng.random() < 0.4 and self.world.calm_us is None
        if weak or self._rng.random() < self.world.failing / 4:
            self._later(20_000, lambda: self._exit(copy, c.Ending.RAISED, "ValueError: weak"))
        else:
            self._later(400_000 if effect.start == SLOW else 0, lambda: self._started(copy))

    def _started(self, copy: c.Copy) -> None:
        if copy not in self.copies:
            return
        self.node.feed(c.ChildStarted(copy))
        child = self.copies.get(copy)
        if child is None:
            return
        if child.start == ONCE:
            self._later(2_000_000, lambda: self._exit(copy, c.Ending.RETURNED))
        self._receive(child)

    def _receive(self, child: SimChild) -> None:
        if not child.ending and not child.hands_over:
            child.waits = True
            self._feed(child.copy, c.ChildReceives(child.copy))

    def _tell_token(self, effect: c.TellToken) -> None:
        child = self.copies[effect.copy]
        self.world.has_token(self, child, effect.token)

    def _deliver(self, effect: c.DeliverToChild) -> None:
        child = self.copies[effect.copy]
        invariant(child.waits, "a letter comes to who waits for it")
        invariant(self.may_run(child), "nobody gets a letter without a lease")
        child.waits = False
        self._later(30_000, lambda: self._apply(child, effect))

    def _apply(self, child: SimChild, effect: c.DeliverToChild) -> None:
        if child.copy not in self.copies or not self.may_run(child):
            return  # a child asks `check()` before it acts
        work = msgspec.msgpack.decode(effect.payload, type=int)
        self.world.applied(self, child, work)
        child.done.append(work)
        if self._rng.random() < 0.2:  # it may end before it answers
            self._later(100_000, lambda: self._reply(child, effect.call))
        else:
            self._reply(child, effect.call)

    def _reply(self, child: SimChild, call: int) -> None:
        if call:
            self._feed(child.copy, c.ChildReplied(child.copy, call, False, msgspec.msgpack.encode(len(child.done))))
        self._receive(child)

    def may_run(self, child: SimChild) -> bool:
        """What `ctx.check()` looks at: whether it may act."""
        if not self.world.voters:
            return True
        return self.node.engine.claims.lease_us((child.copy.hub, child.copy.id)) > self.world.now_us

    def _ask_handover(self, effect: c.AskHandover) -> None:
        child = self.copies[effect.copy]
        child.hands_over = True
        if effect.duplicate and effect.target != self.node.site:
            self.world.users[self.node.number].owe(child.copy.id, "duplicate")
        if child.waits or self._rng.random() < 0.8:
            self._later(min(effect.grace_us, 300_000), lambda: self._hand_over(child))
        else:
            self._later(min(effect.grace_us, 300_000), lambda: self._exit(child.copy, c.Ending.STOPPED))

    def _hand_over(self, child: SimChild) -> None:
        copy = child.copy
        self._feed(copy, c.HandoverGiven(copy, msgspec.msgpack.encode(tuple(child.done))))
        self._exit(copy, c.Ending.RETURNED)

    def _stop(self, effect: c.StopChild) -> None:
        child = self.copies.get(effect.copy)
        if child is None:
            return
        child.ending = True
        if effect.deposed:
            self.world.users[self.node.number].owe(child.copy.id, "fenced")
        hangs = self._rng.random() < self.world.failing and not effect.deposed
        self._later(min(effect.grace_us, 300_000), lambda: self._end(child, hangs))

    def _end(self, child: SimChild, hangs: bool) -> None:
        if hangs and child.copy in self.copies:
            self.node.feed(c.ChildStuck(child.copy))
            self._later(2_000_000, lambda: self._exit(child.copy, c.Ending.STOPPED))
        else:
            self._exit(child.copy, c.Ending.STOPPED)

    def _resolve(self, effect: c.AskResolver) -> None:
        """The union of what both did."""
        self.world.resolved += 1
        both: dict[int, None] = {}
        for state in (effect.ours, effect.theirs):
            both |= dict.fromkeys(msgspec.msgpack.decode(state, type=Work) if state is not None else ())
        self._later(50_000, lambda: self.node.feed(c.StatesResolved(effect.copy, msgspec.msgpack.encode(tuple(both)))))

    def _exit(self, copy: c.Copy, ending: c.Ending, error: str = "") -> None:
        child = self.copies.pop(copy, None)
        if child is not None:
            self.world.copy_ends(self, child)
            self.node.feed(c.ChildExited(copy, ending, error, error))

    # --- by itself --------------------------------------------------------------------------------------------------

    def crash_one(self) -> None:
        """Some copy that runs raises, or returns."""
        running = [child for child in self.copies.values() if child.runs and not child.ending]
        if running:
            child = self._rng.choice(running)
            if self._rng.random() < 0.7:
                self._exit(child.copy, c.Ending.RAISED, "RuntimeError: crash")
            else:
                self._exit(child.copy, c.Ending.RETURNED)
