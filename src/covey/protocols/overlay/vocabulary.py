"""What only the overlay says and hears."""

from __future__ import annotations

import msgspec


class SeedsResolved(msgspec.Struct, frozen=True, gc=False):
    """Addresses at which members may be found. Only ever adds."""

    addresses: tuple[str, ...]


class LeaveOverlay(msgspec.Struct, frozen=True, gc=False):
    """Tell the neighbours that we go, and whom they can take instead."""
