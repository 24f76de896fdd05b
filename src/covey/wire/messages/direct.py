"""One node speaks to one node."""

from __future__ import annotations

import msgspec


class Payload(msgspec.Struct, frozen=True, array_like=True, tag=48, gc=False):
    """A user's value, encoded; relays and machines never look inside."""

    value: msgspec.Raw


DirectMessage = Payload
