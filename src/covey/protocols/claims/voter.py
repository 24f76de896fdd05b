"""A voter: it answers claims, and nobody hears an answer before what it says is on disk.

The machine changes at once; the gate holds what it says behind its `Persist`, to others and to the host in this process
alike. A renewal changes nothing that is stored, so it costs no write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import msgspec

from covey.core.errors import invariant
from covey.core.ids import Contact, Site
from covey.core.vocabulary import Channel, ClusterChanged, Emit, MessagesReceived, PeerConnected, Persist, Record, Send
from covey.protocols.claims.config import ClaimsConfig
from covey.protocols.claims.vocabulary import Elect, ForVoter, FromVoter, VotersDiffer
from covey.protocols.claims.votes import Vote, Votes
from covey.wire.messages.claims import Claim, Grant, Id, Refusal, Release, Released

Effect = Any

LOG = "voter"
_FLOOR = b""  # the key of the floor; those of votes are never empty

_encoder = msgspec.msgpack.Encoder()
_id_decoder = msgspec.msgpack.Decoder(tuple[bytes, bytes])
_vote_decoder = msgspec.msgpack.Decoder(Vote)
_floor_decoder = msgspec.msgpack.Decoder(int)


class VoterStatistics(msgspec.Struct, frozen=True):
    """What is remembered, and counts since the start."""

    votes: int
    granted: int
    refused: int
    differing: int


class Voter:
    """One voter's door.

    Law: what it grants is what `Votes` lets it, and a grant is said only behind what makes it durable. Invariant: those
    of the votes.
    """

    def __init__(
        self,
        config: ClaimsConfig,
        rng: Random,
        now_us: int,
        *,
        me: Contact,
        stored: Mapping[bytes, bytes] | None = None,
    ) -> None:
        self._me = me
        self._config = config
        votes, floor = _read(stored or {})
        self.votes = Votes(config.votes_max, now_us, votes, floor)
        self._electorates: dict[bytes, Elect] = {}
        self._counts = dict.fromkeys(("granted", "refused", "differing"), 0)
        self._told: dict[tuple[bytes, Site], None] = {}  # whose list differs, and was told
        self._handlers: dict[type, Callable[[Any, int], list[Effect]]] = {
            MessagesReceived: self._on_messages,
            ForVoter: self._on_own,
            Elect: self._on_elect,
            PeerConnected: self._on_connected,
            ClusterChanged: self._on_cluster_changed,
        }

    # --- the machine's door -----------------------------------------------------------------------------------------

    def handle(self, incoming: Any, now_us: int) -> Sequence[Effect]:
        return self._handlers[type(incoming)](incoming, now_us)

    def deadline(self) -> int | None:
        return None

    def check(self) -> None:
        self.votes.check()
        invariant(
            all(instance in self._electorates for instance, _ in self._told), "whose list differs from one of ours"
        )

    def statistics(self) -> VoterStatistics:
        return VoterStatistics(len(self.votes), **self._counts)

    # --- what is said to it -----------------------------------------------------------------------------------------

    def _on_elect(self, command: Elect, now_us: int) -> list[Effect]:
        self._electorates[command.instance] = command
        for told in [told for told in self._told if told[0] == command.instance]:
            del self._told[told]
        return []

    def _on_connected(self, fact: PeerConnected, now_us: int) -> list[Effect]:
        """It may be another process by now, with another list."""
        for told in [told for told in self._told if told[1] == fact.contact.site]:
            del self._told[told]
        return []

    def _on_cluster_changed(self, fact: ClusterChanged, now_us: int) -> list[Effect]:
        self._me = Contact(self._me.site, fact.incarnation, self._me.address)
        return []

    def _on_own(self, fact: ForVoter, now_us: int) -> list[Effect]:
        return self._answer(self._me.site, fact.said, now_us)

    def _on_messages(self, received: MessagesReceived, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        for message in received.messages:
            effects += self._answer(received.peer, message, now_us)
        return effects

    def _answer(self, host: Site, message: Claim | Release, now_us: int) -> list[Effect]:
        return (self._on_claim if type(message) is Claim else self._on_release)(host, message, now_us)  # type: ignore[arg-type]

    def _on_claim(self, host: Site, claim: Claim, now_us: int) -> list[Effect]:
        id, votes = claim.id, self.votes
        electorate = self._electorates.get(id[0])
        if electorate is None or electorate.digest != claim.electorate or self._me.site not in electorate.voters:
            return self._on_differing(host, claim, electorate is not None)
        before = votes.get(id)
        effects: list[Effect] = []
        if claim.freed is not None:
            votes.release(id, claim.freed)
        granted = votes.claim(id, claim.epoch, (host, claim.incarnation), claim.wait_us, now_us)
        self._counts["granted" if granted else "refused"] += 1
        after = votes.get(id)
        if after is not None and after != before:
            effects.append(
                Persist(LOG, (Record(_encoder.encode(id), _encoder.encode(after)), *self._forgotten(now_us)))
            )
        if granted:
            return [*effects, self._say(host, Grant(id, claim.epoch, claim.incarnation, claim.sent))]
        accepted = 0 if after is None else after.epoch
        left = votes.left_us(id, now_us)
        refusal = Refusal(id, claim.epoch, claim.incarnation, accepted, votes.floor, left, False)
        return [*effects, self._say(host, refusal)]

    def _forgotten(self, now_us: int) -> list[Record]:
        id = self.votes.forget(now_us)
        if id is None:
            return []
        return [Record(_encoder.encode(id), None), Record(_FLOOR, _encoder.encode(self.votes.floor))]

    def _on_differing(self, host: Site, claim: Claim, ours: bool) -> list[Effect]:
        self._counts["differing"] += 1
        refusal = Refusal(claim.id, claim.epoch, claim.incarnation, 0, 0, 0, True)
        effects = [self._say(host, refusal)]
        told = claim.id[0], host
        if ours and told not in self._told:
            self._told[told] = None
            effects.append(Emit(VotersDiffer(*told)))
        return effects

    def _on_release(self, host: Site, release: Release, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        if self.votes.release(release.id, release.freed):
            vote = self.votes.get(release.id)
            effects.append(Persist(LOG, (Record(_encoder.encode(release.id), _encoder.encode(vote)),)))
        return [*effects, self._say(host, Released(release.id, release.freed))]

    def _say(self, host: Site, message: Grant | Refusal | Released) -> Effect:
        return FromVoter(message) if host == self._me.site else Send(host, message, channel=Channel.CONTROL)


def _read(stored: Mapping[bytes, bytes]) -> tuple[dict[Id, Vote], int]:
    votes = {_id_decoder.decode(key): _vote_decoder.decode(value) for key, value in stored.items() if key != _FLOOR}
    return votes, _floor_decoder.decode(stored[_FLOOR]) if _FLOOR in stored else 0
