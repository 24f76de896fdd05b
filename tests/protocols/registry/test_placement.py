"""Placement is protocol: the same everywhere, with as little moving as possible."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.ids import Site
from covey.protocols.registry.placement import WEIGHT_MAX, Participant, View

FROZEN = "0122303023221043421342234004343430133404031141011420314134013200"
FROZEN_WEIGHTED = "0122021021221002220002200200222002112000021101001100211110010200"
IDS = [b"child %d" % number for number in range(400)]


def one(number: int, **changed: Any) -> Participant:
    made = Participant(Site(bytes([number]) * 16), 1, f"n{number}", 1, "", False, ("poll",), b"config")
    return msgspec.structs.replace(made, **changed)


def placed(*participants: Participant, ids: list[bytes] = IDS) -> dict[bytes, int]:
    """The number of the participant that each child belongs to; -1 for none."""
    view = View(participants)
    view.check()
    hosts = {id: view.place(id, "poll") for id in ids}
    return {id: -1 if host is None else host.site[0] for id, host in hosts.items()}


FIVE = [one(number) for number in range(5)]


def test_placement_never_changes():
    """If an edit moves one of these, two versions of covey place the same child differently."""
    assert "".join(str(host) for host in placed(*FIVE).values())[:64] == FROZEN
    weighted = placed(one(0, weight=3), one(1), one(2, weight=2))
    assert "".join(str(host) for host in weighted.values())[:64] == FROZEN_WEIGHTED


@given(st.permutations(FIVE))
def test_the_order_in_which_they_are_seen_does_not_matter(order):
    assert placed(*order, ids=IDS[:20]) == placed(*FIVE, ids=IDS[:20])


@pytest.mark.parametrize("gone", range(5))
def test_when_one_goes_only_its_children_move_and_when_it_comes_only_to_it(gone):
    before = placed(*FIVE)
    after = placed(*(host for host in FIVE if host.site[0] != gone))
    assert all(after[id] == host for id, host in before.items() if host != gone)
    assert gone not in after.values()


def test_a_restart_moves_nothing():
    assert placed(*FIVE[1:], one(0, incarnation=2)) == placed(*FIVE)


def test_everybody_has_about_its_share_by_weight():
    counts = Counter(placed(one(0, weight=3), one(1), one(2, weight=1)).values())
    assert 190 <= counts[0] <= 290
    assert placed(one(0, weight=0), one(1)) == dict.fromkeys(IDS, 1)
    huge, most = placed(one(0, weight=10_000), one(1)), placed(one(0, weight=WEIGHT_MAX), one(1))
    assert huge == most


def test_only_who_can_run_it_is_asked():
    assert placed(one(0, starts=("other",)), one(1)) == dict.fromkeys(IDS, 1)
    assert placed(one(0, starts=())) == dict.fromkeys(IDS, -1)
    assert placed() == dict.fromkeys(IDS, -1)


def test_who_is_draining_is_asked_only_where_nobody_else_is():
    assert placed(one(0, draining=True), one(1)) == dict.fromkeys(IDS, 1)
    assert placed(one(0, draining=True)) == dict.fromkeys(IDS, 0)


def test_what_is_assigned_is_there_or_nowhere():
    view = View(FIVE)
    for host in FIVE:
        assert view.place(b"id", "poll", host.site) == host
    assert view.place(b"id", "poll", Site(b"x" * 16)) is None


def test_of_several_configurations_the_one_that_most_have_places_and_of_two_the_lower():
    odd = [one(7, config=b"a"), one(8, config=b"b")]
    view = View([*FIVE, *odd])
    assert (view.config, view.hosts, view.others) == (b"config", FIVE, odd)
    assert View([odd[1], odd[0]]).config == b"a"
    assert View([]).config == b""


def test_the_ranking_begins_with_the_host_and_has_everybody_who_can():
    view = View([*FIVE, one(5, starts=())])
    for id in IDS[:20]:
        ranked = view.ranked(id, "poll")
        assert ranked[0] == view.place(id, "poll")
        assert sorted(host.site for host in ranked) == [host.site for host in FIVE]
