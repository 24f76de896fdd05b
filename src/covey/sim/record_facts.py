"""Small questions about operations and floors, for the laws of the record."""

from __future__ import annotations

from collections.abc import Sequence

from covey.core.clock import unpack
from covey.core.errors import invariant
from covey.protocols.membership.record import IS_EPHEMERAL, MEM, Record, stamp
from covey.sim.node import SimNode
from covey.wire.messages.membership import Op


def merged(ops: Sequence[Op]) -> bytes:
    """The digest of a record that took these, in this order."""
    record = Record()
    for op in ops:
        record.merge(op, 1, 0)
    return record.digest


def tells_clock(op: Op, node: SimNode) -> bool:
    """Whether its origin's clock was at least there: unless the key forced the stamp to run ahead, it was."""
    return unpack(op.clock)[0] <= op.wall_ms + node.config.membership.drift_ms_max


def floor_is_true(node: SimNode, peer: SimNode) -> None:
    """10: what a node believes a peer to have taken, it has, in that life and cluster.

    The boundary itself does not count: it is said again, because it may have grown since.
    """
    mine, theirs = node.engine.membership, peer.engine.membership
    floor = mine.exchange.floors.get(peer.site)
    if floor is None or floor.incarnation != peer.incarnation or mine.cluster != theirs.cluster:
        return
    if mine.passage.closed or theirs.passage.closed:
        return
    for entry in mine.record.entries():
        op = entry.op
        if op.kind != MEM or entry.imported >= floor.acked_out or int(op.value) & IS_EPHEMERAL:
            continue
        other = theirs.record.get(MEM, op.target)
        taken = other is not None and stamp(other) >= stamp(op)
        invariant(taken, f"10: n{node.index} takes n{peer.index} to have what it has not")
