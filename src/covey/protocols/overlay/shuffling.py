"""Shuffles: nodes mix their passive views, so that everybody knows some of all (HyParView, DSN 2007, section 4.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from covey.core.ids import Contact, Site
from covey.core.vocabulary import Send
from covey.protocols.overlay.config import OverlayConfig
from covey.protocols.overlay.views import ActiveView, PassiveView
from covey.wire.limits import CONTACTS_MAX
from covey.wire.messages.overlay import Shuffle, ShuffleReply

Effect = Any


class Shuffling:
    """What is sent in a shuffle, passed on, answered and kept. `remember(contact, drop_first)` files a contact."""

    def __init__(
        self,
        config: OverlayConfig,
        rng: Random,
        active: ActiveView,
        passive: PassiveView,
        remember: Callable[[Contact, Sequence[Site]], None],
    ) -> None:
        self._config = config
        self._rng = rng
        self._active = active
        self._passive = passive
        self._remember = remember
        self._sent: tuple[Site, ...] = ()  # in our last shuffle
        self.begun = 0

    def begin(self, me: Contact) -> list[Effect]:
        """Send some of our contacts on a walk that begins at a random neighbour."""
        target = self._active.choose(self._rng)
        if target is None:
            return []
        self.begun += 1
        contacts = self._active.sample(self._rng, self._config.shuffle_active, but=target.site)
        contacts += self._passive.sample(self._rng, self._config.shuffle_passive)
        self._sent = tuple(contact.site for contact in contacts)
        return [Send(target.site, Shuffle(me, self._config.active_walk, tuple(contacts)))]

    def on_shuffle(self, peer: Site, shuffle: Shuffle) -> list[Effect]:
        """Pass it on while the walk lasts; at its end mix it in and answer the origin."""
        hops_left = min(shuffle.hops_left, self._config.active_walk)
        if hops_left > 1 and len(self._active) > 1:
            others = [c.site for c in self._active if c.site not in (peer, shuffle.origin.site)]
            if others:
                onward = Shuffle(shuffle.origin, hops_left - 1, shuffle.contacts)
                return [Send(self._rng.choice(others), onward)]
        # The paper answers with passive contacts only; neighbours fill up what a small passive view lacks.
        wanted = min(len(shuffle.contacts) + 1, CONTACTS_MAX)
        answer = self._passive.sample(self._rng, wanted)
        if len(answer) < wanted:
            answer += self._active.sample(self._rng, wanted - len(answer), but=shuffle.origin.site)
        answer = [contact for contact in answer if contact.site != shuffle.origin.site]
        sent = [contact.site for contact in answer]
        for contact in (shuffle.origin, *shuffle.contacts):
            self._remember(contact, sent)
        return [Send(shuffle.origin.site, ShuffleReply(tuple(answer)), shuffle.origin.address)]

    def on_reply(self, reply: ShuffleReply) -> None:
        """Mix the answer in; what we sent away makes room for it."""
        for contact in reply.contacts:
            self._remember(contact, self._sent)
