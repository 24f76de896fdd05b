"""What strangers may try: any bytes at all decode or are refused with their place, and nothing else happens."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import DecodeError
from covey.core.ids import Contact, Site
from covey.core.vocabulary import Liveness
from covey.wire import codec
from covey.wire.codec import decode_body, decode_handshake, encode_message, join_body
from covey.wire.messages.detector import Rumour, Rumours, Table
from covey.wire.messages.links import Goodbye
from covey.wire.messages.membership import BLOB_BYTES_MAX, News, Op, Sync
from covey.wire.messages.overlay import Affirm, ShuffleReply
from tests.wire.strategies import MESSAGES, UNKNOWN, VALUES

encode = msgspec.msgpack.encode
OP = [bytes(16), 0, bytes(16), 1, 1, 1, 1]
RUMOUR = [bytes(16), 1, 0, 1, b""]
HUGE = {
    "array": b"\xdd\xff\xff\xff\xff",
    "map": b"\xdf\xff\xff\xff\xff",
    "bytes": b"\xc6\xff\xff\xff\xff",
    "text": b"\xdb\xff\xff\xff\xff",
    "extension": b"\xc9\xff\xff\xff\xff\x00",
}


def refused(body: bytes) -> str:
    """The reason for which `body` is refused; anything but a DecodeError fails the test."""
    with pytest.raises(DecodeError) as caught:
        decode_body(body)
    return str(caught.value)


@given(st.binary(max_size=200))
def test_random_bytes_decode_or_are_refused(body):
    for decode in (decode_body, decode_handshake):
        try:
            decode(body)
        except DecodeError:
            pass


@given(st.lists(MESSAGES | UNKNOWN, max_size=5), st.data())
def test_damaged_bodies_decode_or_are_refused(items, data):
    body = bytearray(join_body([item if isinstance(item, bytes) else encode_message(item) for item in items]))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    reason = ""
    try:
        messages, _ = decode_body(bytes(body))
    except DecodeError as error:
        reason = str(error)
    else:
        assert decode_body(join_body([encode_message(message) for message in messages])) == (messages, 0)
    assert "the frame is malformed" not in reason  # said only if the fast path and the slow one disagree


@given(st.lists(MESSAGES, min_size=1, max_size=5), st.data())
def test_a_body_that_is_cut_short_or_goes_on_is_refused(messages, data):
    body = join_body([encode_message(message) for message in messages])
    refused(body[: data.draw(st.integers(0, len(body) - 1))])
    refused(body + data.draw(st.binary(min_size=1, max_size=3)))


@given(st.lists(MESSAGES, max_size=20), UNKNOWN)
def test_the_fast_path_and_the_one_by_one_path_agree_on_good_messages(messages, unknown):
    encoded = [encode_message(message) for message in messages]
    fast, _ = decode_body(join_body(encoded))
    slow, skipped = decode_body(join_body([*encoded, unknown]))
    assert (slow, skipped) == (fast, 1)


@given(st.lists(MESSAGES | UNKNOWN | VALUES.map(encode), max_size=5))
def test_the_fast_path_refuses_exactly_what_one_by_one_is_unknown_or_bad(items):
    encoded = [item if isinstance(item, bytes) else encode_message(item) for item in items]
    try:
        _, unknown = decode_body(join_body(encoded))
        fast_is_good = unknown == 0
    except DecodeError:
        fast_is_good = False
    each_is_good = True
    for one in encoded:
        try:
            messages, unknown = decode_body(join_body([one]))
            each_is_good = each_is_good and len(messages) == 1 and unknown == 0
        except DecodeError:
            each_is_good = False
    assert fast_is_good == each_is_good


def test_text_that_is_not_utf8_is_refused():
    good = encode_message(Goodbye(4, "ab"))
    assert "message 0 is malformed" in refused(join_body([good.replace(b"ab", b"\xff\xfe")]))
    assert "message 1 is malformed" in refused(join_body([good, encode(["\xff"]).replace(b"\xc3\xbf", b"\xff\xff")]))
    with pytest.raises(DecodeError, match="not a handshake message"):
        decode_handshake(encode([5, 0, "ab"]).replace(b"ab", b"\xff\xfe"))


# The heads of a body with a `News`, a `Sync`, a `Rumours` and a `Table`, as far as the list of what they carry.
LISTS = [b"\x91\x92\x41", b"\x91\x98\x40\x00\x00\x00", b"\x91\x92\x57", b"\x91\x95\x58\xc4\x00\xc4\x00"]


@pytest.mark.parametrize("opening", [b"\x91", b"\x91\x91", b"\x91\x92\x7f", b"\x91\x92\x30", b"\x92\x91\x10", *LISTS])
def test_nesting_two_thousand_deep_is_refused(opening):
    refused(opening + b"\x91" * 2_000 + b"\x01")
    with pytest.raises(DecodeError):
        decode_handshake(opening + b"\x91" * 2_000 + b"\x01")


@pytest.mark.parametrize(
    "opening", [b"", b"\x91", b"\x91\x92\x7f", b"\x91\x92\x30", b"\x91\x93\x11\x04", b"\x91\x92\x26", *LISTS]
)
@pytest.mark.parametrize("declared", HUGE)
def test_a_huge_declared_length_is_refused_at_once(opening, declared):
    refused(opening + HUGE[declared])
    refused(opening + HUGE[declared] + bytes(100))


@pytest.mark.parametrize(
    "message",
    [
        [],
        ["16"],
        [-1],
        [16.0],
        [True],
        [None],
        {"tag": 16},
        16,
        None,
        [42, bytes(15)],
        [42, bytes(17)],
        [38, [[bytes(16), -1, "a:1"]]],
        [38, [[bytes(16), 2**53 + 1, "a:1"]]],
        [38, [[bytes(16), 1, "x" * 262]]],
        [38, [[bytes(16), 1, "a:1"]] * 65],
        [33, [bytes(16), 1, "a:1"], 256],
        [35, -1, True],
        [35, 1, 1],
        [64, -1, 0, 0, [], bytes(8), True],
        [64, 0, 2**53 + 1, 0, [], bytes(8), True],
        [64, 0, 0, 0, [], bytes(7), True],
        [64, 0, 0, 0, [], bytes(8), True, -1],
        [64, 0, 0, 0, {}, bytes(8), True],
        [65, [*OP]],
        [65, [[bytes(15), *OP[1:]]]],
        [65, [[*OP[:1], 3, *OP[2:]]]],
        [65, [[*OP[:2], bytes(17), *OP[3:]]]],
        [65, [[*OP[:3], 2**63, *OP[4:]]]],
        [65, [[*OP[:4], 2**53 + 1, *OP[5:]]]],
        [65, [[*OP[:5], 256, *OP[6:]]]],
        [65, [[*OP[:5], -1, *OP[6:]]]],
        [65, [[*OP[:5], bytes(4097), *OP[6:]]]],
        [65, [[*OP[:5], "text", *OP[6:]]]],
        [65, [[*OP[:5], None, *OP[6:]]]],
        [65, [[*OP[:6], -1]]],
        [65, [OP[:6]]],
        [65, [OP] * 16_385],
        [66, bytes(8), bytes(9)],
        [67, -1, 0],
        [67, 0, -1],
        [80, 2**53 + 1, 1, 0, bytes(8), b"", []],
        [80, 1, 1, 2**53 + 1, bytes(8), b"", []],
        [80, 1, 1, 0, bytes(8), bytes(65), []],
        [81, 1, 2**53 + 1, 0, bytes(8), b"", []],
        [81, 1, 1, 0, bytes(7), b"", []],
        [81, 1, 1, 0, bytes(8), b"", [RUMOUR] * 65],
        [82, 1, [bytes(16), 1, "x" * 262]],
        [83, 1, -1, 0],
        [84, -1],
        [84, 1.0],
        [85, 1, bytes(16)],
        [86, 1, 1],
        [87, [*RUMOUR]],
        [87, [RUMOUR[:3]]],
        [87, [[*RUMOUR[:3], 5, b""]]],
        [87, [[*RUMOUR[:3], -1, b""]]],
        [87, [[*RUMOUR[:3], True, b""]]],
        [87, [[*RUMOUR[:3], "ALIVE", b""]]],
        [87, [[*RUMOUR[:4], bytes(17)]]],
        [87, [RUMOUR] * 65],
        [88, bytes(17), b"", [], True],
        [88, b"", bytes(17), [], True],
        [88, b"", b"", [RUMOUR] * 1025, True],
        [88, b"", b"", [], None],
        [89, bytes(9)],
        [90, 2**53 + 1],
    ],
    ids=lambda message: repr(message)[:80],
)
def test_a_message_outside_its_bounds_is_refused_with_its_place(message):
    body = encode([[39], [99], message, [39]])
    assert "message 2 is malformed" in refused(body)


@pytest.mark.parametrize("body", [b"", b"\xc0", encode("text"), encode({"a": 1}), encode(7), b"\xc1"])
def test_what_is_no_list_of_messages_is_refused(body):
    assert "not a list of messages" in refused(body)


def test_the_largest_lists_are_allowed():
    message = ShuffleReply(tuple(msgspec.convert([bytes(16), 2**53, "x" * 261], Contact) for _ in range(64)))
    assert decode_body(join_body([encode_message(message)])) == ([message], 0)


def test_the_longest_operations_and_tables_are_allowed():
    site = Site(bytes(16))
    op = Op(site, 2, site, 2**63 - 1, 2**53, bytes(BLOB_BYTES_MAX), 2**63 - 1)
    rumour = Rumour(site, 2**53, 2**53, Liveness.STOPPED, site)
    for message in (
        Sync(2**53, 2**53, 2**53, (op,) * 200, bytes(8), True, 2**53),
        News((msgspec.structs.replace(op, value=255),) * 16_384),
        Rumours((rumour,) * 64),
        Table(b"", site, (rumour,) * 1024, True),
    ):
        assert decode_body(join_body([encode_message(message)])) == ([message], 0)


def test_an_unknown_kind_that_is_itself_broken_is_refused():
    broken = [b"\x92\x63\xa2\xff\xff", b"\x92\x63\x81\x80\x01", b"\x92\x63\xd7\xff" + b"\xff" * 8]
    for one in broken:
        assert "message 1 is malformed" in refused(join_body([encode_message(Affirm()), one]))


def test_a_reason_is_one_short_line():
    reason = refused(encode([[42, b"x" * 10_000]]))
    assert len(reason) < 300
    assert "\n" not in reason
    assert codec._reason(RecursionError()) == "RecursionError"
