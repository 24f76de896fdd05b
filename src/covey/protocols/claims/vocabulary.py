"""What only claims say and hear. What they say to whoever runs children stands in `core.claims`."""

from __future__ import annotations

import msgspec

from covey.core.ids import Site
from covey.wire.messages.claims import Claim, Grant, Refusal, Release, Released


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


class EpochsAhead(msgspec.Struct, frozen=True, gc=False):
    """The event: what this node claims lies far above the clock of the voter `site`, so one of both has a wrong date.

    Set it right: until then that voter counts as absent here.
    """

    instance: bytes
    site: Site


class SeatEmpty(msgspec.Struct, frozen=True, gc=False):
    """The event: of the voters' names, `name` has nobody who votes for it, or `sites` bear it and do not vote.

    `why` is a sentence for people, and says what to do. Said once, ten seconds after the list is used at the earliest.
    """

    name: str
    sites: tuple[Site, ...]
    why: str
