"""What only the overlay says and hears."""

from __future__ import annotations

import msgspec

from covey.core.ids import Contact
from covey.core.vocabulary import Cause


class SeedsResolved(msgspec.Struct, frozen=True, gc=False):
    """Addresses at which members may be found. Only ever adds."""

    addresses: tuple[str, ...]


class LeaveOverlay(msgspec.Struct, frozen=True, gc=False):
    """Tell the neighbours that we go, and whom they can take instead."""


class NeighborUp(msgspec.Struct, frozen=True, gc=False):
    """The event: this node and `contact` keep a link to each other from now on."""

    contact: Contact


class NeighborDown(msgspec.Struct, frozen=True, gc=False):
    """The event: `contact` is not a neighbour any more."""

    contact: Contact
    cause: Cause
