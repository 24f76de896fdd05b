"""Rendezvous hashing (Thaler and Ravishankar, 1998): who of several a key belongs to, the same for all who ask.

When one of them goes only its keys move. Part of the protocol: it may never change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def score(key: bytes, name: bytes) -> int:
    """How much `key` belongs to `name`: 64 bits."""
    hashed = hashlib.blake2b(digest_size=8, person=b"covey.place")
    hashed.update(len(key).to_bytes(4, "big") + key + name)
    return int.from_bytes(hashed.digest(), "big")


def highest(key: bytes, names: Sequence[bytes]) -> bytes:
    """The name that `key` belongs to. Raises `ValueError` where there is none."""
    return max(names, key=lambda name: (score(key, name), name))
