"""Planted bugs (reference 3.5, "Mutation check"): each is found by the simulator, or by the scenario that knows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from covey.core.clock import HybridClock
from covey.core.vocabulary import Persist
from covey.protocols.membership.exchange import Exchange
from covey.protocols.membership.floors import Floors
from covey.protocols.membership.ledger import CLOCK, REJOIN, Ledger
from covey.protocols.membership.machine import Membership
from covey.protocols.membership.record import Record
from covey.sim.profiles import PROFILES, run_profile
from tests.protocols.membership import test_membership_forgetting as forgetting
from tests.protocols.membership import test_membership_golden_trace as golden
from tests.protocols.membership import test_membership_scenarios as scenarios

SEEDS_MAX = 60


def everybody_knows_whatever_one_of_them_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seed's fold: a lagging peer that was visited early is forgotten by the fold."""
    asked: list[bytes] = []
    has_kicked = Floors.has_kicked

    def fold(self: Floors, site: bytes, kicked: bytes) -> bool:
        asked.append(site)
        return site == min(asked) or has_kicked(self, site, kicked)  # type: ignore[arg-type]

    monkeypatch.setattr(Floors, "has_kicked", fold)


def messages_before_persistence(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = Membership.handle

    def reversed_order(self, incoming, now_us):
        effects = handle(self, incoming, now_us)
        return sorted(effects, key=lambda effect: isinstance(effect, Persist))

    monkeypatch.setattr(Membership, "handle", reversed_order)


def clocks_deleted_at_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    reset = Ledger.reset

    def wipe(self, cluster):
        reset(self, cluster)
        self.clock = HybridClock(self._config.drift_ms_max)
        self.rejoin_clock = 0
        self._dirty[CLOCK] = self._dirty[REJOIN] = None

    monkeypatch.setattr(Ledger, "reset", wipe)


def exclusive_since(monkeypatch: pytest.MonkeyPatch) -> None:
    since = Record.since
    monkeypatch.setattr(Record, "since", lambda self, imported: since(self, imported + 1))


def acknowledgement_dropped_at_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    receive = Exchange.receive

    def forgetful(self, peer, sync, take, now_us):
        floor = self.floor(peer)
        before = floor.acked_out
        gap = floor.acked_in < sync.since
        effects = receive(self, peer, sync, take, now_us)
        if gap:
            floor.acked_out = before
        return effects

    monkeypatch.setattr(Exchange, "receive", forgetful)


PLANT = {
    bug.__name__: bug
    for bug in (
        everybody_knows_whatever_one_of_them_does_not,
        messages_before_persistence,
        clocks_deleted_at_reset,
        exclusive_since,
        acknowledgement_dropped_at_a_gap,
    )
}

SCENARIOS: dict[str, Callable[[], None]] = {
    "everybody_knows_whatever_one_of_them_does_not":
        forgetting.test_m09_nobody_is_forgotten_while_a_member_has_not_seen_the_kick,
    "messages_before_persistence": scenarios.test_m17_who_leaves_is_alone_in_a_new_cluster_and_nobody_was_kicked,
    "clocks_deleted_at_reset":
        scenarios.test_m14_the_clock_outlives_the_change_of_cluster_though_the_wall_clock_steps_back,
    "exclusive_since":
        golden.test_m01_two_fresh_sites_exchange_what_classys_do_and_fall_silent_after_five_messages,
    "acknowledgement_dropped_at_a_gap": golden.test_gaps_on_both_sides_at_once_heal_in_two_messages_each_way,
}  # fmt: skip


IN_THE_SIMULATOR = ("messages_before_persistence", "clocks_deleted_at_reset", "exclusive_since")


def but_one_slow(names: Iterable[str], quick: str) -> list[Any]:
    return [name if name == quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("bug", but_one_slow(PLANT, quick="exclusive_since"))
def test_a_scenario_finds_the_planted_bug(bug, monkeypatch):
    SCENARIOS[bug]()
    PLANT[bug](monkeypatch)
    with pytest.raises(AssertionError):
        SCENARIOS[bug]()


@pytest.mark.parametrize("bug", but_one_slow(IN_THE_SIMULATOR, quick="messages_before_persistence"))
def test_the_simulator_finds_the_planted_bug(bug, monkeypatch):
    """The other two break what its invariants do not name: forgetting too early, and gaps on both sides at once."""
    PLANT[bug](monkeypatch)
    assert any(run_profile(PROFILES["membership"], seed).failure for seed in range(1, SEEDS_MAX + 1))
