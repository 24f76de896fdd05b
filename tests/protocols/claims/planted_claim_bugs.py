"""Each sentence of the rule, left out: a world that plants it, and what goes wrong then."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from covey.core.ids import Site
from covey.protocols.claims.bids import Bid
from covey.protocols.claims.electorate import Electorate
from covey.protocols.claims.host import Host
from covey.protocols.claims.seats import Bench
from covey.protocols.claims.votes import Votes
from tests.protocols.claims import claims_stories as stories
from tests.protocols.claims.claims_world import SECOND, Faults, World

Patch = pytest.MonkeyPatch


def a_first_grant_is_no_renewal(patch: Patch) -> None:
    """The voter protects a claim only from its first renewal on."""

    def claim(self: Votes, id: Any, epoch: int, life: Any, wait_us: int, now_us: int) -> bool:
        before = self._votes.get(id)
        granted = original(self, id, epoch, life, wait_us, now_us)
        if granted and (before is None or before.epoch != epoch):
            self._granted_us[id] = -(10**15)
        return granted

    original = Votes.claim
    patch.setattr(Votes, "claim", claim)


def who_never_granted_renews(patch: Patch) -> None:
    """A voter says yes to a renewal of what it never granted, and is not bound by it."""

    def claim(self: Votes, id: Any, epoch: int, life: Any, wait_us: int, now_us: int) -> bool:
        running = any(copy.token and p.site == life[0] for p in WORLD[0].processes for copy in p.copies.values())
        return original(self, id, epoch, life, wait_us, now_us) or (
            running and any(id in p.copies for p in WORLD[0].processes if p.site == life[0])
        )

    original = Votes.claim
    patch.setattr(Votes, "claim", claim)


def a_release_frees_whatever_that_life_has(patch: Patch) -> None:
    def release(self: Votes, id: Any, freed: Any) -> bool:
        return original(self, id, (*freed[:2], math.inf))

    original = Votes.release
    patch.setattr(Votes, "release", release)


def grants_are_counted_not_whose_they_are(patch: Patch) -> None:
    """Five durable nodes, three expected: any two of the five are taken for a majority."""
    patch.setattr(Electorate, "needed", property(lambda self: 2))


def nobody_waits_after_a_restart(patch: Patch) -> None:
    def left_us(self: Votes, id: Any, now_us: int) -> int:
        return original(self, id, now_us) if id in self._granted_us else 0

    original = Votes.left_us
    patch.setattr(Votes, "left_us", left_us)


def a_start_binds_only_what_the_disk_says_is_held(patch: Patch) -> None:
    """What an old copy does not know, or holds for released, may be granted at once."""

    def left_us(self: Votes, id: Any, now_us: int) -> int:
        vote = self._votes.get(id)
        if id not in self._granted_us and (vote is None or vote.released):
            return 0
        return original(self, id, now_us)

    original = Votes.left_us
    patch.setattr(Votes, "left_us", left_us)


def epochs_begin_where_an_old_copy_ends(patch: Patch) -> None:
    """A start does not lift what is granted above the clock."""
    patch.setattr(Votes, "start_epoch", property(lambda self: 0, lambda self, epoch: None), raising=False)


def whoever_bears_a_name_votes_for_it(patch: Patch) -> None:
    """No site is bound to a name."""

    def seat(self: Bench, electorate: Any) -> int | None:
        table = self._tables.get(electorate.digest)
        return electorate.names.index(self._name) if table is not None and self._listed(table) else None

    patch.setattr(Bench, "seat", seat)


def each_binds_names_to_whom_it_sees_first(patch: Patch) -> None:
    """A voter sits beside whom it has seen first, whatever the others promised; a name not seen so far is absent."""

    def seen(self: Bench, table: Any) -> tuple[Site, ...]:
        return tuple((*self._bearing(name), NOBODY)[0] for name in table.electorate.names)

    patch.setattr(Bench, "_seen", seen)
    patch.setattr(Bench, "_agree", lambda self, table, stage: True)


def answers_do_not_wait_for_the_disk(patch: Patch) -> None:
    patch.setattr(World, "syncs", False, raising=False)


def a_lease_counts_from_the_answer(patch: Patch) -> None:
    def on_grant(self: Host, bid: Bid, grant: Any, now_us: int) -> list[Any]:
        return original(self, bid, msgspec.structs.replace(grant, sent=now_us), now_us)

    original = Host._on_grant
    patch.setattr(Host, "_on_grant", on_grant)


def clocks_stand_still_in_suspend(patch: Patch) -> None:
    patch.setattr(World, "counts_suspend", False, raising=False)


def the_voter_waits_as_long_as_its_own_configuration_says(patch: Patch) -> None:
    def claim(self: Votes, id: Any, epoch: int, life: Any, wait_us: int, now_us: int) -> bool:
        return original(self, id, epoch, life, wait_us // 4, now_us)

    original = Votes.claim
    patch.setattr(Votes, "claim", claim)


def what_is_forgotten_leaves_no_floor(patch: Patch) -> None:
    def forget(self: Votes, now_us: int) -> Any:
        before = self.floor
        forgotten = original(self, now_us)
        self.floor = before
        return forgotten

    original = Votes.forget
    patch.setattr(Votes, "forget", forget)


def a_lost_duel_is_neither_given_back_nor_waited_for(patch: Patch) -> None:
    def on_lost_duel(self: Host, bid: Bid, now_us: int) -> list[Any]:
        bid.hears(bid.epoch)
        return self._claim(bid, now_us)

    patch.setattr(Host, "_on_lost_duel", on_lost_duel)


NOBODY = Site(b"\xff" * 16)
WORLD: list[World] = []
"""The world that is played, for plants that have to know what only it knows."""

BUSY = Faults(loss=0.02, slow=0.1, cuts=True, crashes=True, pauses=True)
BUSIER = msgspec.structs.replace(BUSY, step_us=SECOND // 2)
BY_CHANCE: list[tuple[Callable[[Patch], None], dict[str, Any]]] = [
    (a_first_grant_is_no_renewal, {}),
    (who_never_granted_renews, {"faults": BUSY}),
    (a_release_frees_whatever_that_life_has, {"faults": BUSY}),
    (grants_are_counted_not_whose_they_are, {"voters": 5}),
    (a_lease_counts_from_the_answer, {"faults": BUSY}),
    (the_voter_waits_as_long_as_its_own_configuration_says, {"faults": BUSY}),
    (what_is_forgotten_leaves_no_floor, {"faults": BUSIER, "ids": 4, "votes_max": 1}),
    (clocks_stand_still_in_suspend, {"faults": Faults(cuts=True, suspends=True)}),
    (whoever_bears_a_name_votes_for_it, {"faults": Faults(cuts=True), "double": True, "hosts": 4}),
]
"""Found in a few of the worlds that the seeds make of these options."""

BY_STORY: list[tuple[Callable[[Patch], None], Callable[[], None]]] = [
    (nobody_waits_after_a_restart, stories.a_copy_of_a_disk_is_back_within_a_lease),
    (a_start_binds_only_what_the_disk_says_is_held, stories.a_copy_of_a_disk_is_back_within_a_lease),
    (epochs_begin_where_an_old_copy_ends, stories.a_copy_of_a_disk_meets_who_has_sought_for_long),
    (answers_do_not_wait_for_the_disk, stories.a_voter_dies_before_its_disk_has_taken_what_it_said),
    (whoever_bears_a_name_votes_for_it, stories.two_nodes_have_one_voters_name_in_halves_that_never_met),
    (each_binds_names_to_whom_it_sees_first, stories.two_nodes_have_one_voters_name_in_halves_that_never_met),
]
