"""Each command has one outcome and each value goes once and in order, whatever links do meanwhile."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from covey.core.errors import Overloaded, PeerUnreachable
from covey.core.ids import Site
from covey.core.vocabulary import Abandon, Cause, Emit, MessagesReceived, Resolve, Send
from covey.protocols.direct.machine import DirectConfig
from tests.protocols.direct.direct_words import ANN, BOB, ME, Speaker, handed, outcomes, payload, value

pytestmark = pytest.mark.timeout(600)  # for the ten thousand examples of make prove

SITES = st.sampled_from([ANN, BOB])
CONFIG = DirectConfig(waiting_bytes_max=60, waiting_count_max=4)


class Conversations(RuleBasedStateMachine):
    """The test is `Links`: it answers dials, loses links, and lets receivers fall behind and catch up."""

    def __init__(self) -> None:
        super().__init__()
        self.speaker = Speaker(CONFIG)
        self.link: dict[bytes, str] = {ANN: "none", BOB: "none"}  # or "dialling", "open", "congested"
        self.texts: dict[bytes, deque[tuple[int, bytes]]] = {ANN: deque(), BOB: deque()}  # not handed over yet
        self.with_dial: dict[bytes, list[int]] = {ANN: [], BOB: []}  # requests whose values lie with a dial
        self.open_requests: set[int] = set()
        self.abandoned: set[int] = set()
        self.ended: dict[int, type] = {}
        self.request = 0

    def take(self, effects) -> None:
        for site, what in handed(effects):
            request, expected = self.texts[site].popleft()
            assert what == expected, "values leave in the order of their commands"
            assert self.link[site] != "congested"
        for request, how in outcomes(effects):
            assert request not in self.ended, "one outcome"
            assert request in self.open_requests
            self.open_requests.discard(request)
            self.ended[request] = how
            if how in (PeerUnreachable, Overloaded):
                for texts in self.texts.values():
                    for entry in [entry for entry in texts if entry[0] == request]:
                        texts.remove(entry)

    @rule(to=SITES, sizes=st.lists(st.integers(0, 25), min_size=1, max_size=3))
    def send(self, to, sizes):
        self.request += 1
        self.open_requests.add(self.request)
        texts = [f"{self.request}.{index}" + "x" * size for index, size in enumerate(sizes)]
        self.texts[to] += [(self.request, value(text)) for text in texts]
        dials = self.link[to] == "none" and not self.with_dial[to]
        effects = self.speaker.send(self.request, *texts, to=to)
        self.take(effects)
        if dials:
            if self.request in self.ended:
                assert self.ended[self.request] is Overloaded
                return
            assert [type(effect) for effect in effects] == [Send]
            self.link[to] = "dialling"
            if len(sizes) == 1:  # several wait here, so that they are sent whole or not at all
                self.with_dial[to].append(self.request)
        elif self.link[to] == "dialling" and handed(effects):  # what the dial was made for was taken back
            self.with_dial[to].append(self.request)
        if self.link[to] == "open":
            assert self.ended[self.request] is Resolve

    @rule(size=st.integers(0, 10))
    def send_to_ourselves(self, size):
        self.request += 1
        effects = self.speaker.send(self.request, "x" * size, to=ME)
        assert [type(effect) for effect in effects] == [Resolve, Emit]

    @rule(site=SITES)
    def hear(self, site):
        (emitted,) = self.speaker.feed(MessagesReceived(site, [payload("x")]))
        assert emitted.event.sender == site

    @rule(site=SITES)
    def link_comes_up(self, site):
        if self.link[site] in ("none", "dialling"):
            self.link[site] = "open"
            effects = self.speaker.connected(site)
            self.with_dial[site].clear()
            self.take(effects)
            assert not self.texts[site], "all that waited goes"

    @precondition(lambda self: "dialling" in self.link.values())
    @rule(site=SITES, cause=st.sampled_from([Cause.REFUSED, Cause.TIMEOUT]))
    def dial_fails(self, site, cause):
        if self.link[site] == "dialling":
            self.end(site, "none", self.speaker.unreached(site, cause))

    @rule(site=SITES, cause=st.sampled_from([Cause.RESET, Cause.SLOW, Cause.IDLE]))
    def link_breaks(self, site, cause):
        if self.link[site] in ("open", "congested"):
            self.end(site, "none", self.speaker.lost(site, cause))

    def end(self, site, state, effects) -> None:
        self.link[site] = state
        self.with_dial[site].clear()
        self.take(effects)
        waiting = [entry for entry in self.texts[site] if entry[0] not in self.abandoned]
        assert not waiting and handed(effects) == []
        self.texts[site].clear()

    @rule(site=SITES)
    def receiver_falls_behind(self, site):
        if self.link[site] == "open":
            self.link[site] = "congested"
            self.take(self.speaker.congested(site))

    @rule(site=SITES)
    def receiver_catches_up(self, site):
        if self.link[site] == "congested":
            self.link[site] = "open"
            self.take(self.speaker.drained(site))
            assert not self.texts[site]

    @precondition(lambda self: self.open_requests)
    @rule(data=st.data())
    def abandon(self, data):
        request = data.draw(st.sampled_from(sorted(self.open_requests)))
        assert self.speaker.feed(Abandon(request)) == []
        if not any(request in requests for requests in self.with_dial.values()):
            self.open_requests.discard(request)
            self.abandoned.add(request)
            for texts in self.texts.values():
                for entry in [entry for entry in texts if entry[0] == request]:
                    texts.remove(entry)

    @invariant()
    def what_has_no_outcome_waits(self):
        waiting = {request for texts in self.texts.values() for request, _ in texts}
        dialling = {request for requests in self.with_dial.values() for request in requests}
        assert waiting | dialling == self.open_requests
        assert self.speaker.direct.statistics().waiting == len(self.open_requests)
        for site, state in self.link.items():
            assert self.speaker.direct.ready(Site(site)) == (state == "open")
            assert self.speaker.direct.congested(Site(site)) == (state == "congested")


TestConversations = Conversations.TestCase
TestConversations.settings = settings(stateful_step_count=40)
