"""Stories: what happened around a site, and never more of it than the bounds allow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.ids import Contact, Site
from covey.core.vocabulary import (
    Cause,
    Channel,
    Emit,
    MessagesReceived,
    Multicast,
    NeighborUp,
    PeerConnected,
    PeerLost,
    Pin,
    Send,
    Tick,
)
from covey.observe.stories import Stories, brief
from covey.wire.messages.direct import Payload
from covey.wire.messages.overlay import Affirm, Disconnect, ForwardJoin, Shuffle


def site(number: int) -> Site:
    return Site(bytes([number]) * 16)


ANN, BOB, EVE = (Contact(site(number), number, f"n{number}:1") for number in (0xA, 0xB, 0xE))


def told(stories: Stories, *contacts: Contact) -> list[int]:
    """How many lines each contact's story has."""
    return [len(stories.tell(contact.site)) for contact in contacts]


def test_a_step_is_one_line_with_its_time_its_machine_what_it_heard_and_what_it_said():
    stories = Stories()
    stories.observe(1_500_000, "overlay", PeerConnected(ANN, Channel.CONTROL), [Pin(ANN.site), Emit(NeighborUp(ANN))])
    assert stories.tell(ANN.site) == [
        "    1.500000 overlay  PeerConnected(0a0a0a0a 0) -> Pin(0a0a0a0a), Emit(NeighborUp(0a0a0a0a))"
    ]


def test_a_step_that_says_nothing_has_a_dash_and_one_about_nobody_has_no_line():
    stories = Stories()
    stories.observe(0, "links", Tick(), [])
    assert len(stories) == 0
    stories.observe(0, "links", PeerLost(ANN, Channel.DATA, Cause.RESET), [])
    assert stories.tell(ANN.site) == ["    0.000000 links    PeerLost(0a0a0a0a 1 1) -> -"]
    assert len(stories) == 1


def test_a_frame_is_told_by_its_messages_under_the_sender_and_everybody_they_name():
    stories = Stories()
    frame = MessagesReceived(ANN.site, [Affirm(), ForwardJoin(BOB, 3)])
    stories.observe(0, "overlay", frame, [Send(EVE.site, ForwardJoin(BOB, 2))])
    line = "    0.000000 overlay  Affirm(), ForwardJoin(0b0b0b0b 3) -> Send(0e0e0e0e ForwardJoin(0b0b0b0b 2) 0)"
    assert [stories.tell(contact.site) for contact in (ANN, BOB, EVE)] == [[line]] * 3


@pytest.mark.parametrize(
    "incoming, effects",
    [
        (Tick(), [Multicast((ANN.site, BOB.site), Affirm())]),
        (MessagesReceived(EVE.site, [Disconnect(True, (ANN, BOB))]), []),
        (MessagesReceived(EVE.site, [Shuffle(EVE, 1, (ANN, BOB))]), []),
        (Tick(), [Send(EVE.site, Shuffle(EVE, 1, (ANN, BOB)))]),
    ],
    ids=["multicast", "instead", "contacts heard", "contacts sent"],
)
def test_sites_and_contacts_in_a_list_are_mentioned_too(incoming, effects):
    stories = Stories()
    stories.observe(0, "overlay", incoming, effects)
    assert told(stories, ANN, BOB) == [1, 1]


def test_a_step_that_mentions_a_site_twice_is_one_line():
    stories = Stories()
    stories.observe(0, "overlay", PeerConnected(ANN, Channel.CONTROL), [Pin(ANN.site), Pin(ANN.site)])
    assert told(stories, ANN) == [1]


def test_a_payload_is_nobody():
    stories = Stories()
    stories.observe(0, "direct", MessagesReceived(ANN.site, [Payload(b"12345")]), [])  # type: ignore[arg-type]
    assert (told(stories, ANN), len(stories)) == ([1], 1)


def test_nobody_has_a_story_before_anything_happened():
    assert Stories().tell(ANN.site) == []


def test_a_story_keeps_its_last_lines():
    stories = Stories(lines_max=3)
    for second in range(5):
        stories.observe(second * 1_000_000, "links", Pin(ANN.site), [])
    assert [line.split()[0] for line in stories.tell(ANN.site)] == ["2.000000", "3.000000", "4.000000"]


def test_what_is_told_is_a_copy():
    stories = Stories()
    stories.observe(0, "links", Pin(ANN.site), [])
    stories.tell(ANN.site).clear()
    assert told(stories, ANN) == [1]


def test_the_story_that_was_untouched_for_longest_goes_first():
    stories = Stories(sites_max=2)
    for contact in (ANN, BOB, ANN, EVE):
        stories.observe(0, "links", Pin(contact.site), [])
    assert told(stories, ANN, BOB, EVE) == [2, 0, 1]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=60), st.integers(1, 4), st.integers(1, 4))
def test_there_are_never_more_stories_and_lines_than_allowed(steps, lines_max, sites_max):
    stories = Stories(lines_max, sites_max)
    for one, other in steps:
        stories.observe(0, "links", Pin(site(one)), [Pin(site(other))])
        assert len(stories) <= sites_max
        assert sum(len(stories.tell(site(number))) > 0 for number in range(10)) == len(stories)
        assert all(len(stories.tell(site(number))) <= lines_max for number in range(10))
        assert stories.tell(site(other))


def test_bytes_are_told_by_their_length_unless_they_name_a_site():
    assert brief(Send(ANN.site, Payload(b"12345"), "a:1", Channel.DATA)) == "Send(0a0a0a0a Payload(5B) a:1 1)"  # type: ignore[arg-type]
    assert brief(Multicast((ANN.site, BOB.site), Affirm())) == "Multicast([0a0a0a0a 0b0b0b0b] Affirm() 0)"


def test_what_is_no_struct_is_told_by_its_type():
    assert brief(7) == "int()"
