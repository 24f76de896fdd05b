"""One detector on a bench: inputs by hand, effects looked at whole."""

from __future__ import annotations

from random import Random
from typing import Any, TypeVar

from covey.core.ids import Contact, Site
from covey.core.vocabulary import (
    Cause,
    Channel,
    Emit,
    Flood,
    Liveness,
    LivenessChanged,
    MemberAdded,
    MessagesReceived,
    PeerConnected,
    PeerLost,
    PeerUnreached,
    Send,
    Tick,
)
from covey.protocols.detector.config import DetectorConfig
from covey.protocols.detector.machine import Detector
from covey.wire.messages.detector import Ack, Ping, Rumour, Rumours

T = TypeVar("T")
SECOND = 1_000_000
ME = Contact(Site(b"m" * 16), 7, "me:1")
NO_DIGEST = bytes(8)


def contact(letter: str, incarnation: int = 7) -> Contact:
    return Contact(Site(letter.encode() * 16), incarnation, f"{letter}:1")


A, B, C, D = map(contact, "abcd")


def rumour(about: Contact, state: Liveness, refutation: int = 0, by: Contact | None = None) -> Rumour:
    return Rumour(about.site, about.incarnation, refutation, state, b"" if by is None else by.site)


class Bench:
    def __init__(self, *members: Contact, config: DetectorConfig | None = None, seed: int = 0) -> None:
        self.config = config or DetectorConfig()
        self.now_us = 50 * SECOND
        self.machine = Detector(self.config, Random(seed), self.now_us, me=ME)
        self.effects: list[Any] = []
        for member in members:
            self.feed(MemberAdded(member, False, True))

    def feed(self, incoming: Any) -> list[Any]:
        """The effects of one input."""
        self.effects = list(self.machine.handle(incoming, self.now_us))
        self.machine.check()
        return self.effects

    def hear(self, peer: Contact, *messages: Any) -> list[Any]:
        return self.feed(MessagesReceived(peer.site, list(messages)))

    def tell(self, peer: Contact, *rumours: Rumour) -> list[Any]:
        return self.hear(peer, Rumours(rumours))

    def connected(self, peer: Contact) -> list[Any]:
        return self.feed(PeerConnected(peer, Channel.CONTROL))

    def lost(self, peer: Contact, cause: Cause = Cause.RESET) -> list[Any]:
        return self.feed(PeerLost(peer, Channel.CONTROL, cause))

    def unreached(self, peer: Contact, cause: Cause = Cause.REFUSED) -> list[Any]:
        return self.feed(PeerUnreached(peer.site, Channel.CONTROL, cause))

    def wait(self, seconds: float) -> list[Any]:
        """The effects of all timers of that time, each at its time."""
        end_us = self.now_us + round(seconds * SECOND)
        effects: list[Any] = []
        while (due_us := self.machine.deadline()) is not None and due_us <= end_us:
            self.now_us = due_us
            effects += self.feed(Tick())
        self.now_us = end_us
        self.effects = effects
        return effects

    def until_ping(self) -> tuple[Contact, Ping]:
        """Let time pass until it pings somebody."""
        for _ in range(100):
            due_us = self.machine.deadline()
            assert due_us is not None
            self.now_us = due_us
            for effect in self.feed(Tick()):
                if isinstance(effect, Send) and isinstance(effect.message, Ping):
                    member = self.machine.opinions.members[effect.to]
                    return member.contact, effect.message
        raise AssertionError("nobody was pinged")

    def ack(self, peer: Contact, number: int, refutation: int = 0) -> list[Any]:
        return self.hear(peer, Ack(number, peer.incarnation, refutation, NO_DIGEST, b"", ()))

    def ping(self, peer: Contact, number: int = 1, refutation: int = 0, digest: bytes | None = None) -> list[Any]:
        digest = self.machine.opinions.digest_bytes if digest is None else digest
        return self.hear(peer, Ping(number, peer.incarnation, refutation, digest, b"", ()))

    def state(self, about: Contact) -> Liveness | None:
        return self.machine.state(about.site)

    # --- parts of the last effects ----------------------------------------------------------------------------------

    def sent(self, kind: type[T]) -> list[tuple[Site, T]]:
        return [(e.to, e.message) for e in self.effects if isinstance(e, Send) and isinstance(e.message, kind)]

    def flooded(self) -> list[Rumour]:
        return [
            item
            for effect in self.effects
            if isinstance(effect, Flood) and isinstance(effect.message, Rumours)
            for item in effect.message.rumours
        ]

    def changes(self) -> list[tuple[Contact, Liveness]]:
        return [(e.contact, e.state) for e in self.effects if isinstance(e, LivenessChanged)]

    def events(self) -> list[Any]:
        return [effect.event for effect in self.effects if isinstance(effect, Emit)]
