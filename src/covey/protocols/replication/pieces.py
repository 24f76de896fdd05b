"""Long things in pieces that fit in a message."""

from __future__ import annotations

from covey.core.ids import Site
from covey.rows.owned import Change, Position, change_bytes

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
