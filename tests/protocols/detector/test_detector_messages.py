"""Everything a peer may send: it round-trips, is bounded, and never makes the machine raise."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.ids import INCARNATION_MAX, Contact, Site
from covey.core.vocabulary import Liveness, MemberAdded, MessagesReceived, Stop, Tick
from covey.wire.limits import FRAME_AIM_BYTES
from covey.wire.messages import detector as messages
from tests.protocols.detector.detector_bench import ME, A, B, Bench, C, contact
from tests.protocols.detector.detector_world import DetectorWorld

ENCODER = msgspec.msgpack.Encoder()
DECODER: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(messages.DetectorMessage)

# Small ranges, so that drawn messages meet what the machine holds.
SITES = st.sampled_from([ME.site, A.site, B.site, C.site, Site(b"?" * 16)])
INCARNATIONS = st.sampled_from([0, 6, 7, 8, INCARNATION_MAX])
REFUTATIONS = st.sampled_from([0, 1, 2, messages.REFUTATION_MAX])
NUMBERS = st.integers(0, 6) | st.just(2**53)
DIGESTS = st.binary(min_size=8, max_size=8)
BOUNDS = st.sampled_from([b"", b"a" * 16, b"c" * 16, b"\xff" * 16])
CONTACTS = st.builds(Contact, SITES, INCARNATIONS, st.sampled_from(["", "x:1"]))
RUMOURS = st.builds(
    messages.Rumour, SITES, INCARNATIONS, REFUTATIONS, st.sampled_from(Liveness), st.sampled_from([b"", b"odd", A.site])
)
LISTS = st.lists(RUMOURS, max_size=4).map(tuple)
MESSAGES = st.one_of(
    st.builds(messages.Ping, NUMBERS, INCARNATIONS, REFUTATIONS, DIGESTS, st.binary(max_size=9), LISTS),
    st.builds(messages.Ack, NUMBERS, INCARNATIONS, REFUTATIONS, DIGESTS, st.binary(max_size=9), LISTS),
    st.builds(messages.PingRequest, NUMBERS, CONTACTS),
    st.builds(messages.IndirectAck, NUMBERS, INCARNATIONS, REFUTATIONS),
    st.builds(messages.Nack, NUMBERS),
    st.builds(messages.ConfirmRequest, NUMBERS, CONTACTS),
    st.builds(messages.ConfirmReply, NUMBERS, st.booleans()),
    st.builds(messages.Rumours, LISTS),
    st.builds(messages.Table, BOUNDS, BOUNDS, LISTS, st.booleans()),
    st.builds(messages.TableDigest, DIGESTS),
    st.builds(messages.Stopped, INCARNATIONS),
)


@given(MESSAGES)
def test_every_kind_of_message_comes_back_as_it_was(message: Any) -> None:
    assert DECODER.decode(ENCODER.encode(message)) == message


def test_tags_lie_in_the_detectors_block_and_each_is_used_once() -> None:
    tags = [kind.__struct_config__.tag for kind in messages.DetectorMessage.__args__]
    assert tags == list(range(80, 91))


@pytest.mark.parametrize(
    "fields",
    [
        [81, -1, 7, 0, bytes(8), b"", []],
        [81, 1, INCARNATION_MAX + 1, 0, bytes(8), b"", []],
        [81, 1, 7, 0, bytes(7), b"", []],
        [81, 1, 7, 0, bytes(8), bytes(65), []],
        [87, [[bytes(16), 7, 0, 5, b""]]],
        [87, [[bytes(15), 7, 0, 1, b""]]],
        [87, [[bytes(16), 7, 0, 1, bytes(17)]]],
        [87, [[bytes(16), 7, 0, 1, b""]] * 65],
        [88, b"", bytes(17), [], True],
        [88, b"", b"", [[bytes(16), 7, 0, 1, b""]] * 1025, True],
    ],
)
def test_what_is_out_of_bounds_does_not_decode(fields: list[Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        DECODER.decode(ENCODER.encode(fields))


def test_the_largest_messages_fit_in_a_frame() -> None:
    rumour = messages.Rumour(A.site, INCARNATION_MAX, messages.REFUTATION_MAX, Liveness.STOPPED, A.site)
    assert len(ENCODER.encode(rumour)) <= messages.RUMOUR_BYTES_MAX
    table = messages.Table(bytes(16), bytes(16), (rumour,) * messages.TABLE_RECORDS_MAX, True)
    assert len(ENCODER.encode(table)) <= FRAME_AIM_BYTES


STEPS = st.one_of(
    st.tuples(st.sampled_from([A, B, C, contact("?"), ME]), st.lists(MESSAGES, min_size=1, max_size=3)),
    st.floats(0.01, 40.0),
    st.builds(MemberAdded, CONTACTS, st.booleans(), st.booleans()),
)


@given(st.lists(STEPS, max_size=30))
def test_no_message_makes_the_machine_raise_or_break_its_invariants(steps: list[Any]) -> None:
    bench = Bench(A, B, C)
    for step in steps:
        match step:
            case float():
                bench.wait(step) if step < 5 else bench.feed(Tick())
            case MemberAdded():
                bench.feed(step)
            case (peer, received):
                bench.feed(MessagesReceived(peer.site, received))
    bench.feed(Stop())
    bench.machine.check()


def test_a_world_whose_messages_are_really_encoded_behaves_the_same() -> None:
    digests = []
    for encoded in (False, True):
        world = DetectorWorld(9, 6, encoded=encoded)
        world.run(3)
        world.kill(0)
        world.die_silently(1)
        world.run(15)
        assert world.all_hold(0, Liveness.DOWN)
        assert world.all_hold(1, Liveness.DOWN)
        digests.append((world.steps, [node.sent_bytes for node in world.nodes]))
    assert digests[0] == digests[1]
