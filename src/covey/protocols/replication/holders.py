"""Who holds which instance: the fold of the rows that are shown of the instance that every node holds.

Such a row's key is the instance, its value the number up to which the owner's operations in it are void, and whether
it is driven there: whether somebody else than the row machine decides when and to whom the owner's rows of it travel.
"""

from __future__ import annotations

from covey.core.ids import Site
from covey.wire.messages.rows import SEQ_MAX

_DRIVEN = b"d"  # behind the number


def value_of(base: int, driven: bool = False) -> bytes:
    """The value of a row that says: held, and everything up to `base` is void; empty for the first time in a life."""
    if driven:
        return base.to_bytes(8, "big") + _DRIVEN
    return base.to_bytes(8, "big") if base else b""


def base_of(value: bytes) -> int:
    """The number in such a value, whatever a peer put there."""
    return min(int.from_bytes(value[:8], "big"), SEQ_MAX)


class Holders:
    """Instances and who holds them. Invariant: an instance that nobody holds is not here."""

    def __init__(self) -> None:
        self._holders: dict[bytes, dict[Site, bool]] = {}

    def of(self, instance: bytes) -> list[Site]:
        """Who holds an instance."""
        return list(self._holders.get(instance, ()))

    def has(self, instance: bytes, site: Site) -> bool:
        """Whether a site holds an instance."""
        return site in self._holders.get(instance, ())

    def drives(self, instance: bytes, site: Site) -> bool:
        """Whether a site holds an instance, and something else than the row machine has its rows travel there."""
        return self._holders.get(instance, {}).get(site, False)

    def set(self, instance: bytes, site: Site, value: bytes | None) -> None:
        """A site holds an instance, as its row says, or does not any more."""
        holders = self._holders.setdefault(instance, {})
        if value is not None:
            holders[site] = value[8:] == _DRIVEN
        else:
            holders.pop(site, None)
        if not holders:
            del self._holders[instance]
