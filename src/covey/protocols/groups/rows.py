"""What the rows of groups say: who is a member of which group, how often, and with which metadata."""

from __future__ import annotations

import msgspec

from covey.wire.keys import is_key
from covey.wire.messages.rows import INSTANCE_BYTES_MAX, ROW_VALUE_BYTES_MAX

PREFIX = b"groups:"  # of the instances that hold the rows of scopes
SCOPE_BYTES_MAX = INSTANCE_BYTES_MAX - len(PREFIX)
META_BYTES_MAX = ROW_VALUE_BYTES_MAX - 16  # the count stands beside it
COUNT_MAX = 2**31
MAILBOX_MAX = 2**53

_encoder = msgspec.msgpack.Encoder()
_key_decoder = msgspec.msgpack.Decoder(tuple[bytes, int])
_value_decoder = msgspec.msgpack.Decoder(tuple[int, bytes])


def encode_row(group: bytes, mailbox: int) -> bytes:
    """The key of the row that says that a mailbox is a member of a group."""
    return _encoder.encode((group, mailbox))


def decode_row(key: bytes) -> tuple[bytes, int] | None:
    """The group and the mailbox of a row; None for what `encode_row` would not make of a user's key."""
    try:
        group, mailbox = row = _key_decoder.decode(key)
    except (ValueError, RecursionError):
        return None
    return row if 0 < mailbox <= MAILBOX_MAX and _encoder.encode(row) == key and is_key(group) else None


def encode_value(count: int, meta: bytes) -> bytes:
    """How often it joined, and what it says of itself."""
    return _encoder.encode((count, meta))


def decode_value(value: bytes) -> tuple[int, bytes] | None:
    """How often, and with which metadata; None for nonsense."""
    try:
        count, meta = _value_decoder.decode(value)
    except (ValueError, RecursionError):
        return None
    return (count, meta) if 0 < count <= COUNT_MAX else None
