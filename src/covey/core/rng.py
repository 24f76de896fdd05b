"""Randomness comes from one seed and is split by name, so that adding a draw in one place moves no other."""

from __future__ import annotations

import hashlib
from random import Random


def derive(seed: int, *labels: str | int) -> Random:
    """An independent generator for `labels` under `seed`; the same on every Python and machine."""
    text = "\x1f".join([str(seed), *(str(label) for label in labels)])
    return Random(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big"))


def jittered(rng: Random, period_us: int) -> int:
    """`period_us` spread over ±10 %, so that nodes started together do not stay in step."""
    return period_us - period_us // 10 + rng.randrange(period_us // 5 + 1)
