"""Clients ask one thing at a time and are answered whole, in order, and no faster than they read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.ids import Contact, Site
from covey.core.vocabulary import (
    Cause,
    Channel,
    Disconnect,
    Emit,
    MessagesReceived,
    PeerCongested,
    PeerConnected,
    PeerDrained,
    PeerLost,
    ProtocolViolation,
    Send,
    Tick,
)
from covey.protocols.clients.machine import AnswerClient, ClientAsked, Clients, ClientsConfig, ClientsStatistics
from covey.wire import codec
from covey.wire.limits import FRAME_AIM_BYTES
from covey.wire.messages.client import ERROR_LENGTH_MAX, PART_BYTES_MAX, Answer, Ask

ANN, BOB, EVE = (Site(bytes([number]) * 16) for number in (1, 2, 3))
CLIENT = Channel.CLIENT


class Desk:
    """One `Clients`, checked after every step."""

    def __init__(self, *connected: Site, **limits: int) -> None:
        self.clients = Clients(ClientsConfig(**limits))
        self.now_us = 0
        for site in connected:
            assert self.feed(PeerConnected(Contact(site, 0, ""), CLIENT)) == []

    def feed(self, incoming: Any) -> list[Any]:
        effects = list(self.clients.handle(incoming, self.now_us))
        self.clients.check()
        return effects

    def ask(self, site: Site = ANN, number: int = 7, what: str = "members") -> list[Any]:
        return self.feed(MessagesReceived(site, [Ask(number, what, b"")]))

    def answer(self, site: Site = ANN, number: int = 7, body: bytes = b"\x80", error: str = "") -> list[Any]:
        return self.feed(AnswerClient(site, number, body, error))

    def lost(self, site: Site = ANN) -> list[Any]:
        return self.feed(PeerLost(Contact(site, 0, ""), CLIENT, Cause.CLOSED))

    def later(self, us: int = 1_000) -> list[Any]:
        self.now_us += us
        return self.feed(Tick())


def asked(site: Site = ANN, number: int = 7, what: str = "members") -> Emit:
    return Emit(ClientAsked(site, number, what, b""))


def sent(site: Site, *answers: Answer) -> list[Send]:
    return [Send(site, answer, channel=CLIENT) for answer in answers]


def dropped(site: Site, detail: str) -> list[Any]:
    return [Emit(ProtocolViolation(site, Cause.VIOLATION, detail)), Disconnect(site, Cause.VIOLATION, detail)]


def parts(effects: list[Any]) -> bytes:
    return b"".join(effect.message.part for effect in effects)


# --- asking ---------------------------------------------------------------------------------------------------------


def test_what_is_asked_is_told_and_what_is_answered_is_sent():
    desk = Desk(ANN)
    assert desk.ask() == [asked()]
    assert desk.answer() == sent(ANN, Answer(7, b"\x80", False, ""))
    assert desk.clients.statistics() == ClientsStatistics(1, 0, 1, 1, 0, 0)


def test_behind_its_answer_a_client_asks_again():
    desk = Desk(ANN)
    for number in (7, 7, 8):
        assert desk.ask(number=number) == [asked(number=number)]
        assert desk.answer(number=number) == sent(ANN, Answer(number, b"\x80", False, ""))


def test_clients_do_not_wait_for_each_other():
    desk = Desk(ANN, BOB)
    assert desk.ask(ANN, 1) == [asked(ANN, 1)]
    assert desk.ask(BOB, 1) == [asked(BOB, 1)]
    assert desk.answer(BOB, 1, b"for bob") == sent(BOB, Answer(1, b"for bob", False, ""))
    assert desk.answer(ANN, 1, b"for ann") == sent(ANN, Answer(1, b"for ann", False, ""))


def test_an_error_is_the_whole_answer_and_no_longer_than_it_may_be():
    desk = Desk(ANN)
    desk.ask()
    assert desk.answer(body=b"half", error="x" * 5000) == sent(ANN, Answer(7, b"", False, "x" * ERROR_LENGTH_MAX))
    assert desk.ask() == [asked()]


def test_one_ask_too_many_is_refused_and_the_client_may_try_again():
    desk = Desk(ANN, BOB, asks_max=1)
    desk.ask(ANN)
    error = "Overloaded: 1 asks are under way here; nothing was done: try again"
    assert desk.ask(BOB) == sent(BOB, Answer(7, b"", False, error))
    desk.answer(ANN)
    assert desk.ask(BOB) == [asked(BOB)]


def test_an_answer_to_nobody_or_to_nothing_is_dropped():
    desk = Desk(ANN)
    assert desk.answer() == []
    desk.ask()
    assert desk.answer(number=8) == desk.answer(site=BOB) == []
    desk.answer()
    assert desk.answer() == []


def test_a_client_that_goes_is_forgotten_and_its_answer_dropped():
    desk = Desk(ANN)
    desk.ask()
    assert desk.lost() == []
    assert desk.answer() == []
    assert desk.clients.statistics() == ClientsStatistics(0, 0, 1, 0, 0, 0)


def test_what_a_site_asked_before_it_came_again_is_not_answered_to_it_now():
    desk = Desk(ANN)
    desk.ask(number=1)
    desk.feed(PeerConnected(Contact(ANN, 0, ""), CLIENT))
    desk.ask(number=2)
    assert desk.answer(number=1) == []
    assert desk.answer(number=2) == sent(ANN, Answer(2, b"\x80", False, ""))


# --- long answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, PART_BYTES_MAX, PART_BYTES_MAX + 1, 3 * PART_BYTES_MAX])
def test_a_long_answer_goes_in_parts_that_each_fit_in_a_frame(size):
    desk = Desk(ANN)
    desk.ask()
    body = bytes(range(251)) * (size // 251 + 1)
    effects = desk.answer(body=body[:size])
    assert parts(effects) == body[:size]
    assert [effect.message.more for effect in effects] == [True] * (max(1, -(-size // PART_BYTES_MAX)) - 1) + [False]
    assert all(len(codec.encode_message(effect.message)) < FRAME_AIM_BYTES for effect in effects)


def test_a_very_long_answer_goes_in_bursts_so_that_others_get_a_word_in():
    desk = Desk(ANN, burst_bytes=PART_BYTES_MAX, burst_us_wait=1_000)
    desk.ask()
    body = b"x" * (2 * PART_BYTES_MAX + 5)
    effects = desk.answer(body=body)
    assert (len(effects), desk.clients.deadline()) == (1, 1_000)
    effects += desk.later()
    effects += desk.later()
    assert (parts(effects), len(effects), desk.clients.deadline()) == (body, 3, None)
    assert desk.ask() == [asked()]


def test_a_client_that_reads_slowly_is_not_sent_more_until_it_has_caught_up():
    desk = Desk(ANN, burst_bytes=1)
    desk.ask()
    effects = desk.answer(body=b"x" * (PART_BYTES_MAX + 1))
    assert desk.feed(PeerCongested(ANN, CLIENT)) == []
    assert desk.clients.deadline() is None and desk.later(10_000_000) == []
    assert desk.feed(PeerDrained(ANN, CLIENT)) == sent(ANN, Answer(7, b"x", False, ""))
    assert len(effects) == 1


def test_an_answer_that_comes_while_the_client_does_not_read_waits_for_it():
    desk = Desk(ANN)
    desk.feed(PeerCongested(ANN, CLIENT))
    desk.ask()
    assert desk.answer() == []
    assert desk.feed(PeerDrained(ANN, CLIENT)) == sent(ANN, Answer(7, b"\x80", False, ""))
    assert desk.feed(PeerDrained(ANN, CLIENT)) == []


def test_an_answer_longer_than_any_may_be_is_an_error():
    desk = Desk(ANN, answer_bytes_max=10)
    desk.ask()
    error = "ValueTooLarge: the answer has 11 bytes, 10 are allowed"
    assert desk.answer(body=b"x" * 11) == sent(ANN, Answer(7, b"", False, error))


def test_a_client_that_goes_in_the_middle_of_its_answer_is_sent_nothing_more():
    desk = Desk(ANN, burst_bytes=1)
    desk.ask()
    desk.answer(body=b"x" * (PART_BYTES_MAX + 1))
    desk.lost()
    assert desk.clients.deadline() is None and desk.later() == []


# --- what no client may do ------------------------------------------------------------------------------------------


def test_a_client_that_asks_before_it_was_answered_is_dropped():
    desk = Desk(ANN)
    first, *rest = desk.feed(MessagesReceived(ANN, [Ask(1, "a", b""), Ask(2, "b", b""), Ask(3, "c", b"")]))
    assert first == Emit(ClientAsked(ANN, 1, "a", b""))
    assert rest == dropped(ANN, "it asks again before it was answered")


def test_a_client_that_answers_is_dropped():
    desk = Desk(ANN)
    assert desk.feed(MessagesReceived(ANN, [Answer(1, b"", False, "")])) == dropped(ANN, "a client may only ask")


@pytest.mark.parametrize("message", [Ask(1, "members", b""), Answer(1, b"", False, "")])
def test_a_node_that_asks_or_answers_on_another_channel_is_dropped(message):
    desk = Desk()
    for channel in (Channel.CONTROL, Channel.DATA):
        desk.feed(PeerConnected(Contact(EVE, 5, "eve:1"), channel))
    detail = f"{type(message).__name__} from one that is no client"
    assert desk.feed(MessagesReceived(EVE, [message])) == dropped(EVE, detail)


def test_what_happens_on_other_channels_is_nothing_to_it():
    desk = Desk(ANN, burst_bytes=1)
    desk.ask()
    desk.answer(body=b"x" * (PART_BYTES_MAX + 1))
    for channel in (Channel.CONTROL, Channel.DATA):
        for fact in (
            PeerCongested(ANN, channel),
            PeerDrained(ANN, channel),
            PeerLost(Contact(ANN, 0, ""), channel, Cause.CLOSED),
            PeerConnected(Contact(ANN, 0, ""), channel),
        ):
            assert desk.feed(fact) == []
    assert desk.later() == sent(ANN, Answer(7, b"x", False, ""))


SITES = st.sampled_from([ANN, BOB, EVE])
NUMBERS = st.integers(0, 2)
BODIES = st.sampled_from([b"", b"\x80", b"x" * (PART_BYTES_MAX + 1), b"y" * (3 * PART_BYTES_MAX)])
MESSAGES = st.builds(Ask, NUMBERS, st.just("members"), st.just(b"")) | st.builds(
    Answer, NUMBERS, st.just(b""), st.booleans(), st.just("")
)
CHANNELS = st.sampled_from(list(Channel))
CONTACTS = st.builds(Contact, SITES, st.just(0), st.just(""))
STEPS = st.one_of(
    st.builds(MessagesReceived, SITES, st.lists(MESSAGES, min_size=1, max_size=3)),
    st.builds(PeerConnected, CONTACTS, CHANNELS),
    st.builds(PeerLost, CONTACTS, CHANNELS, st.just(Cause.CLOSED)),
    st.builds(PeerCongested, SITES, CHANNELS),
    st.builds(PeerDrained, SITES, CHANNELS),
    st.builds(AnswerClient, SITES, NUMBERS, BODIES, st.sampled_from(["", "no"])),
    st.just(Tick()),
)


@given(st.lists(STEPS, max_size=40))
def test_whatever_comes_nothing_raises_and_every_answer_is_of_one_ask_and_whole(steps):
    """After each ask that is told, a client hears parts of one answer to it, and no more behind the last part."""
    desk = Desk(ANN, BOB, asks_max=2, burst_bytes=PART_BYTES_MAX)
    waiting: dict[Site, int] = {}
    for step in steps:
        desk.now_us += 500
        if isinstance(step, PeerLost | PeerConnected) and step.channel is CLIENT:
            waiting.pop(step.contact.site, None)
        for effect in desk.feed(step):
            match effect:
                case Emit(ClientAsked(site, number)):
                    assert site not in waiting
                    waiting[site] = number
                    assert len(waiting) <= 2
                case Send(site, Answer(number, _, more, error)) if not error.startswith("Overloaded"):
                    assert waiting[site] == number
                    if not more:
                        del waiting[site]
