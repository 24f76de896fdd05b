"""Bounds of groups and mailboxes."""

from __future__ import annotations

import msgspec


class GroupsConfig(msgspec.Struct, frozen=True):
    """Numbers of things."""

    mailboxes_max: int = 1_000_000  # open on this node. Guess: about 300 MB
    members_max: int = 1_000_000  # of one node in all groups: so many may join here, and are shown of another. Guess
    member_bytes_max: int = 24 << 20  # of what they say: well below what the row machine keeps, which counts more
    scopes_max: int = 1_024  # known here. Guess: a quarter of what the row machine holds
    streams_max: int = 262_144  # pairs of mailboxes whose letters are numbered, with one node and each way. Guess
    leaves_max: int = 500  # groups that a closed mailbox leaves in one turn: 3 ms, as for whoever hears it
