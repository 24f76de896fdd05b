"""How long the logs of owned rows are: what everybody has is forgotten, and what is above a bound."""

from __future__ import annotations

from collections import deque
from typing import Any

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.core.vocabulary import WantTurn
from covey.protocols.replication.audience import Audience
from covey.protocols.replication.config import ReplicationConfig
from covey.rows.owned import OwnedTable

Effect = Any


class Logs:
    """What the holders of each instance were seen to have. Invariant: only of instances that are held."""

    def __init__(self, config: ReplicationConfig, tables: dict[bytes, OwnedTable], audience: Audience) -> None:
        self._config = config
        self._tables = tables
        self._audience = audience
        self._equal: dict[Site, dict[bytes, int]] = {}  # at which versions a peer was seen to have the same
        self._due: deque[tuple[bytes, Site]] = deque()  # owners whose logs are still to be looked at, by instance

    def trim(self) -> list[Effect]:
        """Forget operations that all who hold an instance were seen to have, and the oldest above the bound.

        Of many operations, or many logs, some each turn.
        """
        if not self._due:
            self._due.extend((instance, owner) for instance, table in self._tables.items() for owner in table.owners())
        return self.on_turn_ended()

    def on_turn_ended(self) -> list[Effect]:
        """Some more."""
        left = self._config.trimmed_max
        equal: dict[bytes, int] = {}
        while self._due and left > 0:
            instance, owner = self._due[0]
            table = self._tables.get(instance)
            if table is not None:
                if instance not in equal:
                    equal[instance] = self._seen_by_all(instance, table)
                    left -= len(self._equal)
                most = max(left, 1)
                went = table.trim(owner, self._config.log_bytes_min, equal[instance], most)
                left -= went
                if went == most:
                    break
            left -= 1
            self._due.popleft()
        return [WantTurn()] if self._due else []

    def _seen_by_all(self, instance: bytes, table: OwnedTable) -> int:
        """The version that every other holder was seen to have."""
        others = self._audience.others(instance)
        return min((self._equal.get(site, {}).get(instance, 0) for site in others), default=table.version)

    def equal(self, peer: Site, instances: list[bytes]) -> None:
        """A peer was seen to have the same as we have in these."""
        self._equal[peer] = {instance: self._tables[instance].version for instance in instances}

    def differs(self, peer: Site, instance: bytes) -> None:
        """A peer is not seen to hold this instance any more."""
        self._equal.get(peer, {}).pop(instance, None)

    def forget(self, peer: Site) -> None:
        """That life is over, or does not belong."""
        self._equal.pop(peer, None)

    def close(self, instance: bytes) -> None:
        """This node does not hold an instance any more."""
        for versions in self._equal.values():
            versions.pop(instance, None)

    def check(self) -> None:
        """The invariant."""
        for versions in self._equal.values():
            invariant(versions.keys() <= self._tables.keys(), "what is equal is held")
