"""Users' values to msgpack and back, with errors that say where inside the value they lie."""

from __future__ import annotations

from typing import Any

import msgspec

from covey.core.errors import DecodeError, UsageError, ValueTooLarge
from covey.wire.limits import PAYLOAD_BYTES_MAX

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()
_FAILURES = (TypeError, ValueError, OverflowError, RecursionError)
_DEPTH_MAX = 64  # guess: deeper data is a mistake, and msgpack readers in other languages stop somewhere too


def encode_payload(
    value: Any,
    what: str = "payload",
    bytes_max: int = PAYLOAD_BYTES_MAX,
    undone: str = "nothing was sent",
    remedy: str = "split it",
) -> bytes:
    """`value` as msgpack. Tuples and sets arrive as lists; dataclasses and msgspec structs as dicts.

    Raises `UsageError` with the path to the part that cannot be encoded, `ValueTooLarge` above `bytes_max`, by default
    about 1 MiB; both say that it is `undone`, and the latter the `remedy`.
    """
    try:
        encoded = _encoder.encode(value)
    except _FAILURES as error:
        path, reason = _find(value, what, 0) or (what, str(error) or type(error).__name__)
        raise UsageError(f"{path} cannot be serialised: {reason}; {undone}") from None
    if len(encoded) > bytes_max:
        raise ValueTooLarge(
            f"{what} has {len(encoded)} bytes encoded, at most {bytes_max} fit in a message; {undone}: {remedy}"
        )
    return encoded


def decode_payload(encoded: bytes) -> Any:
    """The value of `encoded`. Raises `DecodeError`."""
    try:
        return _decoder.decode(encoded)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"a payload is not msgpack ({error}); it was dropped") from None


def _find(value: Any, path: str, depth: int) -> tuple[str, str] | None:
    """The first innermost part that does not encode, and why."""
    if depth > _DEPTH_MAX:
        return path, f"it is nested deeper than {_DEPTH_MAX} (or contains itself)"
    if isinstance(value, dict):
        for key, part in value.items():
            if found := _find(key, f"{path} key {key!r:.40}", depth + 1) or _find(
                part, f"{path}[{key!r:.40}]", depth + 1
            ):
                return found
    elif isinstance(value, (list, tuple, set, frozenset)):
        for index, part in enumerate(value):
            if found := _find(part, f"{path}[{index}]", depth + 1):
                return found
    try:
        _encoder.encode(value)
    except _FAILURES as error:
        return path, str(error) or type(error).__name__
    return None
