"""Plumtree's parameters and our bounds."""

from __future__ import annotations

import msgspec

SECOND_US = 1_000_000


class BroadcastConfig(msgspec.Struct, frozen=True):
    """Times in microseconds, hops in links."""

    graft_us: int = 500_000  # T1 until there are measurements: DESIGN 3.5, 10 hops of 50 ms
    graft_us_min: int = 200_000  # guess: four times the time that announcements wait
    graft_us_max: int = 4 * SECOND_US  # guess
    regraft_us: int = 100_000  # T2 until there are measurements: two round trips of 50 ms
    regraft_us_min: int = 20_000  # guess
    regraft_us_max: int = 2 * SECOND_US  # guess
    shorter_by: int = 7  # hops an announced path must be shorter: SRDS 2007, 4.3, for many senders
    announce_us: int = 50_000  # announcements are gathered so long: broadcast.md section 4
    announced_max: int = 1_000  # runs announced to one peer at once; then they go at once. Guess
    protect_us: int = 1 * SECOND_US  # DESIGN 3.5: a link grafted within the last second is not pruned
    keep_us: int = 30 * SECOND_US  # bodies for who asks: broadcast.md scenario 14
    kept_bytes_max: int = 32 << 20  # guess
    kept_max: int = 100_000  # runs. Guess
    missing_max: int = 10_000  # announced messages not had: broadcast.md scenario 23
    announcers_max: int = 8  # of one message: more than there are neighbours is of no use
    streams_max: int = 16_384  # remembered for telling duplicates. Guess
    intervals_max: int = 10_001  # of one stream: broadcast.md scenario 12
    run_bytes_max: int = 65_536  # one frame's aim
