"""What only claims say and hear."""

from __future__ import annotations

import msgspec

from covey.core.claims import ClaimWon, LeaseEnded, Relinquish, Seek
from covey.core.ids import Site
from covey.wire.messages.claims import Claim, Grant, Refusal, Release, Released

__all__ = (
    "ClaimWon", "Elect", "ForVoter", "FromVoter", "LeaseEnded", "Relinquish", "Seek", "VotersDiffer",
)  # fmt: skip


class Elect(msgspec.Struct, frozen=True, gc=False):
    """The command: these sites vote for what is claimed in `instance`.

    `digest` stands for the names in the list and the sites that bear them.
    """

    instance: bytes
    voters: tuple[Site, ...]
    digest: bytes


class ForVoter(msgspec.Struct, frozen=True, gc=False):
    """What a host says to the voter in its own process."""

    said: Claim | Release


class FromVoter(msgspec.Struct, frozen=True, gc=False):
    """What a voter says to the host in its own process, once it is durable."""

    said: Grant | Refusal | Released


class VotersDiffer(msgspec.Struct, frozen=True, gc=False):
    """The event: `site` names other voters for `instance` than this node does; neither counts for the other."""

    instance: bytes
    site: Site
