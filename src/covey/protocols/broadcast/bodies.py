"""What was broadcast lately, kept for who asks for it."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from itertools import pairwise

import msgspec

from covey.core.errors import invariant
from covey.protocols.broadcast.streams import Stream

LATE_US = 1_000_000

_values = msgspec.msgpack.Decoder(list[msgspec.Raw])


def count_of(values: bytes | memoryview) -> int:
    """How many values an encoded array holds, by its head alone; -1 for what is no array."""
    head = values[0]
    if 0x90 <= head <= 0x9F:
        return head & 0x0F
    if head == 0xDC:
        return int.from_bytes(values[1:3], "big")
    return int.from_bytes(values[1:5], "big") if head == 0xDD else -1


class Run(msgspec.Struct, frozen=True, gc=False):
    """Messages of one stream whose numbers follow each other, as they came: their values stay encoded in one piece.

    Law: there are as many values as numbers; `count_of` has said so of what came from others.
    """

    stream: Stream
    first: int
    last: int
    round: int  # how many hops they had come
    values: bytes

    def part(self, first: int, last: int) -> Run:
        """Some of them."""
        if (first, last) == (self.first, self.last):
            return self
        some = self.each()[first - self.first : last - self.first + 1]
        return Run(self.stream, first, last, self.round, msgspec.msgpack.encode(some))

    def each(self) -> list[msgspec.Raw]:
        """The values one by one."""
        return _values.decode(self.values)


class Bodies:
    """Runs, for some time and up to a size; the oldest go first.

    Invariants: runs of one stream are in order and apart; `bytes` and the count are those of all runs, within bounds.
    """

    def __init__(self, keep_us: int, bytes_max: int, runs_max: int) -> None:
        self._keep_us = keep_us
        self._bytes_max = bytes_max
        self._runs_max = runs_max
        self._runs: dict[Stream, list[Run]] = {}
        self._queue: deque[tuple[int, Run]] = deque()
        self.bytes = 0

    def add(self, run: Run, now_us: int) -> None:
        """Keep a run of which nothing is kept yet."""
        self.expire(now_us)
        runs = self._runs.setdefault(run.stream, [])
        if runs and runs[-1].first > run.first:
            runs.insert(bisect_right(runs, run.first, key=_first), run)
        else:
            runs.append(run)
        self._queue.append((now_us + self._keep_us, run))
        self.bytes += len(run.values)
        while self.bytes > self._bytes_max or len(self._queue) > self._runs_max:
            self._drop()

    def expire(self, now_us: int) -> None:
        """Let go of what is too old."""
        while self._queue and self._queue[0][0] <= now_us:
            self._drop()

    def deadline(self) -> int | None:
        """When something is to be let go of: a second late, so that many go at once."""
        return self._queue[0][0] + LATE_US if self._queue else None

    def _drop(self) -> None:
        _, run = self._queue.popleft()
        runs = self._runs[run.stream]
        at = bisect_right(runs, run.first, key=_first) - 1
        del runs[at]
        if not runs:
            del self._runs[run.stream]
        self.bytes -= len(run.values)

    def get(self, stream: Stream, first: int, last: int) -> Iterator[Run]:
        """What is kept of `first … last`, in order."""
        runs = self._runs.get(stream, [])
        for at in range(max(0, bisect_right(runs, first, key=_first) - 1), len(runs)):
            run = runs[at]
            if run.first > last:
                return
            if run.last >= first:
                yield run.part(max(first, run.first), min(last, run.last))

    def summary(self) -> Iterator[tuple[Stream, int, int, int]]:
        """What is kept of each stream, in as few runs as possible, with the most hops of each."""
        for stream, runs in self._runs.items():
            first, last, hops = runs[0].first, runs[0].last, runs[0].round
            for run in runs[1:]:
                if run.first == last + 1:
                    last, hops = run.last, max(hops, run.round)
                else:
                    yield stream, first, last, hops
                    first, last, hops = run.first, run.last, run.round
            yield stream, first, last, hops

    def __len__(self) -> int:
        return len(self._queue)

    def check(self) -> None:
        invariant(self.bytes == sum(len(run.values) for _, run in self._queue), "bytes counts what is kept")
        invariant(self.bytes <= self._bytes_max and len(self._queue) <= self._runs_max, "what is kept is bounded")
        invariant(sum(map(len, self._runs.values())) == len(self._queue), "what is kept is in both halves")
        for runs in self._runs.values():
            invariant(all(a.last < b.first for a, b in pairwise(runs)), "runs are apart and in order")


def _first(run: Run) -> int:
    return run.first
