"""Messages by which voters let at most one host run a child. Tags 144-159."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from covey.core.clock import STAMP_MAX
from covey.core.ids import IncarnationField, SiteField
from covey.wire.limits import KEY_BYTES_MAX
from covey.wire.messages.rows import INSTANCE_BYTES_MAX

WAIT_US_MAX = 3_600 * 1_000_000  # a voter that is told to wait longer would block an id for hours
SENT_MAX = 2**53  # microseconds of a host's clock
SEATS_MAX = 5  # majority.md: three or five voters

Id: TypeAlias = tuple[
    Annotated[bytes, msgspec.Meta(max_length=INSTANCE_BYTES_MAX)],
    Annotated[bytes, msgspec.Meta(max_length=KEY_BYTES_MAX)],
]
"""The instance (a hub) and the encoded id of a child in it."""

Epoch: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=STAMP_MAX)]
Sent: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=SENT_MAX)]
Wait: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=WAIT_US_MAX)]
Electorate: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
Seat: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=SEATS_MAX - 1)]
Stage: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2)]
SEEN, PROMISED, SEATED = 0, 1, 2
Freed: TypeAlias = tuple[SiteField, IncarnationField, Epoch]
"""The claims of a life up to an epoch."""


class Claim(msgspec.Struct, frozen=True, array_like=True, tag=144, gc=False):
    """This life of mine asks to run `id` under `epoch`; again and again while it does.

    `sent`: my clock when I said so, for the answer to repeat. `wait_us`: how long you must not let anybody else after
    you granted this. `freed`: a claim that has ended, of whoever hands over to me.
    """

    id: Id
    epoch: Epoch
    incarnation: IncarnationField
    sent: Sent
    wait_us: Wait
    electorate: Electorate
    freed: Freed | None = None


class Grant(msgspec.Struct, frozen=True, array_like=True, tag=145, gc=False):
    """What you claimed at `sent` is yours, as far as I am asked. `seat`: for which of the names, in their order."""

    id: Id
    epoch: Epoch
    incarnation: IncarnationField
    sent: Sent
    seat: Seat


class Refusal(msgspec.Struct, frozen=True, array_like=True, tag=146, gc=False):
    """It is not. `accepted`: the epoch that I granted last, `floor`: an id I do not know needs a higher one than this.

    `left_us`: how long the one that has it is protected from now on. `differs`: my list of voters is not yours.
    `ahead`: the epoch lies so far above my clock that one of us has a wrong date.
    """

    id: Id
    epoch: Epoch
    incarnation: IncarnationField
    accepted: Epoch
    floor: Epoch
    left_us: Wait
    differs: bool
    ahead: bool


class Release(msgspec.Struct, frozen=True, array_like=True, tag=147, gc=False):
    """Whatever that life claimed for `id` up to that epoch has ended."""

    id: Id
    freed: Freed


class Released(msgspec.Struct, frozen=True, array_like=True, tag=148, gc=False):
    """I know that, durably."""

    id: Id
    freed: Freed


class Seats(msgspec.Struct, frozen=True, array_like=True, tag=149, gc=False):
    """From a voter to the others: who sits for the names of a list, in their order.

    `stage`: SEEN (these bear the names, as far as I know), PROMISED (I will never vote beside others; that is on my
    disk) or SEATED (all of these have promised).
    """

    electorate: Electorate
    sites: Annotated[tuple[SiteField, ...], msgspec.Meta(max_length=SEATS_MAX)]
    stage: Stage


Answer: TypeAlias = Grant | Refusal | Released
ClaimsMessage: TypeAlias = Claim | Grant | Refusal | Release | Released | Seats
