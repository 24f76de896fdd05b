"""Keys as canonical bytes: what Python takes for equal stays apart, and equal bytes are the same key."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from covey.core.errors import ConfigError, DecodeError
from covey.wire.keys import decode_key, encode_key, is_key
from covey.wire.limits import KEY_BYTES_MAX, KEY_DEPTH_MAX
from tests.wire.strategies import KEYS, VALUES


def same(one: Any, other: Any) -> bool:
    """Equal with equal types all the way down: the oracle for keys."""
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def nested(depth: int) -> Any:
    key: Any = "leaf"
    for _ in range(depth):
        key = (key,)
    return key


class Text(str):
    __slots__ = ()


class Number(IntEnum):
    ONE = 1


@given(KEYS)
def test_a_key_comes_back_with_its_types(key):
    assume(len(msgspec.msgpack.encode(key)) <= KEY_BYTES_MAX)
    assert same(decode_key(encode_key(key)), key)


@given(KEYS, KEYS)
def test_two_keys_have_the_same_bytes_exactly_if_they_are_the_same_key(one, other):
    assert (encode_key(one) == encode_key(other)) == same(one, other)


def test_what_python_takes_for_equal_are_different_keys():
    keys = [1, True, "1", b"1", (1,), (True,), ((1,),), 0, False, "", b"", (), ((),), "a", b"a", ("a",), (b"a",)]
    encoded = [encode_key(key) for key in keys]  # type: ignore[arg-type]
    assert len(dict.fromkeys(encoded)) == len(keys)
    with pytest.raises(ConfigError, match="key is of type float"):
        encode_key(1.0)  # type: ignore[arg-type]


def test_the_encoding_of_a_key_never_changes_between_versions():
    key = ("counter", 7, -1, True, b"\x00", ("views", 2**63))
    assert encode_key(key).hex() == "96a7636f756e74657207ffc3c4010092a57669657773cf8000000000000000"
    assert same(decode_key(encode_key(key)), key)


@pytest.mark.parametrize(
    "other",
    ["cc01", "cd0001", "ce00000001", "cf0000000000000001", "d001", "d10001", "d200000001", "d30000000000000001"],
)
def test_an_int_in_any_but_its_shortest_form_is_no_key(other):
    assert decode_key(b"\x01") == 1
    with pytest.raises(DecodeError, match="not the canonical encoding"):
        decode_key(bytes.fromhex(other))


@pytest.mark.parametrize("other", ["d90161", "da000161", "db0000000161", "dc000101", "dd0000000101", "c500020102"])
def test_a_length_in_any_but_its_shortest_form_is_no_key(other):
    with pytest.raises(DecodeError, match="not the canonical encoding"):
        decode_key(bytes.fromhex(other))


@pytest.mark.parametrize("value", [None, 1.0, 1.5, {}, {"a": 1}, [1.0], ["a", [None]], msgspec.msgpack.Ext(5, b"x")])
def test_what_is_msgpack_but_no_key_is_refused(value):
    with pytest.raises(DecodeError, match="not the canonical encoding"):
        decode_key(msgspec.msgpack.encode(value))


def taken(encoded: bytes) -> bool:
    """Whether `decode_key` takes these bytes."""
    try:
        decode_key(encoded)
    except DecodeError:
        return False
    return True


@given(st.binary(max_size=60) | VALUES.map(msgspec.msgpack.encode))
def test_any_bytes_are_a_canonical_key_or_refused(encoded):
    try:
        key = decode_key(encoded)
    except DecodeError:
        pass
    else:
        assert encode_key(key) == encoded


@given(st.binary(max_size=60) | VALUES.map(msgspec.msgpack.encode) | KEYS.map(msgspec.msgpack.encode))
def test_is_key_says_of_any_bytes_whether_they_are_taken(encoded):
    assert is_key(encoded) == taken(encoded)


@pytest.mark.parametrize(
    "encoded",
    [
        b"\xcc\x01", b"\xd9\x01a", b"\xdc\x00\x01\x01", b"\x91\xcc\x01", b"\xc0", b"\x91\xc0", b"\x80",
        msgspec.msgpack.encode("x" * KEY_BYTES_MAX), msgspec.msgpack.encode(("x" * 500, "y" * 600)),
        msgspec.msgpack.encode("x" * (KEY_BYTES_MAX - 3)), msgspec.msgpack.encode(("a", 1, ("b", True))),
        msgspec.msgpack.encode(()), b"\x91" * (KEY_DEPTH_MAX + 1) + b"\x01", b"\x91" * KEY_DEPTH_MAX + b"\x01",
    ],
    ids="{!r:.20}".format,
)  # fmt: skip
def test_is_key_takes_what_is_at_the_bounds_and_in_its_shortest_form_only(encoded):
    assert is_key(encoded) == taken(encoded)


HOSTILE = [b"", b"\x91" * 2_000, b"\xdd\xff\xff\xff\xff", b"\xa2\xff\xff", b"\x01\x01", b"\xc1"]


@pytest.mark.parametrize("hostile", HOSTILE, ids="{!r:.20}".format)
def test_hostile_bytes_are_no_key_and_the_error_shows_only_their_beginning(hostile):
    assert not is_key(hostile)
    with pytest.raises(DecodeError) as caught:
        decode_key(hostile)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "key, message",
    [
        (None, "key is of type NoneType; keys are str, int, bytes, bool or tuples of these"),
        (1.5, "key is of type float"),
        (["a"], "key is of type list"),
        (("a", {"b": 1}), r"key\[1\] is of type dict"),
        (("a", (1, (2.0,))), r"key\[1\]\[1\]\[0\] is of type float"),
        (bytearray(b"a"), "key is of type bytearray"),
        (frozenset("a"), "key is of type frozenset"),
        (Text("a"), "key is of type Text"),
        ((0, Text("a")), r"key\[1\] is of type Text"),
        (Number.ONE, "key is of type Number"),
        (2**64, "key is an int beyond 64 bits"),
        ((1, -(2**63) - 1), r"key\[1\] is an int beyond 64 bits"),
        ("\ud800", "cannot be encoded"),
        (("a", "\udfff"), "cannot be encoded"),
        ("x" * KEY_BYTES_MAX, f"1027 bytes encoded, at most {KEY_BYTES_MAX}"),
    ],
    ids=lambda value: f"{value!r:.20}",
)
def test_what_is_no_key_is_a_config_error_that_names_the_part(key, message):
    with pytest.raises(ConfigError, match=message):
        encode_key(key)


@pytest.mark.parametrize(
    "key", [2**64 - 1, -(2**63), "", b"", (), "x" * (KEY_BYTES_MAX - 3)], ids=lambda k: f"{k!r:.20}"
)
def test_keys_reach_up_to_their_bounds(key):
    assert same(decode_key(encode_key(key)), key)


def test_a_key_may_be_nested_as_deep_as_the_bound_and_no_deeper():
    deepest = nested(KEY_DEPTH_MAX)
    assert same(decode_key(encode_key(deepest)), deepest)
    with pytest.raises(ConfigError, match=f"nested deeper than {KEY_DEPTH_MAX}"):
        encode_key(nested(KEY_DEPTH_MAX + 1))
    with pytest.raises(DecodeError):
        decode_key(msgspec.msgpack.encode(nested(KEY_DEPTH_MAX + 1)))


def test_a_key_that_is_too_long_on_the_wire_is_refused():
    with pytest.raises(DecodeError):
        decode_key(msgspec.msgpack.encode("x" * KEY_BYTES_MAX))
