"""Metrics: how often each machine heard and said each kind of thing."""

from __future__ import annotations

from covey.core.ids import Site
from covey.core.vocabulary import MessagesReceived, Pin, Send, Tick, Unpin
from covey.observe.metrics import Metrics
from covey.wire.messages.overlay import Affirm, ProbeReply

SITE = Site(bytes(16))


def test_what_was_heard_and_said_is_counted_by_machine_and_kind():
    metrics = Metrics()
    metrics.observe(0, "links", Tick(), [])
    metrics.observe(1, "overlay", Tick(), [Pin(SITE), Send(SITE, Affirm()), Pin(SITE)])
    metrics.observe(2, "overlay", Tick(), (Unpin(SITE),))
    assert metrics.heard == {("links", "Tick"): 1, ("overlay", "Tick"): 2}
    assert metrics.said == {("overlay", "Pin"): 2, ("overlay", "Send"): 1, ("overlay", "Unpin"): 1}


def test_a_frame_counts_as_its_messages():
    metrics = Metrics()
    metrics.observe(0, "overlay", MessagesReceived(SITE, [Affirm(), ProbeReply(SITE), Affirm()]), [])
    assert metrics.heard == {("overlay", "Affirm"): 2, ("overlay", "ProbeReply"): 1}
    assert metrics.said == {}
