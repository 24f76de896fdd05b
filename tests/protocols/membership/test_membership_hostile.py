"""Whatever a linked peer says, as far as it decodes: the machine neither raises nor breaks an invariant."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from covey.core.clock import STAMP_MAX
from covey.core.errors import UsageError
from covey.core.ids import INCARNATION_MAX, ClusterId, Contact, Site
from covey.core.vocabulary import (
    AddressLearned,
    Cause,
    Channel,
    ClusterEntered,
    Flood,
    MessagesReceived,
    PeerConnected,
    PeerLost,
    Send,
    Tick,
)
from covey.protocols.membership.vocabulary import Flush, Join, Kick, Leave, SetMember, SetMeta
from covey.wire.codec import decode_body, encode_message, join_body
from covey.wire.messages.membership import Digests, Forgotten, News, Op, Sync
from tests.protocols.membership.membership_bench import CLOCK_NOW, ME, PEER, PEER_LIFE, joined
from tests.protocols.membership.membership_net import site

# Small ranges, so that what is drawn meets what the machine holds; and the ends of every range.
SITES = st.sampled_from([ME, PEER, site(3), Site(b"?" * 16)])
CLOCKS = st.sampled_from([0, 1, CLOCK_NOW, CLOCK_NOW + 1, CLOCK_NOW << 1, STAMP_MAX, 2**63 - 1])
LIVES = st.sampled_from([0, 4, 5, 6, INCARNATION_MAX])
IMPORTS = st.integers(0, 5) | st.just(2**53)
FLAGS = st.sampled_from([0, 1, 2, 3, 255])
BLOBS = st.sampled_from([b"", b"n2:1", b"x" * 261, b"x" * 262, b"\xff\xfe", b"x" * 4096])
OPS = st.builds(Op, SITES, st.integers(0, 2), SITES, CLOCKS, LIVES, FLAGS | BLOBS, st.sampled_from([0, 2**63 - 1]))
LISTS = st.lists(OPS, max_size=5).map(tuple)
DIGESTS = st.binary(min_size=8, max_size=8)
MESSAGES = st.one_of(
    st.builds(Sync, IMPORTS, IMPORTS, IMPORTS, LISTS, DIGESTS, st.booleans(), LIVES),
    st.builds(News, LISTS),
    st.builds(Digests, DIGESTS, DIGESTS),
    st.builds(Forgotten, CLOCKS, LIVES),
)
COMMANDS = st.one_of(
    st.builds(SetMember, st.just(0), SITES, st.booleans()),
    st.builds(SetMeta, st.just(0), st.sampled_from([b"", b"meta"])),
    st.builds(Kick, st.just(0), SITES),
    st.builds(Leave, st.just(0)),
    st.builds(Join, st.just(0), st.sampled_from(["n1:1", "n2:1", "n3:1"])),
    st.builds(Flush, st.just(0)),
)
FACTS = st.one_of(
    st.just(Tick()),
    st.sampled_from([PEER_LIFE, Contact(PEER, 6, "n2:2"), Contact(site(3), 1, "")]).flatmap(
        lambda contact: st.sampled_from(
            [PeerConnected(contact, Channel.CONTROL), PeerLost(contact, Channel.CONTROL, Cause.RESET)]
        )
    ),
    st.builds(AddressLearned, st.sampled_from(["n1:2", "x" * 261])),
    st.just(ClusterEntered(ClusterId(bytes(16)))),
)
STEPS = st.tuples(st.sampled_from([PEER, site(3), ME]), st.lists(MESSAGES, min_size=1, max_size=3)) | COMMANDS | FACTS


def decodes(effects: list[Any]) -> bool:
    """Whether the others can read what was said."""
    messages = [effect.message for effect in effects if isinstance(effect, Send | Flood)]
    return decode_body(join_body([encode_message(message) for message in messages])) == (messages, 0)


@given(st.lists(st.tuples(STEPS, st.sampled_from([0, 1_000, 3_000_000, 90_000_000])), max_size=25))
def test_no_message_makes_the_machine_raise_or_break_its_invariants_or_say_what_does_not_decode(steps):
    machine, now_us = joined(), 0
    for number, (step, pause_us) in enumerate(steps):
        now_us += pause_us
        while (due_us := machine.deadline()) is not None and due_us <= now_us:
            assert decodes(list(machine.handle(Tick(), due_us)))
        incoming = MessagesReceived(*step) if isinstance(step, tuple) else step
        if hasattr(incoming, "request"):
            incoming = msgspec.structs.replace(incoming, request=number)
        try:
            assert decodes(list(machine.handle(incoming, now_us)))
        except UsageError:  # the answer to a command of our own user: nothing later can be written
            assert not isinstance(incoming, MessagesReceived | PeerConnected | PeerLost | Tick | AddressLearned)
        machine.check()
