"""Which act follows which; or, once a key is pressed, what whoever sits there wishes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from covey.cli.demo.acts import SLACK_SECONDS_MAX, Acts
from covey.cli.demo.director import Director

KEYS = "keys: k kill  p partition  r restart  q finish"
BY_HAND = "by hand: k kill  p partition, heal  r restart  q finish"
DAY_SECONDS = 86_400.0


class Script:
    """One demo from its first process to the comparison. `run` raises `Stuck` where it does not come to its end.

    `kills`, `splits`: whether that is part of the script. `hold`: how long things are left as they are, for people.
    """

    def __init__(self, director: Director, kills: bool, splits: bool, hold: float) -> None:
        self._director = director
        self._acts = Acts(director)
        self._kills = kills
        self._splits = splits
        self._hold = hold
        self._keys: deque[str] = deque()

    def press(self, key: str) -> None:
        """A key of the keyboard."""
        if key in "kprq":
            self._keys.append(key)
            self._director.wake()

    async def run(self) -> None:
        """From the first process to the comparison."""
        await self._acts.form()
        await self._acts.fill()
        await self._script()
        while self._keys or self._director.view.hint == BY_HAND:
            if await self._by_hand():
                break
        await self._acts.finish()

    async def _script(self) -> None:
        """Kill one when half is done, start it again, split, heal. A key ends it between two acts."""
        director = self._director
        seconds = director.seconds + SLACK_SECONDS_MAX
        if self._kills:
            half = "half of the files were not indexed"
            if await self._key_or(lambda: director.view.fraction >= 0.5, seconds, half):
                return
            await self._acts.kill()
        if await self._key_or(self._acts.all_held, seconds, "not every worker read the rows of all files"):
            return
        if self._kills:
            if await self._pause(self._hold):
                return
            await self._acts.restart()
        if self._splits and len(director.alive()) > 1:
            if await self._pause(self._hold):
                return
            await self._acts.split()
            if await self._pause(self._hold):
                return
            await self._acts.heal()

    async def _by_hand(self) -> bool:
        """Do what the next key says; returns whether it is to be over."""
        director = self._director
        director.view.hint = BY_HAND
        await director.until(lambda: bool(self._keys), DAY_SECONDS, "no key was pressed")
        match self._keys.popleft():
            case "k" if self._acts.is_cut:
                director.explain("kill", "not while the network is split: press p first")
            case "k" if len(director.alive()) < 3:
                director.explain("kill", "not of the last two: press r first")
            case "k":
                await self._acts.kill()
            case "r" if not self._acts.victims:
                director.explain("restart", "nobody was killed: press k")
            case "r" if self._acts.is_cut:
                director.explain("restart", "not while the network is split: press p first")
            case "r":
                await self._acts.restart()
            case "p":
                await (self._acts.heal() if self._acts.is_cut else self._acts.split())
            case _:
                return True
        return False

    async def _key_or(self, holds: Callable[[], bool], seconds: float, otherwise: str) -> bool:
        """Wait until that holds, or a key is pressed; returns whether it was a key."""
        await self._director.until(lambda: bool(self._keys) or holds(), seconds, otherwise)
        return bool(self._keys)

    async def _pause(self, seconds: float) -> bool:
        """Leave everything as it is for a while; returns whether a key was pressed."""
        until_s = time.monotonic() + seconds
        return await self._key_or(lambda: time.monotonic() >= until_s, seconds + SLACK_SECONDS_MAX, "nothing was heard")
