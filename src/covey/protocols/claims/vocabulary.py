"""What only claims say and hear."""

from __future__ import annotations

import msgspec

from covey.core.ids import Site
from covey.wire.messages.claims import Claim, Freed, Grant, Id, Refusal, Release, Released


class Elect(msgspec.Struct, frozen=True, gc=False):
    """The command: these sites vote for what is claimed in `instance`.

    `digest` stands for the names in the list and the sites that bear them.
    """

    instance: bytes
    voters: tuple[Site, ...]
    digest: bytes


class Seek(msgspec.Struct, frozen=True, gc=False):
    """The command: claim `id` until it is won, under `epoch` or a later one.

    Does nothing where it is sought or held, or where a child without a lease has not ended yet: seek it again after
    `Relinquish`.

    `freed`: the claim of the host that hands over to us, which has ended; also for what is sought already.
    """

    id: Id
    epoch: int
    freed: Freed | None = None


class Relinquish(msgspec.Struct, frozen=True, gc=False):
    """The command: the child has ended, or is not to be started: let others have `id`. Does nothing the second time."""

    id: Id


class ClaimWon(msgspec.Struct, frozen=True, gc=False):
    """The fact: this node may run `id` while its lease lasts. `token` grows from each that runs it to the next."""

    id: Id
    token: int


class LeaseEnded(msgspec.Struct, frozen=True, gc=False):
    """The fact: this node may not run `id` any more. The child ends within the grace, counted from `ended_us`."""

    id: Id
    token: int
    ended_us: int


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
