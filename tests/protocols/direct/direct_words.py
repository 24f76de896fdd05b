"""Short words for what tests of `Direct` say over and over."""

from __future__ import annotations

from typing import Any

import msgspec

from covey.core.ids import Contact, Site
from covey.core.vocabulary import (
    Cause,
    Channel,
    PeerCongested,
    PeerConnected,
    PeerDrained,
    PeerLost,
    PeerUnreached,
    Refuse,
    Resolve,
    Send,
    SendMany,
)
from covey.protocols.direct.machine import Direct, DirectConfig, SendPayloads
from covey.wire.messages.direct import Payload

ME, ANN, BOB = (Site(bytes([number]) * 16) for number in (1, 2, 3))
DATA, CONTROL = Channel.DATA, Channel.CONTROL


def contact(site: Site) -> Contact:
    return Contact(site, 1, "there:1")


def value(text: str) -> bytes:
    return msgspec.msgpack.encode(text)


def payload(text: str) -> Payload:
    return Payload(msgspec.Raw(value(text)))


def command(request: int, *texts: str, to: Site = ANN, address: str = "there:1") -> SendPayloads:
    return SendPayloads(request, to, address, tuple(map(value, texts)))


class Speaker:
    """One `Direct`, checked after every step."""

    def __init__(self, config: DirectConfig | None = None) -> None:
        self.direct = Direct(config or DirectConfig(), ME)

    def feed(self, incoming: Any) -> list[Any]:
        effects = list(self.direct.handle(incoming, 0))
        self.direct.check()
        self.direct.statistics()
        assert self.direct.deadline() is None
        return effects

    def send(self, request: int, *texts: str, to: Site = ANN) -> list[Any]:
        return self.feed(command(request, *texts, to=to))

    def connected(self, site: Site = ANN, channel: Channel = DATA) -> list[Any]:
        return self.feed(PeerConnected(contact(site), channel))

    def lost(self, site: Site = ANN, cause: Cause = Cause.RESET, channel: Channel = DATA) -> list[Any]:
        return self.feed(PeerLost(contact(site), channel, cause))

    def unreached(self, site: Site = ANN, cause: Cause = Cause.REFUSED, channel: Channel = DATA) -> list[Any]:
        return self.feed(PeerUnreached(site, channel, cause))

    def congested(self, site: Site = ANN, channel: Channel = DATA) -> list[Any]:
        return self.feed(PeerCongested(site, channel))

    def drained(self, site: Site = ANN, channel: Channel = DATA) -> list[Any]:
        return self.feed(PeerDrained(site, channel))


def handed(effects: list[Any]) -> list[tuple[Site, bytes]]:
    """The values that were given to links, in order."""
    found: list[tuple[Site, bytes]] = []
    for effect in effects:
        if isinstance(effect, Send) and isinstance(effect.message, Payload):
            found.append((effect.to, bytes(effect.message.value)))
        elif isinstance(effect, SendMany):
            found += [(effect.to, bytes(message.value)) for message in effect.messages]
    return found


def outcomes(effects: list[Any]) -> list[tuple[int, type]]:
    """The requests that ended, and how: `Resolve` or the type of the error."""
    return [
        (effect.request, Resolve if isinstance(effect, Resolve) else type(effect.error))
        for effect in effects
        if isinstance(effect, (Resolve, Refuse))
    ]
