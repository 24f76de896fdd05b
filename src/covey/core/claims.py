"""What whoever runs children says to the machine of claims, and hears from it."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from covey.core.ids import Site

Id: TypeAlias = tuple[bytes, bytes]
"""The instance (a hub) and the encoded id of a child in it."""

Freed: TypeAlias = tuple[Site, int, int]
"""The claims of a life up to an epoch."""


class Elect(msgspec.Struct, frozen=True, gc=False):
    """The command: the nodes of these names vote for what is claimed in `instance`; `name` is that of this node.

    Raises `ConfigError` for a list that cannot work; see `electorate_of` of the claims.
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
    """The command: the child has ended, or is not to be started: let others have `id`.

    Does nothing for what is not sought, held or ending.
    """

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
