"""Messages to bytes and back: what newer versions may add, and what strangers may try."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import DecodeError
from covey.core.ids import Contact
from covey.wire import codec
from covey.wire.codec import (
    KNOWN_TAGS,
    decode_body,
    decode_handshake,
    encode_handshake,
    encode_message,
    encode_messages,
    join_body,
)
from covey.wire.messages.direct import Payload
from covey.wire.messages.links import Goodbye, KeepAlive
from covey.wire.messages.overlay import Affirm, ProbeReply, ShuffleReply
from tests.wire.strategies import (
    HANDSHAKE_KINDS,
    HANDSHAKES,
    MESSAGE_KINDS,
    MESSAGES,
    VALUES,
    fields_of,
    of,
    tag_of,
)

encode = msgspec.msgpack.encode
UNKNOWN_TAGS = st.integers(0, 2**64 - 1).filter(lambda tag: tag not in KNOWN_TAGS)
UNKNOWN = st.builds(lambda tag, rest: encode([tag, *rest]), UNKNOWN_TAGS, st.lists(VALUES, max_size=3))
BODIES = st.lists(MESSAGES, max_size=20)
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


# --- round trips ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MESSAGE_KINDS, ids=lambda kind: kind.__name__)
@given(st.data())
def test_a_message_of_every_kind_comes_back_as_it_was(kind, data):
    message = data.draw(of(kind))
    assert decode_body(join_body([encode_message(message)])) == ([message], 0)


@pytest.mark.parametrize("kind", HANDSHAKE_KINDS, ids=lambda kind: kind.__name__)
@given(st.data())
def test_a_handshake_message_of_every_kind_comes_back_as_it_was(kind, data):
    message = data.draw(of(kind))
    assert decode_handshake(encode_handshake(message)) == message


@given(BODIES)
def test_a_body_holds_its_messages_in_order(messages):
    body = join_body([encode_message(message) for message in messages])
    assert decode_body(body) == (messages, 0)
    assert decode_body(memoryview(body)) == (messages, 0)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 65_535, 65_536])
def test_a_body_of_any_number_of_messages_has_the_shortest_header(count):
    one = encode_message(KeepAlive())
    body = join_body([one] * count)
    assert body == encode([[16]] * count)
    messages, unknown = decode_body(body)
    assert (len(messages), unknown) == (count, 0)
    assert messages[-1:] == [KeepAlive()] * min(count, 1)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 65_535, 65_536])
def test_messages_encoded_together_are_the_messages_encoded_one_by_one(count):
    together = encode_messages([KeepAlive()] * count)
    assert together == encode_message(KeepAlive()) * count


@given(st.lists(BODIES, max_size=4))
def test_pieces_of_several_messages_make_one_body(pieces):
    messages = [message for piece in pieces for message in piece]
    body = join_body([encode_messages(piece) for piece in pieces], len(messages))
    assert body == join_body([encode_message(message) for message in messages])
    assert decode_body(body) == (messages, 0)


@given(VALUES)
def test_a_payload_stays_encoded_and_is_forwarded_as_it_came(value):
    body = join_body([encode_message(Payload(msgspec.Raw(encode(value))))])
    ((message,), _) = decode_body(body)
    assert bytes(message.value) == encode(value)
    assert join_body([encode_message(message)]) == body


# --- newer versions -------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.booleans(), UNKNOWN, MESSAGES), max_size=10))
def test_kinds_this_build_does_not_know_are_skipped_and_counted_wherever_they_stand(items):
    body = join_body([unknown if is_unknown else encode_message(message) for is_unknown, unknown, message in items])
    expected = [message for is_unknown, _, message in items if not is_unknown]
    assert decode_body(body) == (expected, len(items) - len(expected))


@given(MESSAGES, st.lists(VALUES, min_size=1, max_size=3))
def test_fields_appended_by_a_newer_version_are_ignored(message, appended):
    longer = encode([*fields_of(encode_message(message)), *appended])
    assert decode_body(join_body([longer])) == ([message], 0)


@given(HANDSHAKES, st.lists(VALUES, min_size=1, max_size=3))
def test_fields_appended_to_a_handshake_message_are_ignored(message, appended):
    assert decode_handshake(encode([*fields_of(encode_handshake(message)), *appended])) == message


@given(MESSAGES, st.integers(1, 12))
def test_a_message_without_all_its_fields_is_refused(message, missing):
    fields = fields_of(encode_message(message))
    if len(fields) > 1:
        shorter = encode(fields[: max(1, len(fields) - missing)])
        assert "message 0 is malformed" in refused(join_body([shorter]))


@given(HANDSHAKES, st.integers(1, 12))
def test_a_handshake_message_without_all_its_fields_is_refused(message, missing):
    fields = fields_of(encode_handshake(message))
    if len(fields) > 1:
        with pytest.raises(DecodeError, match="not a handshake message"):
            decode_handshake(encode(fields[: max(1, len(fields) - missing)]))


def test_every_message_kind_has_a_tag_of_its_own_and_handshakes_have_others():
    tags = [tag_of(kind) for kind in (*HANDSHAKE_KINDS, *MESSAGE_KINDS)]
    assert tags == sorted(dict.fromkeys(tags))
    assert sorted(KNOWN_TAGS) == [tag_of(kind) for kind in MESSAGE_KINDS]
    assert all(0 < tag_of(kind) < 16 for kind in HANDSHAKE_KINDS)
    assert all(16 <= tag_of(kind) < 128 for kind in MESSAGE_KINDS)  # one byte each


@pytest.mark.parametrize("kind", (*HANDSHAKE_KINDS, *MESSAGE_KINDS), ids=lambda kind: kind.__name__)
def test_every_message_kind_is_a_frozen_array(kind):
    config = kind.__struct_config__
    assert (config.frozen, config.array_like, config.forbid_unknown_fields) == (True, True, False)


# --- strangers ------------------------------------------------------------------------------------------------------


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


@given(BODIES, UNKNOWN)
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


@pytest.mark.parametrize("opening", [b"\x91", b"\x91\x91", b"\x91\x92\x7f", b"\x91\x92\x30", b"\x92\x91\x10"])
def test_nesting_two_thousand_deep_is_refused(opening):
    refused(opening + b"\x91" * 2_000 + b"\x01")
    with pytest.raises(DecodeError):
        decode_handshake(opening + b"\x91" * 2_000 + b"\x01")


@pytest.mark.parametrize(
    "opening", [b"", b"\x91", b"\x91\x92\x7f", b"\x91\x92\x30", b"\x91\x93\x11\x04", b"\x91\x92\x26"]
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
    ],
    ids=repr,
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


def test_an_unknown_kind_that_is_itself_broken_is_refused():
    broken = [b"\x92\x63\xa2\xff\xff", b"\x92\x63\x81\x80\x01", b"\x92\x63\xd7\xff" + b"\xff" * 8]
    for one in broken:
        assert "message 1 is malformed" in refused(join_body([encode_message(Affirm()), one]))


def test_a_reason_is_one_short_line():
    reason = refused(encode([[42, b"x" * 10_000]]))
    assert len(reason) < 300
    assert "\n" not in reason
    assert codec._reason(RecursionError()) == "RecursionError"


def test_an_empty_body_is_no_message():
    assert decode_body(b"\x90") == ([], 0)


def test_the_same_message_encodes_to_the_same_bytes():
    assert encode_message(ProbeReply(bytes(range(16)))) == encode([42, bytes(range(16))])  # type: ignore[arg-type]
