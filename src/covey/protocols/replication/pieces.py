"""Long things in pieces that fit in a message."""

from __future__ import annotations

from collections.abc import Iterable

from covey.core.ids import Origin, Site
from covey.rows import dots
from covey.rows.op_log import Op, op_bytes
from covey.rows.owned import Position
from covey.rows.owner import Change, change_bytes
from covey.wire.limits import FRAME_AIM_BYTES
from covey.wire.messages.rows import INTERVALS_MAX, LIVES_MAX, SharedOps, SharedSums

POSITION_BYTES = 32  # in a message, about
LIFE_BYTES, INTERVAL_BYTES = 31, 19  # in a message, at most
TOLD_BYTES_MAX = 6 * FRAME_AIM_BYTES  # two such lists and the sums of the buckets fit in a frame
SUM_BYTES = 16  # in a message, besides the name

Told = list[tuple[bytes, tuple[tuple[Site, int, int], ...]]]


def operations_in_pieces(ops: list[Change], bytes_aim: int) -> list[tuple[int, list[Change]]]:
    """Operations in pieces that a message aims at, each with the place of its first."""
    pieces: list[tuple[int, list[Change]]] = []
    size = bytes_aim
    for at, op in enumerate(ops):
        size += change_bytes(op)
        if size > bytes_aim:
            pieces.append((at, []))
            size = change_bytes(op)
        pieces[-1][1].append(op)
    return pieces


def positions_in_pieces(told: list[tuple[bytes, list[Position]]], positions_max: int) -> list[Told]:
    """Positions of instances for several messages; an instance's name counts as a position or more.

    Where one instance is divided, whoever reads one half takes the other for missing and tells it back: only more is
    said than need be.
    """
    pieces: list[Told] = []
    left = 0
    for instance, positions in told:
        rest = tuple((at.owner, at.incarnation, at.seq) for at in positions)
        while True:
            if left <= 0:
                pieces.append([])
                left = positions_max
            some, rest = rest[:left], rest[left:]
            pieces[-1].append((instance, some))
            left -= len(some) + 1 + len(instance) // POSITION_BYTES
            if not rest:
                break
    return pieces


def shared_in_pieces(instance: bytes, life: Origin, first: int, ops: list[Op], bytes_aim: int) -> list[SharedOps]:
    """Operations of one life on shared rows, the first of them numbered `first`, in messages."""
    messages: list[SharedOps] = []
    some: list[Op] = []
    size = 0
    for at, op in enumerate(ops):
        some.append(op)
        size += op_bytes(op)
        if at + 1 == len(ops) or size + op_bytes(ops[at + 1]) > bytes_aim:
            messages.append(SharedOps(instance, *life, first + at + 1 - len(some), tuple(some)))
            some, size = [], 0
    return messages


def tellable(told: Iterable[dots.Told]) -> tuple[dots.Told, ...]:
    """As much of what is had as one list in a message may say. Whoever says less than it has is told too much."""
    some: list[dots.Told] = []
    left = TOLD_BYTES_MAX
    for site, incarnation, intervals in told:
        left -= LIFE_BYTES
        room = min(left // INTERVAL_BYTES, INTERVALS_MAX)
        if room <= 0 or len(some) >= LIVES_MAX:
            break
        some.append((site, incarnation, intervals[:room]))
        left -= INTERVAL_BYTES * len(intervals[:room])
    return tuple(some)


def sums_in_pieces(sums: list[tuple[bytes, bytes]], saved: bool, bytes_aim: int) -> list[SharedSums]:
    """The digests of instances in messages."""
    pieces: list[list[tuple[bytes, bytes]]] = []
    size = bytes_aim
    for instance, digest in sums:
        size += len(instance) + SUM_BYTES
        if size > bytes_aim:
            pieces.append([])
            size = len(instance) + SUM_BYTES
        pieces[-1].append((instance, digest))
    return [SharedSums(tuple(piece), saved) for piece in pieces]
