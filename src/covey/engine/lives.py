"""Which life a site begins: the one rule for the real world and the simulated one (DESIGN 1)."""

from __future__ import annotations

from collections.abc import Mapping

from covey.core.ids import INCARNATION_MAX, Site
from covey.protocols.membership.ledger import BESIDE, VERDICT
from covey.protocols.membership.record import decode_op


def next_incarnation(
    stored_incarnation: int, logs: Mapping[str, Mapping[bytes, bytes]], site: Site, wall_ms: int
) -> int:
    """`max(stored + 1, wall ms, highest life in its own log + 1)`, at most the last one there is.

    The storage knows with which life a process began. A site that joins again after it was thrown out takes a later
    one while it runs; its operations tell that one, and a clock that went back must not hide it. Raises `ValueError`
    for a log that no life of ours wrote.
    """
    log = logs.get("membership", {})
    ops = [decode_op(value) for key, value in sorted(log.items()) if key not in BESIDE or key == VERDICT]
    lived = max((op.magic for op in ops if op.origin == site), default=0)
    return min(max(stored_incarnation + 1, lived + 1, wall_ms, 1), INCARNATION_MAX)
