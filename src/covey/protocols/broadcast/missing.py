"""Messages that were announced and did not come: who has them, and whom to ask when."""

from __future__ import annotations

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.core.timers import Timers
from covey.protocols.broadcast.config import BroadcastConfig
from covey.protocols.broadcast.streams import Stream


class Estimate:
    """How long something takes, and how long to wait for it: the mean and four times the deviation (RFC 6298)."""

    __slots__ = ("_deviation", "_mean", "_most", "least", "us")

    def __init__(self, first_us: int, least_us: int, most_us: int) -> None:
        self.us = first_us
        self.least = least_us
        self._most = most_us
        self._mean = self._deviation = -1

    def add(self, took_us: int) -> None:
        """It took so long."""
        if self._mean < 0:
            self._mean, self._deviation = took_us, took_us // 2
        else:
            self._deviation += (abs(took_us - self._mean) - self._deviation) // 4
            self._mean += (took_us - self._mean) // 8
        self.us = min(max(self._mean + 4 * self._deviation, self.least), self._most)


class Wanted:
    """One message: who announced it and was not asked yet (at how many hops), since when, and who was asked last."""

    __slots__ = ("announcers", "asked", "asked_us", "since_us")

    def __init__(self, now_us: int) -> None:
        self.announcers: dict[Site, int] = {}
        self.since_us = now_us
        self.asked: Site | None = None
        self.asked_us = 0


class Missing:
    """What is wanted and not here.

    Law: a message is asked for of one announcer after the other, first when it was waited for T1, then each T2; of
    nobody who is forgotten, and not any more once it came. When all were asked it is nobody's business until it is
    announced again. Invariants: bounded; each has somebody to ask, or was asked for; each has a timer.
    """

    def __init__(self, config: BroadcastConfig) -> None:
        self._config = config
        self._wanted: dict[Stream, dict[int, Wanted]] = {}
        self._timers: Timers[tuple[Stream, int]] = Timers()
        self._count = 0
        self.patience = Estimate(config.graft_us, config.graft_us_min, config.graft_us_max)  # T1
        self.retry = Estimate(config.regraft_us, config.regraft_us_min, config.regraft_us_max)  # T2
        self.spurious = 0  # asked for, and then it came from elsewhere

    def announced(self, stream: Stream, number: int, peer: Site, round: int, now_us: int, *, at_once: bool) -> None:
        """Somebody has a message that we have not."""
        wanted = self._wanted.get(stream, {}).get(number)
        if wanted is None:
            wanted = self._wanted.setdefault(stream, {})[number] = Wanted(now_us)
            self._count += 1
            self._timers.set((stream, number), now_us if at_once else now_us + self.patience.us)
        elif at_once and wanted.asked is None:
            self._timers.set((stream, number), now_us)
        if peer != wanted.asked and len(wanted.announcers) < self._config.announcers_max:
            wanted.announcers.setdefault(peer, round)
        if self._count > self._config.missing_max:
            oldest = next(iter(self._wanted))
            self._drop(oldest, next(iter(self._wanted[oldest])))

    def came(self, stream: Stream, first: int, last: int, peer: Site, now_us: int) -> dict[Site, int]:
        """These are here now. Who announced the first of them and was not asked, at how many hops each."""
        numbers = self._wanted.get(stream)
        if numbers is None:
            return {}
        announcers: dict[Site, int] = {}
        many = last - first >= len(numbers)
        for number in [number for number in numbers if first <= number <= last] if many else range(first, last + 1):
            wanted = numbers.get(number)
            if wanted is None:
                continue
            self._drop(stream, number)
            announcers = announcers or wanted.announcers
            if peer == wanted.asked:
                self.retry.add(now_us - wanted.asked_us)
            else:
                self.patience.add(now_us - wanted.since_us)
                self.spurious += wanted.asked is not None
        return announcers

    def refused(self, stream: Stream, first: int, last: int, peer: Site, now_us: int) -> None:
        """Somebody does not have these after all: the next one is asked at once."""
        for number, wanted in list(self._wanted.get(stream, {}).items()):
            if first <= number <= last:
                self._without(stream, number, wanted, peer, now_us)

    def forget(self, peer: Site, now_us: int) -> None:
        """It can be asked no more."""
        for stream, numbers in list(self._wanted.items()):
            for number, wanted in list(numbers.items()):
                self._without(stream, number, wanted, peer, now_us)

    def _without(self, stream: Stream, number: int, wanted: Wanted, peer: Site, now_us: int) -> None:
        """One less to ask for a message."""
        wanted.announcers.pop(peer, None)
        if wanted.asked == peer:
            wanted.asked = None
            self._timers.set((stream, number), now_us)
        if wanted.asked is None and not wanted.announcers:
            self._drop(stream, number)

    def due(self, now_us: int) -> dict[Site, dict[Stream, list[tuple[int, int]]]]:
        """Whom to ask now for what: of each message the first that announced it and was not asked."""
        asked: dict[Site, dict[Stream, list[tuple[int, int]]]] = {}
        for stream, number in sorted(self._timers.pop_due(now_us)):
            wanted = self._wanted[stream][number]
            if not wanted.announcers:
                self._drop(stream, number)
                continue
            peer = next(iter(wanted.announcers))
            del wanted.announcers[peer]
            wanted.asked, wanted.asked_us = peer, now_us
            runs = asked.setdefault(peer, {}).setdefault(stream, [])
            if runs and runs[-1][1] + 1 == number:
                runs[-1] = (runs[-1][0], number)
            else:
                runs.append((number, number))
            self._timers.set((stream, number), now_us + self.retry.us)
        return asked

    def hurry(self, now_us: int) -> None:
        """Ask for all that was not asked for yet: nobody is left who would send it by itself."""
        for stream, numbers in self._wanted.items():
            for number, wanted in numbers.items():
                if wanted.asked is None:
                    self._timers.set((stream, number), now_us)

    def _drop(self, stream: Stream, number: int) -> None:
        numbers = self._wanted[stream]
        del numbers[number]
        if not numbers:
            del self._wanted[stream]
        self._timers.cancel((stream, number))
        self._count -= 1

    def clear(self) -> None:
        """Nothing is wanted any more."""
        self._wanted.clear()
        self._timers = Timers()
        self._count = 0

    def deadline(self) -> int | None:
        """When somebody is to be asked."""
        return self._timers.deadline()

    def __len__(self) -> int:
        return self._count

    def check(self) -> None:
        invariant(self._count == sum(map(len, self._wanted.values())), "count counts what is wanted")
        invariant(self._count <= self._config.missing_max, "what is wanted is bounded")
        for stream, numbers in self._wanted.items():
            invariant(bool(numbers), "a stream is here because something of it is wanted")
            for number, wanted in numbers.items():
                invariant(bool(wanted.announcers) or wanted.asked is not None, "somebody can be asked, or was")
                invariant(wanted.asked not in wanted.announcers, "nobody is asked twice")
                invariant((stream, number) in self._timers, "what is wanted has a timer")
