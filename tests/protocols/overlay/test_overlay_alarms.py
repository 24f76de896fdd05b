"""Where several are found to be gone at once, all that are known hear of it, and look after their neighbours."""

from __future__ import annotations

from typing import Any

from covey.core.vocabulary import Cause
from covey.wire.messages.overlay import Affirm, Probe, ProbeReply
from tests.protocols.overlay.overlay_harness import SECOND_US, Bare, contact, sent, site


def full() -> Bare:
    """Five neighbours, and three more that are known."""
    return Bare(20).befriend(1, 2, 3, 4, 5).remember(6, 7, 8)


def lose(bare: Bare, *numbers: int) -> list[Any]:
    return [effect for number in numbers for effect in bare.lose(number)]


def alarms(effects: list[Any]) -> list[int]:
    return sorted(number for number, probe in sent(effects, Probe) if probe.is_alarm)


def affirmed(effects: list[Any]) -> list[int]:
    return sorted(number for number, _ in sent(effects, Affirm))


def test_the_third_that_is_gone_within_five_seconds_is_an_alarm_to_all_that_are_known():
    bare = full()
    assert alarms(lose(bare, 1, 2)) == []
    effects = lose(bare, 3)
    assert alarms(effects) == [6, 7, 8]
    assert affirmed(effects) == [4, 5]


def test_who_cannot_be_reached_counts_as_gone():
    bare = full()
    lose(bare, 1, 2)
    assert alarms(bare.unreached(9))


def test_those_that_go_one_after_the_other_are_no_alarm():
    bare = full()
    for number in (1, 2, 3, 4):
        assert alarms(lose(bare, number)) == []
        bare.until(bare.now_us + 5 * SECOND_US)


def test_a_goodbye_counts_for_nothing():
    bare = full()
    for number in (1, 2, 3, 4):
        assert alarms(bare.lose(number, Cause.IDLE)) == []


def test_alarms_are_a_second_apart():
    bare = full()
    assert alarms(lose(bare, 1, 2, 3))
    assert alarms(lose(bare, 4)) == []
    bare.until(bare.now_us + SECOND_US)
    assert alarms(lose(bare.remember(9), 5)) == [9]


def test_who_hears_an_alarm_looks_after_its_neighbours_once():
    bare = full()
    effects = bare.hear(9, Probe(contact(9), site(1), True))
    assert affirmed(effects) == [1, 2, 3, 4, 5]
    assert [number for number, _ in sent(effects, ProbeReply)] == [9]
    assert affirmed(bare.hear(10, Probe(contact(10), site(1), True))) == []
    bare.until(bare.now_us + SECOND_US)
    assert affirmed(bare.hear(11, Probe(contact(11), site(1), True)))


def test_a_probe_that_is_no_alarm_changes_nothing():
    assert affirmed(full().hear(9, Probe(contact(9), site(1)))) == []
