"""What all who hold an instance have: operations that need not be told any more, and lives that retire.

A life that is over and of which nothing is alive retires from what is compared, once every holder that is present was
seen to have all of it, what took the last of it away included. It stays known for a long time, and that time is the
longest split in which what was removed stays removed.

A holder is seen to have something when it says so, and it says so of what is on its disk, if it has one (`Saving`):
what a crash might take from it does not count.
"""

from __future__ import annotations

from collections.abc import Iterable

from covey.core.errors import invariant
from covey.core.ids import Origin, Site
from covey.protocols.replication.audience import Audience
from covey.protocols.replication.config import ReplicationConfig
from covey.rows.shared import SharedTable


class Retiring:
    """Who has what of the shared rows held here.

    Law: a life retires only where all others who hold the instance said that they have all that we had when the last of
    it went. Invariant: lives that retired are bounded.
    """

    def __init__(self, config: ReplicationConfig, audience: Audience, tables: dict[bytes, SharedTable]) -> None:
        self._config = config
        self._audience = audience
        self._tables = tables
        self.retired = 0
        self._equal: dict[Site, dict[bytes, int]] = {}  # at which versions a peer was seen to have all
        self._retired_us: dict[tuple[bytes, Origin], int] = {}  # in the order in which they did

    def check(self) -> None:
        """The invariant."""
        invariant(len(self._retired_us) <= self._config.retired_max, "retired lives are bounded")

    def open(self, instance: bytes, table: SharedTable, now_us: int) -> None:
        """It is held from now on, perhaps as the disk kept it: how long ago lives retired there is not known."""
        self._retired_us.update({(instance, life): now_us for life in table.retired.lives()})
        self._forget_old(now_us)

    def equal(self, peer: Site, instances: Iterable[bytes]) -> None:
        """A peer was seen to have the same as we have in these, and of no other one that is known."""
        tables = self._tables
        self._equal[peer] = {instance: tables[instance].version for instance in instances if instance in tables}

    def has_all(self, peer: Site, instance: bytes) -> None:
        """A peer was seen to have all that we have in one of them."""
        self._equal.setdefault(peer, {})[instance] = self._tables[instance].version

    def forget(self, peer: Site) -> None:
        """That life of a peer is over, or does not belong."""
        self._equal.pop(peer, None)

    def new_life(self) -> None:
        """A new life of ours: what was seen, others may have said to the one before."""
        self._equal.clear()

    def close(self, instance: bytes) -> None:
        """It is not held any more."""
        for versions in self._equal.values():
            versions.pop(instance, None)
        for key in [key for key in self._retired_us if key[0] == instance]:
            del self._retired_us[key]

    def _is_current(self, life: Origin) -> bool:
        me = self._audience.me
        return life == (me.site, me.incarnation) or self._audience.lives.incarnation(life[0]) == life[1]

    def trim(self, now_us: int) -> None:
        """Forget operations that all who hold an instance were seen to have, and the oldest above a bound; and let
        lives retire."""
        for instance, table in self._tables.items():
            others = self._audience.others(instance)
            equal = {site: self._equal.get(site, {}).get(instance, 0) for site in others}
            driven = instance in self._audience.driven  # there nobody asks for operations
            seen = table.version if driven else min(equal.values(), default=table.version)
            table.log.trim(self._config.shared_log_bytes_max, seen)
            for life in table.received.lives():
                if self._is_current(life) or table.has_alive(life):
                    continue
                touched = table.touched.get(life, 0)
                if all(version >= touched for version in equal.values()):
                    table.retire(life)
                    self._retired_us[instance, life] = now_us
                    self.retired += 1
        self._forget_old(now_us)

    def _forget_old(self, now_us: int) -> None:
        for (instance, life), since_us in list(self._retired_us.items()):
            table = self._tables[instance]
            old = now_us - since_us >= self._config.context_keep_us
            if self._is_current(life):  # while we were out of the cluster all others seemed to be over
                table.recall(life)
            if not table.retired.top(life):
                del self._retired_us[instance, life]  # more of it came
            elif old or len(self._retired_us) > self._config.retired_max:
                table.forget(life)
                del self._retired_us[instance, life]
