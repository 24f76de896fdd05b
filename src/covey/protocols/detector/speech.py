"""Pings and acks, with everything that rides on them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from covey.core.ids import Site
from covey.core.vocabulary import Liveness, Send
from covey.protocols.detector.config import DetectorConfig
from covey.protocols.detector.opinions import Opinions
from covey.protocols.detector.record import Member
from covey.wire.messages.detector import Ack, Ping, Rumour


class Speech:
    """Says who we are and what is news. Numbers are never used twice in one life of a machine."""

    def __init__(self, config: DetectorConfig, opinions: Opinions) -> None:
        self._config = config
        self._opinions = opinions
        self.digests = b""  # membership's
        self.numbers: Iterator[int] = count(1)
        self.pings = 0
        self.acks = 0

    def ping(self, member: Member, number: int) -> Send:
        """Ping a member, dialling it where there is no link."""
        self.pings += 1
        opinions = self._opinions
        message = Ping(
            number, opinions.me.incarnation, opinions.refutation, opinions.digest_bytes, self.digests,
            self._riding(member.site),
        )  # fmt: skip
        return Send(member.site, message, member.address)

    def ack(self, to: Site, number: int) -> Send:
        """Answer a ping over the link it came by."""
        self.acks += 1
        opinions = self._opinions
        message = Ack(
            number, opinions.me.incarnation, opinions.refutation, opinions.digest_bytes, self.digests, self._riding(to)
        )
        return Send(to, message)

    def _riding(self, to: Site) -> tuple[Rumour, ...]:
        """The rumours of this ride; to the accused its accusation first (Lifeguard's buddy system, section IV-C)."""
        opinions = self._opinions
        reader = opinions.members.get(to)
        accused = reader is not None and reader.state in (Liveness.SUSPECT, Liveness.DOWN)
        buddy = [opinions.rumour(reader)] if reader is not None and accused else []
        if not len(opinions.queue):
            return tuple(buddy)
        space = self._config.rumours_per_ping_max - len(buddy)
        return (*buddy, *opinions.queue.take(space, opinions.rides(), but=to))
