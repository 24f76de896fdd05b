"""Whatever peers say, in whatever order: nothing raises, every bound holds, nobody is dialled in our own name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.ids import ClusterId, Contact
from covey.core.vocabulary import (
    AddressAnswered,
    AddressFailed,
    AddressLearned,
    Cause,
    Channel,
    ClusterChanged,
    Dial,
    Emit,
    Flood,
    Liveness,
    LivenessChanged,
    MemberAdded,
    MemberRemoved,
    Multicast,
    NeighborDown,
    NeighborUp,
    PeerConnected,
    PeerLost,
    PeerUnreached,
    Pin,
    Send,
    Unpin,
)
from covey.protocols.overlay.config import OverlayConfig
from covey.protocols.overlay.vocabulary import LeaveOverlay, SeedsResolved
from covey.wire.limits import CONTACTS_MAX
from covey.wire.messages import overlay as wire
from tests.protocols.overlay.overlay_harness import Bare, contact, number_of, site

pytestmark = pytest.mark.timeout(600)  # for the ten thousand examples of make prove

ME = 5
SMALL = OverlayConfig(active_max=2, passive_max=4, addresses_max=300, departed_max=3)
NUMBERS = st.integers(1, 12)
SITES = NUMBERS.map(site)
CONTACTS = st.one_of(
    NUMBERS.map(contact),
    st.builds(Contact, SITES, st.integers(0, 3), st.sampled_from(["", "n3:1", "elsewhere:1"])),
)
MANY = st.lists(CONTACTS, max_size=8).map(tuple)
HOPS = st.integers(0, 255)
COUNTS = st.one_of(st.integers(0, 5), st.integers(0, 2**53))
MESSAGES = st.one_of(
    st.builds(wire.Join, CONTACTS, COUNTS),
    st.builds(wire.ForwardJoin, CONTACTS, HOPS),
    st.builds(wire.NeighborRequest, CONTACTS, COUNTS, st.booleans()),
    st.builds(wire.NeighborReply, COUNTS, st.booleans()),
    st.builds(wire.Disconnect, st.booleans(), MANY),
    st.builds(wire.Shuffle, CONTACTS, HOPS, MANY),
    st.builds(wire.ShuffleReply, MANY),
    st.builds(wire.Affirm),
    st.builds(wire.Beacon, SITES, st.integers(0, 3), COUNTS, COUNTS),
    st.builds(wire.Probe, CONTACTS, SITES),
    st.builds(wire.ProbeReply, SITES),
    st.builds(wire.Left, SITES, st.integers(0, 3)),
)
CAUSES = st.sampled_from(list(Cause))
CHANNELS = st.sampled_from(list(Channel))
ADDRESSES = st.sampled_from([f"n{number}:1" for number in range(1, 13)] + [""])
FACTS = st.one_of(
    st.builds(PeerConnected, CONTACTS, CHANNELS),
    st.builds(PeerLost, CONTACTS, CHANNELS, CAUSES),
    st.builds(PeerUnreached, SITES, CHANNELS, CAUSES),
    st.builds(AddressAnswered, ADDRESSES, CONTACTS),
    st.builds(AddressFailed, ADDRESSES, CAUSES),
    st.builds(AddressLearned, ADDRESSES),
    st.builds(SeedsResolved, st.lists(ADDRESSES, max_size=3).map(tuple)),
    st.builds(MemberAdded, CONTACTS, st.booleans(), st.booleans()),
    st.builds(MemberRemoved, SITES.filter(lambda one: one != site(ME))),
    st.builds(LivenessChanged, CONTACTS, st.sampled_from(Liveness), st.just("why")),
    st.builds(ClusterChanged, st.just(ClusterId(bytes(16))), st.integers(0, 3), st.booleans()),
    st.builds(Flood, st.just(wire.Affirm()), st.none() | SITES),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(SITES.filter(lambda one: one != site(ME)), st.lists(MESSAGES, min_size=1, max_size=3)),
        st.tuples(SITES.filter(lambda one: one != site(ME)), st.lists(MESSAGES, min_size=1, max_size=3)),
        FACTS,
        st.integers(0, 40_000_000),
        st.just(LeaveOverlay()),
    ),
    max_size=50,
)


class Account:
    """What the overlay's siblings and the user believe, from what it said."""

    def __init__(self) -> None:
        self.neighbours: dict[bytes, Contact] = {}
        self.pinned: set[bytes] = set()

    def take(self, effects) -> None:
        for effect in effects:
            match effect:
                case Emit(NeighborUp(one)):
                    assert one.site not in self.neighbours, "NeighborUp comes once"
                    self.neighbours[one.site] = one
                case Emit(NeighborDown(one, _)):
                    assert self.neighbours.pop(one.site) == one, "NeighborDown follows its NeighborUp"
                case Pin(one):
                    self.pinned.add(one)
                case Unpin(one):
                    self.pinned.remove(one)
                case Send(to, message):
                    assert to != site(ME), f"{message} to ourselves"
                case Multicast(to, _):
                    assert to and len(to) == len(set(to)) and set(to) <= set(self.neighbours)
                case Dial(address):
                    assert address
                case _:
                    raise AssertionError(effect)


@given(STEPS)
def test_no_message_and_no_fact_breaks_a_law(steps):
    bare, account = Bare(ME, SMALL), Account()
    for step in steps:
        if isinstance(step, int):
            effects = bare.until(bare.now_us + step)
        elif isinstance(step, tuple):
            effects = bare.hear(number_of(step[0]), *step[1])
        else:
            effects = bare.feed(step)
        account.take(effects)
        overlay = bare.overlay
        assert list(account.neighbours.values()) == overlay.neighbours()
        assert account.pinned == set(account.neighbours)
        assert len(overlay.active) <= 2 and len(overlay.passive) <= 4
        assert overlay.statistics().requests <= 4 and overlay.lowest.site <= site(ME)


@given(st.lists(MESSAGES, min_size=1, max_size=10))
def test_a_frame_of_many_messages_is_the_same_as_many_frames_of_one(messages):
    together, apart = Bare(ME, SMALL), Bare(ME, SMALL)
    effects = [effect for message in messages for effect in apart.hear(3, message)]
    assert together.hear(3, *messages) == effects


def test_the_longest_lists_of_contacts_are_taken_within_the_bounds():
    bare = Bare(ME).befriend(1, 2, 3, 4, 6)
    many = tuple(contact(number) for number in range(100, 100 + CONTACTS_MAX))
    for message in (wire.Disconnect(True, many), wire.Shuffle(contact(9), 1, many), wire.ShuffleReply(many)):
        bare.hear(9, message)
    assert len(bare.passive) == bare.config.passive_max
