"""What brings parted overlays together again: a book of addresses, and the name of our component (see `beacons`).

HyParView alone never joins two components that do not know each other. Two facts mend that (DESIGN 3.4). Each component
is named by its lowest living site, whose beacon every member has heard lately. And each node keeps trying, one a
second, the addresses it was given, was ever linked to, or knows dead members at; where the answer names another lowest
site, an urgent link is asked for.
"""

from __future__ import annotations

from covey.core.errors import invariant
from covey.core.ids import Contact, Site
from covey.protocols.overlay.config import OverlayConfig


class _Entry:
    __slots__ = ("backoff_us", "due_us", "is_seed", "site")

    def __init__(self, is_seed: bool, backoff_us: int, now_us: int) -> None:
        self.is_seed = is_seed
        self.backoff_us = backoff_us
        self.due_us = now_us
        self.site: Site | None = None  # who answered there last


class AddressBook:
    """Addresses to probe, each with its own growing pause.

    Invariants: at most `addresses_max`; every pause within its bounds. On overflow the address that has failed longest
    goes, seeds last.
    """

    def __init__(self, config: OverlayConfig) -> None:
        self._config = config
        self._entries: dict[str, _Entry] = {}

    def add(self, address: str, now_us: int, is_seed: bool = False) -> None:
        """Take in an address; one that is known only gains the rank of a seed."""
        if not address:
            return
        entry = self._entries.get(address)
        if entry is not None:
            entry.is_seed = entry.is_seed or is_seed
            return
        if len(self._entries) >= self._config.addresses_max and not self._make_room(is_seed):
            return
        self._entries[address] = _Entry(is_seed, self._config.probe_backoff_us_min, now_us)

    def _make_room(self, for_seed: bool) -> bool:
        """Drop the address that has failed longest; False if only seeds are left and the newcomer is none."""
        victim = min(self._entries, key=lambda a: (self._entries[a].is_seed, -self._entries[a].backoff_us))
        if self._entries[victim].is_seed and not for_seed:
            return False
        del self._entries[victim]
        return True

    def answered(self, address: str, site: Site, now_us: int) -> bool:
        """Somebody is there: no hurry to ask again. True if nobody was the last time: then all others are due."""
        entry = self._entries.get(address)
        if entry is None:
            return False
        pause_us = self._config.probe_backoff_us_min
        again = entry.backoff_us > pause_us
        if again:
            for other in self._entries.values():
                if other.backoff_us > pause_us:
                    other.due_us, other.backoff_us = now_us, pause_us
        entry.site = site
        entry.backoff_us = pause_us
        entry.due_us = now_us + self._config.probe_backoff_us_max
        return again

    def failed(self, address: str, now_us: int) -> None:
        """Nobody is there: ask again after twice the pause."""
        if (entry := self._entries.get(address)) is not None:
            entry.due_us = now_us + entry.backoff_us
            entry.backoff_us = min(2 * entry.backoff_us, self._config.probe_backoff_us_max)

    def lost(self, address: str, now_us: int) -> None:
        """A link to it broke: ask soon, in case it was the network."""
        self.add(address, now_us)
        entry = self._entries.get(address)
        if entry is not None:
            entry.backoff_us = self._config.probe_backoff_us_min
            entry.due_us = min(entry.due_us, now_us + entry.backoff_us)

    def remove(self, address: str) -> None:
        """Nobody who belongs is there any more. A seed stays: somebody else may come there."""
        entry = self._entries.get(address)
        if entry is not None and not entry.is_seed:
            del self._entries[address]

    def clear(self) -> None:
        """Another cluster."""
        self._entries.clear()

    def hurry(self, now_us: int) -> None:
        """We are alone: every address is due again, in its turn."""
        for entry in self._entries.values():
            entry.due_us = min(entry.due_us, now_us + entry.backoff_us)

    def take_due(self, now_us: int, but: frozenset[Site], own_address: str, count: int) -> list[str]:
        """The addresses that have been due longest and do not lead to one of the sites `but`."""
        due = sorted(
            (entry.due_us, address)
            for address, entry in self._entries.items()
            if entry.due_us <= now_us and entry.site not in but and address != own_address
        )
        taken = [address for _, address in due[:count]]
        for address in taken:
            self._entries[address].due_us = (
                now_us + self._entries[address].backoff_us
            )  # until the answer says otherwise
        return taken

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, address: object) -> bool:
        return address in self._entries

    def check(self) -> None:
        config = self._config
        invariant(len(self._entries) <= config.addresses_max, "the address book is bounded")
        for entry in self._entries.values():
            pause = config.probe_backoff_us_min <= entry.backoff_us <= config.probe_backoff_us_max
            invariant(pause, "every address has its pause within the bounds")


class Probes:
    """Addresses being dialled, and who was asked for the name of its component. Bounded by `addresses_max`."""

    def __init__(self, config: OverlayConfig) -> None:
        self._config = config
        self._dialled: dict[str, None] = {}
        self._asked: dict[Site, Contact] = {}

    def dial(self, *addresses: str) -> None:
        """The outcomes of these dials are ours."""
        self._dialled.update(dict.fromkeys(addresses))

    def ended(self, address: str) -> bool:
        """A dial to `address` has an outcome: was it ours?"""
        return self._dialled.pop(address, 0) is None

    def ask(self, contact: Contact) -> None:
        """It was asked; the oldest question gives way where there are too many."""
        self._asked[contact.site] = contact
        if len(self._asked) > self._config.addresses_max:
            del self._asked[next(iter(self._asked))]

    def answered(self, site: Site) -> Contact | None:
        """Whom an answer of `site` is about; None if nobody asked. Also what ends a question without one."""
        return self._asked.pop(site, None)

    def clear(self) -> None:
        """Another cluster."""
        self._dialled.clear()
        self._asked.clear()

    def check(self) -> None:
        invariant(len(self._asked) <= self._config.addresses_max, "probes under way are bounded")
