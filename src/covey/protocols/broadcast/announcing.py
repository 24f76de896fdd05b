"""What lazy peers are to be told that we have: gathered for a moment, and sent to each in few messages."""

from __future__ import annotations

from typing import TypeAlias

from covey.core.ids import Site
from covey.protocols.broadcast.streams import Stream
from covey.wire.limits import FRAME_AIM_BYTES
from covey.wire.messages.broadcast import RUNS_MAX, STREAMS_MAX, IHave

ENTRY_BYTES = 24  # of a run in a message, at most
STREAM_BYTES = 40  # of a stream around its name and its runs

Had: TypeAlias = tuple[int, int, int]
"""First and last number, and the hops that they had come."""


class Announcements:
    """What each lazy peer is to hear of.

    Law: whatever is put in for a peer is in one message to it, unless the peer is forgotten.
    """

    def __init__(self) -> None:
        self._waiting: dict[Site, dict[Stream, list[Had]]] = {}
        self._counts: dict[Site, int] = {}

    def put(self, peers: list[Site], stream: Stream, first: int, last: int, round: int) -> int:
        """These peers are to hear that we have this. How much waits now for whom most waits for."""
        most = 0
        for peer in peers:
            runs = self._waiting.setdefault(peer, {}).setdefault(stream, [])
            if runs and runs[-1][1] + 1 == first and runs[-1][2] == round:
                runs[-1] = (runs[-1][0], last, round)
            else:
                runs.append((first, last, round))
                self._counts[peer] = self._counts.get(peer, 0) + 1
            most = max(most, self._counts[peer])
        return most

    def take(self) -> list[tuple[list[Site], list[IHave]]]:
        """All that waits: who hears the same hears it in the same messages."""
        told: list[tuple[list[Site], dict[Stream, list[Had]]]] = []
        for peer, streams in self._waiting.items():
            for peers, same in told:
                if same == streams:
                    peers.append(peer)
                    break
            else:
                told.append(([peer], streams))
        self._waiting = {}
        self._counts = {}
        return [(peers, _messages(streams)) for peers, streams in told]

    def forget(self, peer: Site) -> None:
        """It is told nothing more."""
        self._waiting.pop(peer, None)
        self._counts.pop(peer, None)

    def peers(self) -> list[Site]:
        """For whom something waits."""
        return list(self._waiting)

    def __bool__(self) -> bool:
        return bool(self._waiting)


def _messages(streams: dict[Stream, list[Had]]) -> list[IHave]:
    """In messages that fit into a frame."""
    messages: list[IHave] = []
    entries: list[tuple[Site, int, bytes, tuple[Had, ...]]] = []
    room = FRAME_AIM_BYTES
    for (site, incarnation, name), runs in streams.items():
        at = 0
        while at < len(runs):
            fixed = STREAM_BYTES + len(name)
            fit = min((room - fixed) // ENTRY_BYTES, RUNS_MAX)
            if (fit < 1 or len(entries) >= STREAMS_MAX) and entries:
                messages.append(IHave(tuple(entries)))
                entries, room = [], FRAME_AIM_BYTES
                continue
            some = tuple(runs[at : at + fit])
            entries.append((site, incarnation, name, some))
            room -= fixed + ENTRY_BYTES * len(some)
            at += len(some)
    if entries:
        messages.append(IHave(tuple(entries)))
    return messages
