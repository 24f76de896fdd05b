"""The times of hubs, and bounds."""

from __future__ import annotations

import msgspec

SECOND_US = 1_000_000


class RegistryConfig(msgspec.Struct, frozen=True):
    """Times in microseconds."""

    settle_us: int = 3 * SECOND_US  # who hears of nobody for so long places alone (DESIGN 3.8). Guess
    joined_settle_us: int = 300_000  # who has joined waits only for others' first rows. Guess
    turn_us: int = 200_000  # whoever declares children starts them so much after whoever comes before it. Guess
    doubt_us: int = 500_000  # who is said to be down, and is linked to us, has so long to deny it. Guess: two probes
    stable_us: int = 2 * SECOND_US  # a view is stable after that, and children move back. Guess
    moves_max: int = 32  # at a time, from one node. Guess
    leaving_moves_max: int = 256  # the same of one that leaves. Guess
    arriving_bytes_max: int = 128 << 20  # letters and answers on their way here from one node. Guess
    answers_bytes_max: int = 32 << 20  # answers that travel with a child; of what is above only that it was. Guess
    arriving_max: int = 1_024  # children on their way here; more are not built. Guess
    prepare_us: int = 10 * SECOND_US  # how long building a child elsewhere may take. Guess
    retry_us: int = 1 * SECOND_US  # what was not answered is said again. Guess
    announce_us: int = 50_000  # who has not started by then is shown as starting. Guess
    duplicate_us: int = 500_000  # two copies must be shown for so long before one is ended. Guess
    stop_grace_us: int = 800_000  # majority.md: S, from the end of the lease
    restarts_max: int = 10  # of one child within `restarts_us`; then it is given up. Guess
    restarts_us: int = 60 * SECOND_US
    backoff_us_min: int = 50_000  # before the second restart in a row, doubled with each. Guess
    backoff_us_max: int = 5 * SECOND_US
    mailbox_max: int = 10_000  # letters that wait for one child. Guess
    mailbox_bytes_max: int = 64 << 20
    answers_max: int = 10_000  # of one child, kept in case its caller asks again. Guess
    remember_us: int = 60 * SECOND_US  # an answer nobody waits for: no link is silent for so long and lives. Guess
    unread_us: int = 200_000  # a letter is sent back unread so much before nobody waits for it, to come in time. Guess
    waiting_max: int = 100_000  # calls from here without an outcome. Guess
    looks_max: int = 500  # children looked at in one turn: 3 ms. Guess
    births_max: int = 500  # children started in one turn: 5 ms. Guess
    tries_us_min: int = 50_000  # before a call is sent again that nobody wanted, doubled with each. Guess
    tries_us_max: int = 1 * SECOND_US
    hubs_max: int = 64
    state_bytes_max: int = 900_000  # of a handed over state: it travels in one message
    hints_max: int = 10_000  # where children went that were here, and handovers that were answered. Guess
