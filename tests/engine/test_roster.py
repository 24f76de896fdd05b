"""The roster: its events fold into its list, and a life that is over says nothing of the next one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import InvariantError
from covey.core.ids import Site
from covey.core.vocabulary import ClusterChanged, Liveness, LivenessChanged, MemberAdded, MemberRemoved
from covey.engine.roster import MemberChanged, Roster, RosterEntry, RosterStatistics
from tests.engine.roster_words import (
    ALIVE,
    ANOTHER,
    DOWN,
    STOPPED,
    SUSPECT,
    UNKNOWN,
    added,
    becomes,
    contact,
    cuts,
    entry,
    of_members,
    silent,
    site,
    tell,
)

# --- the law --------------------------------------------------------------------------------------------------------

NUMBERS, LIVES = st.integers(1, 4), st.integers(1, 3)
CONTACTS = st.builds(contact, NUMBERS, LIVES, st.sampled_from(["", "here:1", "there:1"]))
FACTS = st.lists(
    st.one_of(
        st.builds(MemberAdded, CONTACTS, st.booleans(), st.booleans(), st.sampled_from([b"", b"\x80"])),
        st.builds(MemberRemoved, NUMBERS.map(site), st.none() | NUMBERS.map(site)),
        st.builds(
            LivenessChanged,
            CONTACTS,
            st.sampled_from(Liveness),
            st.just("why"),
            st.sampled_from(["added", "spoke", "told", "silent", "refused", "stopped"]),
        ),
        st.just(ANOTHER),
    ),
    max_size=30,
)


@given(FACTS)
def test_the_fold_of_the_events_is_the_list_and_no_event_changes_nothing(facts):
    roster = Roster()
    folded: dict[Site, RosterEntry] = {}
    for fact in facts:
        for event in tell(roster, fact):
            if not isinstance(event, MemberChanged):
                continue
            known = event.after or event.before
            assert known is not None
            assert event.before == folded.get(known.contact.site)
            assert event.before != event.after
            if event.after is None:
                del folded[known.contact.site]
            else:
                folded[known.contact.site] = event.after
        assert list(folded.items()) == list(roster.entries.items())


@given(FACTS)
def test_those_belong_of_whom_membership_spoke_last_as_of_members(facts):
    roster = Roster()
    belong: dict[Site, None] = {}
    for fact in facts:
        tell(roster, fact)
        match fact:
            case MemberAdded(known):
                belong[known.site] = None
            case MemberRemoved(gone):
                belong.pop(gone, None)
            case ClusterChanged():
                belong.clear()
        assert list(roster.entries) == list(belong)


@given(FACTS)
def test_no_members_life_ever_goes_back_and_its_address_is_never_lost(facts):
    roster = Roster()
    for fact in facts:
        before = dict(roster.entries)
        tell(roster, fact)
        for name, known in before.items():
            now = roster.entries.get(name)
            if now is not None:
                assert now.contact.incarnation >= known.contact.incarnation
                assert now.contact.address or not known.contact.address


# --- one member -----------------------------------------------------------------------------------------------------


def test_a_new_member_is_unknown_until_the_detector_says_more():
    roster = Roster()
    assert tell(roster, added(1)) == [MemberChanged(None, entry(1, UNKNOWN, "added"))]
    events = tell(roster, becomes(1, ALIVE, "added"))
    assert [(event.before.state, event.after.state, event.by) for event in events] == [(UNKNOWN, ALIVE, None)]


@pytest.mark.parametrize("cause", ["stored", "spoke", "told", "unreached", "silent", "refused", "stopped"])
def test_an_entry_says_what_the_detector_said_and_why(cause):
    roster = of_members(1)
    assert tell(roster, becomes(1, SUSPECT, cause)) == [
        MemberChanged(entry(1, ALIVE, "spoke"), entry(1, SUSPECT, cause))
    ]
    assert roster.entries == {site(1): entry(1, SUSPECT, cause)}


def test_what_is_no_change_is_no_event():
    roster = of_members(1)
    assert tell(roster, added(1), becomes(1, ALIVE), MemberRemoved(site(2))) == []


def test_the_detector_alone_makes_nobody_a_member():
    assert tell(Roster(), becomes(1, ALIVE)) == []


@pytest.mark.parametrize("by", [None, site(1), site(2)], ids=["we went", "itself", "another"])
def test_who_goes_is_gone_and_it_is_said_who_did_it(by):
    roster = of_members(1)
    assert tell(roster, MemberRemoved(site(1), by)) == [MemberChanged(entry(1, ALIVE, "spoke"), None, by)]
    assert roster.entries == {}


def test_metadata_and_kind_change_and_the_state_stays():
    roster = of_members(1)
    (event,) = tell(roster, added(1, ephemeral=True, meta=b"\x80"))
    assert event.after == RosterEntry(contact(1), True, ALIVE, b"\x80", "spoke", "why it is ALIVE")


def test_a_state_changes_and_metadata_and_kind_stay():
    roster = Roster()
    tell(roster, added(1, ephemeral=True, meta=b"\x80"), becomes(1, ALIVE))
    assert roster.entries[site(1)] == RosterEntry(contact(1), True, ALIVE, b"\x80", "spoke", "why it is ALIVE")


# --- lives ----------------------------------------------------------------------------------------------------------


def test_what_is_said_of_an_older_life_is_not_shown_of_the_newer_one():
    roster = Roster()
    tell(roster, added(1, life=2), becomes(1, ALIVE, life=2))
    assert tell(roster, becomes(1, DOWN, "silent", life=1)) == []
    assert roster.entries == {site(1): entry(1, ALIVE, "spoke", life=2)}


def test_a_later_life_does_not_begin_with_the_end_of_the_one_before():
    roster = of_members(1, state=STOPPED)
    assert tell(roster, added(1, life=2)) == [
        MemberChanged(entry(1, STOPPED, "spoke"), entry(1, UNKNOWN, "added", life=2))
    ]


def test_the_detector_may_know_of_a_later_life_before_membership_does():
    roster = of_members(1)
    tell(roster, becomes(1, ALIVE, life=3))
    assert tell(roster, added(1, life=2)) == []
    assert tell(roster, added(1, life=3)) == []
    assert roster.entries == {site(1): entry(1, ALIVE, "spoke", life=3)}


def test_the_address_of_the_later_life_counts_and_one_is_better_than_none():
    roster = of_members(1)
    tell(roster, LivenessChanged(contact(1, 3, ""), ALIVE, "why", "spoke"))
    assert roster.entries[site(1)].contact == contact(1, 3, "n1:1")
    tell(roster, MemberAdded(contact(1, 3, ""), False, True))
    assert roster.entries[site(1)].contact == contact(1, 3, "n1:1")
    tell(roster, MemberAdded(contact(1, 2, "old:1"), False, True))
    assert roster.entries[site(1)].contact == contact(1, 3, "n1:1")
    tell(roster, MemberAdded(contact(1, 3, "moved:1"), False, True))
    assert roster.entries[site(1)].contact == contact(1, 3, "moved:1")


# --- another cluster ------------------------------------------------------------------------------------------------


def test_another_cluster_empties_it_member_by_member_and_ends_the_suspicion():
    roster = of_members(1, 2, 3)
    tell(roster, silent(1), silent(2))
    assert tell(roster, ANOTHER) == [
        MemberChanged(entry(1, DOWN, "silent"), None),
        MemberChanged(entry(2, DOWN, "silent"), None),
        MemberChanged(entry(3, ALIVE, "spoke"), None),
    ]
    assert roster.entries == {}
    for number in (1, 2):
        tell(roster, added(number), becomes(number, ALIVE))
    assert len(cuts(tell(roster, silent(1), silent(2)))) == 1


# --- the whole ------------------------------------------------------------------------------------------------------


def test_statistics_count_the_others_and_those_that_live():
    roster = of_members(1, 2, 3)
    tell(roster, silent(1), becomes(2, SUSPECT))
    assert roster.statistics() == RosterStatistics(members=3, alive=1)
    assert roster.deadline() is None


def test_an_entry_under_another_site_is_an_invariant_error():
    roster = of_members(1)
    roster.entries[site(2)] = roster.entries[site(1)]
    with pytest.raises(InvariantError, match="filed under its site"):
        roster.check()
