"""People and operators at random: commands, starts and stops, after the weights of classy's fuzzer (3.5).

classy: kick 7, join 10, stop 5, start 10. Here kicks are those of members (5) and of invented sites (2), stops clean
(3) or not (2), starts with the old disk (6), an empty one (1), at another address (2) or from a copy of a living disk
(3, at most two a run); leaving is 3, and faults together 10.
"""

from __future__ import annotations

from functools import partial
from random import Random

from covey.core.ids import Site, draw_site
from covey.protocols.membership.vocabulary import Join, Kick, Leave, SetMember
from covey.protocols.overlay.vocabulary import SeedsResolved
from covey.sim.faults import FaultInjector
from covey.sim.node import SimNode
from covey.sim.record_progress import bring_back
from covey.sim.world import World

SECOND_US = 1_000_000

ACTIONS = {
    "join": 10, "kick": 5, "force": 2, "leave": 3, "stop": 3, "kill": 2,
    "restart": 6, "restart_empty": 1, "restart_moved": 2, "clone": 3, "fault": 10,
}  # fmt: skip


class Commander:
    """Acts until it is stopped; then everybody who is out may come back.

    `done` says which actions a run has had: one without them would prove nothing.
    """

    def __init__(self, world: World, injector: FaultInjector, rng: Random, seeds: tuple[str, ...]) -> None:
        self.done: dict[str, int] = {}
        self._world = world
        self._injector = injector
        self._rng = rng
        self._seeds = seeds
        self._stopped = False
        self._request = 0
        self._clones = rng.choice((0, 0, 1, 2))
        self._every_us = rng.choice((1, 2, 6)) * SECOND_US
        self._next()

    def _next(self) -> None:
        wait_us = self._rng.randint(1, 2 * self._every_us)
        self._world.schedule(self._world.now_us + wait_us, -1, self._act)

    def _act(self) -> None:
        if self._stopped:
            return
        action = self._rng.choices(list(ACTIONS), list(ACTIONS.values()))[0]
        running = self._world.running()
        if action.startswith("restart"):
            self._restart(action)
        elif action == "fault":
            self._injector.strike()
        elif running:
            getattr(self, f"_{action}")(self._rng.choice(running))
        self.done[action] = self.done.get(action, 0) + 1
        self._next()

    def _number(self) -> int:
        self._request += 1
        return self._request

    # --- commands ---------------------------------------------------------------------------------------------------

    def _kick(self, node: SimNode) -> None:
        others = [site for site in node.engine.membership.members() if site != node.site]
        if len(others) > 1:
            node.feed(Kick(self._number(), self._rng.choice(others)))

    def _force(self, node: SimNode) -> None:
        """A site that was never seen is made a member, or thrown out."""
        target, member = draw_site(self._rng), self._rng.random() < 0.5
        node.feed(SetMember(self._number(), target, member))
        if member:  # people notice, some day
            self._world.schedule(self._world.now_us + 5 * SECOND_US, -1, lambda: self._throw_out(node, target))

    def _throw_out(self, node: SimNode, target: Site) -> None:
        if node.alive and node.paused_until_us <= self._world.now_us:
            node.feed(Kick(self._number(), target))

    def _leave(self, node: SimNode) -> None:
        node.feed(Leave(self._number()))

    def _join(self, node: SimNode) -> None:
        others = [other for other in self._world.alive() if other is not node and not other.engine.membership.solo]
        if others:
            node.feed(Join(self._number(), self._rng.choice(others).address))

    # --- processes --------------------------------------------------------------------------------------------------

    def _stop(self, node: SimNode) -> None:
        if len(self._world.alive()) > 1:
            self._world.stop(node)

    def _kill(self, node: SimNode) -> None:
        """What the disk had not taken whole is gone: the torn tail of its log."""
        if len(self._world.alive()) > 1:
            self._world.crash(node, loudly=self._rng.random() < 0.7)

    def _restart(self, how: str) -> None:
        """Start one that is down, if any is."""
        down = [node for node in self._world.nodes if not node.alive and not node.retired]
        if down:
            keep, move = how != "restart_empty", how == "restart_moved"
            self._injector.restart(self._rng.choice(down).index, keep, move)

    def _clone(self, node: SimNode) -> None:
        """A virtual machine is copied while it runs, and the copy started."""
        if self._clones and node.durable:
            self._clones -= 1
            self._world.clone(node, self._seeds)

    # --- the end ----------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """No more orders but to come back; and the contacts that are told are those there are."""
        self._stopped = True
        world = self._world
        world.schedule(world.now_us + SECOND_US, -1, self._tell_contacts)
        self._bring_back()

    def _tell_contacts(self) -> None:
        world = self._world
        contacts = SeedsResolved(tuple(node.address for node in world.alive()[:3]))
        for node in world.alive():
            world.schedule(world.now_us, node.index, partial(node.feed, contacts))

    def _bring_back(self) -> None:
        self._request = bring_back(self._world, self._request)
        self._world.schedule(self._world.now_us + SECOND_US, -1, self._bring_back)
