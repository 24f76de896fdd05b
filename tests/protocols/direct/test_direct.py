"""One node speaks to one node: every way from the command to its outcome."""

from __future__ import annotations

import pytest

from covey.core.errors import InvariantError, Overloaded, PeerUnreachable
from covey.core.vocabulary import Abandon, Cause, Emit, MessagesReceived, Resolve, Send, SendData, SendMany
from covey.protocols.direct.machine import DirectConfig, PayloadsReceived
from tests.protocols.direct.direct_words import (
    ANN,
    BOB,
    CONTROL,
    DATA,
    ME,
    Speaker,
    handed,
    outcomes,
    payload,
    value,
)


def linked(config: DirectConfig | None = None) -> Speaker:
    speaker = Speaker(config)
    assert speaker.connected() == []
    return speaker


# --- with a link ----------------------------------------------------------------------------------------------------


def test_over_a_link_a_value_goes_at_once():
    assert linked().send(7, "hi") == [Send(ANN, payload("hi"), "", DATA), Resolve(7)]


def test_several_values_go_together():
    assert linked().send(7, "a", "b") == [SendMany(ANN, (payload("a"), payload("b")), DATA), Resolve(7)]


def test_request_zero_wants_no_outcome():
    assert linked().send(0, "hi") == [Send(ANN, payload("hi"), "", DATA)]


def test_what_arrives_is_an_event():
    frame = MessagesReceived(ANN, [payload("a"), payload("b")])
    assert Speaker().feed(frame) == [Emit(PayloadsReceived(ANN, (value("a"), value("b"))))]


def test_what_is_kept_of_a_value_does_not_pin_the_buffer_it_was_read_into():
    (emitted,) = Speaker().feed(MessagesReceived(ANN, [payload("a")]))
    assert type(emitted.event.values[0]) is bytes


def test_readiness_can_be_asked():
    speaker = Speaker()
    assert not speaker.direct.ready(ANN) and not speaker.direct.congested(ANN)
    speaker.connected()
    assert speaker.direct.ready(ANN) and not speaker.direct.congested(ANN)
    speaker.congested()
    assert not speaker.direct.ready(ANN) and speaker.direct.congested(ANN)
    speaker.lost()
    assert not speaker.direct.ready(ANN) and not speaker.direct.congested(ANN)


# --- without a link -------------------------------------------------------------------------------------------------


def test_the_first_value_dials_and_the_others_wait_for_it():
    speaker = Speaker()
    assert speaker.send(1, "one") == [Send(ANN, payload("one"), "there:1", DATA)]
    assert speaker.send(2, "two") == speaker.send(3, "three", "four") == []
    assert speaker.direct.statistics().waiting == 3
    assert speaker.connected() == [
        Resolve(1),
        Send(ANN, payload("two"), "", DATA),
        Resolve(2),
        SendMany(ANN, (payload("three"), payload("four")), DATA),
        Resolve(3),
    ]
    assert speaker.direct.statistics().waiting == 0


def test_receivers_do_not_wait_for_each_other():
    speaker = Speaker()
    speaker.send(1, "for ann", to=ANN)
    assert handed(speaker.send(2, "for bob", to=BOB)) == [(BOB, value("for bob"))]
    assert outcomes(speaker.connected(BOB)) == [(2, Resolve)]
    assert outcomes(speaker.connected(ANN)) == [(1, Resolve)]


@pytest.mark.parametrize("cause", [Cause.REFUSED, Cause.TIMEOUT, Cause.OTHER_SITE, Cause.BUSY, Cause.NO_ADDRESS])
def test_a_failed_dial_refuses_all_that_waits_and_says_why(cause):
    speaker = Speaker()
    for request in (1, 2, 3):
        speaker.send(request, "x")
    effects = speaker.unreached(cause=cause)
    assert outcomes(effects) == [(1, PeerUnreachable), (2, PeerUnreachable), (3, PeerUnreachable)]
    assert all(cause.name.lower() in str(effect.error) and "02020202" in str(effect.error) for effect in effects)
    assert handed(speaker.send(4, "again")) == [(ANN, value("again"))], "and the next one dials"


def test_an_error_says_what_happened_and_what_to_do():
    speaker = Speaker()
    speaker.send(1, "x")
    (refused,) = speaker.unreached()
    assert str(refused.error) == ("no link to site 02020202 (refused); the value was not delivered: try again later")
    assert isinstance(refused.error, ConnectionError)


def test_a_link_that_the_other_side_made_serves_as_well():
    speaker = Speaker()
    speaker.send(1, "x")
    assert speaker.connected() == [Resolve(1)]
    assert speaker.unreached() == [], "our own dial is not needed any more"


def test_request_zero_has_no_outcome_on_any_way():
    for end in (Speaker.connected, Speaker.unreached):
        speaker = Speaker()
        speaker.send(0, "with the dial")
        speaker.send(0, "behind it")
        assert outcomes(end(speaker)) == []
    assert outcomes(Speaker().send(0, "to myself", to=ME)) == []
    full = linked(DirectConfig(waiting_count_max=1))
    full.congested()
    assert outcomes(full.send(0, "a") + full.send(0, "b")) == []


# --- congestion -----------------------------------------------------------------------------------------------------


def test_values_for_a_congested_receiver_wait_and_go_in_order_when_it_drains():
    speaker = linked()
    assert speaker.congested() == []
    assert speaker.send(1, "a") == speaker.send(2, "b") == []
    assert outcomes(speaker.drained()) == [(1, Resolve), (2, Resolve)]
    assert outcomes(speaker.send(3, "c")) == [(3, Resolve)]


def test_draining_without_anything_waiting_is_silent():
    speaker = linked()
    speaker.congested()
    assert speaker.drained() == []


def test_the_link_of_a_congested_receiver_may_break():
    speaker = linked()
    speaker.congested()
    speaker.send(1, "a")
    assert outcomes(speaker.lost(cause=Cause.SLOW)) == [(1, PeerUnreachable)]
    assert handed(speaker.send(2, "b")) == [(ANN, value("b"))], "and the next one dials"


def test_a_link_that_is_replaced_is_not_congested_any_more():
    speaker = linked()
    speaker.congested()
    speaker.send(1, "a")
    assert outcomes(speaker.lost(cause=Cause.REPLACED)) == [(1, PeerUnreachable)]
    speaker.connected()
    assert outcomes(speaker.send(2, "b")) == [(2, Resolve)]


def test_a_lost_link_with_nothing_waiting_is_silent():
    assert linked().lost() == []
    assert Speaker().lost() == Speaker().unreached() == Speaker().congested() == Speaker().drained() == []


def test_the_control_channel_is_none_of_our_business():
    speaker = Speaker()
    speaker.send(1, "x")
    for fact in (speaker.connected, speaker.congested, speaker.drained, speaker.lost, speaker.unreached):
        assert fact(channel=CONTROL) == []
    assert outcomes(speaker.connected()) == [(1, Resolve)]


# --- bounds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialling", [True, False])
def test_too_many_commands_that_wait_are_refused(dialling):
    speaker = Speaker(DirectConfig(waiting_count_max=2))
    if dialling:
        speaker.send(9, "with the dial")
    else:
        speaker.connected()
        speaker.congested()
    assert speaker.send(1, "a") == speaker.send(2, "b") == []
    (refused,) = speaker.send(3, "c")
    assert refused.request == 3 and isinstance(refused.error, Overloaded)
    assert str(refused.error) == "2 values already wait for site 02020202; nothing was sent: slow down"
    effects = speaker.connected() if dialling else speaker.drained()
    assert handed(effects) == [(ANN, value("a")), (ANN, value("b"))]


def test_too_many_bytes_that_wait_are_refused():
    speaker = linked(DirectConfig(waiting_bytes_max=100))
    speaker.congested()
    assert speaker.send(1, "x" * 30, "y" * 30) == []
    assert outcomes(speaker.send(2, "z" * 60)) == [(2, Overloaded)]
    assert speaker.send(3, "z" * 20) == []
    assert outcomes(speaker.drained()) == [(1, Resolve), (3, Resolve)]


def test_the_bounds_themselves_are_allowed():
    text = "x" * 48
    assert len(value(text)) == 50
    speaker = linked(DirectConfig(waiting_bytes_max=100, waiting_count_max=2))
    speaker.congested()
    assert speaker.send(1, text) == speaker.send(2, text) == []
    assert speaker.direct.statistics().waiting == 2


def test_a_command_that_could_never_wait_is_refused_and_leaves_nothing_behind():
    speaker = linked(DirectConfig(waiting_bytes_max=100))
    speaker.congested()
    assert outcomes(speaker.send(1, "x" * 200)) == [(1, Overloaded)]  # `feed` checks the invariants
    assert speaker.direct.statistics().waiting == 0


def test_bounds_are_for_each_receiver():
    speaker = Speaker(DirectConfig(waiting_count_max=1))
    for request, to in enumerate((ANN, BOB, ANN, BOB)):
        assert outcomes(speaker.send(request + 1, "x", to=to)) == []


# --- abandoning -----------------------------------------------------------------------------------------------------


def test_a_command_nobody_waits_for_is_taken_back_if_it_is_still_here():
    speaker = Speaker()
    for request, text in enumerate(("a", "b", "c")):
        speaker.send(request + 1, text)
    assert speaker.feed(Abandon(2)) == []
    effects = speaker.connected()
    assert handed(effects) == [(ANN, value("c"))] and outcomes(effects) == [(1, Resolve), (3, Resolve)]


def test_the_others_that_wait_do_not_suffer():
    speaker = linked()
    speaker.congested()
    for request in (1, 2, 3):
        speaker.send(request, f"{request}")
    speaker.feed(Abandon(1))
    assert speaker.direct.statistics().waiting == 2
    assert outcomes(speaker.drained()) == [(2, Resolve), (3, Resolve)]


def test_a_value_that_lies_with_the_dial_cannot_be_taken_back():
    speaker = Speaker()
    speaker.send(1, "a")
    assert speaker.feed(Abandon(1)) == []
    assert speaker.connected() == [Resolve(1)]


def test_abandoning_the_last_that_waits_leaves_nothing_behind():
    speaker = linked()
    speaker.congested()
    speaker.send(1, "a")
    speaker.feed(Abandon(1))
    assert speaker.direct.statistics().waiting == 0
    assert speaker.drained() == []


def test_abandoning_what_is_not_here_changes_nothing():
    speaker = Speaker()
    speaker.send(1, "a", to=ANN)
    speaker.send(2, "b", to=BOB)
    speaker.send(3, "c", to=BOB)
    assert speaker.feed(Abandon(77)) == []
    assert outcomes(speaker.connected(ANN)) == [(1, Resolve)]
    assert outcomes(speaker.connected(BOB)) == [(2, Resolve), (3, Resolve)]


def test_abandoning_makes_room():
    speaker = linked(DirectConfig(waiting_count_max=1))
    speaker.congested()
    speaker.send(1, "a")
    speaker.feed(Abandon(1))
    assert speaker.send(2, "b") == []


# --- ourselves, statistics, laws ------------------------------------------------------------------------------------


def test_what_we_say_to_ourselves_is_heard_at_once():
    assert Speaker().send(5, "note", "to self", to=ME) == [
        Resolve(5),
        Emit(PayloadsReceived(ME, (value("note"), value("to self")))),
    ]


def test_statistics_count_values_sent_and_received_and_commands_refused_and_waiting():
    speaker = Speaker(DirectConfig(waiting_count_max=1))
    speaker.feed(MessagesReceived(BOB, [payload("x"), payload("y")]))
    speaker.send(1, "to self", to=ME)
    speaker.send(2, "dials")
    speaker.send(3, "waits", "too")
    speaker.send(4, "is refused")
    now = speaker.direct.statistics()
    assert (now.received, now.refused, now.waiting) == (3, 1, 2)
    speaker.connected()
    now = speaker.direct.statistics()
    assert (now.sent, now.received, now.refused, now.waiting) == (4, 3, 1, 0)


def test_what_was_refused_does_not_count_as_sent():
    speaker = Speaker()
    speaker.send(1, "a")
    speaker.send(2, "b")
    speaker.unreached()
    assert (speaker.direct.statistics().sent, speaker.direct.statistics().refused) == (0, 2)


def test_an_outbox_that_breaks_its_laws_is_an_invariant_error():
    speaker = Speaker()
    speaker.send(1, "a")
    speaker.send(2, "b")
    outbox = speaker.direct._outboxes[ANN]
    outbox.bytes += 1
    with pytest.raises(InvariantError, match="bytes counts what waits"):
        speaker.direct.check()
    outbox.bytes -= 1
    speaker.direct._open[ANN] = False
    with pytest.raises(InvariantError, match="open and drained"):
        speaker.direct.check()


# --- other machines' data -------------------------------------------------------------------------------------------


def test_data_of_another_machine_takes_the_same_way_and_its_turn():
    speaker = Speaker()
    data = SendData(2, ANN, "there:1", (payload("a"), payload("b")), 40)
    speaker.send(1, "with the dial")
    assert speaker.feed(data) == []
    assert speaker.connected() == [Resolve(1), SendMany(ANN, (payload("a"), payload("b")), DATA), Resolve(2)]


def test_data_of_another_machine_for_ourselves_is_not_for_us_to_hear():
    """Whoever sends it delivers to itself; here it is a peer like any other, and cannot be reached."""
    speaker = Speaker()
    assert speaker.feed(SendData(2, ME, "", (payload("a"),), 20)) == [Send(ME, payload("a"), "", DATA)]


def test_data_counts_with_the_size_it_says():
    speaker = linked(DirectConfig(waiting_bytes_max=100))
    speaker.congested()
    assert speaker.feed(SendData(1, ANN, "", (payload("a"),), 100)) == []
    assert outcomes(speaker.feed(SendData(2, ANN, "", (payload("a"),), 1))) == [(2, Overloaded)]
