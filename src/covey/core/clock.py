"""A hybrid logical clock: a Lamport clock that also respects time, packed into one int.

Kulkarni, Demirbas, Madappa, Avva, Leone, "Logical Physical Clocks and Consistent Snapshots in Globally Distributed
Databases", OPODIS 2014. Packed as `milliseconds << 16 | counter`, so stamps compare as ints. Changed here: what is
learnt from a peer may lead this node's wall clock by `drift_ms_max` at most, so that one machine with a wrong date
cannot drag a whole cluster into the future.
"""

from __future__ import annotations

from covey.core.errors import UsageError

COUNTER_BITS = 16
COUNTER_MASK = (1 << COUNTER_BITS) - 1
MS_MAX = 2**47 - 1  # the year 6429; a packed stamp stays below 2**63, so it is a signed 64-bit int on the wire
STAMP_MAX = MS_MAX << COUNTER_BITS | COUNTER_MASK
EPOCH_MAX = STAMP_MAX - (1 << 32)  # that epochs begin with, so that there is always a higher one


def pack(ms: int, counter: int) -> int:
    """One int that orders first by `ms`, then by `counter`."""
    return ms << COUNTER_BITS | counter


def unpack(stamp: int) -> tuple[int, int]:
    """`(milliseconds since 1970, counter)`."""
    return stamp >> COUNTER_BITS, stamp & COUNTER_MASK


class HybridClock:
    """Stamps that grow with every use and stay near wall time.

    Law: each stamp given out is greater than every stamp given out or accepted before.
    Invariant: `last <= (wall + drift_ms_max)` whenever `accept` returned True, wall clocks never going back.
    """

    __slots__ = ("_drift_ms_max", "_last", "_offset_us")

    def __init__(self, drift_ms_max: int = 60_000, last: int = 0) -> None:  # 60 s: guess, far above any NTP error
        self._drift_ms_max = drift_ms_max
        self._last = last
        self._offset_us = 0

    @property
    def last(self) -> int:
        """The greatest stamp given out or accepted."""
        return self._last

    def set_offset(self, offset_us: int) -> None:
        """Wall time is monotonic time plus this, in microseconds: the fact `WallOffset`."""
        self._offset_us = offset_us

    def wall_ms(self, now_us: int) -> int:
        """Wall time in milliseconds at monotonic `now_us`, never negative."""
        return min(max((now_us + self._offset_us) // 1000, 0), MS_MAX)

    def stamp(self, now_us: int) -> int:
        """The next stamp: wall time, or one more than the last where that is ahead of wall time."""
        stamp = max(pack(self.wall_ms(now_us), 0), self._last + 1)
        if stamp > STAMP_MAX:
            raise UsageError(
                "the hybrid clock has run out of stamps; no stamp was given: set this machine's date right"
            )
        self._last = stamp
        return stamp

    def accept(self, stamp: int, now_us: int) -> bool:
        """Learn a peer's stamp. False, and no change, if it leads our wall clock by more than the bound."""
        if not 0 <= stamp <= STAMP_MAX or stamp >> COUNTER_BITS > self.wall_ms(now_us) + self._drift_ms_max:
            return False
        self._last = max(self._last, stamp)
        return True
