"""Messages to bytes and back.

A message is a msgpack array `[tag, field, …]`, a frame's body a msgpack array of messages. A message is encoded once
however many peers get it: bodies are made by joining encoded messages behind an array header. A body is decoded once,
payloads staying `msgspec.Raw`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from covey.core.errors import DecodeError
from covey.wire.messages.handshake import Handshake
from covey.wire.union import Message

_encoder = msgspec.msgpack.Encoder()
_frame_decoder: msgspec.msgpack.Decoder[list[Message]] = msgspec.msgpack.Decoder(list[Message])
_one_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_raws_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])
_head_decoder = msgspec.msgpack.Decoder(list[Any])
_handshake_decoder: msgspec.msgpack.Decoder[Handshake] = msgspec.msgpack.Decoder(Handshake)

# What msgspec raises on hostile bytes: bad UTF-8 is a UnicodeDecodeError, deep nesting a RecursionError.
HOSTILE = (ValueError, RecursionError)

KNOWN_TAGS = frozenset(kind.__struct_config__.tag for kind in Message.__args__)


def encode_message(message: Message) -> bytes:
    """One message as it stands in a body."""
    return _encoder.encode(message)


def encode_messages(messages: Sequence[Message]) -> bytes:
    """Several messages as they stand in a body, one behind the other."""
    body = _encoder.encode(messages)
    count = len(messages)
    return body[1 if count < 16 else 3 if count < 1 << 16 else 5 :]


def join_body(encoded: Sequence[bytes], count: int | None = None) -> bytes:
    """The body that holds these encoded messages; `count` of them where a piece holds several."""
    if count is None:
        count = len(encoded)
    if count < 16:
        head = bytes((0x90 | count,))
    elif count < 1 << 16:
        head = b"\xdc" + count.to_bytes(2, "big")
    else:
        head = b"\xdd" + count.to_bytes(4, "big")
    return head + b"".join(encoded)


def decode_body(body: bytes | memoryview) -> tuple[list[Any], int]:
    """The messages of a body, and how many were of kinds this build does not know (newer versions may send them).

    Raises `DecodeError`, naming the place, when a known kind is malformed.
    """
    try:
        return _frame_decoder.decode(body), 0
    except HOSTILE as error:
        return _decode_one_by_one(body, error)


def _decode_one_by_one(body: bytes | memoryview, first_error: BaseException) -> tuple[list[Any], int]:
    try:
        raws = _raws_decoder.decode(body)
    except HOSTILE as error:
        raise DecodeError(f"the frame is not a list of messages ({_reason(error)}); its link is dropped") from None
    messages: list[Any] = []
    unknown = 0
    for raw in raws:
        if _is_unknown(raw):
            unknown += 1
            continue
        try:
            messages.append(_one_decoder.decode(raw))
        except HOSTILE as error:
            raise DecodeError(
                f"message {len(messages) + unknown} is malformed ({_reason(error)}); its link is dropped"
            ) from None
    if not unknown and len(messages) == len(raws):  # pragma: no cover - the fast path and this one must agree
        raise DecodeError(f"the frame is malformed ({_reason(first_error)}); its link is dropped")
    return messages, unknown


def _is_unknown(raw: msgspec.Raw) -> bool:
    """True if this is `[tag, …]` with a tag that no message of this build has."""
    try:
        fields = _head_decoder.decode(raw)
    except HOSTILE:
        return False
    return bool(fields) and type(fields[0]) is int and fields[0] >= 0 and fields[0] not in KNOWN_TAGS


def encode_handshake(message: Handshake) -> bytes:
    """A handshake frame's body: one message, no list."""
    return _encoder.encode(message)


def decode_handshake(body: bytes | memoryview) -> Handshake:
    """One handshake message. Raises `DecodeError`."""
    try:
        return _handshake_decoder.decode(body)
    except HOSTILE as error:
        raise DecodeError(f"not a handshake message ({_reason(error)}); the connection is dropped") from None


def _reason(error: BaseException) -> str:
    return str(error)[:120] or type(error).__name__
