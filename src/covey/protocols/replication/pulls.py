"""What was asked of holders and is not answered yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.core.timers import Timers
from covey.protocols.replication.config import ReplicationConfig
from covey.rows.owner import Change, change_bytes


class Pull:
    """We asked `holder` for what is missing of one owner. Once its parts are here, `tail` is what followed them."""

    __slots__ = ("after", "base", "holder", "instance", "owner", "staged", "tail", "tail_bytes", "until")

    def __init__(self, instance: bytes, owner: Site, holder: Site, after: int) -> None:
        self.instance = instance
        self.owner = owner
        self.holder = holder
        self.after = after  # what we had when we asked
        self.staged = False
        self.base = 0
        self.until = 0
        self.tail: list[Change] = []
        self.tail_bytes = 0

    def stage(self, base: int, until: int) -> None:
        """All parts are here, the first as of `base`, the latest as of `until`."""
        self.staged, self.base, self.until, self.tail, self.tail_bytes = True, base, until, [], 0

    def follow(self, ops: Sequence[Change]) -> None:
        """The next operations behind the parts."""
        self.tail += ops
        self.tail_bytes += sum(map(change_bytes, ops))

    @property
    def next_seq(self) -> int:
        """The number of the operation that is needed next."""
        return self.base + len(self.tail) + 1


class Pulls:
    """All pulls under way. Invariants: one for each owner of an instance at most, bounded, each with a deadline."""

    def __init__(self, config: ReplicationConfig, timers: Timers[tuple[Any, ...]]) -> None:
        self._config = config
        self._timers = timers
        self._pulls: dict[tuple[bytes, Site], Pull] = {}

    @property
    def full(self) -> bool:
        """Whether nothing else may be asked now; the next digest comes."""
        return len(self._pulls) >= self._config.pulls_max

    def get(self, instance: bytes, owner: Site) -> Pull | None:
        """The pull under way for this owner, if there is one."""
        return self._pulls.get((instance, owner))

    def begin(self, instance: bytes, owner: Site, holder: Site, after: int, now_us: int) -> Pull:
        """Ask `holder`, and wait for it for a while."""
        pull = self._pulls[instance, owner] = Pull(instance, owner, holder, after)
        self.renew(pull, now_us)
        return pull

    def renew(self, pull: Pull, now_us: int) -> None:
        """It answers: it may take its time again."""
        self._timers.set(("pull", pull.instance, pull.owner), now_us + self._config.pull_us_max)

    def end(self, instance: bytes, owner: Site) -> None:
        """It is answered, or given up."""
        if self._pulls.pop((instance, owner), None) is not None:
            self._timers.cancel(("pull", instance, owner))

    def of_holder(self, holder: Site) -> list[Pull]:
        """What one holder was asked for."""
        return [pull for pull in self._pulls.values() if pull.holder == holder]

    def owners(self, instance: bytes) -> list[Site]:
        """For whom anything is under way in one instance."""
        return [owner for held, owner in self._pulls if held == instance]

    def __len__(self) -> int:
        return len(self._pulls)

    def check(self) -> None:
        invariant(len(self._pulls) <= self._config.pulls_max, "pulls are bounded")
        for instance, owner in self._pulls:
            invariant(("pull", instance, owner) in self._timers, "every pull has a deadline")
