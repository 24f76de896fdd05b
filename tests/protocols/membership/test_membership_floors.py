"""Floors, chunks and waits: who has taken what, and who waits for it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from covey.core.ids import Contact
from covey.protocols.membership.floors import Floors, chunk
from covey.protocols.membership.record import Entry
from covey.protocols.membership.vocabulary import Outcome
from covey.protocols.membership.waits import Wait
from tests.protocols.membership.membership_net import mem, site

imports_of_entries = st.lists(st.integers(0, 6), max_size=12).map(sorted)


def entries(imports: list[int]) -> list[Entry]:
    return [Entry(mem(number + 1, 1, 1), imported, 0) for number, imported in enumerate(imports)]


@given(imports_of_entries, st.integers(1, 5), st.integers(0, 3))
def test_a_chunk_is_the_beginning_and_never_cuts_an_import(imports, entries_max, beyond):
    rows, latest = entries(imports), max(imports, default=0) + beyond
    part, upto = chunk(rows, latest, entries_max)
    assert part == rows[: len(part)]
    rest = rows[len(part) :]
    assert all(entry.imported <= upto for entry in part)
    assert all(entry.imported > upto for entry in rest)
    assert upto == (part[-1].imported if rest else latest)
    assert part or not rows, "a chunk goes forward"
    assert len(part) <= entries_max or len({entry.imported for entry in part}) == 1


def test_a_floor_is_of_one_life():
    floors = Floors(8)
    floor = floors.meet(Contact(site(1), 1, "a:1"))
    floor.acked_in = floor.acked_out = 7
    floor.kicked = b"8 bytes."
    assert floors.meet(Contact(site(1), 1, "moved:1")) is floor
    later = floors.meet(Contact(site(1), 2, "a:1"))
    assert (later.acked_in, later.acked_out, later.kicked) == (0, 0, b"")
    assert floors.get(site(1)) is later


def test_floors_are_bounded_and_the_one_met_longest_ago_goes():
    floors = Floors(2)
    for number in (1, 2, 1, 3):
        floors.meet(Contact(site(number), 1, ""))
    assert [floors.get(site(number)) is not None for number in (1, 2, 3)] == [True, False, True]
    assert len(floors) == 2
    floors.forget(site(1))
    floors.forget(site(9))
    assert len(floors) == 1
    floors.clear()
    assert len(floors) == 0


def test_a_peer_has_a_kicked_set_if_it_advertised_exactly_that_last():
    floors = Floors(2)
    assert not floors.has_kicked(site(1), b"")
    floor = floors.meet(Contact(site(1), 1, ""))
    floor.kicked = b"these"
    assert floors.has_kicked(site(1), b"these")
    assert not floors.has_kicked(site(1), b"those")


def test_a_wait_is_over_when_all_have_acknowledged():
    wait = Wait(4, 7, [site(1), site(2)], leaving=False)
    assert not wait.over
    wait.acknowledge(site(2))
    assert not wait.over
    assert wait.outcome() == Outcome((site(2),), (site(1),))
    wait.acknowledge(site(1))
    assert wait.over
    assert wait.outcome() == Outcome((site(2), site(1)), ())


def test_who_leaves_waits_for_one_only():
    wait = Wait(4, 7, [site(1), site(2)], leaving=True)
    wait.acknowledge(site(2))
    assert wait.over


def test_a_wait_for_nobody_is_over_at_once():
    assert Wait(4, 7, [], leaving=False).over
    assert Wait(4, 7, [], leaving=True).over
