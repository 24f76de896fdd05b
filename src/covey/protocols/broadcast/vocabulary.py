"""What only broadcast says and hears."""

from __future__ import annotations

import msgspec

from covey.core.ids import Site


class Spread(msgspec.Struct, frozen=True, gc=False):
    """Say these encoded values under a name to all, in this order."""

    name: bytes
    values: tuple[bytes, ...]


class Delivered(msgspec.Struct, frozen=True, gc=False):
    """The event: messages `first`, `first + 1`, … of a stream are here for the first time; `round`: their hops."""

    site: Site
    incarnation: int
    name: bytes
    first: int
    round: int
    values: tuple[bytes, ...]
