"""Rendezvous hashing (Thaler and Ravishankar, 1998): who of several a key belongs to, the same for all who ask.

When one of them goes only its keys move. Part of the protocol: it may never change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def score(key: bytes, name: bytes) -> int:
    """How much `key` belongs to `name`: 64 bits."""
    return int.from_bytes(_digest(_prefix(key) + name), "big")


def best(key: bytes, names: Sequence[bytes]) -> bytes:
    """The highest score of `key` with any of these names, as 8 bytes, which compare as it does."""
    prefix = _prefix(key)
    if len(names) == 1:
        return _digest(prefix + names[0])
    return max([_digest(prefix + name) for name in names])


def _prefix(key: bytes) -> bytes:
    return len(key).to_bytes(4, "big") + key


def _digest(hashed: bytes) -> bytes:
    return hashlib.blake2b(hashed, digest_size=8, person=b"covey.place").digest()


def highest(key: bytes, names: Sequence[bytes]) -> bytes:
    """The name that `key` belongs to. Raises `ValueError` where there is none."""
    return max(names, key=lambda name: (score(key, name), name))
