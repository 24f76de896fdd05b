"""What a link says about itself."""

from __future__ import annotations

import msgspec


class KeepAlive(msgspec.Struct, frozen=True, array_like=True, tag=16, gc=False):
    """Nothing to say, still here. Wants no answer: the other side sends its own."""


class Goodbye(msgspec.Struct, frozen=True, array_like=True, tag=17, gc=False):
    """The last message on a link, and why."""

    cause: int
    detail: str


LinkMessage = KeepAlive | Goodbye
