"""Addresses as people write them, and the mistakes they make."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import ConfigError
from covey.core.ids import ADDRESS_LENGTH_MAX
from covey.runtime.addresses import (
    Listen,
    format_address,
    is_loopback,
    is_wildcard,
    parse_address,
    parse_listen,
)

LABELS = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=63).map(lambda label: label[:-1] + "x")
NAMES = st.lists(LABELS, min_size=1, max_size=3).map(".".join)
HOSTS = st.one_of(NAMES, st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str))
PORTS = st.integers(1, 65535)


@given(HOSTS, PORTS)
def test_an_address_that_is_formatted_parses_to_the_same_and_fits_in_a_message(host, port):
    text = format_address(host, port)
    assert parse_address(text) == (host, port)
    assert len(text) <= ADDRESS_LENGTH_MAX


@given(st.text(max_size=40) | st.from_regex(r"\A[\[\]0-9a-f:.%-]{0,20}\Z"))
def test_any_text_is_an_address_or_a_config_error(text):
    try:
        host, port = parse_address(text)
    except ConfigError:
        return
    assert parse_address(format_address(host, port)) == (host, port)


@pytest.mark.parametrize(
    "text, pair",
    [
        ("10.0.0.7:8946", ("10.0.0.7", 8946)),
        ("localhost:1", ("localhost", 1)),
        ("web_1.example.org.:65535", ("web_1.example.org.", 65535)),
        ("[::1]:8946", ("::1", 8946)),
        ("[fe80::1%eth0]:8946", ("fe80::1%eth0", 8946)),
        ("[0:0:0:0:0:0:0:1]:8946", ("::1", 8946)),
    ],
)
def test_an_address_has_a_host_and_a_port(text, pair):
    assert parse_address(text) == pair


@pytest.mark.parametrize(
    "text, fix",
    [
        (b"10.0.0.7:8946", "must be a str"),
        (None, "must be a str"),
        ("", "has no host"),
        (":8946", "has no host"),
        ("10.0.0.7", "'10.0.0.7:8946'"),
        ("[::1]", "'[::1]:8946'"),
        ("::1", "in brackets"),
        ("::1:8946", "in brackets"),
        ("[::1:8946", "']'"),
        ("[::1]8946", "']'"),
        ("[10.0.0.7]:8946", "not an IPv6 address"),
        ("[fe80::1%a b]:8946", "not an interface"),
        ("10.1:8946", "neither an IP address nor a DNS name"),
        ("10.0.0.300:8946", "neither an IP address nor a DNS name"),
        ("10.0.0.7 :8946", "neither an IP address nor a DNS name"),
        ("http//a:8946", "neither an IP address nor a DNS name"),
        ("a..b:8946", "neither an IP address nor a DNS name"),
        (f"{'a' * 64}:8946", "neither an IP address nor a DNS name"),
        (f"{'a.' * 127}a:8946", "neither an IP address nor a DNS name"),
        ("münchen:8946", "neither an IP address nor a DNS name"),
        ("a:", "'' is not a port"),
        ("a:0", "from 1 to 65535"),
        ("a:65536", "from 1 to 65535"),
        ("a:+80", "from 1 to 65535"),
        ("a:8_0", "from 1 to 65535"),
        ("a:٨٠", "from 1 to 65535"),
        ("a:http", "from 1 to 65535"),
        ("a:8946-8961", "from 1 to 65535"),
        (f"a:{'9' * 5000}", "from 1 to 65535"),
    ],
)
def test_a_wrong_address_is_a_config_error_that_names_the_field_and_the_fix(text, fix):
    with pytest.raises(ConfigError) as caught:
        parse_address(text, field="advertise")
    assert str(caught.value).startswith("advertise ")
    assert fix in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text, listen",
    [
        ("0.0.0.0:8946-8961", Listen("0.0.0.0", 8946, 8961)),
        ("127.0.0.1:8946", Listen("127.0.0.1", 8946, 8946)),
        ("127.0.0.1:0", Listen("127.0.0.1", 0, 0)),
        ("localhost", Listen("localhost", 8946, 8961)),
        ("[::]", Listen("::", 8946, 8961)),
        ("[::]:1-256", Listen("::", 1, 256)),
    ],
)
def test_listening_takes_a_port_a_range_any_port_or_the_default_range(text, listen):
    assert parse_listen(text) == listen


@pytest.mark.parametrize(
    "text, fix",
    [
        ("", "has no host"),
        (":8946", "'0.0.0.0:8946'"),
        ("*:8946", "neither an IP address nor a DNS name"),
        ("::", "in brackets"),
        ("0.0.0.0:8961-8946", "the lower one first"),
        ("0.0.0.0:0-5", "from 1 to 65535"),
        ("0.0.0.0:5-", "from 1 to 65535"),
        ("0.0.0.0:1-2-3", "from 1 to 65535"),
        ("0.0.0.0:1-257", "at most 256"),
        (8946, "must be a str"),
    ],
)
def test_a_wrong_listen_option_is_a_config_error_that_names_it(text, fix):
    with pytest.raises(ConfigError, match=r"\Alisten ") as caught:
        parse_listen(text)
    assert fix in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "localhost", "LOCALHOST."])
def test_loopback_is_this_machine_alone(host):
    assert is_loopback(host)
    assert not is_wildcard(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "0:0::0", "::ffff:0.0.0.0", ""])
def test_a_wildcard_is_every_interface(host):
    assert is_wildcard(host)
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "host", ["10.0.0.7", "fe80::1%lo", "example.org", "localhost.example.org", "127.1", "localhosts"]
)
def test_any_other_host_is_neither(host):
    assert not is_loopback(host)
    assert not is_wildcard(host)
