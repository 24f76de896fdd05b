"""Users' keys as canonical bytes.

Python holds `1 == True == 1.0` and would make one entry of three keys. Inside covey a key is its encoding: msgpack in
its shortest form, tuples as arrays. Equal bytes mean the same key, on every node, for ever.
"""

from __future__ import annotations

from typing import Any, NewType, TypeAlias

import msgspec

from covey.core.errors import ConfigError, DecodeError
from covey.wire.limits import KEY_BYTES_MAX, KEY_DEPTH_MAX

Key: TypeAlias = "str | int | bytes | bool | tuple[Key, ...]"
KeyBytes = NewType("KeyBytes", bytes)

_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()
_SCALARS = frozenset({str, int, bytes, bool})


def encode_key(key: Key) -> KeyBytes:
    """The canonical bytes of `key`: str, int (64 bit), bytes, bool, or a tuple of these.

    Raises `ConfigError`, naming the part that is wrong.
    """
    _validate(key, "key", 0)
    try:
        encoded = _encoder.encode(key)
    except ValueError as error:  # lone surrogates
        raise ConfigError(f"key {key!r} cannot be encoded ({error}); use text that is valid UTF-8") from None
    if len(encoded) > KEY_BYTES_MAX:
        raise ConfigError(
            f"key has {len(encoded)} bytes encoded, at most {KEY_BYTES_MAX} are allowed; use a shorter one"
        )
    return KeyBytes(encoded)


def decode_key(encoded: bytes) -> Key:
    """The key whose canonical bytes these are. Raises `DecodeError` for anything that `encode_key` would not make."""
    try:
        key: Key = _as_tuples(msgspec.msgpack.decode(encoded))
        if encode_key(key) == encoded:
            return key
    except (ValueError, RecursionError, TypeError):
        pass
    raise DecodeError(f"{bytes(encoded[:40])!r} is not the canonical encoding of a key")


def is_key(encoded: bytes) -> bool:
    """Whether these are the canonical bytes of a key: whether `decode_key` would take them."""
    try:
        value = _decoder.decode(encoded)
        parts = value if type(value) is list else (value,)  # a list and a tuple are the same bytes
        if _SCALARS.issuperset(map(type, parts)):  # nearly always; and what is decoded is in its bounds
            return len(encoded) <= KEY_BYTES_MAX and _encoder.encode(value) == encoded
        decode_key(encoded)
    except (ValueError, RecursionError, TypeError, DecodeError):
        return False
    return True


def _validate(key: Any, path: str, depth: int) -> None:
    kind = type(key)
    if kind is str or kind is bytes or kind is bool:
        return
    if kind is int:
        if not _INT_MIN <= key <= _INT_MAX:
            raise ConfigError(f"{path} is an int beyond 64 bits; use a str or bytes")
        return
    if kind is tuple:
        if depth >= KEY_DEPTH_MAX:
            raise ConfigError(f"{path} is nested deeper than {KEY_DEPTH_MAX}; use a flatter key")
        for index, part in enumerate(key):
            _validate(part, f"{path}[{index}]", depth + 1)
        return
    raise ConfigError(f"{path} is of type {kind.__name__}; keys are str, int, bytes, bool or tuples of these")


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(part) for part in value) if isinstance(value, list) else value
