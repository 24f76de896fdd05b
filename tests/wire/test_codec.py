"""Messages to bytes and back: what newer versions may add, and what strangers may try."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import DecodeError
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
from covey.wire.messages.links import KeepAlive
from covey.wire.messages.overlay import ProbeReply
from tests.wire.strategies import (
    HANDSHAKE_KINDS,
    HANDSHAKES,
    MESSAGE_KINDS,
    MESSAGES,
    UNKNOWN,
    VALUES,
    fields_of,
    of,
    required,
    tag_of,
)

encode = msgspec.msgpack.encode
BODIES = st.lists(MESSAGES, max_size=20)


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
    needed = required(type(message))
    if needed > 1:
        shorter = encode(fields_of(encode_message(message))[: max(1, needed - missing)])
        with pytest.raises(DecodeError, match="message 0 is malformed"):
            decode_body(join_body([shorter]))


@given(MESSAGES)
def test_a_field_that_an_older_version_does_not_send_has_its_default(message):
    needed = required(type(message))
    older = encode(fields_of(encode_message(message))[:needed])
    appended = zip(message.__struct_fields__[needed - 1 :], message.__struct_defaults__, strict=True)
    assert decode_body(join_body([older])) == ([msgspec.structs.replace(message, **dict(appended))], 0)


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
    assert all(16 <= tag_of(kind) < 256 for kind in MESSAGE_KINDS)  # two bytes at most, one below 128


@pytest.mark.parametrize("kind", (*HANDSHAKE_KINDS, *MESSAGE_KINDS), ids=lambda kind: kind.__name__)
def test_every_message_kind_is_a_frozen_array(kind):
    config = kind.__struct_config__
    assert (config.frozen, config.array_like, config.forbid_unknown_fields) == (True, True, False)


def test_an_empty_body_is_no_message():
    assert decode_body(b"\x90") == ([], 0)


def test_the_same_message_encodes_to_the_same_bytes():
    assert encode_message(ProbeReply(bytes(range(16)))) == encode([42, bytes(range(16))])  # type: ignore[arg-type]
