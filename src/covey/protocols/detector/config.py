"""SWIM's and Lifeguard's parameters, and our bounds."""

from __future__ import annotations

import msgspec

SECOND_US = 1_000_000


class DetectorConfig(msgspec.Struct, frozen=True):
    """Times in microseconds. The defaults are the profile `lan`."""

    probe_interval_us: int = 1 * SECOND_US  # SWIM's T'; memberlist's LAN profile (membership.md 5.2)
    probe_timeout_us: int = 500_000  # memberlist's LAN profile
    ask_us: int = 250_000  # half the timeout: others are asked sooner than in SWIM; M26 is 0.25 s faster for it
    nack_us: int = 200_000  # so that nacks are back at the timeout (Lifeguard: 80 % of a timeout)
    indirect_probes: int = 3  # SWIM's k; memberlist's LAN profile
    suspicion_multiplier: int = 4  # memberlist's LAN profile: 4 * max(1, log10 n) probe intervals
    suspicion_us_min: int = 2 * SECOND_US  # DESIGN 3.3: at least 2 s in every profile
    suspicion_max_factor: int = 6  # Lifeguard's beta (section IV-B)
    confirmations_max: int = 3  # Lifeguard's K (section IV-B)
    health_max: int = 7  # Lifeguard's S: 8 multiples (section IV-A)
    retransmissions: int = 4  # SWIM's lambda: 4 * ceil(log10(n + 1)) rides of each rumour (memberlist)
    rumours_per_ping_max: int = 8  # 448 bytes at most; floods do most of the work. Guess
    boot_grace_us: int = 30 * SECOND_US  # how long a member only known from disk is not probed. Guess
    confirm_us_max: int = 500_000  # what one confirmer may take: a refused dial answers in a round trip. Guess
    confirmers_max: int = 3  # how many are asked, one after the other. As many as indirect probes
    checks_max: int = 256  # refusals being looked into; more wait for the silent way. Guess
    askers_max: int = 8  # who waits for the outcome of one such look. Guess
    relays_max: int = 256  # indirect probes done for others; the oldest goes without an answer. Guess
    members_max: int = 65_536  # those beyond are not watched, and counted. Guess
    story_lines_max: int = 16  # what is kept to say why. Guess
    broken_probes: int = 2  # direct pings in a row that fail while others reach the member
    accuse_pause_us: int = 200_000  # between two accusations told to one accused: no ping-pong. Guess
    exchange_pause_us_min: int = 1 * SECOND_US  # between two table exchanges begun here. Guess
    exchange_pause_us_max: int = 64 * SECOND_US  # where they change nothing: doubling pauses. Guess
    settle_us: int = 300_000  # a digest that differs so soon after news waits for the news to arrive. Guess
    remember_us: int = 1200 * SECOND_US  # DESIGN 3.6: an ephemeral's end, 2 * membership's forget_after
    graves_max: int = 4096  # ends remembered of removed sites; the oldest goes. Guess
    stop_members: int = 3  # random members told of our end besides the neighbours. Guess

    @classmethod
    def laptop(cls) -> DetectorConfig:
        """Processes on one host: latencies of microseconds, nothing to pay for traffic."""
        return cls(
            probe_interval_us=200_000,  # memberlist's local profile probes at 1 s but times out at 0.2 s; guess
            probe_timeout_us=100_000,  # half of it, as in `lan`
            ask_us=50_000,  # half of it, as in `lan`
            nack_us=40_000,  # as in `lan`
            confirm_us_max=250_000,  # guess
            boot_grace_us=10 * SECOND_US,  # guess
        )
