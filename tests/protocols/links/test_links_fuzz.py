"""Any bytes and any order of facts: the machine does not raise, its laws hold, and what it says about links adds up."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.ids import Site
from covey.core.vocabulary import (
    AddressLearned,
    Cause,
    Channel,
    Dial,
    Disconnect,
    Multicast,
    PeerConnected,
    PeerLost,
    Pin,
    Send,
    SendMany,
    Tick,
    TurnEnded,
    Unpin,
)
from covey.protocols.links.config import LinksConfig
from covey.protocols.links.handshake import ACCEPTED, Acceptor, Dialler, refusal
from covey.protocols.links.vocabulary import (
    BytesReceived,
    CloseConnection,
    CloseLinks,
    ConnectionAccepted,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionOpened,
    ConnectionPaused,
    ConnectionResumed,
    OpenConnection,
    StrangerFailed,
    Write,
)
from covey.wire import codec
from covey.wire.framing import Splitter, frame
from covey.wire.messages.client import Ask
from covey.wire.messages.links import Goodbye, KeepAlive
from tests.protocols.links.links_harness import Bare, identity, note

pytestmark = pytest.mark.timeout(600)  # for the ten thousand examples of make prove

CONFIG = LinksConfig(
    queue_bytes_max=2000,
    waiting_bytes_max=2000,
    waiting_peers_max=3,
    unauthenticated_max=3,
    unpinned_max=2,
    clients_max=1,
)
PEERS = [identity(2), identity(3), identity(2, incarnation=2, boot=1), identity(2, boot=7), identity(1, boot=9)]
SITES = st.sampled_from([identity(number).site for number in (1, 2, 3, 4)])
ADDRESSES = st.sampled_from(["p2:1", "p3:1", "bare:1", ""])
CHANNELS = st.sampled_from(list(Channel))
CAUSES = st.sampled_from(list(Cause))
TEXTS = st.integers(0, 70_000).map(lambda size: note("x" * size))
BODIES = st.sampled_from(
    [
        codec.join_body([codec.encode_message(note("hi"))]),
        codec.join_body([codec.encode_message(KeepAlive())]),
        codec.join_body([codec.encode_message(Goodbye(Cause.IDLE, ""))]),
        codec.join_body([codec.encode_message(Ask(1, "members", b""))]),
        codec.join_body([]),
        ACCEPTED,
        refusal(Cause.CROSSING, ""),
        refusal(Cause.SITE_CONFLICT, ""),
        b"\x91\x92\xcc\xc8\x01",
    ]
)
NUMBERS = st.integers(-9, 9)
FACTS = st.one_of(
    st.builds(BytesReceived, NUMBERS, st.binary(max_size=80)),
    st.builds(BytesReceived, NUMBERS, BODIES.map(frame)),
    st.builds(ConnectionOpened, NUMBERS),
    st.builds(ConnectionPaused, NUMBERS),
    st.builds(ConnectionResumed, NUMBERS),
    st.builds(StrangerFailed, ADDRESSES, CAUSES),
    st.builds(Send, SITES, TEXTS, ADDRESSES, CHANNELS),
    st.builds(SendMany, SITES, st.lists(TEXTS, min_size=1, max_size=3), CHANNELS),
    st.builds(Multicast, st.lists(SITES, max_size=3).map(tuple), TEXTS, CHANNELS),
    st.builds(Dial, ADDRESSES),
    st.builds(Disconnect, SITES, CAUSES, st.just("why")),
    st.builds(Pin, SITES),
    st.builds(Unpin, SITES),
    st.builds(AddressLearned, ADDRESSES),
    st.just(TurnEnded()),
    st.just(Tick()),
)
ENDINGS = st.one_of(st.builds(ConnectionClosed, NUMBERS, CAUSES), st.builds(CloseLinks))
STEPS = st.one_of(
    FACTS,
    FACTS,
    ENDINGS,
    st.builds(lambda us: us, st.integers(0, 20_000_000)),  # time
    st.tuples(st.sampled_from(["dials us", "answers us"]), st.sampled_from(PEERS), CHANNELS),
)


class Witness:
    """Hands facts to a machine and keeps account of what it says, with honest peers at the other ends."""

    def __init__(self) -> None:
        self.bare = Bare(config=CONFIG)
        self.open: dict[tuple[Site, Channel], int] = {}
        self.dialled: list[int] = []
        self.accepted = 0
        self.known: set[int] = set()
        self.closed: set[int] = set()

    def feed(self, fact):
        effects = self.bare.feed(fact)
        for effect in effects:
            if isinstance(effect, PeerConnected):
                place = (effect.contact.site, effect.channel)
                assert place not in self.open, "one link a peer and channel"
                self.open[place] = fact.connection
            elif isinstance(effect, PeerLost):
                del self.open[effect.contact.site, effect.channel]
            elif isinstance(effect, OpenConnection):
                self.dialled.append(effect.connection)
                self.known.add(effect.connection)
            elif isinstance(effect, CloseConnection):
                assert effect.connection not in self.closed, "closed once"
                self.closed.add(effect.connection)
            elif isinstance(effect, Write):
                assert effect.connection not in self.closed, "nothing is written to what was closed"
        if isinstance(fact, ConnectionClosed) and fact.connection in self.known:
            self.closed.add(fact.connection)
        links = self.bare.links
        assert links.links() == [
            getattr(links.contact(site), "life", None) for site, ch in self.open if ch is Channel.CONTROL
        ]
        assert all(links.linked(*place) for place in self.open) and links.statistics().links == len(self.open)
        return effects

    def dials_us(self, peer, channel) -> None:
        self.accepted -= 1
        number = self.accepted
        self.known.add(number)
        dialler = Dialler(peer, "peer:1", channel, Random(number))
        self.feed(ConnectionAccepted(number, "somewhere"))
        for effect in self.feed(BytesReceived(number, frame(dialler.opening()))):
            if isinstance(effect, Write) and effect.connection == number:
                for body in Splitter().feed(effect.data):
                    dialler.receive(body)
                self.feed(BytesReceived(number, frame(dialler.proof())))

    def answers_us(self, peer) -> None:
        """The oldest connection that we asked for comes about, and `peer` is there."""
        if not self.dialled:
            return
        number = self.dialled.pop(0)
        acceptor = Acceptor(peer, "peer:1", Random(number))
        answers: list[bytes] = []
        for effect in self.feed(ConnectionOpened(number)):
            for body in Splitter().feed(effect.data):
                answers = acceptor.receive(body)
            for again in self.feed(BytesReceived(number, b"".join(map(frame, answers)))):
                if isinstance(again, Write) and again.connection == number and number not in self.closed:
                    self.feed(BytesReceived(number, frame(ACCEPTED)))


@given(st.lists(STEPS, max_size=40))
def test_whatever_happens_nothing_raises_and_the_account_of_links_adds_up(steps):
    witness = Witness()
    for step in steps:
        match step:
            case int():
                witness.bare.now_us += step
                witness.feed(Tick())
            case ("dials us", peer, channel):
                witness.dials_us(peer, channel)
            case ("answers us", peer, _):
                witness.answers_us(peer)
            case ConnectionClosed(number) if number in witness.closed:
                pass  # the world says this once
            case _:
                witness.feed(step)


@given(st.lists(st.one_of(FACTS, ENDINGS, st.builds(ConnectionFailed, NUMBERS, CAUSES)), max_size=30))
def test_facts_about_connections_nobody_knows_change_nothing(facts):
    bare = Bare()
    worldly = (BytesReceived, ConnectionOpened, ConnectionPaused, ConnectionResumed, ConnectionClosed, ConnectionFailed)
    for fact in facts:
        if isinstance(fact, worldly):
            assert bare.feed(fact) == []
    assert bare.links.deadline() is None and bare.links.statistics().bytes_in == 0


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_bytes_from_a_stranger_and_from_a_peer_end_in_silence_or_in_a_typed_cause(data, piece):
    stranger, peer = Bare(), Bare()
    stranger.feed(ConnectionAccepted(-1, "somewhere"))
    peer.admit(-1, identity(2))
    for start in range(0, len(data), piece):
        for bare in (stranger, peer):
            bare.feed(BytesReceived(-1, data[start : start + piece]))
