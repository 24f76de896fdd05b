"""What the director and its workers say to each other, one JSON object a line.

The director's first line to a worker is `Orders`; the end of its input means: end. What a worker writes is for the
screen and for the final comparison. No table travels here: those go from node to node, through covey.
"""

from __future__ import annotations

import msgspec


class Orders(msgspec.Struct, frozen=True):
    """All that a worker has to know. It comes by pipe and not as an argument, because it holds the secret."""

    cluster: str
    secret: str
    seeds: list[str]
    nodes: int  # how many there are in all
    root: str
    files: list[str]
    pace_s: float  # from the start of one file to the start of the next
    storage: str  # the file that keeps who this worker is


class Started(msgspec.Struct, frozen=True, tag="started"):
    """The node is up."""

    site: str
    address: str
    pid: int


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """Where a worker stands."""

    members: int = 0  # others that are alive
    owned: int = 0  # files that are this worker's now
    done: int = 0  # of those, the ones whose table is here
    taken: int = 0  # of the owned, the ones that somebody else owned at first
    taken_done: int = 0
    counted_taken: int = 0  # of the taken, the ones that had to be counted here
    held: int = 0  # tables here, whoever counted them
    words: int = 0  # in the tables held


class MemberLost(msgspec.Struct, frozen=True, tag="member_lost"):
    """A member is held for dead."""

    site: str
    cause: str


class Complete(msgspec.Struct, frozen=True, tag="complete"):
    """Every table is here; this is their sum."""

    files: int
    words: int
    digest: str


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The worker cannot go on."""

    reason: str


Report = Started | Progress | MemberLost | Complete | Failed
