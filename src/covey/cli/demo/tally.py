"""What is counted of the demo: queries without an answer, the longest silence, copies of each shelf. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from covey.cli.demo.reports import Missed, Progress

RATE_SECONDS = 2.0  # over which queries per second are counted


class Gaps:
    """When a failover was under way, and which attempts brought no answer.

    A gap begins with the fault, and ends once every shelf runs and is shown again to everybody who can reach it. An
    attempt that was under way in none is `unanswered`: nothing excuses it.
    """

    def __init__(self) -> None:
        self.missed: list[Missed] = []
        self._gaps: list[tuple[float, float]] = []
        self._open_s: float | None = None

    def begin(self, now_s: float) -> None:
        """Something breaks now."""
        if self._open_s is None:
            self._open_s = now_s

    def end(self, now_s: float) -> None:
        """It is over: everything runs."""
        if self._open_s is not None:
            self._gaps.append((self._open_s, now_s))
            self._open_s = None

    def unanswered(self) -> list[Missed]:
        """The attempts without an answer that no gap excuses."""
        until = float("inf")
        gaps = self._gaps if self._open_s is None else [*self._gaps, (self._open_s, until)]
        return [
            one for one in self.missed if not any(one.began_s <= end and begin <= one.ended_s for begin, end in gaps)
        ]


class Rate:
    """How many a second, of a count that grows."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def put(self, now_s: float, count: int) -> None:
        """The count now. A smaller one than before starts anew."""
        if self._seen and count < self._seen[-1][1]:
            self._seen.clear()
        self._seen.append((now_s, count))
        while len(self._seen) > 2 and self._seen[1][0] <= now_s - RATE_SECONDS:
            self._seen.popleft()

    @property
    def per_second(self) -> float:
        """How many there were in each of the last seconds."""
        if len(self._seen) < 2:
            return 0.0
        (then_s, before), (now_s, count) = self._seen[0], self._seen[-1]
        return (count - before) / max(now_s - then_s, 0.001)


def copies(workers: Iterable[Progress], shelves: Iterable[str]) -> dict[str, int]:
    """How many copies of each shelf really run."""
    counted = Counter(shelf for worker in workers for shelf, _ in worker.copies)
    return {shelf: counted[shelf] for shelf in shelves}


def in_words(counts: dict[str, int]) -> str:
    """Copies per shelf, for people: `1`, or `2 (9 with 1)` where nine shelves have another number."""
    found = Counter(counts.values())
    if not found:
        return "-"
    (most, _), *rest = found.most_common()
    return f"{most}" + (f" ({', '.join(f'{many} with {count}' for count, many in rest)})" if rest else "")


def runs_everywhere(workers: Iterable[Progress], shelves: list[str], nodes: int) -> bool:
    """Whether these workers see each other and nobody else, and every shelf runs among them and is shown to each."""
    some = list(workers)
    return (
        all(one.members == one.nodes - 1 == nodes - 1 and one.running == len(shelves) for one in some)
        and min(copies(some, shelves).values(), default=0) > 0
    )


def runs_once(workers: Iterable[Progress], shelves: list[str], nodes: int) -> bool:
    """The same, and each shelf has exactly one copy, in truth and as the hub shows it."""
    some = list(workers)
    return (
        runs_everywhere(some, shelves, nodes)
        and set(copies(some, shelves).values()) == {1}
        and all(one.doubles == 0 for one in some)
    )
