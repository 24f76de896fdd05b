"""What machines say to each other is frozen, and what is on the wire keeps its number."""

from __future__ import annotations

import inspect
from enum import IntEnum

import msgspec
import pytest

from covey.core import ids, vocabulary
from covey.core.ids import Contact, Site
from covey.core.vocabulary import Cause, Channel, Disconnect, Multicast, Resolve, Send

STRUCTS = [
    kind
    for module in (vocabulary, ids)
    for kind in vars(module).values()
    if inspect.isclass(kind) and issubclass(kind, msgspec.Struct) and kind.__module__ == module.__name__
]

# These numbers are in frames between nodes of different versions. The tables only grow.
CAUSES = {
    "CLOSED": 0,
    "RESET": 1,
    "SILENT": 2,
    "SLOW": 3,
    "GOODBYE": 4,
    "REPLACED": 5,
    "IDLE": 6,
    "REFUSED": 7,
    "TIMEOUT": 8,
    "VERSION": 9,
    "CLUSTER": 10,
    "SECRET": 11,
    "SITE_CONFLICT": 12,
    "SELF": 13,
    "OTHER_SITE": 14,
    "CROSSING": 15,
    "FRAME": 16,
    "DECODE": 17,
    "VIOLATION": 18,
    "BUSY": 19,
    "TLS": 20,
    "NO_ADDRESS": 21,
    "ALONE": 22,
}
CHANNELS = {"CONTROL": 0, "DATA": 1, "CLIENT": 2}


@pytest.mark.parametrize("kind, numbers", [(Cause, CAUSES), (Channel, CHANNELS)])
def test_a_number_that_is_on_the_wire_keeps_its_meaning_for_ever(kind: type[IntEnum], numbers: dict[str, int]):
    assert {name: member.value for name, member in kind.__members__.items()} == numbers


def test_the_vocabulary_is_found_by_this_test():
    assert {vocabulary.Tick, vocabulary.Persist, vocabulary.ProtocolViolation, Contact, ids.Life} <= {*STRUCTS}


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: kind.__name__)
def test_every_fact_and_effect_is_frozen_and_comparable(kind):
    assert kind.__struct_config__.frozen
    assert kind.__struct_config__.eq


def test_what_is_sent_goes_over_the_control_channel_and_dials_nobody_unless_told():
    site = Site(bytes(16))
    assert Send(site, "message") == Send(site, "message", "", Channel.CONTROL)
    assert Multicast((site,), "message") == Multicast((site,), "message", Channel.CONTROL)
    assert Disconnect(site, Cause.VIOLATION) == Disconnect(site, Cause.VIOLATION, "")
    assert Resolve(7) == Resolve(7, None)


def test_a_fact_cannot_be_changed_after_it_was_said():
    fact = vocabulary.PeerConnected(Contact(Site(bytes(16)), 1, "a:1"), Channel.CONTROL)
    with pytest.raises(AttributeError):
        fact.channel = Channel.DATA  # type: ignore[misc]
