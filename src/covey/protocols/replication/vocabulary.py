"""What the row machine hears and says, shared with the machines that stand on it through `core.vocabulary`."""

from __future__ import annotations

import msgspec

SYSTEM = b""  # the instance that every node holds: who holds which instance


class ReplicationStatistics(msgspec.Struct, frozen=True):
    """What is held, and counts since the start. `early`: messages of lives that did not count here yet."""

    instances: int
    rows: int
    pulls: int
    pushed: int
    applied: int
    gaps: int
    parts: int
    early: int
    mismatches: int
