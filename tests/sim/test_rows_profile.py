"""Rows under writers and faults: nothing false is shown at any time, and all show the same once the faults end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from covey.core.ids import Site
from covey.core.rng import derive
from covey.core.rows import HoldInstance, WriteRows
from covey.protocols.replication.machine import Replication
from covey.rows.owned import OwnedTable
from covey.sim.faults import KINDS, draw_plan
from covey.sim.profiles import PROFILES, build_rows, run_profile
from covey.sim.rows import RowsWorld, check_rows, rows_pending

ROWS = PROFILES["rows"]
QUICK = (8,)
# 51: rows of a new holding came before the news that the one before had ended. 55: one that was out of the cluster took
# all others' lives for over, and never compared what they did again.
SEEDS = (*range(1, 21), 51, 55)
SECOND = 1_000_000


@pytest.mark.parametrize(
    "seed", [*QUICK, *[pytest.param(seed, marks=pytest.mark.slow) for seed in SEEDS if seed > 50]]
)  # `make test` runs the first fifty apart
def test_all_show_what_each_owner_has_after_whatever_was_written_and_went_wrong(seed):
    result = run_profile(ROWS, seed)
    assert result.failure == "", f"python -m covey.sim --profile rows --seed {seed}"
    assert 0 <= result.settled_s <= ROWS.budget_us / 1e6
    assert 2 <= result.nodes <= 8


def test_these_seeds_know_every_kind_of_fault():
    plans = [draw_plan(derive(seed, "rows profile")).kinds for seed in SEEDS]
    assert sorted({kind for kinds in plans for kind in kinds}) == sorted(KINDS)


@pytest.mark.slow
def test_a_run_is_the_same_each_time():
    assert run_profile(ROWS, 3) == run_profile(ROWS, 3)


@pytest.mark.slow
def test_everything_that_spreads_rows_happens():
    """A run without gaps, parts and differing digests would prove little."""
    counts: dict[str, int] = {}
    for seed in range(1, 13):
        world = build_rows(seed, False).world
        world.run(20 * SECOND)
        for node in world.nodes:
            for name in ("pushed", "applied", "gaps", "parts", "mismatches"):
                counts[name] = counts.get(name, 0) + getattr(node.engine.replication.statistics(), name)
    assert all(count > 20 for count in counts.values()), counts


def two() -> RowsWorld:
    """Two that hold one instance, and the first wrote a row."""
    world = RowsWorld(1)
    first = world.start_node()
    second = world.start_node((first.address,))
    world.run(5 * SECOND)
    for node in (first, second):
        node.feed(HoldInstance(b"docs"))
    world.written[first.site, first.identity.incarnation, b"docs", b"key"] = {b"value": None}
    first.feed(WriteRows(b"docs", ((b"key", b"value"),)))
    return world


def test_what_is_pending_is_said_with_the_sites_it_is_about():
    world = two()
    sites = [node.site for node in world.nodes]
    assert rows_pending(world) == ("n0 shows 0 rows of n1 in b'', not its 1", sites)
    world.run(SECOND)
    assert rows_pending(world) is None
    world.nodes[1].engine.replication.tables[b"docs"].void(sites[0], 1)
    assert rows_pending(world) == ("n1 shows 0 rows of n0 in b'docs', not its 1", sites[::-1])


def test_a_row_that_nobody_wrote_is_found():
    world = two()
    world.written.clear()
    with pytest.raises(AssertionError, match="wrote b'docs' of b''"):
        check_rows(world)


def test_what_is_shown_without_a_fact_is_found():
    world = two()
    world.run(SECOND)
    check_rows(world)
    table = world.nodes[1].engine.replication.tables[b"docs"]
    table.apply(world.nodes[0].site, 2, [(b"key", None)])
    with pytest.raises(AssertionError, match="snapshot plus facts is what is shown"):
        check_rows(world)


# --- planted bugs ---------------------------------------------------------------------------------------------------


def hidden_rows_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    admit = OwnedTable.admit

    def hide(self: OwnedTable, owner: Site, incarnation: int, shown: bool) -> Any:
        changes = self.drop(owner) if self.is_shown(owner) and not shown else []
        return changes + admit(self, owner, incarnation, shown)

    monkeypatch.setattr(OwnedTable, "admit", hide)


def operations_are_applied_over_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    apply = OwnedTable.apply

    def over(self: OwnedTable, owner: Site, first: int, ops: Any) -> Any:
        return apply(self, owner, min(first, self.position(owner).seq + 1), ops)

    monkeypatch.setattr(OwnedTable, "apply", over)


def an_old_life_is_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OwnedTable, "knows", lambda self, owner, incarnation: owner in self.owners())


def who_holds_again_counts_from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    release = Replication._on_release

    def forgetful(self: Replication, command: Any, now_us: int) -> Any:
        effects = release(self, command, now_us)
        self._numbered = 0
        return effects

    monkeypatch.setattr(Replication, "_on_release", forgetful)


PLANT: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    bug.__name__: bug
    for bug in (
        hidden_rows_are_dropped,
        operations_are_applied_over_a_gap,
        an_old_life_is_listened_to,
        who_holds_again_counts_from_the_beginning,
    )
}
SEEDS_MAX = 20


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("bug", PLANT)
def test_the_simulator_finds_the_planted_bug(bug, monkeypatch):
    PLANT[bug](monkeypatch)
    assert any(run_profile(ROWS, seed).failure for seed in range(1, SEEDS_MAX + 1))
