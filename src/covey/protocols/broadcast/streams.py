"""Which messages of which streams were here already."""

from __future__ import annotations

from typing import TypeAlias

from covey.core import intervals
from covey.core.errors import invariant
from covey.core.ids import Site
from covey.core.intervals import Bounds

Stream: TypeAlias = tuple[Site, int, bytes]
"""What one life says under one name."""


class Seen:
    """The numbers seen of each stream, as intervals.

    Where there is no room the stream is forgotten of which nothing was heard for longest, and of a stream with too many
    gaps the oldest one is taken for seen: what comes so late is taken for a duplicate. Invariant: both bounds.
    """

    def __init__(self, streams_max: int, intervals_max: int) -> None:
        self._streams_max = streams_max
        self._bounds_max = 2 * intervals_max
        self._seen: dict[Stream, Bounds] = {}

    def fresh(self, stream: Stream, first: int, last: int) -> list[tuple[int, int]]:
        """What of `first … last` was not seen."""
        bounds = self._seen.get(stream)
        if bounds is None or bounds[-1] <= first:
            return [(first, last)]
        return list(intervals.missing(bounds, first, last))

    def has(self, stream: Stream, number: int) -> bool:
        """Whether this one was seen."""
        bounds = self._seen.get(stream)
        return bounds is not None and intervals.has(bounds, number)

    def add(self, stream: Stream, first: int, last: int) -> None:
        """These are seen now."""
        seen = self._seen
        bounds = seen.get(stream)
        if bounds is None:
            while len(seen) >= self._streams_max:
                del seen[next(iter(seen))]
            seen[stream] = [first, last + 1]
            return
        intervals.put(bounds, first, last)
        if len(bounds) > self._bounds_max:
            del bounds[1:3]
        if len(seen) * 2 > self._streams_max:  # only then does it matter which was used last
            del seen[stream]
            seen[stream] = bounds

    def bounds(self, stream: Stream) -> Bounds:
        """What was seen of a stream, not to be changed."""
        return self._seen.get(stream, [])

    def streams(self) -> list[Stream]:
        """Those that are remembered."""
        return list(self._seen)

    def __len__(self) -> int:
        return len(self._seen)

    def check(self) -> None:
        invariant(len(self._seen) <= self._streams_max, "streams are bounded")
        for bounds in self._seen.values():
            intervals.check(bounds)
            invariant(0 < len(bounds) <= self._bounds_max, "a stream was heard, and its gaps are bounded")
