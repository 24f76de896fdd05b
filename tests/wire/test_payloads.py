"""Users' values to msgpack and back; an error says where inside the value it lies."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import DecodeError, UsageError, ValueTooLarge
from covey.wire.limits import PAYLOAD_BYTES_MAX
from covey.wire.payloads import decode_payload, encode_payload
from tests.wire.strategies import VALUES


@dataclasses.dataclass
class Point:
    x: int
    y: int


class Pair(msgspec.Struct):
    one: int
    two: str


class Opaque:
    def __repr__(self) -> str:
        return "Opaque"


@given(VALUES)
def test_a_value_comes_back_as_it_was(value):
    assert decode_payload(encode_payload(value)) == value


@pytest.mark.parametrize(
    "value, arrives",
    [
        ((1, (2,)), [1, [2]]),
        ({3}, [3]),
        (frozenset(("a",)), ["a"]),
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"ab"), b"ab"),
        ({1: "a", b"b": 2, (1, 2): 3}, {1: "a", b"b": 2, (1, 2): 3}),
        (datetime(2024, 2, 29, 12, 30, 1, 5, tzinfo=UTC), datetime(2024, 2, 29, 12, 30, 1, 5, tzinfo=UTC)),
        (Point(1, 2), {"x": 1, "y": 2}),
        (Pair(1, "b"), {"one": 1, "two": "b"}),
        (2**64 - 1, 2**64 - 1),
        (math.inf, math.inf),
    ],
    ids=lambda value: f"{value!r:.30}",
)
def test_values_of_other_types_arrive_as_the_plain_ones(value, arrives):
    got = decode_payload(encode_payload(value))
    assert got == arrives
    assert type(got) is type(arrives)


def test_not_a_number_is_a_number_here():
    assert math.isnan(decode_payload(encode_payload(math.nan)))


@pytest.mark.parametrize(
    "value, path",
    [
        (Opaque(), "payload"),
        (2**64, "payload"),
        ("\ud800", "payload"),
        ([1, [2, Opaque()]], "payload[1][1]"),
        ({"a": {"b": [0, 2**64]}}, "payload['a']['b'][1]"),
        ({"a": 1, "b": (2, Opaque())}, "payload['b'][1]"),
        ({"good": {"b": 1}, "bad": [[1], Opaque()]}, "payload['bad'][1]"),
        ({"ok": 1, Opaque(): 2}, "payload key Opaque"),
        ({(1, 2**64): 2}, "payload key (1, 18446744073709551616)[1]"),
        ({Opaque()}, "payload[0]"),
        ([Point(1, Opaque())], "payload[0]"),  # type: ignore[arg-type]
        (complex(1, 2), "payload"),
        (len, "payload"),
    ],
    ids=lambda value: f"{value!r:.30}",
)
def test_a_value_that_cannot_be_encoded_is_a_usage_error_with_the_path_to_the_part(value, path):
    with pytest.raises(UsageError) as caught:
        encode_payload(value)
    assert str(caught.value).startswith(f"{path} cannot be serialised: ")
    assert str(caught.value).endswith("; nothing was sent")
    assert type(caught.value) is UsageError


def test_the_caller_names_what_is_wrong():
    with pytest.raises(UsageError, match=r"^metadata\['x'\] cannot be serialised"):
        encode_payload({"x": Opaque()}, "metadata")


def test_a_list_that_contains_itself_is_a_usage_error():
    value: list[Any] = [1]
    value += [value, value]
    with pytest.raises(UsageError, match="contains itself"):
        encode_payload(value)
    table: dict[str, Any] = {}
    table["me"] = table
    with pytest.raises(UsageError, match="contains itself"):
        encode_payload(table)


def test_data_nested_beyond_all_reason_is_a_usage_error_and_nothing_else():
    value: Any = 0
    for _ in range(100_000):
        value = [value]
    with pytest.raises(UsageError, match="nested deeper than"):
        encode_payload(value)
    while value:  # taken apart by hand: a chain this long would be freed by recursion
        value = value[0]


def test_a_value_may_be_as_large_as_a_message_and_no_larger():
    largest = b"x" * (PAYLOAD_BYTES_MAX - 5)
    assert decode_payload(encode_payload(largest)) == largest
    with pytest.raises(ValueTooLarge) as caught:
        encode_payload(largest + b"x", "value")
    assert str(caught.value) == (
        f"value has {PAYLOAD_BYTES_MAX + 1} bytes encoded, at most {PAYLOAD_BYTES_MAX} fit in a message; "
        "nothing was sent: split it"
    )


@given(st.binary(max_size=80))
def test_any_bytes_are_a_value_or_a_decode_error(encoded):
    try:
        value = decode_payload(encoded)
    except DecodeError:
        return
    assert value is None or type(value).__module__ in ("builtins", "datetime", "msgspec.msgpack")


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"\xc1",
        b"\xa2\xff\xff",
        b"\x91" * 2_000,
        b"\xdd\xff\xff\xff\xff",
        b"\x81\x80\x01",
        b"\xd7\xff" + b"\xff" * 8,
    ],
    ids=lambda value: f"{value!r:.20}",
)
def test_hostile_bytes_are_a_decode_error(hostile):
    with pytest.raises(DecodeError, match=r"not msgpack .*it was dropped$"):
        decode_payload(hostile)
