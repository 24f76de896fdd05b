"""Who holds which instance: the fold of the rows that are shown of the instance that every node holds.

Such a row's key is the instance, its value the number up to which the owner's operations in it are void.
"""

from __future__ import annotations

from covey.core.ids import Site
from covey.wire.messages.rows import SEQ_MAX


def value_of(base: int) -> bytes:
    """The value of a row that says: held, and everything up to `base` is void; empty for the first time in a life."""
    return base.to_bytes(8, "big") if base else b""


def base_of(value: bytes) -> int:
    """The number in such a value, whatever a peer put there."""
    return min(int.from_bytes(value[:8], "big"), SEQ_MAX)


class Holders:
    """Instances and who holds them. Invariant: an instance that nobody holds is not here."""

    def __init__(self) -> None:
        self._holders: dict[bytes, dict[Site, None]] = {}

    def of(self, instance: bytes) -> list[Site]:
        """Who holds an instance."""
        return list(self._holders.get(instance, ()))

    def has(self, instance: bytes, site: Site) -> bool:
        """Whether a site holds an instance."""
        return site in self._holders.get(instance, ())

    def set(self, instance: bytes, site: Site, holds: bool) -> None:
        """A site holds an instance, or does not any more."""
        holders = self._holders.setdefault(instance, {})
        if holds:
            holders[site] = None
        else:
            holders.pop(site, None)
        if not holders:
            del self._holders[instance]
