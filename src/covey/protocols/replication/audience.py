"""To whom rows are told: who holds which instance, which of them are linked, and how news get to all of them."""

from __future__ import annotations

from typing import Any

from covey.core.ids import Contact, Site
from covey.core.rows import RowsToTell
from covey.core.vocabulary import Channel, Flood, Multicast, Send
from covey.protocols.replication.holders import Holders
from covey.protocols.replication.lives import Lives
from covey.protocols.replication.vocabulary import SYSTEM

Effect = Any


class Audience:
    """The others, as the row machine sees them."""

    def __init__(self, me: Contact, direct_max: int) -> None:
        self.me = me
        self._direct_max = direct_max
        self.lives = Lives()
        self.holders = Holders()
        self.linked: dict[tuple[Site, Channel], None] = {}
        self.driven: dict[bytes, None] = {}  # instances held here of which somebody else says when and to whom

    def of(self, instance: bytes) -> list[Site]:
        """Who holds an instance, we included, as far as is shown here; all members, for the one that all hold."""
        return [self.me.site, *self.lives.shown()] if instance == SYSTEM else self.holders.of(instance)

    def others(self, instance: bytes) -> list[Site]:
        """The same without us."""
        return [site for site in self.of(instance) if site != self.me.site]

    def shares(self, instance: bytes, peer: Site) -> bool:
        """Whether a peer holds an instance that we hold, and compares it with us."""
        if instance == SYSTEM:
            return True
        driven = instance in self.driven or self.holders.drives(instance, peer)
        return self.holders.has(instance, peer) and not driven

    def send(self, site: Site, message: Any, channel: Channel = Channel.DATA) -> Send:
        """To one of them."""
        return Send(site, message, self.lives.address(site), channel)

    def push(self, instance: bytes, message: Any, author: Site, teller: Site | None) -> list[Effect]:
        """Tell news of `author` to those who hold them: directly, or where all do, to the neighbours, who tell theirs.

        `teller` told us; None where they are ours. Of an instance that is driven they are for whoever drives it.
        """
        if instance in self.driven:
            return [] if teller is not None else [RowsToTell(instance, (message,))]
        others = [site for site in self.of(instance) if site != author]  # its author counts these too
        if instance == SYSTEM or (len(others) > self._direct_max and self._all_hold(instance)):
            return [Flood(message, teller)]
        if teller is not None:
            return []  # its author told all of them
        near = tuple(site for site in others if (site, Channel.DATA) in self.linked)
        effects: list[Effect] = [Multicast(near, message, Channel.DATA)] if near else []
        return effects + [self.send(site, message) for site in others if site not in near]

    def _all_hold(self, instance: bytes) -> bool:
        return all(self.holders.has(instance, site) for site in self.lives.shown())
