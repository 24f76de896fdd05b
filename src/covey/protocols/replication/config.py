"""The row machine's periods and bounds."""

from __future__ import annotations

import msgspec

from covey.wire.limits import FRAME_AIM_BYTES

SECOND_US = 1_000_000


class ReplicationConfig(msgspec.Struct, frozen=True):
    """Times in microseconds."""

    digest_period_us: int = 1 * SECOND_US  # DESIGN 3.6: to a random peer each second
    pull_us_max: int = 2 * SECOND_US  # how long a holder may take for one answer. Guess
    telling_us_max: int = 4 * SECOND_US  # how long it may take to ask for the next part. Guess: twice that
    direct_max: int = 8  # DESIGN 3: push = direct when at most 8 nodes hold it
    first_holders: int = 3  # whom a new holder asks at once. Guess
    bytes_aim: int = FRAME_AIM_BYTES  # of operations or rows in one message
    positions_max: int = 2_048  # in one message: 64 KiB of them, about
    log_bytes_min: int = FRAME_AIM_BYTES  # a log may be as long as this, or as the rows themselves. Guess
    ahead_max: int = 1_024  # messages of owners that came before those in front of them. Guess
    changes_max: int = 500  # rows told in one turn: 2-3 ms for whoever hears it, measured with groups
    waiting_max: int = 100_000  # rows that are still to be told; above it others' are not taken. Guess: 30 MB
    trimmed_max: int = 5_000  # operations looked at in one turn to forget them: 3 ms, measured
    owner_bytes_max: int = 64 << 20  # of one owner's rows in one instance. Guess
    shared_bytes_max: int = 256 << 20  # of all shared rows of one instance. Guess
    instances_max: int = 4_096  # held here. Guess
    pulls_max: int = 4_096  # under way. Guess
    shared_log_bytes_max: int = 8 << 20  # of an instance's shared rows (replication reference 2.4)
    pull_ops_max: int = 4_096  # shared operations asked for one by one; of more, rows are compared. Guess
    context_keep_us: int = 24 * 3_600 * SECOND_US  # DESIGN 3.6: the longest split in which removals stay removed
    retired_max: int = 1_024  # lives kept so long. Guess
    differing_alarm: int = 3  # times in a row that equal tables are not alike while nothing is written. Guess
    stored_max: int = 1_000  # records of shared rows for the disk in one turn: 4 ms to make them, measured
    stored_bytes_max: int = 1 << 20  # and so many bytes, about. Guess
