"""Keys on the command line and in JSON, so that 1, True and "1" stay three keys.

People read and write keys as Python does. In JSON text, numbers and truth are themselves, a tuple is an array, and
bytes are `{"bytes": "00ff"}`; no key is an object or an array otherwise.
"""

from __future__ import annotations

import ast
from typing import Any

from covey.wire.keys import Key, encode_key

_KINDS = (str, int, bytes, bool, tuple)


def parse_key(text: str) -> Key:
    """The key that somebody typed: read as Python writes it, and where it is not written so, the text itself.

    `orders` and `'orders'` are one key; `1`, `'1'` and `True` are three. Raises `ConfigError` for what is no key.
    """
    try:
        key = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        key = text
    if type(key) not in _KINDS:  # 1.5, None, a list: such text may well be meant
        key = text
    encode_key(key)
    found: Key = key
    return found


def key_json(key: Key) -> Any:
    """A key as JSON says it, and no other key alike."""
    if isinstance(key, bytes):
        return {"bytes": key.hex()}
    return [key_json(part) for part in key] if isinstance(key, tuple) else key
