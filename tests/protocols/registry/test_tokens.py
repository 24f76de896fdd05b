"""Tokens only grow, whatever clock they came from, and nobody can use them up."""

from __future__ import annotations

import pytest

from covey.core import children as c
from covey.core.claims import Seek
from covey.core.clock import EPOCH_MAX, STAMP_MAX, pack
from covey.core.rows import RowsChanged, SharedChanged, SharedRow
from covey.protocols.registry import rows
from covey.protocols.registry import vocabulary as h
from covey.wire.keys import encode_key
from tests.protocols.registry.registry_world import HUB, SECOND_US, SPEC, RegistryWorld, life, site

YEARS = pack(10 * 365 * 24 * 3600 * 1000, 0)


def started(world: RegistryWorld, name: str) -> list[int]:
    return [effect.token for effect in world.take(name) if isinstance(effect, c.StartChild)]


def give_birth(world: RegistryWorld, id: int, epoch: int) -> None:
    """Somebody whose clock says so starts a child that `a` is to run."""
    birth = rows.encode(rows.Birth(SPEC, b"\x80", epoch, life("a")))
    row = SharedRow((((site("b"), 1, 77), birth),), ())
    world.shared[encode_key(id)] = row
    for name in "ab":
        world.give(name, SharedChanged(HUB, ((encode_key(id), row),)))


def test_a_child_that_is_started_anew_has_a_higher_token_though_the_clock_of_the_first_was_years_ahead():
    world = RegistryWorld("ab")
    (id,) = world.home("a")
    give_birth(world, id, YEARS)
    assert started(world, "a") == [YEARS]
    world.give("a", h.StopChildren(2, HUB, (encode_key(id),), SECOND_US))
    assert world.runs(id) == {}
    world.start(id, by="b", request=3)
    (token,) = started(world, "a")
    assert token > YEARS


def test_nor_is_it_lower_where_only_the_row_of_its_host_told_of_it():
    world = RegistryWorld("ab")
    (id,) = world.home("a")
    running = rows.encode(rows.Running(YEARS, 9, rows.State.RUNNING))
    for value in (running, None):
        world.give("a", RowsChanged(HUB, site("b"), 1, ((rows.running_key(encode_key(id)), value),)))
    world.start(id)
    (token,) = started(world, "a")
    assert token > YEARS


def test_a_child_that_is_started_anew_by_somebody_who_has_not_heard_of_the_last_token_has_a_higher_one():
    world = RegistryWorld("ab")
    (id,) = world.home("a")
    world.start(id)
    for _ in range(3):
        world.give("a", c.ChildExited(world.copy("a", id), c.Ending.RAISED, "Boom"))
        world.advance(1)
    *_, last = started(world, "a")
    world.give("a", h.StopChildren(2, HUB, (encode_key(id),), SECOND_US))
    give_birth(world, id, last - 1)
    (token,) = started(world, "a")
    assert token > last


def test_who_opens_a_hub_again_runs_no_child_under_the_birth_under_which_it_ran_it_before():
    world = RegistryWorld("a")
    world.start("x")
    (first,) = started(world, "a")
    kept = dict(world.shared)  # by somebody who is away
    world.give("a", h.CloseHub(2, HUB))
    world.shared = kept
    world.give("a", h.OpenHub(3, HUB, h.HubOptions("a", (SPEC.start,), "both")))
    world.advance(4)
    (second,) = started(world, "a")
    assert second > first
    world.give("a", c.ChildExited(world.copy("a", "x"), c.Ending.RAISED, "Boom"))
    assert world.runs("x") == {"a": "RUNNING"}, "it was a child before"


@pytest.mark.parametrize("epoch", [EPOCH_MAX, EPOCH_MAX + 1, STAMP_MAX - 2, STAMP_MAX - 1, STAMP_MAX, 2**63, -1])
def test_a_lie_about_an_epoch_blocks_nothing_and_fits_on_the_wire(epoch):
    world = RegistryWorld("ab")
    id, other = world.home("a", 2)
    give_birth(world, id, epoch)
    world.give("a", c.ChildExited(world.copy("a", id), c.Ending.RAISED, "Boom"))
    world.vanish("a")
    world.start(other, by="b", request=3)
    tokens = started(world, "b")
    assert len(tokens) == 2 and all(0 < token <= STAMP_MAX for token in tokens)
    if not 0 <= epoch <= EPOCH_MAX:
        assert tokens[1] < EPOCH_MAX, "it counts for no other child"
    assert set(world.runs(id)) == set(world.runs(other)) == {"b"}


@pytest.mark.parametrize("epoch", [YEARS, EPOCH_MAX, STAMP_MAX - 1])
def test_voters_are_not_asked_for_an_epoch_that_they_would_not_grant(epoch):
    world = RegistryWorld("ab", voters=("v", "w", "x"))
    (id,) = world.home("a")
    give_birth(world, id, epoch)
    (seek,) = [effect for effect in world.take("a") if isinstance(effect, Seek)]
    assert seek.epoch < pack(60_000, 0)
