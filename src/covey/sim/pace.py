"""Something that is done at random moments, as people do things, until nobody wants it any more."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from covey.sim.node import SimNode
from covey.sim.world import World


class Pace:
    """Does `act` with somebody who is awake, every `every_us` on the average."""

    def __init__(self, world: World, rng: Random, every_us: int, act: Callable[[SimNode], None]) -> None:
        self._world = world
        self._rng = rng
        self._every_us = every_us
        self._act = act
        self._stopped = False
        self._next()

    def _next(self) -> None:
        wait_us = self._rng.randint(1, 2 * self._every_us)
        self._world.schedule(self._world.now_us + wait_us, -1, self._do)

    def _do(self) -> None:
        if self._stopped:
            return
        awake = [node for node in self._world.alive() if node.paused_until_us <= self._world.now_us]
        if awake:
            self._act(self._rng.choice(awake))
        self._next()

    def stop(self) -> None:
        """It is done no more."""
        self._stopped = True
