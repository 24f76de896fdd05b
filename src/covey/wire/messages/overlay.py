"""HyParView's messages (Leitão, Pereira, Rodrigues, DSN 2007), and ours for symmetry and healing."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from covey.core.ids import Contact, IncarnationField, SiteField
from covey.wire.limits import CONTACTS_MAX

Contacts: TypeAlias = Annotated[tuple[Contact, ...], msgspec.Meta(max_length=CONTACTS_MAX)]
Hops: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=255)]
Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Join(msgspec.Struct, frozen=True, array_like=True, tag=32, gc=False):
    """A newcomer asks its contact for a link, which a contact never refuses."""

    sender: Contact
    number: Number


class ForwardJoin(msgspec.Struct, frozen=True, array_like=True, tag=33, gc=False):
    """A newcomer's name on its random walk."""

    joiner: Contact
    hops_left: Hops


class NeighborRequest(msgspec.Struct, frozen=True, array_like=True, tag=34, gc=False):
    """Ask for a symmetric link. `urgent` (the paper's high priority) may not be refused."""

    sender: Contact
    number: Number
    urgent: bool


class NeighborReply(msgspec.Struct, frozen=True, array_like=True, tag=35, gc=False):
    """The answer to `Join` or `NeighborRequest` `number`."""

    number: Number
    accepted: bool


class Disconnect(msgspec.Struct, frozen=True, array_like=True, tag=36, gc=False):
    """You are no longer my neighbour. `alive` is False when the sender is going away."""

    alive: bool
    instead: Contacts


class Shuffle(msgspec.Struct, frozen=True, array_like=True, tag=37, gc=False):
    """A sample of the origin's views on a random walk."""

    origin: Contact
    hops_left: Hops
    contacts: Contacts


class ShuffleReply(msgspec.Struct, frozen=True, array_like=True, tag=38, gc=False):
    """A sample in return, straight to the origin."""

    contacts: Contacts


class Affirm(msgspec.Struct, frozen=True, array_like=True, tag=39, gc=False):
    """I hold you as my neighbour; tell me if you disagree."""


class Beacon(msgspec.Struct, frozen=True, array_like=True, tag=40, gc=False):
    """The lowest site of a component says that it lives; flooded. `age_ms` is how long ago, where it was told later."""

    site: SiteField
    incarnation: IncarnationField
    sequence: Number
    age_ms: Number


class Probe(msgspec.Struct, frozen=True, array_like=True, tag=41, gc=False):
    """Which component are you in? The sender's lowest site. `is_alarm`: several are gone."""

    sender: Contact
    lowest: SiteField
    is_alarm: bool = False


class ProbeReply(msgspec.Struct, frozen=True, array_like=True, tag=42, gc=False):
    """The lowest site the replier has heard of."""

    lowest: SiteField


class Left(msgspec.Struct, frozen=True, array_like=True, tag=43, gc=False):
    """This life has said goodbye; flooded, so that no passive view offers it to others."""

    site: SiteField
    incarnation: IncarnationField


OverlayMessage = (
    Join
    | ForwardJoin
    | NeighborRequest
    | NeighborReply
    | Disconnect
    | Shuffle
    | ShuffleReply
    | Affirm
    | Beacon
    | Probe
    | ProbeReply
    | Left
)
