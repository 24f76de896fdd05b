"""How long the logs of owned rows are: what everybody has is forgotten, and what is above a bound."""

from __future__ import annotations

from typing import Any

from covey.core.ids import Site
from covey.core.vocabulary import WantTurn
from covey.protocols.replication.audience import Audience
from covey.protocols.replication.config import ReplicationConfig
from covey.rows.owned import OwnedTable

Effect = Any


class Logs:
    """What the holders of each instance were seen to have."""

    def __init__(self, config: ReplicationConfig, tables: dict[bytes, OwnedTable], audience: Audience) -> None:
        self._config = config
        self._tables = tables
        self._audience = audience
        self._equal: dict[Site, dict[bytes, int]] = {}  # at which versions a peer was seen to have the same
        self._trimming = False

    def trim(self) -> list[Effect]:
        """Forget operations that all who hold an instance were seen to have, and the oldest above the bound.

        Of many, some each turn.
        """
        left = self._config.trimmed_max
        for instance, table in self._tables.items():
            others = self._audience.others(instance)
            equal = min((self._equal.get(site, {}).get(instance, 0) for site in others), default=table.version)
            for owner in table.owners():
                left -= table.trim(owner, self._config.log_bytes_min, equal, left)
        self._trimming = not left
        return [WantTurn()] if self._trimming else []

    def on_turn_ended(self) -> list[Effect]:
        """Some more."""
        return self.trim() if self._trimming else []

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
