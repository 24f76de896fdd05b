"""Membership's periods and bounds."""

from __future__ import annotations

import msgspec

from covey.wire.limits import FRAME_AIM_BYTES

SECOND_US = 1_000_000


class MembershipConfig(msgspec.Struct, frozen=True):
    """Times in microseconds."""

    ephemeral: bool = True  # a node without storage: leaves when it stops, never votes, leaves no tombstone
    flood: bool = True  # fresh operations go to all neighbours at once; off only to compare with classy
    digest_period_us: int = (
        2 * SECOND_US
    )  # twice classy's sync_timeout: pings bring digests each second; without, guess
    sync_pause_us: int = 200_000  # between two syncs with one peer that do not make us equal. Guess
    again_us_max: int = 64 * SECOND_US  # between two times of telling a peer everything to no avail. Guess
    sync_ops_max: int = 1_000  # in one sync, about
    sync_bytes_aim: int = FRAME_AIM_BYTES  # in one sync; with what its last import brings twice that, at most
    join_us_max: int = 10 * SECOND_US  # connecting and proving may take 3 s each. Guess
    answer_us_max: int = 2 * SECOND_US  # how long kick, leave and flush wait for acknowledgements. Guess
    forget_after_us: int = 7 * 24 * 3600 * SECOND_US  # classy: a week
    forget_ephemeral_us: int = 60 * SECOND_US  # guess
    cleanup_period_us: int = 60 * SECOND_US  # guess
    members_max: int = 10_000  # DESIGN aims at thousands; each costs about 1 kB
    drift_ms_max: int = 60_000  # guess: far above any NTP error
    skew_ms_min: int = 500  # what is worth a warning: reference M07
