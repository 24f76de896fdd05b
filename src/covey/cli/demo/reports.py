"""What the director and its workers say to each other, one JSON object a line.

The director's first line to a worker is `Orders`, the others are commands; the end of its input means: end. What a
worker writes is for the screen and for the final comparison. No index and no query travels here: those go from node to
node, through covey.
"""

from __future__ import annotations

import msgspec

# --- to a worker ----------------------------------------------------------------------------------------------------


class Orders(msgspec.Struct, frozen=True):
    """All that a worker has to know. It comes by pipe and not as an argument, because it holds the secret."""

    name: str
    cluster: str
    secret: str
    seeds: list[str]
    root: str
    shelves: dict[str, list[str]]
    seconds: float  # that indexing is paced to take
    storage: str  # the file that keeps who this worker is; empty: none


class Fill(msgspec.Struct, frozen=True, tag="fill"):
    """Start all shelves, wherever the hub places them. One worker is told so."""


class Cut(msgspec.Struct, frozen=True, tag="cut"):
    """From now on nothing passes between this worker and those that listen at these addresses; none: all passes."""

    addresses: list[str]


class Compare(msgspec.Struct, frozen=True, tag="compare"):
    """Add up everything as soon as all of it is there, and say what came out."""


Command = Fill | Cut | Compare

# --- from a worker --------------------------------------------------------------------------------------------------


class Started(msgspec.Struct, frozen=True, tag="started"):
    """The node is up."""

    site: str
    address: str
    pid: int


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """Where a worker stands. `copies` is what really runs in this process; the hub's view is told apart from it."""

    members: int = 0  # others that are alive
    nodes: int = 0  # that take part in the hub, this one included
    copies: list[tuple[str, int]] = []  # shelves that run here, and how many of their files are indexed
    running: int = 0  # shelves that run somewhere, as the hub has it here
    doubles: int = 0  # shelves that run more than once, likewise
    held: int = 0  # files whose rows are here, whoever counted them
    words: int = 0  # in those
    answered: int = 0  # queries of this worker's client
    failed: int = 0  # attempts that brought no answer; each was made again
    silence_s: float = 0.0  # the longest time in which that client got no answer, up to now
    waits_s: float = 0.0  # since its last answer


class Missed(msgspec.Struct, frozen=True, tag="missed"):
    """An attempt to ask a shelf that brought no answer; on the clock that all processes of this machine share."""

    shelf: str
    began_s: float
    ended_s: float
    reason: str


class Why(msgspec.Struct, frozen=True, tag="why"):
    """Why a shelf is where it is, as the hub explains it."""

    text: str


class Complete(msgspec.Struct, frozen=True, tag="complete"):
    """Every row is here; this is their sum. `wrong`: answers of whole shelves that differ from what their rows say."""

    files: int
    words: int
    digest: str
    wrong: int = 0


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The worker cannot go on."""

    reason: str


Report = Started | Progress | Missed | Why | Complete | Failed
