"""Keys as people type them and as JSON says them: no two of them are ever one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import covey
from covey.cli.keys import key_json, parse_key
from covey.wire.keys import encode_key

plain_keys = st.text(max_size=9) | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=9) | st.booleans()
keys = st.recursive(plain_keys, lambda parts: st.lists(parts, max_size=3).map(tuple), max_leaves=6)


@given(keys)
def test_a_key_as_python_writes_it_is_read_as_that_key(key):
    assert encode_key(parse_key(repr(key))) == encode_key(key)


@given(keys, keys)
def test_json_tells_keys_apart_as_covey_does(one, other):
    alike = json.dumps(key_json(one)) == json.dumps(key_json(other))
    assert alike is (encode_key(one) == encode_key(other))


@pytest.mark.parametrize("text", ["orders", "a b", "1.5", "None", "[1]", "007", "('a', x)", "{1}", "'", "1+2j", ""])
def test_what_is_not_written_as_a_key_is_text(text):
    assert parse_key(text) == text


@pytest.mark.parametrize("text, key", [("-1", -1), ("()", ()), ("('a',)", ("a",)), ('"a"', "a"), ("False", False)])
def test_what_is_written_as_a_key_is_that_key(text, key):
    assert (type(parse_key(text)), parse_key(text)) == (type(key), key)


@pytest.mark.parametrize("text", ["(1, 1.5)", "((),[])", "9" * 30, "\udc80", "(" * 20 + "1" + ",)" * 20, "x" * 2000])
def test_what_can_be_no_key_is_refused(text):
    with pytest.raises(covey.ConfigError):
        parse_key(text)
