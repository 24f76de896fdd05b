"""Places kept while things change are those that a fresh view gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.protocols.registry.placement import Participant, View
from covey.protocols.registry.places import Places
from tests.protocols.registry.test_placement import FIVE, IDS, one

PARTICIPANTS = st.lists(
    st.builds(
        lambda number, weight, draining, starts, config: one(
            number, weight=weight, draining=draining, starts=starts, config=config
        ),
        st.integers(0, 5), st.integers(0, 2), st.booleans(), st.sampled_from([("poll",), ("other", "poll"), ()]),
        st.sampled_from([b"config", b"config", b"older"]),
    ),
    max_size=6, unique_by=lambda one: one.site,
)  # fmt: skip
CHANGES = st.lists(
    st.one_of(
        PARTICIPANTS,
        st.tuples(st.integers(0, 9), st.sampled_from(["poll", "other"]), st.sampled_from([None, *range(4)])),
        st.integers(0, 9),
    ),
    max_size=12,
)


@given(CHANGES, st.integers(1, 20))
def test_once_nothing_is_due_places_are_those_of_a_fresh_view(changes, count):
    places, participants = Places(), list[Participant]()
    children: dict[bytes, tuple] = {}
    for change in changes:
        if isinstance(change, list):
            participants = change
            places.see(change)
        elif isinstance(change, tuple):
            number, start, assigned = change
            children[IDS[number]] = start, None if assigned is None else one(assigned).site
            places.put(IDS[number], *children[IDS[number]])
        else:
            children.pop(IDS[change], None)
            places.drop(IDS[change])
        places.check()
    while not places.is_settled:
        assert len(places.look(count)) <= count
        places.check()
    view = View(participants)
    for id, (start, assigned) in children.items():
        host = view.place(id, start, assigned)
        assert places.host(id) == (None if host is None else host.site)
    assert len(places) == len(children)


def filled(*participants: Participant) -> Places:
    places = Places()
    places.see(participants)
    for id in IDS:
        places.put(id, "poll", None)
    return places


def test_the_children_of_a_host_that_is_gone_are_placed_first_and_nobody_elses():
    places = filled(*FIVE)
    orphans = places.at(FIVE[2].site)
    places.see([host for host in FIVE if host is not FIVE[2]])
    assert sorted(places.look(len(orphans))) == sorted(orphans)
    assert places.is_settled
    assert places.at(FIVE[2].site) == []


def test_when_one_goes_and_another_comes_orphans_do_not_wait_for_the_rest():
    places = filled(*FIVE)
    orphans = set(places.at(FIVE[0].site))
    places.see([*FIVE[1:], one(9)])
    assert set(places.look(len(orphans))) == orphans
    assert not places.is_settled
    assert places.look(10_000)
    assert places.is_settled


@pytest.mark.parametrize("changed", [{"incarnation": 2}, {"weight": 2}, {"zone": "eu"}, {"app_version": "2"}])
def test_what_gives_nobody_less_makes_no_orphans(changed):
    places = filled(*FIVE)
    places.see([one(0, **changed), *FIVE[1:]])
    assert not places._orphans


def test_what_is_no_child_has_no_place():
    places = filled()
    assert places.host(IDS[0]) is None
    places.drop(b"unknown")
    places.drop(IDS[0])
    assert places.put(IDS[0], "poll", None) is False
    places.see(FIVE)
    assert len(places.look(10_000)) == len(IDS)
