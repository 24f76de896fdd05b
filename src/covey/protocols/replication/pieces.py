"""Long things in pieces that fit in a message."""

from __future__ import annotations

from covey.core.ids import Origin, Site
from covey.rows.op_log import Op, op_bytes
from covey.rows.owned import Change, Position, change_bytes
from covey.wire.messages.rows import SharedOps

POSITION_BYTES = 32  # in a message, about

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
