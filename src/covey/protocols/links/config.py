"""The limits and periods of links."""

from __future__ import annotations

import msgspec

SECOND_US = 1_000_000


class LinksConfig(msgspec.Struct, frozen=True):
    """Times in microseconds, sizes in bytes."""

    connect_us_max: int = 3 * SECOND_US  # TCP, TLS and handshake together. Guess: 1 s is TCP's first retransmission
    handshake_us_max: int = 3 * SECOND_US  # what a stranger may take to prove itself. Guess
    keepalive_us: int = (
        8 * SECOND_US
    )  # guess: links that pings use are seldom quiet so long; partisan's ping waits 20 s
    silence_us_max: int = 24 * SECOND_US  # three keepalives
    congested_us_max: int = 10 * SECOND_US  # guess: longer than any garbage collection, shorter than silence
    idle_us_max: int = 60 * SECOND_US  # an unpinned link nobody used. Guess
    crossing_us_wait: int = 1 * SECOND_US  # how long the dial that goes first may take before ours tries again
    queue_bytes_max: int = 4 << 20  # behind one slow peer: four of the largest frames
    waiting_bytes_max: int = 1 << 20  # behind one dial
    waiting_peers_max: int = 512  # peers with something waiting for a dial
    unauthenticated_max: int = 128  # inbound strangers at one time; the oldest goes
    unpinned_max: int = 128  # DESIGN 3.1: LRU of other control connections
