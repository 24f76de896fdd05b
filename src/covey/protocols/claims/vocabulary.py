"""What only claims say and hear."""

from __future__ import annotations

import msgspec

from covey.core.ids import Site
from covey.wire.messages.claims import Claim, Freed, Grant, Id, Refusal, Release, Released


class Elect(msgspec.Struct, frozen=True, gc=False):
    """The command: the nodes of these names vote for what is claimed in `instance`; `name` is that of this node.

    Raises `ConfigError` for a list that cannot work; see `electorate_of`.
    """

    instance: bytes
    voters: tuple[str, ...]
    name: str = ""


class Seek(msgspec.Struct, frozen=True, gc=False):
    """The command: claim `id` until it is won, under `epoch` or a later one.

    Does nothing where it is sought or held. Where a child without a lease has not ended yet, it is claimed as soon as
    `Relinquish` says that it has; a second `Relinquish` takes that back.

    `freed`: the claim of the host that hands over to us, which has ended; also for what is sought already.
    """

    id: Id
    epoch: int
    freed: Freed | None = None


class Relinquish(msgspec.Struct, frozen=True, gc=False):
    """The command: the child has ended, or is not to be started: let others have `id`. Does nothing for what is not
    sought, held or ending."""

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
